"""A cell type's accessibility track, from whatever there is of it, as a bigWig on one scale.

Fragments (10x format: chromosome, start, end, barcode, count; ends already shifted to the Tn5 cut). A row is
one fragment, whatever its count of PCR copies. It has two cut sites, at `start` and at `end - 1`. With c(p)
the number of cut sites at base p and w = `smoothing`, the signal at base x is

    s(x) = 1/w * sum of c(p) over all p with p - floor(w/2) <= x < p - floor(w/2) + w:

each cut is spread evenly over w bp around it; what falls outside the chromosome is lost.

Peaks: s(x) is the largest value of the peaks over x, else 0; a peak's value is narrowPeak's signalValue
(column 7) where it is above 0, else 1. bedGraph and bigWig: s(x) is their value, 0 where they have none.

From s, the mean S_b over each bin b of `resolution` bp is taken, and divided by its mean over the genome,

    A_b = S_b / m,   m = sum_b n_b * S_b / sum_b n_b,

with n_b the bases of bin b that are not N, b over all chromosomes of the reference but the mitochondrion
(whose many copies say nothing of chromatin). A genome's mean is thus 1, and tracks of unlike depth and kind
compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.progress import told
from tfbind.genome.bed import read_rows, row_count
from tfbind.genome.bigwig import (
    bigwig_chromosomes,
    bigwig_intervals,
    open_bigwig,
    read_chromosome_bins,
    round_relative,
    write_bigwig,
)
from tfbind.genome.intervals import (
    ChromosomeIntervals,
    bin_edges,
    depth_per_bin,
    mean_per_bin,
    read_bedgraph,
    read_intervals,
)
from tfbind.genome.reference import Reference

FRAGMENTS, PEAKS, BEDGRAPH, BIGWIG = "fragments", "peaks", "bedgraph", "bigwig"
ENDINGS = {
    FRAGMENTS: (".frag", ".frag.tsv", ".frag.bed", "fragments.tsv", "fragments.bed"),
    PEAKS: (".bed", ".narrowpeak"),
    BEDGRAPH: (".bedgraph", ".bdg"),
    BIGWIG: (".bw", ".bigwig"),
}
# Of the values in the bigWig, after the leading one: three decimal digits.
BITS = 10


def build_accessibility(
    source: Path,
    reference: Reference,
    output: Path,
    *,
    kind: str | None = None,
    smoothing: int = 150,
    resolution: int = 10,
) -> dict[str, Any]:
    """Write a cell type's accessibility bigWig; the module says by what formula.

    Parameters
    ----------
    source
        Fragments, peaks (BED or narrowPeak), bedGraph, each plain or gzip, or a bigWig.
    output
        The bigWig to write, one value per `resolution` bp, with a mean of 1 over the genome.
    kind
        `fragments`, `peaks`, `bedgraph` or `bigwig`; by default the file's name tells.
    smoothing
        Over how many bp a Tn5 cut is spread (fragments only).

    Returns
    -------
    dict
        `kind`, `rows` (fragments, peaks or entries read), `dropped` (rows on excluded chromosomes; for a
        bigWig, such chromosomes), `scale` (m, by which the signal was divided), `resolution` and, for
        fragments, `cut_sites` and `smoothing`.

    Raises
    ------
    InputError
        A kind that the name does not tell, chromosome names that do not resolve (both sides are listed),
        negative or non-finite values, a signal that is 0 everywhere, or a damaged file.
    """
    source = Path(source)
    for key, value in (("smoothing", smoothing), ("resolution", resolution)):
        if value < 1:
            raise InputError(f"{value} bp", key=f"accessibility.{key}", mend="give a positive number of bp")
    kind = _kind(source, kind)
    summary: dict[str, Any] = {"kind": kind, "resolution": resolution}
    if kind == FRAGMENTS:
        bins, found = _fragments(source, reference, smoothing, resolution)
    elif kind == PEAKS:
        bins, found = _peaks(source, reference, resolution)
    elif kind == BEDGRAPH:
        bins, found = _bedgraph(source, reference, resolution)
    else:
        bins, found = _bigwig(source, reference, resolution)
    scale = _genome_mean(bins, reference, resolution)
    if scale <= 0:
        problem = "the signal is 0 all over the genome (N and the mitochondrion aside)"
        raise InputError(problem, file=source, mend="give a file with signal on the reference's chromosomes")
    scaled = ((chrom, round_relative(bins[chrom] / scale, BITS)) for chrom in reference.sizes)
    write_bigwig(output, reference.sizes, scaled, resolution)
    return summary | found | {"scale": scale}


def binned_accessibility(
    path: Path, reference: Reference, chrom: str, bin: int, bins: range | None = None
) -> np.ndarray:
    """Mean accessibility per bin, from a bigWig: float32, over a chromosome or some consecutive bins of it."""
    return read_chromosome_bins(path, reference.names, chrom, reference.sizes[chrom], bin, bins)


def _kind(source: Path, kind: str | None) -> str:
    if kind is not None:
        if kind not in ENDINGS:
            mend = f"give one of {', '.join(ENDINGS)}, or leave it out"
            raise InputError(f"unknown kind '{kind}' of accessibility", file=source, mend=mend)
        return kind
    name = source.name.lower().removesuffix(".gz")
    for candidate, endings in ENDINGS.items():
        if name.endswith(endings):
            return candidate
    known = ", ".join(ending for endings in ENDINGS.values() for ending in endings)
    problem = "the name does not tell whether these are fragments, peaks, a bedGraph or a bigWig"
    raise InputError(problem, file=source, mend=f"name it with one of the endings {known}, or state its kind")


def _fragments(source: Path, reference: Reference, smoothing: int, resolution: int) -> tuple[dict, dict]:
    cuts: list[list[np.ndarray]] = [[] for _ in reference.sizes]
    count = dropped = 0
    blocks = read_rows(source, reference.names, reference.sizes, excluded=reference.excluded)
    for rows in told(blocks, "reading fragments", None, unit="rows", amount=row_count):
        count += len(rows.start)
        dropped += rows.dropped
        for index in np.unique(rows.chromosome).tolist():
            mine = rows.chromosome == index
            cuts[index] += [rows.start[mine], rows.end[mine] - 1]
    bins = {}
    for (chrom, size), sites in zip(reference.sizes.items(), cuts, strict=True):
        start = np.concatenate([np.zeros(0, dtype=np.int64), *sites]) - smoothing // 2
        depth = depth_per_bin(start, start + smoothing, size, resolution)
        bins[chrom] = depth / (smoothing * np.diff(bin_edges(size, resolution)))
    found = {"rows": count, "cut_sites": 2 * count, "dropped": dropped, "smoothing": smoothing}
    return bins, found


def _peaks(source: Path, reference: Reference, resolution: int) -> tuple[dict, dict]:
    # A half-width of 0 leaves a peak of 1 bp what it is.
    peaks = read_intervals(source, reference.names, reference.sizes, half_width=0, excluded=reference.excluded)
    bins = {
        chrom: mean_per_bin(*_highest(peaks[chrom]), size, resolution) for chrom, size in reference.sizes.items()
    }
    return bins, {"rows": peaks.total, "dropped": peaks.dropped}


def _highest(peaks: ChromosomeIntervals) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Disjoint intervals with the largest value of the peaks over each: start, end, value."""
    value = np.where(peaks.signal > 0, peaks.signal, 1.0)
    edges = np.unique(np.concatenate([peaks.start, peaks.end]))
    painted = np.zeros(max(len(edges) - 1, 0))
    low, high = np.searchsorted(edges, peaks.start), np.searchsorted(edges, peaks.end)
    # In rising order, so that the highest peak has the last word.
    for i in np.argsort(value, kind="stable").tolist():
        painted[low[i] : high[i]] = value[i]
    return edges[:-1], edges[1:], painted


def _bedgraph(source: Path, reference: Reference, resolution: int) -> tuple[dict, dict]:
    signal, dropped = read_bedgraph(source, reference.names, reference.sizes, excluded=reference.excluded)
    for chrom, (start, _, value) in signal.items():
        _require_no_negative(source, chrom, start, value)
    nothing = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    bins = {
        chrom: mean_per_bin(*signal.get(chrom, nothing), size, resolution)
        for chrom, size in reference.sizes.items()
    }
    return bins, {"rows": sum(len(value) for _, _, value in signal.values()), "dropped": dropped}


def _bigwig(source: Path, reference: Reference, resolution: int) -> tuple[dict, dict]:
    with open_bigwig(source) as handle:
        reference.names.require_all(handle.chroms(), source)
        chromosomes = bigwig_chromosomes(handle, source, reference.names)
    bins, count = {}, 0
    for chrom, size, (start, end, value) in _bigwig_signal(source, reference):
        _require_no_negative(source, chrom, start, value)
        bins[chrom] = mean_per_bin(start, end, value, size, resolution)
        count += len(start)
    return bins, {"rows": count, "dropped": sum(chrom in reference.excluded for chrom in chromosomes)}


def _bigwig_signal(source: Path, reference: Reference) -> Iterator[tuple[str, int, tuple[np.ndarray, ...]]]:
    total = sum(reference.sizes.values())
    for chrom, size in told(reference.sizes.items(), "reading accessibility", total, unit="bp", amount=_size):
        yield chrom, size, bigwig_intervals(source, reference.names, chrom, size)


def _size(chromosome: tuple[str, int]) -> int:
    return chromosome[1]


def _require_no_negative(source: Path, chrom: str, start: np.ndarray, value: np.ndarray) -> None:
    if len(wrong := np.flatnonzero(value < 0)):
        at = int(wrong[0])
        problem = f"value {value[at]:g} at {chrom}:{start[at]} is negative"
        raise InputError(problem, file=source, mend="give a signal that is not negative: counts, not log ratios")


def _genome_mean(bins: dict[str, np.ndarray], reference: Reference, resolution: int) -> float:
    total = bases = 0.0
    for chrom, size in reference.sizes.items():
        if reference.names.is_mitochondrion(chrom):
            continue
        runs = reference.n_runs(chrom)
        known = np.diff(bin_edges(size, resolution)) - depth_per_bin(runs[:, 0], runs[:, 1], size, resolution)
        total += float(known @ bins[chrom])
        bases += float(known.sum())
    return total / bases if bases else 0.0
