"""Scores that something else gives to the bins of a test, kept in a file, to be compared on the same bins.

A file is an .npz of `about` (JSON: name, sees, probabilities, rule, and the checksum of the split) and, of each
experiment, an array float32 (bins,) by its name: the model's bins of the test's regions, one after the other.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path
from tfbind.evaluation.baselines import Predictor, Values, carried
from tfbind.evaluation.loci import MODEL_BINS, Rule
from tfbind.evaluation.scene import Scene
from tfbind.training.splits import Split

_MEND = "write the predictions again, for this split"
_DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError)


def write_predictions(
    path: str | Path,
    split: Split,
    values: Mapping[str, np.ndarray],
    *,
    name: str,
    sees: str,
    probabilities: bool = False,
    rule: Rule = "mean",
) -> None:
    """Write the scores of experiments.

    Parameters
    ----------
    values
        Experiment -> scores of the model's bins of the test's regions, (bins,), higher is more likely bound.
    name, sees
        Of the predictor, and what it is told, for the tables.
    probabilities
        Whether scores are probabilities, whose calibration can be judged.
    rule
        How they are carried to the bins of the DREAM challenge.
    """
    about = {"name": name, "sees": sees, "probabilities": probabilities, "rule": rule, "split": split.checksum}
    arrays = {f"experiment {each}": np.asarray(found, dtype=np.float32) for each, found in values.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, about=np.array(json.dumps(about)), **arrays)


def read_predictor(path: str | Path, scene: Scene) -> Predictor:
    """The predictor of a file; it applies to the experiments that stand in it.

    Raises
    ------
    InputError
        It is no such file, is of another split, or an experiment's scores are not those of the test's bins.
    """
    path, count = Path(path), len(scene.loci[MODEL_BINS])
    try:
        with np.load(path, allow_pickle=False) as file:
            about = _About(**json.loads(str(file["about"])))
            found = {name.removeprefix("experiment "): file[name] for name in file.files if name != "about"}
    # What is no zip is an array or nothing, and has no `with`; of a damaged one any of the rest.
    except (OSError, EOFError, ValueError, TypeError, AttributeError, KeyError, *_DAMAGED) as error:
        raise InputError(f"holds no predictions ({error})", file=path, mend=_MEND) from error
    if about.rule not in get_args(Rule):
        raise InputError(
            f"has the rule '{about.rule}', none of {', '.join(get_args(Rule))}", file=path, mend=_MEND
        )
    if about.split != scene.split.checksum:
        raise InputError("is of another split", file=path, mend=_MEND)
    for name, values in found.items():
        if values.shape != (count,) or values.dtype.kind != "f" or not np.isfinite(values).all():
            told = f"scores of {name} are {values.shape}, or not finite; the test has {count} bins"
            raise InputError(told, file=path, mend=_MEND)

    def scores(column: int) -> Values | None:
        name = scene.experiments[column]["name"]
        return carried(scene, found[name], about.rule) if name in found else None

    return Predictor(about.name, about.sees, scores, about.probabilities)


@dataclass(frozen=True)
class _About:
    """What a file says of itself."""

    name: str
    sees: str
    probabilities: bool
    rule: Rule
    split: str
