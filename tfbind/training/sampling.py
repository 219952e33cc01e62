"""Which windows a step sees: around peaks and uniformly, each with the weight that keeps the loss unbiased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfbind.model.data import BOUND, GenomeData, reverse_complement


@dataclass(frozen=True)
class Draw:
    """One training window: where it starts (in bins), whether it is reverse-complemented, its weight."""

    chrom: str
    first: int
    flipped: bool
    weight: float


@dataclass(frozen=True)
class Batch:
    """Arrays of a step.

    Attributes
    ----------
    codes : uint8 (windows, bp)
    accessibility : float32 (windows, context bins + bins + context bins, cell types)
    labels : uint8 (windows, bins, experiments)
    weights : float32 (windows,)
    """

    codes: np.ndarray
    accessibility: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


class WindowSampler:
    """Draw windows; what a step draws depends on the seed and the step alone, so any step can be resumed.

    A window may start at any bin from where it covers the chromosome's first bin to where it covers its
    last, so every bin is equally often at every place of a window (shifts of whole bins, labels with them).
    A share `peak_fraction` of windows is placed around peaks: an experiment is drawn, one of its bound bins,
    and a uniform shift. With u the uniform density of starts, q the density around peaks and p the share, a
    window has weight u / ((1 - p) u + p q), so that the expected loss is that of the whole genome (with p = 1:
    of what lies within a window's reach of a bound bin; nothing else is ever drawn).

    Parameters
    ----------
    data
        With labels.
    chromosomes
        To draw from.
    experiments
        Columns of the labels that count.
    bins
        Bins of a window.
    context_bins
        Bins on either side of a window of which accessibility is read, too.
    """

    def __init__(
        self,
        data: GenomeData,
        chromosomes: Sequence[str],
        experiments: Sequence[int],
        *,
        bins: int,
        peak_fraction: float,
        seed: int,
        context_bins: int = 0,
    ) -> None:
        self.data, self.bins, self.seed, self.context_bins = data, bins, seed, context_bins
        self.chromosomes = list(chromosomes)
        counts = np.array([data.bins(chrom) + bins - 1 for chrom in self.chromosomes])
        self.ends = np.cumsum(counts)
        self.offsets = self.ends - counts
        self._index_peaks(experiments)
        self.peak_fraction = peak_fraction if len(self.peak_starts) else 0.0

    def _index_peaks(self, experiments: Sequence[int]) -> None:
        """Global positions of bound bins by experiment, and the density of windows around them."""
        found: list[list[np.ndarray]] = [[] for _ in experiments]
        for chrom, offset in zip(self.chromosomes, self.offsets, strict=True):
            labels = self.data.labels[chrom]
            for column, experiment in enumerate(experiments):
                bound = np.flatnonzero(labels[:, experiment] == BOUND)
                found[column].append(bound + offset)
        self.peak_starts = [joined for parts in found if len(joined := np.concatenate(parts))]
        mass = np.zeros(int(self.ends[-1]) + self.bins)
        for starts in self.peak_starts:
            np.add.at(mass, starts, 1 / (len(starts) * len(self.peak_starts)))
        # A start at position s (offset by bins - 1) covers the bound bins s - bins + 1 .. s, each of which
        # sends 1 / bins of its mass here.
        total = np.concatenate([[0.0], np.cumsum(mass)])
        position = np.arange(int(self.ends[-1]))
        self.peak_density = (total[position + 1] - total[np.maximum(position + 1 - self.bins, 0)]) / self.bins

    def draw(self, step: int, count: int) -> list[Draw]:
        """The windows of a step."""
        rng = np.random.default_rng([self.seed, step])
        return [self._draw_one(rng) for _ in range(count)]

    def _draw_one(self, rng: np.random.Generator) -> Draw:
        total = int(self.ends[-1])
        if rng.random() < self.peak_fraction:
            starts = self.peak_starts[rng.integers(len(self.peak_starts))]
            position = int(starts[rng.integers(len(starts))] + rng.integers(self.bins))
        else:
            position = int(rng.integers(total))
        uniform = 1 / total
        share = self.peak_fraction
        weight = uniform / ((1 - share) * uniform + share * self.peak_density[position])
        chrom = int(np.searchsorted(self.ends, position, side="right"))
        first = position - int(self.offsets[chrom]) - (self.bins - 1)
        return Draw(self.chromosomes[chrom], first, bool(rng.integers(2)), float(weight))

    def batch(self, step: int, count: int, part: range | None = None) -> Batch:
        """Read the windows of a step; flipped ones have bases complemented, and all bins reversed.

        Parameters
        ----------
        count
            Windows of the step.
        part
            Those of them that are read; none: all.
        """
        draws = self.draw(step, count)
        if part is not None:
            draws = draws[part.start : part.stop]
        codes, accessibility, labels = [], [], []
        for draw in draws:
            where = (draw.chrom, draw.first, self.bins)
            dna = self.data.window_codes(*where)
            signal = self.data.window_accessibility(
                draw.chrom, draw.first - self.context_bins, self.bins + 2 * self.context_bins
            )
            truth = self.data.window_labels(*where)
            if draw.flipped:
                dna, signal, truth = reverse_complement(dna), signal[::-1], truth[::-1]
            codes.append(dna)
            accessibility.append(signal)
            labels.append(truth)
        weights = np.array([draw.weight for draw in draws], dtype=np.float32)
        return Batch(np.stack(codes), np.stack(accessibility), np.stack(labels), weights)
