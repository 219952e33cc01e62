"""What training and prediction read of the genome: windows of bases, accessibility and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tfbind.contexts.accessibility import binned_accessibility
from tfbind.contexts.contextset import ContextSet
from tfbind.core.progress import told
from tfbind.genome.intervals import bin_count, cut
from tfbind.genome.reference import Reference
from tfbind.model.contexts import ContextBatch, context_batch

N_CODE = 4
UNBOUND, BOUND, LEFT_OUT = 0, 1, 2


@dataclass(frozen=True)
class GenomeData:
    """Aligned arrays of each chromosome.

    Attributes
    ----------
    bin : int
        bp of a bin.
    codes : uint8 (bp,) a chromosome
        Base codes 0-3, N = 4.
    accessibility : float32 (bins, cell types) a chromosome
        Genome mean 1.
    has_track : bool (cell types,)
    labels : uint8 (bins, experiments) a chromosome, or None
        0 unbound, 1 bound, 2 left out (ambiguous, N, blacklisted).
    known : ContextBatch of no windows, or None
        What is known of the cell types as a whole; None: nothing. Which have a track says `has_track` alone.
    signal : float32 (bins, experiments) a chromosome, or None
        Mean coverage; NaN where not measured, N or blacklisted.
    score : float32 (bins, experiments) a chromosome, or None
        Largest peak score over the bin, 0 without a peak; NaN where not known, N or blacklisted.
    """

    bin: int
    codes: Mapping[str, np.ndarray]
    accessibility: Mapping[str, np.ndarray]
    has_track: np.ndarray
    labels: Mapping[str, np.ndarray] | None = None
    known: ContextBatch | None = None
    signal: Mapping[str, np.ndarray] | None = None
    score: Mapping[str, np.ndarray] | None = None

    def knowing(
        self, names: Sequence[str], context_set: ContextSet | None, learnt: Sequence[str] = ()
    ) -> GenomeData:
        """The same data, with what is known of its cell types as a whole.

        Parameters
        ----------
        names
            Of the cell types, in the order of their columns.
        context_set
            Where their texts are; None: there are none.
        learnt
            The cell types that the model has learnt an embedding of, in the order of its rows.

        Raises
        ------
        InputError
            The context set does not have one of the cell types.
        """
        return replace(self, known=context_batch(names, self.has_track, context_set, learnt))

    def contexts(self, accessibility: Tensor) -> ContextBatch:
        """What is known of the cell types, on the device of their accessibility (windows, bins, cell types)."""
        known = self.known
        if known is None:
            known = context_batch([""] * len(self.has_track), self.has_track)
        known = replace(known, has_track=torch.as_tensor(self.has_track))
        return known.to(accessibility.device).over(accessibility)

    def bins(self, chrom: str) -> int:
        """Number of bins of a chromosome; the last one may be partial."""
        return -(-len(self.codes[chrom]) // self.bin)

    def window_codes(self, chrom: str, first: int, count: int) -> np.ndarray:
        """Base codes of `count` bins from bin `first`, uint8 (count * bin,); N off the chromosome."""
        return cut(self.codes[chrom], first * self.bin, count * self.bin, N_CODE)

    def window_accessibility(self, chrom: str, first: int, count: int) -> np.ndarray:
        """Accessibility, float32 (count, cell types); 0 off the chromosome."""
        return cut(self.accessibility[chrom], first, count, 0)

    def window_labels(self, chrom: str, first: int, count: int) -> np.ndarray:
        """Labels, uint8 (count, experiments), in one read; left out off the chromosome."""
        if self.labels is None:
            raise ValueError("this data has no labels")
        return cut(self.labels[chrom], first, count, LEFT_OUT)

    def window_signal(self, chrom: str, first: int, count: int) -> np.ndarray | None:
        """Coverage, float32 (count, experiments), NaN off the chromosome; None if this data has none."""
        return None if self.signal is None else cut(self.signal[chrom], first, count, np.nan)

    def window_score(self, chrom: str, first: int, count: int) -> np.ndarray | None:
        """Peak scores, float32 (count, experiments), NaN off the chromosome; None if this data has none."""
        return None if self.score is None else cut(self.score[chrom], first, count, np.nan)


def open_genome_data(
    reference: Reference,
    tracks: Sequence[Path | None],
    *,
    bin: int,
    labels: Mapping[str, np.ndarray] | None = None,
    signal: Mapping[str, np.ndarray] | None = None,
    score: Mapping[str, np.ndarray] | None = None,
    only: Mapping[str, range] | None = None,
) -> GenomeData:
    """Genome and accessibility of cell types, binned; None for a cell type without a track.

    Parameters
    ----------
    only
        Chromosome -> the bins of it whose accessibility is read; elsewhere it is 0. None: all of the genome.
    """
    accessibility = {}
    sizes, total = reference.sizes.items(), sum(reference.sizes.values())
    if only is None:
        sizes = told(sizes, "reading accessibility", total, unit="bp", amount=_size)
    for chrom, size in sizes:
        count = bin_count(size, bin)
        read = range(count) if only is None else only.get(chrom, range(0))
        read = range(max(0, read.start), min(count, read.stop))
        columns = np.zeros((count, len(tracks)), dtype=np.float32)
        for column, track in enumerate(tracks):
            if track is not None and read:
                columns[read.start : read.stop, column] = binned_accessibility(
                    track, reference, chrom, bin, None if len(read) == count else read
                )
        accessibility[chrom] = columns
    codes = {chrom: reference.codes(chrom) for chrom in reference.sizes}
    has_track = np.array([track is not None for track in tracks])
    return GenomeData(bin, codes, accessibility, has_track, labels, signal=signal, score=score)


def _size(chromosome: tuple[str, int]) -> int:
    return chromosome[1]


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """Reverse complement of base codes 0 to 4; N stays N."""
    # 3 - 4 is 255 in 8 bits.
    complement = np.minimum(3 - codes.astype(np.uint8, copy=False), N_CODE)
    # In order: a reversed view is none that torch takes.
    return np.ascontiguousarray(complement[..., ::-1])
