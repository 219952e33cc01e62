from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.factors.checkpoints import DIM, LAYERS, write_esm1b, write_esm2
from tfbind.core.errors import InputError
from tfbind.factors.fair_esm import Esm1bEmbedder, Esm2Embedder
from tfbind.factors.proteins import read_proteins


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_esm2(tmp_path_factory.mktemp("esm"), "esm2_tiny")


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
    other = write_esm2(tmp_path, "esm2_tiny")
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
    write_esm2(tmp_path / "hub" / "checkpoints", "esm2_t6_8M_UR50D")
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
    path = write_esm2(folder, "esm2_t6_8M_UR50D")
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
    path = write_esm2(tmp_path, "esm2_bad")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(InputError, match=r"esm2_bad\.pt.*no whole ESM-2 checkpoint"):
        Esm2Embedder(checkpoint=path).embed(["MKV"])


def test_checkpoint_of_another_kind(tmp_path):
    path = write_esm2(tmp_path, "esm2_bad")
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


# --- ESM-1b ---


@pytest.fixture(scope="module")
def esm1b(tmp_path_factory):
    return write_esm1b(tmp_path_factory.mktemp("esm1b"))


@pytest.mark.parametrize("layer", [None, 1])
def test_esm1b_equals_the_model_called_directly(esm1b, layer):
    embedder = Esm1bEmbedder(checkpoint=esm1b, layer=layer)
    assert embedder.dim == DIM and embedder.name == "esm1b_tiny"
    for sequence, embedded in zip(SEQUENCES, embedder.embed(SEQUENCES), strict=True):
        assert embedded.shape == (len(sequence), DIM)
        np.testing.assert_allclose(embedded, directly(esm1b, sequence, layer or LAYERS), atol=1e-5)


def test_esm1b_batching_does_not_matter(esm1b):
    together = Esm1bEmbedder(checkpoint=esm1b).embed(SEQUENCES)
    alone = Esm1bEmbedder(checkpoint=esm1b, tokens_per_batch=1).embed(SEQUENCES)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("kind", [Esm1bEmbedder, Esm2Embedder])
def test_no_residue_of_a_protein_longer_than_the_model_is_lost(checkpoint, esm1b, kind):
    sequence = "MKVLAADEFGHWCCHHRKRKST" * 60  # 1320 residues, and ESM-1b's limit is 1022
    path = esm1b if kind is Esm1bEmbedder else checkpoint
    (embedded,) = kind(checkpoint=path).embed([sequence])
    assert embedded.shape == (1320, DIM)
    first, last = directly(path, sequence[:1022]), directly(path, sequence[-1022:])
    np.testing.assert_allclose(embedded[:298], first[:298], atol=1e-5)
    np.testing.assert_allclose(embedded[1022:], last[1022 - 1320 :], atol=1e-5)
    # The pieces share 724 residues, and are blended over the 256 at each end.
    share = np.minimum(1, np.arange(1, 725)[:, None] / 257)
    blended = (first[298:] * share[::-1] + last[:724] * share) / (share + share[::-1])
    np.testing.assert_allclose(embedded[298:1022], blended, atol=1e-5)


def test_esm1b_takes_no_longer_pieces_than_it_has_positions_for(esm1b):
    with pytest.raises(InputError, match=r"factors\.esm1b\.max_length.*pieces of 1023 residues.*takes 1022"):
        Esm1bEmbedder(checkpoint=esm1b, max_length=1023).embed(["MKV"])


def test_esm1b_reads_torch_hubs_cache(tmp_path, monkeypatch, esm1b):
    write_esm1b(tmp_path / "hub" / "checkpoints", "esm1b_t33_650M_UR50S")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (embedded,) = Esm1bEmbedder().embed(["MKVLAADEFGH"])
    np.testing.assert_allclose(embedded, directly(esm1b, "MKVLAADEFGH"), atol=1e-5)
    with pytest.raises(InputError, match=r"unknown ESM-1b model 'esm2_t6_8M_UR50D'"):
        Esm1bEmbedder("esm2_t6_8M_UR50D").embed(["MKV"])


def test_checkpoints_of_the_other_family_are_told_by_their_names(checkpoint, esm1b):
    with pytest.raises(InputError, match=r"an ESM-1b checkpoint is called esm1b\*\.pt"):
        Esm1bEmbedder(checkpoint=checkpoint)
    with pytest.raises(InputError, match=r"an ESM-2 checkpoint is called esm2\*\.pt"):
        Esm2Embedder(checkpoint=esm1b)


def test_two_embedders_in_one_process_do_not_disturb_one_another(checkpoint, esm1b, tmp_path):
    other = write_esm2(tmp_path, "esm2_tiny", seed=7)
    made = [
        (Esm2Embedder(checkpoint=checkpoint), checkpoint, LAYERS),
        (Esm2Embedder(checkpoint=checkpoint, layer=1), checkpoint, 1),
        (Esm2Embedder(checkpoint=other), other, LAYERS),
        (Esm1bEmbedder(checkpoint=esm1b), esm1b, LAYERS),
    ]
    for _ in range(2):
        for embedder, path, layer in made:
            np.testing.assert_allclose(
                embedder.embed(["MKVLAADEFGH"])[0], directly(path, "MKVLAADEFGH", layer), atol=1e-5
            )
    assert len({embedder.version for embedder, *_ in made}) == len(made)


# --- fine-tuned weights ---


def tuned_weights() -> dict[str, torch.Tensor]:
    """What `torch.save(model.state_dict())` writes of a model that was tuned."""
    from esm.model.esm2 import ESM2

    torch.manual_seed(11)
    return ESM2(num_layers=LAYERS, embed_dim=DIM, attention_heads=4).state_dict()


def tuned_directly(sequence: str) -> np.ndarray:
    from esm.model.esm2 import ESM2

    model = ESM2(num_layers=LAYERS, embed_dim=DIM, attention_heads=4)
    model.load_state_dict(tuned_weights())
    _, _, tokens = model.alphabet.get_batch_converter()([("p", sequence)])
    with torch.no_grad():
        result = model.eval()(tokens, repr_layers=[LAYERS])["representations"][LAYERS]
    return result[0, 1 : len(sequence) + 1].numpy()


def without_heads(weights):
    return {name: value for name, value in weights.items() if not name.startswith(("contact_head", "lm_head"))}


@pytest.mark.parametrize(
    "pack",
    [
        lambda weights: weights,
        without_heads,
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {"state_dict": {f"module.esm2.{name}": value for name, value in weights.items()}},
        lambda weights: {
            "model": {
                f"encoder.sentence_encoder.{name}": value for name, value in without_heads(weights).items()
            },
            "epoch": 3,
        },
    ],
    ids=["plain", "no heads", "module", "state_dict", "fair-esm's names"],
)
def test_finetuned_weights_take_the_place_of_the_models(checkpoint, tmp_path, pack):
    torch.save(pack(tuned_weights()), tmp_path / "dbp.pt")
    embedder = Esm2Embedder(checkpoint=checkpoint, finetuned=tmp_path / "dbp.pt")
    (embedded,) = embedder.embed(["MKVLAADEFGH"])
    np.testing.assert_allclose(embedded, tuned_directly("MKVLAADEFGH"), atol=1e-5)
    assert np.abs(embedded - directly(checkpoint, "MKVLAADEFGH")).max() > 0.1
    assert embedder.name == "esm2_tiny+dbp"


def test_finetuned_weights_of_a_published_size_need_no_base_weights(tmp_path, monkeypatch):
    from esm.model.esm2 import ESM2

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    torch.manual_seed(12)
    model = ESM2(num_layers=6, embed_dim=320, attention_heads=20).eval()
    torch.save(model.state_dict(), tmp_path / "dbp.pt")
    (embedded,) = Esm2Embedder("esm2_t6_8M_UR50D", finetuned=tmp_path / "dbp.pt").embed(["MKVLW"])
    _, _, tokens = model.alphabet.get_batch_converter()([("p", "MKVLW")])
    with torch.no_grad():
        expected = model(tokens, repr_layers=[6])["representations"][6][0, 1:6].numpy()
    np.testing.assert_allclose(embedded, expected, atol=1e-5)
    with pytest.raises(InputError, match=r"unknown ESM-2 model 'esm2_t7'"):
        Esm2Embedder("esm2_t7", finetuned=tmp_path / "dbp.pt").embed(["MKV"])


def test_the_sizes_are_those_of_fair_esm():
    import esm.pretrained

    from tfbind.factors.fair_esm import ESM2_SIZES

    assert sorted(ESM2_SIZES) == sorted(name for name in vars(esm.pretrained) if name.startswith("esm2_t"))
    for name, (layers, width, heads) in ESM2_SIZES.items():
        assert name.startswith(f"esm2_t{layers}_") and width % heads == 0


def test_finetuned_weights_have_a_version_of_their_own(checkpoint, tmp_path):
    weights = tuned_weights()
    torch.save(weights, tmp_path / "a.pt")
    torch.save(weights | {"lm_head.bias": weights["lm_head.bias"] + 1}, tmp_path / "b.pt")
    versions = [Esm2Embedder(checkpoint=checkpoint).version]
    versions += [Esm2Embedder(checkpoint=checkpoint, finetuned=tmp_path / f"{name}.pt").version for name in "ab"]
    assert len(set(versions)) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"classifier.weight": torch.zeros(2)}, r"not in the model: classifier\.weight"),
        ({"layers.0.fc1.weight": torch.zeros(3, 3)}, r"of another shape: layers\.0\.fc1\.weight"),
        ({"layers.1.fc2.bias": None}, r"missing: layers\.1\.fc2\.bias"),
        ({"module.layers.2.fc2.bias": torch.zeros(2)}, r"not in the model: module\.layers\.2\.fc2\.bias"),
        ({"epoch": 3}, "this is no state dict"),
    ],
)
def test_finetuned_weights_that_do_not_fit_are_named(checkpoint, tmp_path, change, says):
    weights = {name: value for name, value in (tuned_weights() | change).items() if value is not None}
    torch.save(weights, tmp_path / "dbp.pt")
    with pytest.raises(InputError, match=rf"dbp\.pt, key 'factors\.esm2\.finetuned'.*{says}"):
        Esm2Embedder(checkpoint=checkpoint, finetuned=tmp_path / "dbp.pt").embed(["MKV"])


def test_finetuned_weights_run_no_pickled_code(checkpoint, tmp_path):
    class Dangerous:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was_run",))

    torch.save(Dangerous(), tmp_path / "dbp.pt")
    with pytest.raises(InputError, match="no file of plain weights"):
        Esm2Embedder(checkpoint=checkpoint, finetuned=tmp_path / "dbp.pt").embed(["MKV"])
    assert not (tmp_path / "was_run").exists()
    with pytest.raises(InputError, match="no such fine-tuned weights"):
        Esm2Embedder(checkpoint=checkpoint, finetuned=tmp_path / "none.pt")


@pytest.mark.parametrize("settings", [{"checkpoint": True}, {}, {"finetuned": True}])
def test_a_missing_fair_esm_is_told_and_ends_nothing(checkpoint, tmp_path, monkeypatch, settings):
    import sys

    torch.save(tuned_weights(), tmp_path / "dbp.pt")
    files = {"checkpoint": checkpoint, "finetuned": tmp_path / "dbp.pt"}
    embedder = Esm2Embedder("esm2_t6_8M_UR50D", **{name: files[name] for name in settings})
    for name in [name for name in sys.modules if name.split(".")[0] == "esm"] or ["esm"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"package fair-esm is needed(?s:.*)mend: install it"):
        embedder.embed(["MKV"])
