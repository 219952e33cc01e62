"""Protein embeddings, computed once: a folder of safetensors files, one a sequence and embedder version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import sha256_json
from tfbind.core.tensors import damaged, read_tensor, save_tensors
from tfbind.factors.proteins import check_sequence, sequence_sha256

TENSOR = "embedding"
# Proteins that are embedded before their files are written: what a kill can lose.
_GROUP = 64


class Embedder(Protocol):
    """What turns proteins into one vector a residue.

    Embeddings are stored as `dtype`; equal `name` and `version` promise equal numbers.
    """

    name: str
    dtype: str

    @property
    def version(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, sequences: Sequence[str]) -> list[np.ndarray]:
        """One (L, dim) float32 array a sequence."""
        ...


def make_embedder(kind: str, **settings: Any) -> Embedder:
    """Make the embedder that a configuration names.

    Parameters
    ----------
    kind
        `physicochemical` (no settings) or `esm2` (settings of `Esm2Embedder`).

    Raises
    ------
    InputError
        An unknown kind or setting.
    """
    from tfbind.factors.esm2 import Esm2Embedder
    from tfbind.factors.physicochemical import PhysicochemicalEmbedder

    kinds = {"esm2": Esm2Embedder, "physicochemical": PhysicochemicalEmbedder}
    if kind not in kinds:
        raise InputError(
            f"unknown embedder '{kind}'", key="factors.embedder", mend=f"use {' or '.join(sorted(kinds))}"
        )
    try:
        return kinds[kind](**settings)
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


def embed_proteins(sequences: Mapping[str, str], embedder: Embedder, cache: str | Path) -> dict[str, str]:
    """Embed the proteins that the cache does not have yet.

    Parameters
    ----------
    sequences
        Any id -> sequence; equal sequences are embedded once.
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
    cache = Path(cache)
    clean = {name: check_sequence(sequence, name=name) for name, sequence in sequences.items()}
    keys = {name: embedding_key(sequence, embedder.name, embedder.version) for name, sequence in clean.items()}
    wanted = {keys[name]: sequence for name, sequence in clean.items()}
    missing = []
    for key, sequence in wanted.items():
        path = _path(cache, key)
        if not path.exists():
            missing.append((key, sequence))
        elif read_tensor(path, TENSOR, axes=2).shape[0] != len(sequence):
            raise damaged(path, f"it does not have {len(sequence)} residues")
    missing.sort(key=lambda entry: (-len(entry[1]), entry[0]))
    for start in range(0, len(missing), _GROUP):
        group = missing[start : start + _GROUP]
        values = embedder.embed([sequence for _, sequence in group])
        for (key, sequence), value in zip(group, values, strict=True):
            _write(_path(cache, key), value, sequence, embedder)
    return keys


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


def _write(path: Path, value: np.ndarray, sequence: str, embedder: Embedder) -> None:
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
