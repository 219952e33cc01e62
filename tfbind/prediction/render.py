"""Rendering: from a genome embedding to the tracks of many factors in a cell type. No trunk is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tfbind
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, sha256_json, write_json
from tfbind.core.progress import Progress
from tfbind.factors.factorset import FactorSet
from tfbind.genome.bigwig import round_fixed, write_bigwig
from tfbind.genome.reference import Reference
from tfbind.model.batching import factor_batch
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.data import GenomeData
from tfbind.model.factors import FactorBatch
from tfbind.model.inference import predict_chromosome
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.peaks import write_peaks

# Tracks kept in memory at once, whatever the number of factors.
FACTORS_AT_ONCE = 64
# Probabilities in a bigWig are multiples of 2^-BITS: coarser ones rank bins otherwise, finer ones take more room.
BITS = 15


def predict_tracks(
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    data: GenomeData,
    factors: FactorBatch,
    cell: int,
    chromosomes: Sequence[str],
) -> Iterator[tuple[str, np.ndarray]]:
    """Probability of binding of all factors in one cell type, chromosome by chromosome.

    Parameters
    ----------
    cell
        Column of the cell type in `data`.

    Yields
    ------
    Chromosome and float32 (bins, factors).

    Raises
    ------
    InputError
        If the model gives values that are not finite.
    """
    model = checkpoint.model
    device = next(model.parameters()).device
    with torch.inference_mode():
        code = model.head.encode_factors(factors.to(device))
    count = len(factors)
    pairs = torch.stack([torch.arange(count), torch.full((count,), cell)], 1).to(device)
    for chrom in chromosomes:
        logits = predict_chromosome(model, code, data, chrom, embedding.tokens[chrom], pairs)
        if not np.isfinite(logits).all():
            raise InputError(
                f"the model gives values that are not finite on {chrom}",
                mend="train the model again, with a lower training.learning_rate",
            )
        yield chrom, _sigmoid(logits)


def render_cell_type(
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    reference: Reference,
    data: GenomeData,
    factor_set: FactorSet,
    names: Sequence[str],
    cell_type: str,
    output: str | Path,
    *,
    context: dict[str, Any],
) -> None:
    """Write bigWig, narrowPeak and provenance JSON of each factor in one cell type, as one whole folder.

    Parameters
    ----------
    data
        Of this one cell type.
    names
        Factors to render. A track does not depend on the others, but for the last digit: sums of many numbers
        are rounded in an order that does.
    context
        What is known of the cell type; goes into the provenance.
    """
    chromosomes = list(reference.sizes)
    with (
        atomic_dir(output) as folder,
        Progress(f"rendering {cell_type}", len(names), unit="tracks") as progress,
    ):
        for low in range(0, len(names), FACTORS_AT_ONCE):
            group = names[low : low + FACTORS_AT_ONCE]
            batch = factor_batch(factor_set, group)
            tracks = {
                chrom: _presentable(found, reference.usable_bins(chrom, checkpoint.model.bin))
                for chrom, found in predict_tracks(checkpoint, embedding, data, batch, 0, chromosomes)
            }
            for column, factor in enumerate(group):
                values = {chrom: tracks[chrom][:, column] for chrom in chromosomes}
                _write_track(
                    folder, factor, cell_type, values, checkpoint, embedding, reference, factor_set, context
                )
                progress.advance()


def _write_track(
    folder: Path,
    factor: str,
    cell_type: str,
    values: dict[str, np.ndarray],
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    reference: Reference,
    factor_set: FactorSet,
    context: dict[str, Any],
) -> None:
    bin = checkpoint.model.bin
    write_bigwig(folder / f"{factor}.bw", reference.sizes, values.items(), bin)
    about = checkpoint.about
    own = f"{factor}.{cell_type}"
    source = own if own in about["thresholds"] else "pooled"
    threshold = _presentable_threshold(about["thresholds"][source])
    count = write_peaks(
        folder / f"{factor}.narrowPeak", reference.sizes, values, threshold, bin=bin, name=f"{factor}_{cell_type}"
    )
    manifest = about["manifest"]
    write_json(
        folder / f"{factor}.json",
        {
            "tfbind": tfbind.__version__,
            "factor": factor_set.entries[factor_set.index(factor)],
            "cell_type": cell_type,
            "context": context,
            "model": checkpoint.checksum,
            "genome": reference.checksum,
            "genome_embedding": sha256_json(embedding.about),
            "bin": bin,
            "value": f"probability of binding per bin, rounded to multiples of 1/{2**BITS}; 0 in bins that are "
            "mostly N or blacklisted",
            "trained_on_factor": factor in manifest["factors"],
            "trained_on_cell_type": cell_type in manifest["cell_types"],
            "peaks": {"count": count, "threshold": threshold, "fdr": about["fdr"], "threshold_from": source},
        },
    )


def _presentable(probabilities: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Rounded as in the bigWig, so that peaks and tracks agree; 0 where there is no genome."""
    return np.where(usable[:, None], round_fixed(probabilities, BITS), np.float32(0))


def _presentable_threshold(threshold: float | None) -> float | None:
    """Rounded as the track is: a bin at or above the threshold is so after rounding, too; never 0."""
    return None if threshold is None else max(float(round_fixed(np.array(threshold), BITS)), 2.0**-BITS)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
