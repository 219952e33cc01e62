"""Signals beside accessibility, from their table to tracks, by the verbs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
import yaml

from tfbind.browser.on_demand import OnDemand, respond
from tfbind.core.files import sha256_file
from tfbind.model.checkpoint import load_checkpoint
from tfbind.model.ensemble import open_checkpoint

# CT1 is trained on; CT2 is held out; CT3 has no accessibility.
FACTOR = "SIM01"
# What the tiny run made that signals change nothing of.
MADE = ("reference", "factors", "targets", "accessibility", "split.json")
NAMES = ("other", "middles", "promoters")
GTF = "".join(f'chr{n}\tx\tgene\t{s}\t{s + 900}\t.\t+\t.\tgene_id "a"\n' for n in (1, 2, 3) for s in (801, 9001))


def write_signals(run: Any, rows: list[str]) -> None:
    lines = ["signal cell_type source kind shortest longest count", *rows]
    (run.folder / "signals.tsv").write_text("".join(line.replace(" ", "\t") + "\n" for line in lines))


def rows_of(run: Any) -> list[str]:
    world = run.folder / "world"
    return [
        f"other CT1 {world}/CT2.fragments.tsv.gz    ",
        f"other CT3 {world}/CT1.fragments.tsv.gz    ",
        f"middles CT1 {world}/CT1.fragments.tsv.gz fragments 30 200 middle",
        f"promoters * {run.folder}/genes.gtf promoters   ",
        # Of what is not trained on: nothing could be learnt of it.
        f"elsewhere CT2 {world}/CT2.fragments.tsv.gz    ",
    ]


def succeed(run: Any, *arguments: Any) -> Any:
    result = run.tfbind(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def told(tiny_run, tmp_path_factory) -> Any:
    """The tiny run again from training on, of two models that are told of signals."""
    folder = tmp_path_factory.mktemp("signals")
    run = type(tiny_run)(folder)
    for name in ("world", *(f"results/{made}" for made in MADE)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(tiny_run.folder / name)
    (folder / "genes.gtf").write_text(GTF)
    values = yaml.safe_load(tiny_run.config.read_text())
    values["tables"]["signals"] = str(folder / "signals.tsv")
    values["training"] |= {"learning_rate": 0.02, "steps": 6, "ensemble": 2}
    values["prediction"] |= {"shards": 1, "factors": [FACTOR]}
    run.config.write_text(yaml.safe_dump(values))
    write_signals(run, rows_of(run))
    succeed(run, *run.arguments("check"))
    for row in rows_of(run):
        name, cell_type = row.split()[:2]
        of = {} if cell_type == "*" else {"cell_type": cell_type}
        output = signals(run) / name / f"{'_all' if cell_type == '*' else cell_type}.bw"
        made = {
            "config": run.config,
            "signal": name,
            "reference": run.results / "reference",
            "output": output,
            **of,
        }
        given = (part for key, value in (made | of).items() for part in (f"--{key.replace('_', '-')}", value))
        succeed(run, "signal", *given)
    for member in (0, 1):
        own = {"output": run.results / f"members/{member}", "state": run.results / f"state/{member}"}
        succeed(run, *run.arguments("train", signals=signals(run), member=member, **own))
    members = [run.results / f"members/{member}" for member in (0, 1)]
    join = ["reference", "factors", "targets", "accessibility"]
    given = [part for name in join for part in (f"--{name}", run.results / name)]
    where = ["--signals", signals(run), "--output", run.results / "model", *members]
    succeed(run, "ensemble", "--config", run.config, *given, *where)
    shard = run.results / "genome_embedding/shards/0.npy"
    succeed(run, *run.arguments("embed", output=shard))
    succeed(run, *run.arguments("assemble"), shard)
    return run


def signals(run: Any) -> Path:
    return run.results / "signals"


def render(run: Any, cell_type: str, output: Path, **options: Any) -> tuple[np.ndarray, dict[str, Any], str]:
    """The track of a factor, what it was made with, and what was said."""
    track = run.results / f"accessibility/{cell_type}.bw"
    given = {"accessibility": track if track.exists() else None, "signals": signals(run), **options}
    said = succeed(run, *run.arguments("render", cell_type=cell_type, output=output, **given))
    with pyBigWig.open(str(output / f"{FACTOR}.bw")) as found:
        values = [np.nan_to_num(found.values(c, 0, size, numpy=True)) for c, size in found.chroms().items()]
    return np.concatenate(values), json.loads((output / f"{FACTOR}.json").read_text()), said.stderr


def test_the_model_keeps_the_signals_that_it_was_trained_with(told):
    member = load_checkpoint(told.results / "members/0")
    assert member.signals == member.model.shape.signals == NAMES
    assert member.about["manifest"]["signals"] == {"other": ["CT1"], "middles": ["CT1"], "promoters": ["CT1"]}
    assert open_checkpoint(told.results / "model").signals == NAMES


def test_signals_matter_and_tracks_tell_of_them(told, tmp_path):
    before, made_with, said = render(told, "CT1", tmp_path / "before")
    assert "without the signal elsewhere, which is not used" in said
    assert made_with["context"]["signals"] == {
        "other": {"source": "CT2.fragments.tsv.gz", "sha256": sha256_file(signals(told) / "other/CT1.bw")},
        "middles": {"source": "CT1.fragments.tsv.gz", "sha256": sha256_file(signals(told) / "middles/CT1.bw")},
        "promoters": {"source": "genes.gtf", "sha256": sha256_file(signals(told) / "promoters/_all.bw")},
    }
    # As if nothing but promoters were known.
    config = fewer(told, tmp_path, ["promoters"])
    after, made_otherwise, said = render(told, "CT1", tmp_path / "after", config=config)
    assert "reads the signal other, which is in no table: it is taken as not known" in said
    assert made_otherwise["context"]["signals"]["other"] is None and (before != after).any()
    # A part of the genome, by itself, is the same part.
    region = told.arguments("render", cell_type="CT1", output=tmp_path / "part", signals=signals(told))
    succeed(told, *region, "--region", "chr1:2001-6000")
    with pyBigWig.open(str(tmp_path / f"part/{FACTOR}.bw")) as found:
        np.testing.assert_array_equal(found.values("chr1", 2048, 5952), before[2048:5952].astype(np.float32))


def fewer(run: Any, folder: Path, names: list[str]) -> Path:
    """The configuration, with a table of some of the signals."""
    table = folder / "fewer.tsv"
    header, *lines = (run.folder / "signals.tsv").read_text().splitlines()
    table.write_text("\n".join([header, *(line for line in lines if line.split("\t")[0] in names)]) + "\n")
    values = yaml.safe_load(run.config.read_text())
    values["tables"]["signals"] = str(table)
    (folder / "fewer.yaml").write_text(yaml.safe_dump(values))
    return folder / "fewer.yaml"


def test_a_cell_type_with_signals_and_no_accessibility_is_none_of_which_nothing_is_known(told, tmp_path):
    """CT3: without accessibility, with one signal of its own and that of every cell type."""
    some, made_with, _ = render(told, "CT3", tmp_path / "some")
    assert made_with["context"]["accessibility"] is None and made_with["context"]["signals"]["middles"] is None
    less, _, _ = render(told, "CT3", tmp_path / "less", config=fewer(told, tmp_path, ["promoters", "middles"]))
    assert np.isfinite(some).all() and (some != less).any() and len(np.unique(some)) > 10


def test_the_evaluation_and_its_baseline_are_told_too(told, tmp_path):
    cnn = tmp_path / "cnn.npz"
    said = succeed(told, *told.arguments("factor-cnn", signals=signals(told), steps=1, output=cnn))
    assert "warning" not in said.stderr
    given = {"signals": signals(told), "predictions": cnn, "output": tmp_path / "out"}
    succeed(told, *told.arguments("evaluate", **given))
    lines = (tmp_path / "out/metrics.tsv").read_text()
    assert "accessibility, other, middles, promoters and description" in lines
    assert "DNA, accessibility, other, middles, promoters, elsewhere; the factor's own" in lines


def test_signals_that_are_not_given_are_told(told, tmp_path):
    for verb, others in (
        ("train", {"state": tmp_path / "state"}),
        ("render", {}),
        ("evaluate", {"predictions": None}),
        ("factor-cnn", {}),
    ):
        result = told.tfbind(*told.arguments(verb, output=tmp_path / "out", **others))
        assert result.exit_code == 1 and "'tables.signals': the signal" in result.stderr, result.stderr
        assert "mend: give the folder of signals by --signals" in result.stderr
    assert not (tmp_path / "out").exists()


def test_signals_without_a_table_are_refused(told, tiny_run, tmp_path):
    given = tiny_run.arguments("render", output=tmp_path / "out", signals=signals(told))
    result = tiny_run.tfbind(*given)
    assert result.exit_code == 1 and "the configuration has no table of them" in result.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--signal", "no", "--cell-type", "CT1"], "there is no signal no of CT1"),
        (["--signal", "other"], "there is no signal other of every cell type"),
        (["--signal", "promoters", "--cell-type", "CT1"], "the signal promoters is one of every cell type"),
    ],
)
def test_a_signal_that_there_is_not(told, tmp_path, options, problem):
    where = ["--reference", told.results / "reference", "--output", tmp_path / "out.bw"]
    result = told.tfbind("signal", "--config", told.config, *options, *where)
    assert result.exit_code == 1 and problem in result.stderr and "\n  mend: " in result.stderr


def test_on_demand_signals_are_read_as_the_workflow_reads_them(told, tmp_path):
    """All of one cell type, those of one without accessibility, and that of every one."""
    run = tmp_path / "results/told"
    run.mkdir(parents=True)
    for name in ("reference", "factors", "accessibility", "signals", "model", "genome_embedding"):
        (run / name).symlink_to(told.results / name)
    (run / "config.yaml").symlink_to(told.config)
    on_demand = OnDemand(run, ahead=False)
    for cell_type in ("CT1", "CT2", "CT3"):
        expected, _, _ = render(told, cell_type, tmp_path / cell_type)
        found = on_demand.render(FACTOR, cell_type, "chr1").values
        np.testing.assert_array_equal(found, expected[: len(expected) // 3 : 64].astype(np.float32))
    (run / "signals").unlink()
    query = {"factor": [FACTOR], "cell_type": ["CT1"], "region": ["chr1"]}
    status, body = respond(on_demand, query)
    assert status == 503 and f"{run}/signals/other/CT1.bw: is not made yet" in body["error"]
    assert "target results/told/signals/other/CT1.bw" in body["mend"]
    on_demand.close()
