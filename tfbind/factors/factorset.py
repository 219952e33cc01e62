"""A factor set: one folder with all that a model needs of a list of factors.

factors.json            the embedder, and for each factor its proteins, embedding and motif, in order
embeddings.safetensors  one tensor (L, d) for each protein or complex, by embedding key
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
from tfbind.factors.embeddings import AnyEmbedder, embed_each, load_embedding
from tfbind.factors.motifs import Motif, read_meme, write_meme
from tfbind.factors.proteins import Protein, check_sequence, listed, protein_names, sequence_sha256
from tfbind.factors.regions import Region, Span
from tfbind.factors.structure import COLUMNS, StructureFeatures

_FACTORS, _EMBEDDINGS, _MOTIFS = "factors.json", "embeddings.safetensors", "motifs.meme"


@dataclass(frozen=True)
class FactorInput:
    """A factor as the user gives it: at least its protein sequence or its motif.

    Attributes
    ----------
    factor
        Its name.
    uniprot, sequence
        Accession and sequence of its protein; of a complex, those of all its proteins, separated by `;`.
    motif
        Its motif.
    structures
        Files with the proteins' structures: none, one for all, or one a protein.

    Raises
    ------
    InputError
        Neither is given, a sequence is no protein, or there are not as many accessions as sequences.
    """

    factor: str
    uniprot: str | None = None
    sequence: str | None = None
    motif: Motif | None = None
    structures: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.sequence is None and self.motif is None:
            raise InputError(
                f"factor {self.factor} has neither a protein sequence nor a motif",
                mend="give its UniProt accession and a FASTA that has it, its sequence, or a motif",
            )
        if self.sequence is not None:
            clean = [check_sequence(sequence, name=self.factor) for sequence in listed(self.sequence)]
            object.__setattr__(self, "sequence", ";".join(clean))
            self._check_counts(len(clean))

    @property
    def proteins(self) -> tuple[Protein, ...]:
        """Its proteins, in order; none where only the motif is known.

        Proteins without an accession go by the factor's name, and in a complex by `FACTOR.1`, `FACTOR.2`.
        """
        if self.sequence is None:
            return ()
        sequences = listed(self.sequence)
        names = protein_names(self.factor, self.uniprot, len(sequences))
        return tuple(
            Protein(name, self.factor, sequence) for name, sequence in zip(names, sequences, strict=True)
        )

    def structure_of(self, number: int) -> Path | None:
        """The file that was given for one of its proteins."""
        return self.structures[number if len(self.structures) > 1 else 0] if self.structures else None

    def _check_counts(self, sequences: int) -> None:
        accessions = len(listed(self.uniprot)) if self.uniprot else sequences
        if accessions != sequences:
            raise InputError(
                f"factor {self.factor} has {accessions} accessions and {sequences} sequences",
                mend="list as many of the one as of the other, in one order, separated by `;`",
            )
        if len(self.structures) not in (0, 1, sequences):
            raise InputError(
                f"factor {self.factor} has {len(self.structures)} structures and {sequences} proteins",
                mend="list one structure for each protein, in one order, or one that has them all",
            )


def write_factor_set(
    out: str | Path,
    factors: Sequence[FactorInput],
    embedder: AnyEmbedder,
    cache: str | Path,
    *,
    structure: StructureFeatures | None = None,
    region: Region | None = None,
) -> None:
    """Embed the factors' proteins (through the cache) and write their folder, whole.

    Each protein is embedded whole and by itself; features of its structure become further columns; then it is cut
    to its region, and the proteins of a complex are laid one after the other. Equal input gives equal bytes.

    Parameters
    ----------
    out
        The folder; one that is there already is replaced.
    factors
        In the order that the model is to know them.
    embedder, cache
        See `tfbind.factors.embeddings.embed_proteins`.
    structure
        Where structures are, if their features are wanted.
    region
        Which residues are kept; None: all.

    Raises
    ------
    InputError
        No factors, a factor that occurs twice, two motifs with the same id, or a protein whose structure or
        domain is wanted and not there.
    """
    _check_names(factors)
    motifs = _unique_motifs(factors)
    region = region or Region()
    proteins = [protein for factor in factors for protein in factor.proteins]
    keys = iter(embed_each(proteins, embedder, cache))
    stored = {
        factor.factor: [
            _stored(factor, number, protein, next(keys), structure, region)
            for number, protein in enumerate(factor.proteins)
        ]
        for factor in factors
    }
    tensors = {
        _tensor_key(parts, structure): np.concatenate([part.residues(cache) for part in parts])
        for parts in stored.values()
        if parts
    }
    tensors = {key: tensors[key].astype(embedder.dtype) for key in sorted(tensors)}
    about = _about(embedder, tensors, structure, region)
    entries = [_entry(factor, stored[factor.factor], structure) for factor in factors]
    with atomic_dir(out) as folder:
        save_tensors(folder / _EMBEDDINGS, tensors, about)
        write_meme(folder / _MOTIFS, motifs.values())
        write_json(folder / _FACTORS, {"embedder": about, "factors": entries})


@dataclass(frozen=True)
class _Stored:
    """A protein of a factor, and what of it is stored."""

    protein: Protein
    key: str  # of its whole embedding, in the cache
    spans: list[Span]
    features: np.ndarray | None  # (L, f) of the whole protein
    structure: str | None  # checksum of the file that they come from

    @property
    def is_plain(self) -> bool:
        """Whether its embedding is stored as it is."""
        return self.features is None and self.spans == [(0, len(self.protein.sequence))]

    @property
    def rows(self) -> int:
        return sum(end - start for start, end in self.spans)

    def residues(self, cache: str | Path) -> np.ndarray:
        """What is stored of it, (rows, d)."""
        values = load_embedding(cache, self.key)
        if self.features is not None:
            values = np.concatenate([values, self.features], axis=1)
        return np.concatenate([values[start:end] for start, end in self.spans])


def _stored(
    factor: FactorInput,
    number: int,
    protein: Protein,
    key: str,
    structure: StructureFeatures | None,
    region: Region,
) -> _Stored:
    features, checksum = None, None
    if structure is not None:
        features, checksum = structure.features(protein, factor.structure_of(number))
    return _Stored(protein, key, region.spans(protein), features, checksum)


def _tensor_key(parts: Sequence[_Stored], structure: StructureFeatures | None) -> str:
    """The key of what is stored of a factor: that of its embedding, if it is no more and no less."""
    if len(parts) == 1 and parts[0].is_plain:
        return parts[0].key
    return sha256_json(
        {
            "structure": structure and structure.about,
            "proteins": [
                {"embedding": part.key, "spans": part.spans, "structure": part.structure} for part in parts
            ],
        }
    )


def _about(
    embedder: AnyEmbedder,
    tensors: Mapping[str, np.ndarray],
    structure: StructureFeatures | None,
    region: Region,
) -> dict[str, Any]:
    """All that two factor sets must have in common to serve one model."""
    if tensors:
        dim = next(iter(tensors.values())).shape[1]
    else:  # Asking the embedder itself may load its weights, for nothing where all is cached.
        dim = embedder.dim + (len(COLUMNS) if structure is not None else 0)
    about = {"name": embedder.name, "version": embedder.version, "dim": dim}
    if structure is not None:
        about["structure"] = structure.about
    if region.kind != "whole":
        about |= region.about
    return about


class FactorSet:
    """A factor set on disk; embeddings are read when they are asked for. Made by `FactorSet.open`.

    Attributes
    ----------
    folder
        Where it lies.
    entries
        What factors.json says of each factor: factor, uniprot, length (rows of its tensor), sequence_sha256,
        embedding, motif, and proteins: of each its accession, length, sequence, sequence_sha256, `residues` (the
        spans that are stored, 0-based, half-open) and `rows` (where they are in the tensor).
    embedder
        Name, version and dim of what embedded the proteins, and how structures and regions were taken.
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

    def proteins(self, name: str) -> tuple[Protein, ...]:
        """A factor's proteins, whole; none where only its motif is known."""
        found = self.entries[self.index(name)]["proteins"]
        return tuple(Protein(each["accession"], name, each["sequence"]) for each in found)

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


def _entry(factor: FactorInput, parts: Sequence[_Stored], structure: StructureFeatures | None) -> dict[str, Any]:
    checksums = [sequence_sha256(part.protein.sequence) for part in parts]
    row, proteins = 0, []
    for part, checksum in zip(parts, checksums, strict=True):
        proteins.append(
            {
                "accession": part.protein.accession,
                "length": len(part.protein.sequence),
                "sequence": part.protein.sequence,
                "sequence_sha256": checksum,
                "residues": [list(span) for span in part.spans],
                "rows": [row, row + part.rows],
                **({} if structure is None else {"structure_sha256": part.structure}),
            }
        )
        row += part.rows
    return {
        "factor": factor.factor,
        "uniprot": factor.uniprot,
        "length": row if parts else None,
        "sequence_sha256": ";".join(checksums) or None,
        "proteins": proteins,
        "embedding": _tensor_key(parts, structure) if parts else None,
        "motif": None if factor.motif is None else factor.motif.identifier,
    }
