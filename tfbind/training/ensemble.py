"""Join trained models to an ensemble: what fits together, what it was trained on, and its thresholds."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.config import SEEDS_APART, Config
from tfbind.contexts.contextset import ContextSet
from tfbind.core.errors import InputError
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region, apart, overlap, without
from tfbind.model.batching import factor_batch
from tfbind.model.calibration import Calibration
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.data import SignalTracks, of_cell_types, open_genome_data
from tfbind.model.ensemble import joined
from tfbind.model.inference import bins_around
from tfbind.training.run import pairs_of
from tfbind.training.targets import Targets
from tfbind.training.validation import Validator

# What of a manifest must be equal.
_SAME_OF_MANIFEST = ("genome",)
# What is joined: of each, all that any member lists.
_LISTED = ("factors", "cell_types", "experiments")
_BY_NAME = ("aliases", "relatives")
_REGIONS = ("regions", "validation_regions")


def member_seed(seed: int, member: int) -> int:
    """The seed of a member: the first one's is the configuration's."""
    return seed + member * SEEDS_APART


def run_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds of runs, of those of their members, which stand side by side as `member_seed` gives them."""
    found: list[int] = []
    before = None
    for seed in seeds:
        if before is None or seed != before + SEEDS_APART:
            found.append(seed)
        before = seed
    return found


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
        in bin, window, genome, embedder, text encoder, signals or false discovery rate.
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
        elif key in _BY_NAME:
            found[key] = {name: told for value in values for name, told in value.items()}
        elif key in _REGIONS:
            regions = apart(region for value in values for region in read_regions(value))
            found[key] = [[each.chrom, each.start, each.end] for each in regions]
        else:
            found[key] = values[0] if key in _SAME_OF_MANIFEST else values
    return found


def calibrated(
    ensemble: Checkpoint,
    config: Config,
    reference: Reference,
    factor_set: FactorSet,
    targets: Targets,
    cell_types: Sequence[str],
    tracks: Sequence[Path | None],
    *,
    context_set: ContextSet | None = None,
    further: SignalTracks | None = None,
) -> Checkpoint:
    """The ensemble, calibrated, and with thresholds of its own, where all members were validated.

    The mean of calibrated probabilities is less sure than it could be (Ranjan and Gneiting 2010), so it is
    calibrated again. Where no region is validation of all members and training of none, as may be with folds over
    the genome, the ensemble stays as it is, and standard error is told.

    Parameters
    ----------
    cell_types, tracks, context_set
        As of `train_model`.
    further
        The signals that the members read, of each cell type.

    Raises
    ------
    InputError
        If the targets lack an experiment that a member was trained on.
    """
    regions = shared_validation([member.about["manifest"] for member in ensemble.members])
    if not regions:
        print(
            "the members were validated in no region in common that none was trained on: their thresholds are "
            "averaged, and the mean of their probabilities is not calibrated",
            file=sys.stderr,
            flush=True,
        )
        return ensemble
    names = [experiment["name"] for experiment in targets.experiments]
    columns = _columns(ensemble.about["manifest"]["experiments"], names)
    used = [targets.experiments[column] for column in columns]
    measured = {experiment["cell_type"] for experiment in used}
    contexts = {name: track for name, track in zip(cell_types, tracks, strict=True) if name in measured}
    known = of_cell_types(further, [name in measured for name in cell_types])
    data = open_genome_data(
        reference, list(contexts.values()), bin=config.windows.bin, labels=targets.labels, further=known
    ).knowing(list(contexts), context_set, ensemble.about["contexts"]["learnt"])
    factors = sorted({experiment["factor"] for experiment in used})
    validator = Validator(
        data,
        regions,
        columns,
        config.windows,
        around=max(bins_around(member.model) for member in ensemble.members),
        precision=config.prediction.precision,
    )
    pairs = pairs_of(targets, factors, list(contexts))
    logits = validator.predict_together(ensemble, factor_batch(factor_set, factors), pairs)
    method, fdr = config.prediction.calibration, ensemble.about["fdr"]
    concluded = validator.concluded(logits, method, fdr, targets.experiments)
    about = {
        **ensemble.about,
        **concluded,
        "thresholds_of": "the ensemble's own, in the regions that all members were validated in",
        "validation_auprc": validator.auprc(logits),
    }
    return replace(ensemble, about=about)


def shared_validation(manifests: Sequence[Mapping[str, Any]]) -> list[Region]:
    """Regions in which all were validated, and none was trained."""
    shared = read_regions(manifests[0]["validation_regions"])
    for manifest in manifests[1:]:
        shared = overlap(shared, read_regions(manifest["validation_regions"]))
    return without(shared, [region for manifest in manifests for region in read_regions(manifest["regions"])])


def _columns(experiments: Collection[str], names: Sequence[str]) -> list[int]:
    if missing := sorted(set(experiments) - set(names)):
        raise InputError(
            f"the targets have no experiment {missing[0]}, which a member was trained on",
            key="tables.experiments",
            mend="give the targets that the members were trained on",
        )
    return [column for column, name in enumerate(names) if name in experiments]


def read_regions(given: Sequence[Sequence[Any]]) -> list[Region]:
    """Regions of a manifest."""
    return [Region(*each) for each in given]


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
        "list of signals beside accessibility": list(member.signals),
        "false discovery rate": member.about["fdr"],
    }
