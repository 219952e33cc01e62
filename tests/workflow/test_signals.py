"""Further signals of cell types in the workflow: who is told of them, and what is made again when they change."""

from __future__ import annotations

import re

import pytest
import yaml

from tfbind.core.files import read_json, sha256_file

TRACKS = "results/mini/tracks/CT1"
SMALL = {
    "tables": {"signals": "config/signals.tsv"},
    "training": {"steps": 2, "validate_every": 2},
    "prediction": {"shards": 1, "factors_per_job": 3},
    "splits": {"held_out_cell_types": ["CT2"]},
    "evaluation": {"seeds": [0, 1], "factor_cnn": 1},
}
FROM_TRAINING = {"signal", "train", "embed", "assemble", "render", "gather"}
HEADER = "signal\tcell_type\tsource\tsha256\tshortest\n"


@pytest.fixture
def told(mini, tmp_path):
    """The mini data set with signals: where it is planned or run with a table of these rows."""
    url = "https://example.org/CT1.fragments.tsv.gz"
    rows = (
        f"long\tCT1\t{url}\t{sha256_file(mini.path / 'mirror/example.org/CT1.fragments.tsv.gz')}\t60\n"
        "peaks\t*\tworld/SIM1.CT2.narrowPeak\t\t\n"
    )
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump(SMALL))

    def of(*arguments, change=lambda rows: rows):
        (mini.path / "config/signals.tsv").write_text(HEADER + change(rows))
        return mini.snakemake(*arguments, config=["config/mini.yaml", small])

    return of


def test_every_verb_that_reads_signals_is_told_of_them(told, mini):
    (mini.path / "config/ablation.yaml").write_text("plain: {}\n")
    run = told("--dry-run", "--printshellcmds", "all", "cross_validation", "results/mini/ablation/table.tsv")
    commands = dict.fromkeys(re.findall(r"tfbind ([a-z-]+) --config.*", run.output))
    told_of = {
        verb: bool(re.search(rf"tfbind {verb} --config.* --signals results/mini/signals ", run.output))
        for verb in commands
    }
    reads = {"train", "ensemble", "render", "evaluate", "factor-cnn", "ablate"}
    assert {verb for verb, found in told_of.items() if found} == reads
    assert run.jobs["signal"] == 2 and run.jobs["download_accessibility_1"] == 1
    assert not any(name.startswith("download_signals") for name in run.jobs), "one file is downloaded once"


def test_what_a_signal_changes_is_made_again_and_nothing_else(told, mini):
    told("--cores", "2", TRACKS)
    assert read_json(mini.path / "results/mini/model/model.json")["shape"]["signals"] == ["long", "peaks"]
    made_with = read_json(mini.path / TRACKS / "SIM1.json")["context"]["signals"]
    assert made_with["long"] == {
        "source": "https://example.org/CT1.fragments.tsv.gz",
        "sha256": sha256_file(mini.path / "results/mini/signals/long/CT1.bw"),
    }
    assert made_with["peaks"]["source"] == "SIM1.CT2.narrowPeak"
    assert told("--dry-run", TRACKS).nothing_to_do
    further = "long\tCT2\tworld/CT2.fragments.tsv.gz\t\t60\n"
    assert told("--dry-run", TRACKS, change=lambda rows: rows + further).nothing_to_do
    assert told("--dry-run", TRACKS, change=lambda rows: rows.replace("\t60\n", "\t90\n")).steps == FROM_TRAINING
    gone = told("--dry-run", TRACKS, change=lambda rows: rows.splitlines()[0] + "\n")
    assert gone.steps == FROM_TRAINING - {"signal"}
