"""bigWig in and out, one value a bin."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path
from tfbind.genome.bigwig_writer import write_values
from tfbind.genome.intervals import bin_count, mean_per_bin
from tfbind.genome.names import ALIASES_MEND, ChromosomeNames, listed

MAGIC = (bytes.fromhex("26fc8f88"), bytes.fromhex("888ffc26"))
# pyBigWig hands intervals over as Python objects: spans of this many bp bound how many there are at a time.
SPAN = 1 << 22
LARGEST_VALUE, LARGEST_SIZE = 1e38, (1 << 32) - 1


@dataclass(frozen=True)
class Track:
    """A bigWig to write; the fields are what `write_bigwig` takes."""

    path: Path
    sizes: Mapping[str, int]
    values: Iterable[tuple[str, np.ndarray]]
    bin: int


def write_bigwig(
    path: str | Path,
    sizes: Mapping[str, int],
    values: Iterable[tuple[str, np.ndarray]],
    bin: int,
    part: range | None = None,
) -> None:
    """Write one value a bin, each as the float32 nearest to it; the same values give the same bytes.

    Rounded values make small files: see `round_fixed` and `round_relative`. Every base of a chromosome that is
    given has a value, 0 included; one that is not given has none.

    Parameters
    ----------
    path
        The bigWig; it appears when it is whole.
    sizes
        All chromosomes, bp: the header, in this order.
    values
        (chromosome, numbers (ceil(size / bin),)) in the order of `sizes`; may be a generator, of which one
        chromosome is held at a time. The last bin ends with the chromosome.
    part
        Consecutive bins that are given of each chromosome, (len(part),); bases elsewhere have no value. By
        default, all.

    Raises
    ------
    InputError
        A value is NaN, infinite or too large. All of a collection is looked at before a byte is written; what
        comes from a generator, chromosome by chromosome as it comes, and no file is left.
    OSError
        The disk has no room for it.
    ValueError
        An array of the wrong length, an unknown chromosome, chromosomes out of order or twice, one of 2^32 bp or
        more.
    """
    path = Path(path)
    if too_long := [chrom for chrom, size in sizes.items() if not 0 < size <= LARGEST_SIZE]:
        raise ValueError(f"a bigWig cannot hold chromosome '{too_long[0]}' of {sizes[too_long[0]]} bp")
    if isinstance(values, Collection):
        for _ in _checked(path, sizes, values, bin, part):
            pass
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        write_values(raw, sizes, _checked(path, sizes, values, bin, part), bin, part.start if part else 0)


def write_bigwigs(tracks: Iterable[Track], workers: int) -> None:
    """Write many bigWigs, `workers` at a time; each appears when it is whole.

    Threads do it: compression, which takes the time, lets others run. From a generator, one track is taken ahead
    of those that are being written.

    Raises
    ------
    InputError, OSError, ValueError
        As `write_bigwig`, of the first track that fails. Those not begun are then not written.
    """
    with ThreadPoolExecutor(workers) as pool:
        running: set[Future[None]] = set()
        try:
            for track in tracks:
                if len(running) == workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for each in done:
                        each.result()
                running.add(pool.submit(write_bigwig, track.path, track.sizes, track.values, track.bin))
            for each in as_completed(running):
                each.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _checked(
    path: Path,
    sizes: Mapping[str, int],
    values: Iterable[tuple[str, np.ndarray]],
    bin: int,
    part: range | None,
) -> Iterator[tuple[str, np.ndarray]]:
    """The values as float32, once they are known to fit."""
    order = {chrom: index for index, chrom in enumerate(sizes)}
    last = -1
    for chrom, given in values:
        if order.get(chrom, -1) <= last:
            raise ValueError(f"chromosome '{chrom}' is unknown or out of the order of {list(sizes)}")
        last = order[chrom]
        array, count = np.asarray(given), bin_count(sizes[chrom], bin)
        bins = range(count) if part is None else part
        if array.shape != (len(bins),) or not 0 <= bins.start < bins.stop <= count:
            given = array.shape if part is None else f"{array.shape} of {part}"
            raise ValueError(f"{chrom} of {sizes[chrom]} bp has {count} bins of {bin} bp, not {given}")
        if len(wrong := np.flatnonzero(~(np.abs(array) <= LARGEST_VALUE))):
            at = int(wrong[0])
            where = f"{chrom}:{bins[at] * bin}"
            problem = f"value {array[at]} at {where} is not a finite number that a bigWig can hold"
            raise InputError(problem, file=path, mend="find out what made it: a track holds finite values only")
        yield chrom, array.astype(np.float32)


def round_fixed(values: np.ndarray, bits: int) -> np.ndarray:
    """Round to multiples of 2^-bits: float32 of the same shape, exactly such a multiple below 2^(24 - bits)."""
    scale = np.float32(2**bits)
    return np.rint(np.asarray(values, dtype=np.float32) * scale) / scale


def round_relative(values: np.ndarray, bits: int) -> np.ndarray:
    """Round to so many bits after the leading one, 1 to 22: float32 of the same shape.

    A value is off by 2^-(bits + 1) of itself at most; halves go to the even neighbour. What is not finite stays.
    """
    values = np.asarray(values, dtype=np.float32)
    cleared = 23 - bits
    number = values.view(np.uint32)
    half = np.uint32((1 << (cleared - 1)) - 1) + ((number >> np.uint32(cleared)) & np.uint32(1))
    rounded = (number + half) & np.uint32(0xFFFFFFFF << cleared & 0xFFFFFFFF)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)


def _is_whole(path: Path) -> bool:
    """Whether a bigWig ends with the number it begins with."""
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(max(0, path.stat().st_size - 4))
        return magic in MAGIC and raw.read(4) == magic


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
    path: str | Path, names: ChromosomeNames, chrom: str, size: int, first: int = 0, last: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The entries of a bigWig on a chromosome.

    Parameters
    ----------
    size
        The chromosome's, in the genome, bp.
    first, last
        0-based half-open, bp: entries are read here alone, and cut at the ends; by default, everywhere.

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
            stop = size if last is None else last
            lows = range(first, stop, SPAN)
            parts = [_entries(handle, path, theirs, low, min(low + SPAN, stop)) for low in lows]
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


def read_chromosome_bins(
    path: str | Path, names: ChromosomeNames, chrom: str, size: int, bin: int, bins: range | None = None
) -> np.ndarray:
    """Mean per bin over a chromosome, or over some consecutive `bins` of it: float32; without a value is 0.

    The last bin's mean is over the bp it has. Errors as `bigwig_intervals`.
    """
    bins = range(bin_count(size, bin)) if bins is None else bins
    first, last = bins.start * bin, min(bins.stop * bin, size)
    start, end, value = bigwig_intervals(path, names, chrom, size, first, last)
    return mean_per_bin(start - first, end - first, value, last - first, bin).astype(np.float32)


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
