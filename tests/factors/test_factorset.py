from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from tfbind.core.errors import InputError
from tfbind.factors.factorset import FactorInput, FactorSet, write_factor_set
from tfbind.factors.motifs import Motif, read_meme, resolve_motif
from tfbind.factors.physicochemical import PhysicochemicalEmbedder
from tfbind.factors.proteins import read_proteins, sequence_sha256

MOTIF = Motif("M1", "ONE", np.array([[0.7, 0.1, 0.1, 0.1], [0, 1, 0, 0]]))
FACTORS = [
    FactorInput("REB1", "P21538", "MKVLW", MOTIF),
    FactorInput("ABF1", "P14164", "mkv*", None),
    FactorInput("GAL4", None, None, MOTIF),
    FactorInput("TWIN", None, "MKVLW", None),
]


@pytest.fixture
def written(tmp_path):
    write_factor_set(tmp_path / "set", FACTORS, PhysicochemicalEmbedder(), tmp_path / "cache")
    return tmp_path / "set"


def test_what_goes_in_comes_out(written):
    factors, embedder = FactorSet.open(written), PhysicochemicalEmbedder()
    assert factors.names == ["REB1", "ABF1", "GAL4", "TWIN"]
    assert len(factors) == 4
    assert factors.embedder == {"name": embedder.name, "version": embedder.version, "dim": embedder.dim}
    assert factors.dim == embedder.dim
    assert [factors.index(name) for name in factors.names] == [0, 1, 2, 3]
    np.testing.assert_array_equal(factors.embedding("REB1"), embedder.embed(["MKVLW"])[0])
    np.testing.assert_array_equal(factors.embedding("TWIN"), factors.embedding("REB1"))
    np.testing.assert_array_equal(factors.embedding("ABF1"), embedder.embed(["MKV"])[0])
    assert factors.embedding("GAL4") is None
    assert factors.motif("ABF1") is None
    np.testing.assert_array_equal(factors.motif("GAL4").probabilities, MOTIF.probabilities)


def test_the_folder_tells_what_it_holds(written):
    content = json.loads((written / "factors.json").read_text())
    first, _, third, last = content["factors"]
    assert first["uniprot"] == "P21538"
    assert first["length"] == 5
    assert first["sequence_sha256"] == sequence_sha256("MKVLW")
    assert first["motif"] == "M1"
    assert first["embedding"] == last["embedding"]
    assert (third["length"], third["embedding"]) == (None, None)
    assert sorted(path.name for path in written.iterdir()) == [
        "embeddings.safetensors",
        "factors.json",
        "motifs.meme",
    ]


def test_it_needs_no_cache_once_written(written):
    for path in (written.parent / "cache").iterdir():
        path.unlink()
    assert FactorSet.open(written).embedding("REB1").shape == (5, 28)


def test_equal_input_gives_equal_bytes_and_checksum(written, tmp_path):
    write_factor_set(tmp_path / "again", FACTORS, PhysicochemicalEmbedder(), tmp_path / "cache2")
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert FactorSet.open(written).checksum == FactorSet.open(tmp_path / "again").checksum
    write_factor_set(tmp_path / "again", FACTORS[::-1], PhysicochemicalEmbedder(), tmp_path / "cache2")
    assert FactorSet.open(written).checksum != FactorSet.open(tmp_path / "again").checksum


@pytest.mark.parametrize("factors", [FACTORS[1:2], FACTORS[2:3]])
def test_proteins_alone_and_motifs_alone(tmp_path, factors):
    write_factor_set(tmp_path / "set", factors, PhysicochemicalEmbedder(), tmp_path / "cache")
    opened = FactorSet.open(tmp_path / "set")
    (name,) = opened.names
    assert (opened.embedding(name) is None) == (factors[0].sequence is None)
    assert (opened.motif(name) is None) == (factors[0].motif is None)
    assert opened.dim == 28


def test_unknown_factor_lists_near_names(written):
    factors = FactorSet.open(written)
    with pytest.raises(InputError, match=r"no factor 'reb11'(?s:.*)did you mean REB1"):
        factors.index("reb11")
    with pytest.raises(InputError, match=r"it has REB1, ABF1"):
        factors.embedding("zzzzzz")


def test_a_factor_needs_a_protein_or_a_motif():
    with pytest.raises(InputError, match=r"factor REB1 has neither a protein sequence nor a motif(?s:.*)mend"):
        FactorInput("REB1", "P21538", None, None)
    with pytest.raises(InputError, match="protein REB1 has '-' at position 1"):
        FactorInput("REB1", None, "-", None)


def test_lists_that_make_no_set(tmp_path):
    def write(factors):
        write_factor_set(tmp_path / "set", factors, PhysicochemicalEmbedder(), tmp_path / "cache")

    with pytest.raises(InputError, match="no factors"):
        write([])
    with pytest.raises(InputError, match="factor ABF1 is there twice"):
        write([FACTORS[1], FACTORS[1]])
    other = Motif("M1", "ONE", np.full((2, 4), 0.25))
    with pytest.raises(InputError, match="two different motifs have the id M1"):
        write([FACTORS[0], FactorInput("X", None, None, other)])
    assert not (tmp_path / "set").exists()


def test_broken_folders(written):
    (written / "embeddings.safetensors").write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"embeddings\.safetensors.*factor REB1"):
        FactorSet.open(written).embedding("REB1")
    (written / "factors.json").write_text("{}")
    with pytest.raises(InputError, match="this is no factor set"):
        FactorSet.open(written)
    (written / "motifs.meme").unlink()
    with pytest.raises(InputError, match=r"motifs\.meme: this factor set is not whole"):
        FactorSet.open(written)


def test_real_yeast_factors(yeast, tmp_path):
    proteins = read_proteins([yeast / "proteins.fa"])
    meme = read_meme(yeast / "motifs" / "jaspar2024_yeast.meme")
    with (yeast / "factors.tsv").open() as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    factors = [
        FactorInput(
            row["factor"],
            row["uniprot"],
            proteins[row["uniprot"]].sequence if row["uniprot"] in proteins else None,
            resolve_motif(row["jaspar_motif"], meme, "JASPAR2024") if row["jaspar_motif"] else None,
        )
        for row in rows
    ]
    write_factor_set(tmp_path / "set", factors, PhysicochemicalEmbedder(), tmp_path / "cache")
    opened = FactorSet.open(tmp_path / "set")
    assert len(opened) == 70
    assert opened.motif("REB1").identifier == "MA0363.3"
    assert opened.embedding("REB1").shape == (810, opened.dim)
