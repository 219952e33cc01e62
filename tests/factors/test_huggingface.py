from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from tests.factors.checkpoints import DIM, LAYERS, write_bert, write_hf_esm, write_t5
from tfbind.core.errors import InputError
from tfbind.core.pieces import blend_pieces, piece_spans
from tfbind.factors.huggingface import HuggingFaceEmbedder

WRITERS = {"t5": write_t5, "bert": write_bert, "esm": write_hf_esm}
SEQUENCES = ["MKVLAADEFGH", "W", "MCCHHRKRKSTX" * 3, "ACDEFGHIKLMNPQRSTVWYX"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf")
    return {kind: write(folder / kind) for kind, write in WRITERS.items()}


def embedder_of(folder, **settings):
    return HuggingFaceEmbedder(folder=folder, **{"max_length": 150, "overlap": 20, **settings})


def directly(folder, kind: str, sequence: str, layer: int | None = None) -> np.ndarray:
    """The model called as its card on the hub does, one protein at a time, without a mask."""
    import transformers

    model = {
        "t5": transformers.T5EncoderModel,
        "bert": transformers.BertModel,
        "esm": transformers.EsmModel,
    }[kind].from_pretrained(folder)
    tokenizer = {
        "t5": transformers.T5Tokenizer,
        "bert": transformers.BertTokenizer,
        "esm": transformers.EsmTokenizer,
    }[kind].from_pretrained(folder, do_lower_case=False)
    text = sequence if kind == "esm" else " ".join(sequence)
    tokens = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        output = model.eval()(tokens, output_hidden_states=True)
    values = output.last_hidden_state if layer is None else output.hidden_states[layer]
    first = 0 if kind == "t5" else 1
    return values[0, first : first + len(sequence)].numpy()


@pytest.mark.parametrize("layer", [None, 1, 0])
@pytest.mark.parametrize("kind", WRITERS)
def test_equals_the_model_called_directly(folders, kind, layer):
    embedder = embedder_of(folders[kind], layer=layer)
    assert embedder.dim == DIM and embedder.name == kind
    for sequence, embedded in zip(SEQUENCES, embedder.embed(SEQUENCES), strict=True):
        assert embedded.dtype == np.float32 and embedded.shape == (len(sequence), DIM)
        np.testing.assert_allclose(embedded, directly(folders[kind], kind, sequence, layer), atol=1e-5)


@pytest.mark.parametrize("kind", WRITERS)
def test_padding_and_batches_do_not_matter(folders, kind):
    together = embedder_of(folders[kind]).embed(SEQUENCES)
    alone = embedder_of(folders[kind], tokens_per_batch=1).embed(SEQUENCES)
    backwards = embedder_of(folders[kind]).embed(SEQUENCES[::-1])[::-1]
    for a, b, c in zip(together, alone, backwards, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        np.testing.assert_allclose(a, c, atol=1e-5)


@pytest.mark.parametrize("kind", WRITERS)
def test_rare_residues_are_read_as_unknown(folders, kind):
    rare, unknown = embedder_of(folders[kind]).embed(["MKUZOBJV", "MKXXXXXV"])
    np.testing.assert_allclose(rare, unknown, atol=1e-6)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_long_protein_is_blended_from_its_pieces(folders, kind):
    sequence = ("MKVLAADEFGHWCCHHRKRKST" * 3)[:61]
    (embedded,) = embedder_of(folders[kind], max_length=20, overlap=6).embed([sequence])
    spans = piece_spans(61, 20, 6)
    assert len(spans) == 4
    pieces = [directly(folders[kind], kind, sequence[start:end]) for start, end in spans]
    np.testing.assert_allclose(embedded, blend_pieces(pieces, spans, 6), atol=1e-5)
    # The end of the protein is there, and it is the last piece's.
    assert len(embedded) == 61
    np.testing.assert_allclose(embedded[-5:], pieces[-1][-5:], atol=1e-5)


def test_version_tells_weights_layer_and_pieces(folders, tmp_path):
    copy = shutil.copytree(folders["bert"], tmp_path / "bert")
    same = embedder_of(copy).version
    assert same == embedder_of(folders["bert"], tokens_per_batch=16).version
    (copy / "README.md").write_text("changed")
    assert embedder_of(copy).version == same
    vocabulary = (copy / "vocab.txt").read_text()
    (copy / "vocab.txt").write_text(vocabulary.replace("L\nA\n", "A\nL\n"))
    versions = {
        same,
        embedder_of(copy).version,
        embedder_of(folders["bert"], layer=1).version,
        embedder_of(folders["bert"], max_length=100).version,
        embedder_of(folders["bert"], overlap=10).version,
    }
    assert len(versions) == 5


@pytest.fixture
def hub(monkeypatch, tmp_path, folders):
    """The hub's cache, as a download leaves it, with two commits of one model; no network."""
    import huggingface_hub.constants
    import transformers.utils.hub

    for module, name in (
        (huggingface_hub.constants, "HF_HUB_CACHE"),
        (transformers.utils.hub, "TRANSFORMERS_CACHE"),
    ):
        monkeypatch.setattr(module, name, str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(transformers.utils.hub, "_is_offline_mode", True)
    repository = tmp_path / "models--lab--tiny"
    commits = {"main": "a" * 40, "v1": "b" * 40}
    for revision, commit in commits.items():
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
        shutil.copytree(folders["t5" if revision == "main" else "bert"], repository / "snapshots" / commit)
    return commits


def test_a_name_and_revision_of_the_hub(hub, folders):
    settings = {"max_length": 150, "overlap": 20}
    main, first = (HuggingFaceEmbedder("lab/tiny", revision, **settings) for revision in ("main", "v1"))
    by_commit = HuggingFaceEmbedder("lab/tiny", hub["v1"], **settings)
    assert main.version.startswith(f"commit:{'a' * 40} ")
    assert first.version == by_commit.version != main.version
    np.testing.assert_allclose(main.embed(["MKVL"])[0], directly(folders["t5"], "t5", "MKVL"), atol=1e-5)
    for embedder in (first, by_commit):
        np.testing.assert_allclose(
            embedder.embed(["MKVL"])[0], directly(folders["bert"], "bert", "MKVL"), atol=1e-5
        )


def test_what_the_hub_does_not_have_is_told(hub):
    for embedder in (HuggingFaceEmbedder("lab/none"), HuggingFaceEmbedder("lab/tiny", "v2")):
        with pytest.raises(
            InputError, match=r"configuration of lab/\w+ could not be fetched(?s:.*)mend: give fact"
        ):
            embedder.embed(["MKV"])


def test_two_embedders_in_one_process_do_not_disturb_one_another(folders):
    made = [(kind, layer, embedder_of(folders[kind], layer=layer)) for kind in WRITERS for layer in (None, 1)]
    for _ in range(2):
        for kind, layer, embedder in made:
            expected = directly(folders[kind], kind, "MKVLW", layer)
            np.testing.assert_allclose(embedder.embed(["MKVLW"])[0], expected, atol=1e-5)


def test_missing_packages_are_told(folders, monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"package transformers is needed(?s:.*)mend: install it"):
        embedder_of(folders["t5"]).embed(["MKV"])


def test_weights_that_are_missing_are_not_made_up(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folders["bert"], tmp_path / "bert")
    weights = load_file(copy / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=r"lack weights of the encoder \(encoder\.layer\.1\.output\.dense\.weight"
    ):
        embedder_of(copy).embed(["MKV"])


def test_weights_in_a_pickle_run_no_code(folders, tmp_path):
    from pathlib import Path

    class Dangerous:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was_run",))

    copy = shutil.copytree(folders["bert"], tmp_path / "bert")
    (copy / "model.safetensors").unlink()
    torch.save({"x": Dangerous()}, copy / "pytorch_model.bin")
    with pytest.raises(InputError, match="weights of bert could not be fetched or loaded"):
        embedder_of(copy).embed(["MKV"])
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_files_are_told(folders, tmp_path, kind):
    copy = shutil.copytree(folders[kind], tmp_path / kind)
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:500])
    with pytest.raises(InputError, match=rf"{kind}, key 'factors.huggingface': the weights of {kind}"):
        embedder_of(copy).embed(["MKV"])


def test_bad_settings(folders, tmp_path):
    with pytest.raises(InputError, match=r"it has no config\.json"):
        HuggingFaceEmbedder(folder=tmp_path)
    with pytest.raises(InputError, match=rf"layer 7, but bert has {LAYERS}"):
        embedder_of(folders["bert"], layer=7).embed(["MKV"])
    with pytest.raises(InputError, match=r"huggingface\.overlap"):
        embedder_of(folders["bert"], overlap=150)
    with pytest.raises(InputError, match=r"pieces of 199 residues, but bert takes 198"):
        embedder_of(folders["bert"], max_length=199).embed(["MKV"])
    with pytest.raises(InputError, match="key 'device': bert cannot run on the device 'cuda:99'"):
        embedder_of(folders["bert"], device="cuda:99").embed(["MKV"])


def test_a_model_of_words_is_refused(tmp_path):
    folder = write_bert(tmp_path / "words", residues="the quick brown fox".replace(" ", ""))
    with pytest.raises(InputError, match="does not make one token of each residue"):
        embedder_of(folder).embed(["MKV"])
