from __future__ import annotations

import io
import math

import numpy as np
import pytest
from rich.console import Console

from tfbind.core.errors import InputError
from tfbind.evaluation.tables import (
    COLUMNS,
    left_out_sentence,
    print_summary,
    read_metrics,
    score_experiment,
    summarise,
    write_metrics,
    write_summary,
)


def make_row(experiment: str, predictor: str, auprc: float, **changes) -> dict:
    judgeable = not math.isnan(auprc)
    row = {
        "experiment": experiment,
        "factor": experiment.split(".")[0],
        "cell_type": "K562",
        "kind": "seen",
        "predictor": predictor,
        "bins": "dream",
        "fold": "all",
        "seed": "0",
        "sees": "DNA",
        "n_train_peaks": 100,
        "n_bins": 1000,
        "n_bound": 10 if judgeable else 0,
        "prevalence": 0.01 if judgeable else 0.0,
        "auprc": auprc,
        "auroc": 0.9 if judgeable else math.nan,
        "recall_at_10_fdr": 0.25 if judgeable else math.nan,
        "recall_at_50_fdr": 0.5 if judgeable else math.nan,
        "ece": 0.004 if judgeable and predictor == "tfbind" else math.nan,
        "identity": 1.0,
        "auprc_low": auprc,
        "auprc_high": auprc,
    }
    return {**row, **changes}


@pytest.fixture
def rows() -> list[dict]:
    """Motif max has no score for FOXA1, nothing is bound by YY1, and GATA1 is unseen."""
    return [
        make_row("YY1.K562", "tfbind", math.nan),
        make_row("YY1.K562", "motif max", math.nan),
        make_row("CTCF.K562", "motif max", 0.2),
        make_row("CTCF.K562", "tfbind", 0.6),
        make_row("MYC.K562", "accessibility", 0.3),
        make_row("MYC.K562", "tfbind", 0.2),
        make_row("MYC.K562", "motif max", 0.1),
        make_row("FOXA1.K562", "tfbind", 0.1),
        make_row("GATA1.K562", "tfbind", 0.123456789, kind="unseen factor"),
        make_row("GATA1.K562", "motif max", 0.25, kind="unseen factor"),
    ]


def test_score_experiment_scores_the_kept_bins_alone():
    labels = np.array([True, False, True, False, True, False])
    keep = np.array([True, True, True, True, False, False])
    scores = np.array([3.0, 2.0, 1.0, 0.0, np.nan, np.nan])
    score = score_experiment(labels, keep, scores)
    assert (score["n_bins"], score["n_bound"], score["prevalence"]) == (4, 2, 0.5)
    assert score["auprc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert score["auroc"] == 0.75
    assert score["recall_at_10_fdr"] == 0.5
    assert score["recall_at_50_fdr"] == 1.0
    assert math.isnan(score["ece"])
    probabilities = np.array([1.0, 0.0, 1.0, 0.0, np.nan, np.nan])
    assert score_experiment(labels, keep, scores, probabilities)["ece"] == 0.0


@pytest.mark.parametrize(("labels", "n_bins"), [([False] * 4, 4), ([True] * 4, 4), ([], 0)])
def test_score_experiment_says_nan_where_nothing_can_be_judged(labels, n_bins):
    labels = np.array(labels, bool)
    score = score_experiment(labels, np.ones(n_bins, bool), np.arange(n_bins))
    assert score["n_bins"] == n_bins
    assert math.isnan(score["auprc"]) and math.isnan(score["auroc"])


def test_score_experiment_refuses_arrays_that_do_not_fit():
    labels, scores = np.array([True, False]), np.array([1.0, 0.0])
    with pytest.raises(ValueError, match="keep must be"):
        score_experiment(labels, np.array([0, 1]), scores)
    with pytest.raises(ValueError, match="scores must be as long as keep"):
        score_experiment(labels, np.array([True, True]), scores[:1])
    with pytest.raises(ValueError, match="probabilities must be as long as keep"):
        score_experiment(labels, np.array([True, True]), scores, np.zeros(3))
    with pytest.raises(ValueError, match="NaN"):
        score_experiment(labels, np.array([True, True]), np.array([np.nan, 0.0]))


def test_metrics_come_back_as_written(tmp_path, rows):
    write_metrics(tmp_path / "metrics.tsv", rows)
    back = read_metrics(tmp_path / "metrics.tsv")
    assert [(row["experiment"], row["predictor"]) for row in back] == sorted(
        (row["experiment"], row["predictor"]) for row in rows
    )
    by_key = {(row["experiment"], row["predictor"]): row for row in rows}
    for row in back:
        original = by_key[row["experiment"], row["predictor"]]
        for column in COLUMNS:
            expected = original[column]
            if isinstance(expected, float):
                assert row[column] == pytest.approx(expected, rel=1e-5, nan_ok=True)
            else:
                assert row[column] == expected


def test_metrics_are_the_same_bytes_in_any_order(tmp_path, rows):
    write_metrics(tmp_path / "a.tsv", rows)
    write_metrics(tmp_path / "b.tsv", [dict(reversed(row.items())) for row in reversed(rows)])
    assert (tmp_path / "a.tsv").read_bytes() == (tmp_path / "b.tsv").read_bytes()
    lines = (tmp_path / "a.tsv").read_text().splitlines()
    assert lines[0].split("\t") == list(COLUMNS)
    values = (
        *(
            "GATA1.K562",
            "GATA1",
            "K562",
            "unseen factor",
            "tfbind",
            "dream",
            "all",
            "0",
            "DNA",
            "100",
            "1000",
            "10",
        ),
        *("0.01", "0.123457", "0.9", "0.25", "0.5", "0.004", "1", "0.123457", "0.123457"),
    )
    assert "\t".join(values) in lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tsv", "b.tsv"]


def test_no_metrics_are_a_table_without_rows(tmp_path):
    write_metrics(tmp_path / "metrics.tsv", [])
    assert read_metrics(tmp_path / "metrics.tsv") == []


BAD_ROWS = [
    ({"kind": "held out"}, "kind", "'held out' is none of seen, unseen factor"),
    ({"predictor": ""}, "predictor", "empty"),
    ({"n_bound": 2000}, "n_bound", "2000 does not lie between 0 and n_bins"),
    ({"n_bins": -1, "n_bound": 0}, "n_bins", "negative"),
    ({"auprc": 1.5}, "auprc", "1.5 does not lie between 0 and 1"),
    ({"auprc": math.nan}, "auprc", "empty although"),
    ({"predictor": "tfbind"}, "predictor", "'tfbind' is given twice for experiment 'CTCF.K562'"),
    ({"n_bound": 11}, "n_bound", "'11' for predictor 'zinc', but '10' for 'tfbind'"),
]


@pytest.mark.parametrize(("changes", "column", "message"), BAD_ROWS)
def test_bad_rows_are_neither_written_nor_read(tmp_path, changes, column, message):
    good, bad = make_row("CTCF.K562", "tfbind", 0.5), {**make_row("CTCF.K562", "zinc", 0.4), **changes}
    with pytest.raises(ValueError, match=message) as refused:
        write_metrics(tmp_path / "metrics.tsv", [good, bad])
    assert f"'{column}'" in str(refused.value)
    assert not list(tmp_path.iterdir())
    fields = [["" if row[name] != row[name] else str(row[name]) for name in COLUMNS] for row in (good, bad)]
    path = tmp_path / "metrics.tsv"
    path.write_text("\n".join("\t".join(line) for line in [COLUMNS, *fields]) + "\n")
    with pytest.raises(InputError, match=message) as refused:
        read_metrics(path)
    assert (refused.value.file, refused.value.row, refused.value.column) == (path, 3, column)
    assert "tfbind evaluate" in refused.value.mend


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\r"])
def test_names_that_would_break_the_table_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="tab or line break"):
        write_metrics(tmp_path / "metrics.tsv", [make_row("CTCF.K562", name, 0.5)])


def test_read_metrics_names_what_is_wrong_with_the_file(tmp_path, rows):
    path = tmp_path / "metrics.tsv"
    with pytest.raises(InputError, match="no such file"):
        read_metrics(path)
    path.write_text("")
    with pytest.raises(InputError, match="column 'experiment': this column is missing"):
        read_metrics(path)
    write_metrics(path, rows)
    text = path.read_text()
    path.write_text(text.replace("auroc", "roc"))
    with pytest.raises(InputError, match="row 1, column 'auroc': this column is missing"):
        read_metrics(path)
    path.write_text(text[: text.rindex("\t", 0, len(text) - 4)])
    with pytest.raises(InputError, match="row 11: 18 fields where the header has 21"):
        read_metrics(path)
    path.write_text(text.replace("\t0.123457\t", "\tmuch\t"))
    with pytest.raises(InputError, match="row 6, column 'auprc': 'much' is no number"):
        read_metrics(path)
    path.write_text(text.replace("\t1000\t", "\t1e3\t"))
    with pytest.raises(InputError, match="row 2, column 'n_bins': '1e3' is no number"):
        read_metrics(path)


def test_summary_compares_on_the_same_experiments(rows):
    summary = {(line["kind"], line["predictor"]): line for line in summarise(rows)}
    model = summary["seen", "tfbind"]
    assert model["n_experiments"] == 3  # YY1 is left out
    assert model["mean_auprc"] == pytest.approx(0.3)
    assert model["median_auprc"] == pytest.approx(0.2)
    assert model["mean_auroc"] == pytest.approx(0.9)
    assert model["mean_recall_at_10_fdr"] == 0.25
    assert model["mean_ece"] == pytest.approx(0.004)
    assert model["ratio"] == 1.0
    motif = summary["seen", "motif max"]
    assert motif["n_experiments"] == 2
    assert motif["ratio"] == pytest.approx((0.6 + 0.2) / (0.2 + 0.1))  # without FOXA1
    assert math.isnan(motif["mean_ece"])
    assert summary["seen", "accessibility"]["ratio"] == pytest.approx(0.2 / 0.3)
    assert summary["unseen factor", "motif max"]["ratio"] == pytest.approx(0.123456789 / 0.25)


def test_summary_is_grouped_by_kind_with_the_model_first(rows):
    assert [(line["kind"], line["predictor"]) for line in summarise(reversed(rows))] == [
        ("seen", "tfbind"),
        ("seen", "accessibility"),
        ("seen", "motif max"),
        ("unseen factor", "tfbind"),
        ("unseen factor", "motif max"),
    ]


def test_a_ratio_needs_the_model():
    assert math.isnan(summarise([make_row("CTCF.K562", "motif max", 0.5)])[0]["ratio"])


def test_summary_is_written_as_a_table(tmp_path, rows):
    write_summary(tmp_path / "summary.tsv", rows)
    lines = [line.split("\t") for line in (tmp_path / "summary.tsv").read_text().splitlines()]
    assert len(lines) == 6 and {len(line) for line in lines} == {12}
    motif = dict(zip(lines[0], lines[3], strict=True))
    assert (motif["predictor"], motif["n_experiments"], motif["ratio"]) == ("motif max", "2", "2.66667")
    assert motif["mean_ece"] == ""


def printed(rows: list[dict], width: int) -> list[str]:
    out = io.StringIO()
    print_summary(rows, Console(file=out, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 140])
def test_the_printed_summary_has_a_line_a_predictor(rows, width):
    lines = printed(rows, width)
    assert lines[0] == "seen: 3 experiments, mean prevalence 0.01 of 200-bp bins"
    starts = [line.split("  ")[0] for line in lines]
    assert [name for name in starts if name in {"tfbind", "accessibility", "motif max"}] == [
        "tfbind",
        "accessibility",
        "motif max",
        "tfbind",
        "motif max",
    ]
    motif = next(line for line in lines if line.startswith("motif max"))
    assert motif.split()[2:] == ["2", "0.150", "0.150", "0.900", "0.250", "0.500", "2.67"]
    assert lines[-1] == "1 of 5 experiments had no bound bins in the test chromosomes and was left out."
    assert max(map(len, lines)) <= width


def test_names_with_brackets_are_printed_as_they_are(rows):
    rows = [*rows, make_row("MYC.K562", "mean [over] factors", 0.05)]
    assert any(line.startswith("mean [over] factors") for line in printed(rows, 100))


def test_a_long_predictor_name_wraps_and_no_number_is_lost(rows):
    rows = [*rows, make_row("MYC.K562", "the factor's mean over training cell types", 0.05)]
    text = " ".join(printed(rows, 80))
    assert "the factor's mean over" in text and "training cell types" in text and "4.00" in text


def test_the_sentence_on_what_was_left_out(rows):
    assert left_out_sentence(rows[2:5]) == (
        "All 2 experiments had bound bins in the test chromosomes; none was left out."
    )
    two = [make_row("A.K562", "tfbind", math.nan), make_row("B.K562", "tfbind", math.nan)]
    assert left_out_sentence(two) == (
        "2 of 2 experiments had no bound bins in the test chromosomes and were left out."
    )
    full = make_row("C.K562", "tfbind", math.nan, n_bound=1000, prevalence=1.0)
    assert left_out_sentence([*two, full]).endswith("1 had no unbound bins and was left out too.")
    assert printed(two, 80) == [left_out_sentence(two)]
