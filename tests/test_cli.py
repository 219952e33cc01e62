"""The command line: what a user reads, types and is told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from operator import methodcaller
from pathlib import Path

import click
import pytest
import torch
import yaml
from click.testing import CliRunner

from tfbind.cli import main
from tfbind.model.model import Model
from tfbind.training.splits import Split

ROOT = Path(__file__).parents[1]
VERBS = [
    "check",
    "schema",
    "simulate",
    "download",
    "reference",
    "accessibility",
    "signal",
    "factors",
    "contexts",
    "targets",
    "split",
    "homology",
    "train",
    "ensemble",
    "embed",
    "assemble",
    "render",
    "gather",
    "factor-cnn",
    "evaluate",
    "gather-folds",
    "ablate",
    "sites",
    "profiles",
    "plot-history",
    "plot",
    "browser",
    "browse",
]


def refused(result, *fragments):
    """A message on standard error that says these things and a mend; no traceback."""
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("tfbind: error: ") or "\ntfbind: error: " in result.stderr
    assert "\n  mend: " in result.stderr and "Traceback" not in result.stderr
    for fragment in fragments:
        assert fragment in result.stderr, result.stderr


# --- help ---


def test_help_lists_the_verbs_in_the_order_of_the_workflow():
    text = CliRunner().invoke(main, ["--help"]).output
    listed = re.findall(r"^  ([a-z-]+)  +\S", text.split("Commands:")[1], re.MULTILINE)
    assert listed == VERBS
    assert "Where does this transcription factor bind" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_every_option_is_explained(verb):
    result = CliRunner().invoke(main, [verb, "--help"])
    assert result.exit_code == 0
    command = main.commands[verb]
    summary = command.get_short_help_str(limit=200)
    assert "..." not in summary
    assert len(summary.split()) >= 5 and summary[0].isupper()
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help and len(parameter.help.split()) >= 2, f"{verb} {parameter.name}"
            assert parameter.opts[0] in result.output
        else:
            assert parameter.make_metavar(click.Context(command)).strip("[].").upper() in command.help
    for jargon in ("numpydoc", "Parameters", "Raises", "None", "tuple", "Path("):
        assert jargon not in result.output.replace("PATH", "")


def test_help_starts_without_the_heavy_libraries():
    code = (
        "import sys\nfrom tfbind.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"torch", "transformers", "enformer_pytorch", "esm", "matplotlib", "numpy", "pydantic", "requests"}
    assert "click" in loaded and not loaded & heavy


def test_version():
    assert re.fullmatch(r"tfbind, version \d+\.\d+\.\d+\n", CliRunner().invoke(main, ["--version"]).output)


# --- verbs, one by one ---


def test_each_verb_runs_alone(tiny_run):
    r = tiny_run.results
    for made in (
        "reference/reference.json",
        "accessibility/CT1.bw",
        "accessibility/CT1.bw.json",
        "factors/factors.json",
        "contexts/contexts.json",
        "targets/targets.json",
        "split.json",
        "homology.tsv",
        "model/model.safetensors",
        "training/history.tsv",
        "training/history.svg",
        "training/history.png",
        "genome_embedding/tokens/embedding.json",
        "tracks/CT3/SIMB.bw",
        "factor_cnn.npz",
        "evaluation/metrics.tsv",
        "evaluation/summary.tsv",
        "evaluation/evaluation.svg",
        "evaluation/evaluation.png",
    ):
        assert (r / made).is_file(), made
    assert not [path for path in r.rglob("*") if ".tmp" in path.name]


def test_standard_output_has_results_and_standard_error_progress(tiny_run):
    assert tiny_run.said["check"].stdout == (
        "tiny: 5 factors, 3 cell types, 7 experiments, 12 sources (0 to download). Nothing is wrong with them.\n"
    )
    evaluation = tiny_run.said["evaluate"]
    for word in ("seen: 3 experiments", "unseen factor", "tfbind", "CNN of the factor alone", "ratio"):
        assert word in evaluation.stdout
    assert "evaluating: 7/7 experiments" in evaluation.stderr
    for step, result in tiny_run.said.items():
        if step not in ("check", "split", "homology", "evaluate"):
            assert result.stdout == "", step


@pytest.mark.parametrize("verb", ["reference", "accessibility", "factors", "contexts", "targets", "assemble"])
def test_a_verb_run_again_gives_the_same_bytes(tiny_run, tmp_path, verb):
    arguments = tiny_run.arguments(verb)
    first = Path(arguments[arguments.index("--output") + 1])
    again = tmp_path / first.name
    shards = [first.parent / f"shards/{i}.npy" for i in (0, 1)] if verb == "assemble" else []
    result = tiny_run.tfbind(*tiny_run.arguments(verb, output=again), *shards)
    assert result.exit_code == 0, result.output
    files = sorted(first.rglob("*")) if first.is_dir() else [first]
    for path in files:
        if path.is_file():
            assert (again / path.relative_to(first)).read_bytes() == path.read_bytes(), path


def test_download_brings_what_the_configuration_names(tiny_run, tmp_path):
    mirror = tmp_path / "mirror/example.org/genomes"
    mirror.mkdir(parents=True)
    content = (tiny_run.folder / "world/genome.fa.gz").read_bytes()
    (mirror / "tiny.fa.gz").write_bytes(content)
    overlay = tmp_path / "overlay.yaml"
    source = {"source": "https://example.org/genomes/tiny.fa.gz", "sha256": hashlib.sha256(content).hexdigest()}
    overlay.write_text(yaml.safe_dump({"mirror": f"{tmp_path}/mirror", "reference": {"fasta": source}}))
    where = "resources/downloads/example.org/genomes/tiny.fa.gz"
    with contextlib.chdir(tmp_path):
        arguments = ["download", "--config", str(tiny_run.config), "--config", str(overlay)]
        result = CliRunner().invoke(main, [*arguments, where])
        assert result.exit_code == 0, result.output
        assert Path(where).read_bytes() == content
        refused(
            CliRunner().invoke(main, [*arguments, "elsewhere.fa"]), "elsewhere.fa: is not where any URL", where
        )
        for others in (["--batch", "reference"], []):
            Path(where).unlink()
            assert CliRunner().invoke(main, [*arguments, *others]).exit_code == 0
            assert Path(where).read_bytes() == content
        refused(CliRunner().invoke(main, [*arguments, "--batch", "peaks_1"]), "no batch 'peaks_1'", "reference")
        both = CliRunner().invoke(main, [*arguments, "--batch", "reference", where])
        assert both.exit_code == 2 and "not both" in both.stderr


def test_schema_writes_the_schemas(tmp_path):
    result = CliRunner().invoke(
        main, ["schema", "--output", str(tmp_path / "schemas"), "--reference", str(tmp_path / "README.md")]
    )
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "schemas").glob("*.schema.json"))) == 5
    assert "windows" in (tmp_path / "README.md").read_text()


# --- the project's own data sets ---


def checked(*configs):
    with contextlib.chdir(ROOT):
        return CliRunner().invoke(main, ["check", *(part for config in configs for part in ("--config", config))])


def test_check_passes_the_demo():
    result = checked("config/demo/config.yaml")
    assert result.exit_code == 0, result.output
    assert re.match(r"demo: \d+ factors, 3 cell types, \d+ experiments", result.stdout)


def test_check_passes_yeast_with_and_without_the_mirror():
    if not (ROOT / "../shared/data/mirror").is_dir():
        pytest.skip("the real yeast data are not at ../shared/data")
    result = checked("config/yeast/config.yaml", "config/yeast/mirror.yaml")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        "yeast: 70 factors, 1 cell types, 70 experiments, 73 sources (72 to download)."
    )
    # Without it, each protein is a download, too.
    assert "142 sources (142 to download)" in checked("config/yeast/config.yaml").stdout


# --- what is not there, or does not fit ---


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("check", "config"),
        ("simulate", "config"),
        ("reference", "config"),
        ("accessibility", "reference"),
        ("targets", "reference"),
        ("train", "reference"),
        ("train", "factors"),
        ("split", "factors"),
        ("split", "targets"),
        ("train", "targets"),
        ("train", "split"),
        ("train", "accessibility"),
        ("embed", "reference"),
        ("embed", "model"),
        ("assemble", "model"),
        ("render", "reference"),
        ("render", "factors"),
        ("render", "model"),
        ("render", "embedding"),
        ("render", "accessibility"),
        ("evaluate", "targets"),
        ("evaluate", "split"),
        ("evaluate", "embedding"),
        ("evaluate", "accessibility"),
    ],
)
def test_path_that_is_not_there_is_told(tiny_run, tmp_path, verb, option):
    nowhere = tmp_path / "nowhere"
    changes = {option: nowhere, "output": tmp_path / "out", "state": tmp_path / "state"}
    known = {part for part in tiny_run.arguments(verb) if isinstance(part, str)}
    changes = {key: value for key, value in changes.items() if f"--{key}" in known}
    extra = [tmp_path / "0.npy"] if verb == "assemble" else []
    refused(tiny_run.tfbind(*tiny_run.arguments(verb, **changes), *extra), str(nowhere))
    assert not (tmp_path / "out").exists()


def test_shards_and_history_that_are_not_there_are_told(tiny_run, tmp_path):
    result = tiny_run.tfbind(*tiny_run.arguments("assemble", output=tmp_path / "out"), tmp_path / "0.npy")
    refused(result, f"{tmp_path}/0.npy: there is no such shard")
    result = tiny_run.tfbind("plot-history", tmp_path / "history.tsv", "--output", tmp_path / "plot")
    refused(result, f"{tmp_path}/history.tsv")


def test_batches_of_tracks_that_are_not_there_are_told(tiny_run, tmp_path):
    result = tiny_run.tfbind(*tiny_run.arguments("gather", output=tmp_path / "out"), tmp_path / "0")
    refused(result, f"{tmp_path}/0: there is no such batch of tracks")


def test_output_that_cannot_be_written_is_told(tiny_run, tmp_path):
    (tmp_path / "file").write_text("no folder")
    result = tiny_run.tfbind(*tiny_run.arguments("targets", output=tmp_path / "file/targets"))
    refused(result, f"{tmp_path}/file", "cannot be read or written")


def test_cell_type_that_is_not_in_the_table_is_told(tiny_run, tmp_path):
    for verb in ("accessibility", "render"):
        result = tiny_run.tfbind(*tiny_run.arguments(verb, cell_type="CT9", output=tmp_path / "out"))
        refused(result, "cell_types.tsv: there is no cell type 'CT9'", "CT1, CT2, CT3")


def test_cell_type_without_accessibility_has_no_track_to_make(tiny_run, tmp_path):
    result = tiny_run.tfbind(*tiny_run.arguments("accessibility", cell_type="CT3", output=tmp_path / "CT3.bw"))
    refused(result, "cell_types.tsv, row 4, column 'accessibility': cell type CT3 has no accessibility")


def test_render_goes_by_the_table_about_accessibility(tiny_run, tmp_path):
    """A forgotten option would render another prediction, in silence."""
    out = tmp_path / "out"
    result = tiny_run.tfbind(*tiny_run.arguments("render", accessibility=None, output=out))
    refused(result, "row 2, column 'accessibility': cell type CT1 has accessibility", "--accessibility")
    result = tiny_run.tfbind(*tiny_run.arguments("render", cell_type="CT3", output=out))
    refused(result, "row 4, column 'accessibility': cell type CT3 has no accessibility", "--accessibility")


def test_shard_beyond_the_last_is_told(tiny_run, tmp_path):
    result = tiny_run.tfbind(*tiny_run.arguments("embed", shard=2, output=tmp_path / "2.npy"))
    refused(result, "key 'prediction.shards': there is no shard 2: this genome has 2")


def overlaid(tiny_run, tmp_path, verb, values, *paths, **changes):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(values))
    arguments = tiny_run.arguments(verb, **{"output": tmp_path / "out", **changes})
    return tiny_run.tfbind(*arguments, "--config", overlay, *paths)


IN_BATCHES = {"prediction": {"factors_per_job": 2}}


def rendered_in_batches(tiny_run, tmp_path):
    """Factors 1 and 2, 3 and 4, and 5, each in a folder of its own."""
    folders = [tmp_path / str(batch) for batch in range(3)]
    for batch, folder in enumerate(folders):
        result = overlaid(tiny_run, tmp_path, "render", IN_BATCHES, batch=batch, output=folder)
        assert result.exit_code == 0, result.output
    return folders


def test_tracks_in_batches_are_gathered_to_what_one_render_makes(tiny_run, tmp_path):
    folders = rendered_in_batches(tiny_run, tmp_path)
    assert [len(list(folder.iterdir())) for folder in folders] == [6, 6, 3]
    made, whole = tmp_path / "out", tiny_run.results / "tracks/CT1"
    assert overlaid(tiny_run, tmp_path, "gather", IN_BATCHES, *folders).exit_code == 0
    assert sorted(path.name for path in made.iterdir()) == sorted(path.name for path in whole.iterdir())
    for path in whole.glob("*.json"):
        one, other = (json.loads(each.read_text()) for each in (path, made / path.name))
        assert {**one, "peaks": None} == {**other, "peaks": None}

    (folders[1] / "SIM03.bw").unlink()
    shutil.rmtree(made)
    result = overlaid(tiny_run, tmp_path, "gather", IN_BATCHES, *folders)
    refused(result, f"{folders[1]}/SIM03.bw: is missing")
    assert not made.exists()


def test_some_factors_of_a_region_in_several_cell_types(tiny_run, tmp_path):
    arguments = tiny_run.arguments(
        "render", output=tmp_path / "out", accessibility=tiny_run.results / "accessibility"
    )
    more = ["--cell-type", "CT3", "--factor", "SIMA", "--factor", "SIM02", "--region", "1:1-2,000"]
    result = tiny_run.tfbind(*arguments, *more)
    assert result.exit_code == 0, result.output
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.bw"))
    assert made == ["CT1/SIM02.bw", "CT1/SIMA.bw", "CT3/SIM02.bw", "CT3/SIMA.bw"]
    about = json.loads((tmp_path / "out/CT3/SIMA.json").read_text())
    assert about["region"] == "chr1:1-2048" and about["context"]["accessibility"] is None


def test_what_cannot_be_rendered_is_told(tiny_run, tmp_path):
    arguments = tiny_run.arguments("render", output=tmp_path / "out")
    refused(tiny_run.tfbind(*arguments, "--region", "chr1:5"), "key '--region': 'chr1:5' is no region")
    refused(tiny_run.tfbind(*arguments, "--factor", "SIMX"), "factors.tsv: there is no factor 'SIMX'", "SIM01")
    refused(tiny_run.tfbind(*arguments, "--cell-type", "CT2"), "CT1.bw: is no folder", "CELL_TYPE.bw")
    refused(tiny_run.tfbind(*arguments, "--cell-type", "CT1"), "key '--cell-type': CT1 stands twice", "once")
    result = tiny_run.tfbind(*arguments, "--factor", "SIM01", "--batch", "0")
    assert result.exit_code == 2 and "give --factor or --batch, not both" in result.output
    assert not (tmp_path / "out").exists()


def test_batch_beyond_the_last_is_told(tiny_run, tmp_path):
    result = overlaid(tiny_run, tmp_path, "render", IN_BATCHES, batch=3)
    refused(result, "key 'prediction.factors_per_job': there is no batch 3", "3 batches", "0 to 2")


def test_model_of_another_bin_is_refused(tiny_run, tmp_path):
    result = overlaid(tiny_run, tmp_path, "render", {"windows": {"bin": 32}})
    refused(result, "key 'windows.bin': the model predicts bins of 64 bp, not of 32")


@pytest.mark.parametrize("verb", ["embed", "render", "evaluate"])
def test_a_model_that_tells_nothing_of_its_training_is_refused(tiny_run, tmp_path, verb):
    model = Model.load(tiny_run.results / "model")
    model.about = {}  # as of one that was made and trained without the workflow
    model.save(tmp_path / "saved")
    arguments = tiny_run.arguments(verb, model=tmp_path / "saved", output=tmp_path / "out")
    refused(tiny_run.tfbind(*arguments), "was saved by Model.save", "results/NAME/model")


def test_evaluation_refuses_chromosomes_of_the_training(tiny_run, tmp_path):
    other, values = tmp_path / "split.json", {"splits": {"test": ["chr1"], "validation": ["chr3"]}}
    assert overlaid(tiny_run, tmp_path, "split", values, output=other).exit_code == 0
    result = tiny_run.tfbind(*tiny_run.arguments("evaluate", split=other, output=tmp_path / "out"))
    refused(result, "key 'splits.test'", "trained on 20100 bp of the test, chr1:1-20100")
    assert not (tmp_path / "out").exists()


def test_a_split_that_was_changed_is_refused(tiny_run, tmp_path):
    content = json.loads((tiny_run.results / "split.json").read_text())
    content["split"]["test"] = [["chr1", 0, 20_100]]
    (tmp_path / "split.json").write_text(json.dumps(content))
    for verb in ("train", "evaluate"):
        arguments = tiny_run.arguments(verb, split=tmp_path / "split.json", output=tmp_path / "out")
        refused(tiny_run.tfbind(*arguments), "split.json: was changed after it was written")


def test_a_fold_of_factors_is_split_off(tiny_run, tmp_path):
    values = {"splits": {"folds": {"over": "factors", "count": 2}, "held_out_factors": []}}
    tested = []
    for fold in (0, 1):
        result = overlaid(tiny_run, tmp_path, "split", values, output=tmp_path / f"{fold}.json", fold=fold)
        assert result.exit_code == 0 and "held out cell types: CT2" in result.output
        found = Split.read(tmp_path / f"{fold}.json")
        assert found.fold == fold and {found.kinds[name] for name in found.tested} == {
            "unseen factor and cell type"
        }
        tested += found.tested
    whole = Split.read(tiny_run.results / "split.json")
    assert sorted(tested) == sorted(name for name in whole.tested if name.endswith(".CT2"))
    result = overlaid(tiny_run, tmp_path, "split", values, output=tmp_path / "2.json", fold=2)
    refused(result, "there is no fold 2: there are 2, from 0")


def changed_json(folder, tmp_path, name, change):
    """A copy of a folder with one value of a JSON file replaced."""
    copy = shutil.copytree(folder, tmp_path / f"changed_{folder.name}")
    content = json.loads((copy / name).read_text())
    change(content)
    (copy / name).write_text(json.dumps(content))
    return copy


def test_targets_that_do_not_fit_are_refused(tiny_run, tmp_path):
    targets = tiny_run.results / "targets"
    for change, said in (({"bin": 32}, "another bin"), ({"genome": "0" * 64}, "another genome")):
        other = changed_json(targets, tmp_path / said, "targets.json", methodcaller("update", change))
        result = tiny_run.tfbind(*tiny_run.arguments("evaluate", targets=other, output=tmp_path / "out"))
        refused(result, f"{other}: made for {said}", "tfbind targets")

    def rename(about):
        about["experiments"][0]["cell_type"] = "CT9"

    other = changed_json(targets, tmp_path / "cells", "targets.json", rename)
    result = tiny_run.tfbind(*tiny_run.arguments("evaluate", targets=other, output=tmp_path / "out"))
    refused(result, "another table of cell types")


def test_factors_of_another_embedder_are_refused(tiny_run, tmp_path):
    def change(about):
        about["embedder"]["version"] = "another"

    other = changed_json(tiny_run.results / "factors", tmp_path, "factors.json", change)
    for verb in ("render", "evaluate"):
        result = tiny_run.tfbind(*tiny_run.arguments(verb, factors=other, output=tmp_path / "out"))
        refused(result, f"{other}, key 'factors.embedder'")


def test_real_program_ends_with_1_and_a_message(tmp_path):
    command = [sys.executable, "-c", "from tfbind.cli import main; main()", "check", "--config", "nowhere.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "tfbind: error: nowhere.yaml: no such configuration file\n  mend: give the path of a config.yaml\n"
    )


# --- training: where it runs, in how many processes, and how it stops ---


def start_training(tiny_run, out, *more):
    """The real program."""
    arguments = tiny_run.arguments(
        "train", state=out / "state", history=out / "history.tsv", output=out / "model"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tfbind", *map(str, [*arguments, *more])],
        cwd=tiny_run.folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def losses(history):
    return [float(row.split("\t")[1]) for row in history.read_text().splitlines()[1:]]


def test_the_log_says_where_a_step_ran_and_what_memory_it_took(tiny_run):
    for step in ("train", "embed 0", "render CT1", "evaluate"):
        said = tiny_run.said[step].stderr
        assert re.search(r"^device: CPU, \d+ threads.*, precision: fp32, torch \d", said, re.MULTILINE), said
        assert re.search(r"^peak memory: \d+\.\d\d GiB$", said, re.MULTILINE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("verb", ["train", "embed", "render", "evaluate"])
def test_a_job_that_was_given_a_gpu_and_sees_none_fails_at_once(tiny_run, tmp_path, verb, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    auto = tmp_path / "auto.yaml"
    auto.write_text("device: auto\n")
    out = {"train": {"state": tmp_path / "state", "history": tmp_path / "h.tsv"}}.get(verb, {})
    given = tiny_run.arguments(verb, output=tmp_path / "out", gpus=2, **out)
    result = tiny_run.tfbind(*given, "--config", auto)
    refused(result, "no GPU is seen", "CUDA_VISIBLE_DEVICES: 3", "torch ", "NVIDIA driver: none", "device: cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["auto.yaml"]
    # The configuration asks for the CPU: then the GPU stays idle.
    if verb == "render":
        assert tiny_run.tfbind(*given).exit_code == 0


def test_two_processes_train_the_same_model(tiny_run, tmp_path):
    with start_training(tiny_run, tmp_path, "--processes", 2) as process:
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert losses(tmp_path / "history.tsv") == pytest.approx(
        losses(tiny_run.results / "training/history.tsv"), abs=1e-5
    )
    ours, theirs = (
        json.loads((at / "model.json").read_text()) for at in (tmp_path / "model", tiny_run.results / "model")
    )
    assert ours["manifest"] == theirs["manifest"]


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_keeps_the_state_and_says_so(tiny_run, tmp_path, processes):
    overlay = tmp_path / "long.yaml"
    overlay.write_text("training: {steps: 100000, validate_every: 50000}\n")
    with start_training(tiny_run, tmp_path, "--processes", processes, "--config", overlay) as process:
        for line in process.stderr:
            if line.startswith("training: "):  # a line every ten seconds
                process.send_signal(signal.SIGTERM)
                break
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM, said
    assert re.search(r"^tfbind: stopped by SIGTERM after step \d+; the same command goes on", said, re.MULTILINE)
    assert "Traceback" not in said
    assert (tmp_path / "state/training.safetensors").is_file() and not (tmp_path / "model").exists()
