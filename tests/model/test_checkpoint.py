from __future__ import annotations

import json

import pytest
import torch

from tfbind.core.errors import InputError
from tfbind.model.checkpoint import load_checkpoint, save_checkpoint
from tfbind.model.shape import ModelShape

ABOUT = {"manifest": {"factors": ["REB1"]}, "thresholds": {"pooled": 0.25}}

SHAPE = {"bin": 32, "residue_dim": 5, "outputs": ["binding"]}


@pytest.fixture
def saved(make_model, tmp_path):
    save_checkpoint(tmp_path / "model", make_model(bin=32), ABOUT)
    return tmp_path / "model"


def test_a_model_comes_back_as_it_was(make_model, make_factors, make_contexts, codes, saved):
    model, loaded = make_model(bin=32), load_checkpoint(saved)
    assert not loaded.model.training
    assert loaded.about["manifest"] == ABOUT["manifest"]
    assert loaded.about["thresholds"] == {"pooled": 0.25}
    assert loaded.model.shape == ModelShape(bin=32, residue_dim=5)
    window = {
        "codes": codes(1, 32 * 6),
        "factors": make_factors([9, 4], [5, 6]),
        "contexts": make_contexts(torch.ones(1, 6, 1)),
        "pairs": torch.tensor([[0, 0], [1, 0]]),
    }
    with torch.no_grad():
        assert torch.equal(loaded.model(**window).binding, model(**window).binding)


def test_a_motif_panel_comes_back_with_its_motifs(make_model, codes, tmp_path):
    model = make_model(motif_panel=3, panel=torch.randn(4, 7, 4))
    save_checkpoint(tmp_path / "model", model, ABOUT)
    loaded = load_checkpoint(tmp_path / "model").model
    assert torch.equal(loaded.panel.motifs, model.panel.motifs)
    with torch.no_grad():
        assert torch.equal(loaded.dna_tokens(codes(1, 160)), model.dna_tokens(codes(1, 160)))


def test_equal_models_are_equal_bytes(make_model, saved, tmp_path):
    save_checkpoint(tmp_path / "again", make_model(bin=32), ABOUT)
    for name in ("model.json", "model.safetensors"):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", "model.safetensors"]


def test_the_checksum_is_that_of_the_weights(make_model, saved, tmp_path):
    other = make_model(bin=32)
    with torch.no_grad():
        other.head.no_protein[0] += 1
    save_checkpoint(tmp_path / "other", other, ABOUT)
    assert load_checkpoint(saved).checksum != load_checkpoint(tmp_path / "other").checksum
    save_checkpoint(tmp_path / "renamed", make_model(bin=32), {"manifest": {}})
    assert load_checkpoint(saved).checksum == load_checkpoint(tmp_path / "renamed").checksum


def test_a_new_model_replaces_the_old_one(make_model, saved):
    save_checkpoint(saved, make_model(bin=16), ABOUT)
    assert load_checkpoint(saved).model.bin == 16
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def corrupt(folder):
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def change(folder, **values):
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**about, **values}))


@pytest.mark.parametrize(
    ("damage", "problem", "file"),
    [
        (lambda folder: (folder / "model.json").unlink(), "holds no checkpoint", "model"),
        (lambda folder: (folder / "model.safetensors").unlink(), "got no file", "model.safetensors"),
        (corrupt, "checksum differs", "model.safetensors"),
        (lambda folder: (folder / "model.json").write_text("{"), "is no JSON", "model.json"),
        (lambda folder: (folder / "model.json").write_text("[]"), "checkpoint format None", "model.json"),
        (lambda folder: change(folder, format=99), "checkpoint format 99", "model.json"),
        (lambda folder: change(folder, sha256="0" * 64), "checksum differs: expected 000", "model.safetensors"),
        (
            lambda folder: change(folder, shape={"bin": 32, "residue_dim": 7, "outputs": ["binding"]}),
            "does not know",
            "model",
        ),
        (lambda folder: change(folder, settings={"hyper": 1}), "does not know", "model"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_told(saved, damage, problem, file):
    damage(saved)
    with pytest.raises(InputError, match=problem) as caught:
        load_checkpoint(saved)
    assert caught.value.file.name == file
    assert caught.value.mend


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_checkpoint(tmp_path / "nowhere")
