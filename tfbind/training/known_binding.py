"""Fit how known binding counts: logistic regression on what a model was validated on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.model.known_binding import KINDS, Experiments, KnownBinding, Pair, Weights
from tfbind.training.calibration import LEAST_OF_A_KIND, Groups, logistic
from tfbind.training.thresholds import find_thresholds

# Logits and evidence are grouped: so many to 1.
FINE = 64
# Of logits, up to here.
FAR = 30
# More than evidence has, log(51) at most.
PLACES = 256
# Bins at once.
STRETCH = 1 << 14


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
    experiments, parts = Experiments(measured), _parts(len(truth))
    there = experiments.about(measured).any(-1).numpy()
    grouped = [_grouped(logits[part], truth[part], experiments, there) for part in parts]
    together = _counted(*(np.concatenate(each) for each in zip(*grouped, strict=True)))
    sets = [kinds for count in range(1, len(KINDS) + 1) for kinds in combinations(KINDS, count)]
    weights = {kinds: found for kinds in sets if (found := _fit(*together, kinds)) is not None}
    known = KnownBinding(weights, {})
    counted = [
        known.counted(_tensor(logits[part]).T, truth[part], experiments, measured).T.numpy() for part in parts
    ]
    return KnownBinding(weights, find_thresholds(truth, np.concatenate(counted), fdr, names))


def _fit(numbers: np.ndarray, count: np.ndarray, bound: np.ndarray, kinds: tuple[str, ...]) -> Weights | None:
    """Weights of some kinds; None where the validation does not tell them, or says that the evidence misleads.

    Parameters
    ----------
    numbers, count, bound
        As `_counted` gives them.
    """
    logits, evidence, there = _features(numbers)
    places = [KINDS.index(kind) for kind in kinds]
    chosen = there[places].all(0)
    logits, count, bound = logits[chosen], count[chosen], bound[chosen]
    if min(bound.sum(), (count - bound).sum()) < LEAST_OF_A_KIND:
        return None
    design = [logits, *evidence[places][:, chosen], np.ones_like(logits)]
    fitted = logistic(design, Groups(logits, count, bound), [1.0, *(0.0 for _ in kinds), 0.0])
    slope, *weights, offset = fitted
    if not (np.isfinite(fitted).all() and slope > 0 and min(weights) > 0):
        return None
    return Weights(slope, offset, dict(zip(kinds, weights, strict=True)))


Counted = tuple[np.ndarray, np.ndarray, np.ndarray]


def _grouped(logits: np.ndarray, labels: np.ndarray, experiments: Experiments, there: np.ndarray) -> Counted:
    """Bins of all experiments, those of almost equal logits and evidence as one, as `_counted` gives them.

    Parameters
    ----------
    there
        Whether an experiment has evidence of each kind, bool (kinds, experiments).
    """
    numbers = _rounded(_tensor(logits).T.clamp(-FAR, FAR) + FAR)
    for each in experiments.evidence(labels, experiments.measured):
        numbers = numbers * PLACES + _rounded(each)
    for has in there:
        numbers = numbers * 2 + has[:, None]
    kept = labels.T != LEFT_OUT
    return _counted(numbers[kept], np.ones(kept.sum()), (labels.T == BOUND)[kept])


def _counted(numbers: np.ndarray, count: np.ndarray, bound: np.ndarray) -> Counted:
    """Those of equal numbers as one: the numbers, how many there are of each, and how many bound ones."""
    distinct, place = np.unique(numbers, return_inverse=True)
    count, bound = (np.bincount(place, weights=each, minlength=len(distinct)) for each in (count, bound))
    return distinct, count, bound


def _features(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What numbers tell: logits (n,), evidence (kinds, n), and whether there is any (kinds, n)."""
    there, evidence = [], []
    for _ in KINDS:
        numbers, rest = np.divmod(numbers, 2)
        there.insert(0, rest == 1)
    for _ in KINDS:
        numbers, rest = np.divmod(numbers, PLACES)
        evidence.insert(0, rest / FINE)
    return numbers / FINE - FAR, np.stack(evidence), np.stack(there)


def _rounded(values: torch.Tensor) -> np.ndarray:
    return np.rint(values.numpy() * FINE).astype(np.int64)


def _parts(count: int) -> list[slice]:
    return [slice(first, first + STRETCH) for first in range(0, count, STRETCH)]


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values))
