"""A simulated genome, its open chromatin in each cell type, and ATAC-seq fragments from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfbind.simulation.streams import stream

BACKGROUND = (0.29, 0.21, 0.21, 0.29)
"""Frequencies of A, C, G, T: GC 0.42."""

N = 4
"""Code of an unknown base; 0-3 are A, C, G, T."""

REGION_LENGTHS = (300, 1000)
"""Shortest and longest open region, bp."""

# A candidate region is open in every cell type, or else in each by a draw of its own. Of what is open in one
# cell type, 0.3 / (0.3 + 0.7 * 0.4) = 52 % is then shared by all; most of the rest is open in one or two
# of three.
_SHARED = 0.3
_OPEN_IF_NOT_SHARED = 0.4
_OPEN_SHARE = _SHARED + (1 - _SHARED) * _OPEN_IF_NOT_SHARED

CLOSED = 0.01
"""Openness of closed chromatin. Open regions have 0.5 to 1."""

_IN_REGIONS = 0.75  # share of fragments from open regions, the rest from anywhere
_BARCODES = 500


@dataclass(frozen=True, eq=False)
class Genome:
    """Chromosomes one after the other. Each begins and ends with N, so that no word of bases spans two.

    Attributes
    ----------
    names
        chr1, chr2, ...
    bounds
        (chromosomes + 1,) int64: chromosome i is `bounds[i]` to `bounds[i + 1]`, bp.
    codes
        (bp,) uint8, 0-3 for A, C, G, T and 4 for N.
    """

    names: tuple[str, ...]
    bounds: np.ndarray
    codes: np.ndarray

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Chromosome index and position on it (bp) of positions in the concatenated genome."""
        chromosomes = np.searchsorted(self.bounds, positions, side="right") - 1
        return chromosomes, positions - self.bounds[chromosomes]


@dataclass(frozen=True, eq=False)
class Regions:
    """Candidate open regions, in the order of the concatenated genome.

    Attributes
    ----------
    starts, ends
        (regions,) int64, 0-based half-open, bp.
    shared
        (regions,) bool: open in every cell type.
    """

    starts: np.ndarray
    ends: np.ndarray
    shared: np.ndarray


def random_genome(seed: int, chromosomes: int, length: int) -> Genome:
    """Draw chromosomes chr1 .. chrN of independent bases, with N at both ends and in one gap inside."""
    names = tuple(f"chr{i + 1}" for i in range(chromosomes))
    codes = np.concatenate([_random_chromosome(stream(seed, "chromosome", name), length) for name in names])
    return Genome(names, np.arange(chromosomes + 1) * length, codes)


def _random_chromosome(rng: np.random.Generator, length: int) -> np.ndarray:
    codes = rng.choice(4, size=length, p=BACKGROUND).astype(np.uint8)
    # Longer than half a peak and its jitter: no peak can pass the end of its chromosome.
    telomere = max(200, length // 250)
    codes[:telomere] = codes[-telomere:] = N
    gap = int(rng.integers(length // 5, length * 4 // 5))
    codes[gap : gap + length // 200] = N
    return codes


def random_regions(seed: int, genome: Genome, open_fraction: float) -> Regions:
    """Draw candidate regions, not overlapping and free of N, enough for each cell type's open fraction."""
    shortest, longest = REGION_LENGTHS
    cover = open_fraction / _OPEN_SHARE
    mean_gap = (shortest + longest) / 2 * (1 / cover - 1)
    starts, ends, shared = [], [], []
    unknown = np.concatenate([[0], np.cumsum(genome.codes == N)])
    for name, low, high in zip(genome.names, genome.bounds[:-1], genome.bounds[1:], strict=True):
        rng = stream(seed, "regions", name)
        most = int((high - low) // shortest) + 1
        lengths = rng.integers(shortest, longest + 1, most)
        stops = low + np.cumsum(lengths + rng.exponential(mean_gap, most).astype(np.int64))
        keep = (stops <= high) & (unknown[np.minimum(stops, high)] == unknown[np.minimum(stops - lengths, high)])
        starts.append((stops - lengths)[keep])
        ends.append(stops[keep])
        shared.append(rng.random(most)[keep] < _SHARED)
    return Regions(np.concatenate(starts), np.concatenate(ends), np.concatenate(shared))


def region_openness(seed: int, genome: Genome, regions: Regions, cell_type: str) -> np.ndarray:
    """Openness of each region in a cell type: float64 (regions,), 0.5 to 1 where open, 0 where closed."""
    openness = np.zeros(len(regions.starts))
    chromosomes, _ = genome.locate(regions.starts)
    for i, name in enumerate(genome.names):
        here = np.flatnonzero(chromosomes == i)
        rng = stream(seed, "openness", cell_type, name)
        is_open = regions.shared[here] | (rng.random(len(here)) < _OPEN_IF_NOT_SHARED)
        openness[here] = np.where(is_open, rng.uniform(0.5, 1, len(here)), 0)
    return openness


def base_openness(genome: Genome, regions: Regions, openness: np.ndarray) -> np.ndarray:
    """Openness of each base of the genome: float32 (bp,), `CLOSED` outside open regions."""
    profile = np.full(len(genome.codes), CLOSED, np.float32)
    for start, end, value in zip(regions.starts, regions.ends, openness, strict=True):
        if value > 0:
            profile[start:end] = value
    return profile


def random_fragments(
    seed: int, genome: Genome, regions: Regions, openness: np.ndarray, cell_type: str, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw ATAC-seq fragments: mostly from open regions as these are open, the rest from anywhere.

    Returns
    -------
    starts, lengths
        int64 (about `count`,), in genome order. A fragment in which N stands is lost, as it would not map.
    """
    rng = stream(seed, "fragments", cell_type)
    weights = openness * (regions.ends - regions.starts)
    from_regions = rng.binomial(count, _IN_REGIONS)
    chosen = rng.choice(len(weights), size=from_regions, p=weights / weights.sum())
    spread = rng.random(from_regions) * (regions.ends - regions.starts)[chosen]
    middles = np.concatenate(
        [
            regions.starts[chosen] + spread.astype(np.int64),
            rng.integers(0, len(genome.codes), count - from_regions),
        ]
    )
    lengths = _fragment_lengths(rng, count)
    starts = middles - lengths // 2
    inside = (starts >= 0) & (starts + lengths <= len(genome.codes))
    starts, lengths = starts[inside], lengths[inside]
    unknown = np.concatenate([[0], np.cumsum(genome.codes == N)])
    mapped = unknown[starts + lengths] == unknown[starts]
    starts, lengths = starts[mapped], lengths[mapped]
    order = np.lexsort((lengths, starts))
    return starts[order], lengths[order]


def _fragment_lengths(rng: np.random.Generator, count: int) -> np.ndarray:
    """Free of nucleosomes (about 75 bp) or around one (about 190 bp): the two modes of real libraries."""
    nucleosome = rng.random(count) < 0.3
    lengths = np.where(nucleosome, rng.normal(190, 25, count), rng.normal(75, 22, count))
    return np.clip(lengths, 25, 400).astype(np.int64)


def fragment_lines(seed: int, genome: Genome, cell_type: str, starts: np.ndarray, lengths: np.ndarray) -> str:
    """Fragments in 10x format: chromosome, start, end, barcode, count of read pairs; tab-separated."""
    rng = stream(seed, "barcodes", cell_type)
    letters = np.array(list("ACGT"))[rng.integers(0, 4, (_BARCODES, 16))]
    barcodes = np.array(["".join(row) + "-1" for row in letters])[rng.integers(0, _BARCODES, len(starts))]
    copies = 1 + (rng.random(len(starts)) < 0.15)
    chromosomes, local = genome.locate(starts)
    rows = zip(
        np.array(genome.names)[chromosomes].tolist(),
        local.tolist(),
        (local + lengths).tolist(),
        barcodes.tolist(),
        copies.tolist(),
        strict=True,
    )
    return "".join(f"{name}\t{start}\t{end}\t{code}\t{n}\n" for name, start, end, code, n in rows)


def fasta(genome: Genome, width: int = 60) -> str:
    """The genome as FASTA text."""
    letters = np.frombuffer(b"ACGTN", np.uint8)[genome.codes].tobytes().decode()
    parts = []
    for name, low, high in zip(genome.names, genome.bounds[:-1], genome.bounds[1:], strict=True):
        parts.append(f">{name}\n")
        parts += [f"{letters[i : min(i + width, high)]}\n" for i in range(low, high, width)]
    return "".join(parts)


def open_share(genome: Genome, regions: Regions, openness: np.ndarray) -> float:
    """Share of the genome that is open."""
    return float((regions.ends - regions.starts)[openness > 0].sum() / len(genome.codes))


def region_rows(
    genome: Genome, regions: Regions, openness: Mapping[str, np.ndarray]
) -> list[dict[str, str | int | dict[str, float]]]:
    """Candidate regions as JSON values: chromosome, start, end, openness per cell type (0: closed)."""
    chromosomes, local = genome.locate(regions.starts)
    ends = local + (regions.ends - regions.starts)
    return [
        {
            "chromosome": genome.names[chromosomes[i]],
            "start": int(local[i]),
            "end": int(ends[i]),
            "openness": {cell: round(float(values[i]), 6) for cell, values in openness.items()},
        }
        for i in range(len(local))
    ]
