"""Running a trained model's trunk over a genome: DNA tokens, by stretches of windows."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tfbind.core.errors import InputError
from tfbind.core.threads import ahead
from tfbind.genome.intervals import bin_count
from tfbind.genome.windows import WindowStretch
from tfbind.model.binding import BindingModel
from tfbind.model.inference_trunk import Stretch
from tfbind.model.precision import compute_dtype

# The last bits of a product depend on how many rows it has; so on a CPU a stretch always goes through alone, and
# a genome comes out the same, to the byte, however it is divided.
AT_ONCE_ON_CPU = 1
# A GPU is busy with so many bp at once, and gains nothing by more.
MOST_BP = 2**23
# Stretches that are read before they are needed: a byte a base, 1 MB each where windows are Enformer's.
READ_AHEAD = 32
# Of the memory that is free on a GPU, what more stretches at once may take.
FREE_SHARE = 0.8


def embed_stretches(
    model: BindingModel,
    fetch: Callable[[str, int, int], np.ndarray],
    stretches: Sequence[WindowStretch],
    *,
    batch_size: int | None = None,
    precision: str = "fp32",
    trunk: Callable[[Tensor, Stretch], Tensor] | None = None,
) -> Iterator[tuple[WindowStretch, np.ndarray]]:
    """DNA tokens of the cores of stretches. A thread reads ahead; a GPU computes ahead by one batch.

    Parameters
    ----------
    fetch
        (chromosome, start, end) in bp -> base codes uint8, N off the chromosome. Called by another thread.
    batch_size
        Most stretches through a GPU at once; None: as many as its free memory holds. A CPU takes one at a time.
    precision
        `fp32`, `bf16` or `fp16`: of the trunk's products (see `precision_on`).
    trunk
        What says the same as the model's trunk, as an `InferenceTrunk` is called; none: the trunk, for inference.

    Yields
    ------
    Each stretch with float16 (bins of its cores, rank); what 16 bits do not hold is infinite.

    Raises
    ------
    InputError
        There is not enough memory for one stretch.
    """
    device = next(model.parameters()).device
    model.eval()
    trunk = trunk or model.trunk.for_inference(compute_dtype(device, precision))
    compute = partial(_compute, model, trunk, device)
    at_once = _AtOnce(device, batch_size)
    running: deque[_Running] = deque()
    with ahead(partial(_read, fetch, device), stretches, READ_AHEAD) as read:
        for batch in _of_one_shape(zip(stretches, read, strict=True), at_once):
            for part, tokens in _embedded(batch, compute, at_once):
                running.append(_Running(part, tokens))
                if device.type == "cpu" or len(running) > 1:
                    yield from running.popleft().found(model.bin)
        for last in running:
            yield from last.found(model.bin)


def tokens_in_place(
    found: Iterable[tuple[WindowStretch, np.ndarray]], sizes: Mapping[str, int], bin: int
) -> dict[str, np.ndarray]:
    """DNA tokens (bins, rank) of whole chromosomes, from those of some stretches; 0 elsewhere."""
    tokens: dict[str, np.ndarray] = {}
    for stretch, values in found:
        if stretch.chrom not in tokens:
            # Pages of zeros that are never touched take no memory.
            shape = (bin_count(sizes[stretch.chrom], bin), values.shape[1])
            tokens[stretch.chrom] = np.zeros(shape, dtype=values.dtype)
        first = stretch.core_start // bin
        tokens[stretch.chrom][first : first + len(values)] = values
    return tokens


# A stretch and its base codes, uint8 (bp,).
Loaded = tuple[WindowStretch, Tensor]


def _read(fetch: Callable[[str, int, int], np.ndarray], device: torch.device, stretch: WindowStretch) -> Tensor:
    # A copy: what is fetched may be a view of the genome on disk, read when it is needed.
    codes = torch.tensor(fetch(stretch.chrom, stretch.start, stretch.end))
    if device.type != "cuda":
        return codes
    # Where a GPU can take them while it computes. Another thread would else turn to the machine's first GPU.
    with torch.cuda.device(device):
        return codes.pin_memory()


def _compute(
    model: BindingModel,
    trunk: Callable[[Tensor, Stretch], Tensor],
    device: torch.device,
    batch: Sequence[Loaded],
) -> Tensor:
    """DNA tokens of stretches of one shape, float16 (stretches, bins, rank), on the device."""
    stretch = batch[0][0]
    with torch.inference_mode():
        codes = torch.stack([codes.to(device, non_blocking=True) for _, codes in batch])
        layout = Stretch(stretch.windows, stretch.length, stretch.core, model.bin)
        return model.stretch_tokens(codes, layout, trunk).flatten(1, 2).half()


def _of_one_shape(loaded: Iterable[Loaded], at_once: _AtOnce) -> Iterator[list[Loaded]]:
    """Consecutive stretches of equally many windows, as many as go through at once."""
    batch: list[Loaded] = []
    for stretch, codes in loaded:
        full = len(batch) >= at_once.most_of(len(codes))
        if batch and (full or stretch.windows != batch[0][0].windows):
            yield batch
            batch = []
        batch.append((stretch, codes))
    if batch:
        yield batch


def _embedded(
    batch: Sequence[Loaded], compute: Callable[[Sequence[Loaded]], Tensor], at_once: _AtOnce
) -> Iterator[tuple[Sequence[Loaded], Tensor]]:
    """A batch and its tokens; in smaller parts where there was not enough memory for it."""
    done = 0
    while done < len(batch):
        part = batch[done : done + at_once.now]
        tokens = at_once.tried(compute, part)
        if tokens is not None:
            done += len(part)
            yield part, tokens


class _Running:
    """Tokens on their way from the device: a GPU may still be computing them."""

    def __init__(self, batch: Sequence[Loaded], tokens: Tensor) -> None:
        self.stretches = [stretch for stretch, _ in batch]
        self.tokens, self.arrived = tokens, None
        if tokens.device.type == "cuda":
            self.tokens = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=True)
            self.tokens.copy_(tokens, non_blocking=True)
            self.arrived = torch.cuda.Event()
            self.arrived.record()

    def found(self, bin: int) -> Iterator[tuple[WindowStretch, np.ndarray]]:
        """Each stretch with the tokens of its bins that lie on the chromosome."""
        if self.arrived is not None:
            self.arrived.synchronize()
        for stretch, tokens in zip(self.stretches, self.tokens.numpy(), strict=True):
            yield stretch, tokens[: bin_count(stretch.core_end - stretch.core_start, bin)]


class _AtOnce:
    """How many stretches go through the model at once.

    On a GPU first one, then twice as many again and again while memory is free for that, or up to `most`; half as
    many when it runs out.

    Attributes
    ----------
    now
        Number of stretches.
    """

    def __init__(self, device: torch.device, most: int | None) -> None:
        self.device = device
        if device.type == "cpu":
            self.now = self.most = AT_ONCE_ON_CPU
        else:
            self.now, self.most = 1, most

    def most_of(self, bp: int) -> int:
        """How many of so many bp."""
        return min(self.now, max(1, MOST_BP // bp))

    def tried(self, compute: Callable[[Sequence[Loaded]], Tensor], batch: Sequence[Loaded]) -> Tensor | None:
        """What is computed of a batch; None if there was not enough memory: then there is less to try.

        Raises
        ------
        InputError
            There is nothing less than one stretch.
        """
        try:
            found = compute(batch)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            told = str(error).splitlines()[0]
        else:
            if len(batch) == self.now and self._is_free():
                self.now = 2 * self.now if self.most is None else min(2 * self.now, self.most)
            return found
        # Only here, where the error is gone, is nothing left of what was computed.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._take_less(batch, told)
        return None

    def _is_free(self) -> bool:
        """Whether there is room for as much again as is at work."""
        if self.device.type == "cpu" or self.now == self.most:
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        working = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return working <= FREE_SHARE * free

    def _take_less(self, batch: Sequence[Loaded], told: str) -> None:
        stretch = batch[0][0]
        if len(batch) == 1:
            raise InputError(
                f"{stretch.windows} windows of {stretch.length} bp do not fit into memory together ({told})",
                key="windows.length",
                mend="run on a device with more memory or with nothing else on it, or train with shorter windows "
                "or a smaller model.trunk",
            )
        self.now = self.most = max(1, len(batch) // 2)
        print(
            f"not enough memory for {len(batch)} stretches of {stretch.windows} windows at once; going on with "
            f"{self.now}",
            file=sys.stderr,
            flush=True,
        )


def _is_out_of_memory(error: Exception) -> bool:
    """Whether torch, one of its libraries or NumPy says so; only some of them have an error of its own for it."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    told = ("out of memory", "not enough memory", "DefaultCPUAllocator", "ALLOC_FAILED")
    return isinstance(error, kinds) or any(each in str(error) for each in told)
