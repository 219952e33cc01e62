"""The processes that train together. One is the common case: then each of these is trivial."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch import Tensor


def joined() -> bool:
    """Whether there are several processes, and they have met."""
    return dist.is_initialized() and dist.get_world_size() > 1


def count() -> int:
    """Number of processes."""
    return dist.get_world_size() if joined() else 1


def rank() -> int:
    """Number of this process, from 0; before they have met, what torchrun says."""
    return dist.get_rank() if joined() else int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def share(total: int) -> range:
    """What of `range(total)` is this process's: consecutive, nothing twice, nothing lost, sizes to within one."""
    return part(total, rank(), count())


def part(total: int, index: int, parts: int) -> range:
    """Part `index` of `range(total)` cut into consecutive parts of one size to within one."""
    return range(total * index // parts, total * (index + 1) // parts)


def meet() -> None:
    """Make the group in which objects are exchanged; once, by all processes, after they have met.

    Not NCCL, which would take objects through the GPUs' memory and lose patience while the main process scores.
    """
    global _OBJECTS
    if joined() and _OBJECTS is None:
        _OBJECTS = dist.new_group(backend="gloo", timeout=timedelta(days=1))


# The group of `meet`; none: all processes, by the backend that they have met by.
_OBJECTS: dist.ProcessGroup | None = None


def summed(values: Tensor) -> Tensor:
    """Sum over processes."""
    if joined():
        values = values.clone()
        dist.all_reduce(values)
    return values


def gathered(value: Any) -> list[Any]:
    """What every process has, in order, on every process."""
    if not joined():
        return [value]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value, group=_OBJECTS)
    return found


def gathered_by_main(value: Any) -> list[Any] | None:
    """What every process has, in order, on the main process; None on the others."""
    if not joined():
        return [value]
    found: list[Any] | None = [None] * count() if is_main() else None
    dist.gather_object(value, found, group=_OBJECTS)
    return found


def of_main(value: Any) -> Any:
    """What the main process has."""
    if not joined():
        return value
    found = [value]
    dist.broadcast_object_list(found, group=_OBJECTS)
    return found[0]


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if joined():
        dist.barrier(group=_OBJECTS)
