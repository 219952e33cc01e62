"""From a model and what was measured to the folder of an evaluation: tables, replicates and plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tfbind.config import Config
from tfbind.contexts.contextset import ContextSet
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir
from tfbind.evaluation.baselines import Predictor, baselines
from tfbind.evaluation.breakdown import Parts
from tfbind.evaluation.evaluate import Scores, evaluate, model_predictors
from tfbind.evaluation.fdr import Calls, write_fdr
from tfbind.evaluation.plots import plot_evaluation
from tfbind.evaluation.predictions import read_predictor
from tfbind.evaluation.promoters import KEY as PROMOTERS
from tfbind.evaluation.scene import Scene
from tfbind.evaluation.tables import (
    in_order,
    write_breakdown,
    write_metrics,
    write_reliability,
    write_summary,
)
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference
from tfbind.inputs import source_file
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.data import SignalTracks, open_genome_data
from tfbind.prediction.embed import GenomeEmbedding, reach_of
from tfbind.training.ensemble import run_seeds
from tfbind.training.splits import Split
from tfbind.training.targets import Targets


def test_of(
    checkpoint: Checkpoint,
    split: Split,
    targets: Targets,
    reference: Reference,
    factor_set: FactorSet,
    tracks: Mapping[str, Path | None],
    context_set: ContextSet | None,
    further: SignalTracks | None = None,
) -> Scene:
    """The test of a split, with what the model is told of the cell types in it.

    Parameters
    ----------
    tracks
        Accessibility bigWig of each tested cell type; None: it has none.
    further
        The signals that the model reads, of each of them.
    """
    bin, around = checkpoint.model.bin, reach_of(checkpoint)
    only: dict[str, range] = {}
    for region in split.test:
        bins = region.bins(bin)
        before = only.get(region.chrom, bins)
        only[region.chrom] = range(min(before.start, bins.start - around), max(before.stop, bins.stop + around))
    data = open_genome_data(reference, list(tracks.values()), bin=bin, only=only, further=further)
    data = data.knowing(list(tracks), context_set, checkpoint.about["contexts"]["learnt"])
    return Scene(split, targets, reference, data, factor_set, list(tracks))


def write_evaluation(
    config: Config,
    scene: Scene,
    checkpoint: Checkpoint,
    output: Path,
    *,
    embedding: Path | None,
    predictions: Sequence[Path] = (),
) -> Scores:
    """Score a model and all baselines, and write what is found.

    Parameters
    ----------
    embedding
        Folder of a genome embedding; None: the test's regions are embedded.
    predictions
        Files of further predictors, as `write_predictions` writes them.
    """
    settings = config.evaluation
    found = _embedding(config, scene, checkpoint, embedding)
    predictors = [
        *model_predictors(
            scene,
            checkpoint,
            found,
            seed=config.seed,
            rule=settings.dream_rule,
            told=config.prediction.unseen_factors,
        ),
        *baselines(scene),
        *(read_predictor(path, scene) for path in predictions),
    ]
    _require_names(predictors)
    scores = evaluate(
        scene,
        predictors,
        seed=_seed_of(checkpoint),
        parts=Parts(
            scene, None if settings.promoters is None else source_file(settings.promoters, key=PROMOTERS)
        ),
        calls=Calls(scene, checkpoint.about),
        replicates=settings.bootstrap,
        resampling_seed=config.seed,
    )
    with atomic_dir(output) as folder:
        write_metrics(folder / "metrics.tsv", scores.rows)
        write_summary(folder / "summary.tsv", scores.rows)
        write_breakdown(folder / "breakdown.tsv", scores.breakdown)
        write_reliability(folder / "reliability.tsv", scores.reliability)
        write_fdr(folder / "fdr.tsv", scores.fdr)
        np.save(folder / "bootstrap.npy", _replicates_in_order(scores))
        plot_evaluation(scores.rows, folder / "evaluation", title=f"{config.name}: {_named(scene)}")
    return scores


def _require_names(predictors: Sequence[Predictor]) -> None:
    """Each predictor has a name of its own, by which the tables know it."""
    known: set[str] = set()
    for predictor in predictors:
        if predictor.name in known:
            raise InputError(
                f"there are two predictors named '{predictor.name}'",
                mend="write the predictions again, by another name, or give each file once",
            )
        known.add(predictor.name)


def _replicates_in_order(scores: Scores) -> np.ndarray:
    """As the rows of the metrics table stand, float32 (rows, replicates)."""
    if not scores.replicates:
        return np.zeros((len(scores.rows), 0), dtype=np.float32)
    of_row = {id(row): each for row, each in zip(scores.rows, scores.replicates, strict=True)}
    return np.stack([of_row[id(row)] for row in in_order(scores.rows)])


def _embedding(config: Config, scene: Scene, checkpoint: Checkpoint, folder: Path | None) -> GenomeEmbedding:
    if folder is not None:
        return GenomeEmbedding.open(folder, checkpoint, scene.reference)
    settings = config.prediction
    return GenomeEmbedding.of_regions(
        checkpoint,
        scene.reference,
        config.windows,
        scene.regions,
        batch_size=settings.batch_size,
        precision=settings.precision,
    )


def _seed_of(checkpoint: Checkpoint) -> str:
    """Of a model's training, or of an ensemble's run; of several runs as one, one after the other."""
    seed = checkpoint.about["manifest"]["seed"]
    return "+".join(map(str, run_seeds(seed if isinstance(seed, list) else [seed])))


def _named(scene: Scene) -> str:
    """The test's regions, for a title."""
    regions = [str(region) for region in scene.regions]
    return "held-out " + (", ".join(regions) if len(regions) < 4 else f"{len(regions)} regions")
