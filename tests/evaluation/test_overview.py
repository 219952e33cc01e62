"""The table at the end of a run, and the paths that it tells to open."""

from __future__ import annotations

import re

import pytest

from tfbind.core.errors import InputError
from tfbind.evaluation.overview import overview, table_of_scores
from tfbind.evaluation.tables import MODEL


def line(kind: str, predictor: str, auprc: float, n: int = 20) -> dict:
    return {
        "kind": kind,
        "predictor": predictor,
        "n_experiments": n,
        "mean_auprc": auprc,
        "mean_prevalence": 0.0081,
        "bins": "dream",
    }


LINES = [
    line("seen", MODEL, 0.6543),
    line("seen", "protein shuffled", 0.7),
    line("seen", "a predictor with a very long name", 0.31),
    line("seen", "motif max", 0.1),
    line("unseen factor and cell type", MODEL, 0.5, n=4),
]


def test_columns_stand_below_each_other():
    title, *rows = table_of_scores(LINES, "Held-out test").splitlines()
    assert title == "Held-out test: mean AUPRC on bins of 200 bp"
    assert rows == [
        "  experiments                   n  bound bins  tfbind  proteins shuffled  best other",
        "  seen                         20      0.81 %   0.654              0.700       0.310"
        "  a predictor with a very long name",
        "  unseen factor and cell type   4      0.81 %   0.500                  -           -",
    ]


def test_a_kind_that_the_model_did_not_score_is_no_row():
    assert table_of_scores([line("seen", "motif max", 0.5)], "Test") == ""


def test_a_run_tells_its_scores_and_what_to_open(tiny_run):
    text = overview(tiny_run.results)
    assert text.startswith("Held-out test: mean AUPRC")
    assert "  unseen factor and cell type  " in text
    opened = re.findall(rf"^  {re.escape(str(tiny_run.results))}/(\S+) +(\S.*)$", text, re.MULTILINE)
    assert [path for path, _ in opened] == [
        "evaluation/evaluation.svg",
        "evaluation/metrics.tsv",
        "training/history.svg",
        "homology.tsv",
        "tracks",
    ]
    columns = {row.index(what) for row in text.splitlines() for _, what in opened if row.endswith(what)}
    assert len(columns) == 1, "what they are stands in one column"


def test_a_cross_validation_is_told_too(tmp_path, write):
    (tmp_path / "cross_validation").mkdir()
    header = "bins fold kind predictor n_experiments mean_auprc mean_prevalence"
    rows = [
        header,
        "dream together seen tfbind 12 0.41 0.004",
        "dream together seen factor_mean 12 0.2 0.004",
        "dream 0 seen tfbind 6 0.99 0.004",
        "model together seen tfbind 12 0.98 0.004",
    ]
    path = tmp_path / "cross_validation/summary.tsv"
    path.write_text("".join(row.replace(" ", "\t") + "\n" for row in rows))
    text = overview(tmp_path)
    assert (
        "Cross-validation: mean AUPRC" in text and "0.410" in text and "0.99" not in text and "0.98" not in text
    )
    assert "cross_validation/summary.tsv  " in text
    path.write_text("bins\tfold\n")
    with pytest.raises(InputError, match=r"summary\.tsv"):
        overview(tmp_path)


def test_a_folder_without_results_tells_nothing(tmp_path):
    assert overview(tmp_path) == ""


def test_the_report_and_the_browser_are_told_where_they_are(tmp_path):
    (tmp_path / "browser").mkdir()
    for name in ("report.html", "browser/index.html"):
        (tmp_path / name).touch()
    text = overview(tmp_path)
    assert f"{tmp_path}/report.html " in text and f"tfbind browse {tmp_path}" in text
