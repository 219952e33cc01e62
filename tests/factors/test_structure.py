from __future__ import annotations

import numpy as np
import pytest

from tests.factors.structures import nucleotide, peptide, write_structure
from tfbind.core.errors import InputError
from tfbind.factors.proteins import Protein
from tfbind.factors.structure import COLUMNS, PartOfProtein, StructureFeatures, residue_features

SEQUENCE = "MKVLAWHCGDE"
PROTEIN = Protein("P1", "REB1", SEQUENCE)
RANDOM = np.random.default_rng(5)
PHI, PSI = RANDOM.uniform(-170, 170, size=(2, len(SEQUENCE)))
OMEGA = RANDOM.choice([180.0, 175.0, 5.0], size=len(SEQUENCE))
PLDDT = np.linspace(30, 98, len(SEQUENCE))
ENDINGS = (".cif", ".pdb", ".cif.gz", ".pdb.gz")


def chain(sequence=SEQUENCE, **settings):
    return peptide(sequence, PHI, PSI, OMEGA, **{"plddt": PLDDT[: len(sequence)], **settings})


def columns(features: np.ndarray) -> dict[str, np.ndarray]:
    assert features.dtype == np.float32 and features.shape[1] == len(COLUMNS)
    return dict(zip(COLUMNS, features.T, strict=True))


def features_of(tmp_path, atoms, protein=PROTEIN, name="s.cif", **settings):
    return columns(residue_features(write_structure(tmp_path / name, atoms), protein, **settings))


@pytest.mark.parametrize("ending", ENDINGS)
def test_known_geometry_is_found_in_every_format(tmp_path, ending):
    found = features_of(tmp_path, chain(), name=f"s{ending}")
    for name, angle, defined in (
        ("phi", PHI, slice(1, None)),
        ("psi", PSI, slice(None, -1)),
        ("omega", OMEGA, slice(None, -1)),
    ):
        for function in (np.sin, np.cos):
            expected = np.zeros(len(SEQUENCE))
            expected[defined] = function(np.radians(angle))[defined]
            # Files hold three decimals of an angstrom.
            np.testing.assert_allclose(found[f"{name}_{function.__name__}"], expected, atol=5e-3)
    np.testing.assert_array_equal(found["backbone"], [0, *[1] * (len(SEQUENCE) - 2), 0])
    np.testing.assert_allclose(found["plddt"], PLDDT / 100, atol=1e-4)
    np.testing.assert_array_equal(found["known"], 1)
    np.testing.assert_array_equal(found["dna_known"], 0)
    np.testing.assert_array_equal(found["near_dna"], 0)


def test_angles_are_biotites(tmp_path):
    import biotite.structure as structure

    atoms = chain()
    found = features_of(tmp_path, atoms)
    for name, angle in zip(("phi", "psi", "omega"), structure.dihedral_backbone(atoms), strict=True):
        there = np.isfinite(angle)
        np.testing.assert_allclose(
            np.arctan2(found[f"{name}_sin"], found[f"{name}_cos"])[there] % (2 * np.pi),
            angle[there] % (2 * np.pi),
            atol=5e-3,
        )
    # Each pair also equals biotite's plain dihedral of the four atoms.
    n, ca, c = (atoms.coord[atoms.atom_name == name] for name in ("N", "CA", "C"))
    phi = structure.dihedral(c[:-1], n[1:], ca[1:], c[1:])
    np.testing.assert_allclose(found["phi_sin"][1:], np.sin(phi), atol=5e-3)


def test_burial_counts_the_other_ca_atoms_around(tmp_path):
    atoms = chain()
    ca = atoms.coord[atoms.atom_name == "CA"]
    distances = np.linalg.norm(ca[:, None] - ca[None], axis=-1)
    expected = (distances <= 10).sum(axis=1) - 1
    assert len(set(expected)) > 1
    np.testing.assert_allclose(features_of(tmp_path, atoms)["burial"], expected / 40, atol=1e-6)


def test_near_dna_is_told_where_there_is_dna(tmp_path):
    atoms = chain()
    third = atoms.coord[(atoms.res_id == 3) & (atoms.atom_name == "CA")][0]
    point = third + np.array([0.0, 0.0, 3.0])
    for distance in (3.5, 5.0, 8.0):
        found = features_of(tmp_path, atoms + nucleotide(point), dna_distance=distance)
        gaps = np.linalg.norm(atoms.coord - point, axis=1).reshape(-1, 3).min(axis=1)
        np.testing.assert_array_equal(found["near_dna"], gaps <= distance)
        np.testing.assert_array_equal(found["dna_known"], 1)
        assert found["near_dna"][2] == 1
        assert distance > 5 or not found["near_dna"].all()
    # DNA that is far away is known, and near nothing.
    found = features_of(tmp_path, atoms + nucleotide([500.0, 0, 0]))
    assert found["dna_known"].all() and not found["near_dna"].any()


def test_rna_water_and_hydrogens_are_no_dna(tmp_path):
    atoms = chain()
    point = atoms.coord[4] + [0.0, 0.0, 2.0]
    for other in (
        nucleotide(point, name="A"),
        nucleotide(point, name="HOH", atom="O"),
        nucleotide(point, atom="H1") + nucleotide([500.0, 0, 0], number=2),
    ):
        assert not features_of(tmp_path, atoms + other)["near_dna"].any()
    assert features_of(tmp_path, atoms + nucleotide(point, name="5CM"))["near_dna"].any()  # methylated cytosine


def test_the_chain_of_the_protein_is_found_among_others(tmp_path):
    other = chain("MKVGG", chain="A", plddt=[10] * 5)
    found = features_of(tmp_path, other + chain(chain="B"))
    np.testing.assert_allclose(found["plddt"], PLDDT / 100, atol=1e-4)


def test_modified_and_uncertain_residues_fit(tmp_path):
    atoms = chain()
    atoms.res_name[atoms.res_id == 1] = "MSE"
    assert features_of(tmp_path, atoms, Protein("P1", "REB1", "MKXLAWHCGDE"))["known"].all()


def test_angles_end_where_the_chain_is_broken(tmp_path):
    atoms = chain()
    atoms.coord[atoms.res_id > 5] += [30.0, 0, 0]
    found = features_of(tmp_path, atoms)
    np.testing.assert_array_equal(found["backbone"], [0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0])
    assert found["psi_sin"][4] == found["psi_cos"][4] == found["phi_cos"][5] == found["omega_cos"][4] == 0
    assert found["phi_cos"][4] != 0 and found["psi_cos"][5] != 0


def test_residues_that_lack_atoms_keep_their_place(tmp_path):
    atoms = chain()
    found = features_of(tmp_path, atoms[~((atoms.res_id == 4) & (atoms.atom_name == "CA"))])
    assert found["burial"][3] == 0 and found["backbone"][3] == 0 and found["known"][3] == 1
    assert len(found["known"]) == len(SEQUENCE)


@pytest.mark.parametrize(
    ("sequence", "says"),
    [
        ("MKVLGWHCGDE", r"the first residue that differs is A5, and P1 has G5 \(11 and 11 residues\)"),
        ("MKVLAWHCGD", r"the first residue that differs is E11, and the protein ends there"),
        ("WKVLAWHCGDEEEE", r"the first residue that differs is M1, and P1 has W1"),
    ],
)
def test_a_structure_of_another_sequence_names_the_first_residue_that_differs(tmp_path, sequence, says):
    path = write_structure(tmp_path / "s.cif", chain())
    for required in (True, False):
        with pytest.raises(InputError, match=rf"s\.cif.*is of another protein than P1: {says}"):
            StructureFeatures(required=required).features(Protein("P1", "REB1", sequence), path)


def test_a_part_of_a_protein_is_an_error_unless_none_is_required(tmp_path):
    path = write_structure(tmp_path / "s.cif", chain())
    longer = Protein("P1", "REB1", f"{SEQUENCE}RK")
    with pytest.raises(PartOfProtein, match=r"has 11 of the 13 residues of P1: the first that is missing is R12"):
        StructureFeatures().features(longer, path)
    features, checksum = StructureFeatures(required=False).features(longer, path)
    assert features.shape == (13, len(COLUMNS)) and not features.any() and checksum is None


def test_a_missing_structure_is_an_error_unless_none_is_required(tmp_path):
    with pytest.raises(
        InputError, match=r"no structure of P1 \(REB1\)(?s:.*)AF-P1-F1-model_v4\.cif.*required: false"
    ):
        StructureFeatures(tmp_path).features(PROTEIN)
    features, checksum = StructureFeatures(tmp_path, required=False).features(PROTEIN)
    assert features.shape == (len(SEQUENCE), len(COLUMNS)) and not features.any() and checksum is None


def test_structures_are_looked_up_by_whole_accessions(tmp_path):
    settings = StructureFeatures(tmp_path, model_version=6)
    for name in ("AF-P1-2-F1-model_v6.cif", "AF-P1-F2-model_v6.cif", "AF-P1-F1-model_v4.cif", "P1.2.cif"):
        write_structure(tmp_path / name, chain())
    with pytest.raises(InputError, match="there is no structure of P1"):
        settings.path(PROTEIN)
    published = write_structure(tmp_path / "AF-P1-F1-model_v6.pdb.gz", chain())
    assert settings.path(PROTEIN) == published
    assert settings.path(Protein("P1-2", "X", SEQUENCE)) == tmp_path / "AF-P1-2-F1-model_v6.cif"
    own = write_structure(tmp_path / "P1.cif", chain())
    assert settings.path(PROTEIN) == own
    assert settings.path(PROTEIN, given=published) == published
    with pytest.raises(InputError, match="cannot be a file's name"):
        settings.path(Protein("../P1", "X", SEQUENCE))


def test_b_factors_that_are_no_confidence_are_told(tmp_path):
    plddt = PLDDT.copy()
    plddt[2] = 140
    with pytest.raises(InputError, match=r"residue VAL 3 has the B-factor 140, no pLDDT"):
        features_of(tmp_path, chain(plddt=plddt))


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_files_are_told(tmp_path, ending):
    path = write_structure(tmp_path / f"s{ending}", chain())
    whole = path.read_bytes()
    for damaged in (b"", b"rubbish", whole[: len(whole) // 3]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=rf"s{ending}"):
            residue_features(path, PROTEIN)


def test_other_files_are_told(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        residue_features(tmp_path / "none.cif", PROTEIN)
    with pytest.raises(InputError, match="the format of this structure is not told by its name"):
        residue_features(tmp_path / "s.bcif", PROTEIN)
    with pytest.raises(InputError, match="has no protein"):
        residue_features(write_structure(tmp_path / "dna.cif", nucleotide([0.0, 0, 0])), PROTEIN)


def test_a_missing_biotite_is_told(tmp_path, monkeypatch):
    import sys

    path = write_structure(tmp_path / "s.cif", chain())
    for name in [name for name in sys.modules if name.split(".")[0] == "biotite"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"package biotite is needed(?s:.*)mend: install it"):
        residue_features(path, PROTEIN)
