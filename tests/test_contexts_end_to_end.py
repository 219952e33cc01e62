"""Descriptions and learnt embeddings of cell types, from training to tracks, by the verbs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
import yaml

from tfbind.browser.on_demand import OnDemand
from tfbind.model.checkpoint import load_checkpoint

# CT1 is trained on; CT2 is held out; CT3 has no accessibility; CT4 has nothing at all.
DESCRIPTIONS = {
    "CT1": "adult human liver cells",
    "CT2": "mouse lung",
    "CT3": "k562 treated with gamma",
    "CT4": "",
}
FACTOR = "SIM01"

# What the tiny run made that the model's being told changes nothing of.
MADE = ("reference", "factors", "targets", "accessibility", "split.json", "factor_cnn.npz")


def write_cell_types(run: Any, descriptions: dict[str, str]) -> None:
    """The table, of the tiny run's accessibility."""
    world = run.folder / "world"
    rows = [
        (name, text, f"{world}/{name}.fragments.tsv.gz" if name in ("CT1", "CT2") else "")
        for name, text in descriptions.items()
    ]
    lines = ["cell_type\tdescription\taccessibility", *("\t".join(row) for row in rows)]
    (run.folder / "cell_types.tsv").write_text("\n".join(lines) + "\n")


def succeed(run: Any, *arguments: Any) -> None:
    result = run.tfbind(*arguments)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def told(tiny_run, bert, tmp_path_factory) -> Any:
    """The tiny run again from training on, of a model that is told of cell types, and a genome embedding."""
    folder = tmp_path_factory.mktemp("told")
    run = type(tiny_run)(folder)
    for name in ("world", *(f"results/{made}" for made in MADE)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(tiny_run.folder / name)
    values = yaml.safe_load(tiny_run.config.read_text())
    values["tables"]["cell_types"] = str(folder / "cell_types.tsv")
    values["contexts"] = {"text": {"model": str(bert)}, "learnt": 4}
    values["training"] |= {"learning_rate": 0.02, "steps": 6}
    values["prediction"] |= {"shards": 1, "factors": [FACTOR]}
    run.config.write_text(yaml.safe_dump(values))
    write_cell_types(run, DESCRIPTIONS)
    succeed(run, *run.arguments("contexts"))
    succeed(run, *run.arguments("train", contexts=run.results / "contexts"))
    shard = run.results / "genome_embedding/shards/0.npy"
    succeed(run, *run.arguments("embed", output=shard))
    succeed(run, *run.arguments("assemble"), shard)
    return run


def rendering(run: Any, cell_type: str, output: Path, **options: Any) -> list[Any]:
    track = run.results / f"accessibility/{cell_type}.bw"
    given = {"contexts": run.results / "contexts", "accessibility": track if track.exists() else None, **options}
    return run.arguments("render", cell_type=cell_type, output=output, **given)


def render(run: Any, cell_type: str, output: Path, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The track of a factor, and what it was made with."""
    succeed(run, *rendering(run, cell_type, output, **options))
    with pyBigWig.open(str(output / f"{FACTOR}.bw")) as track:
        values = np.concatenate(
            [track.values(chrom, 0, size, numpy=True) for chrom, size in track.chroms().items()]
        )
    return values, json.loads((output / f"{FACTOR}.json").read_text())


def described(told: Any, folder: Path, descriptions: dict[str, str], **encoder: Any) -> Any:
    """The same run, of which the cell types are described, or read, otherwise."""
    run = type(told)(folder / "run")
    shutil.copytree(told.folder, run.folder, symlinks=True)
    values = yaml.safe_load(told.config.read_text())
    values["tables"]["cell_types"] = str(run.folder / "cell_types.tsv")
    values["contexts"]["text"] |= encoder
    run.config.write_text(yaml.safe_dump(values))
    write_cell_types(run, descriptions)
    succeed(run, *run.arguments("contexts"))
    return run


def test_the_model_keeps_what_read_the_texts_and_whose_embeddings_it_learnt(told):
    checkpoint = load_checkpoint(told.results / "model")
    contexts = checkpoint.about["contexts"]
    assert contexts["learnt"] == ["CT1"]
    assert (contexts["encoder"]["name"], contexts["encoder"]["pooling"]) == ("bert", "mean")
    assert (checkpoint.model.shape.text_dim, checkpoint.model.shape.cell_types) == (24, 1)


def test_descriptions_matter(told, tmp_path):
    exchanged = DESCRIPTIONS | {"CT1": DESCRIPTIONS["CT2"], "CT2": DESCRIPTIONS["CT1"]}
    other = described(told, tmp_path, exchanged)
    for cell_type in ("CT1", "CT2"):
        before, made_with = render(told, cell_type, tmp_path / f"before/{cell_type}")
        after, made_otherwise = render(other, cell_type, tmp_path / f"after/{cell_type}")
        assert (before != after).any()
        assert made_with["context"]["description"] == DESCRIPTIONS[cell_type]
        assert len(made_with["context"]["text"]) == 64
        assert made_with["context"]["text"] != made_otherwise["context"]["text"]
        assert made_with["context"]["learnt"] == (cell_type == "CT1")


def test_a_cell_type_of_which_less_or_nothing_is_known_is_rendered(told, tmp_path):
    with_text, _ = render(told, "CT3", tmp_path / "CT3")
    without, made_with = render(told, "CT4", tmp_path / "CT4")
    assert np.isfinite(with_text).all() and np.isfinite(without).all() and without.any()
    assert (with_text != without).any()
    nothing = {
        "description": "",
        "text": None,
        "learnt": False,
        "accessibility": None,
        "accessibility_sha256": None,
    }
    assert made_with["context"] == nothing and not made_with["trained_on_cell_type"]


def test_on_demand_texts_are_read_as_the_workflow_reads_them(told, tmp_path):
    """The workflow makes a folder of texts for each cell type."""
    folder = tmp_path / "results/told"
    folder.mkdir(parents=True)
    for name in ("reference", "factors", "accessibility", "model", "genome_embedding"):
        (folder / name).symlink_to(told.results / name)
    (folder / "config.yaml").symlink_to(told.config)
    on_demand = OnDemand(folder, ahead=False)
    for cell_type in ("CT1", "CT3", "CT4"):
        output = folder / f"contexts/{cell_type}"
        succeed(told, *told.arguments("contexts", cell_type=cell_type, output=output))
        expected, _ = render(told, cell_type, tmp_path / cell_type)
        size = len(expected) // 3
        found = on_demand.render(FACTOR, cell_type, "chr1").values
        np.testing.assert_array_equal(found, expected[:size:64].astype(np.float32))
    on_demand.close()


def test_texts_that_were_read_otherwise_are_refused(told, tmp_path):
    other = described(told, tmp_path, DESCRIPTIONS, pooling="cls")
    result = other.tfbind(*rendering(other, "CT1", tmp_path / "CT1"))
    assert result.exit_code == 1 and "the model was trained with" in result.stderr
    assert "'pooling': 'cls'" in result.stderr and "mend: read the descriptions with" in result.stderr
    assert not (tmp_path / "CT1").exists()


def test_texts_that_are_missing_are_told(told, tmp_path):
    verbs = {
        "train": told.arguments("train", output=tmp_path / "out", state=tmp_path / "state"),
        "render": rendering(told, "CT1", tmp_path / "out", contexts=None),
        "evaluate": told.arguments("evaluate", output=tmp_path / "out"),
    }
    for arguments in verbs.values():
        result = told.tfbind(*arguments)
        assert result.exit_code == 1 and "'contexts.text'" in result.stderr and "--contexts" in result.stderr
    assert not (tmp_path / "out").exists()


def test_texts_for_a_model_that_reads_none_are_refused(told, tiny_run, tmp_path):
    silent = tmp_path / "silent.yaml"
    silent.write_text(yaml.safe_dump({"contexts": {"text": None}}))
    training = told.arguments("train", output=tmp_path / "out", contexts=told.results / "contexts")
    for arguments in (
        [*training, "--config", silent],
        rendering(told, "CT1", tmp_path / "out", model=tiny_run.results / "model"),
    ):
        result = told.tfbind(*arguments)
        assert result.exit_code == 1 and "'contexts.text'" in result.stderr
        assert "mend: leave --contexts out" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("change", "key"), [({"pooling": "cls"}, "pooling"), ({"model": "some/other"}, "model")])
def test_texts_are_those_of_the_configured_encoder(told, tmp_path, change, key):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"contexts": {"text": change}}))
    training = told.arguments("train", output=tmp_path / "out", contexts=told.results / "contexts")
    result = told.tfbind(*training, "--config", overlay)
    assert result.exit_code == 1 and f"'contexts.text.{key}'" in result.stderr
    assert "mend: run `tfbind contexts` again" in result.stderr


def test_descriptions_of_others_alone_teach_nothing(told, tmp_path):
    silent = described(told, tmp_path, DESCRIPTIONS | {"CT1": ""})
    training = silent.arguments("train", output=tmp_path / "out", contexts=silent.results / "contexts")
    result = silent.tfbind(*training)
    assert result.exit_code == 1 and "no cell type to train on has a description; there are CT1" in result.stderr


def test_a_description_that_changed_is_to_be_read_first(told, tmp_path):
    changed = described(told, tmp_path, DESCRIPTIONS)
    write_cell_types(changed, DESCRIPTIONS | {"CT2": "human lung"})
    for arguments in (
        rendering(changed, "CT2", tmp_path / "out"),
        changed.arguments("evaluate", output=tmp_path / "out", contexts=changed.results / "contexts"),
    ):
        result = changed.tfbind(*arguments)
        assert result.exit_code == 1 and "CT2 is described as 'human lung'" in result.stderr
    render(changed, "CT1", tmp_path / "CT1")


def test_the_evaluation_is_told_too(told, tmp_path):
    succeed(told, *told.arguments("evaluate", output=tmp_path / "out", contexts=told.results / "contexts"))
    assert (tmp_path / "out/metrics.tsv").is_file()
