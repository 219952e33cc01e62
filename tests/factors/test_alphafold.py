from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from tfbind.core.errors import InputError
from tfbind.factors.alphafold import AlphaFoldEmbedder
from tfbind.factors.embeddings import embed_each, load_embedding
from tfbind.factors.factorset import FactorInput, FactorSet, write_factor_set
from tfbind.factors.proteins import Protein

REB1, ABF1, GAL4 = (
    Protein("P1", "REB1", "MKVLW"),
    Protein("P2-2", "ABF1", "MKV"),
    Protein("P3.4", "GAL4", "MKVLW"),
)


@pytest.fixture
def arrays(tmp_path):
    """One array a protein, in each of the three forms."""
    values = {
        protein.accession: np.random.default_rng(i).normal(size=(len(protein.sequence), 6)).astype(np.float32)
        for i, protein in enumerate((REB1, ABF1, GAL4))
    }
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "P1.npy", values["P1"].astype(np.float64))
    np.savez(folder / "P2-2.npz", single=values["P2-2"], pair=np.zeros((3, 3)))
    save_file({"single": values["P3.4"]}, folder / "P3.4.safetensors")
    return folder, values


def test_arrays_of_each_form_come_through(arrays, tmp_path):
    folder, values = arrays
    embedder = AlphaFoldEmbedder(folder)
    keys = embed_each([REB1, ABF1, GAL4], embedder, tmp_path / "cache")
    # One sequence, two accessions: the arrays are different ones.
    assert len(set(keys)) == 3
    for key, protein in zip(keys, (REB1, ABF1, GAL4), strict=True):
        np.testing.assert_array_equal(load_embedding(tmp_path / "cache", key), values[protein.accession])
    assert embedder.dim == AlphaFoldEmbedder(folder).dim == 6


def test_accessions_that_end_in_letters_of_an_ending_stay_whole(tmp_path):
    names = ["npy", "puppy.npy", "zip.npz", "tensors.safetensors"]
    for length, name in enumerate(names, 1):
        np.save(tmp_path / f"{name}.npy", np.full((length, 2), length))
    embedder = AlphaFoldEmbedder(tmp_path)
    for length, name in enumerate(names, 1):
        assert embedder.path(Protein(name, "X", "M" * length)) == tmp_path / f"{name}.npy"
        assert embedder.embed_proteins([Protein(name, "X", "M" * length)])[0].shape == (length, 2)


def test_a_changed_array_is_not_taken_from_the_cache(arrays, tmp_path):
    folder, values = arrays
    (before,) = embed_each([REB1], AlphaFoldEmbedder(folder), tmp_path / "cache")
    np.save(folder / "P1.npy", values["P1"] + 1)
    (after,) = embed_each([REB1], AlphaFoldEmbedder(folder), tmp_path / "cache")
    assert before != after
    np.testing.assert_array_equal(load_embedding(tmp_path / "cache", after), values["P1"] + 1)
    (other,) = embed_each([REB1], AlphaFoldEmbedder(folder, "multimer"), tmp_path / "cache")
    assert other != after


def test_a_further_factor_leaves_the_embedder_the_same(arrays, tmp_path):
    # Else a model could not serve factors that it was not trained on.
    folder, values = arrays
    abouts = []
    for i, proteins in enumerate(([REB1], [REB1, ABF1])):
        factors = [FactorInput(each.name, each.accession, each.sequence) for each in proteins]
        write_factor_set(tmp_path / f"set{i}", factors, AlphaFoldEmbedder(folder), tmp_path / "cache")
        opened = FactorSet.open(tmp_path / f"set{i}")
        abouts.append(opened.embedder)
        np.testing.assert_array_equal(opened.embedding("REB1"), values["P1"])
    assert abouts[0] == abouts[1] == {"name": "alphafold", "version": "single", "dim": 6}


def test_another_length_names_file_and_both_lengths(arrays):
    folder, _ = arrays
    with pytest.raises(InputError, match=r"P1\.npy.*the array of P1 has 5 rows, and the protein 6 residues"):
        AlphaFoldEmbedder(folder).given(Protein("P1", "REB1", "MKVLWW"))


def test_all_arrays_have_one_width(arrays, tmp_path):
    folder, values = arrays
    np.savez(folder / "P2-2.npz", single=values["P2-2"][:, :4])
    with pytest.raises(InputError, match=r"P2-2\.npz.*has 4 numbers a residue, and .*P1\.npy has 6"):
        embed_each([REB1, ABF1], AlphaFoldEmbedder(folder), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_what_is_not_there_or_there_twice_is_told(arrays, tmp_path):
    folder, _ = arrays
    embedder = AlphaFoldEmbedder(folder)
    with pytest.raises(
        InputError, match=r"there is no array of P9(?s:.*)mend: put it there, as P9\.npy or P9\.npz"
    ):
        embedder.given(Protein("P9", "X", "MKV"))
    # By the whole accession, and nothing like it: neither isoform nor beginning of a name.
    for accession in ("P2", "P3", "P3.4.safetensors", "p1"):
        with pytest.raises(InputError, match="there is no array of"):
            embedder.given(Protein(accession, "X", "MKV"))
    np.save(folder / "P2-2.npy", np.zeros((3, 6)))
    with pytest.raises(InputError, match=r"2 arrays of P2-2: P2-2\.npy, P2-2\.npz"):
        embedder.given(ABF1)
    with pytest.raises(InputError, match="cannot be a file's name"):
        embedder.given(Protein("../arrays/P1", "X", "MKVLW"))
    with pytest.raises(InputError, match="no such folder"):
        AlphaFoldEmbedder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="the folder has no arrays"):
        _ = AlphaFoldEmbedder(tmp_path / "empty").dim


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (np.zeros(5), r"is no matrix of finite numbers: shape \(5,\)"),
        (np.full((5, 6), np.nan), "is no matrix of finite numbers"),
        (np.full((5, 6), "x"), "is no matrix of finite numbers"),
        (np.full((5, 6), None), "this is no whole array"),  # objects are a pickle
        (b"rubbish", "this is no whole array"),
    ],
)
def test_what_is_no_array_is_told(arrays, content, says):
    folder, _ = arrays
    if isinstance(content, bytes):
        (folder / "P1.npy").write_bytes(content)
    else:
        np.save(folder / "P1.npy", content, allow_pickle=True)
    with pytest.raises(InputError, match=rf"P1\.npy.*{says}"):
        AlphaFoldEmbedder(folder).given(REB1)


def test_a_file_without_the_array_is_told(arrays):
    folder, values = arrays
    np.savez(folder / "P2-2.npz", pair=values["P2-2"])
    save_file({"pair": values["P3.4"]}, folder / "P3.4.safetensors")
    for protein in (ABF1, GAL4):
        with pytest.raises(InputError, match=r"has no array 'single'"):
            AlphaFoldEmbedder(folder).given(protein)
