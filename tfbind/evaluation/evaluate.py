"""Score a model in the test regions beside the baselines, on the same bins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.progress import Progress
from tfbind.evaluation import baselines
from tfbind.evaluation.tables import MODEL, score_experiment
from tfbind.factors.factorset import FactorSet
from tfbind.genome.regions import Region, overlap
from tfbind.model.batching import factor_batch, shuffle_proteins
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.render import predict_tracks
from tfbind.training.splits import Split


def evaluate(
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    data: GenomeData,
    factor_set: FactorSet,
    experiments: Sequence[Mapping[str, Any]],
    cell_types: Sequence[str],
    split: Split,
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """Score every experiment that the split wants scored, with every predictor.

    Parameters
    ----------
    data
        With labels (columns as `experiments`) and accessibility (columns as `cell_types`).
    split
        Where and what to score.

    Returns
    -------
    Rows of the metrics table.

    Raises
    ------
    InputError
        If the model was trained, or stopped, in one of these regions or on another genome, which says nothing
        of them; if the embedding is of another genome.
    """
    require_held_out(checkpoint.about["manifest"], embedding, split)
    labels = np.concatenate([_of(data.labels, region, data.bin) for region in split.test])
    rows = []
    with Progress("evaluating", len(split.tested), unit="experiments") as progress:
        for cell, cell_type in enumerate(cell_types):
            columns = [
                column
                for column, experiment in enumerate(experiments)
                if experiment["cell_type"] == cell_type and experiment["name"] in split.tested
            ]
            factors = list(dict.fromkeys(experiments[column]["factor"] for column in columns))
            if not factors:
                continue
            scores = _cell_type_scores(checkpoint, embedding, data, factor_set, factors, cell, split.test, seed)
            for column in columns:
                rows += _experiment_rows(column, labels, experiments, scores, split)
                progress.advance()
    return rows


def _cell_type_scores(
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    data: GenomeData,
    factor_set: FactorSet,
    factors: list[str],
    cell: int,
    regions: Sequence[Region],
    seed: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Scores (bins,) by predictor and factor; a factor is missing where a predictor does not apply to it."""
    batch = factor_batch(factor_set, factors)
    known = {factor: motif for factor in factors if (motif := factor_set.motif(factor)) is not None}
    with_protein = [factor for factor, there in zip(factors, batch.has_protein.tolist(), strict=True) if there]

    def predicted(chosen: Any) -> dict[str, np.ndarray]:
        tracks = predict_tracks(checkpoint, embedding, data, chosen, cell, regions)
        return _by_factor(factors, np.concatenate([found for _, found in tracks]))

    shuffled = predicted(shuffle_proteins(batch, seed))
    accessibility = np.concatenate([_of(data.accessibility, region, data.bin)[:, cell] for region in regions])
    scores = {
        MODEL: predicted(batch),
        baselines.SHUFFLED: {factor: shuffled[factor] for factor in with_protein},
    }
    if data.has_track[cell]:
        scores[baselines.ACCESSIBILITY] = dict.fromkeys(factors, accessibility)
    if known:
        by_chromosome = {
            chrom: baselines.scan_chromosome(data, chrom, list(known.values()))
            for chrom in dict.fromkeys(region.chrom for region in regions)
        }
        sites = np.concatenate([_of(by_chromosome, region, data.bin) for region in regions])
        scores[baselines.MOTIF] = _by_factor(known, sites[:, :, 1])
        if data.has_track[cell]:
            combined = baselines.motif_accessibility(sites[:, :, 0], accessibility[:, None])
            scores[baselines.MOTIF_ACCESSIBILITY] = _by_factor(known, combined)
    return scores


def _experiment_rows(
    column: int,
    labels: np.ndarray,
    experiments: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Mapping[str, np.ndarray]],
    split: Split,
) -> Iterator[dict[str, Any]]:
    experiment = experiments[column]
    factor = experiment["factor"]
    keep = labels[:, column] != LEFT_OUT
    bound = labels[:, column] == BOUND
    about = {
        "experiment": experiment["name"],
        "factor": factor,
        "cell_type": experiment["cell_type"],
        "kind": split.kinds[experiment["name"]],
    }
    found = {name: by_factor[factor] for name, by_factor in scores.items() if factor in by_factor}
    others = baselines.other_factors(labels, column, experiments)
    if others is not None:
        found[baselines.OTHER_FACTORS] = others
    for name, values in found.items():
        probabilities = values if name in (MODEL, baselines.SHUFFLED) else None
        yield {**about, "predictor": name, **score_experiment(bound, keep, values, probabilities)}


def _by_factor(factors: Any, columns: np.ndarray) -> dict[str, np.ndarray]:
    return {factor: columns[:, index] for index, factor in enumerate(factors)}


def _of(arrays: Mapping[str, np.ndarray], region: Region, bin: int) -> np.ndarray:
    bins = region.bins(bin)
    return np.asarray(arrays[region.chrom][bins.start : bins.stop])


def require_held_out(manifest: Mapping[str, Any], embedding: GenomeEmbedding, split: Split) -> None:
    """Refuse to test a model on regions that its manifest lists, on another genome, or on one without them."""
    key = "splits.test"
    genomes = (manifest["genome"], embedding.about["genome"])
    if set(genomes) != {split.genome}:
        raise InputError(
            "the split, the model and the genome embedding are not of one genome: nothing says what of it the "
            "model never saw",
            key=key,
            mend="test on the genome of the training, or train on this one",
        )
    seen = [Region(*each) for each in (*manifest["regions"], *manifest["validation_regions"])]
    if both := overlap(split.test, seen):
        raise InputError(
            f"the model was trained or stopped on {', '.join(map(str, both))}: that is not held out",
            key=key,
            mend="train a model that holds it out, or test elsewhere",
        )
