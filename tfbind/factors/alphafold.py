"""Residue embeddings that were computed before: AlphaFold2's single representations, from a folder of arrays.

AlphaFold2 (Jumper et al., Nature 596:583, 2021) is not run here. Programs that run it can save the representation
(ColabFold: `--save-single-representations`); the arrays are put into one folder, under the proteins' accessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import sha256_file
from tfbind.factors.proteins import Protein

ENDINGS = (".npy", ".npz", ".safetensors")
ARRAY = "single"
_KEY = "factors.alphafold.folder"
_MEND = f"put each protein's array there, as ACCESSION{' or ACCESSION'.join(ENDINGS)}"


class AlphaFoldEmbedder:
    """Gives each protein the array that lies in a folder under its accession.

    `<accession>.npy` is the array, (L, d), one row a residue; `<accession>.npz` and `<accession>.safetensors`
    hold it as `single`.

    Parameters
    ----------
    folder
        The folder.
    version
        What made the arrays, in the user's words. A model that was trained with one version serves no other.

    Raises
    ------
    InputError
        There is no such folder.
    """

    name = "alphafold"
    dtype = "float32"

    def __init__(self, folder: str | Path, version: str = "single") -> None:
        self.folder, self.version = Path(folder), version
        if not self.folder.is_dir():
            raise InputError(
                "there is no such folder of arrays", file=self.folder, key=_KEY, mend="check the path"
            )
        self._first: tuple[Path, int] | None = None

    @cached_property
    def dim(self) -> int:
        """Numbers a residue: those of the first array that was read, or that lies in the folder."""
        if self._first is None:
            paths = sorted(path for path in self.folder.iterdir() if path.suffix in ENDINGS)
            if not paths:
                raise InputError("the folder has no arrays", file=self.folder, key=_KEY, mend=_MEND)
            return read_array(paths[0]).shape[1]
        return self._first[1]

    def path(self, protein: Protein) -> Path:
        """Where a protein's array lies.

        Raises
        ------
        InputError
            There is none, or several.
        """
        return array_path(self.folder, protein.accession)

    def given(self, protein: Protein) -> str:
        """Checksum of the file that holds a protein's array, for the cache's key.

        Raises
        ------
        InputError
            There is none, it has another length than the protein or another width than those before.
        """
        self._array(protein)
        return sha256_file(self.path(protein))

    def embed_proteins(self, proteins: Sequence[Protein]) -> list[np.ndarray]:
        """One (L, d) float32 array a protein; see `given` for errors."""
        return [self._array(protein) for protein in proteins]

    def _array(self, protein: Protein) -> np.ndarray:
        path = self.path(protein)
        array = read_array(path)
        if len(array) != len(protein.sequence):
            raise InputError(
                f"the array of {protein.accession} has {len(array)} rows, and the protein "
                f"{len(protein.sequence)} residues",
                file=path,
                key=_KEY,
                mend="give the array of this very sequence, one row a residue, without padding",
            )
        first, width = self._first = self._first or (path, array.shape[1])
        if array.shape[1] != width:
            raise InputError(
                f"has {array.shape[1]} numbers a residue, and {first} has {width}",
                file=path,
                key=_KEY,
                mend="give arrays of one model and one kind",
            )
        return array


def array_path(folder: Path, accession: str) -> Path:
    """The one file with a protein's array.

    Raises
    ------
    InputError
        There is none, or several, or the accession cannot be a file's name.
    """
    if Path(accession).name != accession:
        raise InputError(
            f"'{accession}' cannot be a file's name", file=folder, key=_KEY, mend="give it another accession"
        )
    # By whole names: what stands behind a dot may be part of the accession.
    found = [path for ending in ENDINGS if (path := folder / f"{accession}{ending}").is_file()]
    if len(found) != 1:
        several = f"{len(found)} arrays of {accession}: {', '.join(path.name for path in found)}"
        raise InputError(
            several if found else f"there is no array of {accession}",
            file=folder,
            key=_KEY,
            mend="keep one of them"
            if found
            else f"put it there, as {accession}{f' or {accession}'.join(ENDINGS)}, or give the factor no protein",
        )
    return found[0]


def read_array(path: Path) -> np.ndarray:
    """Read one array, (L, d), as float32.

    Raises
    ------
    InputError
        No such array in the file, a damaged file, or no matrix of finite numbers.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        if path.suffix == ".safetensors":
            array = load_file(path)[ARRAY]
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                array = arrays[ARRAY]
        else:
            array = np.load(path, allow_pickle=False)
    except KeyError:
        raise InputError(
            f"has no array '{ARRAY}'", file=path, key=_KEY, mend=f"name the array '{ARRAY}', or write it as .npy"
        ) from None
    except (SafetensorError, ValueError, OSError, EOFError) as error:
        raise InputError(
            f"this is no whole array ({error})", file=path, key=_KEY, mend="write it again, by numpy.save"
        ) from error
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
        raise InputError(
            f"is no matrix of finite numbers: shape {array.shape}, {array.dtype}",
            file=path,
            key=_KEY,
            mend="give one row a residue",
        )
    return array.astype(np.float32)
