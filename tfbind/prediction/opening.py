"""What prediction is made from, opened: model, reference, factors and descriptions that belong together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tfbind.config import Config
from tfbind.contexts.contextset import ContextSet
from tfbind.core.errors import InputError
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.ensemble import open_checkpoint
from tfbind.tables import CellTypeRow


def open_model(reference: Path, model: Path, config: Config) -> tuple[Reference, Checkpoint]:
    """The reference and the model; one of another bin, or that `tfbind train` did not make, is refused."""
    checkpoint = open_checkpoint(model)
    if "manifest" not in checkpoint.about:
        raise InputError(
            "was saved by Model.save, and says nothing of a training",
            file=model,
            mend="give a model that `tfbind train` made, such as results/NAME/model",
        )
    require_bin(checkpoint, config)
    return Reference.open(reference), checkpoint


def require_bin(checkpoint: Checkpoint, config: Config) -> None:
    """Refuse a model whose bins are not those of the configuration."""
    if checkpoint.model.bin != config.windows.bin:
        raise InputError(
            f"the model predicts bins of {checkpoint.model.bin} bp, not of {config.windows.bin}",
            key="windows.bin",
            mend="train again, or set the model's bin",
        )


def open_factor_set(folder: Path, checkpoint: Checkpoint) -> FactorSet:
    """The factors; those whose proteins were not embedded as the model's were are refused."""
    factor_set = FactorSet.open(folder)
    if factor_set.embedder != checkpoint.about["embedder"]:
        raise InputError(
            f"proteins are embedded by {factor_set.embedder}, the model was trained with "
            f"{checkpoint.about['embedder']}",
            file=folder,
            key="factors.embedder",
            mend="embed the factors with the model's embedder, or train again",
        )
    return factor_set


def open_context_set(folder: Path | None, rows: Iterable[CellTypeRow]) -> ContextSet | None:
    """The context set, if one is given; one that has read other descriptions than the rows' is refused."""
    if folder is None:
        return None
    rows = list(rows)
    found = ContextSet.find(folder, [row.cell_type for row in rows])
    found.require({row.cell_type: row.description for row in rows})
    return found


def open_models_context_set(
    folder: Path | None, rows: Iterable[CellTypeRow], checkpoint: Checkpoint
) -> ContextSet | None:
    """The context set, if one is given; texts that were not read as the model's were are refused."""
    found = open_context_set(folder, rows)
    encoder, wanted = None if found is None else found.encoder, checkpoint.about["contexts"]["encoder"]
    if encoder == wanted:
        return found
    if encoder is None:
        mend = "give --contexts, a folder that `tfbind contexts` made with the model's encoder"
    elif wanted is None:
        mend = "leave --contexts out, or train with texts"
    else:
        mend = "read the descriptions with the model's encoder, revision and pooling, or train again"
    raise InputError(
        f"descriptions of cell types are read by {encoder or 'nothing'}, the model was trained with "
        f"{wanted or 'none'}",
        file=folder,
        key="contexts.text",
        mend=mend,
    )
