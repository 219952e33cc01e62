"""The next step's data, read while this step computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Generic, TypeVar

from tfbind.core.threads import ahead

T = TypeVar("T")


class Ahead(Generic[T]):
    """Prepare what consecutive steps need, one step ahead, in a thread.

    What is prepared must follow from the step alone: then it is the same whether or not it came ahead. An error
    is raised where the step asks for it. Within the block alone is anything prepared ahead.

    Parameters
    ----------
    prepare
        From the number of a step to what it needs.
    steps
        The number of steps; nothing is prepared for those beyond.

    Attributes
    ----------
    waited : float
        Seconds in which steps waited for their data, since the block began.
    """

    def __init__(self, prepare: Callable[[int], T], steps: int) -> None:
        self.prepare, self.steps = prepare, steps
        self.waited = 0.0
        self._block: ExitStack | None = None
        self._read: Iterator[T] = iter(())
        self._next = -1

    def __enter__(self) -> Ahead[T]:
        self._block, self._next, self.waited = ExitStack(), -1, 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.close()
        self._block = None

    def of(self, step: int) -> T:
        """What a step needs; the next step's is begun."""
        began = time.perf_counter()
        found = self.prepare(step) if self._block is None else self._of_thread(step)
        self.waited += time.perf_counter() - began
        return found

    def _of_thread(self, step: int) -> T:
        if step != self._next:
            self._block.close()
            self._read = self._block.enter_context(ahead(self.prepare, range(step, max(self.steps, step + 1)), 1))
        self._next = -1  # after an error, it is begun anew
        found = next(self._read)
        self._next = step + 1
        return found
