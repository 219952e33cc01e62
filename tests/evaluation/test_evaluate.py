"""Evaluation: every predictor on the same bins of regions that the model never saw."""

from __future__ import annotations

import csv
import gzip
import math
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyBigWig
import pytest
import torch

from tfbind.config import WindowSettings, load_config
from tfbind.core.errors import InputError
from tfbind.core.metrics import auroc, average_precision
from tfbind.evaluation.baselines import baselines, motif_accessibility, scan_bins, smoothed
from tfbind.evaluation.breakdown import Parts
from tfbind.evaluation.evaluate import Scores, evaluate, model_predictors
from tfbind.evaluation.predictions import read_predictor, write_predictions
from tfbind.evaluation.report import test_of as scene_of
from tfbind.evaluation.report import write_evaluation
from tfbind.evaluation.scene import Scene
from tfbind.evaluation.tables import KNOWN, read_metrics
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region
from tfbind.model.batching import factor_batch, shuffle_proteins
from tfbind.model.checkpoint import Checkpoint, load_checkpoint
from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.model.known_binding import KnownBinding, Weights
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.render import predict_tracks
from tfbind.training.splits import Split
from tfbind.training.targets import Targets

TEST = "chr3"
CELL_TYPES = ["CT1", "CT2"]
WITHOUT_MOTIF = {"tfbind", "protein shuffled", "accessibility", "other factors"}
PROBABILITIES = {"tfbind", "protein shuffled", "CNN of the factor alone", KNOWN}
ALL = WITHOUT_MOTIF | {"motif max", "motif x accessibility"}


@dataclass(frozen=True)
class Opened:
    checkpoint: Checkpoint
    embedding: GenomeEmbedding
    scene: Scene

    def evaluate(self, seed=0, **changes) -> Scores:
        predictors = model_predictors(self.scene, self.checkpoint, self.embedding, seed=seed, rule="mean")
        return evaluate(self.scene, [*predictors, *baselines(self.scene)], seed="0", **changes)

    def rows(self, **changes) -> list[dict[str, Any]]:
        return self.evaluate(**changes).rows

    def with_scene(self, **changes) -> Opened:
        return replace(self, scene=replace(self.scene, **changes))

    def with_split(self, **changes) -> Opened:
        return self.with_scene(split=replace(self.scene.split, **changes))

    def testing(self, *names) -> Opened:
        return self.with_split(tested=names)

    def whole(self, chrom) -> Region:
        return Region(chrom, 0, self.scene.reference.sizes[chrom])

    def with_manifest(self, **changes) -> Opened:
        about = self.checkpoint.about
        about = {**about, "manifest": {**about["manifest"], **changes}}
        return replace(self, checkpoint=replace(self.checkpoint, about=about))

    def column(self, experiment: str) -> int:
        return [each["name"] for each in self.scene.experiments].index(experiment)

    def labels(self, experiment: str) -> tuple[np.ndarray, np.ndarray]:
        """Bound, and to be kept, of the test chromosome."""
        column = np.asarray(self.scene.targets.labels[TEST][:, self.column(experiment)])
        return column == BOUND, column != LEFT_OUT


@pytest.fixture(scope="session")
def opened(tiny_run) -> Opened:
    torch.set_num_threads(1)
    results = tiny_run.results
    checkpoint, reference = load_checkpoint(results / "model"), Reference.open(results / "reference")
    scene = scene_of(
        checkpoint,
        Split.read(results / "split.json"),
        Targets.open(results / "targets"),
        reference,
        FactorSet.open(results / "factors"),
        {name: results / f"accessibility/{name}.bw" for name in CELL_TYPES},
        None,
    )
    return Opened(
        checkpoint, GenomeEmbedding.open(results / "genome_embedding/tokens", checkpoint, reference), scene
    )


@pytest.fixture(scope="session")
def written(tiny_run) -> list[dict[str, Any]]:
    """What `tfbind evaluate` wrote."""
    return read_metrics(tiny_run.results / "evaluation/metrics.tsv")


@pytest.fixture(scope="session")
def metrics(written) -> dict[tuple[str, str], dict[str, Any]]:
    """What it wrote of the model's own bins, by experiment and predictor."""
    return {(row["experiment"], row["predictor"]): row for row in written if row["bins"] == "model"}


def predictors(rows, experiment):
    # How alike simulated proteins are, other tests tell.
    found = {row["predictor"] for row in rows if row["experiment"] == experiment}
    return found - {"factor mean", "nearest factor", "CNN of the factor alone", KNOWN}


def scored(metrics, experiment, predictor, labels, scores, rel=1e-4):
    bound, keep = labels
    row = metrics[experiment, predictor]
    assert (row["n_bins"], row["n_bound"]) == (keep.sum(), bound.sum())
    assert row["auprc"] == pytest.approx(average_precision(bound[keep], scores[keep]), rel=rel)
    assert row["auroc"] == pytest.approx(auroc(bound[keep], scores[keep]), rel=rel)


def test_every_predictor_is_scored_on_the_same_bins(written):
    for experiment in {row["experiment"] for row in written}:
        for bins in ("model", "dream"):
            rows = [row for row in written if (row["experiment"], row["bins"]) == (experiment, bins)]
            assert len({(row["n_bins"], row["n_bound"], row["prevalence"]) for row in rows}) == 1
            assert rows[0]["n_bound"] > 0


def test_left_out_bins_are_not_scored(opened, metrics):
    _, keep = opened.labels("SIM01.CT1")
    assert metrics["SIM01.CT1", "tfbind"]["n_bins"] == keep.sum() < len(keep)


def test_predictors_that_do_not_apply_have_no_row(metrics):
    rows = metrics.values()
    assert predictors(rows, "SIM01.CT1") == predictors(rows, "SIM01.CT2") == ALL
    assert predictors(rows, "SIM03.CT1") == predictors(rows, "SIMA.CT1") == WITHOUT_MOTIF
    assert all(math.isnan(row["ece"]) == (row["predictor"] not in PROBABILITIES) for row in rows)


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
    rows = opened.with_split(tested=("SIMA.CT2", "SIM01.CT1"), kinds=kinds).rows()
    assert {row["experiment"]: row["kind"] for row in rows} == kinds


def test_model_row_scores_what_is_rendered(opened, metrics):
    for shuffled, predictor in ((False, "tfbind"), (True, "protein shuffled")):
        batch = factor_batch(opened.scene.factor_set, ["SIM01", "SIM02", "SIM03", "SIMA"])
        if shuffled:
            batch = shuffle_proteins(batch, 2)
        ((_, probabilities),) = predict_tracks(
            opened.checkpoint, opened.embedding, opened.scene.data, batch, 0, [opened.whole(TEST)]
        )
        for column, experiment in ((1, "SIM02.CT1"), (3, "SIMA.CT1")):
            scored(metrics, experiment, predictor, opened.labels(experiment), probabilities[:, column])


def test_known_binding_is_that_of_the_training_experiments_and_looks_at_the_tested_bins(opened):
    """SIM01, SIM02 and SIM03 were trained on in CT1: of SIMA in CT2 nothing is known."""
    weights = {(kind,): Weights(0.9, 0.0, {kind: 0.7}) for kind in ("factor", "cell_type")}
    about = {**opened.checkpoint.about, "known_binding": KnownBinding(weights, {"pooled": None}).as_json()}
    knowing = replace(opened, checkpoint=replace(opened.checkpoint, about=about))
    rows = [row for row in knowing.rows() if row["bins"] == "model"]
    found = {row["experiment"]: row for row in rows if row["predictor"] == KNOWN}
    assert set(found) == {row["experiment"] for row in rows} - {"SIMA.CT2"}
    assert all("at the tested bins" in row["sees"] for row in found.values())
    batch = factor_batch(opened.scene.factor_set, ["SIMA"])
    ((_, values),) = predict_tracks(
        opened.checkpoint, opened.embedding, opened.scene.data, batch, 0, [opened.whole(TEST)]
    )
    trained = [opened.labels(f"{factor}.CT1") for factor in ("SIM01", "SIM02", "SIM03")]
    share = sum(bound for bound, _ in trained) / np.maximum(sum(keep for _, keep in trained), 1)
    scores = 0.9 * np.log(values[:, 0] / (1 - values[:, 0])) + 0.7 * np.log1p(50 * share)
    scored({("SIMA.CT1", KNOWN): found["SIMA.CT1"]}, "SIMA.CT1", KNOWN, opened.labels("SIMA.CT1"), scores)


def test_a_model_that_does_not_tell_of_known_binding_has_no_row_of_it(opened):
    about = {name: value for name, value in opened.checkpoint.about.items() if name != "known_binding"}
    rows = replace(opened, checkpoint=replace(opened.checkpoint, about=about)).testing("SIM01.CT1").rows()
    assert KNOWN not in {row["predictor"] for row in rows}


def test_accessibility_row_is_the_mean_of_the_bigwig(opened, metrics, tiny_run):
    size = opened.scene.reference.sizes[TEST]
    for cell_type in ("CT1", "CT2"):
        with pyBigWig.open(str(tiny_run.results / f"accessibility/{cell_type}.bw")) as handle:
            bases = np.nan_to_num(handle.values(TEST, 0, size, numpy=True))
        means = np.array([bases[start : start + 64].mean() for start in range(0, size, 64)])
        # Bins of equal signal: sums in another order break their tie.
        experiment = f"SIM03.{cell_type}"
        scored(metrics, experiment, "accessibility", opened.labels(experiment), means, rel=5e-3)


def test_motif_rows_are_the_best_site_and_its_product_with_accessibility(opened, metrics):
    data, motif = opened.scene.data, opened.scene.factor_set.motif("SIM02")
    z, best = scan_bins(data, TEST, range(data.bins(TEST)), [motif])[0]
    accessibility = data.accessibility[TEST][:, 0]
    labels = opened.labels("SIM02.CT1")
    scored(metrics, "SIM02.CT1", "motif max", labels, best)
    scored(metrics, "SIM02.CT1", "motif x accessibility", labels, motif_accessibility(z, accessibility))


def test_other_factors_row_is_the_mean_of_the_others_in_that_cell_type(opened, metrics):
    shares = []
    for experiment in ("SIM01.CT2", "SIMA.CT2"):
        bound, keep = opened.labels(experiment)
        shares.append(np.where(keep, bound, np.nan))
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(shares)
        mean = np.nansum(shares, 0) / np.maximum(known.sum(0), 1)
    scored(metrics, "SIM03.CT2", "other factors", opened.labels("SIM03.CT2"), mean)


def test_the_factors_mean_is_that_of_its_training_cell_types(opened, metrics):
    """SIM01 was trained on in CT1 alone: that is its mean elsewhere, and in CT1 there is none."""
    loci = opened.scene.loci["model"]
    peaks = np.asarray(opened.scene.targets.peaks[TEST])
    own = peaks[peaks[:, 0] == opened.column("SIM01.CT1"), 1:]
    scored(metrics, "SIM01.CT2", "factor mean", opened.labels("SIM01.CT2"), smoothed(loci, {TEST: own}))
    assert ("SIM01.CT1", "factor mean") not in metrics
    # SIMA was held out: nobody may know its measurements.
    assert ("SIMA.CT2", "factor mean") not in metrics


def test_the_nearest_factor_is_looked_at_in_the_same_cell_type_or_wherever_it_was_measured(opened):
    loci, peaks = opened.scene.loci["model"], np.asarray(opened.scene.targets.peaks[TEST])
    for nearest, experiment, source in (
        ("SIM01", "SIMA.CT2", "SIM01.CT2"),
        ("SIM02", "SIMA.CT2", "SIM02.CT1"),
        (None, "SIMA.CT1", None),
    ):
        factor = experiment.split(".")[0]
        changed = opened.with_split(identity={factor: {"other": nearest, "identity": 0.5}})
        (predictor,) = [each for each in baselines(changed.scene) if each.name == "nearest factor"]
        found = predictor.scores(opened.column(experiment))
        if source is None:
            assert found is None
        else:
            own = peaks[peaks[:, 0] == opened.column(source), 1:]
            np.testing.assert_array_equal(found["model"], smoothed(loci, {TEST: own}))


def test_cell_type_without_a_track_has_no_accessibility_rows(opened):
    data = replace(opened.scene.data, has_track=np.array([False, True]))
    rows = opened.with_scene(data=data).testing("SIM01.CT1", "SIM01.CT2").rows()
    assert predictors(rows, "SIM01.CT1") == ALL - {"accessibility", "motif x accessibility"}
    assert predictors(rows, "SIM01.CT2") == ALL


def test_alone_in_its_cell_type_a_factor_has_no_others(opened):
    others = [{**each, "cell_type": "CT2"} for each in opened.scene.experiments]
    others[opened.column("SIM01.CT1")]["cell_type"] = "CT1"
    about = {**opened.scene.targets.about, "experiments": others}
    alone = opened.with_scene(targets=replace(opened.scene.targets, about=about)).testing("SIM01.CT1")
    assert predictors(alone.rows(), "SIM01.CT1") == ALL - {"other factors"}


def test_a_region_is_scored_as_its_bins_alone(opened):
    """With an embedding of the region and with the genome's, the same."""
    region = Region(TEST, 64 * 20, 64 * 200)
    part = opened.with_split(test=(region,)).testing("SIM01.CT1")
    expected = {(row["predictor"], row["bins"]): row for row in part.rows()}
    bound, keep = (values[20:200] for values in opened.labels("SIM01.CT1"))
    own = expected["accessibility", "model"]
    assert (own["n_bins"], own["n_bound"]) == (keep.sum(), bound.sum())
    scores = opened.scene.data.accessibility[TEST][20:200, 0]
    assert own["auprc"] == pytest.approx(average_precision(bound[keep], scores[keep]))

    embedding = GenomeEmbedding.of_regions(
        opened.checkpoint,
        opened.scene.reference,
        WindowSettings(bin=64, length=2048, core=1024),
        [region],
        precision="fp32",
    )
    for row in replace(part, embedding=embedding).rows():
        assert row["auprc"] == expected[row["predictor"], row["bins"]]["auprc"]


def test_regions_are_scored_together(opened):
    halves = Region(TEST, 0, 64 * 100), Region(TEST, 64 * 100, opened.scene.reference.sizes[TEST])
    both = opened.with_split(test=halves).testing("SIM01.CT1")
    whole = opened.testing("SIM01.CT1")
    for one, other in zip(both.rows(), whole.rows(), strict=True):
        if one["bins"] == "model":
            assert one["n_bins"] == other["n_bins"]
            # Peaks are smoothed, and bins carried, region by region.
            if one["predictor"] in ALL:
                assert one["auprc"] == other["auprc"]
        else:
            # Three bins of the challenge lie across the edge.
            assert other["n_bins"] - 3 <= one["n_bins"] <= other["n_bins"]


def test_intervals_come_from_blocks_and_the_rows_keep_their_replicates(tiny_run, written):
    kept = np.load(tiny_run.results / "evaluation/bootstrap.npy")
    # A chromosome of 20 kb is one block: no interval comes of it.
    assert kept.shape == (len(written), 200) and np.isnan(kept).all()
    assert all(np.isnan([row["auprc_low"], row["auprc_high"]]).all() for row in written)


@pytest.mark.parametrize("count", [4, 5])
def test_there_is_an_interval_of_five_blocks_or_more(opened, count):
    scene = opened.testing("SIM01.CT1").scene
    of_blocks = {
        kind: replace(loci, blocks=np.arange(len(loci)) * count // len(loci)) for kind, loci in scene.loci.items()
    }
    vars(scene)["loci"] = of_blocks
    scores = evaluate(scene, baselines(scene), seed="0", replicates=50)
    for row, replicates in zip(scores.rows, scores.replicates, strict=True):
        assert np.isnan(replicates).all() == (count < 5)
        assert count < 5 or row["auprc_low"] <= row["auprc"] <= row["auprc_high"]
        assert math.isnan(row["auprc_low"]) == (count < 5)


def test_genes_say_which_bins_are_promoters(opened, tmp_path):
    """A GTF in other names of chromosomes, zipped; bins by hand."""
    path = tmp_path / "genes.gtf.gz"
    rows = [("3", "transcript", 4001, 6000, "+"), ("3", "transcript", 9001, 12000, "-"), ("1", "exon", 1, 9, "+")]
    with gzip.open(path, "wt") as handle:
        for chrom, kind, start, end, strand in rows:
            handle.write(f'{chrom}\thavana\t{kind}\t{start}\t{end}\t.\t{strand}\t.\tgene_id "g";\n')
    scene = opened.testing("SIM01.CT1").scene
    rows = evaluate(scene, baselines(scene), seed="0", parts=Parts(scene, path)).breakdown
    rows = [row for row in rows if (row["breakdown"], row["predictor"]) == ("promoter", "accessibility")]
    found = {(row["bins"], row["part"]): row for row in rows}
    assert set(found) == {(bins, part) for bins in ("model", "dream") for part in ("promoter", "distal")}
    bound, keep = opened.labels("SIM01.CT1")
    middle = np.arange(len(keep)) * 64 + 32
    near = (abs(middle - 4000) <= 1000) | (abs(middle - 11999) <= 1000)
    for part, chosen in (("promoter", near & keep), ("distal", ~near & keep)):
        assert found["model", part]["n_bins"] == chosen.sum()
        assert found["model", part]["n_bound"] == (chosen & bound).sum()


def test_parts_and_reliability_are_written(tiny_run, written):
    def read(name):
        with (tiny_run.results / "evaluation" / name).open() as handle:
            return list(csv.DictReader(handle, delimiter="\t"))

    whole = {tuple(row[key] for key in ("experiment", "predictor", "bins")): row for row in written}
    found = read("breakdown.tsv")
    assert {row["part"] for row in found} == {"CpG-rich", "CpG-poor", "cell-type-specific", "shared"}
    for name in ("CpG", "sites"):
        own = [row for row in found if (row["experiment"], row["breakdown"]) == ("SIM01.CT2", name)]
        counts = [int(row["n_bound"]) for row in own if (row["predictor"], row["bins"]) == ("tfbind", "dream")]
        total = whole["SIM01.CT2", "tfbind", "dream"]["n_bound"]
        # A site that is ambiguous elsewhere is neither shared nor specific.
        assert sum(counts) == total if name == "CpG" else sum(counts) <= total
    curves = read("reliability.tsv")
    assert {row["predictor"] for row in curves} == PROBABILITIES
    own = [row for row in curves if (row["experiment"], row["bins"]) == ("SIM01.CT1", "model")]
    own = [row for row in own if row["predictor"] == "tfbind"]
    row = whole["SIM01.CT1", "tfbind", "model"]
    assert sum(int(each["count"]) for each in own) == row["n_bins"]
    bound = sum(int(each["count"]) * float(each["observed"]) for each in own)
    assert bound == pytest.approx(row["n_bound"], rel=1e-3)
    assert [float(each["predicted"]) for each in own] == sorted(float(each["predicted"]) for each in own)


def test_other_predictions_are_scored_beside_the_rest(opened, tmp_path):
    scene, path = opened.testing("SIM01.CT1", "SIM02.CT1").scene, tmp_path / "cnn.npz"
    values = scene.data.accessibility[TEST][:, 0]
    write_predictions(path, scene.split, {"SIM01.CT1": values}, name="per-factor CNN", sees="DNA, accessibility")
    own = evaluate(scene, [*baselines(scene), read_predictor(path, scene)], seed="0").rows
    found = {(row["experiment"], row["predictor"], row["bins"]): row["auprc"] for row in own}
    for bins in ("model", "dream"):
        assert found["SIM01.CT1", "per-factor CNN", bins] == found["SIM01.CT1", "accessibility", bins]
    assert ("SIM02.CT1", "per-factor CNN", "model") not in found

    with pytest.raises(InputError, match="is of another split"):
        read_predictor(path, opened.testing("SIM01.CT1").scene)
    write_predictions(path, scene.split, {"SIM01.CT1": values[1:]}, name="CNN", sees="DNA")
    with pytest.raises(InputError, match=r"scores of SIM01.CT1 are \(314,\), or .*; the test has 315 bins"):
        read_predictor(path, scene)
    write_predictions(path, scene.split, {"SIM01.CT1": values}, name="CNN", sees="DNA", rule="median")
    with pytest.raises(InputError, match="has the rule 'median', none of mean"):
        read_predictor(path, scene)


@pytest.mark.parametrize("damage", ["nothing", "empty", "an array", "cut", "a bit", "other", "no text"])
def test_damaged_predictions_are_refused(opened, tmp_path, damage):
    scene, path = opened.testing("SIM01.CT1").scene, tmp_path / "cnn.npz"
    write_predictions(
        path, scene.split, {"SIM01.CT1": scene.data.accessibility[TEST][:, 0]}, name="CNN", sees="DNA"
    )
    whole = path.read_bytes()
    if damage == "an array":
        with path.open("wb") as handle:
            np.save(handle, np.zeros(3))
    elif damage in ("other", "no text"):
        about = {"other": '{"name": "CNN"}', "no text": "[1]"}[damage]
        with path.open("wb") as handle:
            np.savez(handle, about=np.array(about))
    else:
        flipped = bytes([*whole[:60], whole[60] ^ 1, *whole[61:]])
        path.write_bytes({"nothing": b"nothing", "empty": b"", "cut": whole[:200], "a bit": flipped}[damage])
    with pytest.raises(InputError, match=r"cnn.npz: holds no predictions"):
        read_predictor(path, scene)


def test_two_predictors_of_one_name_are_refused_before_anything_is_scored(opened, tmp_path, tiny_run):
    scene, path = opened.testing("SIM01.CT1").scene, tmp_path / "cnn.npz"
    values = {"SIM01.CT1": scene.data.accessibility[TEST][:, 0]}
    config, tokens = load_config(tiny_run.config), tiny_run.results / "genome_embedding/tokens"
    write_predictions(path, scene.split, values, name="CNN", sees="DNA")
    for given, name in (([path, path], "CNN"), ([path], "tfbind")):
        write_predictions(path, scene.split, values, name=name, sees="DNA")
        with pytest.raises(InputError, match=f"two predictors named '{name}'"):
            write_evaluation(
                config, scene, opened.checkpoint, tmp_path / "out", embedding=tokens, predictions=given
            )
    assert not (tmp_path / "out").exists()


def test_what_predictors_see_is_told(written):
    told = {row["predictor"]: row["sees"] for row in written}
    assert "measurements" in told["other factors"] and "measurements" not in told["tfbind"]
    assert all(told.values())


def test_shuffled_protein_scores_otherwise_only_if_proteins_matter(opened):
    def auprcs(rows, predictor):
        return {
            row["experiment"]: row["auprc"]
            for row in rows
            if (row["predictor"], row["bins"]) == (predictor, "model")
        }

    rows = opened.rows()
    assert auprcs(rows, "tfbind") != auprcs(rows, "protein shuffled")

    model = deepcopy(opened.checkpoint.model)
    with torch.no_grad():
        model.head.encoder.embed.weight.zero_()
    blind = replace(opened, checkpoint=replace(opened.checkpoint, model=model))
    rows = blind.rows()
    assert auprcs(rows, "tfbind") == pytest.approx(auprcs(rows, "protein shuffled"), rel=1e-6)


def test_shuffling_keeps_residues_and_depends_on_the_seed(opened):
    batch = factor_batch(opened.scene.factor_set, ["SIM01", "SIMA"])
    once, again, other = (shuffle_proteins(batch, seed).embeddings for seed in (1, 1, 2))
    assert torch.equal(once, again) and not torch.equal(once, other) and not torch.equal(once, batch.embeddings)
    for row in range(2):
        for column in range(batch.embeddings.shape[2]):
            assert torch.equal(once[row, :, column].sort().values, batch.embeddings[row, :, column].sort().values)


@pytest.mark.parametrize("chromosome", ["chr1", "chr2"])
def test_chromosomes_of_training_and_validation_are_refused(opened, chromosome):
    with pytest.raises(
        InputError, match=rf"'splits.test': the model was (trained|stopped) on .*, {chromosome}:1-"
    ):
        opened.with_split(test=(opened.whole(TEST), opened.whole(chromosome))).rows()


def test_model_of_another_genome_is_refused(opened):
    with pytest.raises(InputError, match=r"not of one genome"):
        opened.with_split(genome="0" * 64).rows()
    with pytest.raises(InputError, match=r"'splits.test': the split, the model and .* not of one genome"):
        opened.with_manifest(genome="0" * 64).rows()
