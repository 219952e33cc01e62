from __future__ import annotations

import json

import numpy as np
import pytest

from tfbind.contexts.contextset import ContextSet, write_context_set
from tfbind.contexts.text import TextEncoder
from tfbind.core.errors import InputError

CELLS = {"HepG2": "liver cells", "K562": "", "IMR90": "human lung cells", "LIVER": "liver cells"}


@pytest.fixture
def written(bert, tmp_path):
    write_context_set(tmp_path / "set", CELLS, TextEncoder(bert, pooling="cls"), tmp_path / "cache")
    return tmp_path / "set"


def test_what_goes_in_comes_out(written, bert):
    contexts, encoder = ContextSet.open(written), TextEncoder(bert, pooling="cls")
    assert contexts.names == list(CELLS) and len(contexts) == 4
    assert contexts.encoder == {"name": "bert", "revision": encoder.revision, "pooling": "cls", "dim": 24}
    assert contexts.dim == 24
    text = contexts.text("HepG2")
    assert text.dtype == np.float32
    np.testing.assert_allclose(text, encoder.encode(["liver cells"])[0], atol=1e-6)
    np.testing.assert_array_equal(contexts.text("LIVER"), text)
    assert np.abs(contexts.text("IMR90") - text).max() > 1e-3


def test_no_description_is_no_text_and_no_text_of_zeros(written):
    assert ContextSet.open(written).text("K562") is None


def test_the_folder_tells_what_it_holds(written):
    content = json.loads((written / "contexts.json").read_text())
    assert [entry["cell_type"] for entry in content["cell_types"]] == list(CELLS)
    first, second, _, last = content["cell_types"]
    assert first["description"] == "liver cells" and first["text"] == last["text"]
    assert second["description"] == "" and second["text"] is None
    assert sorted(path.name for path in written.iterdir()) == ["contexts.json", "text.safetensors"]


def test_without_an_encoder_nothing_is_read(tmp_path):
    write_context_set(tmp_path / "set", CELLS, None, tmp_path / "cache")
    contexts = ContextSet.open(tmp_path / "set")
    assert contexts.dim == 0 and contexts.encoder is None and contexts.names == list(CELLS)
    assert [contexts.text(name) for name in CELLS] == [None] * 4
    assert contexts.entries[0]["description"] == "liver cells"
    assert not (tmp_path / "cache").exists()


def test_it_needs_no_cache_once_written(written):
    for path in (written.parent / "cache").iterdir():
        path.unlink()
    assert ContextSet.open(written).text("HepG2").shape == (24,)


def test_equal_input_gives_equal_bytes(written, bert, tmp_path):
    encoder = TextEncoder(bert, pooling="cls")
    write_context_set(tmp_path / "again", CELLS, encoder, tmp_path / "cache2")
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_sets_of_a_cell_type_each_are_one(written, bert, tmp_path):
    encoder = TextEncoder(bert, pooling="cls")
    for name, text in CELLS.items():
        write_context_set(tmp_path / "each" / name, {name: text}, encoder, tmp_path / "cache")
    expected, found = ContextSet.open(written), ContextSet.find(tmp_path / "each", list(CELLS))
    assert (found.entries, found.encoder, found.names) == (expected.entries, expected.encoder, list(CELLS))
    for name in CELLS:
        np.testing.assert_array_equal(found.text(name), expected.text(name))
    assert ContextSet.find(written, ["K562"]).names == expected.names
    with pytest.raises(InputError, match=r"each/more/contexts\.json: this context set is not whole"):
        ContextSet.find(tmp_path / "each", ["HepG2", "more"])
    (tmp_path / "each/K562").rename(tmp_path / "each/more")
    with pytest.raises(InputError, match="no cell type 'more' in this context set; it has K562"):
        ContextSet.find(tmp_path / "each", ["HepG2", "more"])
    write_context_set(tmp_path / "each/K562", {"K562": ""}, TextEncoder(bert), tmp_path / "cache")
    with pytest.raises(InputError, match=r"HepG2 was read by .*'cls'.*K562 by .*'mean'"):
        ContextSet.find(tmp_path / "each", ["HepG2", "K562"])


def test_other_descriptions_than_those_that_were_read_are_refused(written):
    contexts = ContextSet.open(written)
    contexts.require(CELLS)
    with pytest.raises(InputError, match=r"HepG2 is described as 'spleen'; this context set has 'liver cells'"):
        contexts.require(CELLS | {"HepG2": "spleen"})


def test_no_cell_types_make_no_set(tmp_path):
    with pytest.raises(InputError, match="no cell types"):
        write_context_set(tmp_path / "set", {}, None, tmp_path / "cache")
    assert not (tmp_path / "set").exists()


def test_a_cell_type_that_is_not_in_it(written):
    with pytest.raises(InputError, match=r"no cell type 'hepg2'.*it has HepG2, K562(?s:.*)tfbind contexts"):
        ContextSet.open(written).text("hepg2")


def test_broken_folders(written):
    (written / "text.safetensors").write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"text\.safetensors.*cell type HepG2"):
        ContextSet.open(written).text("HepG2")
    (written / "contexts.json").write_text("{}")
    with pytest.raises(InputError, match="this is no context set"):
        ContextSet.open(written)
    (written / "text.safetensors").unlink()
    with pytest.raises(InputError, match=r"text\.safetensors: this context set is not whole"):
        ContextSet.open(written)
