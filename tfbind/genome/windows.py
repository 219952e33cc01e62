"""Windows: the stretches of DNA that go through the trunk, and the core of each that is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tfbind.core.errors import InputError
from tfbind.genome.regions import Region

# A stretch holds so many windows, or more if they are short: their cores are then about so many bp together.
LEAST_WINDOWS = 8
SHORT_CORES_BP = 2**16


@dataclass(frozen=True)
class WindowStretch:
    """Consecutive windows of a chromosome, whose cores lie end to end; 0-based half-open, bp.

    Attributes
    ----------
    chrom
        The chromosome.
    core_start, core_end
        What is kept: all cores together. core_start is a multiple of the core, core_end is at most the
        chromosome's size.
    length, core
        Of each window, and of the core in its middle.
    """

    chrom: str
    core_start: int
    core_end: int
    length: int
    core: int

    @property
    def windows(self) -> int:
        """Number of windows."""
        return -(-(self.core_end - self.core_start) // self.core)

    @property
    def start(self) -> int:
        """Where the first window starts; may lie before the chromosome, where the sequence is N."""
        return self.core_start - (self.length - self.core) // 2

    @property
    def end(self) -> int:
        """Where the last window ends; may lie past the chromosome's end."""
        return self.start + self.length + (self.windows - 1) * self.core


def tile(
    sizes: Mapping[str, int],
    *,
    length: int,
    core: int,
    bin: int,
    n_runs: Callable[[str], np.ndarray] | None = None,
) -> list[WindowStretch]:
    """Cover the genome with windows whose cores are laid end to end from 0 on every chromosome, in stretches.

    Which windows make a stretch follows from their place on the chromosome alone: it is cut after every
    `windows_a_stretch`, and where windows are left out.

    Parameters
    ----------
    sizes
        Chromosome sizes, bp; the stretches keep their order.
    length, core, bin
        Length of a window, of its core and of a bin, bp.
    n_runs
        Gives a chromosome's runs of N as sorted, disjoint int64 (n, 2); windows whose core is all N are left
        out.

    Returns
    -------
    list of WindowStretch
        Every bin of the genome is in exactly one core (bar those in cores that are all N).

    Raises
    ------
    InputError
        Lengths that do not fit together, or a window longer than every chromosome.
    """
    _check_lengths(sizes, length, core, bin)
    stretches = []
    for chrom, size in sizes.items():
        runs = n_runs(chrom) if n_runs is not None else np.zeros((0, 2), dtype=np.int64)
        for first, end in _runs_of_windows(size, core, runs):
            stretches.append(WindowStretch(chrom, first * core, min(end * core, size), length, core))
    return stretches


def stretches_near(
    stretches: Iterable[WindowStretch], regions: Sequence[Region], reach: int
) -> list[WindowStretch]:
    """The stretches whose cores lie in one of the regions, or less than `reach` bp from it."""
    return [
        stretch
        for stretch in stretches
        if any(
            region.chrom == stretch.chrom
            and stretch.core_start < region.end + reach
            and region.start - reach < stretch.core_end
            for region in regions
        )
    ]


def windows_a_stretch(core: int) -> int:
    """Most windows of a stretch: enough that what neighbours share is computed once, few enough for memory."""
    return max(LEAST_WINDOWS, SHORT_CORES_BP // core)


def shard(stretches: Sequence[WindowStretch], count: int) -> list[list[WindowStretch]]:
    """Cut stretches into `count` consecutive lists of about equally many windows, fewer where they run out."""
    if count < 1:
        raise ValueError(f"a number of shards below 1: {count}")
    count = min(count, len(stretches))
    before = np.cumsum([0, *(stretch.windows for stretch in stretches)])
    # Each edge lies at the stretch that starts nearest to it, and no list is left empty.
    edges = [0]
    for index in range(1, count):
        nearest = int(np.abs(before - before[-1] * index / count).argmin())
        edges.append(min(max(nearest, edges[-1] + 1), len(stretches) - (count - index)))
    return [list(stretches[low:high]) for low, high in pairwise([*edges, len(stretches)])] if count else []


def _runs_of_windows(size: int, core: int, n_runs: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and end, counted in windows, of each stretch of a chromosome."""
    starts = np.arange(0, size, core, dtype=np.int64)
    kept = np.flatnonzero(~_inside_a_run(starts, np.minimum(starts + core, size), n_runs))
    if not len(kept):
        return
    cut = (np.diff(kept) > 1) | (np.diff(kept // windows_a_stretch(core)) > 0)
    for low, high in pairwise([0, *(np.flatnonzero(cut) + 1).tolist(), len(kept)]):
        yield int(kept[low]), int(kept[high - 1]) + 1


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
