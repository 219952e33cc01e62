from __future__ import annotations

import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfbind.core.errors import InputError
from tfbind.evaluation.plots import plot_evaluation, plot_history
from tfbind.evaluation.tables import KINDS

PREDICTORS = ["tfbind", *(f"baseline {number}" for number in range(1, 10))]


def make_rows(
    n_experiments: int, n_predictors: int, kinds: tuple[str, ...] = KINDS, top: float = 0.9
) -> list[dict]:
    random = np.random.default_rng(7)
    return [
        {
            "experiment": f"F{number}.K562",
            "factor": f"F{number}",
            "cell_type": "K562",
            "kind": kinds[number % len(kinds)],
            "predictor": predictor,
            "bins": "dream",
            "n_bins": 1000,
            "n_bound": 10,
            "prevalence": 0.01,
            "auprc": float(random.uniform(0.01, top)),
        }
        for number in range(n_experiments)
        for predictor in PREDICTORS[:n_predictors]
    ]


def png_size(path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize(
    ("n_experiments", "n_predictors", "kinds", "top"),
    [
        (2, 1, KINDS[:1], 0.9),
        (2, 2, KINDS[:1], 0.02),
        (70, 6, KINDS[:1], 0.3),
        (1000, 10, KINDS, 0.9),
    ],
)
def test_plots_of_every_size(tmp_path, n_experiments, n_predictors, kinds, top):
    plot_evaluation(
        make_rows(n_experiments, n_predictors, kinds, top), tmp_path / "plot.v1", title="Yeast, chrIV"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plot.v1.png", "plot.v1.svg"]
    svg = (tmp_path / "plot.v1.svg").read_text()
    assert "Yeast, chrIV" in svg and f"of {n_experiments}" in svg and f"n = {n_experiments} experiments" in svg
    for kind in KINDS:
        assert (f"<!-- {kind} (n = {n_experiments // len(kinds)}) -->" in svg) == (kind in kinds)
    for predictor in PREDICTORS:
        assert (f"<!-- {predictor} -->" in svg) == (predictor in PREDICTORS[:n_predictors])
    assert len(svg) < 2_000_000
    assert png_size(tmp_path / "plot.v1.png")[0] > 1000


def test_the_right_panel_counts_the_experiments_where_the_model_is_best(tmp_path):
    rows = make_rows(4, 3, KINDS[:1])
    for row, auprc in zip(rows, [0.5, 0.4, 0.3, 0.5, 0.2, 0.6, 0.5, 0.1, 0.5, 0.9, 0.8, 0.7], strict=True):
        row["auprc"] = auprc
    plot_evaluation(rows, tmp_path / "plot", title="")
    assert "tfbind beats the best other predictor in 2 of 4" in (tmp_path / "plot.svg").read_text()


def test_the_bytes_depend_on_the_data_alone(tmp_path):
    rows = make_rows(12, 3)
    plot_evaluation(rows, tmp_path / "a", title="T")
    program = (
        "import sys, matplotlib; matplotlib.rcParams['font.size'] = 25\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_plots import make_rows, plot_evaluation\n"
        "plot_evaluation(make_rows(12, 3), sys.argv[1], title='T')\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "b"), str(Path(__file__).parent)], check=True)
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert "<dc:date>" not in (tmp_path / "a.svg").read_text()


def test_experiments_without_bound_bins_are_left_out_and_counted(tmp_path):
    rows = make_rows(3, 2, KINDS[:1])
    for row in rows[:2]:
        row.update(n_bound=0, prevalence=0.0, auprc=math.nan)
    plot_evaluation(rows, tmp_path / "some", title="T")
    sentence = "1 of 3 experiments had no bound bins in the test chromosomes and was left out."
    assert sentence in (tmp_path / "some.svg").read_text()
    for row in rows:
        row.update(n_bound=0, prevalence=0.0, auprc=math.nan)
    plot_evaluation(rows, tmp_path / "none", title="T")
    assert "3 of 3 experiments had no bound bins" in (tmp_path / "none.svg").read_text()


def test_names_are_drawn_as_they_are(tmp_path):
    rows = make_rows(3, 2, KINDS[:1])
    for row in rows:
        row["predictor"] = row["predictor"].replace("baseline 1", "cost $1 & $2 <x>")
    plot_evaluation(rows, tmp_path / "plot", title="$3 & $4_a")
    svg = (tmp_path / "plot.svg").read_text()
    assert "<!-- cost $1 &amp; $2 &lt;x&gt; -->" in svg and "<!-- $3 &amp; $4_a -->" in svg


def test_an_evaluation_without_the_model_is_refused(tmp_path):
    rows = [row for row in make_rows(3, 2) if row["predictor"] != "tfbind"]
    with pytest.raises(ValueError, match="no row of the predictor 'tfbind'"):
        plot_evaluation(rows, tmp_path / "plot", title="T")


def test_matplotlib_is_not_imported_before_a_plot_is_made():
    program = "import sys, tfbind.evaluation.plots; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


HEADER = "step\tloss\tlearning_rate\tvalidation_auprc\n"


@pytest.fixture
def history(tmp_path):
    lines = [f"{step}\t{1 / step:.4f}\t0.001\t{step / 1000 if step % 50 == 0 else ''}" for step in range(1, 201)]
    path = tmp_path / "history.tsv"
    path.write_text(HEADER + "\n".join(lines) + "\n")
    return path


def test_history_is_plotted_with_its_best_step(tmp_path, history):
    for name in ("a", "b"):
        plot_history(history, tmp_path / name)
    svg = (tmp_path / "a.svg").read_text()
    assert "best 0.2 at step 200" in svg and "<!-- training step -->" in svg
    assert png_size(tmp_path / "a.png")[0] > 1000
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("body", ["1\t0.5\t0.001\t\n", "0\t\t\t0.1\n", "1\t0.5\t0.1\t0\n2\t0.4\t0.1\t0\n"])
def test_short_histories_are_plotted(tmp_path, body):
    (tmp_path / "history.tsv").write_text(HEADER + body)
    plot_history(tmp_path / "history.tsv", tmp_path / "plot")
    assert ("not measured" in (tmp_path / "plot.svg").read_text()) == ("\t\t" in body or body.endswith("\t\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1, column 'step': this column is missing"),
        ("step\tloss\tvalidation_auprc\n", "column 'learning_rate': this column is missing"),
        (HEADER, "no training step"),
        (HEADER + "1\t0.5\n", "row 2: 2 fields where the header has 4"),
        (HEADER + "1\tlow\t0.1\t\n", "row 2, column 'loss': 'low' is no number"),
        (HEADER + "1\t0.5\t0.1\t\n2\tnan\t0.1\t\n", "row 3, column 'loss': 'nan' is no finite number"),
        (HEADER + "\t0.5\t0.1\t\n", "row 2, column 'step': it is empty"),
        (HEADER + "2\t0.5\t0.1\t\n2\t0.5\t0.1\t\n", "row 3, column 'step': step 2 does not rise above"),
        (HEADER + "1\t0.5\t0.1\t1.2\n", "row 2, column 'validation_auprc': 1.2 does not lie between 0 and 1"),
    ],
)
def test_bad_histories_are_refused(tmp_path, text, message):
    path = tmp_path / "history.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        plot_history(path, tmp_path / "plot")
    assert refused.value.file == path and refused.value.mend
    assert not (tmp_path / "plot.svg").exists()


def test_a_missing_history_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        plot_history(tmp_path / "none.tsv", tmp_path / "plot")
