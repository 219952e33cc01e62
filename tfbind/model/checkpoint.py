"""Checkpoints: a folder of `model.safetensors` and `model.json`. No pickle is written or read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from safetensors.torch import save_file

from tfbind.config import ModelSettings
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, sha256_file, write_json
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint_files import FORMAT, read_about, read_weights
from tfbind.model.finetuning import merged_state_dict
from tfbind.model.shape import ModelShape

if TYPE_CHECKING:
    from tfbind.model.ensemble import EnsembleModel


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and what is known of its making.

    Attributes
    ----------
    model : BindingModel, in eval mode
    about : dict
        `settings`, `shape`, `embedder`, `contexts` (`encoder` of the texts; `learnt`: cell types of the learnt
        embedding's rows), `manifest` (what it was trained on), `thresholds`,
        `calibration` and `known_binding`, where it has them.
    checksum : str
        SHA-256 of the weights: the model's identity in everything made with it.
    members : tuple of Checkpoint
        Of an ensemble, whose `model` is an `EnsembleModel`; a model has none.
    """

    model: BindingModel | EnsembleModel
    about: dict[str, Any]
    checksum: str
    members: tuple[Checkpoint, ...] = ()

    @property
    def factors(self) -> frozenset[str]:
        """The factors that it was trained on."""
        return frozenset(self.about["manifest"]["factors"])

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals beside accessibility that it reads, in their order: of an ensemble, all members alike."""
        first = self.members[0] if self.members else self
        return first.model.shape.signals


def save_checkpoint(folder: str | Path, model: BindingModel, about: dict[str, Any]) -> None:
    """Write a checkpoint whole. `about` is stored beside sizes and settings; LoRA is merged into the weights."""
    with atomic_dir(folder) as temporary:
        weights = {name: value.detach().cpu().contiguous() for name, value in merged_state_dict(model).items()}
        save_file(weights, temporary / "model.safetensors")
        sizes = {
            "format": FORMAT,
            # The trunk's own: whole, so that its pretrained weights are never read again.
            "settings": {
                **model.settings.model_dump(mode="json"),
                "trunk": model.trunk.settings.model_dump(mode="json"),
            },
            "trunk_source": model.trunk.source,
            "shape": model.shape.as_json(),
            "sha256": sha256_file(temporary / "model.safetensors"),
        }
        write_json(temporary / "model.json", {**about, **sizes})


def trained_cell_type(manifest: Mapping[str, Any], name: str) -> str | None:
    """The cell type that a model was trained on, by its name or another one; None: there is none."""
    known = {each.casefold(): each for each in manifest["cell_types"]}
    for each, aliases in manifest.get("aliases", {}).items():
        known |= {alias.casefold(): each for alias in aliases}
    return known.get(name.casefold())


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a checkpoint, verify its weights, and put the model into eval mode.

    Raises
    ------
    InputError
        If there is none, if it is of another format or version, or if the weights are not those that were
        written.
    """
    folder = Path(folder)
    about = read_about(folder)
    state = read_weights(folder, about)
    try:
        settings = ModelSettings.model_validate(about["settings"])
        shape = ModelShape.from_json(about["shape"])
        model = BindingModel(settings, shape, panel=state.get("panel.motifs"))
        model.load_state_dict(state)
        model.trunk.source = about.get("trunk_source")
    except (ValidationError, RuntimeError, TypeError, KeyError) as error:
        raise InputError(
            f"is a model that this version of tfbind does not know: {error}",
            file=folder,
            mend="train again, or use the tfbind that wrote it",
        ) from error
    return Checkpoint(model.eval(), about, about["sha256"])
