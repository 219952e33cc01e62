"""What a protein's structure says of each residue: confidence, backbone, burial, and nearness to DNA.

Structures are mmCIF or PDB files, plain or gzipped, such as those of the AlphaFold Database (Varadi et al.,
Nucleic Acids Res. 52:D368, 2024); biotite reads them. `COLUMNS` tells what each column of the features means.
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import sha256_file
from tfbind.core.optional import load_optional
from tfbind.factors.proteins import Protein

if TYPE_CHECKING:
    from biotite.structure import AtomArray

COLUMNS: dict[str, str] = {
    "known": "1 where the residue is in a structure; all else is 0 where it is not",
    "plddt": "confidence of the model, 0 to 1: the file's B-factor column over 100",
    "phi_sin": "sine of the backbone angle phi (C before, N, CA, C); 0 where it is not defined",
    "phi_cos": "cosine of phi; 0 where it is not defined",
    "psi_sin": "sine of psi (N, CA, C, N after)",
    "psi_cos": "cosine of psi",
    "omega_sin": "sine of omega (CA, C, N after, CA after)",
    "omega_cos": "cosine of omega",
    "backbone": "1 where all three angles are defined: not at the ends, nor where atoms are missing",
    "burial": "other CA atoms within 10 angstrom, over 40 (about what the core of a domain has)",
    "dna_known": "1 where the structure has DNA, so that the next column means something",
    "near_dna": "1 where an atom of the residue (no hydrogen) is within the given distance of one of the DNA",
}
VERSION = 1
"""Changes whenever the numbers do."""

BURIAL_RADIUS = 10.0  # angstrom
BURIAL_SCALE = 40.0
# N to C of two bonded residues: 1.33 angstrom; further apart, residues are missing between them.
_LONGEST_PEPTIDE_BOND = 2.0
_MODIFIED = {"MSE": "M", "SEP": "S", "TPO": "T", "PTR": "Y", "CSO": "C", "HYP": "P", "SEC": "U", "PYL": "O"}
_AMBIGUOUS = frozenset("XBZJ")
_FORMATS = (".cif", ".pdb", ".cif.gz", ".pdb.gz")
_KEY = "factors.structure"


@dataclass(frozen=True)
class StructureFeatures:
    """Where structures lie, and how features are made of them.

    Attributes
    ----------
    folder
        Has structures by accession: `ACCESSION.cif`, or as the AlphaFold Database calls them
        (`AF-ACCESSION-F1-model_v4.cif`), .cif or .pdb, plain or .gz.
    model_version
        The `v4` of those names.
    dna_distance
        In angstrom; see `near_dna` in `COLUMNS`.
    required
        Whether a protein without a whole structure is an error; else its features are 0.
    """

    folder: Path | None = None
    model_version: int = 4
    dna_distance: float = 5.0
    required: bool = True

    @property
    def about(self) -> dict[str, Any]:
        """What changes the numbers, beside the files."""
        return {"version": VERSION, "dna_distance": self.dna_distance, "columns": list(COLUMNS)}

    def path(self, protein: Protein, given: Path | None = None) -> Path | None:
        """A protein's structure: the file that was given for it, or one of the folder, or None.

        Raises
        ------
        InputError
            It has none, and one is required.
        """
        if given is not None:
            return given
        names = structure_names(protein.accession, self.model_version)
        found = [path for name in names if self.folder is not None and (path := self.folder / name).is_file()]
        if found:
            return found[0]
        if not self.required:
            return None
        where = {"file": self.folder, "key": f"{_KEY}.folder"} if self.folder else {"key": _KEY}
        raise InputError(
            f"there is no structure of {protein.accession} ({protein.name})",
            **where,
            mend=f"put it there as {names[-4]}, name it in the column `structure` of the factors' table, "
            f"or set {_KEY}.required: false",
        )

    def features(self, protein: Protein, given: Path | None = None) -> tuple[np.ndarray, str | None]:
        """The features of a protein, (L, 12) float32, and the checksum of the file they come from.

        Raises
        ------
        InputError
            No structure, or one of another sequence or of a part of the protein; see `residue_features`.
        """
        path = self.path(protein, given)
        nothing = np.zeros((len(protein.sequence), len(COLUMNS)), dtype=np.float32)
        if path is None:
            return nothing, None
        try:
            return residue_features(path, protein, dna_distance=self.dna_distance), sha256_file(path)
        except PartOfProtein:
            if self.required:
                raise
            return nothing, None


class PartOfProtein(InputError):
    """A structure that begins as the protein does, and lacks residues: one fragment of several, say."""


def structure_names(accession: str, model_version: int) -> list[str]:
    """File names that a structure may have, the first of them first: the user's own, then AlphaFold's."""
    if Path(accession).name != accession:
        raise InputError(
            f"'{accession}' cannot be a file's name", key=_KEY, mend="give the protein another accession"
        )
    stems = (accession, f"AF-{accession}-F1-model_v{model_version}")
    return [f"{stem}{ending}" for stem in stems for ending in _FORMATS]


def residue_features(path: Path, protein: Protein, *, dna_distance: float = 5.0) -> np.ndarray:
    """The features of each residue of a protein, from a structure that has all of it.

    Parameters
    ----------
    path
        mmCIF or PDB, plain or gzipped; the first model counts. It may have other chains, and DNA.
    protein
        Its sequence; of several protein chains, the first that has it is taken.
    dna_distance
        In angstrom.

    Returns
    -------
    numpy.ndarray
        (L, 12) float32, in the order of `COLUMNS`.

    Raises
    ------
    InputError
        No such file or a damaged one; no protein in it; another sequence (the first residue that differs is
        named); B-factors that are no pLDDT.
    PartOfProtein
        It lacks residues of the protein.
    """
    atoms = read_structure(path)
    structure = load_optional("biotite.structure", package="biotite", key=_KEY)
    chain = _chain_of(atoms, protein, path)
    starts = structure.get_residue_starts(chain)
    n, ca, c = (_coordinates(chain, starts, name) for name in ("N", "CA", "C"))
    columns = dict.fromkeys(COLUMNS, np.zeros(len(starts)))
    columns["known"] = np.ones(len(starts))
    columns["plddt"] = _confidence(chain, starts, path)
    columns |= _backbone(chain, n, c)
    columns["burial"] = (_counts(ca, ca, BURIAL_RADIUS) - np.isfinite(ca).all(axis=1)) / BURIAL_SCALE
    dna = atoms.coord[_is_dna(atoms.res_name)]
    if len(dna):
        near = _counts(dna, chain.coord, dna_distance) > 0
        columns["dna_known"] = np.ones(len(starts))
        columns["near_dna"] = structure.apply_residue_wise(chain, near, np.any)
    return np.stack(list(columns.values()), axis=1).astype(np.float32)


def read_structure(path: Path) -> AtomArray:
    """The atoms of a structure's first model, without hydrogens, with their B-factors.

    Raises
    ------
    InputError
        No such file, another format, or a damaged one.
    """
    ending = next((ending for ending in _FORMATS if path.name.endswith(ending)), None)
    if ending is None or not path.is_file():
        raise InputError(
            "there is no such file" if ending else "the format of this structure is not told by its name",
            file=path,
            key=_KEY,
            mend="check the path" if ending else f"give a file that ends in {', '.join(_FORMATS)}",
        )
    pdbx = load_optional("biotite.structure.io.pdbx", package="biotite", key=_KEY)
    pdb = load_optional("biotite.structure.io.pdb", package="biotite", key=_KEY)
    try:
        opener = gzip.open if ending.endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8") as handle:
            text = io.StringIO(handle.read())
        if ending.startswith(".cif"):
            atoms = pdbx.get_structure(pdbx.CIFFile.read(text), model=1, extra_fields=["b_factor"])
        else:
            atoms = pdb.PDBFile.read(text).get_structure(model=1, extra_fields=["b_factor"])
    except (EOFError, zlib.error, OSError, UnicodeDecodeError, *_biotite_errors()) as error:
        raise InputError(
            f"this structure cannot be read ({_first_line(error)})",
            file=path,
            key=_KEY,
            mend="fetch it again; mmCIF files end in .cif, PDB files in .pdb",
        ) from error
    return atoms[~np.isin(atoms.element, ("H", "D"))]


def _biotite_errors() -> tuple[type[Exception], ...]:
    from biotite import InvalidFileError
    from biotite.file import DeserializationError
    from biotite.structure import BadStructureError

    return InvalidFileError, DeserializationError, BadStructureError, ValueError, KeyError, IndexError


def _chain_of(atoms: AtomArray, protein: Protein, path: Path) -> AtomArray:
    """The first chain with the protein's sequence."""
    structure = load_optional("biotite.structure", package="biotite", key=_KEY)
    peptide = atoms[structure.filter_amino_acids(atoms)]
    chains = [peptide[peptide.chain_id == name] for name in dict.fromkeys(peptide.chain_id.tolist())]
    if not chains:
        raise InputError("has no protein", file=path, key=_KEY, mend=f"give the structure of {protein.accession}")
    sequences = [_letters(chain) for chain in chains]
    for chain, sequence in zip(chains, sequences, strict=True):
        if first_difference(sequence, protein.sequence) is None:
            return chain
    # The most alike is most likely the one that is meant.
    likeness = [_likeness(sequence, protein.sequence) for sequence in sequences]
    raise _not_the_same(sequences[int(np.argmax(likeness))], protein, path)


def first_difference(found: str, expected: str) -> int | None:
    """Where two sequences first differ, from 0, or None. A residue that is not certain differs from none."""
    for at, (a, b) in enumerate(zip(found, expected, strict=False)):
        if a != b and a not in _AMBIGUOUS and b not in _AMBIGUOUS:
            return at
    return None if len(found) == len(expected) else min(len(found), len(expected))


def _likeness(found: str, expected: str) -> int:
    at = first_difference(found, expected)
    return len(expected) if at is None else at


def _not_the_same(found: str, protein: Protein, path: Path) -> InputError:
    expected = protein.sequence
    at = first_difference(found, expected)
    assert at is not None
    if at == len(found):
        return PartOfProtein(
            f"has {len(found)} of the {len(expected)} residues of {protein.accession}: the first that is missing "
            f"is {expected[at]}{at + 1}",
            file=path,
            key=_KEY,
            mend="give a structure of the whole protein (the AlphaFold Database cuts very long ones), "
            f"or set {_KEY}.required: false",
        )
    has = f"{protein.accession} has {expected[at]}{at + 1}" if at < len(expected) else "the protein ends there"
    return InputError(
        f"is of another protein than {protein.accession}: the first residue that differs is {found[at]}{at + 1}, "
        f"and {has} ({len(found)} and {len(expected)} residues)",
        file=path,
        key=_KEY,
        mend="give the structure of this very sequence; residues are counted in the order of the file",
    )


def _letters(chain: AtomArray) -> str:
    structure = load_optional("biotite.structure", package="biotite", key=_KEY)
    info = load_optional("biotite.structure.info", package="biotite", key=_KEY)
    names = structure.get_residues(chain)[1].tolist()
    return "".join(_MODIFIED.get(name) or info.one_letter_code(name) or "X" for name in names)


def _confidence(chain: AtomArray, starts: np.ndarray, path: Path) -> np.ndarray:
    """pLDDT of each residue, 0 to 1."""
    structure = load_optional("biotite.structure", package="biotite", key=_KEY)
    values = structure.apply_residue_wise(chain, chain.b_factor, np.mean)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 100)))
    if len(wrong):
        residue = chain[starts[wrong[0]]]
        raise InputError(
            f"residue {residue.res_name} {residue.res_id} has the B-factor {values[wrong[0]]:g}, no pLDDT",
            file=path,
            key=_KEY,
            mend="give a model whose B-factors are its confidence, 0 to 100, as AlphaFold writes them",
        )
    return values / 100


def _coordinates(chain: AtomArray, starts: np.ndarray, name: str) -> np.ndarray:
    """Where the atom of this name is in each residue, (L, 3) in angstrom; NaN where there is none."""
    found = np.full((len(starts), 3), np.nan)
    # From the last to the first, so that the first of several counts.
    for at in np.flatnonzero(chain.atom_name == name)[::-1]:
        found[np.searchsorted(starts, at, side="right") - 1] = chain.coord[at]
    return found


def _backbone(chain: AtomArray, n: np.ndarray, c: np.ndarray) -> dict[str, np.ndarray]:
    """Sines and cosines of phi, psi and omega; 0 where an angle is not defined."""
    structure = load_optional("biotite.structure", package="biotite", key=_KEY)
    phi, psi, omega = (np.array(angle, dtype=float) for angle in structure.dihedral_backbone(chain))
    # biotite goes on over gaps in the chain.
    broken = ~(np.linalg.norm(n[1:] - c[:-1], axis=1) <= _LONGEST_PEPTIDE_BOND)
    phi[1:][broken] = psi[:-1][broken] = omega[:-1][broken] = np.nan
    columns = {}
    for name, angle in (("phi", phi), ("psi", psi), ("omega", omega)):
        columns[f"{name}_sin"] = np.nan_to_num(np.sin(angle))
        columns[f"{name}_cos"] = np.nan_to_num(np.cos(angle))
    return columns | {"backbone": np.isfinite(phi) & np.isfinite(psi) & np.isfinite(omega)}


def _counts(points: np.ndarray, around: np.ndarray, radius: float) -> np.ndarray:
    """How many points lie within a radius of each place; 0 where a place is not known (NaN)."""
    structure = load_optional("biotite.structure", package="biotite", key=_KEY)
    points = points[np.isfinite(points).all(axis=1)]
    counts = np.zeros(len(around))
    known = np.isfinite(around).all(axis=1)
    if len(points) and known.any():
        cells = structure.CellList(points, radius)
        counts[known] = (cells.get_atoms(around[known], radius) >= 0).sum(axis=1)
    return counts


def _is_dna(residue_names: np.ndarray) -> np.ndarray:
    """Whether each atom is of a nucleotide of DNA, modified ones too, by the PDB's component dictionary."""
    info = load_optional("biotite.structure.info", package="biotite", key=_KEY)
    names = np.unique(residue_names)
    dna = [name for name in names.tolist() if "DNA" in (info.link_type(name) or "").upper()]
    return np.isin(residue_names, dna)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
