"""What each step bought: the tree of configurations, gains and costs, counted by hand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from scripts.results.extra import read_steps
from scripts.results.figures import figures
from scripts.results.page import blocks
from scripts.results.steps import changes, read_steps_in, write_steps
from tfbind.config import load_config
from tfbind.core.errors import InputError
from tfbind.evaluation.crossvalidation import gather_folds
from tfbind.evaluation.tables import in_order, write_breakdown, write_metrics
from tfbind.genome.regions import Region
from tfbind.training.splits import Split

ROOT = Path(__file__).parents[2]
# A step: what it extends, what it changes, and by seed the AUPRC of two experiments.
STEPS = {
    "base": (None, {"seed": 1}, ((0.2, 0.4), (0.4, 0.6))),
    "wider": ("base", {"model": {"rank": 64}}, ((0.1, 0.3), (0.3, 0.5))),
    "towered": ("base", {"model": {"tower": {"dim": 8}}}, ((0.3, 0.5), (0.5, 0.7))),
    "deeper": ("towered", {"model": {"tower": {"depth": 5}}}, ((0.4, 0.6), (0.6, 0.8))),
}
BASE = {
    "tables": {name: f"config/{name}.tsv" for name in ("factors", "cell_types", "experiments")},
    "reference": {"fasta": "genome.fa"},
    "splits": {"validation": ["chr2"], "test": ["chr3"]},
}


def rows_of(seed: str, scores: tuple[float, float]) -> list[dict]:
    rows = []
    for factor, auprc in zip("AB", scores, strict=True):
        for predictor, value in (("tfbind", auprc), ("motif max", 0.2)):
            row = {"experiment": f"{factor}.K562", "factor": factor, "cell_type": "K562", "kind": "seen"}
            row |= {"predictor": predictor, "bins": "dream", "fold": "all", "seed": seed, "sees": "DNA"}
            row |= {"n_train_peaks": 5, "n_bins": 1000, "n_bound": 10, "prevalence": 0.01, "auroc": 0.9}
            row |= {"recall_at_10_fdr": 0.2, "recall_at_50_fdr": 0.5, "ece": 0.1, "identity": 1.0}
            rows.append(row | dict.fromkeys(("auprc", "auprc_low", "auprc_high"), value))
    return in_order(rows)


def make_run(root: Path, name: str) -> None:
    """A cross-validation as the workflow leaves it; resamples lie a tenth below and above, but for the base's."""
    _, _, by_seed = STEPS[name]
    run, logs = root / f"results/human-step-{name}", root / f"logs/human-step-{name}/cross_validation/all"
    made = []
    for seed, scores in zip("01", by_seed, strict=True):
        folder = run / "cross_validation/all" / seed / "evaluation"
        rows = rows_of(seed, scores)
        write_metrics(folder / "metrics.tsv", rows)
        reach = 0.05 if name == "base" else 0.1
        values = np.array([row["auprc"] for row in rows])
        np.save(folder / "bootstrap.npy", values[:, None] + np.array([-reach, 0.0, reach]))
        write_breakdown(folder / "breakdown.tsv", [])
        (logs / seed).mkdir(parents=True)
        (logs / seed / "train.benchmark.tsv").write_text(f"s\th:m:s\tcpu_time\n{60 + 60 * int(seed)}\t-\t240\n")
        made.append(folder)
    parts = {
        part: (Region("chr1", at, at + 64),) for part, at in (("train", 0), ("validation", 640), ("test", 6400))
    }
    split = Split(genome="g", bin=64, **parts, experiments=("A.K562", "B.K562"), tested=("A.K562", "B.K562"))
    split.write(run / "cross_validation/all/split.json")
    gather_folds(made, run / "cross_validation")
    settings = {"name": run.name, "title": name, "model": {"rank": 32, "tower": None}, "seed": 1}
    if name != "base":
        settings["model"] = {"rank": 32, "tower": None} | STEPS[name][1]["model"]
    if name == "deeper":
        settings["model"]["tower"] = {"dim": 8, "depth": 5}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Four steps with configurations, of which all were run."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "config/human/steps"
    folder.mkdir(parents=True)
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump({**BASE, "name": "own"}))
    for name, (extends, changed, _) in STEPS.items():
        below = "config/config.yaml" if extends is None else f"config/human/steps/{extends}.yaml"
        told = {"extends": below, "name": f"human-step-{name}", "title": f"the {name} one"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(told | changed))
        make_run(tmp_path, name)
    return tmp_path


def write(root: Path) -> list[dict]:
    output = root / "docs/results"
    write_steps(read_steps_in(root / "config/human/steps"), root / "results", root / "logs", output / "steps.tsv")
    return read_steps(output)


def test_a_row_a_step_after_what_it_extends(root):
    rows = write(root)
    assert [(row["step"], row["stayed"]) for row in rows] == [
        ("the base one", "yes"),
        ("the wider one", "no"),
        ("the towered one", "yes"),
        ("the deeper one", "yes"),
    ]
    base, wider, towered, deeper = rows
    assert (base["mean_auprc"], base["n_seeds"], base["n_experiments"]) == (pytest.approx(0.4), 2, 2)
    # Means of seeds: 0.3 and 0.5.
    assert base["sd_over_seeds"] == pytest.approx(np.std([0.3, 0.5], ddof=1), rel=1e-5)
    assert np.isnan(base["gain"]) and base["extends"] == base["changes"] == ""
    assert (wider["gain"], deeper["gain"], deeper["gain_on_base"]) == pytest.approx((-0.1, 0.1, 0.2))
    assert (wider["changes"], wider["extends"]) == ("model.rank: 64 (32)", "the base one")
    assert (towered["changes"], deeper["changes"]) == (
        "model.tower: {dim: 8} (none)",
        "model.tower.depth: 5 (none)",
    )
    assert (base["seconds"], base["cpu_seconds"]) == (90, 240) and np.isnan(base["weights"])


def test_the_interval_of_a_gain_is_of_the_same_resamples(root):
    _, _, towered, deeper = write(root)
    # Resamples move the base by 0.05 and the others by 0.1: on the base the gain moves by 0.05, else not at all.
    assert (deeper["gain_low"], deeper["gain_high"]) == pytest.approx((0.1, 0.1))
    low, high = np.quantile([0.05, 0.1, 0.15], [0.025, 0.975])
    assert (towered["gain_low"], towered["gain_high"]) == pytest.approx((low, high))


def test_what_was_not_run_is_passed_over(root):
    (root / "results/human-step-towered/cross_validation/metrics.tsv").unlink()
    rows = {row["step"]: row for row in write(root)}
    assert set(rows) == {"the base one", "the wider one", "the deeper one"}
    assert rows["the deeper one"]["extends"] == "the base one" and rows["the deeper one"][
        "gain"
    ] == pytest.approx(0.2)
    assert {row["stayed"] for name, row in rows.items() if name != "the base one"} == {"no"}


def test_page_and_figure_say_it(root):
    write(root)
    folder = root / "docs/results"
    text = blocks(folder)["steps"]()
    (deeper,) = [line for line in text.splitlines() if "**the deeper one**" in line]
    assert all(
        part in deeper for part in ("+0.100", "+0.200", "0.600", "1.5 min", "4.0 min", "`model.tower.depth")
    )
    assert "| or: the wider one |" in text
    figures(folder, [])["steps"](folder / "steps")
    drawn = re.sub(r"<!-- (.*?) -->", r"\1", (folder / "steps.svg").read_text())
    assert "or: the wider one" in drawn and "n = 2 experiments" in drawn


def test_the_rule_makes_table_and_figure_once(root):
    shutil.copy(ROOT / "docs/results.md", root / "docs.md")
    (root / "docs").mkdir()
    (root / "docs.md").rename(root / "docs/results.md")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--snakefile", ROOT / "workflow/results.smk"]

    def run(*targets: str) -> str:
        found = subprocess.run([*command, *targets], cwd=root, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout + found.stderr

    run()
    assert "**the deeper one**" in (root / "docs/results.md").read_text()
    assert (root / "docs/results/steps.png").stat().st_size > 1000
    assert "Nothing to be done" in run()
    config = root / "config/human/steps/wider.yaml"
    config.write_text(config.read_text().replace("the wider one", "the widest one"))
    assert re.search(r"^steps +1$", run("--dry-run"), re.MULTILINE)


def test_steps_that_cannot_be_compared_are_refused(root):
    path = root / "results/human-step-wider/cross_validation/all/split.json"
    split = Split.read(path)
    Split(**{**vars(split), "test": (Region("chr1", 12800, 12864),)}).write(path)
    with pytest.raises(InputError, match=r"human-step-wider: is tested elsewhere than .*human-step-base"):
        write(root)


def test_a_step_without_a_title_is_refused(root):
    path = root / "config/human/steps/wider.yaml"
    path.write_text(path.read_text().replace("title: the wider one\n", ""))
    with pytest.raises(InputError, match=r"wider.yaml, key 'title': has no title"):
        write(root)


def test_lists_and_switches_are_told_as_they_are():
    before = {"name": "a", "on": True, "places": ["chr1"], "kept": 1}
    after = {"name": "b", "on": False, "places": ["chr2", "chr3"], "kept": 1}
    assert list(changes(before, after)) == ["on: no (yes)", "places: chr2 chr3 (chr1)"]


def ends_of(places: list[str]) -> list[list[int]]:
    return [[int(base) for base in place.partition(":")[2].split("-")] for place in places]


def test_the_steps_of_the_project_are_tested_within_what_the_protocols_train_on(monkeypatch):
    monkeypatch.chdir(ROOT)
    ((first, _),) = ends_of(load_config(Path("config/human/h1.yaml")).splits.test)
    paths = sorted(Path("config/human/steps").glob("*.yaml"))
    assert {step.extends for step in read_steps_in(paths[0].parent)} >= {None, "base"}
    for path in paths:
        config = load_config(path)
        assert config.name == f"human-step-{path.stem}"
        for part in (config.splits.train, config.splits.validation, config.splits.test):
            assert all(end < first for _, end in ends_of(part))
