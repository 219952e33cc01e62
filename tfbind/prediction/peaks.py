"""Peaks: runs of bins above a threshold, as narrowPeak."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path

Threshold = float | np.ndarray | None


def call_peaks(probabilities: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Runs of consecutive bins at or above a threshold, both as float32.

    Parameters
    ----------
    probabilities
        (bins,).
    threshold
        Of all bins, or of each, (bins,); None calls nothing, nor does a threshold that is infinite.

    Returns
    -------
    int64 (peaks, 3): first bin, end bin, bin of the highest probability (the first of equals).
    """
    if threshold is None:
        return np.zeros((0, 3), dtype=np.int64)
    called = probabilities.astype(np.float32) >= np.asarray(threshold, dtype=np.float32)
    above = np.concatenate([[False], called, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    starts, ends = edges[::2], edges[1::2]
    tops = [start + int(np.argmax(probabilities[start:end])) for start, end in zip(starts, ends, strict=True)]
    return np.stack([starts, ends, np.asarray(tops, dtype=np.int64)], axis=1).astype(np.int64)


def write_peaks(
    path: str | Path,
    sizes: Mapping[str, int],
    probabilities: Iterable[tuple[str, int, np.ndarray, Threshold]],
    *,
    bin: int,
    name: str,
) -> int:
    """Write peaks as narrowPeak, in the order of the tracks; intervals are 0-based half-open.

    Column 5 is the probability at the summit times 1,000, column 7 that probability, 8 and 9 are -1 (not
    given), column 10 the middle of the highest bin, from the peak's start.

    Parameters
    ----------
    sizes
        Chromosomes, bp.
    probabilities
        Stretches of chromosomes: chromosome, first bin, the probabilities (bins,) from there, and the threshold
        as `call_peaks` takes it. A peak ends where its stretch ends.

    Returns
    -------
    Number of peaks.
    """
    count = 0
    with atomic_path(path) as temporary, temporary.open("w") as handle:
        for chrom, offset, values, threshold in probabilities:
            size = sizes[chrom]
            for peak in call_peaks(values, threshold):
                count += 1
                first, end, top = (int(place) + offset for place in peak)
                start, stop = first * bin, min(end * bin, size)
                summit = (top * bin + min((top + 1) * bin, size)) // 2 - start
                best = float(values[top - offset])
                handle.write(
                    f"{chrom}\t{start}\t{stop}\t{name}_{count}\t{round(1000 * best)}\t.\t"
                    f"{best:.7g}\t-1\t-1\t{summit}\n"
                )
    return count


class Peak(NamedTuple):
    """A peak of a narrowPeak file that `write_peaks` wrote: places are 0-based, half-open, bp."""

    chrom: str
    start: int
    end: int
    name: str
    score: int
    probability: float
    summit: int


def read_peaks(path: Path) -> Iterator[Peak]:
    """The peaks of a track, one at a time, in the order of the file.

    Raises
    ------
    InputError
        A row is none of a narrowPeak.
    """
    with path.open(encoding="utf-8") as handle:
        for number, line in enumerate(handle, start=1):
            cells = line.rstrip("\n").split("\t")
            try:
                start = int(cells[1])
                yield Peak(
                    cells[0],
                    start,
                    int(cells[2]),
                    cells[3],
                    int(cells[4]),
                    float(cells[6]),
                    start + int(cells[9]),
                )
            except (ValueError, IndexError):
                raise InputError(
                    "is no row of a narrowPeak", file=path, row=number, mend="render the tracks again"
                ) from None
