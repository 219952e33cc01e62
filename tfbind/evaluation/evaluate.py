"""Score a model on the test chromosomes beside the baselines, on the same bins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.progress import Progress
from tfbind.evaluation import baselines
from tfbind.evaluation.tables import MODEL, score_experiment
from tfbind.factors.factorset import FactorSet
from tfbind.genome.names import listed
from tfbind.model.batching import factor_batch, shuffle_proteins
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.render import predict_tracks


def experiment_kind(experiment: Mapping[str, str], manifest: Mapping[str, Any]) -> str:
    """What of an experiment the model never saw, by the model's own training manifest."""
    factor = experiment["factor"] in manifest["factors"]
    cell_type = experiment["cell_type"] in manifest["cell_types"]
    if factor and cell_type:
        return "seen"
    if factor:
        return "unseen cell type"
    return "unseen factor" if cell_type else "unseen factor and cell type"


def evaluate(
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    data: GenomeData,
    factor_set: FactorSet,
    experiments: Sequence[Mapping[str, Any]],
    cell_types: Sequence[str],
    chromosomes: Sequence[str],
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """Score every experiment with every predictor.

    Parameters
    ----------
    data
        With labels (columns as `experiments`) and accessibility (columns as `cell_types`).
    chromosomes
        To score on.

    Returns
    -------
    Rows of the metrics table.

    Raises
    ------
    InputError
        If the model was trained, or stopped, on one of these chromosomes or on another genome, which says
        nothing of them; if the genome has no such chromosome.
    """
    require_held_out(checkpoint.about["manifest"], embedding, chromosomes)
    labels = np.concatenate([np.asarray(data.labels[chrom]) for chrom in chromosomes])
    rows = []
    with Progress("evaluating", len(experiments), unit="experiments") as progress:
        for cell, cell_type in enumerate(cell_types):
            columns = [i for i, experiment in enumerate(experiments) if experiment["cell_type"] == cell_type]
            factors = list(dict.fromkeys(experiments[column]["factor"] for column in columns))
            if not factors:
                continue
            scores = _cell_type_scores(checkpoint, embedding, data, factor_set, factors, cell, chromosomes, seed)
            for column in columns:
                rows += _experiment_rows(column, labels, experiments, scores, factors, checkpoint)
                progress.advance()
    return rows


def _cell_type_scores(
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    data: GenomeData,
    factor_set: FactorSet,
    factors: list[str],
    cell: int,
    chromosomes: Sequence[str],
    seed: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Scores (bins,) by predictor and factor; a factor is missing where a predictor does not apply to it."""
    batch = factor_batch(factor_set, factors)
    known = {factor: motif for factor in factors if (motif := factor_set.motif(factor)) is not None}
    with_protein = [factor for factor, there in zip(factors, batch.has_protein.tolist(), strict=True) if there]

    def predicted(chosen: Any) -> dict[str, np.ndarray]:
        tracks = predict_tracks(checkpoint, embedding, data, chosen, cell, chromosomes)
        return _by_factor(factors, np.concatenate([found for _, found in tracks]))

    shuffled = predicted(shuffle_proteins(batch, seed))
    accessibility = np.concatenate([data.accessibility[chrom][:, cell] for chrom in chromosomes])
    scores = {
        MODEL: predicted(batch),
        baselines.SHUFFLED: {factor: shuffled[factor] for factor in with_protein},
    }
    if data.has_track[cell]:
        scores[baselines.ACCESSIBILITY] = dict.fromkeys(factors, accessibility)
    if known:
        sites = np.concatenate(
            [baselines.scan_chromosome(data, chrom, list(known.values())) for chrom in chromosomes]
        )
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
    factors: Sequence[str],
    checkpoint: Checkpoint,
) -> Iterator[dict[str, Any]]:
    experiment = experiments[column]
    factor = experiment["factor"]
    keep = labels[:, column] != LEFT_OUT
    bound = labels[:, column] == BOUND
    about = {
        "experiment": experiment["name"],
        "factor": factor,
        "cell_type": experiment["cell_type"],
        "kind": experiment_kind(experiment, checkpoint.about["manifest"]),
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


def require_held_out(manifest: Mapping[str, Any], embedding: GenomeEmbedding, chromosomes: Sequence[str]) -> None:
    """Refuse to test a model on chromosomes that its manifest lists, on another genome, or on none."""
    key = "splits.test_chromosomes"
    if manifest["genome"] != embedding.about["genome"]:
        raise InputError(
            "the model was trained on another genome: nothing says which chromosomes of this one it never saw",
            key=key,
            mend="test on the genome of the training, or train on this one",
        )
    if missing := [chrom for chrom in chromosomes if chrom not in embedding.tokens]:
        raise InputError(
            f"no such chromosome in the genome: {', '.join(missing)}; it has {listed(embedding.tokens)}",
            key=key,
            mend="use the reference's names",
        )
    if seen := sorted(set(chromosomes) & {*manifest["chromosomes"], *manifest["validation_chromosomes"]}):
        raise InputError(
            f"the model was trained or stopped on {', '.join(seen)}: they are not held out",
            key=key,
            mend="train a model that holds them out, or test on others",
        )
