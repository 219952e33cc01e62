"""A factor set: one folder with all that a model needs of a list of factors.

factors.json            the embedder, and for each factor its protein, embedding and motif, in order
embeddings.safetensors  one tensor (L, d) for each protein, by embedding key
motifs.meme             the motifs
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, read_json, sha256_file, sha256_json, write_json
from tfbind.core.tensors import save_tensors
from tfbind.factors.embeddings import Embedder, embed_proteins, load_embedding
from tfbind.factors.motifs import Motif, read_meme, write_meme
from tfbind.factors.proteins import check_sequence, sequence_sha256

_FACTORS, _EMBEDDINGS, _MOTIFS = "factors.json", "embeddings.safetensors", "motifs.meme"


@dataclass(frozen=True)
class FactorInput:
    """A factor as the user gives it: at least its protein sequence or its motif.

    Raises
    ------
    InputError
        Neither is given, or the sequence is no protein.
    """

    factor: str
    uniprot: str | None = None
    sequence: str | None = None
    motif: Motif | None = None

    def __post_init__(self) -> None:
        if self.sequence is None and self.motif is None:
            raise InputError(
                f"factor {self.factor} has neither a protein sequence nor a motif",
                mend="give its UniProt accession and a FASTA that has it, its sequence, or a motif",
            )
        if self.sequence is not None:
            object.__setattr__(self, "sequence", check_sequence(self.sequence, name=self.factor))


def write_factor_set(
    out: str | Path, factors: Sequence[FactorInput], embedder: Embedder, cache: str | Path
) -> None:
    """Embed the factors' proteins (through the cache) and write their folder, whole.

    Equal input gives equal bytes.

    Parameters
    ----------
    out
        The folder; one that is there already is replaced.
    factors
        In the order that the model is to know them.
    embedder, cache
        See `tfbind.factors.embeddings.embed_proteins`.

    Raises
    ------
    InputError
        No factors, a factor that occurs twice, or two motifs with the same id.
    """
    _check_names(factors)
    motifs = _unique_motifs(factors)
    sequences = {factor.factor: factor.sequence for factor in factors if factor.sequence is not None}
    keys = embed_proteins(sequences, embedder, cache)
    tensors = {key: load_embedding(cache, key).astype(embedder.dtype) for key in sorted(set(keys.values()))}
    # Asking the embedder itself may load its weights, for nothing where all is cached.
    dim = next(iter(tensors.values())).shape[1] if tensors else embedder.dim
    about = {"name": embedder.name, "version": embedder.version, "dim": dim}
    with atomic_dir(out) as folder:
        save_tensors(folder / _EMBEDDINGS, tensors, about)
        write_meme(folder / _MOTIFS, motifs.values())
        write_json(
            folder / _FACTORS, {"embedder": about, "factors": [_entry(factor, keys) for factor in factors]}
        )


class FactorSet:
    """A factor set on disk; embeddings are read when they are asked for. Made by `FactorSet.open`.

    Attributes
    ----------
    folder
        Where it lies.
    entries
        What factors.json says of each factor: factor, uniprot, length, sequence_sha256, embedding, motif.
    embedder
        Name, version and dim of what embedded the proteins.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any], motifs: Mapping[str, Motif]) -> None:
        self.folder = folder
        self.entries: list[dict[str, Any]] = content["factors"]
        self.embedder: dict[str, Any] = content["embedder"]
        self._motifs = motifs
        self._index = {entry["factor"]: i for i, entry in enumerate(self.entries)}

    @classmethod
    def open(cls, folder: str | Path) -> FactorSet:
        """Open a folder that `write_factor_set` made.

        Raises
        ------
        InputError
            It is not there, not whole, or something else.
        """
        folder = Path(folder)
        for name in (_FACTORS, _EMBEDDINGS, _MOTIFS):
            if not (folder / name).is_file():
                raise InputError(
                    "this factor set is not whole", file=folder / name, mend="write the factor set again"
                )
        try:
            content = read_json(folder / _FACTORS)
            has_motifs = any(entry["motif"] for entry in content["factors"])
            return cls(folder, content, read_meme(folder / _MOTIFS) if has_motifs else {})
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"this is no factor set ({error})", file=folder / _FACTORS, mend="write the factor set again"
            ) from error

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> list[str]:
        """The factors, in order."""
        return list(self._index)

    @property
    def dim(self) -> int:
        """Numbers a residue in the embeddings."""
        return self.embedder["dim"]

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the folder's content."""
        return sha256_json({name: sha256_file(self.folder / name) for name in (_FACTORS, _EMBEDDINGS, _MOTIFS)})

    def index(self, name: str) -> int:
        """A factor's place in the order.

        Raises
        ------
        InputError
            There is no such factor; near names are listed.
        """
        if name not in self._index:
            folded = {known.casefold(): known for known in self._index}
            near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=5)]
            some = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(self.names[:10])} ..."
            raise InputError(f"no factor '{name}' in this factor set", file=self.folder, mend=some)
        return self._index[name]

    def embedding(self, name: str) -> np.ndarray | None:
        """A factor's protein, (L, dim) float32, or None where only its motif is known."""
        from safetensors import SafetensorError, safe_open

        key = self.entries[self.index(name)]["embedding"]
        if key is None:
            return None
        path = self.folder / _EMBEDDINGS
        try:
            with safe_open(path, framework="numpy") as tensors:
                return tensors.get_tensor(key).astype(np.float32)
        except SafetensorError as error:
            raise InputError(f"{error} (factor {name})", file=path, mend="write the factor set again") from error

    def motif(self, name: str) -> Motif | None:
        """A factor's motif, or None where only its protein is known."""
        identifier = self.entries[self.index(name)]["motif"]
        return None if identifier is None else self._motifs[identifier]


def _check_names(factors: Sequence[FactorInput]) -> None:
    if not factors:
        raise InputError("no factors", mend="list at least one in factors.tsv")
    seen = set()
    for factor in factors:
        if factor.factor in seen:
            raise InputError(
                f"factor {factor.factor} is there twice", column="factor", mend="give each factor one row"
            )
        seen.add(factor.factor)


def _unique_motifs(factors: Sequence[FactorInput]) -> dict[str, Motif]:
    motifs: dict[str, Motif] = {}
    for motif in (factor.motif for factor in factors if factor.motif is not None):
        first = motifs.setdefault(motif.identifier, motif)
        if not np.array_equal(first.probabilities, motif.probabilities):
            raise InputError(
                f"two different motifs have the id {motif.identifier}",
                column="motif",
                mend="give them different ids",
            )
    return motifs


def _entry(factor: FactorInput, keys: Mapping[str, str]) -> dict[str, Any]:
    sequence = factor.sequence
    return {
        "factor": factor.factor,
        "uniprot": factor.uniprot,
        "length": None if sequence is None else len(sequence),
        "sequence_sha256": None if sequence is None else sequence_sha256(sequence),
        "embedding": keys.get(factor.factor),
        "motif": None if factor.motif is None else factor.motif.identifier,
    }
