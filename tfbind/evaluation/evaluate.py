"""Score a model in the regions of a test beside the baselines, on the same bins."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from tfbind.config import Told
from tfbind.core.metrics import (
    Ranking,
    average_precision_of_resamples,
    percentile_interval,
    reliability_by_probability,
    resampled_blocks,
)
from tfbind.core.progress import Progress
from tfbind.evaluation.baselines import Predictor, Values, carried
from tfbind.evaluation.breakdown import Part, Parts
from tfbind.evaluation.fdr import Calls
from tfbind.evaluation.held_out import require_held_out
from tfbind.evaluation.loci import MODEL_BINS, Loci, Rule
from tfbind.evaluation.scene import Scene
from tfbind.evaluation.tables import KEY, KNOWN, MODEL, SHUFFLED, is_judgeable, score_ranking
from tfbind.model.batching import factor_batch, shuffle_proteins, unfamiliar
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.model.known_binding import Experiments, KnownBinding, read_known_binding
from tfbind.model.probabilities import logits_of
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.render import predict_pairs

# Factors predicted at once: what is of the DNA alone is computed once for them.
FACTORS_AT_ONCE = 32
# Of fewer blocks, resamples say next to nothing of an interval.
LEAST_BLOCKS = 5


@dataclass
class Scores:
    """What an evaluation finds.

    Attributes
    ----------
    rows
        Of the metrics table.
    reliability
        Rows of the curves of predictors that give probabilities.
    breakdown
        Scores of parts of the bins.
    replicates
        AUPRC of each resample of blocks, float32 (replicates,), of each row.
    fdr
        What the model's calls are at the false discovery rate that it states, see `Calls`.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    reliability: list[dict[str, Any]] = field(default_factory=list)
    breakdown: list[dict[str, Any]] = field(default_factory=list)
    replicates: list[np.ndarray] = field(default_factory=list)
    fdr: list[dict[str, Any]] = field(default_factory=list)


def evaluate(
    scene: Scene,
    predictors: Sequence[Predictor],
    *,
    seed: str,
    parts: Parts | None = None,
    calls: Calls | None = None,
    replicates: int = 0,
    resampling_seed: int = 0,
) -> Scores:
    """Score every tested experiment with every predictor, on bins of both kinds.

    Parameters
    ----------
    predictors
        As of `model_predictors` and `baselines`, and whatever else is to be compared.
    seed
        Of the model, for the table.
    parts
        Of the bins, to be scored by themselves.
    calls
        Of the model, to be held against its stated false discovery rate.
    replicates
        Resamples of blocks of 1 Mb for the intervals; 0: none. They are nan of fewer blocks than `LEAST_BLOCKS`.
    """
    fold = "all" if scene.split.fold is None else str(scene.split.fold)
    blocks = {kind: int(loci.blocks.max(initial=-1)) + 1 for kind, loci in scene.loci.items()}
    drawn = None
    if replicates:
        # Tests of the same regions draw the same blocks, so that folds over factors are resampled as one.
        regions = zlib.crc32(" ".join(map(str, scene.regions)).encode())
        drawn = resampled_blocks(max(blocks.values()), replicates, [resampling_seed, regions])
    few = max(blocks.values()) < LEAST_BLOCKS
    scores = Scores()
    # Factor by factor: predictors keep what they know of one for its other cell types.
    columns = sorted(scene.tested, key=lambda column: (scene.experiments[column]["factor"], column))
    with Progress("evaluating", len(columns), unit="experiments") as progress:
        for column in columns:
            about = {**_about(scene, column), "fold": fold, "seed": seed}
            cut = {kind: _Kept.of(loci, column, parts) for kind, loci in scene.loci.items()}
            for predictor in predictors:
                for kind, values in (predictor.scores(column) or {}).items():
                    row = {**about, "predictor": predictor.name, "bins": kind, "sees": predictor.sees}
                    _score(scores, row, cut[kind], values, predictor.probabilities, drawn, few=few)
                    if calls is not None and (predictor.name, kind) == (MODEL, MODEL_BINS):
                        scores.fdr += calls.of(column, values)
            progress.advance()
    return scores


def model_predictors(
    scene: Scene,
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    *,
    seed: int,
    rule: Rule,
    told: Told = "protein",
) -> list[Predictor]:
    """The model; the model with the residues of every protein in a random order; and, where it tells how that
    counts, the model that is told of the experiments that it was trained on what was measured at the tested bins.

    Parameters
    ----------
    embedding
        Of the genome, or of the test's regions alone.
    rule
        How probabilities are carried to the bins of the challenge.
    told
        How factors are predicted that were never trained on: `prediction.unseen_factors`.

    Raises
    ------
    InputError
        As `require_held_out`.
    """
    require_held_out(checkpoint.about["manifest"], embedding, scene.split, scene.experiments)
    also = "".join(f", {name}" for name in checkpoint.signals)
    sees = f"DNA, the factor's protein and motif, accessibility{also} and description of the cell type"
    model = _ModelScores(scene, checkpoint, embedding, rule, told)
    shuffled = _ModelScores(scene, checkpoint, embedding, rule, told, shuffled=seed)
    found = [
        Predictor(MODEL, sees, model, probabilities=True),
        Predictor(SHUFFLED, f"{sees}; residues in a random order", shuffled, probabilities=True),
    ]
    known = read_known_binding(checkpoint.about)
    if known is not None:
        peeks = (
            "measurements at the tested bins: of the factor in training cell types, of other factors in its own"
        )
        scores = _KnownScores(model, known, set(checkpoint.about["manifest"]["experiments"]))
        found.append(Predictor(KNOWN, f"{sees}; {peeks}", scores, probabilities=True))
    return found


class _ModelScores:
    """The model's probabilities of experiments, predicted for some factors at once; the last of them are kept."""

    def __init__(
        self,
        scene: Scene,
        checkpoint: Checkpoint,
        embedding: GenomeEmbedding,
        rule: Rule,
        told: Told,
        shuffled: int | None = None,
    ) -> None:
        self.scene, self.checkpoint, self.embedding, self.rule = scene, checkpoint, embedding, rule
        self.told, self.shuffled = told, shuffled
        self.factors = sorted({scene.experiments[column]["factor"] for column in scene.tested})
        self.has_protein = {name for name in self.factors if scene.factor_set.embedding(name) is not None}
        self._kept: dict[int, np.ndarray] = {}

    def __call__(self, column: int) -> Values | None:
        if self.shuffled is not None and self.scene.experiments[column]["factor"] not in self.has_protein:
            return None
        return carried(self.scene, self.probabilities(column), self.rule)

    def probabilities(self, column: int) -> np.ndarray:
        """Of an experiment, float32 (model's bins,)."""
        if column not in self._kept:
            factor = self.scene.experiments[column]["factor"]
            first = self.factors.index(factor) // FACTORS_AT_ONCE * FACTORS_AT_ONCE
            self._kept = self._predicted(self.factors[first : first + FACTORS_AT_ONCE])
        return self._kept[column]

    def _predicted(self, factors: list[str]) -> dict[int, np.ndarray]:
        scene = self.scene
        columns = [column for column in scene.tested if scene.experiments[column]["factor"] in factors]
        pairs = [(factors.index(scene.experiments[column]["factor"]), scene.cell(column)) for column in columns]
        batch = factor_batch(scene.factor_set, factors)
        if self.shuffled is not None:
            batch = shuffle_proteins(batch, self.shuffled)
        batch = unfamiliar(batch, factors, self.checkpoint.factors, self.told)
        pairs = torch.tensor(pairs, dtype=torch.int64)
        found = predict_pairs(self.checkpoint, self.embedding, scene.data, batch, pairs, scene.regions)
        probabilities = np.concatenate([part.T for _, part in found], axis=1)
        return dict(zip(columns, probabilities, strict=True))


class _KnownScores:
    """The model's probabilities of experiments, told what its training experiments are at the tested bins."""

    def __init__(self, model: _ModelScores, known: KnownBinding, trained: Collection[str]) -> None:
        self.model, self.known = model, known
        self.experiments = Experiments.named(model.scene.experiments, trained)

    def __call__(self, column: int) -> Values | None:
        scene, own = self.model.scene, self.model.scene.experiments[column]
        labels, pairs = scene.loci[MODEL_BINS].labels, [(own["factor"], own["cell_type"])]
        found = next(self.known.changes(lambda _: self._logits(column), labels, self.experiments, pairs), None)
        return None if found is None else carried(scene, found[1].sigmoid_().numpy(), self.model.rule)

    def _logits(self, column: int) -> torch.Tensor:
        return logits_of(torch.from_numpy(self.model.probabilities(column)))


def _about(scene: Scene, column: int) -> dict[str, Any]:
    experiment, split = scene.experiments[column], scene.split
    factor = experiment["factor"]
    return {
        "experiment": experiment["name"],
        "factor": factor,
        "cell_type": experiment["cell_type"],
        "kind": split.kinds[experiment["name"]],
        "identity": float(split.identity.get(factor, {}).get("identity", np.nan)),
        "n_train_peaks": scene.training_peaks(factor),
    }


@dataclass(frozen=True)
class _Kept:
    """The bins of an experiment that are not left out: which they are, and what is known of them."""

    bins: np.ndarray
    bound: np.ndarray
    blocks: np.ndarray
    parts: list[Part]

    @classmethod
    def of(cls, loci: Loci, column: int, parts: Parts | None) -> _Kept:
        labels = loci.labels[:, column]
        bins = np.flatnonzero(labels != LEFT_OUT)
        chosen = [] if parts is None else parts.of(column, loci.kind)
        return cls(
            bins,
            labels[bins] == BOUND,
            loci.blocks[bins],
            [replace(each, bins=each.bins[bins]) for each in chosen],
        )


def _score(
    scores: Scores,
    row: dict[str, Any],
    kept: _Kept,
    values: np.ndarray,
    probabilities: bool,
    drawn: np.ndarray | None,
    *,
    few: bool,
) -> None:
    ranking = Ranking(kept.bound, values[kept.bins])
    row |= score_ranking(ranking, probabilities=probabilities)
    if drawn is not None:
        if few:
            found = np.full(drawn.shape[1], np.nan, dtype=np.float32)
        else:
            found = average_precision_of_resamples(ranking, kept.blocks, drawn).astype(np.float32)
        row["auprc_low"], row["auprc_high"] = percentile_interval(found)
        scores.replicates.append(found)
    scores.rows.append(row)
    for part in kept.parts:
        points = ranking.points(part.bins)
        size = points.n_bound + points.n_unbound
        scores.breakdown.append(
            {
                **row,
                "breakdown": part.breakdown,
                "part": part.name,
                "n_bins": size,
                "n_bound": points.n_bound,
                "prevalence": points.n_bound / size if size else np.nan,
                "auprc": points.average_precision(),
                "auroc": points.auroc(),
            }
        )
    if probabilities and is_judgeable(row):
        curve = reliability_by_probability(ranking.points())
        known = {name: row[name] for name in KEY}
        scores.reliability += [
            {**known, "group": group, **dict(zip(curve._fields, each, strict=True))}
            for group, each in enumerate(zip(*curve, strict=True))
        ]
