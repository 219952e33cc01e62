"""Learning curves: amounts and means counted by hand."""

from __future__ import annotations

import pytest

from scripts.results.extra import read_learning
from scripts.results.figures import figures
from scripts.results.learning import CURVES, was_run, write_learning
from tfbind.core.errors import InputError
from tfbind.evaluation.tables import write_metrics
from tfbind.genome.regions import Region
from tfbind.training.splits import Split

# A run: factors that each fold learns from, Mb, and the AUPRC of A and B.
RUNS = {"human-h3-12f": ("ab", 3, 0.1), "human-h3-24f": ("abc", 3, 0.2), "human-h3-shorter": ("abcd", 3, 0.4)}


def make_run(results, name: str, factors: str, megabases: int, auprc: float) -> None:
    run = results / name / "cross_validation"
    rows = []
    for fold, tested in (("0", "A"), ("1", "B")):
        learnt = factors + "x" * (fold == "1")
        parts = {
            part: (Region("chr1", 10**8 + at, 10**8 + at + 64),)
            for part, at in (("validation", 0), ("test", 640))
        }
        Split(
            genome="g",
            bin=64,
            train=(Region("chr1", 0, megabases * 10**6),),
            **parts,
            experiments=tuple(f"{factor}.K562" for factor in learnt),
            tested=(f"{tested}.K562",),
            identity={factor: {"nearest": factor, "identity": 1.0, "other": None} for factor in learnt}
            | {tested: {"nearest": "a", "identity": 0.2, "other": "a"}},
            fold=int(fold),
        ).write(run / fold / "split.json")
        for seed, more in (("0", 0.0), ("1", 0.1)):
            row = {"experiment": f"{tested}.K562", "factor": tested, "cell_type": "K562", "kind": "unseen factor"}
            row |= {"predictor": "tfbind", "bins": "dream", "fold": fold, "seed": seed, "sees": "DNA"}
            row |= {"n_train_peaks": 0, "n_bins": 1000, "n_bound": 10, "prevalence": 0.01, "auroc": 0.9}
            row |= {"recall_at_10_fdr": 0.2, "recall_at_50_fdr": 0.5, "ece": 0.1, "identity": 0.2}
            value = auprc + more + 0.1 * (tested == "B")
            rows.append(row | dict.fromkeys(("auprc", "auprc_low", "auprc_high"), value))
    write_metrics(run / "metrics.tsv", rows)


@pytest.fixture
def results(tmp_path):
    for name, about in RUNS.items():
        make_run(tmp_path / "results", name, *about)
    return tmp_path / "results"


def test_a_curve_over_factors(results, tmp_path):
    curve = CURVES["factors"]
    assert was_run(curve, results) and not was_run(CURVES["sequence"], results)
    write_learning(curve, results, tmp_path / "learning.factors.tsv")
    rows = read_learning(tmp_path)
    # Means over folds of 2 and 3, 3 and 4, 4 and 5 factors.
    assert [(row["amount"], row["seed"]) for row in rows] == [(n, seed) for n in (2.5, 3.5, 4.5) for seed in "01"]
    assert [row["mean_auprc"] for row in rows] == pytest.approx([0.15, 0.25, 0.25, 0.35, 0.45, 0.55])
    assert {(row["protocol"], row["what"]) for row in rows} == {("H3", "factors")}
    # Beside a curve over sequence, in a panel of its own.
    lines = ["protocol\twhat\tamount\tseed\tmean_auprc", *(f"H1\ttraining Mb\t{n}\t0\t0.{n}" for n in (12, 23))]
    (tmp_path / "learning.sequence.tsv").write_text("\n".join(lines) + "\n")
    figures(tmp_path, [])["learning"](tmp_path / "learning")
    drawn = (tmp_path / "learning.svg").read_text()
    assert "training factors, log scale" in drawn and "training sequence, Mb, log scale" in drawn


def test_runs_that_are_tested_otherwise_make_no_curve(results, tmp_path):
    path = results / "human-h3-24f/cross_validation/1/split.json"
    split = Split.read(path)
    Split(**{**{name: getattr(split, name) for name in Split.__dataclass_fields__}, "tested": ("A.K562",)}).write(
        path
    )
    with pytest.raises(
        InputError, match=r"human-h3-24f/cross_validation: is tested otherwise than .*human-h3-12f"
    ):
        write_learning(CURVES["factors"], results, tmp_path / "learning.factors.tsv")
