"""Evaluation: every predictor on the same bins of chromosomes that the model never saw."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyBigWig
import pytest
import torch

from tfbind.core.errors import InputError
from tfbind.core.metrics import auroc, average_precision
from tfbind.evaluation.baselines import motif_accessibility, scan_chromosome
from tfbind.evaluation.evaluate import evaluate
from tfbind.evaluation.tables import read_metrics
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference
from tfbind.model.batching import factor_batch, shuffle_proteins
from tfbind.model.checkpoint import Checkpoint, load_checkpoint
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData, open_genome_data
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.render import predict_tracks
from tfbind.training.splits import Region, Split
from tfbind.training.targets import Targets

TEST = "chr3"
CELL_TYPES = ["CT1", "CT2", "CT3"]
WITHOUT_MOTIF = {"tfbind", "protein shuffled", "accessibility", "other factors"}
ALL = WITHOUT_MOTIF | {"motif max", "motif x accessibility"}


@dataclass(frozen=True)
class Opened:
    checkpoint: Checkpoint
    reference: Reference
    embedding: GenomeEmbedding
    data: GenomeData
    factor_set: FactorSet
    targets: Targets
    split: Split

    def evaluate(self, chromosomes=(TEST,), experiments=None, seed=0, **changes) -> list[dict[str, Any]]:
        return evaluate(
            self.checkpoint,
            self.embedding,
            self.data,
            self.factor_set,
            self.targets.experiments if experiments is None else experiments,
            CELL_TYPES,
            replace(self.split, test=tuple(self.whole(chrom) for chrom in chromosomes), **changes),
            seed=seed,
        )

    def whole(self, chrom) -> Region:
        return Region(chrom, 0, self.reference.sizes[chrom])

    def with_manifest(self, **changes) -> Opened:
        about = self.checkpoint.about
        about = {**about, "manifest": {**about["manifest"], **changes}}
        return replace(self, checkpoint=replace(self.checkpoint, about=about))

    def labels(self, experiment: str) -> tuple[np.ndarray, np.ndarray]:
        """Bound, and to be kept, of the test chromosome."""
        names = [each["name"] for each in self.targets.experiments]
        column = np.asarray(self.targets.labels[TEST][:, names.index(experiment)])
        return column == BOUND, column != LEFT_OUT


@pytest.fixture(scope="session")
def opened(tiny_run) -> Opened:
    torch.set_num_threads(1)
    results = tiny_run.results
    checkpoint, reference = load_checkpoint(results / "model"), Reference.open(results / "reference")
    targets = Targets.open(results / "targets")
    tracks = [results / f"accessibility/{name}.bw" for name in CELL_TYPES[:2]]
    return Opened(
        checkpoint,
        reference,
        GenomeEmbedding.open(results / "genome_embedding/tokens", checkpoint, reference),
        open_genome_data(reference, [*tracks, None], bin=64, labels=targets.labels),
        FactorSet.open(results / "factors"),
        targets,
        Split.read(results / "split.json"),
    )


@pytest.fixture(scope="session")
def metrics(tiny_run) -> dict[tuple[str, str], dict[str, Any]]:
    """What `tfbind evaluate` wrote, by experiment and predictor."""
    rows = read_metrics(tiny_run.results / "evaluation/metrics.tsv")
    return {(row["experiment"], row["predictor"]): row for row in rows}


def predictors(rows, experiment):
    return {row["predictor"] for row in rows if row["experiment"] == experiment}


def scored(metrics, experiment, predictor, labels, scores, rel=1e-4):
    bound, keep = labels
    row = metrics[experiment, predictor]
    assert (row["n_bins"], row["n_bound"]) == (keep.sum(), bound.sum())
    assert row["auprc"] == pytest.approx(average_precision(bound[keep], scores[keep]), rel=rel)
    assert row["auroc"] == pytest.approx(auroc(bound[keep], scores[keep]), rel=rel)


def test_every_predictor_is_scored_on_the_same_bins(metrics):
    for experiment in {row["experiment"] for row in metrics.values()}:
        rows = [row for row in metrics.values() if row["experiment"] == experiment]
        assert len({(row["n_bins"], row["n_bound"], row["prevalence"]) for row in rows}) == 1
        assert rows[0]["n_bound"] > 0


def test_left_out_bins_are_not_scored(opened, metrics):
    _, keep = opened.labels("SIM01.CT1")
    assert metrics["SIM01.CT1", "tfbind"]["n_bins"] == keep.sum() < len(keep)


def test_predictors_that_do_not_apply_have_no_row(metrics):
    rows = metrics.values()
    assert predictors(rows, "SIM01.CT1") == predictors(rows, "SIM01.CT2") == ALL
    assert predictors(rows, "SIM03.CT1") == predictors(rows, "SIMA.CT1") == WITHOUT_MOTIF
    assert all(math.isnan(row["ece"]) == (row["predictor"] not in ("tfbind", "protein shuffled")) for row in rows)


def test_factor_measured_in_one_cell_type_is_scored_there_alone(metrics):
    assert {row["cell_type"] for row in metrics.values() if row["factor"] == "SIM02"} == {"CT1"}
    assert not {row["factor"] for row in metrics.values()} & {"SIMB"}


def test_kind_says_what_the_model_never_saw(metrics):
    kinds = {row["experiment"]: row["kind"] for row in metrics.values()}
    assert kinds == {
        "SIM01.CT1": "seen",
        "SIM02.CT1": "seen",
        "SIM03.CT1": "seen",
        "SIMA.CT1": "unseen factor",
        "SIM01.CT2": "unseen cell type",
        "SIM03.CT2": "unseen cell type",
        "SIMA.CT2": "unseen factor and cell type",
    }


def test_only_experiments_of_the_split_are_scored_and_called_what_it_calls_them(opened):
    kinds = {"SIMA.CT2": "unseen factor", "SIM01.CT1": "seen"}
    rows = opened.evaluate(tested=("SIMA.CT2", "SIM01.CT1"), kinds=kinds)
    assert {row["experiment"]: row["kind"] for row in rows} == kinds


def test_a_region_is_scored_as_these_bins_of_its_chromosome(opened):
    region = Region(TEST, 64 * 20, 64 * 120)
    names = [each["name"] for each in opened.targets.experiments]
    rows = evaluate(
        opened.checkpoint,
        opened.embedding,
        opened.data,
        opened.factor_set,
        opened.targets.experiments,
        CELL_TYPES,
        replace(opened.split, test=(region,)),
        seed=0,
    )
    batch = factor_batch(opened.factor_set, ["SIM01", "SIM02", "SIM03", "SIMA"])
    tracks = predict_tracks(opened.checkpoint, opened.embedding, opened.data, batch, 0, [opened.whole(TEST)])
    ((_, probabilities),) = tracks
    labels = opened.targets.labels[TEST][20:120, names.index("SIM02.CT1")]
    keep = labels != LEFT_OUT
    expected = average_precision(labels[keep] == BOUND, probabilities[20:120, 1][keep])
    found = {row["predictor"]: row for row in rows if row["experiment"] == "SIM02.CT1"}
    assert found["tfbind"]["auprc"] == pytest.approx(expected, rel=1e-6)
    assert set(found) == ALL


def test_model_row_scores_what_is_rendered(opened, metrics):
    for shuffled, predictor in ((False, "tfbind"), (True, "protein shuffled")):
        batch = factor_batch(opened.factor_set, ["SIM01", "SIM02", "SIM03", "SIMA"])
        if shuffled:
            batch = shuffle_proteins(batch, 2)
        where = [opened.whole(TEST)]
        ((_, probabilities),) = predict_tracks(opened.checkpoint, opened.embedding, opened.data, batch, 0, where)
        for column, experiment in ((1, "SIM02.CT1"), (3, "SIMA.CT1")):
            scored(metrics, experiment, predictor, opened.labels(experiment), probabilities[:, column])


def test_accessibility_row_is_the_mean_of_the_bigwig(opened, metrics, tiny_run):
    size = opened.reference.sizes[TEST]
    for cell_type in ("CT1", "CT2"):
        with pyBigWig.open(str(tiny_run.results / f"accessibility/{cell_type}.bw")) as handle:
            bases = np.nan_to_num(handle.values(TEST, 0, size, numpy=True))
        means = np.array([bases[start : start + 64].mean() for start in range(0, size, 64)])
        # Bins of equal signal: sums in another order break their tie.
        experiment = f"SIM03.{cell_type}"
        scored(metrics, experiment, "accessibility", opened.labels(experiment), means, rel=5e-3)


def test_motif_rows_are_the_best_site_and_its_product_with_accessibility(opened, metrics):
    sites = scan_chromosome(opened.data, TEST, [opened.factor_set.motif("SIM02")])[:, 0]
    accessibility = opened.data.accessibility[TEST][:, 0]
    labels = opened.labels("SIM02.CT1")
    scored(metrics, "SIM02.CT1", "motif max", labels, sites[:, 1])
    scored(metrics, "SIM02.CT1", "motif x accessibility", labels, motif_accessibility(sites[:, 0], accessibility))


def test_other_factors_row_is_the_mean_of_the_others_in_that_cell_type(opened, metrics):
    shares = []
    for experiment in ("SIM01.CT2", "SIMA.CT2"):
        bound, keep = opened.labels(experiment)
        shares.append(np.where(keep, bound, np.nan))
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(shares)
        mean = np.nansum(shares, 0) / np.maximum(known.sum(0), 1)
    scored(metrics, "SIM03.CT2", "other factors", opened.labels("SIM03.CT2"), mean)


def test_cell_type_without_a_track_has_no_accessibility_rows(opened):
    data = replace(opened.data, has_track=np.array([False, True, False]))
    rows = replace(opened, data=data).evaluate()
    assert predictors(rows, "SIM01.CT1") == ALL - {"accessibility", "motif x accessibility"}
    assert predictors(rows, "SIM01.CT2") == ALL


def test_alone_in_its_cell_type_a_factor_has_no_others(opened):
    names = [each["name"] for each in opened.targets.experiments]
    column = names.index("SIM01.CT1")
    labels = {chrom: values[:, [column]] for chrom, values in opened.targets.labels.items()}
    alone = replace(opened, data=replace(opened.data, labels=labels))
    rows = alone.evaluate(experiments=[opened.targets.experiments[column]])
    assert predictors(rows, "SIM01.CT1") == ALL - {"other factors"}


def test_shuffled_protein_scores_otherwise_only_if_proteins_matter(opened):
    def auprcs(rows, predictor):
        return {row["experiment"]: row["auprc"] for row in rows if row["predictor"] == predictor}

    rows = opened.evaluate()
    assert auprcs(rows, "tfbind") != auprcs(rows, "protein shuffled")

    model = deepcopy(opened.checkpoint.model)
    with torch.no_grad():
        model.head.encoder.embed.weight.zero_()
    blind = replace(opened, checkpoint=replace(opened.checkpoint, model=model))
    rows = blind.evaluate()
    assert auprcs(rows, "tfbind") == pytest.approx(auprcs(rows, "protein shuffled"), rel=1e-6)


def test_shuffling_keeps_residues_and_depends_on_the_seed(opened):
    batch = factor_batch(opened.factor_set, ["SIM01", "SIMA"])
    once, again, other = (shuffle_proteins(batch, seed).embeddings for seed in (1, 1, 2))
    assert torch.equal(once, again) and not torch.equal(once, other) and not torch.equal(once, batch.embeddings)
    for row in range(2):
        for column in range(batch.embeddings.shape[2]):
            assert torch.equal(once[row, :, column].sort().values, batch.embeddings[row, :, column].sort().values)


@pytest.mark.parametrize("chromosome", ["chr1", "chr2"])
def test_chromosomes_of_training_and_validation_are_refused(opened, chromosome):
    with pytest.raises(InputError, match=rf"'splits.test': the model was trained .* on {chromosome}:1-"):
        opened.evaluate([TEST, chromosome])


def test_model_of_another_genome_is_refused(opened):
    with pytest.raises(InputError, match=r"not of one genome"):
        opened.evaluate(genome="0" * 64)
    with pytest.raises(InputError, match=r"'splits.test': the split, the model and .* not of one genome"):
        opened.with_manifest(genome="0" * 64).evaluate()
