"""Rendering: from a genome embedding to the tracks of many factors in cell types. No trunk is run."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import tfbind
from tfbind.config import Told
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, new_array, sha256_json, write_json
from tfbind.core.progress import Progress
from tfbind.factors.factorset import FactorSet
from tfbind.genome.bigwig import Track, round_fixed, write_bigwigs
from tfbind.genome.intervals import bin_count
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region as Place
from tfbind.model.allocation import keep_freed_memory
from tfbind.model.batching import factor_batch, unfamiliar
from tfbind.model.calibration import read_calibration
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.data import GenomeData
from tfbind.model.factors import FactorBatch
from tfbind.model.known_binding import KINDS
from tfbind.model.probabilities import Probabilities
from tfbind.model.rendering import LANES
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.gather import UNCERTAINTY
from tfbind.prediction.known_binding import CountingKnownBinding, KnownPlaces
from tfbind.prediction.peaks import Threshold, write_peaks
from tfbind.prediction.region import Region, write_region

# Tracks that are predicted at once and lie on the disk before they are written as bigWigs, 2 bytes a bin.
TRACKS_AT_ONCE = 128
# Probabilities in a bigWig are multiples of 2^-BITS: coarser ones rank bins otherwise, finer ones take more room.
BITS = 15


def predict_tracks(
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    data: GenomeData,
    factors: FactorBatch,
    cell: int,
    places: Sequence[Place],
) -> Iterator[tuple[Place, np.ndarray]]:
    """Probability of binding of all factors in one cell type, region by region.

    Parameters
    ----------
    cell
        Column of the cell type in `data`.
    places
        Regions whose edges are those of bins.

    Yields
    ------
    Region and float32 (bins, factors).

    Raises
    ------
    InputError
        If the model gives values that are not finite.
    """
    pairs = torch.stack([torch.arange(len(factors)), torch.full((len(factors),), cell)], 1)
    yield from predict_pairs(checkpoint, embedding, data, factors, pairs, places)


def predict_pairs(
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    data: GenomeData,
    factors: FactorBatch,
    pairs: Tensor,
    places: Sequence[Place],
) -> Iterator[tuple[Place, np.ndarray]]:
    """As `predict_tracks`, of any pairs (factor, column of the cell type), int64 (pairs, 2).

    Yields
    ------
    Region and float32 (bins, pairs).
    """
    probabilities = Probabilities.of(checkpoint, factors, data)
    for place in places:
        chrom, bins = place.chrom, place.bins(data.bin)
        found = np.empty((len(pairs), len(bins)), dtype=np.float32)

        def keep(
            low: int, values: Tensor, _: Tensor | None, start: int = bins.start, found: np.ndarray = found
        ) -> None:
            found[:, low - start : low - start + values.shape[1]] = values.numpy()

        probabilities.each(keep, chrom, embedding.tokens[chrom], bins.start, len(bins), pairs)
        yield place, found.T


@dataclass(frozen=True)
class CellTypeTracks:
    """Tracks of a cell type that are to be made.

    Attributes
    ----------
    name
        The cell type.
    output
        Folder to make.
    context
        What is known of the cell type; goes into the provenance.
    """

    name: str
    output: Path
    context: dict[str, Any]


def render_cell_types(
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    reference: Reference,
    data: GenomeData,
    factor_set: FactorSet,
    names: Sequence[str],
    cell_types: Sequence[CellTypeTracks],
    *,
    region: Region | None = None,
    uncertainty: bool = False,
    unseen_factors: Told = "protein",
    known: KnownPlaces | None = None,
) -> None:
    """Write bigWig, narrowPeak and provenance JSON of each factor in each cell type, a whole folder a cell type.

    The genome embedding is read once for all of them, or once for every `TRACKS_AT_ONCE` tracks (`tile_size`);
    motifs are scanned and factors meet the DNA once for all cell types of these. On a CPU, a track depends
    neither on the other factors nor on the other cell types, to the byte.

    Parameters
    ----------
    data
        Of these cell types, in this order; around the region, if there is one.
    names
        Factors to render.
    region
        Where to render; none: the whole genome. A track has the same values there, and none elsewhere.
    unseen_factors
        How factors are predicted that were never trained on: `prediction.unseen_factors`.
    known
        What is known of binding, where it is to count: `prediction.known_binding`.
    uncertainty
        Whether to write FACTOR.uncertainty.bw and .json, too: how far the members of an ensemble lie apart.

    Raises
    ------
    InputError
        If the model gives values that are not finite; if uncertainty is asked of a model that is no ensemble.
    """
    if uncertainty:
        _require_members(checkpoint, names)
    spans = [region] if region else [Region(chrom, 0, data.bins(chrom)) for chrom in reference.sizes]
    size, cells_at_once = tile_size(len(names), len(cell_types))
    title = f"rendering {', '.join(each.name for each in cell_types)}"
    with ExitStack() as stack:
        folders = [stack.enter_context(atomic_dir(each.output)) for each in cell_types]
        progress = stack.enter_context(Progress(title, len(names) * len(cell_types), unit="tracks"))
        scratch = stack.enter_context(
            tempfile.TemporaryDirectory(prefix=".tracks.", suffix=".tmp", dir=folders[0])
        )
        numbers = Path(scratch) / "tracks.npy"
        for low in range(0, len(names), size):
            group = names[low : low + size]
            batch = unfamiliar(factor_batch(factor_set, group), group, checkpoint.factors, unseen_factors)
            probabilities = Probabilities.of(checkpoint, batch, data)
            if known is not None:
                probabilities = known.counting(probabilities, group, [each.name for each in cell_types])
            for first in range(0, len(cell_types), cells_at_once):
                cells = range(first, min(first + cells_at_once, len(cell_types)))
                pairs = torch.cartesian_prod(torch.arange(len(group)), torch.tensor(list(cells)))
                shape = (1 + uncertainty, len(pairs), sum(span.count for span in spans))
                values = new_array(numbers, np.uint16, shape)
                fill_numbers(values, probabilities, pairs, embedding.tokens, reference, spans)
                tracks = [
                    _Track(factor, cell_types[cell], folders[cell], values[:, row], spans)
                    for row, (factor, cell) in enumerate(itertools.product(group, cells))
                ]
                _write_bigwigs(tracks, reference, checkpoint.model.bin)
                for track in tracks:
                    _describe(track, checkpoint, embedding, reference, factor_set, region, known)
                    progress.advance()
                del track, tracks, values
                numbers.unlink()


def tile_size(factors: int, cell_types: int) -> tuple[int, int]:
    """Factors and cell types to predict at once, `TRACKS_AT_ONCE` tracks at most.

    All cell types, unless few factors would then be left: up to `LANES` cost as much as one.
    """
    least = min(LANES, TRACKS_AT_ONCE)
    size = min(factors, max(TRACKS_AT_ONCE // cell_types, least))
    return size, min(cell_types, TRACKS_AT_ONCE // size)


def fill_numbers(
    numbers: np.ndarray,
    probabilities: Probabilities | CountingKnownBinding,
    pairs: Tensor,
    tokens: Mapping[str, np.ndarray],
    reference: Reference,
    spans: Sequence[Region],
) -> None:
    """Predict tracks.

    Parameters
    ----------
    numbers
        Takes the probabilities, and where there is room for it, their spread, as multiples of 2^-BITS: uint16
        (1 or 2, pairs, bins of all spans).
    pairs
        (factor, cell type) of each track, int64 (pairs, 2).
    tokens
        DNA tokens (bins, rank) of each chromosome, maybe memory-mapped.
    """
    keep_freed_memory()
    done = 0
    for span in spans:
        usable = torch.as_tensor(reference.usable_bins(span.chrom, probabilities.bin))
        keep = partial(_keep, numbers[:, :, done : done + span.count], span, usable)
        probabilities.each(keep, span.chrom, tokens[span.chrom], span.first, span.count, pairs)
        done += span.count


def as_values(numbers: np.ndarray) -> np.ndarray:
    """What `fill_numbers` gave, as it stands in a bigWig: float32 of the same shape."""
    return numbers * np.float32(2.0**-BITS)


def _keep(
    numbers: np.ndarray, span: Region, usable: Tensor, low: int, probabilities: Tensor, spread: Tensor | None
) -> None:
    """Keep values (tracks, bins) of bins from `low` in a span's numbers; usable (bins of the chromosome,)."""
    high = low + probabilities.shape[1]
    # Of the two, as many as there is room for.
    for kept, values in zip(numbers, (probabilities, spread), strict=False):
        shown = values.mul_(2**BITS).round_().mul_(usable[low:high])
        kept[:, low - span.first : high - span.first] = shown.to(torch.int32).numpy()


def _require_members(checkpoint: Checkpoint, names: Sequence[str]) -> None:
    if not checkpoint.members:
        raise InputError(
            "one model says nothing of its uncertainty: that is how far the members of an ensemble lie apart",
            key="prediction.uncertainty",
            mend="set training.ensemble to 2 or more, or join models by `tfbind ensemble`; or set it to false",
        )
    if taken := [
        name for name in names if name.removesuffix(UNCERTAINTY) in names and name.endswith(UNCERTAINTY)
    ]:
        raise InputError(
            f"the tracks of factor {taken[0]} and the uncertainty of another one have the same name",
            key="prediction.uncertainty",
            mend="give the factor another name",
        )


@dataclass(frozen=True)
class _Track:
    """A track that was predicted.

    `numbers` (1 or 2, bins) are multiples of 2^-BITS, one span after the other: its probabilities, and their
    spread where it is wanted.
    """

    factor: str
    cell_type: CellTypeTracks
    folder: Path
    numbers: np.ndarray
    spans: Sequence[Region]

    def files(self) -> Iterator[tuple[Path, Iterator[tuple[Region, np.ndarray]]]]:
        """Path and values of each bigWig."""
        for row, ending in enumerate(("", UNCERTAINTY)[: len(self.numbers)]):
            yield self.folder / f"{self.factor}{ending}.bw", self.values(row)

    def values(self, row: int = 0) -> Iterator[tuple[Region, np.ndarray]]:
        """Probabilities, or their spread (row 1), float32 (bins,), of each span."""
        done = 0
        for span in self.spans:
            yield span, as_values(self.numbers[row, done : done + span.count])
            done += span.count


def _write_bigwigs(tracks: Sequence[_Track], reference: Reference, bin: int) -> None:
    files = itertools.chain.from_iterable(track.files() for track in tracks)
    if tracks[0].spans[0].count < bin_count(reference.sizes[tracks[0].spans[0].chrom], bin):
        for path, found in files:
            ((span, values),) = found
            write_region(path, reference.sizes, span, values, bin)
        return
    wanted = (
        Track(path, reference.sizes, ((span.chrom, values) for span, values in found), bin)
        for path, found in files
    )
    write_bigwigs(wanted, torch.get_num_threads())


def _describe(
    track: _Track,
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    reference: Reference,
    factor_set: FactorSet,
    region: Region | None,
    known: KnownPlaces | None,
) -> None:
    """Peaks and provenance."""
    bin, factor, cell_type = checkpoint.model.bin, track.factor, track.cell_type.name
    about = checkpoint.about
    own = f"{factor}.{cell_type}"
    source, threshold = _threshold(about["thresholds"], own)
    peaks = {"threshold": threshold, "fdr": about["fdr"], "threshold_from": source}
    told = None if known is None else known.told(factor, cell_type)
    counts = told is not None and any(told[kind] for kind in KINDS)
    where_known = None
    if counts:
        source, where_known = _threshold(known.known.thresholds, own)
        peaks |= {"threshold_where_known": where_known, "threshold_where_known_from": source}
    count = write_peaks(
        track.folder / f"{factor}.narrowPeak",
        reference.sizes,
        (
            (
                span.chrom,
                span.first,
                values,
                _thresholds(span, threshold, where_known, known) if counts else threshold,
            )
            for span, values in track.values()
        ),
        bin=bin,
        name=f"{factor}_{cell_type}",
    )
    manifest = about["manifest"]
    shared = {
        "tfbind": tfbind.__version__,
        "factor": factor_set.entries[factor_set.index(factor)],
        "cell_type": cell_type,
        "context": track.cell_type.context,
        "model": checkpoint.checksum,
        "members": max(1, len(checkpoint.members)),
        "genome": reference.checksum,
        "genome_embedding": sha256_json(embedding.about),
        "bin": bin,
        "known_binding": told,
        "region": None if region is None else region.as_text(reference.sizes, bin),
    }
    rounded = f"rounded to multiples of 1/{2**BITS}; 0 in bins that are mostly N or blacklisted"
    write_json(
        track.folder / f"{factor}.json",
        {
            **shared,
            "value": f"probability of binding per bin, {rounded}",
            "calibration": read_calibration(about).method,
            "trained_on_factor": factor in manifest["factors"],
            "trained_on_cell_type": cell_type in manifest["cell_types"],
            "peaks": {"count": count, **peaks},
        },
    )
    if len(track.numbers) == 2:
        write_json(
            track.folder / f"{factor}{UNCERTAINTY}.json",
            {
                **shared,
                "value": f"standard deviation of the members' probabilities of binding per bin, {rounded}",
            },
        )


def _threshold(thresholds: Mapping[str, float | None], experiment: str) -> tuple[str, float | None]:
    """Whose threshold an experiment is called by, its own or the pooled one, and what it is, rounded."""
    source = experiment if experiment in thresholds else "pooled"
    return source, presentable_threshold(thresholds[source])


def _thresholds(span: Region, elsewhere: float | None, known: float | None, places: KnownPlaces) -> Threshold:
    """Of each bin of a span, float32 (bins,): one threshold where binding is known, another elsewhere."""
    found = np.full(span.count, np.inf if elsewhere is None else elsewhere, dtype=np.float32)
    for part in places.within(span.chrom, range(span.first, span.first + span.count)):
        found[part.start - span.first : part.stop - span.first] = np.inf if known is None else known
    return found


def presentable_threshold(threshold: float | None) -> float | None:
    """Rounded as the track is, so that rounding takes no bin at the threshold below it; never 0, though.

    Below half of 2^-BITS a track shows 0, which is no peak whatever the threshold.
    """
    return None if threshold is None else max(float(round_fixed(np.array(threshold), BITS)), 2.0**-BITS)
