"""Training, embedding and rendering with another trunk than the default, and with one that is fine-tuned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from enformer_pytorch import Enformer

from tfbind.genome.bigwig import open_bigwig
from tfbind.model.checkpoint import load_checkpoint


@pytest.fixture
def chain(tiny_run: Any, tmp_path: Path) -> Any:
    """The tiny run from training to a track, with another trunk; only what comes before is the tiny run's."""

    def run(trunk: dict[str, Any], **training: Any) -> Path:
        config = yaml.safe_load(tiny_run.config.read_text())
        config["model"]["trunk"] = trunk
        config["training"] |= training
        changed = tmp_path / "config.yaml"
        changed.write_text(yaml.safe_dump(config))
        made = {"config": changed, "model": tmp_path / "model"}
        shards = [tmp_path / f"{index}.npy" for index in (0, 1)]
        tokens = tmp_path / "tokens"
        steps = [
            tiny_run.arguments(
                "train",
                config=changed,
                state=tmp_path / "state",
                history=tmp_path / "h.tsv",
                output=made["model"],
            ),
            *(tiny_run.arguments("embed", shard=i, output=path, **made) for i, path in enumerate(shards)),
            [*tiny_run.arguments("assemble", output=tokens, **made), *shards],
            tiny_run.arguments("render", embedding=tokens, output=tmp_path / "tracks", **made),
        ]
        for arguments in steps:
            done = tiny_run.tfbind(*arguments)
            assert done.exit_code == 0, f"{arguments[0]}: {done.output}\n{done.exc_info}"
        return tmp_path

    return run


def assert_a_track(folder: Path) -> None:
    with open_bigwig(folder / "tracks" / "SIM01.bw") as handle:
        for chrom, size in handle.chroms().items():
            values = handle.values(chrom, 0, size, numpy=True)
            assert np.isfinite(values).all() and 0 <= values.min() <= values.max() <= 1


def test_a_dilated_trunk_serves_from_training_to_tracks(chain):
    folder = chain({"kind": "dilated", "dim": 16, "depth": 2}, gradient_checkpointing=True)
    assert_a_track(folder)
    model = load_checkpoint(folder / "model").model
    assert type(model.trunk).__name__ == "DilatedTrunk" and len(model.trunk.blocks()) == 2


def test_a_pretrained_enformer_is_adapted_and_serves_when_its_folder_is_gone(chain, tmp_path):
    source = tmp_path / "enformer"
    sizes = {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6, "num_downsamples": 6}
    enformer = Enformer.from_hparams(**sizes, output_heads={"human": 2})
    enformer.save_pretrained(source, safe_serialization=False)
    folder = chain({"pretrained": str(source)}, fine_tuning={"mode": "lora"}, trunk_learning_rate=1e-2)
    assert_a_track(folder)
    shutil.rmtree(source)
    trunk = load_checkpoint(folder / "model").model.trunk
    about = json.loads((folder / "model" / "model.json").read_text())
    assert about["settings"]["trunk"]["gamma"] == "tensorflow"
    assert about["trunk_source"]["name"] == str(source) and len(about["trunk_source"]["sha256"]) == 64
    theirs = enformer.trunk.state_dict()
    ours = {name.removeprefix("layers."): value for name, value in trunk.state_dict().items()}
    assert list(ours) == list(theirs)
    moved = {name for name in ours if not np.array_equal(ours[name], theirs[name])}
    # One block: attention's q, k, v and out, and the two layers of feed-forward. (The output of attention starts
    # at zero, so that nothing before it has a gradient at first.)
    assert moved and all(name.startswith("4.0.") and name.endswith("weight") for name in moved)
    assert not any("to_rel_k" in name or "LayerNorm" in name for name in moved)
