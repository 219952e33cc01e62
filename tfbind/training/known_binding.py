"""Fit how known binding counts: logistic regression on what a model was validated on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.model.known_binding import KINDS, Experiments, KnownBinding, Pair, Weights, evidence
from tfbind.training.calibration import LEAST_OF_A_KIND, Groups, logistic
from tfbind.training.thresholds import find_thresholds

# Logits and evidence are grouped: so many to 1.
FINE = 64
# Of logits, up to here.
FAR = 30
# More than evidence has, log(51) at most.
PLACES = 256
# Bins at once.
STRETCH = 1 << 16


def fit_known_binding(
    logits: np.ndarray, truth: np.ndarray, measured: Sequence[Pair], fdr: float, names: Sequence[str]
) -> KnownBinding:
    """Weights for each set of kinds of evidence, and thresholds by them.

    Each set is fitted on the experiments that have evidence of all of it: by the other experiments at the same
    bins, where the model was not trained.

    Parameters
    ----------
    logits
        Of calibrated probabilities, (bins, experiments): validation.
    truth
        Labels, uint8 (bins, experiments).
    measured
        Factor and cell type of each experiment.
    fdr, names
        As of `find_thresholds`.
    """
    about = Experiments(measured).about(measured)
    sets = [kinds for count in range(1, len(KINDS) + 1) for kinds in combinations(KINDS, count)]
    weights = {kinds: found for kinds in sets if (found := _fit(logits, truth, about, kinds)) is not None}
    known, parts = KnownBinding(weights, {}), _parts(len(truth))
    counted = [known.counted(_tensor(logits[part]).T, _tensor(truth[part]), about).T.numpy() for part in parts]
    return KnownBinding(weights, find_thresholds(truth, np.concatenate(counted), fdr, names))


def _fit(logits: np.ndarray, truth: np.ndarray, about: torch.Tensor, kinds: tuple[str, ...]) -> Weights | None:
    """Weights of some kinds; None where the validation does not tell them, or says that the evidence misleads."""
    places = [KINDS.index(kind) for kind in kinds]
    columns = torch.nonzero(about[places].any(-1).all(0)).flatten().tolist()
    if not columns:
        return None
    about = about[:, columns][places]
    found = [
        _counted(*_grouped(logits[part][:, columns], truth[part], truth[part][:, columns], about))
        for part in _parts(len(truth))
    ]
    numbers, count, bound = _counted(*(np.concatenate(part) for part in zip(*found, strict=True)))
    if min(bound.sum(), (count - bound).sum()) < LEAST_OF_A_KIND:
        return None
    design = [*_features(numbers, len(kinds)), np.ones_like(count)]
    start = [1.0, *(0.0 for _ in kinds), 0.0]
    fitted = logistic(design, Groups(design[0], count, bound), start)
    slope, *weights, offset = fitted
    if not (np.isfinite(fitted).all() and slope > 0 and min(weights) > 0):
        return None
    return Weights(slope, offset, dict(zip(kinds, weights, strict=True)))


Counted = tuple[np.ndarray, np.ndarray, np.ndarray]


def _grouped(logits: np.ndarray, labels: np.ndarray, truth: np.ndarray, about: torch.Tensor) -> Counted:
    """Of each bin that is known: a number that tells its logit and its evidence, 1, and whether it is bound."""
    numbers = _rounded(_tensor(logits).T.clamp(-FAR, FAR) + FAR)
    for each in evidence(_tensor(labels), about):
        numbers = numbers * PLACES + _rounded(each)
    kept = truth.T != LEFT_OUT
    return numbers[kept], np.ones(kept.sum()), (truth.T == BOUND)[kept]


def _counted(numbers: np.ndarray, count: np.ndarray, bound: np.ndarray) -> Counted:
    """Those of equal numbers as one."""
    distinct, place = np.unique(numbers, return_inverse=True)
    count, bound = (np.bincount(place, weights=each, minlength=len(distinct)) for each in (count, bound))
    return distinct, count, bound


def _features(numbers: np.ndarray, kinds: int) -> list[np.ndarray]:
    """Logits, and evidence of each kind: what `_grouped` made numbers of."""
    found = []
    for _ in range(kinds):
        numbers, rest = np.divmod(numbers, PLACES)
        found.insert(0, rest / FINE)
    return [numbers / FINE - FAR, *found]


def _rounded(values: torch.Tensor) -> np.ndarray:
    return np.rint(values.numpy() * FINE).astype(np.int64)


def _parts(count: int) -> list[slice]:
    return [slice(first, first + STRETCH) for first in range(0, count, STRETCH)]


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values))
