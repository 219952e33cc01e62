"""Where a test is scored: the bins of its regions, the model's own and those of the DREAM challenge.

The ENCODE-DREAM challenge (2017) scores bins of 200 bp, one every 50 bp. Its bins are bound where peaks cover at
least half of them, ambiguous where they cover less but some, and left out then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from tfbind.genome.intervals import bin_count, depth_per_bin, merge
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND
from tfbind.training.targets import Targets

MODEL_BINS, DREAM_BINS = "model", "dream"
DREAM_WIDTH, DREAM_STRIDE = 200, 50
# Neighbouring bins are alike: a bootstrap draws blocks of so many bp.
BLOCK = 1_000_000

Rule = Literal["mean", "max", "logit"]
"""How a DREAM bin gets its value from the model's bins; see `to_dream_bins`."""


@dataclass(frozen=True)
class Loci:
    """The bins of all regions, one region after the other.

    Attributes
    ----------
    kind
        `MODEL_BINS` or `DREAM_BINS`.
    width
        Of a bin, bp. The last of the model's bins on a chromosome may be shorter.
    regions
        Where they lie.
    starts
        First bin of each region, and the number of all.
    position
        Start of each bin on its chromosome, int64 (n,), bp.
    labels
        uint8 (n, experiments): 0 unbound, 1 bound, 2 left out.
    blocks
        Block of each bin, int64 (n,), from 0.
    """

    kind: str
    width: int
    regions: tuple[Region, ...]
    starts: np.ndarray
    position: np.ndarray
    labels: np.ndarray
    blocks: np.ndarray

    def __len__(self) -> int:
        return len(self.position)

    @property
    def step(self) -> int:
        """From the start of a bin to that of the next, bp."""
        return DREAM_STRIDE if self.kind == DREAM_BINS else self.width

    def of_region(self, index: int) -> slice:
        """The bins of a region."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def covered(self, spans: Mapping[str, np.ndarray]) -> np.ndarray:
        """Share of each bin that the union of spans (n, 2) of its chromosome covers, float32 (n,)."""
        none = np.zeros((0, 2), dtype=np.int64)
        parts = [_depth(self.kind, region, self.width, spans.get(region.chrom, none)) for region in self.regions]
        return (np.concatenate(parts) / self.width).astype(np.float32)

    def carried(self, values: np.ndarray, bin: int, rule: Rule) -> np.ndarray:
        """Values of the model's bins (`bin` bp) of the same regions, on these bins, float32 (n,)."""
        if self.kind == MODEL_BINS:
            return np.asarray(values, dtype=np.float32)
        parts, first = [], 0
        for region in self.regions:
            count = bin_count(region.end - region.start, bin)
            own = values[first : first + count]
            parts.append(to_dream_bins(own, bin, start=region.start, end=region.end, rule=rule))
            first += count
        return np.concatenate(parts)


def loci_of(targets: Targets, reference: Reference, regions: Sequence[Region], bin: int) -> dict[str, Loci]:
    """The bins of both kinds. Bins in N, and blacklisted ones, are left out for every experiment."""
    regions = tuple(regions)
    blocks = _block_numbers(regions)
    return {
        MODEL_BINS: _loci(
            MODEL_BINS, bin, regions, [_model_labels(targets, each, bin) for each in regions], blocks
        ),
        DREAM_BINS: _loci(
            DREAM_BINS,
            DREAM_WIDTH,
            regions,
            [_dream_labels(targets, reference, each) for each in regions],
            blocks,
        ),
    }


def dream_starts(start: int, end: int) -> np.ndarray:
    """Where the challenge's bins that lie within [start, end) begin, int64 (n,): multiples of the stride, bp."""
    first = -(-start // DREAM_STRIDE) * DREAM_STRIDE
    return np.arange(first, end - DREAM_WIDTH + 1, DREAM_STRIDE, dtype=np.int64)


def to_dream_bins(values: np.ndarray, bin: int, *, start: int, end: int, rule: Rule = "mean") -> np.ndarray:
    """Carry values from consecutive bins of a model to the challenge's bins.

    Parameters
    ----------
    values
        (n,) of the bins from `start` on, which is a multiple of `bin`; together they reach `end`.
    bin
        Their width, bp.
    start, end
        Region, 0-based half-open, bp.
    rule
        `mean`: weighted by overlap. A bin's probability says that at least half of it is covered by peaks, so
        their mean is the share of the challenge's bin that is, and that bin is bound where it is a half or more.
        `max`: of the bins that overlap by half of either width at least. `logit`: the mean of `mean`, taken of
        logits; values must be probabilities.

    Returns
    -------
    float32, as many as `dream_starts`.
    """
    values = np.asarray(values, dtype=np.float32)
    if rule == "logit":
        clipped = np.clip(values, 1e-7, 1 - 1e-7)
        values = np.log(clipped) - np.log1p(-clipped)
    overlaps = _overlaps(bin, start, end)
    found = np.full(len(overlaps[0][0]), -np.inf if rule == "max" else 0, dtype=np.float32)
    for index, overlap in overlaps:
        own = values[index]
        if rule == "max":
            np.maximum(found, own, out=found, where=2 * overlap >= min(bin, DREAM_WIDTH))
        else:
            found += own * (overlap / np.float32(DREAM_WIDTH))
    return 1 / (1 + np.exp(-found)) if rule == "logit" else found


@lru_cache(maxsize=64)
def _overlaps(bin: int, start: int, end: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each of the challenge's bins of a region, its first, second, ... model's bin and their overlap in bp."""
    starts, last = dream_starts(start, end), bin_count(end - start, bin) - 1
    found = []
    for offset in range((DREAM_WIDTH + bin - 2) // bin + 1):
        index = (starts - start) // bin + offset
        low = np.maximum(starts, start + index * bin)
        high = np.minimum(starts + DREAM_WIDTH, start + (index + 1) * bin)
        found.append((np.minimum(index, last), np.maximum(high - low, 0).astype(np.float32)))
    return found


def _loci(
    kind: str,
    width: int,
    regions: tuple[Region, ...],
    labels: list[np.ndarray],
    blocks: Mapping[tuple[str, int], int],
) -> Loci:
    position = [
        np.arange(region.start, region.end, width)
        if kind == MODEL_BINS
        else dream_starts(region.start, region.end)
        for region in regions
    ]
    numbers = [
        np.array([blocks[region.chrom, block] for block in (each // BLOCK).tolist()], dtype=np.int64)
        for region, each in zip(regions, position, strict=True)
    ]
    starts = np.cumsum([0, *map(len, position)])
    return Loci(
        kind, width, regions, starts, np.concatenate(position), np.concatenate(labels), np.concatenate(numbers)
    )


def _block_numbers(regions: Sequence[Region]) -> dict[tuple[str, int], int]:
    """Blocks are counted along a chromosome, and numbered as the regions meet them."""
    met = [
        (region.chrom, block)
        for region in regions
        for block in range(region.start // BLOCK, (region.end - 1) // BLOCK + 1)
    ]
    return {block: number for number, block in enumerate(dict.fromkeys(met))}


def _model_labels(targets: Targets, region: Region, bin: int) -> np.ndarray:
    first = region.start // bin
    labels = targets.labels[region.chrom][first : first + bin_count(region.end - region.start, bin)]
    return np.asarray(labels)


def _dream_labels(targets: Targets, reference: Reference, region: Region) -> np.ndarray:
    """Labels of the challenge's bins of a region, uint8 (n, experiments)."""
    count = len(targets.experiments)
    peaks = np.asarray(targets.peaks[region.chrom])
    edges = np.searchsorted(peaks[:, 0], np.arange(count + 1))
    labels = np.full((len(dream_starts(region.start, region.end)), count), UNBOUND, dtype=np.uint8)
    for column in range(count):
        covered = _depth(DREAM_BINS, region, DREAM_WIDTH, peaks[edges[column] : edges[column + 1], 1:])
        labels[covered > 0, column] = LEFT_OUT
        labels[2 * covered >= DREAM_WIDTH, column] = BOUND
    unknown = _depth(DREAM_BINS, region, DREAM_WIDTH, reference.n_runs(region.chrom))
    black = _depth(DREAM_BINS, region, DREAM_WIDTH, reference.blacklist(region.chrom))
    labels[(2 * unknown > DREAM_WIDTH) | (black > 0)] = LEFT_OUT
    return labels


def _depth(kind: str, region: Region, width: int, spans: np.ndarray) -> np.ndarray:
    """The bp of each bin of a region that the union of spans covers, int64 (n,)."""
    if kind == MODEL_BINS:
        union = merge(spans) - region.start
        return depth_per_bin(union[:, 0], union[:, 1], region.end - region.start, width)
    starts = dream_starts(region.start, region.end)
    if not len(starts):
        return np.zeros(0, dtype=np.int64)
    pieces = DREAM_WIDTH // DREAM_STRIDE
    union = merge(spans) - starts[0]
    parts = depth_per_bin(union[:, 0], union[:, 1], (len(starts) + pieces - 1) * DREAM_STRIDE, DREAM_STRIDE)
    return sum(parts[offset : offset + len(starts)] for offset in range(pieces))
