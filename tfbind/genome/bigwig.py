"""bigWig in and out, one value a bin."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path, full_disk
from tfbind.genome.intervals import bin_count, mean_per_bin
from tfbind.genome.names import ALIASES_MEND, ChromosomeNames, listed

MAGIC = (bytes.fromhex("26fc8f88"), bytes.fromhex("888ffc26"))
ENTRIES_AT_ONCE = 1 << 18
# pyBigWig hands intervals over as Python objects: spans of this many bp bound how many there are at a time.
SPAN = 1 << 22
SMALLEST, LARGEST = 1e-30, 1e38
# Of an entry and its share of the summaries at lower resolution, uncompressed; and of header and indices.
BYTES_AN_ENTRY, ROOM = 24, 1 << 16


def write_bigwig(
    path: str | Path,
    sizes: Mapping[str, int],
    values: Iterable[tuple[str, np.ndarray]],
    bin: int,
    *,
    digits: int = 3,
) -> None:
    """Write one value a bin; the same values give the same bytes.

    Parameters
    ----------
    path
        The bigWig; it appears when it is whole.
    sizes
        All chromosomes, bp: the header, in this order.
    values
        (chromosome, float (ceil(size / bin),)) in the order of `sizes`; may be a generator. The last bin ends
        with the chromosome. Neighbours of equal value become one entry.
    digits
        Values are rounded to so many significant digits.

    Raises
    ------
    InputError
        A value is NaN or infinite.
    OSError
        The disk has no room for it.
    ValueError
        An array of the wrong length, an unknown chromosome, or chromosomes out of order.
    """
    import pyBigWig

    order = {chrom: index for index, chrom in enumerate(sizes)}
    last = -1
    with atomic_path(path) as temporary:
        handle = pyBigWig.open(str(temporary), "w")
        try:
            handle.addHeader([(chrom, int(size)) for chrom, size in sizes.items()])
            for chrom, array in values:
                if order.get(chrom, -1) <= last:
                    raise ValueError(f"chromosome '{chrom}' is unknown or out of the order of {list(sizes)}")
                last = order[chrom]
                _write_chromosome(handle, Path(path), chrom, sizes[chrom], array, bin, digits)
        finally:
            handle.close()
        if not _is_whole(temporary):
            raise full_disk(path)


def _is_whole(path: Path) -> bool:
    """Whether a bigWig ends with the number it begins with."""
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(max(0, path.stat().st_size - 4))
        return magic in MAGIC and raw.read(4) == magic


def _require_room(path: Path, entries: int) -> None:
    """On a full disk, pyBigWig crashes the process: see that there is room before."""
    if shutil.disk_usage(path.parent).free < entries * BYTES_AN_ENTRY + ROOM:
        raise full_disk(path)


def round_digits(values: np.ndarray, digits: int) -> np.ndarray:
    """Round finite values to significant digits: float64 of the same shape; below 1e-30 it is 0."""
    values = np.asarray(values, dtype=np.float64)
    size = np.abs(values)
    kept = size >= SMALLEST
    exponent = np.floor(np.log10(size, where=kept, out=np.zeros_like(values)))
    scale = 10.0 ** (digits - 1 - exponent)
    return np.where(kept, np.round(values * scale) / scale, 0.0)


def _write_chromosome(
    handle: Any, path: Path, chrom: str, size: int, array: np.ndarray, bin: int, digits: int
) -> None:
    array = np.asarray(array)
    if array.shape != (bin_count(size, bin),):
        problem = f"{chrom} of {size} bp has {bin_count(size, bin)} bins of {bin} bp, not {array.shape}"
        raise ValueError(problem)
    if len(wrong := np.flatnonzero(~(np.abs(array) <= LARGEST))):
        at = int(wrong[0])
        problem = f"value {array[at]} at {chrom}:{at * bin} is not a finite number that a bigWig can hold"
        raise InputError(problem, file=path, mend="find out what made it: a track holds finite values only")
    rounded = round_digits(array, digits).astype(np.float32)
    first = np.concatenate([[0], np.flatnonzero(rounded[1:] != rounded[:-1]) + 1]).astype(np.int64)
    start = first * bin
    end = np.append(start[1:], size)
    value = rounded[first].astype(np.float64)
    _require_room(path, len(first))
    for low in range(0, len(first), ENTRIES_AT_ONCE):
        part = slice(low, low + ENTRIES_AT_ONCE)
        names = [chrom] * len(start[part])
        handle.addEntries(names, start[part], ends=end[part], values=value[part])


@contextmanager
def open_bigwig(path: str | Path) -> Iterator[Any]:
    """Open a bigWig to read; an InputError where it is missing, none, or truncated."""
    import pyBigWig

    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file", file=path, mend="check the path")
    with path.open("rb") as raw:
        if raw.read(4) not in MAGIC:
            raise InputError("not a bigWig", file=path, mend="give a bigWig, or name the file by what it is")
    # Reading on where it is not may crash the process.
    if not _is_whole(path):
        mend = "download or copy the file again and compare its sha256"
        raise InputError("truncated bigWig: its end mark is missing", file=path, mend=mend)
    try:
        handle = pyBigWig.open(str(path))
    except RuntimeError as error:
        raise InputError(
            f"cannot be read as a bigWig ({error})", file=path, mend="make the file again"
        ) from error
    try:
        yield handle
    finally:
        handle.close()


def bigwig_chromosomes(handle: Any, path: str | Path, names: ChromosomeNames) -> dict[str, str]:
    """The genome's name -> the bigWig's, for those that resolve.

    Raises
    ------
    InputError
        None resolves (both sides are listed), or two resolve to one chromosome.
    """
    found: dict[str, str] = {}
    for theirs in handle.chroms():
        ours = names.resolve(theirs)
        if ours is None:
            continue
        if ours in found:
            problem = f"'{found[ours]}' and '{theirs}' are both the genome's '{ours}'"
            raise InputError(problem, file=path, mend="keep one of them in the file")
        found[ours] = theirs
    if not found:
        theirs, ours = listed(handle.chroms()), listed(names.names)
        problem = f"no chromosome name resolves; the file has: {theirs}; the genome has: {ours}"
        raise InputError(problem, file=path, mend=ALIASES_MEND)
    return found


def bigwig_intervals(
    path: str | Path, names: ChromosomeNames, chrom: str, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The entries of a bigWig on a chromosome.

    Returns
    -------
    start, end
        int64 (n,): 0-based half-open, bp, sorted and disjoint.
    value
        float64 (n,). A chromosome that the file lacks, while it has others of the genome's, has no entries.

    Raises
    ------
    InputError
        NaN or infinity in the file, no chromosome that resolves, a chromosome whose length differs from the
        genome's, overlapping entries, no bigWig or a damaged one.
    """
    with open_bigwig(path) as handle:
        theirs = bigwig_chromosomes(handle, path, names).get(chrom)
        if theirs is None:
            parts = [np.zeros((0, 3))]
        else:
            _check_length(handle.chroms(theirs), path, chrom, size)
            parts = [_entries(handle, path, theirs, low, min(low + SPAN, size)) for low in range(0, size, SPAN)]
    table = np.concatenate([np.zeros((0, 3)), *parts])
    starts, ends = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    if len(wrong := np.flatnonzero(~np.isfinite(table[:, 2]))):
        at = int(wrong[0])
        problem = f"value {table[at, 2]} at {chrom}:{starts[at]} is not a finite number"
        raise InputError(problem, file=path, mend="leave out bases without a value instead of writing NaN")
    if len(wrong := np.flatnonzero(ends[:-1] > starts[1:])):
        problem = f"entries overlap at {chrom}:{starts[wrong[0] + 1]}"
        raise InputError(problem, file=path, mend="make the file again, with one value a base")
    return starts, ends, table[:, 2]


def read_chromosome_bins(path: str | Path, names: ChromosomeNames, chrom: str, size: int, bin: int) -> np.ndarray:
    """Mean per bin over a chromosome: float32 (ceil(size / bin),); bases without a value count as 0.

    The last bin's mean is over the bp it has. Errors as `bigwig_intervals`.
    """
    return mean_per_bin(*bigwig_intervals(path, names, chrom, size), size, bin).astype(np.float32)


def _entries(handle: Any, path: str | Path, chrom: str, start: int, end: int) -> np.ndarray:
    try:
        entries = handle.intervals(chrom, start, end)
    except RuntimeError as error:
        raise InputError(f"damaged bigWig ({error})", file=path, mend="make or download it again") from error
    table = np.array(entries or np.zeros((0, 3)), dtype=np.float64).reshape(-1, 3)
    np.clip(table[:, :2], start, end, out=table[:, :2])
    return table


def _check_length(found: int, path: str | Path, chrom: str, size: int) -> None:
    if found != size:
        problem = f"{chrom} has {found} bp in the file and {size} bp in the genome"
        raise InputError(problem, file=path, mend="give a file made for this genome's assembly")
