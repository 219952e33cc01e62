"""Work in pieces that fit a cache: one thread a piece on a CPU, one after the other elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import local

import torch
from torch import Tensor


class Scratch:
    """Memory that is used again for each piece: fresh memory costs more than what is computed in it."""

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Memory of this name, its content undefined, until it is asked for again."""
        size = torch.Size(shape)
        flat = self._flat.get((name, like.dtype))
        if flat is None or flat.numel() < size.numel():
            flat = self._flat[name, like.dtype] = like.new_empty(size.numel())
        return flat[: size.numel()].view(size)


class Workers:
    """Threads that share pieces of work. Each computes alone: what it finds does not hang on their number."""

    def __init__(self, pool: ThreadPoolExecutor | None) -> None:
        self._pool, self._local = pool, local()

    def run(self, work: Callable[..., None], pieces: Sequence[tuple]) -> None:
        """Call `work(scratch, *piece)` for each piece; the first error is raised."""
        if self._pool is None or len(pieces) == 1:
            for piece in pieces:
                self._call(work, piece)
            return
        for _ in self._pool.map(lambda piece: self._call(work, piece), pieces):
            pass

    @torch.inference_mode()
    def _call(self, work: Callable[..., None], piece: tuple) -> None:
        if not hasattr(self._local, "scratch"):
            self._local.scratch = Scratch()
        work(self._local.scratch, *piece)


@contextmanager
def workers(device: torch.device) -> Iterator[Workers]:
    """As many as torch has threads, on a CPU; else none but the caller."""
    if device.type != "cpu":
        yield Workers(None)
        return
    with single_threads() as (pool, _):
        yield Workers(pool)


@contextmanager
def single_threads() -> Iterator[tuple[ThreadPoolExecutor | None, int]]:
    """As many threads as torch has, each of which computes with one, and their number; no pool if that is 1.

    When the block ends they have ended, and what had not begun is not done. The caller, too, computes with one
    thread until then. So does, for good, any other thread whose first operation of torch falls within the block:
    torch gives a thread the number that holds when it begins. tfbind's other threads read and write, and compute
    nothing that is worth more than one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1:
            yield None, threads
            return
        pool = ThreadPoolExecutor(threads, "single", initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield pool, threads
        finally:
            pool.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(threads)


def pieces_of(length: int, size: int) -> list[tuple[int, int]]:
    """Starts and ends, in order, of as few pieces as possible of at most `size`, about equally long."""
    count = -(-length // max(1, size))
    return [(length * i // count, length * (i + 1) // count) for i in range(count)]
