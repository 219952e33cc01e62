"""Windows: the stretches of DNA that go through the trunk, and the core of each that is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tfbind.core.errors import InputError


@dataclass(frozen=True)
class Window:
    """A stretch of a chromosome; 0-based half-open, bp.

    Attributes
    ----------
    chrom
        The chromosome.
    start, end
        The window; both may lie outside the chromosome, where the sequence is N.
    core_start, core_end
        What is kept of it; core_start is a multiple of the bin, core_end is at most the chromosome's size.
    """

    chrom: str
    start: int
    end: int
    core_start: int
    core_end: int


def tile(
    sizes: Mapping[str, int],
    *,
    length: int,
    core: int,
    bin: int,
    n_runs: Callable[[str], np.ndarray] | None = None,
) -> list[Window]:
    """Cover the genome with windows whose cores are laid end to end from 0 on every chromosome.

    Parameters
    ----------
    sizes
        Chromosome sizes, bp; the windows keep their order.
    length, core, bin
        Length of a window, of its core and of a bin, bp.
    n_runs
        Gives a chromosome's runs of N as sorted, disjoint int64 (n, 2); windows whose core is all N are left
        out.

    Returns
    -------
    list of Window
        Every bin of the genome is in exactly one core (bar those in cores that are all N).

    Raises
    ------
    InputError
        Lengths that do not fit together, or a window longer than every chromosome.
    """
    _check_lengths(sizes, length, core, bin)
    flank = (length - core) // 2
    windows = []
    for chrom, size in sizes.items():
        runs = n_runs(chrom) if n_runs is not None else np.zeros((0, 2), dtype=np.int64)
        starts = np.arange(0, size, core, dtype=np.int64)
        ends = np.minimum(starts + core, size)
        kept = ~_inside_a_run(starts, ends, runs)
        for start, end in zip(starts[kept].tolist(), ends[kept].tolist(), strict=True):
            windows.append(Window(chrom, start - flank, start + core + flank, start, end))
    return windows


def shard(windows: Sequence[Window], count: int) -> list[list[Window]]:
    """Cut windows into `count` consecutive lists, fewer where they run out, of one length to within one."""
    if count < 1:
        raise ValueError(f"a number of shards below 1: {count}")
    count = min(count, len(windows))
    edges = [len(windows) * i // count for i in range(count + 1)] if count else []
    return [list(windows[low:high]) for low, high in pairwise(edges)]


def _inside_a_run(starts: np.ndarray, ends: np.ndarray, runs: np.ndarray) -> np.ndarray:
    if len(runs) == 0:
        return np.zeros(len(starts), dtype=bool)
    before = np.searchsorted(runs[:, 0], starts, side="right") - 1
    return (before >= 0) & (runs[np.maximum(before, 0), 1] >= ends)


def _check_lengths(sizes: Mapping[str, int], length: int, core: int, bin: int) -> None:
    for key, value in (("length", length), ("core", core), ("bin", bin)):
        if value < 1:
            raise InputError(f"{value} bp", key=f"windows.{key}", mend="give a positive number of bp")
    for key, value in (("length", length), ("core", core)):
        if value % bin:
            mend = f"give a multiple of the bin, such as {max(1, value // bin) * bin}"
            raise InputError(f"{value} bp is no multiple of the bin of {bin} bp", key=f"windows.{key}", mend=mend)
    if core > length:
        problem = f"a core of {core} bp is longer than the window of {length} bp"
        raise InputError(problem, key="windows.core", mend="give a core of the window's length or less")
    if (length - core) % (2 * bin):
        flank = f"(length {length} - core {core}) / 2 = {(length - core) / 2:g} bp"
        problem = f"the flanks, {flank}, are no multiple of the bin of {bin} bp"
        mend = f"give a core an even number of bins shorter than the window, such as {core - bin or length}"
        raise InputError(problem, key="windows.core", mend=mend)
    longest = max(sizes.values(), default=0)
    if length > longest:
        problem = f"a window of {length} bp is longer than every chromosome (the longest has {longest} bp)"
        raise InputError(
            problem, key="windows.length", mend="give shorter windows or a genome with longer sequences"
        )
