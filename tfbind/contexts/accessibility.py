"""A cell type's accessibility or another signal, from whatever there is of it, as a bigWig on one scale.

Fragments (10x format: chromosome, start, end, barcode, count; ends already shifted to the Tn5 cut). A row is
one fragment, whatever its count of PCR copies. It has two cut sites, at `start` and at `end - 1`. With c(p)
the number of cut sites at base p and w = `smoothing`, the signal at base x is

    s(x) = 1/w * sum of c(p) over all p with p - floor(w/2) <= x < p - floor(w/2) + w:

each cut is spread evenly over w bp around it; what falls outside the chromosome is lost. Of a signal, fragments
of some lengths alone may count, and their middle, at `(start + end) // 2`, in place of their ends: where a
nucleosome sits.

Peaks: s(x) is the largest value of the peaks over x, else 0; a peak's value is narrowPeak's signalValue
(column 7) where it is above 0, else 1. bedGraph and bigWig: s(x) is their value, 0 where they have none.
Promoters and genes (of a GTF, or a BED with strands): s(x) is 1 within `PROMOTER` bp before a transcript, or
within one, else 0.

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
from tfbind.genome.bed import read_rows
from tfbind.genome.bigwig import (
    bigwig_chromosomes,
    bigwig_intervals,
    open_bigwig,
    read_chromosome_bins,
    round_relative,
    write_bigwig,
)
from tfbind.genome.genes import is_gtf, read_genes
from tfbind.genome.intervals import (
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
# Made of a GTF, whose name does not say which.
PROMOTERS, GENES = "promoters", "genes"
KINDS = (*ENDINGS, PROMOTERS, GENES)
# bp before a transcript that are called its promoter.
PROMOTER = 400
# What of a fragment counts.
ENDS, MIDDLE = "ends", "middle"
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
    shortest: int | None = None,
    longest: int | None = None,
    count: str = ENDS,
) -> dict[str, Any]:
    """Write the bigWig of a cell type's accessibility or another signal; the module says by what formula.

    Parameters
    ----------
    source
        Fragments, peaks (BED or narrowPeak), bedGraph, GTF, each plain or gzip, or a bigWig.
    output
        The bigWig to write, one value per `resolution` bp, with a mean of 1 over the genome.
    kind
        One of `KINDS`; by default the file's name tells.
    smoothing
        Over how many bp a Tn5 cut, or a fragment's middle, is spread (fragments only).
    shortest, longest
        bp: only fragments of shortest <= length < longest count; None: no bound.
    count
        What of a fragment counts: `ends` or `middle`.

    Returns
    -------
    dict
        `kind`, `rows` (fragments, peaks, genes or entries that count), `dropped` (rows on excluded chromosomes;
        for a bigWig, such chromosomes), `scale` (m, by which the signal was divided), `resolution` and, for
        fragments, `cut_sites` (or `middles`) and `smoothing`.

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
    kind = source_kind(source, kind)
    summary: dict[str, Any] = {"kind": kind, "resolution": resolution}
    if kind == FRAGMENTS:
        bounds = (0 if shortest is None else shortest, np.inf if longest is None else longest)
        bins, found = _fragments(source, reference, smoothing, resolution, bounds, count)
    elif kind == PEAKS:
        bins, found = _peaks(source, reference, resolution)
    elif kind in (PROMOTERS, GENES):
        bins, found = _genes(source, reference, resolution, kind)
    elif kind == BEDGRAPH:
        bins, found = _bedgraph(source, reference, resolution)
    else:
        bins, found = _bigwig(source, reference, resolution)
    scale = _genome_mean(bins, reference, resolution)
    if scale <= 0:
        problem = "the signal is 0 all over the genome (N and the mitochondrion aside)"
        mend = "give a file with signal on the reference's chromosomes"
        if (shortest, longest) != (None, None):
            mend += ", or other bounds of the fragments' lengths (shortest, longest)"
        raise InputError(problem, file=source, mend=mend)
    scaled = ((chrom, round_relative(bins[chrom] / scale, BITS)) for chrom in reference.sizes)
    write_bigwig(output, reference.sizes, scaled, resolution)
    return summary | found | {"scale": scale}


def binned_accessibility(
    path: Path, reference: Reference, chrom: str, bin: int, bins: range | None = None
) -> np.ndarray:
    """Mean accessibility per bin, from a bigWig: float32, over a chromosome or some consecutive bins of it."""
    return read_chromosome_bins(path, reference.names, chrom, reference.sizes[chrom], bin, bins)


def source_kind(source: Path, kind: str | None = None) -> str:
    """What a file holds, one of `KINDS`: as stated, or as its name tells.

    Raises
    ------
    InputError
        A kind that there is not, or a name that does not tell.
    """
    if kind is not None:
        if kind not in KINDS:
            mend = f"give one of {', '.join(KINDS)}, or leave it out"
            raise InputError(f"unknown kind '{kind}' of accessibility", file=source, mend=mend)
        return kind
    name = source.name.lower().removesuffix(".gz")
    for candidate, endings in ENDINGS.items():
        if name.endswith(endings):
            return candidate
    if is_gtf(source):
        problem = "a GTF may say where promoters are, or genes"
        raise InputError(problem, file=source, mend=f"state its kind: {PROMOTERS} or {GENES}")
    known = ", ".join(ending for endings in ENDINGS.values() for ending in endings)
    problem = "the name does not tell whether these are fragments, peaks, a bedGraph or a bigWig"
    raise InputError(problem, file=source, mend=f"name it with one of the endings {known}, or state its kind")


def _fragments(
    source: Path,
    reference: Reference,
    smoothing: int,
    resolution: int,
    lengths: tuple[float, float],
    counted: str,
) -> tuple[dict, dict]:
    sites_of: list[list[np.ndarray]] = [[] for _ in reference.sizes]
    count = dropped = 0
    for rows in read_rows(source, reference.names, reference.sizes, excluded=reference.excluded):
        length = rows.end - rows.start
        fits = (length >= lengths[0]) & (length < lengths[1])
        count += int(fits.sum())
        dropped += rows.dropped
        for index in np.unique(rows.chromosome).tolist():
            mine = fits & (rows.chromosome == index)
            start, end = rows.start[mine], rows.end[mine]
            sites_of[index] += [(start + end) // 2] if counted == MIDDLE else [start, end - 1]
    bins = {}
    for (chrom, size), sites in zip(reference.sizes.items(), sites_of, strict=True):
        start = np.concatenate([np.zeros(0, dtype=np.int64), *sites]) - smoothing // 2
        depth = depth_per_bin(start, start + smoothing, size, resolution)
        bins[chrom] = depth / (smoothing * np.diff(bin_edges(size, resolution)))
    sites = {"middles": count} if counted == MIDDLE else {"cut_sites": 2 * count}
    found = {"rows": count, **sites, "dropped": dropped, "smoothing": smoothing}
    return bins, found


def _peaks(source: Path, reference: Reference, resolution: int) -> tuple[dict, dict]:
    # A half-width of 0 leaves a peak of 1 bp what it is.
    peaks = read_intervals(source, reference.names, reference.sizes, half_width=0, excluded=reference.excluded)
    bins = {}
    for chrom, size in reference.sizes.items():
        found = peaks[chrom]
        value = np.where(found.signal > 0, found.signal, 1.0)
        bins[chrom] = mean_per_bin(*_highest(found.start, found.end, value), size, resolution)
    return bins, {"rows": peaks.total, "dropped": peaks.dropped}


def _genes(source: Path, reference: Reference, resolution: int, kind: str) -> tuple[dict, dict]:
    genes, bins = read_genes(source, reference), {}
    for chrom, size in reference.sizes.items():
        start = end = np.zeros(0, dtype=np.int64)
        if chrom in genes:
            own = genes[chrom]
            start, end = own.upstream(PROMOTER) if kind == PROMOTERS else (own.start, own.end)
        start, end = start.clip(0, size), end.clip(0, size)
        some = start < end
        covered = _highest(start[some], end[some], np.ones(int(some.sum())))
        bins[chrom] = mean_per_bin(*covered, size, resolution)
    return bins, {"rows": sum(len(each.start) for each in genes.values())}


def _highest(start: np.ndarray, end: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Disjoint intervals with the largest value of those over each: start, end, value."""
    edges = np.unique(np.concatenate([start, end]))
    painted = np.zeros(max(len(edges) - 1, 0))
    low, high = np.searchsorted(edges, start), np.searchsorted(edges, end)
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
    for chrom, size in reference.sizes.items():
        yield chrom, size, bigwig_intervals(source, reference.names, chrom, size)


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
