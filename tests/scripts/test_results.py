"""The page of results: blocks say what copies say, copies what a cross-validation says; by hand, and by rule."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.results.copies import TABLES, copy_protocol, evaluations_of, is_copied, read_copy, splits_of
from scripts.results.figures import figures
from scripts.results.page import BLOCK, NOT_RUN, blocks, filled
from tfbind.core.errors import InputError
from tfbind.core.files import write_json
from tfbind.evaluation.crossvalidation import gather_folds
from tfbind.evaluation.fdr import write_fdr
from tfbind.evaluation.tables import in_order, write_breakdown, write_metrics, write_reliability
from tfbind.genome.regions import Region
from tfbind.training.splits import Split

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results.md"
NAME = "human-h3"
# Experiment -> fold; AUPRC of the model by seed and of both seeds as one; of a baseline, and of one that peeks.
SCORES = {
    "A.K562": ("0", {"0": 0.2, "1": 0.4, "0+1": 0.5}, 0.1, 0.8),
    "A.HUVEC": ("0", {"0": 0.3, "1": 0.3, "0+1": 0.4}, 0.2, 0.7),
    "B.K562": ("1", {"0": 0.6, "1": 0.8, "0+1": 0.9}, 0.3, 0.6),
}
SEES = {"tfbind": "DNA", "motif max": "DNA, motif", "nearest factor": "measurements at the tested bins"}
SEES["tfbind, known binding"] = "DNA; measurements at the tested bins"


def rows_of(fold: str, seed: str) -> list[dict]:
    rows = []
    for experiment, (own, by_seed, motif, nearest) in SCORES.items():
        factor, cell_type = experiment.split(".")
        scores = {"tfbind": by_seed[seed], "motif max": motif, "nearest factor": nearest}
        if experiment != "B.K562":
            scores["tfbind, known binding"] = by_seed[seed] + 0.3
        for predictor, auprc in scores.items():
            for bins in ("dream", "model"):
                row = {"experiment": experiment, "factor": factor, "cell_type": cell_type}
                row |= {"kind": "unseen factor", "identity": 0.4 if factor == "A" else 0.1}
                row |= {"predictor": predictor, "bins": bins, "fold": fold, "seed": seed, "sees": SEES[predictor]}
                row |= {"n_train_peaks": 50 * (factor == "A"), "n_bins": 1000, "n_bound": 10, "prevalence": 0.01}
                row |= {"auroc": 0.9, "recall_at_10_fdr": 0.25, "recall_at_50_fdr": 0.5, "ece": 0.004}
                value = auprc if bins == "dream" else auprc / 2
                row |= {"auprc": value, "auprc_low": value, "auprc_high": value}
                rows += [row] * (own == fold)
    return rows


def make_run(root: Path, name: str = NAME) -> Path:
    """A cross-validation of two folds and two seeds, as the workflow leaves it."""
    run, made = root / "results" / name / "cross_validation", []
    for fold in "01":
        for seed, folder in (("0", "0"), ("1", "1"), ("0+1", "ensemble")):
            out = run / fold / folder / "evaluation"
            rows = rows_of(fold, seed)
            write_metrics(out / "metrics.tsv", rows)
            values = np.array([row["auprc"] for row in in_order(rows)])
            np.save(out / "bootstrap.npy", values[:, None] + np.array([-0.01, 0.0, 0.01]))
            write_breakdown(
                out / "breakdown.tsv", [{**row, "breakdown": "CpG", "part": "CpG-rich"} for row in rows]
            )
            groups = [{"group": 0, "predicted": 0.02, "observed": 0.03, "count": 600}]
            groups += [{"group": 1, "predicted": 0.021, "observed": 0.0, "count": 200}]
            own = [row for row in rows if row["predictor"] == "tfbind"]
            write_reliability(out / "reliability.tsv", [{**row, **group} for row in own for group in groups])
            calls = {"fdr": 0.1, "threshold_from": "pooled", "threshold": 0.5, "of": "bins", "measured": 10}
            calls |= {"calls": 4, "right": 3, "achieved_fdr": 0.25, "recall": 0.3}
            write_fdr(out / "fdr.tsv", [{**row, **calls} for row in own if row["bins"] == "model"])
            made.append(out)
        regions = [(Region("chrX", start * 10**6, (start + 10) * 10**6),) for start in (0, 10, 20)]
        parts = dict(zip(("train", "validation", "test"), regions, strict=True))
        Split(genome="g", bin=64, **parts, experiments=("C.K562",), tested=("A.K562",)).write(
            run / fold / "split.json"
        )
        # One seed is an ensemble of two; there were more members once.
        write_json(run / fold / "1/model/ensemble.json", {"members": [{}, {}]})
        logs = root / "logs" / name / "cross_validation" / fold
        whole = 60 + 120 * int(fold)
        members = {"1/members/0": 20, "1/members/1": whole - 20, "1/members/2": 999}
        for each, seconds in {"0": whole, **members}.items():
            (logs / each).mkdir(parents=True)
            (logs / each / "train.benchmark.tsv").write_text(f"s\th:m:s\n{seconds}.0\t-\n")
    gather_folds(made, run)
    return run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    run = make_run(folder)
    copy_protocol(run, folder / "docs/results", NAME, folder / "logs" / NAME / "cross_validation")
    return folder


@pytest.fixture
def copies(root):
    return root / "docs/results"


def test_copies_are_small_and_say_the_same(copies):
    assert is_copied(copies, NAME) and not is_copied(copies, "human-h1")
    assert {path.name for path in copies.iterdir()} == {f"{NAME}.{table}.tsv" for table in TABLES}
    rows = {row["experiment"]: row for row in read_copy(copies, NAME, "experiments")}
    assert rows["A.K562"]["tfbind"] == pytest.approx(0.3) and rows["B.K562"]["motif max"] == 0.3
    assert rows["B.K562"]["tfbind, 2 seeds as one"] == 0.9 and rows["B.K562"]["fold"] == "1"
    folds = read_copy(copies, NAME, "folds")
    assert [row["train_seconds"] for row in folds] == [60, 180] and folds[0]["test_mb"] == 10
    assert {row["fold"] for row in read_copy(copies, NAME, "summary")} == {"together"}


def test_reliability_is_pooled_by_hand(copies):
    rows = [row for row in read_copy(copies, NAME, "reliability") if row["bins"] == "dream"]
    single, ensemble = sorted(rows, key=lambda row: row["predictor"], reverse=True)
    # Three experiments, two seeds; both groups lie between 10^-1.75 and 10^-1.5.
    assert (single["n_experiments"], single["count"], ensemble["count"]) == (3, 4800, 2400)
    assert single["predicted"] == pytest.approx((3 * 0.02 + 0.021) / 4)
    assert single["observed"] == pytest.approx(0.03 * 3 / 4)


def test_calls_are_summed_by_hand(copies):
    rows = {row["predictor"]: row for row in read_copy(copies, NAME, "fdr")}
    assert {name: (row["calls"], row["right"], row["n_runs"]) for name, row in rows.items()} == {
        "tfbind": (24, 18, 4),
        "ensemble": (12, 9, 2),
    }
    assert rows["tfbind"]["achieved_fdr"] == 0.25 and rows["tfbind"]["n_experiments"] == 3


def test_folders_of_earlier_settings_are_not_pooled(root, copies, tmp_path):
    run = tmp_path / "results" / NAME / "cross_validation"
    shutil.copytree(root / "results" / NAME / "cross_validation", run)
    shutil.copytree(run / "0/0", run / "0/2")
    shutil.copytree(run / "0", run / "2")
    assert {path.parent.relative_to(run).as_posix() for path in evaluations_of(run)} == {
        f"{fold}/{seed}" for fold in "01" for seed in ("0", "1", "ensemble")
    }
    assert [path.parent.name for path in splits_of(run)] == ["0", "1"]
    copy_protocol(run, tmp_path, NAME, root / "logs" / NAME / "cross_validation")
    for path in copies.iterdir():
        assert (tmp_path / path.name).read_text() == path.read_text(), path.name


def test_ensembles_that_were_not_gathered_are_not_pooled(tmp_path):
    run = make_run(tmp_path)
    gather_folds([run / fold / seed / "evaluation" for fold in "01" for seed in "01"], run)
    assert {path.parent.name for path in evaluations_of(run)} == {"0", "1"}


def cells(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]


def test_blocks_say_what_is_counted_by_hand(copies):
    made = {name: make() for name, make in blocks(copies).items()}
    (h3,) = [line for line in cells(made["overview"]) if line[0] == "H3"]
    # Means of seeds over three experiments: 1.1 / 3 and 1.5 / 3; together 1.3 / 3; as one 1.8 / 3; motif 0.6 / 3.
    assert h3[2:4] == ["3", "**0.433** ± 0.094"] and h3[6] == "0.600"
    assert h3[-2:] == ["0.200 (motif max)", "2.17 x"], "nearest factor is better, and peeks"
    lines = {line[0]: line for line in cells(made[NAME])}
    assert lines["nearest factor †"][2] == "0.700" and lines["**tfbind, 2 seeds as one**"][2] == "0.600"
    assert lines["**tfbind**"][4] == "0.424 to 0.443"
    assert lines["**tfbind, known binding** †"][1:3] == ["2", "0.600"]
    # Of the two experiments that have any: 0.5 / 2 of seed 0, 0.7 / 2 of seed 1, and 0.3 more of each.
    assert cells(made["known"])[2] == ["H3", "unseen factor", "2", "0.600 ± 0.071", "0.300", "2.00 x"]
    assert made["human-h1"] == made["steps"] == made["learning"] == NOT_RUN
    (h1,) = [line for line in cells(made["overview"]) if line[0] == "H1"]
    assert "not run" in h1
    assert "25.0 %" in made["fdr"] and "2.0 min" in made["protocols"]


def test_what_differs_from_another_stands_below_it(copies):
    named = {name: [row[0] for row in cells(blocks(copies)[name]())[2:]] for name in ("trainings", "in-vitro")}
    h1 = ["H1", "H1, by an Enformer", "H1, by both as one"]
    assert named["trainings"] == [*h1, "H2", "H2, by known motifs", "H3", "H3, trained for a third"]
    # With fewer motifs, and trained as that one is.
    assert named["in-vitro"][2:] == ["H3, trained for a third", "H3, trained for a third, motifs in vitro"]


def test_alternative_texts_name_what_a_figure_shows(copies, tmp_path):
    shutil.copytree(copies, tmp_path, dirs_exist_ok=True)
    made = blocks(tmp_path)
    assert "observed frequencies: H3]" in made["reliability"]()
    assert "training factor: H3]" in made["identity"]() and "training peaks: H3]" in made["training_peaks"]()
    table = tmp_path / f"{NAME}.groups.tsv"
    lines = [line for line in table.read_text().splitlines(True) if "\tidentity\t" not in line]
    table.write_text("".join(lines))
    assert "training factor]" in made["identity"]() and "training peaks: H3]" in made["training_peaks"]()


def test_every_figure_is_drawn_and_says_its_n(copies, tmp_path):
    own = tmp_path / "copies"
    shutil.copytree(copies, own)
    (own / "learning.factors.tsv").write_text(
        "protocol\twhat\tamount\tseed\tmean_auprc\nhuman-h1\tfactors\t10\t0\t0.1\nhuman-h1\tfactors\t20\t0\t0.2\n"
    )
    for name, draw in figures(own, [NAME]).items():
        draw(own / name)
        assert "n = " in (own / f"{name}.svg").read_text(), name
        assert (own / f"{name}.png").stat().st_size > 1000
    assert "tfbind above in 3 of n = 3" in (own / f"{NAME}.factors.svg").read_text()
    assert "| 0.100 |" in blocks(own)["learning"]()


def test_tables_that_are_not_as_they_should_be_are_refused(copies, tmp_path):
    (tmp_path / "learning.factors.tsv").write_text(
        "protocol\twhat\tamount\tseed\tmean_auprc\na\tb\tmuch\t0\t0.1\n"
    )
    with pytest.raises(InputError, match="row 2, column 'amount': 'much' is no number"):
        blocks(tmp_path)["learning"]()
    with pytest.raises(InputError, match="no block 'hearsay'"):
        filled("<!-- results: hearsay -->\n<!-- end -->", copies)


def test_the_rule_makes_the_page_and_does_so_once(root, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(root, folder)
    shutil.rmtree(folder / "docs")
    (folder / "docs").mkdir()
    shutil.copy(PAGE, folder / "docs/results.md")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--snakefile", ROOT / "workflow/results.smk"]

    def run() -> str:
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout + found.stderr

    run()
    page = (folder / "docs/results.md").read_text()
    assert page == filled(PAGE.read_text(), folder / "docs/results") and "**0.433** ± 0.094" in page
    assert all((folder / "docs" / link).is_file() for link in re.findall(r"\((results/[^)]+)\)", page))
    assert "Nothing to be done" in run()


# --- the page of the project --------------------------------------------------------------------------------


def test_numbers_on_the_page_are_those_of_its_copies():
    assert PAGE.read_text() == filled(PAGE.read_text(), PAGE.parent / "results")


def test_the_page_has_every_block_once_and_scores_in_blocks_alone():
    text = PAGE.read_text()
    assert sorted(found["name"] for found in BLOCK.finditer(text)) == sorted(blocks(PAGE.parent / "results"))
    assert len(re.findall("<!-- ", text)) == 2 * len(blocks(PAGE.parent / "results"))
    by_hand = BLOCK.sub("", text).split("## Published figures")[0]
    assert not re.findall(r"\d\.\d", by_hand)


def test_what_the_page_shows_is_there():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE.read_text()):
        assert (PAGE.parent / link).exists(), link
