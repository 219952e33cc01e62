"""Intervals on the genome: peaks and bedGraph in, coverage per bin out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.progress import told
from tfbind.genome.bed import BedRows, read_rows, row_count
from tfbind.genome.names import ChromosomeNames

NARROW_PEAK_COLUMNS = 10
PIECES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class ChromosomeIntervals:
    """The intervals of one chromosome, sorted by start, then end.

    Attributes
    ----------
    start, end
        int64 (n,): 0-based half-open, bp.
    summit
        int64 (n,): bp; narrowPeak's column 10, the called position for a call of 1 bp, else the middle.
    score
        float64 (n,): column 5, NaN where there is none.
    signal
        float64 (n,): narrowPeak's column 7, NaN where there is none.
    """

    start: np.ndarray
    end: np.ndarray
    summit: np.ndarray
    score: np.ndarray
    signal: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @property
    def spans(self) -> np.ndarray:
        """int64 (n, 2): start and end."""
        return np.stack([self.start, self.end], axis=1)


def _no_intervals() -> ChromosomeIntervals:
    integers, numbers = np.zeros(0, dtype=np.int64), np.zeros(0)
    return ChromosomeIntervals(integers, integers, integers, numbers, numbers)


@dataclass(frozen=True)
class Intervals:
    """The intervals of a file by chromosome of the genome.

    `intervals[chrom]` is empty for a chromosome without any; `dropped` counts the rows on excluded ones.
    """

    by_chromosome: dict[str, ChromosomeIntervals]
    dropped: int = 0
    _empty: ChromosomeIntervals = field(default_factory=_no_intervals, repr=False)

    def __getitem__(self, chrom: str) -> ChromosomeIntervals:
        return self.by_chromosome.get(chrom, self._empty)

    @property
    def total(self) -> int:
        """How many intervals there are on all chromosomes."""
        return sum(len(intervals) for intervals in self.by_chromosome.values())


def read_intervals(
    path: str | Path,
    names: ChromosomeNames,
    sizes: Mapping[str, int],
    *,
    half_width: int | None = None,
    excluded: Collection[str] = (),
) -> Intervals:
    """Read BED (three columns or more) or narrowPeak (ten columns), plain or gzip.

    Parameters
    ----------
    half_width
        A call of 1 bp at p becomes [p - half_width, p + half_width + 1), clipped to the chromosome; longer
        intervals are kept as they are. Without it a call of 1 bp is an error.
    excluded
        Chromosomes of the genome that are left out: their rows are dropped and counted.

    Raises
    ------
    InputError
        As `tfbind.genome.bed.read_rows`; a score or signal that is no number, a summit outside its interval,
        a call of 1 bp without a half-width.
    """
    if half_width is not None and half_width < 0:
        mend = "give 0 or more bp"
        raise InputError(f"half-width {half_width} is negative", key="targets.half_width", mend=mend)
    parts, dropped = [], 0
    chromosome_sizes = np.array(list(sizes.values()), dtype=np.int64)
    for rows in read_rows(path, names, sizes, excluded=excluded):
        parts.append(_columns(rows, half_width, chromosome_sizes))
        dropped += rows.dropped
    table = np.concatenate(parts)
    table = table[np.lexsort((table["end"], table["start"], table["chromosome"]))]
    edges = np.searchsorted(table["chromosome"], np.arange(len(sizes) + 1))
    fields = ("start", "end", "summit", "score", "signal")
    by_chromosome = {
        name: ChromosomeIntervals(**{key: np.ascontiguousarray(table[key][low:high]) for key in fields})
        for name, low, high in zip(sizes, edges[:-1], edges[1:], strict=True)
        if high > low
    }
    return Intervals(by_chromosome, dropped)


def _columns(rows: BedRows, half_width: int | None, sizes: np.ndarray) -> np.ndarray:
    kinds = [(key, np.int64) for key in ("chromosome", "start", "end", "summit")]
    table = np.zeros(len(rows.start), dtype=[*kinds, ("score", np.float64), ("signal", np.float64)])
    table["chromosome"], table["start"], table["end"] = rows.chromosome, rows.start, rows.end
    table["score"] = _optional_numbers(rows, 4, "score")
    table["signal"] = np.nan
    table["summit"] = (rows.start + rows.end) // 2
    if _is_narrow_peak(rows):
        table["signal"] = _optional_numbers(rows, 6, "signalValue")
        table["summit"] = _summits(rows)
    points = rows.end - rows.start == 1
    if points.any():
        if half_width is None:
            mend = "set targets.half_width to the bp that a call stands for on either side"
            rows.block.fail(points, "a call of 1 bp, and no half-width is set", mend=mend)
        table["summit"][points] = rows.start[points]
        table["start"][points] = np.maximum(rows.start[points] - half_width, 0)
        table["end"][points] = np.minimum(rows.end[points] + half_width, sizes[rows.chromosome[points]])
    return table


def _optional_numbers(rows: BedRows, index: int, column: str) -> np.ndarray:
    """A column that rows may lack, or fill with '.': NaN there."""
    present = np.array([len(cells) > index and cells[index] != b"." for cells in rows.block.cells], dtype=bool)
    values = np.full(len(present), np.nan)
    if present.any():
        kept = np.flatnonzero(present)
        cells = [rows.block.cells[i] for i in kept.tolist()]
        values[kept] = type(rows.block)(rows.block.path, cells, rows.block.rows[kept]).numbers(index, column)
    return values


def _is_narrow_peak(rows: BedRows) -> bool:
    counts = np.array([len(cells) for cells in rows.block.cells], dtype=np.int64)
    if ".narrowpeak" in rows.block.path.name.lower() and (bad := counts != NARROW_PEAK_COLUMNS).any():
        mend = "give narrowPeak's ten columns, or name the file .bed"
        rows.block.fail(bad, "a narrowPeak row has 10 columns, this one has {}", counts, mend=mend)
    return len(counts) > 0 and bool((counts == NARROW_PEAK_COLUMNS).all())


def _summits(rows: BedRows) -> np.ndarray:
    """Column 10 is the summit's distance from the start; -1 says that none was called."""
    offset, width = rows.block.integers(9, "peak"), rows.end - rows.start
    if (bad := (offset < -1) | (offset > width)).any():
        rows.block.fail(bad, "summit offset {} is outside the peak", offset, column="peak")
    # Published peaks (ENCODE's, of SPP) round some summits up to the peak's end: they are its last base.
    return np.where(offset < 0, (rows.start + rows.end) // 2, rows.start + np.minimum(offset, width - 1))


def read_bedgraph(
    path: str | Path, names: ChromosomeNames, sizes: Mapping[str, int], *, excluded: Collection[str] = ()
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], int]:
    """Read a bedGraph: chromosome -> (start int64, end int64, value float64), sorted; and the rows dropped.

    Raises
    ------
    InputError
        As `tfbind.genome.bed.read_rows`; a value that is no finite number, or intervals that overlap.
    """
    parts, dropped = [], 0
    blocks = read_rows(path, names, sizes, columns=4, excluded=excluded)
    for rows in told(blocks, f"reading {Path(path).name}", None, unit="rows", amount=row_count):
        values = rows.block.numbers(3, "value")
        parts.append((rows.chromosome, rows.start, rows.end, values))
        dropped += rows.dropped
    chromosome, start, end, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    by_chromosome = {}
    for index, name in enumerate(sizes):
        mine = np.flatnonzero(chromosome == index)
        mine = mine[np.argsort(start[mine], kind="stable")]
        if len(mine) == 0:
            continue
        if (overlaps := end[mine[:-1]] > start[mine[1:]]).any():
            where = start[mine[1:]][overlaps][0]
            mend = "merge them, so that each base has one value"
            raise InputError(f"bedGraph intervals overlap at {name}:{where}", file=path, mend=mend)
        by_chromosome[name] = (start[mine], end[mine], value[mine])
    return by_chromosome, dropped


def bin_count(size: int, bin: int) -> int:
    """ceil(size / bin): the last bin of a chromosome may be shorter."""
    return -(-size // bin)


def bin_edges(size: int, bin: int) -> np.ndarray:
    """int64 (ceil(size / bin) + 1,): where the bins begin, and the chromosome's end."""
    return np.minimum(np.arange(bin_count(size, bin) + 1, dtype=np.int64) * bin, size)


def merge(intervals: np.ndarray) -> np.ndarray:
    """The union of intervals (n, 2) as sorted, disjoint, non-touching int64 (m, 2)."""
    intervals = np.asarray(intervals, dtype=np.int64).reshape(-1, 2)
    if len(intervals) == 0:
        return intervals
    intervals = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reach = np.maximum.accumulate(intervals[:, 1])
    first = np.flatnonzero(np.concatenate([[True], intervals[1:, 0] > reach[:-1]]))
    last = np.append(first[1:], len(intervals)) - 1
    return np.stack([intervals[first, 0], reach[last]], axis=1)


def depth_per_bin(start: np.ndarray, end: np.ndarray, size: int, bin: int) -> np.ndarray:
    """The bp of each bin that intervals cover, counted once an interval: int64 (ceil(size / bin),), exact.

    The intervals may overlap one another and reach over the chromosome's ends. With A(x) the sum of
    max(0, x - a) over the starts a and B(x) the same over the ends, a bin [s, e) holds
    (A(e) - B(e)) - (A(s) - B(s)).
    """
    edges = bin_edges(size, bin)
    return np.diff(_passed(start, edges) - _passed(end, edges))


def _passed(points: np.ndarray, edges: np.ndarray) -> np.ndarray:
    points = np.sort(np.asarray(points, dtype=np.int64))
    sums = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(points)])
    count = np.searchsorted(points, edges, side="right")
    return edges * count - sums[count]


def coverage_fraction(intervals: np.ndarray, size: int, bin: int) -> np.ndarray:
    """Fraction of each bin's bp that the union of intervals (n, 2) covers: float32 (ceil(size / bin),).

    The last bin's bp end with the chromosome.
    """
    union = merge(intervals)
    covered = depth_per_bin(union[:, 0], union[:, 1], size, bin)
    return (covered / np.diff(bin_edges(size, bin))).astype(np.float32)


def cut(array: np.ndarray, start: int, length: int, fill: float) -> np.ndarray:
    """`length` rows of an array from row `start`, which may be negative; `fill` off its ends.

    Rows that all lie in the array are a read-only view of it, others a copy.
    """
    stop = start + length
    if start >= 0 and stop <= len(array):
        # Of a plain array: to cut a memory map takes NumPy five times as long.
        view = array[start:stop] if type(array) is np.ndarray else np.asarray(array)[start:stop]
        view.flags.writeable = False
        return view
    out = np.full((length, *array.shape[1:]), fill, dtype=array.dtype)
    low, high = max(start, 0), min(stop, len(array))
    if low < high:
        out[low - start : high - start] = array[low:high]
    return out


def mean_per_bin(start: np.ndarray, end: np.ndarray, value: np.ndarray, size: int, bin: int) -> np.ndarray:
    """Mean per bin of a signal given by disjoint intervals, 0 elsewhere: float64 (ceil(size / bin),).

    Intervals are cut at the bins' edges and the pieces added up: bins without signal are 0 exactly.
    """
    total = np.zeros(bin_count(size, bin))
    start, end, value = (array[value != 0] for array in (start, end, value))
    first = start // bin
    pieces = (end - 1) // bin - first + 1
    # Many pieces at once are fast, all of a genome's at once would not fit into memory.
    groups = np.searchsorted(np.cumsum(pieces), np.arange(PIECES_AT_ONCE, pieces.sum(), PIECES_AT_ONCE))
    for group in np.split(np.arange(len(start)), np.unique(groups)):
        repeated = np.repeat(group, pieces[group])
        offset = np.arange(len(repeated)) - np.repeat(np.cumsum(pieces[group]) - pieces[group], pieces[group])
        index = first[repeated] + offset
        overlap = np.minimum(end[repeated], (index + 1) * bin) - np.maximum(start[repeated], index * bin)
        total += np.bincount(index, weights=overlap * value[repeated], minlength=len(total))
    return total / np.diff(bin_edges(size, bin))
