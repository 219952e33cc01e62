"""Join trained models to an ensemble: what fits together, what it was trained on, and its thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.model.calibration import Calibration
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.ensemble import joined

# Far apart, so that the members of runs whose seeds are neighbours are others.
SEEDS_APART = 1_000_000
# What of a manifest must be equal.
_SAME_OF_MANIFEST = ("genome",)
# What is joined: of each, all that any member lists.
_LISTED = ("chromosomes", "validation_chromosomes", "factors", "cell_types", "experiments")


def member_seed(seed: int, member: int) -> int:
    """The seed of a member: the first one's is the configuration's."""
    return seed + member * SEEDS_APART


def join(folders: Sequence[Path], members: Sequence[Checkpoint]) -> Checkpoint:
    """Models as one, whose thresholds are the means of its members'.

    Its members' calibrated probabilities are averaged, which is not calibrated again.

    Parameters
    ----------
    folders
        Of the members, for errors.

    Raises
    ------
    InputError
        Fewer than two models, one that stands twice, one that `tfbind train` did not make, or models that differ
        in bin, window, genome, embedder, text encoder or false discovery rate.
    """
    _require_fitting(folders, members)
    first = members[0].about
    learnt = dict.fromkeys(name for member in members for name in member.about["contexts"]["learnt"])
    thresholds = [member.about["thresholds"] for member in members]
    about = {
        "embedder": first["embedder"],
        "contexts": {"encoder": first["contexts"]["encoder"], "learnt": list(learnt)},
        "manifest": joined_manifest([member.about["manifest"] for member in members]),
        "thresholds": _mean_thresholds(thresholds),
        "thresholds_of": "the mean of the members' thresholds",
        "fdr": first["fdr"],
        "calibration": Calibration().as_json() | {"chosen_by": None},
    }
    return joined(members, about)


def joined_manifest(manifests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What any of the members was trained on; what is said by one of each stands as a list, in their order."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for manifest in manifests for key in manifest):
        values = [manifest.get(key) for manifest in manifests]
        if key in _LISTED:
            found[key] = sorted({each for value in values for each in value})
        else:
            found[key] = values[0] if key in _SAME_OF_MANIFEST else values
    return found


def _mean_thresholds(thresholds: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Of each experiment, over the members that have one: None where none reaches the rate."""
    names = dict.fromkeys(name for each in thresholds for name in each)
    found = {name: [each[name] for each in thresholds if each.get(name) is not None] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def _require_fitting(folders: Sequence[Path], members: Sequence[Checkpoint]) -> None:
    if len(members) < 2:
        raise InputError("an ensemble has two members or more", file=folders[0], mend="give several models")
    seen: dict[str, Path] = {}
    for folder, member in zip(folders, members, strict=True):
        if "manifest" not in member.about:
            raise InputError(
                "was saved by Model.save, and says nothing of a training",
                file=folder,
                mend="give models that `tfbind train` made",
            )
        if member.checksum in seen:
            raise InputError(
                f"is the same model as {seen[member.checksum]}",
                file=folder,
                mend="give each model once; train others from other seeds (`tfbind train --member`)",
            )
        seen[member.checksum] = folder
    first = _identity(members[0])
    for folder, member in zip(folders[1:], members[1:], strict=True):
        for what, found in _identity(member).items():
            if found != first[what]:
                raise InputError(
                    f"does not fit {folders[0]}: its {what} is {found}, not {first[what]}",
                    file=folder,
                    mend="join models that were trained on one genome, in the same windows, with the same inputs",
                )


def _identity(member: Checkpoint) -> dict[str, Any]:
    """What all members must have in common."""
    return {
        "bin": member.model.bin,
        "window": member.model.shape.window_bins,
        "genome": member.about["manifest"]["genome"],
        "embedder of proteins": member.about["embedder"],
        "encoder of texts": member.about["contexts"]["encoder"],
        "false discovery rate": member.about["fdr"],
    }
