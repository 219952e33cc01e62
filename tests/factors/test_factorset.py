from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.factors.checkpoints import write_esm2
from tests.factors.structures import peptide, write_structure
from tfbind.core.errors import InputError
from tfbind.factors.factorset import FactorInput, FactorSet, write_factor_set
from tfbind.factors.fair_esm import Esm2Embedder
from tfbind.factors.motifs import Motif, read_meme, resolve_motif
from tfbind.factors.physicochemical import PhysicochemicalEmbedder
from tfbind.factors.proteins import read_proteins, sequence_sha256
from tfbind.factors.regions import Region
from tfbind.factors.structure import COLUMNS, StructureFeatures

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


# --- complexes, structures, regions ---

JUN, FOS = "MTAKMETTFYDD", "MMFSGFNADYEASS"
AP1 = FactorInput("AP1", "P05412;P01100", f"{JUN} ; {FOS.lower()}", MOTIF)


def write(folder, factors, **settings):
    write_factor_set(folder / "set", factors, PhysicochemicalEmbedder(), folder / "cache", **settings)
    return FactorSet.open(folder / "set")


def test_the_proteins_of_a_complex_follow_one_another(tmp_path):
    opened = write(tmp_path, [AP1, FactorInput("JUN", "P05412", JUN)])
    jun, fos = PhysicochemicalEmbedder().embed([JUN, FOS])
    np.testing.assert_array_equal(opened.embedding("AP1"), np.concatenate([jun, fos]))
    np.testing.assert_array_equal(opened.embedding("JUN"), jun)
    assert len(list((tmp_path / "cache").iterdir())) == 2  # each protein is embedded by itself, and once
    first, second = opened.entries[0]["proteins"]
    assert (first["accession"], first["rows"], first["residues"]) == ("P05412", [0, 12], [[0, 12]])
    assert (second["accession"], second["rows"], second["length"]) == ("P01100", [12, 26], 14)
    assert opened.entries[0]["length"] == 26
    assert opened.entries[0]["sequence_sha256"] == f"{sequence_sha256(JUN)};{sequence_sha256(FOS)}"


def test_the_order_of_a_complex_matters(tmp_path):
    turned = FactorInput("1PA", "P01100;P05412", f"{FOS};{JUN}")
    opened = write(tmp_path, [AP1, turned])
    np.testing.assert_array_equal(opened.embedding("1PA"), np.roll(opened.embedding("AP1"), 14, axis=0))


def test_proteins_without_accessions_go_by_their_factors_names():
    assert [each.accession for each in FactorInput("X", None, "MK;MV").proteins] == ["X.1", "X.2"]
    assert [each.accession for each in FactorInput("X", None, "MK").proteins] == ["X"]
    assert FactorInput("X", "P05412", None, MOTIF).proteins == ()


def test_lists_of_a_complex_that_do_not_fit():
    with pytest.raises(InputError, match="factor X has 2 accessions and 1 sequences"):
        FactorInput("X", "P1;P2", "MKV")
    with pytest.raises(InputError, match="protein X has an empty sequence"):
        FactorInput("X", "P1;P2", "MKV;")
    with pytest.raises(InputError, match="has 3 structures and 2 proteins"):
        FactorInput("X", "P1;P2", "MKV;MV", structures=(Path("a"), Path("b"), Path("c")))


def straight(sequence, **settings):
    angles = np.full((3, len(sequence)), 180.0) + np.arange(len(sequence))
    return peptide(sequence, *angles, **settings)


def test_features_of_structures_are_further_columns(tmp_path):
    write_structure(tmp_path / "models" / "AF-P05412-F1-model_v4.cif.gz", straight(JUN, plddt=[70] * 12))
    structure = StructureFeatures(tmp_path / "models", required=False)
    opened = write(tmp_path, [AP1, FactorInput("FOS", "P01100", FOS)], structure=structure)
    jun, fos = PhysicochemicalEmbedder().embed([JUN, FOS])
    values = opened.embedding("AP1")
    assert opened.dim == values.shape[1] == 28 + len(COLUMNS)
    np.testing.assert_array_equal(values[:, :28], np.concatenate([jun, fos]))
    expected, _ = structure.features(AP1.proteins[0])
    np.testing.assert_array_equal(values[:12, 28:], expected)
    assert expected[:, list(COLUMNS).index("plddt")] == pytest.approx(0.7)
    assert not values[12:, 28:].any() and not opened.embedding("FOS")[:, 28:].any()
    assert opened.embedder["structure"]["columns"] == list(COLUMNS)
    assert opened.entries[0]["proteins"][1]["structure_sha256"] is None


def test_one_file_may_hold_a_whole_complex(tmp_path):
    both = straight(JUN, chain="A", plddt=[70] * 12) + straight(FOS, chain="B", plddt=[60] * 14)
    path = write_structure(tmp_path / "ap1.cif", both)
    factor = FactorInput("AP1", AP1.uniprot, AP1.sequence, structures=(path,))
    values = write(tmp_path, [factor], structure=StructureFeatures()).embedding("AP1")
    plddt = values[:, 28 + list(COLUMNS).index("plddt")]
    np.testing.assert_allclose(plddt, [0.7] * 12 + [0.6] * 14, atol=1e-6)


def test_keys_follow_structures_and_regions(tmp_path):
    path = write_structure(tmp_path / "models" / "P05412.cif", straight(JUN))
    factors, structure = [FactorInput("JUN", "P05412", JUN)], StructureFeatures(tmp_path / "models")
    keys = [write(tmp_path, factors).entries[0]["embedding"]]
    keys.append(write(tmp_path, factors, structure=structure).entries[0]["embedding"])
    write_structure(path, straight(JUN, plddt=[50] * 12))
    keys.append(write(tmp_path, factors, structure=structure).entries[0]["embedding"])
    region = Region("domain", 0, {"P05412": [(2, 5)]})
    keys.append(write(tmp_path, factors, region=region).entries[0]["embedding"])
    keys.append(write(tmp_path, factors, region=region, structure=structure).entries[0]["embedding"])
    assert len(set(keys)) == 5
    # A region that is all of the protein changes nothing.
    everything = Region("domain", 0, {"P05412": [(0, 12)]})
    assert write(tmp_path, factors, region=everything).entries[0]["embedding"] == keys[0]


def test_a_protein_is_cut_after_it_was_embedded_whole(tmp_path):
    path = write_esm2(tmp_path / "weights")
    sequence = "MKVLAADEFGHWCCHHRKRKST"
    domains = {"P1": [(3, 6), (10, 14)]}
    embedder = Esm2Embedder(checkpoint=path)
    for kind, flank, kept in (
        ("domain", 9, [3, 4, 5, 10, 11, 12, 13]),
        ("domain_with_flank", 1, [2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14]),
    ):
        region = Region(kind, flank, domains)
        factors = [FactorInput("X", "P1", sequence)]
        write_factor_set(tmp_path / "set", factors, embedder, tmp_path / "cache", region=region)
        opened = FactorSet.open(tmp_path / "set")
        whole = embedder.embed([sequence])[0].astype(np.float16)
        np.testing.assert_array_equal(opened.embedding("X"), whole[kept])
        assert opened.entries[0]["length"] == len(kept)
        assert opened.entries[0]["proteins"][0]["length"] == len(sequence)
        assert opened.embedder["region"] == kind
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_isoforms_are_the_ones_that_are_given(tmp_path):
    factors = [FactorInput("A", "P05412", JUN), FactorInput("B", "P05412-2", JUN[3:])]
    for _ in range(3):
        opened = write(tmp_path, factors)
        assert [entry["sequence_sha256"] for entry in opened.entries] == [
            sequence_sha256(JUN),
            sequence_sha256(JUN[3:]),
        ]
