from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open

from tfbind.core.errors import InputError
from tfbind.factors.embeddings import embed_proteins, embedding_key, load_embedding, make_embedder
from tfbind.factors.physicochemical import PhysicochemicalEmbedder
from tfbind.factors.proteins import read_proteins


class Counting(PhysicochemicalEmbedder):
    """The real embedder, that notes what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def embed(self, sequences):
        self.asked += sequences
        return super().embed(sequences)


class Half(PhysicochemicalEmbedder):
    name = "half"
    dtype = "float16"


def test_each_sequence_is_embedded_once(tmp_path):
    embedder = Counting()
    keys = embed_proteins({"a": "MKV", "b": "mkv*", "c": "MLLK"}, embedder, tmp_path)
    assert list(keys) == ["a", "b", "c"]
    assert keys["a"] == keys["b"] != keys["c"]
    assert embedder.asked == ["MLLK", "MKV"]
    assert embed_proteins({"x": "MLLK", "y": "MW"}, embedder, tmp_path)["x"] == keys["c"]
    assert embedder.asked == ["MLLK", "MKV", "MW"]
    assert len(list(tmp_path.iterdir())) == 3


def test_load_gives_what_was_embedded(tmp_path):
    embedder = PhysicochemicalEmbedder()
    key = embed_proteins({"a": "MKVX"}, embedder, tmp_path)["a"]
    loaded = load_embedding(tmp_path, key)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, embedder.embed(["MKVX"])[0])


def test_half_precision_on_disk_single_in_memory(tmp_path):
    key = embed_proteins({"a": "MKVX"}, Half(), tmp_path)["a"]
    with safe_open(tmp_path / f"{key}.safetensors", framework="numpy") as file:
        assert file.get_tensor("embedding").dtype == np.float16
    loaded = load_embedding(tmp_path, key)
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, Half().embed(["MKVX"])[0], atol=2e-3)


def test_key_depends_on_sequence_embedder_and_version():
    keys = {
        embedding_key(*parts)
        for parts in [
            ("MKV", "e", "1"),
            ("MKL", "e", "1"),
            ("MKV", "f", "1"),
            ("MKV", "e", "2"),
            ("MKV", "e1", ""),
        ]
    }
    assert len(keys) == 5
    assert all(len(key) == 64 for key in keys)


def test_equal_input_gives_equal_bytes(tmp_path):
    contents = []
    for folder in (tmp_path / "1", tmp_path / "2", tmp_path / "3"):
        embed_proteins({"a": "MKV", "b": "MW"}, PhysicochemicalEmbedder(), folder)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize("damage", ["truncated", "other"])
def test_damaged_cache_file_is_named(tmp_path, damage):
    embedder = PhysicochemicalEmbedder()
    keys = embed_proteins({"a": "MKV", "b": "MW"}, embedder, tmp_path)
    path = tmp_path / f"{keys['a']}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(
        whole[:-7] if damage == "truncated" else (tmp_path / f"{keys['b']}.safetensors").read_bytes()
    )
    with pytest.raises(InputError, match=rf"{path.name}: this cached embedding is damaged(?s:.*)mend: delete it"):
        embed_proteins({"a": "MKV"}, embedder, tmp_path)
    path.unlink()
    embed_proteins({"a": "MKV"}, embedder, tmp_path)
    assert path.read_bytes() == whole


def test_load_of_damaged_or_missing(tmp_path):
    (tmp_path / "k.safetensors").write_bytes(b"rubbish")
    with pytest.raises(InputError, match="damaged"):
        load_embedding(tmp_path, "k")
    with pytest.raises(InputError, match="not in the cache"):
        load_embedding(tmp_path, "other")


def test_bad_sequence_names_the_protein(tmp_path):
    with pytest.raises(InputError, match="protein REB1 has '1' at position 2"):
        embed_proteins({"REB1": "M1"}, PhysicochemicalEmbedder(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_numbers_that_do_not_fit_are_refused(tmp_path):
    class Huge(Half):
        def embed(self, sequences):
            return [value * 1e6 for value in super().embed(sequences)]

    with pytest.raises(InputError, match="not finite in float16"):
        embed_proteins({"a": "MKV"}, Huge(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_make_embedder():
    assert make_embedder("physicochemical").name == "physicochemical"
    assert make_embedder("esm2", model="esm2_t6_8M_UR50D", layer=3).layer == 3
    with pytest.raises(
        InputError,
        match=r"factors\.embedder.*unknown embedder 'esm3'(?s:.*)esm2 or huggingface or physicochemical",
    ):
        make_embedder("esm3")
    with pytest.raises(InputError, match=r"factors\.esm2.*depth"):
        make_embedder("esm2", depth=3)


def test_real_yeast_proteins(yeast, tmp_path):
    proteins = read_proteins([yeast / "proteins.fa"])
    keys = embed_proteins(
        {p.accession: p.sequence for p in proteins.values()}, PhysicochemicalEmbedder(), tmp_path
    )
    assert len(list(tmp_path.iterdir())) == len(set(keys.values()))
    for accession, key in list(keys.items())[:5]:
        assert len(load_embedding(tmp_path, key)) == len(proteins[accession].sequence)
