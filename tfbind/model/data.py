"""What training and prediction read of the genome: windows of bases, signals and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tfbind.contexts.accessibility import binned_accessibility
from tfbind.contexts.contextset import ContextSet
from tfbind.genome.intervals import bin_count, cut
from tfbind.genome.reference import Reference
from tfbind.model.contexts import ContextBatch, context_batch

SignalTracks = Mapping[str, Sequence[Path | None]]
"""Signals beside accessibility: of each, by its name, a bigWig for each cell type; None where there is none."""
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
    further : float32 (bins, cell types, signals) a chromosome, or None
        What is known of cell types along the genome beside accessibility; 0 where it is not. None: nothing is.
    has_further : bool (cell types, signals), or None
    """

    bin: int
    codes: Mapping[str, np.ndarray]
    accessibility: Mapping[str, np.ndarray]
    has_track: np.ndarray
    labels: Mapping[str, np.ndarray] | None = None
    known: ContextBatch | None = None
    signal: Mapping[str, np.ndarray] | None = None
    score: Mapping[str, np.ndarray] | None = None
    further: Mapping[str, np.ndarray] | None = None
    has_further: np.ndarray | None = None

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

    def contexts(self, accessibility: Tensor, further: Tensor | None = None) -> ContextBatch:
        """What is known of the cell types, on the device of their accessibility (windows, bins, cell types).

        With `further` signals (windows, bins, cell types, signals), if this data has any.
        """
        known = self.known
        if known is None:
            known = context_batch([""] * len(self.has_track), self.has_track)
        return replace(
            known.to(accessibility.device),
            accessibility=accessibility,
            has_track=torch.as_tensor(self.has_track, device=accessibility.device),
            further=further,
            has_further=None
            if self.has_further is None
            else torch.as_tensor(self.has_further, device=accessibility.device),
        )

    def window_contexts(
        self, chrom: str, starts: Sequence[int], count: int, device: torch.device | str = "cpu"
    ) -> ContextBatch:
        """What is known of the cell types in windows of `count` bins of a chromosome, from each of `starts`."""
        # Stacked, which copies: what is cut may be a read-only view, which torch warns of.
        accessibility = np.stack([self.window_accessibility(chrom, start, count) for start in starts])
        further = None
        if self.further is not None:
            further = np.stack([self.window_further(chrom, start, count) for start in starts])
            further = torch.as_tensor(further).to(device)
        return self.contexts(torch.as_tensor(accessibility).to(device), further)

    def bins(self, chrom: str) -> int:
        """Number of bins of a chromosome; the last one may be partial."""
        return -(-len(self.codes[chrom]) // self.bin)

    def window_codes(self, chrom: str, first: int, count: int) -> np.ndarray:
        """Base codes of `count` bins from bin `first`, uint8 (count * bin,); N off the chromosome."""
        return cut(self.codes[chrom], first * self.bin, count * self.bin, N_CODE)

    def window_accessibility(self, chrom: str, first: int, count: int) -> np.ndarray:
        """Accessibility, float32 (count, cell types); 0 off the chromosome."""
        return cut(self.accessibility[chrom], first, count, 0)

    def window_further(self, chrom: str, first: int, count: int) -> np.ndarray | None:
        """Further signals, float32 (count, cell types, signals); 0 off the chromosome; None if there are none."""
        return None if self.further is None else cut(self.further[chrom], first, count, 0)

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
    further: SignalTracks | None = None,
) -> GenomeData:
    """Genome, and accessibility and further signals of cell types, binned; None for a cell type without a track.

    Parameters
    ----------
    only
        Chromosome -> the bins of it whose signals are read; elsewhere they are 0. None: all of the genome.
    further
        Signals beside accessibility: of each, a track for each cell type.
    """
    parts = {}
    for chrom, size in reference.sizes.items():
        count = bin_count(size, bin)
        read = range(count) if only is None else only.get(chrom, range(0))
        parts[chrom] = range(max(0, read.start), min(count, read.stop))

    def binned(paths: Sequence[Path | None]) -> dict[str, np.ndarray]:
        return {chrom: _binned(paths, reference, chrom, bin, read) for chrom, read in parts.items()}

    accessibility = binned(tracks)
    others = [binned(paths) for paths in (further or {}).values()]
    has_further = None
    if others:
        has_further = np.array([[path is not None for path in paths] for paths in further.values()]).T
    codes = {chrom: reference.codes(chrom) for chrom in reference.sizes}
    has_track = np.array([track is not None for track in tracks])
    return GenomeData(
        bin,
        codes,
        accessibility,
        has_track,
        labels,
        signal=signal,
        score=score,
        further={chrom: np.stack([each[chrom] for each in others], -1) for chrom in parts} if others else None,
        has_further=has_further,
    )


def of_cell_types(further: SignalTracks | None, wanted: Sequence[bool]) -> dict[str, list[Path | None]]:
    """The signals of some of the cell types."""
    return {
        name: [path for path, keep in zip(paths, wanted, strict=True) if keep]
        for name, paths in (further or {}).items()
    }


def _binned(tracks: Sequence[Path | None], reference: Reference, chrom: str, bin: int, read: range) -> np.ndarray:
    """Tracks over a chromosome, float32 (bins, tracks); 0 where there is none, and where none is read."""
    count = bin_count(reference.sizes[chrom], bin)
    columns = np.zeros((count, len(tracks)), dtype=np.float32)
    # Cell types may share a track.
    for path in dict.fromkeys(path for path in tracks if path is not None and read):
        found = binned_accessibility(path, reference, chrom, bin, None if len(read) == count else read)
        columns[read.start : read.stop, [track == path for track in tracks]] = found[:, None]
    return columns


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """Reverse complement of base codes 0 to 4; N stays N."""
    # 3 - 4 is 255 in 8 bits.
    complement = np.minimum(3 - codes.astype(np.uint8, copy=False), N_CODE)
    # In order: a reversed view is none that torch takes.
    return np.ascontiguousarray(complement[..., ::-1])
