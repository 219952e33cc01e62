"""Fit the calibration of a model on what it was validated on, and choose how.

Each method is fitted on one half of the validation and judged on the other, both ways; the simplest of those
whose log-loss is as good as the best is then fitted on all of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfbind.model.calibration import METHODS, Calibration

BLOCK_BP = 1_000_000
# Validation that is short is cut into so many blocks at least.
LEAST_BLOCKS = 8
# Bound bins, and unbound ones, that each half must have.
LEAST_OF_A_KIND = 20
# Log-losses within this part of the best are called equal, and the simpler method is taken.
EQUAL = 1e-3
NEWTON_STEPS, HALVINGS = 100, 20
# Groups of logits: so many to 1, and up to here.
FINE, FAR = 1024, 100

Floats = NDArray[np.float64]


class Groups(NamedTuple):
    """Bins of almost equal logits.

    Attributes
    ----------
    logits : float64 (groups,), rising
        Means.
    count, bound : float64 (groups,)
        How many bins there are, and how many of them are bound.
    """

    logits: Floats
    count: Floats
    bound: Floats


@dataclass(frozen=True)
class Judged:
    """Predictions whose truth is known: bins that are kept, of all experiments.

    Attributes
    ----------
    logits : float64 (n,)
    bound : bool (n,)
    half : bool (n,)
        Which half of the validation a bin lies in.
    """

    logits: Floats
    bound: NDArray[np.bool_]
    half: NDArray[np.bool_]

    @cached_property
    def groups(self) -> Groups:
        """Bins whose logits lie within 1/1024 of each other as one: fits then cost the same for any genome."""
        place = np.rint(np.clip(self.logits, -FAR, FAR) * FINE).astype(np.int64) + FAR * FINE
        count = np.bincount(place)
        there = np.flatnonzero(count)
        sums = [np.bincount(place, weights=values)[there] for values in (self.logits, self.bound)]
        return Groups(sums[0] / count[there], count[there].astype(np.float64), sums[1])

    def part(self, second: bool) -> Judged:
        """One half."""
        chosen = self.half == second
        return Judged(self.logits[chosen], self.bound[chosen], self.half[chosen])


def halves(counts: Sequence[int], bin: int) -> NDArray[np.bool_]:
    """Validation in two halves: blocks of 1 Mb, or an eighth of all of it if that is less, in turn.

    Neighbouring bins lie in one half, so that a method is judged on loci that it was not fitted on.

    Parameters
    ----------
    counts
        Bins of each stretch.
    bin
        bp of a bin.

    Returns
    -------
    bool (bins of all stretches,)
    """
    total = sum(counts)
    length = max(1, min(BLOCK_BP // bin, -(-total // LEAST_BLOCKS)))
    return (np.arange(total) // length) % 2 == 1


def calibrate(judged: Judged, method: str) -> tuple[Calibration, dict[str, Any]]:
    """Fit a calibration.

    Parameters
    ----------
    method
        One of `METHODS`, or `auto`: chosen by log-loss.

    Returns
    -------
    The calibration, and what a checkpoint says of it: its parameters, and what it was chosen by. Where a half has
    fewer than 20 bound or unbound bins it is `none`, which standard error is told.
    """
    if method == "none":
        return Calibration(), Calibration().as_json() | {"chosen_by": None}
    least = min(_least_of_a_kind(judged.part(second)) for second in (False, True))
    if least < LEAST_OF_A_KIND:
        told = f"a half of the validation has {least} bound or unbound bins, fewer than {LEAST_OF_A_KIND}"
        print(f"probabilities are not calibrated: {told}", file=sys.stderr, flush=True)
        return Calibration(), Calibration().as_json() | {"chosen_by": told}
    losses = {name: found for name in METHODS if (found := _crossed_loss(judged, name)) is not None}
    chosen = method
    if method == "auto":
        best = min(losses.values())
        chosen = next(name for name, loss in losses.items() if loss <= best * (1 + EQUAL))
    found = FITS[chosen](judged)
    if found is None:
        print(
            "probabilities are not calibrated: the model ranks no better than chance", file=sys.stderr, flush=True
        )
        found = Calibration()
    about = {
        "asked_for": method,
        "log_loss": losses,
        "bins": len(judged.bound),
        "bound": int(judged.bound.sum()),
    }
    return found, found.as_json() | {"chosen_by": about}


def log_loss(logits: Floats, bound: NDArray[np.bool_]) -> float:
    """Mean negative log-likelihood, nats a bin."""
    return float(np.mean(np.logaddexp(0, logits) - bound * logits))


def mapped(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    """Logits after a calibration as rendering computes it, float32."""
    import torch

    return calibration(torch.as_tensor(np.ascontiguousarray(logits, dtype=np.float32))).numpy()


def _least_of_a_kind(judged: Judged) -> int:
    count = int(judged.bound.sum())
    return min(count, len(judged.bound) - count)


def _crossed_loss(judged: Judged, method: str) -> float | None:
    """Log-loss over both halves, each after what was fitted on the other; None if there is no fit."""
    total = 0.0
    for second in (False, True):
        found = FITS[method](judged.part(not second))
        if found is None:
            return None
        other = judged.part(second).groups
        logits = mapped(found, other.logits).astype(np.float64)
        total += float(np.sum(other.count * np.logaddexp(0, logits) - other.bound * logits))
    return total / len(judged.bound)


def _fit_none(_: Judged) -> Calibration:
    return Calibration()


def _fit_temperature(judged: Judged) -> Calibration | None:
    """Guo et al. 2017: logits are divided by one number."""
    groups = judged.groups
    (slope,) = logistic([groups.logits], groups, [1.0])
    return Calibration("temperature", slope) if slope > 0 else None


def _fit_platt(judged: Judged) -> Calibration | None:
    """Platt 1999: logistic regression on the logit."""
    groups = judged.groups
    slope, offset = logistic([groups.logits, np.ones_like(groups.logits)], groups, [1.0, 0.0])
    return Calibration("platt", slope, offset) if slope > 0 else None


def _fit_isotonic(judged: Judged) -> Calibration | None:
    """Centred isotonic regression (Oron and Flournoy 2017), in logits.

    Blocks of equal frequency, as isotonic regression makes them, stand at their mean logit, and between these the
    map is linear: it has no ties. A block's frequency is (bound + 1/2) / (bins + 1), so that none is 0 or 1.
    """
    from scipy.optimize import isotonic_regression

    slope = _fit_platt(judged)
    if slope is None:
        return None
    at, count, bound = judged.groups
    blocks = isotonic_regression(bound / count, weights=count).blocks[:-1]
    count, bound, at = _summed(blocks, count, bound, at * count)
    smooth = (bound + 0.5) / (count + 1)
    # Softened, small blocks may have changed places with their neighbours.
    again = isotonic_regression(smooth, weights=count + 1)
    count, at = _summed(again.blocks[:-1], count, at)
    value = again.x[again.blocks[:-1]]
    knots = zip((at / count).tolist(), np.log(value / (1 - value)).tolist(), strict=True)
    return Calibration("isotonic", slope.slope, 0.0, tuple(knots))


FITS: dict[str, Callable[[Judged], Calibration | None]] = {
    "none": _fit_none,
    "temperature": _fit_temperature,
    "platt": _fit_platt,
    "isotonic": _fit_isotonic,
}


def _summed(starts: np.ndarray, *values: Floats) -> tuple[Floats, ...]:
    """Sums over runs, from each of `starts` to the next."""
    return tuple(np.add.reduceat(value, starts) for value in values)


def logistic(columns: Sequence[Floats], groups: Groups, start: Sequence[float]) -> list[float]:
    """Logistic regression by Newton's method, with steps halved until the loss falls (Lin, Lin and Weng 2007).

    Targets are Platt's, not quite 0 and 1: a fit stays finite where a ranking is without error.
    """
    total, count = groups.count.sum(), groups.bound.sum()
    high, low = (count + 1) / (count + 2), 1 / (total - count + 2)
    targets = (groups.bound * high + (groups.count - groups.bound) * low) / groups.count
    share = groups.count / total
    design = np.stack(columns)
    weights = np.array(start, dtype=np.float64)

    def loss(at: Floats) -> float:
        scores = at @ design
        return float(share @ (np.logaddexp(0, scores) - targets * scores))

    best = loss(weights)
    for _ in range(NEWTON_STEPS):
        probabilities = 1 / (1 + np.exp(-np.clip(weights @ design, -700, 700)))
        gradient = design @ (share * (probabilities - targets))
        hessian = (design * (share * probabilities * (1 - probabilities))) @ design.T
        step = np.linalg.solve(hessian + 1e-12 * np.eye(len(design)), gradient)
        if gradient @ step < 1e-14:
            break
        for halving in range(HALVINGS):
            tried = weights - step / 2**halving
            if (found := loss(tried)) < best:
                break
        else:
            break
        weights, best = tried, found
    return weights.tolist()
