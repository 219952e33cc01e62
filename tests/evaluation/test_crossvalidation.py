"""Folds and seeds laid together: what the tables say, counted by hand."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from tfbind.core.errors import InputError
from tfbind.evaluation.crossvalidation import TOGETHER, gather_folds, print_folds, summarise_folds
from tfbind.evaluation.tables import write_breakdown, write_metrics

# Experiment -> (fold, factor); AUPRC of the model by seed; AUPRC of the one baseline.
SCORES = {
    "A.K562": ("0", "A", (0.2, 0.4), 0.1),
    "A.HeLa": ("0", "A", (0.3, 0.3), 0.2),
    "B.K562": ("1", "B", (0.6, 0.8), 0.4),
}


def make_row(experiment, predictor, auprc, fold, seed, **changes):
    row = {
        "experiment": experiment,
        "factor": experiment.split(".")[0],
        "cell_type": experiment.split(".")[1],
        "kind": "unseen factor",
        "predictor": predictor,
        "bins": "dream",
        "fold": fold,
        "seed": seed,
        "sees": "DNA",
        "n_train_peaks": 0,
        "n_bins": 1000,
        "n_bound": 10,
        "prevalence": 0.01,
        "auroc": 0.9,
        "recall_at_10_fdr": 0.25,
        "recall_at_50_fdr": 0.5,
        "ece": 0.004,
        "identity": 0.4,
        "auprc": auprc,
        "auprc_low": auprc,
        "auprc_high": auprc,
    }
    return {**row, **changes}


def rows_of(fold, seed):
    for experiment, (own, _, by_seed, baseline) in SCORES.items():
        if own == fold:
            yield make_row(experiment, "tfbind", by_seed[int(seed)], fold, seed)
            yield make_row(experiment, "motif max", baseline, fold, seed)


def replicates_of(row):
    """Three resamples: a tenth below, the score, a tenth above; of A in HeLa the last has no bound bin."""
    found = np.array([row["auprc"] - 0.1, row["auprc"], row["auprc"] + 0.1])
    if row["experiment"] == "A.HeLa":
        found[2] = np.nan
    return found


@pytest.fixture
def folders(tmp_path):
    made = []
    for fold in "01":
        for seed in "01":
            folder = tmp_path / fold / seed
            rows = sorted(rows_of(fold, seed), key=lambda row: (row["experiment"], row["predictor"]))
            write_metrics(folder / "metrics.tsv", rows)
            np.save(folder / "bootstrap.npy", np.stack([replicates_of(row) for row in rows]))
            parts = [{**row, "breakdown": "sites", "part": "shared", "auprc": row["auprc"] / 2} for row in rows]
            write_breakdown(folder / "breakdown.tsv", parts)
            made.append(folder)
    return made


def summary_of(lines):
    return {(line["fold"], line["predictor"]): line for line in lines}


def test_means_are_over_seeds_then_experiments(folders, tmp_path):
    summary = summary_of(gather_folds(folders, tmp_path / "all"))
    model = summary[TOGETHER, "tfbind"]
    assert (model["n_experiments"], model["n_factors"], model["n_seeds"]) == (3, 2, 2)
    assert model["mean_auprc"] == pytest.approx((0.3 + 0.3 + 0.7) / 3)
    assert model["median_auprc"] == pytest.approx(0.3)
    # Seed 0: 0.2, 0.3, 0.6; seed 1: 0.4, 0.3, 0.8.
    assert model["sd_over_seeds"] == pytest.approx(np.std([1.1 / 3, 1.5 / 3], ddof=1))
    assert model["sd_over_factors"] == pytest.approx(np.std([0.3, 0.7], ddof=1))
    assert model["ratio"] == 1
    assert summary[TOGETHER, "motif max"]["ratio"] == pytest.approx(1.3 / 0.7)
    assert summary["1", "tfbind"]["mean_auprc"] == pytest.approx(0.7)
    assert math.isnan(summary["1", "tfbind"]["sd_over_factors"])


def test_what_no_seed_changes_has_no_spread_at_all():
    # The mean of three times 0.1 is not 0.1 in floats.
    rows = [{**row, "seed": seed, "auprc": 0.1} for seed in "012" for row in rows_of("0", "0")]
    line = summary_of(summarise_folds(rows, [np.full(3, 0.1) for _ in rows]))[TOGETHER, "motif max"]
    assert (line["n_seeds"], line["sd_over_seeds"]) == (3, 0)


def test_intervals_are_of_the_mean_over_what_is_bound_in_a_resample(folders, tmp_path):
    model = summary_of(gather_folds(folders, tmp_path / "all"))[TOGETHER, "tfbind"]
    # 0.2, 0.2, 0.6; 0.3, 0.3, 0.7; 0.4, -, 0.8.
    low, high = np.quantile([1 / 3, 1.3 / 3, 0.6], [0.025, 0.975])
    assert (model["auprc_low"], model["auprc_high"]) == (pytest.approx(low), pytest.approx(high))


def test_ratios_are_on_shared_experiments_and_resampled_together(folders, tmp_path):
    rows = [row for fold in "01" for seed in "01" for row in rows_of(fold, seed)]
    rows = [row for row in rows if (row["predictor"], row["experiment"]) != ("motif max", "B.K562")]
    summary = summary_of(summarise_folds(rows, [replicates_of(row) for row in rows]))
    line = summary[TOGETHER, "motif max"]
    assert line["ratio"] == pytest.approx(0.3 / 0.15)
    # Model 0.2, 0.3 and 0.4 (A in K562 alone); motif 0.05, 0.15 and 0.2.
    low, high = np.quantile([0.2 / 0.05, 0.3 / 0.15, 0.4 / 0.2], [0.025, 0.975])
    assert (line["ratio_low"], line["ratio_high"]) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.filterwarnings("error")
def test_a_resample_in_which_a_baseline_scores_nothing_makes_no_noise():
    rows = list(rows_of("0", "0"))
    nothing = {"motif max": np.array([0.0, 0.1, 0.1]), "tfbind": np.array([0.2, 0.2, 0.3])}
    summary = summary_of(summarise_folds(rows, [nothing[row["predictor"]] for row in rows]))
    line = summary[TOGETHER, "motif max"]
    assert (line["ratio_low"], line["ratio_high"]) == (pytest.approx(2), math.inf)


def test_a_seed_that_lacks_experiments_is_left_out_of_the_spread(folders, tmp_path):
    summary = summary_of(gather_folds(folders[:3], tmp_path / "all"))
    assert math.isnan(summary[TOGETHER, "tfbind"]["sd_over_seeds"])
    assert summary["0", "tfbind"]["sd_over_seeds"] == pytest.approx(np.std([0.25, 0.35], ddof=1))


def test_tables_are_written(folders, tmp_path):
    gather_folds(folders, tmp_path / "all")
    tables = {}
    for name in ("metrics", "breakdown", "summary", "groups"):
        with (tmp_path / "all" / f"{name}.tsv").open() as handle:
            tables[name] = list(csv.DictReader(handle, delimiter="\t"))
    assert len(tables["metrics"]) == len(tables["breakdown"]) == 12
    groups = {(row["predictor"], row["breakdown"], row["part"]): row for row in tables["groups"]}
    assert float(groups["motif max", "identity", "30-50 %"]["mean_auprc"]) == pytest.approx(0.7 / 3, rel=1e-5)
    assert float(groups["motif max", "training peaks", "0"]["mean_auprc"]) == pytest.approx(0.7 / 3, rel=1e-5)
    assert float(groups["motif max", "sites", "shared"]["mean_auprc"]) == pytest.approx(0.35 / 3, rel=1e-5)


def test_an_evaluation_that_is_given_twice_or_not_whole_is_refused(folders, tmp_path):
    with pytest.raises(InputError, match="fold 0 with seed 0 is there already"):
        gather_folds([*folders, folders[0]], tmp_path / "all")
    np.save(folders[1] / "bootstrap.npy", np.zeros((1, 3)))
    with pytest.raises(InputError, match=r"has \(1, 3\) values beside 4 rows"):
        gather_folds(folders, tmp_path / "all")
    (folders[1] / "bootstrap.npy").unlink()
    with pytest.raises(InputError, match=r"bootstrap.npy.*: there is no such file"):
        gather_folds(folders, tmp_path / "all")


def test_evaluations_that_are_unlike_are_refused(folders, tmp_path):
    text = (folders[1] / "metrics.tsv").read_text()
    (folders[1] / "metrics.tsv").write_text(text.replace("\t1000\t10\t", "\t1000\t11\t"))
    with pytest.raises(
        InputError, match=r"0/1: is of another test than .*0/0: n_bound of A.HeLa is 11, there 10"
    ):
        gather_folds(folders, tmp_path / "all")
    (folders[1] / "metrics.tsv").write_text(text)
    np.save(folders[1] / "bootstrap.npy", np.zeros((4, 7)))
    with pytest.raises(InputError, match=r"0/1: has 7 resamples where .*0/0 has 3"):
        gather_folds(folders, tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_damaged_evaluations_are_refused(folders, tmp_path, content):
    kept = (folders[2] / "bootstrap.npy").read_bytes()
    (folders[2] / "bootstrap.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"bootstrap.npy: holds no resamples"):
        gather_folds(folders, tmp_path / "all")
    (folders[2] / "bootstrap.npy").write_bytes(kept)
    text = (folders[2] / "breakdown.tsv").read_text()
    (folders[2] / "breakdown.tsv").write_text(text.replace("\t1000\t", "\tmany\t"))
    with pytest.raises(InputError, match=r"breakdown.tsv, row 2: holds what is no number .*many"):
        gather_folds(folders, tmp_path / "all")
    (folders[2] / "metrics.tsv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"metrics.tsv: is no table"):
        gather_folds(folders, tmp_path / "all")


def ensemble_of(folder, single):
    """An evaluation of both seeds as one."""
    for name in ("metrics", "breakdown"):
        lines = [line.split("\t") for line in (single / f"{name}.tsv").read_text().splitlines()]
        column = lines[0].index("seed")
        for line in lines[1:]:
            line[column] = "0+1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.tsv").write_text("\n".join("\t".join(line) for line in lines) + "\n")
    np.save(folder / "bootstrap.npy", np.load(single / "bootstrap.npy"))
    return folder


def test_ensembles_stand_beside_single_seeds_or_alone(folders, tmp_path):
    ensembles = [ensemble_of(tmp_path / "ensemble" / fold, tmp_path / fold / "1") for fold in "01"]
    beside = summary_of(gather_folds([*folders, *ensembles], tmp_path / "all"))
    assert {name for fold, name in beside if fold == TOGETHER} == {
        "tfbind",
        "tfbind, 2 seeds as one",
        "motif max",
    }
    assert beside[TOGETHER, "motif max"]["n_seeds"] == 2
    alone = summary_of(gather_folds(ensembles, tmp_path / "alone"))
    assert {name for fold, name in alone if fold == TOGETHER} == {"tfbind", "motif max"}
    assert alone[TOGETHER, "tfbind"]["mean_auprc"] == pytest.approx(0.5)
    assert alone[TOGETHER, "motif max"]["ratio"] == pytest.approx(1.5 / 0.7)
    # Of fold 1 there is the ensemble alone: its baselines are all there are.
    some = summary_of(gather_folds([*folders[:2], *ensembles], tmp_path / "some"))
    assert (some["1", "motif max"]["n_experiments"], some[TOGETHER, "motif max"]["n_experiments"]) == (1, 3)
    assert some["1", "tfbind, 2 seeds as one"]["mean_auprc"] == pytest.approx(0.8)


def test_a_fold_of_few_blocks_has_no_interval_and_none_with_others(folders, tmp_path, capsys):
    for folder in folders[2:]:
        np.save(folder / "bootstrap.npy", np.full((2, 3), np.nan))
    summary = gather_folds(folders, tmp_path / "all")
    lines = summary_of(summary)
    for column in ("auprc_low", "auprc_high", "ratio_low"):
        assert math.isnan(lines["1", "tfbind"][column]) and math.isnan(lines[TOGETHER, "tfbind"][column])
        assert not math.isnan(lines["0", "tfbind"][column])
    print_folds(summary)
    told = capsys.readouterr().out
    assert "nan" not in told and "0.433" in told
