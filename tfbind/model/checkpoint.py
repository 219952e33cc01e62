"""Checkpoints: a folder of `model.safetensors` and `model.json`. No pickle is written or read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from tfbind.config import ModelSettings
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, read_json, sha256_file, write_json
from tfbind.model.binding import BindingModel
from tfbind.model.shape import ModelShape

FORMAT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and what is known of its making.

    Attributes
    ----------
    model : BindingModel, in eval mode
    about : dict
        `settings`, `shape`, `embedder`, `contexts` (`encoder` of the texts; `learnt`: cell types of the learnt
        embedding's rows), `manifest` (what it was trained on), `thresholds`.
    checksum : str
        SHA-256 of the weights: the model's identity in everything made with it.
    """

    model: BindingModel
    about: dict[str, Any]
    checksum: str


def save_checkpoint(folder: str | Path, model: BindingModel, about: dict[str, Any]) -> None:
    """Write a checkpoint whole. `about` is stored beside sizes and settings."""
    with atomic_dir(folder) as temporary:
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(weights, temporary / "model.safetensors")
        sizes = {
            "format": FORMAT,
            "settings": model.settings.model_dump(mode="json"),
            "shape": asdict(model.shape),
            "sha256": sha256_file(temporary / "model.safetensors"),
        }
        write_json(temporary / "model.json", {**about, **sizes})


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a checkpoint, verify its weights, and put the model into eval mode.

    Raises
    ------
    InputError
        If there is none, if it is of another format or version, or if the weights are not those that were
        written.
    """
    folder = Path(folder)
    about = _read_about(folder / "model.json")
    weights = folder / "model.safetensors"
    found = sha256_file(weights) if weights.is_file() else "no file"
    if found != about.get("sha256"):
        raise InputError(
            f"checksum differs: expected {about.get('sha256')}, got {found}", file=weights, mend="train again"
        )
    try:
        settings = ModelSettings.model_validate(about["settings"])
        state = load_file(weights)
        shape = ModelShape(**{**about["shape"], "outputs": tuple(about["shape"]["outputs"])})
        model = BindingModel(settings, shape, panel=state.get("panel.motifs"))
        model.load_state_dict(state)
    except (ValidationError, RuntimeError, TypeError, KeyError) as error:
        raise InputError(
            f"is a model that this version of tfbind does not know: {error}",
            file=folder,
            mend="train again, or use the tfbind that wrote it",
        ) from error
    return Checkpoint(model.eval(), about, about["sha256"])


def _read_about(path: Path) -> dict[str, Any]:
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
