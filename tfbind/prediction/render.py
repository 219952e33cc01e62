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
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, new_array, sha256_json, write_json
from tfbind.core.progress import Progress
from tfbind.factors.factorset import FactorSet
from tfbind.genome.bigwig import Track, round_fixed, write_bigwigs
from tfbind.genome.intervals import bin_count
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region as Place
from tfbind.model.allocation import keep_freed_memory
from tfbind.model.batching import factor_batch
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.data import GenomeData
from tfbind.model.factors import FactorBatch
from tfbind.model.head import FactorCode, joined_codes
from tfbind.model.inference import Predictor
from tfbind.model.rendering import LANES
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.peaks import write_peaks
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
    model = checkpoint.model
    predictor = Predictor(model, _encoded(model, factors), data)
    for place in places:
        chrom, bins = place.chrom, place.bins(data.bin)
        found = np.empty((len(pairs), len(bins)), dtype=np.float32)

        def keep(low: int, logits: Tensor, place: Place = place, found: np.ndarray = found) -> None:
            _require_finite(logits, place.chrom)
            first = low - place.bins(data.bin).start
            found[:, first : first + logits.shape[1]] = logits.sigmoid().numpy()

        predictor.each(keep, chrom, embedding.tokens[chrom], bins.start, len(bins), pairs)
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

    Raises
    ------
    InputError
        If the model gives values that are not finite.
    """
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
            code = _encoded(checkpoint.model, factor_batch(factor_set, group))
            for first in range(0, len(cell_types), cells_at_once):
                cells = range(first, min(first + cells_at_once, len(cell_types)))
                shape = (len(group) * len(cells), sum(span.count for span in spans))
                values = new_array(numbers, np.uint16, shape)
                fill_numbers(values, checkpoint.model, code, embedding.tokens, reference, data, spans, cells)
                tracks = [
                    _Track(factor, cell_types[cell], folders[cell], row, spans)
                    for (factor, cell), row in zip(itertools.product(group, cells), values, strict=True)
                ]
                _write_bigwigs(tracks, reference, checkpoint.model.bin)
                for track in tracks:
                    _describe(track, checkpoint, embedding, reference, factor_set, region)
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
    model: BindingModel,
    factors: FactorCode,
    tokens: Mapping[str, np.ndarray],
    reference: Reference,
    data: GenomeData,
    spans: Sequence[Region],
    cells: Sequence[int] | None = None,
) -> None:
    """Predict the tracks of factors in cell types of `data`: those of the columns `cells`, by default all.

    Parameters
    ----------
    numbers
        Takes the probabilities as multiples of 2^-BITS: uint16 (factors * cell types, bins of all spans).
    tokens
        DNA tokens (bins, rank) of each chromosome, maybe memory-mapped.
    """
    keep_freed_memory()
    predictor = Predictor(model, factors, data)
    columns = torch.arange(len(data.has_track)) if cells is None else torch.tensor(list(cells))
    pairs = torch.cartesian_prod(torch.arange(len(factors.mask)), columns)
    done = 0
    for span in spans:
        usable = torch.as_tensor(reference.usable_bins(span.chrom, model.bin))
        keep = partial(_keep, numbers[:, done : done + span.count], span, usable)
        predictor.each(keep, span.chrom, tokens[span.chrom], span.first, span.count, pairs)
        done += span.count


def _keep(values: np.ndarray, span: Region, usable: Tensor, low: int, logits: Tensor) -> None:
    """Keep logits (tracks, bins) of bins from `low` in a span's values; usable (bins of the chromosome,)."""
    _require_finite(logits, span.chrom)
    high = low + logits.shape[1]
    shown = logits.sigmoid().mul_(2**BITS).round_().mul_(usable[low:high])
    values[:, low - span.first : high - span.first] = shown.to(torch.int32).numpy()


def _require_finite(logits: Tensor, chrom: str) -> None:
    if not torch.isfinite(logits).all():
        raise InputError(
            f"the model gives values that are not finite on {chrom}",
            mend="train the model again, with a lower training.learning_rate",
        )


def _encoded(model: BindingModel, factors: FactorBatch) -> FactorCode:
    """Factors after their towers, each by itself: so its track does not depend on the others."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        one_by_one = (factors.select(torch.tensor([row])).to(device) for row in range(len(factors)))
        return joined_codes([model.head.encode_factors(each) for each in one_by_one])


@dataclass(frozen=True)
class _Track:
    """A track that was predicted: its `numbers` are multiples of 2^-BITS, one span after the other."""

    factor: str
    cell_type: CellTypeTracks
    folder: Path
    numbers: np.ndarray
    spans: Sequence[Region]

    def values(self) -> Iterator[tuple[Region, np.ndarray]]:
        """Probabilities, float32 (bins,), of each span."""
        done = 0
        for span in self.spans:
            yield span, self.numbers[done : done + span.count] * np.float32(2.0**-BITS)
            done += span.count


def _write_bigwigs(tracks: Sequence[_Track], reference: Reference, bin: int) -> None:
    if tracks[0].spans[0].count < bin_count(reference.sizes[tracks[0].spans[0].chrom], bin):
        for track in tracks:
            ((span, values),) = track.values()
            write_region(track.folder / f"{track.factor}.bw", reference.sizes, span, values, bin)
        return
    wanted = (
        Track(
            track.folder / f"{track.factor}.bw",
            reference.sizes,
            ((span.chrom, values) for span, values in track.values()),
            bin,
        )
        for track in tracks
    )
    write_bigwigs(wanted, torch.get_num_threads())


def _describe(
    track: _Track,
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    reference: Reference,
    factor_set: FactorSet,
    region: Region | None,
) -> None:
    """Peaks and provenance."""
    bin, factor, cell_type = checkpoint.model.bin, track.factor, track.cell_type.name
    about = checkpoint.about
    own = f"{factor}.{cell_type}"
    source = own if own in about["thresholds"] else "pooled"
    threshold = _presentable_threshold(about["thresholds"][source])
    count = write_peaks(
        track.folder / f"{factor}.narrowPeak",
        reference.sizes,
        ((span.chrom, span.first, values) for span, values in track.values()),
        threshold,
        bin=bin,
        name=f"{factor}_{cell_type}",
    )
    manifest = about["manifest"]
    write_json(
        track.folder / f"{factor}.json",
        {
            "tfbind": tfbind.__version__,
            "factor": factor_set.entries[factor_set.index(factor)],
            "cell_type": cell_type,
            "context": track.cell_type.context,
            "model": checkpoint.checksum,
            "genome": reference.checksum,
            "genome_embedding": sha256_json(embedding.about),
            "bin": bin,
            "region": None if region is None else region.as_text(reference.sizes, bin),
            "value": f"probability of binding per bin, rounded to multiples of 1/{2**BITS}; 0 in bins that are "
            "mostly N or blacklisted",
            "trained_on_factor": factor in manifest["factors"],
            "trained_on_cell_type": cell_type in manifest["cell_types"],
            "peaks": {"count": count, "threshold": threshold, "fdr": about["fdr"], "threshold_from": source},
        },
    )


def _presentable_threshold(threshold: float | None) -> float | None:
    """Rounded as the track is, so that rounding takes no bin at the threshold below it; never 0, though.

    Below half of 2^-BITS a track shows 0, which is no peak whatever the threshold.
    """
    return None if threshold is None else max(float(round_fixed(np.array(threshold), BITS)), 2.0**-BITS)
