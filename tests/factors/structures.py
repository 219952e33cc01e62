"""Structures whose geometry is known, written by biotite."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

BACKBONE = ("N", "CA", "C", "O", "CB")
# Bond lengths (angstrom) and angles (degrees) of an ideal chain.
_BONDS = {"N": 1.33, "CA": 1.46, "C": 1.52}
_ANGLES = {"N": 116.0, "CA": 122.0, "C": 111.0}


def place(a: np.ndarray, b: np.ndarray, c: np.ndarray, bond: float, angle: float, dihedral: float) -> np.ndarray:
    """The point at `bond` from c, at `angle` to b, at `dihedral` to a (Parsons et al. 2005; degrees)."""
    angle, dihedral = np.radians([180 - angle, dihedral])
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, along)
    turned = np.sin(angle) * (np.cos(dihedral) * across + np.sin(dihedral) * normal)
    return c + bond * (np.cos(angle) * along + turned)


def peptide(sequence: str, phi, psi, omega, *, chain: str = "A", plddt=None):
    """A chain with these backbone angles (degrees, one of each a residue)."""
    import biotite.structure as structure
    from biotite.sequence import ProteinSequence

    points = [np.array([0.0, 0, 0]), np.array([1.46, 0, 0]), np.array([2.0, 1.42, 0])]
    for i in range(1, len(sequence)):
        for name, dihedral in (("N", psi[i - 1]), ("CA", omega[i - 1]), ("C", phi[i])):
            points.append(place(*points[-3:], _BONDS[name], _ANGLES[name], dihedral))
    atoms = structure.AtomArray(3 * len(sequence))
    atoms.coord = np.array(points)
    atoms.chain_id[:] = chain
    atoms.res_id = np.repeat(np.arange(1, len(sequence) + 1), 3)
    atoms.res_name = np.repeat([ProteinSequence.convert_letter_1to3(letter) for letter in sequence], 3)
    atoms.atom_name = np.tile(("N", "CA", "C"), len(sequence))
    atoms.element = np.tile(("N", "C", "C"), len(sequence))
    confidence = np.full(len(sequence), 90.0) if plddt is None else np.asarray(plddt)
    atoms.set_annotation("b_factor", np.repeat(confidence, 3))
    return atoms


def nucleotide(at, *, chain: str = "D", name: str = "DA", number: int = 1, atom: str = "P"):
    """One atom of a nucleotide."""
    import biotite.structure as structure

    atoms = structure.AtomArray(1)
    atoms.coord = np.array([at], dtype=float)
    atoms.chain_id[:], atoms.res_id[:], atoms.res_name[:] = chain, number, name
    atoms.atom_name[:], atoms.element[:] = atom, atom[0]
    atoms.set_annotation("b_factor", np.zeros(1))
    return atoms


def write_structure(path: Path, atoms) -> Path:
    """Write a structure in the format of its name."""
    import biotite.structure.io.pdb as pdb
    import biotite.structure.io.pdbx as pdbx

    zipped = path.suffix == ".gz"
    plain = path.with_suffix("") if zipped else path
    plain.parent.mkdir(parents=True, exist_ok=True)
    if plain.suffix == ".cif":
        file = pdbx.CIFFile()
        pdbx.set_structure(file, atoms)
    else:
        file = pdb.PDBFile()
        file.set_structure(atoms)
    file.write(plain)
    if zipped:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path
