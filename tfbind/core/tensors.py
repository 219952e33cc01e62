"""Tensors on disk: safetensors files, written whole and as the same bytes each time, and checked when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path


def save_tensors(path: str | Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a safetensors file whole, with metadata, as the same bytes each time.

    safetensors keeps metadata in no fixed order; a single entry, JSON with sorted keys, has only one.
    """
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, metadata={"tfbind": json.dumps(dict(about), sort_keys=True)})


def read_tensor(path: Path, name: str, *, axes: int) -> np.ndarray:
    """Read one tensor of a cached embedding: finite numbers, with so many axes.

    Raises
    ------
    InputError
        The file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        value = load_file(path)[name]
    except (SafetensorError, KeyError, OSError) as error:
        raise damaged(path, str(error)) from error
    if value.ndim != axes or not np.isfinite(value).all():
        raise damaged(path, f"it is no array of finite numbers with {axes} axes")
    return value


def damaged(path: Path, why: str) -> InputError:
    """The error that says that a cached embedding cannot be used."""
    return InputError(
        f"this cached embedding is damaged: {why}", file=path, mend="delete it; it is computed again"
    )
