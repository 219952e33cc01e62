"""Folds and seeds laid together: what the tables say, counted by hand."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from tfbind.core.errors import InputError
from tfbind.evaluation.crossvalidation import TOGETHER, gather_folds, summarise_folds
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
