"""Protein embeddings, computed once: a folder of safetensors files, one a sequence and embedder version."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import sha256_json
from tfbind.core.progress import told
from tfbind.core.tensors import damaged, read_tensor, save_tensors
from tfbind.factors.proteins import Protein, check_sequence, sequence_sha256

TENSOR = "embedding"
# Proteins that are embedded before their files are written: what a kill can lose.
_GROUP = 64


class AnyEmbedder(Protocol):
    """What turns proteins into one vector a residue: an `Embedder` or a `ByAccession`.

    Embeddings are stored as `dtype`; equal `name` and `version` promise equal numbers, or, where they were
    computed elsewhere, numbers of one kind.
    """

    name: str
    dtype: str

    @property
    def version(self) -> str: ...

    @property
    def dim(self) -> int: ...


class Embedder(AnyEmbedder, Protocol):
    """An embedder that needs nothing but the sequence."""

    def embed(self, sequences: Sequence[str]) -> list[np.ndarray]:
        """One (L, dim) float32 array a sequence."""
        ...


@runtime_checkable
class ByAccession(Protocol):
    """An embedder that looks up what was computed elsewhere; two proteins of one sequence may differ."""

    def given(self, protein: Protein) -> str:
        """Checksum of what was found of a protein."""
        ...

    def embed_proteins(self, proteins: Sequence[Protein]) -> list[np.ndarray]:
        """One (L, dim) float32 array a protein."""
        ...


EMBEDDERS = {
    "physicochemical": ("tfbind.factors.physicochemical", "PhysicochemicalEmbedder"),
    "esm2": ("tfbind.factors.fair_esm", "Esm2Embedder"),
    "esm1b": ("tfbind.factors.fair_esm", "Esm1bEmbedder"),
    "huggingface": ("tfbind.factors.huggingface", "HuggingFaceEmbedder"),
    "alphafold": ("tfbind.factors.alphafold", "AlphaFoldEmbedder"),
}
"""Module and class of each embedder that a configuration can name."""


def make_embedder(kind: str, **settings: Any) -> AnyEmbedder:
    """Make the embedder that a configuration names.

    Parameters
    ----------
    kind
        One of `EMBEDDERS`; the settings are those of its class (`physicochemical` has none).

    Raises
    ------
    InputError
        An unknown kind or setting.
    """
    if kind not in EMBEDDERS:
        raise InputError(
            f"unknown embedder '{kind}'", key="factors.embedder", mend=f"use {' or '.join(sorted(EMBEDDERS))}"
        )
    module, name = EMBEDDERS[kind]
    chosen = getattr(importlib.import_module(module), name)
    try:
        return chosen(**settings)
    except TypeError as error:
        raise InputError(
            f"settings {sorted(settings)} do not fit ({error})",
            key=f"factors.{kind}",
            mend="see config/README.md",
        ) from error


def embedding_key(sequence: str, embedder_name: str, embedder_version: str) -> str:
    """The cache key of an embedding: SHA-256 of sequence, embedder and its version, as lower-case hex."""
    return sha256_json(
        {"sequence": sequence_sha256(sequence), "embedder": embedder_name, "version": embedder_version}
    )


def embed_proteins(sequences: Mapping[str, str], embedder: AnyEmbedder, cache: str | Path) -> dict[str, str]:
    """Embed the proteins that the cache does not have yet.

    Parameters
    ----------
    sequences
        Accession (or any other id) -> sequence; equal sequences are embedded once.
    embedder
        See `make_embedder`.
    cache
        The folder; `<key>.safetensors` holds the tensor `embedding`, (L, d) float32 or float16.

    Returns
    -------
    dict
        Id -> key, in the order of `sequences`.

    Raises
    ------
    InputError
        A sequence is empty or has a letter that is no amino acid, or a cached file is damaged.
    """
    proteins = [Protein(name, name, sequence) for name, sequence in sequences.items()]
    return dict(zip(sequences, embed_each(proteins, embedder, cache), strict=True))


def embed_each(proteins: Sequence[Protein], embedder: AnyEmbedder, cache: str | Path) -> list[str]:
    """The key of each protein's embedding; what the cache does not have yet is made. See `embed_proteins`."""
    cache = Path(cache)
    clean = [
        Protein(each.accession, each.name, check_sequence(each.sequence, name=each.name)) for each in proteins
    ]
    keys = [protein_key(protein, embedder) for protein in clean]
    missing = []
    for key, protein in dict(zip(keys, clean, strict=True)).items():
        path = _path(cache, key)
        if not path.exists():
            missing.append((key, protein))
        elif read_tensor(path, TENSOR, axes=2).shape[0] != len(protein.sequence):
            raise damaged(path, f"it does not have {len(protein.sequence)} residues")
    missing.sort(key=lambda entry: (-len(entry[1].sequence), entry[0]))
    residues = sum(len(protein.sequence) for _, protein in missing)
    groups = [missing[start : start + _GROUP] for start in range(0, len(missing), _GROUP)]
    for group in told(groups, "embedding proteins", residues, unit="residues", amount=_residues):
        for (key, protein), value in zip(group, _embedded([each for _, each in group], embedder), strict=True):
            _write(_path(cache, key), value, protein.sequence, embedder)
    return keys


def _residues(group: Sequence[tuple[str, Protein]]) -> int:
    return sum(len(protein.sequence) for _, protein in group)


def protein_key(protein: Protein, embedder: AnyEmbedder) -> str:
    """The cache key of a protein's embedding."""
    version = embedder.version
    if isinstance(embedder, ByAccession):
        version = f"{version} sha256:{embedder.given(protein)}"
    return embedding_key(protein.sequence, embedder.name, version)


def _embedded(proteins: Sequence[Protein], embedder: AnyEmbedder) -> list[np.ndarray]:
    if isinstance(embedder, ByAccession):
        return embedder.embed_proteins(proteins)
    return embedder.embed([protein.sequence for protein in proteins])


def load_embedding(cache: str | Path, key: str) -> np.ndarray:
    """Read one embedding from the cache, (L, d) float32.

    Raises
    ------
    InputError
        It is not there, or its file is damaged.
    """
    path = _path(Path(cache), key)
    if not path.exists():
        raise InputError(
            "this embedding is not in the cache", file=path, mend="run `embed_proteins` on its sequence first"
        )
    return read_tensor(path, TENSOR, axes=2).astype(np.float32)


def _path(cache: Path, key: str) -> Path:
    return cache / f"{key}.safetensors"


def _write(path: Path, value: np.ndarray, sequence: str, embedder: AnyEmbedder) -> None:
    if value.shape[0] != len(sequence) or value.ndim != 2:
        raise RuntimeError(f"{embedder.name} gave {value.shape} for {len(sequence)} residues")
    with np.errstate(over="ignore"):  # told below, with the protein's name
        stored = value.astype(embedder.dtype)
    if not np.isfinite(stored).all():
        raise InputError(
            f"{embedder.name} gave numbers not finite in {embedder.dtype} for the protein {sequence[:20]}...",
            key="factors.embedder",
            mend="use another layer or another model",
        )
    about = {
        "embedder": embedder.name,
        "version": embedder.version,
        "sequence_sha256": sequence_sha256(sequence),
        "length": len(sequence),
    }
    save_tensors(path, {TENSOR: stored}, about)
