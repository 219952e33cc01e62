from __future__ import annotations

import shutil
from argparse import Namespace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.factors.fair_esm import Esm2Embedder
from tfbind.factors.pieces import blend_pieces, piece_spans, token_batches
from tfbind.factors.proteins import read_proteins

LAYERS, DIM = 2, 32


def write_checkpoint(folder: Path, name: str) -> Path:
    """A tiny model with random weights, in two files with the keys of fair-esm's published checkpoints."""
    from esm.model.esm2 import ESM2

    torch.manual_seed(1)
    model = ESM2(num_layers=LAYERS, embed_dim=DIM, attention_heads=4)
    body, regression = {}, {}
    for key, value in model.state_dict().items():
        if key.startswith("contact_head"):
            regression[key] = value
        elif key.startswith("lm_head"):
            body[f"encoder.{key}"] = value
        else:
            body[f"encoder.sentence_encoder.{key}"] = value
    settings = Namespace(
        encoder_layers=LAYERS, encoder_embed_dim=DIM, encoder_attention_heads=4, token_dropout=True
    )
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"cfg": {"model": settings}, "model": body}, folder / f"{name}.pt")
    torch.save({"model": regression}, folder / f"{name}-contact-regression.pt")
    return folder / f"{name}.pt"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("esm"), "esm2_tiny")


def directly(checkpoint: Path, sequence: str, layer: int = LAYERS) -> np.ndarray:
    """The model called as fair-esm's README does."""
    import esm

    with torch.serialization.safe_globals([Namespace]):
        model, alphabet = esm.pretrained.load_model_and_alphabet_local(str(checkpoint))
    _, _, tokens = alphabet.get_batch_converter()([("p", sequence)])
    with torch.no_grad():
        result = model.eval()(tokens, repr_layers=[layer])["representations"][layer]
    return result[0, 1 : len(sequence) + 1].numpy()


SEQUENCES = ["MKVLAADEFGH", "W", "MCCHHRKRKSTX" * 3, "ACDEFGHIKLMNPQRSTVWYXBUZO"]


@pytest.mark.parametrize("layer", [None, 1])
def test_equals_the_model_called_directly(checkpoint, layer):
    embedder = Esm2Embedder(checkpoint=checkpoint, layer=layer)
    assert embedder.dim == DIM
    for sequence, embedded in zip(SEQUENCES, embedder.embed(SEQUENCES), strict=True):
        assert embedded.dtype == np.float32
        assert embedded.shape == (len(sequence), DIM)
        np.testing.assert_allclose(embedded, directly(checkpoint, sequence, layer or LAYERS), atol=1e-5)


def test_batching_does_not_matter(checkpoint):
    together = Esm2Embedder(checkpoint=checkpoint).embed(SEQUENCES)
    alone = Esm2Embedder(checkpoint=checkpoint, tokens_per_batch=1).embed(SEQUENCES)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_i_or_l_is_read_as_unknown(checkpoint):
    j, x = Esm2Embedder(checkpoint=checkpoint).embed(["MKJV", "MKXV"])
    np.testing.assert_allclose(j, x, atol=1e-6)


def test_long_protein_in_pieces(checkpoint):
    sequence = ("MKVLAADEFGHWCCHHRKRKST" * 3)[:52]
    embedder = Esm2Embedder(checkpoint=checkpoint, max_length=20, overlap=4)
    (embedded,) = embedder.embed([sequence])
    assert embedded.shape == (52, DIM)
    pieces = [directly(checkpoint, sequence[start : start + 20]) for start in (0, 16, 32)]
    np.testing.assert_allclose(embedded[:16], pieces[0][:16], atol=1e-5)
    np.testing.assert_allclose(embedded[20:32], pieces[1][4:16], atol=1e-5)
    np.testing.assert_allclose(embedded[36:], pieces[2][4:], atol=1e-5)
    share = np.arange(1, 5)[:, None] / 5
    np.testing.assert_allclose(embedded[16:20], pieces[0][16:] * (1 - share) + pieces[1][:4] * share, atol=1e-5)


def test_a_protein_as_long_as_a_piece_is_whole(checkpoint):
    sequence = "MKVLAADEFGHWCCHHRKRK"
    (embedded,) = Esm2Embedder(checkpoint=checkpoint, max_length=20, overlap=4).embed([sequence])
    np.testing.assert_allclose(embedded, directly(checkpoint, sequence), atol=1e-5)


@given(st.integers(1, 300), st.integers(2, 40), st.data())
def test_pieces_cover_every_residue(length, max_length, data):
    overlap = data.draw(st.integers(0, max_length - 1))
    spans = piece_spans(length, max_length, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(0 < end - start <= max_length for start, end in spans)
    assert all(before[1] - after[0] >= overlap for before, after in pairwise(spans))
    # What all pieces agree on comes through the blending unchanged, at every residue.
    truth = np.random.default_rng(0).normal(size=(length, 3)).astype(np.float32)
    blended = blend_pieces([truth[start:end] for start, end in spans], spans, overlap)
    np.testing.assert_allclose(blended, truth, atol=1e-5)


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_batches_hold_each_piece_once_longest_first(lengths, tokens):
    batches = list(token_batches(lengths, tokens))
    order = [i for batch in batches for i in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)
    assert all(len(b) == 1 or (lengths[b[0]] + 2) * len(b) <= tokens for b in batches)


def test_real_protein(yeast, checkpoint):
    protein = read_proteins([yeast / "proteins.fa"])["P21538"]
    (embedded,) = Esm2Embedder(checkpoint=checkpoint, max_length=200, overlap=50).embed([protein.sequence])
    assert embedded.shape == (810, DIM)
    assert np.isfinite(embedded).all()


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there(checkpoint, device):
    with pytest.raises(InputError, match=f"cannot run on the device '{device}'") as caught:
        Esm2Embedder(checkpoint=checkpoint, device=device).embed(["MKRR"])
    assert caught.value.key == "device" and "cpu" in caught.value.mend


def test_version_tells_weights_layer_and_pieces(checkpoint, tmp_path):
    other = write_checkpoint(tmp_path, "esm2_tiny")
    state = torch.load(other, weights_only=False)
    state["model"]["encoder.lm_head.bias"][0] += 1
    torch.save(state, other)
    embedders = [
        Esm2Embedder(checkpoint=checkpoint),
        Esm2Embedder(checkpoint=other),
        Esm2Embedder(checkpoint=checkpoint, layer=1),
        Esm2Embedder(checkpoint=checkpoint, max_length=512),
        Esm2Embedder(),
    ]
    assert len({embedder.version for embedder in embedders}) == len(embedders)
    assert embedders[0].name == "esm2_tiny"
    assert embedders[-1].version.startswith("esm2_t33_650M_UR50D/fair-esm-")
    assert Esm2Embedder(checkpoint=checkpoint, device="cpu", tokens_per_batch=1).version == embedders[0].version


def test_hub_reads_torch_hubs_cache(tmp_path, monkeypatch, checkpoint):
    write_checkpoint(tmp_path / "hub" / "checkpoints", "esm2_t6_8M_UR50D")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (embedded,) = Esm2Embedder("esm2_t6_8M_UR50D").embed(["MKVLAADEFGH"])
    np.testing.assert_allclose(embedded, directly(checkpoint, "MKVLAADEFGH"), atol=1e-5)


def test_hub_without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(
        InputError,
        match=r"esm2_t6_8M_UR50D could not be fetched(?s:.*)factors\.esm2\.checkpoint.*physicochemical",
    ):
        Esm2Embedder("esm2_t6_8M_UR50D").embed(["MKV"])


def test_hub_runs_no_pickled_code(tmp_path, monkeypatch):
    class Dangerous:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was_run",))

    folder = tmp_path / "hub" / "checkpoints"
    path = write_checkpoint(folder, "esm2_t6_8M_UR50D")
    torch.save({"cfg": Dangerous(), "model": {}}, path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match="could not be fetched or loaded"):
        Esm2Embedder("esm2_t6_8M_UR50D").embed(["MKV"])
    assert not (tmp_path / "was_run").exists()


def test_unknown_model():
    with pytest.raises(InputError, match=r"unknown ESM-2 model 'esm2_t99'(?s:.*)esm2_t33_650M_UR50D"):
        Esm2Embedder("esm2_t99").embed(["MKV"])


def test_checkpoint_is_checked_before_it_is_loaded(tmp_path, checkpoint):
    with pytest.raises(InputError, match="no such ESM-2 checkpoint"):
        Esm2Embedder(checkpoint=tmp_path / "esm2_none.pt")
    renamed = shutil.copy(checkpoint, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"called esm2\*\.pt"):
        Esm2Embedder(checkpoint=renamed)
    alone = shutil.copy(checkpoint, tmp_path / "esm2_alone.pt")
    with pytest.raises(InputError, match=r"esm2_alone-contact-regression\.pt must stand beside"):
        Esm2Embedder(checkpoint=alone)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "half"])
def test_damaged_checkpoint(tmp_path, content):
    path = write_checkpoint(tmp_path, "esm2_bad")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(InputError, match=r"esm2_bad\.pt.*no whole ESM-2 checkpoint"):
        Esm2Embedder(checkpoint=path).embed(["MKV"])


def test_checkpoint_of_another_kind(tmp_path):
    path = write_checkpoint(tmp_path, "esm2_bad")
    torch.save({"model": {}}, path)
    with pytest.raises(InputError, match="no whole ESM-2 checkpoint"):
        Esm2Embedder(checkpoint=path).embed(["MKV"])


def test_bad_settings(checkpoint):
    with pytest.raises(InputError, match=r"factors\.esm2\.overlap"):
        Esm2Embedder(checkpoint=checkpoint, max_length=100, overlap=100)
    with pytest.raises(InputError, match="layer 7, but esm2_tiny has 2"):
        Esm2Embedder(checkpoint=checkpoint, layer=7).embed(["MKV"])
    with pytest.raises(InputError, match="'-' at position 2"):
        Esm2Embedder(checkpoint=checkpoint).embed(["M-K"])
