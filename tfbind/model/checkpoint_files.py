"""The two files of a checkpoint, read and verified: `model.json` and `model.safetensors`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from tfbind.core.errors import InputError
from tfbind.core.files import read_json, sha256_file

FORMAT = 2
ENSEMBLE_FILE = "ensemble.json"


def read_about(folder: Path) -> dict[str, Any]:
    """What `model.json` of a checkpoint says.

    Raises
    ------
    InputError
        If there is none, if it is an ensemble, or of another format.
    """
    path = folder / "model.json"
    if (folder / ENSEMBLE_FILE).is_file():
        raise InputError(
            "is an ensemble, not one model", file=folder, mend=f"give a member, such as {folder / '0'}"
        )
    if not path.is_file():
        raise InputError("holds no checkpoint (model.json)", file=path.parent, mend="run `tfbind train` first")
    try:
        about = read_json(path)
    except ValueError as error:
        raise InputError(f"is no JSON ({error})", file=path, mend="train again") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise InputError(
            f"is of checkpoint format {found}, this version reads {FORMAT}",
            file=path,
            mend="train again, or use the tfbind that wrote it",
        )
    return about


def read_weights(folder: Path, about: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint.

    Raises
    ------
    InputError
        If they are not those that were written.
    """
    weights = folder / "model.safetensors"
    found = sha256_file(weights) if weights.is_file() else "no file"
    if found != about.get("sha256"):
        raise InputError(
            f"checksum differs: expected {about.get('sha256')}, got {found}", file=weights, mend="train again"
        )
    return load_file(weights)
