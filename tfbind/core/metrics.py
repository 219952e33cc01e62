"""Ranking and calibration metrics at the genome's natural prevalence: the one implementation of them.

Every metric of a ranking is read off the same operating points: the numbers of bound and unbound bins at or
above each distinct score. Bins of equal score are never told apart, so a metric does not depend on the order
of the bins.

Where all bins are bound, or none, a ranking cannot be judged: metrics are nan then (and thresholds None).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Decimal rates are not exact in binary: without this, a share of wrong calls equal to the FDR could miss it.
_FDR_TOLERANCE = 1e-12


@dataclass(frozen=True)
class OperatingPoints:
    """What is called bound at each distinct score, from the highest to the lowest.

    Several metrics of the same ranking are had from one sort by keeping this object.

    Attributes
    ----------
    thresholds
        (k,), strictly decreasing: the distinct scores; a bin is called when its score >= threshold.
    true_calls, false_calls
        (k,) int64: bound and unbound bins called at that threshold.
    """

    thresholds: NDArray[np.floating]
    true_calls: NDArray[np.int64]
    false_calls: NDArray[np.int64]

    @property
    def n_bound(self) -> int:
        """Number of bound bins."""
        return int(self.true_calls[-1]) if self.true_calls.size else 0

    @property
    def n_unbound(self) -> int:
        """Number of unbound bins."""
        return int(self.false_calls[-1]) if self.false_calls.size else 0

    @property
    def judgeable(self) -> bool:
        """Whether there are both bound and unbound bins."""
        return self.n_bound > 0 and self.n_unbound > 0

    def average_precision(self) -> float:
        """See `average_precision`."""
        if not self.judgeable:
            return float("nan")
        precision = self.true_calls / (self.true_calls + self.false_calls)
        return float(np.sum(np.diff(self.true_calls, prepend=0) * precision) / self.n_bound)

    def auroc(self) -> float:
        """See `auroc`."""
        if not self.judgeable:
            return float("nan")
        # Twice the trapezoids' area, in whole numbers; a bound and an unbound bin that tie are half a pair.
        called_before = self.true_calls - np.diff(self.true_calls, prepend=0)
        twice_area = np.sum(np.diff(self.false_calls, prepend=0) * (self.true_calls + called_before))
        return float(twice_area / (2 * self.n_bound * self.n_unbound))

    def recall_at_fdr(self, fdr: float) -> float:
        """See `recall_at_fdr`."""
        _check_fdr(fdr)
        if not self.judgeable:
            return float("nan")
        best = self._best_within(fdr)
        return 0.0 if best is None else float(self.true_calls[best] / self.n_bound)

    def threshold_at_fdr(self, fdr: float) -> float | None:
        """See `threshold_at_fdr`."""
        _check_fdr(fdr)
        best = self._best_within(fdr) if self.judgeable else None
        return None if best is None else float(self.thresholds[best])

    def _best_within(self, fdr: float) -> int | None:
        """Index of the highest threshold with the largest recall within the FDR; None without any."""
        rate = self.false_calls / (self.true_calls + self.false_calls)
        within = (rate <= fdr + _FDR_TOLERANCE) & (self.true_calls > 0)
        if not within.any():
            return None
        return int(np.argmax(np.where(within, self.true_calls, -1)))  # argmax: the first, so the most precise


class Ranking:
    """Bins in the order of their scores: sorted once, whatever is then asked of them.

    Parameters and errors as `average_precision`.

    Attributes
    ----------
    scores
        (n,), falling.
    order
        (n,) int64: the bin at each place.
    labels
        (n,) bool, in this order.
    """

    def __init__(self, labels: ArrayLike, scores: ArrayLike) -> None:
        labels, scores = _checked(labels, scores, "scores")
        self.order = np.argsort(scores)[::-1]
        self.scores, self.labels = scores[self.order], labels[self.order]
        # A threshold can only lie where a run of equal scores ends.
        last = np.ones(self.scores.size, bool)
        last[:-1] = self.scores[1:] != self.scores[:-1]
        self._ends = np.flatnonzero(last)

    def points(self, chosen: NDArray[np.bool_] | None = None) -> OperatingPoints:
        """The calls at each distinct score; of the bins that are chosen, (n,) in the bins' order, or all."""
        ends = self._ends
        if chosen is None:
            true_calls = np.cumsum(self.labels, dtype=np.int64)[ends]
            return OperatingPoints(self.scores[ends], true_calls, ends + 1 - true_calls)
        kept = chosen[self.order]
        calls = np.cumsum(kept, dtype=np.int64)[ends]
        true_calls = np.cumsum(self.labels & kept, dtype=np.int64)[ends]
        more = np.diff(calls, prepend=0) > 0
        return OperatingPoints(self.scores[ends[more]], true_calls[more], (calls - true_calls)[more])

    def calls_by_block(self, blocks: NDArray[np.integer], count: int) -> tuple[NDArray, NDArray]:
        """The calls of each block of bins, at the thresholds at which bound bins are called.

        Parameters
        ----------
        blocks
            (n,), from 0: the block of each bin, in the bins' order.
        count
            Number of blocks.

        Returns
        -------
        Bound bins called, and bins called, float64 (thresholds, count) each.
        """
        true_calls = np.cumsum(self.labels, dtype=np.int64)[self._ends]
        ends = self._ends[np.diff(true_calls, prepend=0) > 0]
        size = int(ends[-1]) + 1 if ends.size else 0
        # Of each bin, the first of these thresholds at which it is called.
        first = np.repeat(np.arange(ends.size), np.diff(ends, prepend=-1))
        cell = first * count + blocks[self.order[:size]]
        called, bound = (
            np.bincount(each, minlength=ends.size * count).reshape(ends.size, count)
            for each in (cell, cell[self.labels[:size]])
        )
        return np.cumsum(bound, axis=0, dtype=np.float64), np.cumsum(called, axis=0, dtype=np.float64)


def operating_points(labels: ArrayLike, scores: ArrayLike) -> OperatingPoints:
    """Check the input, sort it once and count the calls at each distinct score.

    Parameters and errors as `average_precision`.
    """
    return Ranking(labels, scores).points()


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve (AUPRC) as a step sum, without interpolation.

    AP = sum over thresholds j of (recall_j - recall_{j-1}) * precision_j, as scikit-learn defines it.

    Parameters
    ----------
    labels
        (n,) bool: bound.
    scores
        (n,) numbers, higher is more likely bound; infinite is allowed.

    Returns
    -------
    float
        In (0, 1]; a ranking by chance has the prevalence. nan where all bins are bound, or none.

    Raises
    ------
    ValueError
        Labels that are not bool, shapes that differ, NaN scores.
    """
    return operating_points(labels, scores).average_precision()


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a bound bin outranks an unbound one, ties counting half.

    The Mann-Whitney U statistic over n_bound * n_unbound. Parameters and errors as `average_precision`; nan
    where all bins are bound, or none.
    """
    return operating_points(labels, scores).auroc()


def recall_at_fdr(labels: ArrayLike, scores: ArrayLike, fdr: float) -> float:
    """Largest recall of any threshold whose precision is at least 1 - fdr.

    Parameters
    ----------
    labels, scores
        As `average_precision`.
    fdr
        False discovery rate, 0 <= fdr < 1: unbound calls / calls.

    Returns
    -------
    float
        0 where no threshold is that precise; nan where all bins are bound, or none.
    """
    return operating_points(labels, scores).recall_at_fdr(fdr)


def threshold_at_fdr(labels: ArrayLike, scores: ArrayLike, fdr: float) -> float | None:
    """Score threshold that reaches `recall_at_fdr`: call the bins with score >= it.

    Where several thresholds have that recall, the highest, so the most precise. It is one of the scores,
    exactly.

    Returns
    -------
    float or None
        None where no threshold is that precise, and where all bins are bound, or none.
    """
    return operating_points(labels, scores).threshold_at_fdr(fdr)


class ReliabilityCurve(NamedTuple):
    """Predicted against observed frequency of binding, in groups of bins by rising probability.

    Attributes
    ----------
    predicted
        (g,) float64: mean probability of each group.
    observed
        (g,) float64: share of bound bins of each group.
    count
        (g,) int64: bins of each group.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    count: NDArray[np.int64]


def reliability_curve(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> ReliabilityCurve:
    """Predicted and observed frequencies in groups of equal mass.

    The groups hold equal numbers of bins and not equal widths of probability: binding is so rare that of
    equal widths the lowest would hold nearly the whole genome. Bins of equal probability stay in one group,
    so that groups are only nearly equal, and fewer than `bins` where there are long ties.

    Parameters
    ----------
    labels
        (n,) bool: bound.
    probabilities
        (n,) in [0, 1].
    bins
        Number of groups, at least 1.

    Raises
    ------
    ValueError
        As `average_precision`; probabilities outside [0, 1]; bins < 1.
    """
    labels, probabilities = _checked(labels, probabilities, "probabilities")
    return reliability_of_points(operating_points(labels, probabilities), bins)


def reliability_of_points(points: OperatingPoints, bins: int = 15) -> ReliabilityCurve:
    """As `reliability_curve`, of probabilities that are sorted already."""
    if bins < 1:
        raise ValueError(f"a reliability curve needs at least 1 group, not {bins}")
    if points.thresholds.size == 0:
        return ReliabilityCurve(np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    if points.thresholds[-1] < 0 or points.thresholds[0] > 1:
        raise ValueError("probabilities must lie in [0, 1]")
    called = points.true_calls + points.false_calls
    summed = np.cumsum(points.thresholds.astype(np.float64) * np.diff(called, prepend=0))
    # Of each share of the bins, the first end of a run of ties that completes it.
    shares = np.arange(1, bins + 1) * int(called[-1]) / bins
    ends = np.unique(np.minimum(np.searchsorted(called, shares), called.size - 1))
    count = np.diff(called[ends], prepend=0)
    predicted = np.diff(summed[ends], prepend=0) / count
    observed = np.diff(points.true_calls[ends], prepend=0) / count
    return ReliabilityCurve(predicted[::-1], observed[::-1], count[::-1])


def reliability_by_probability(points: OperatingPoints, steps: int = 4) -> ReliabilityCurve:
    """A reliability curve whose groups are `steps` equal steps of a decade of probability, from 1e-9 on.

    Groups of equal mass tell nearly nothing of high probabilities, which few bins have: these tell of each alike.

    Parameters
    ----------
    points
        Of probabilities.
    """
    called = points.true_calls + points.false_calls
    count, bound = np.diff(called, prepend=0), np.diff(points.true_calls, prepend=0)
    values = points.thresholds.astype(np.float64)
    # Certainty is of the highest group. Of float32, a hair below an edge is the edge.
    step = np.minimum(np.floor(np.log10(np.maximum(values, 1e-9)) * steps + 1e-6), -1).astype(np.int64)
    first = np.flatnonzero(np.diff(step, prepend=1))[::-1]
    if first.size == 0:
        return ReliabilityCurve(np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    predicted, observed, bins = (
        np.add.reduceat(each, first[::-1])[::-1] for each in (values * count, bound, count)
    )
    return ReliabilityCurve(predicted / bins, observed / bins, bins)


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Mean distance between predicted and observed frequency of binding, over groups of equal mass.

    ECE = sum over groups g of n_g / n * |observed_g - predicted_g| (Naeini et al. 2015), with the groups of
    `reliability_curve`. With binding as rare as it is, it is at most the prevalence plus the mean
    probability: read it beside the prevalence.

    Returns
    -------
    float
        In [0, 1]; nan where all bins are bound, or none. Parameters and errors as `reliability_curve`.
    """
    curve = reliability_curve(labels, probabilities, bins)
    bound = np.asarray(labels)
    return calibration_error_of(curve) if bound.any() and not bound.all() else float("nan")


def calibration_error_of(curve: ReliabilityCurve) -> float:
    """The `expected_calibration_error` of a curve that has bins."""
    return float(np.average(np.abs(curve.observed - curve.predicted), weights=curve.count))


def resampled_blocks(count: int, replicates: int, seed: int | Sequence[int]) -> NDArray[np.int64]:
    """How often each block is drawn, where as many blocks as there are are drawn with replacement.

    Returns
    -------
    int64 (count, replicates), each column of sum `count`. The same seed gives the same, so that replicates of
    several predictors and experiments over the same blocks can be compared one by one.
    """
    drawn = np.random.default_rng(seed).integers(0, count, (replicates, count))
    return np.stack([np.bincount(each, minlength=count) for each in drawn], axis=1).astype(np.int64)


def average_precision_of_resamples(
    ranking: Ranking, blocks: NDArray[np.integer], drawn: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The average precision of each resample of blocks, in which bins count as often as their block is drawn.

    Of a ranking's thresholds only those matter at which bound bins are called, so a resample costs a product
    of (those thresholds, blocks), and no sort.

    Parameters
    ----------
    blocks
        (n,), from 0: the block of each bin.
    drawn
        (blocks, replicates), as of `resampled_blocks`.

    Returns
    -------
    (replicates,); nan where all bins drawn are bound, or none.
    """
    bound, called = ranking.calls_by_block(blocks, len(drawn))
    times = drawn.astype(np.float64)
    true_calls, calls = bound @ times, called @ times
    steps = np.diff(true_calls, prepend=np.zeros((1, drawn.shape[1])), axis=0)
    total = true_calls[-1] if len(true_calls) else np.zeros(drawn.shape[1])
    judged = (total > 0) & (total < np.bincount(blocks, minlength=len(drawn)) @ times)
    # Where nothing was drawn yet, the step is 0.
    summed = (steps * true_calls / np.maximum(calls, 1)).sum(0)
    return np.where(judged, summed / np.maximum(total, 1), np.nan)


def percentile_interval(replicates: ArrayLike, coverage: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap replicates; those that are nan do not count, nan without any.

    Efron & Tibshirani (1993), chapter 13.
    """
    values = np.asarray(replicates, np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    # Between a number and infinity there is nothing to interpolate.
    method = "linear" if np.isfinite(values).all() else "inverted_cdf"
    low, high = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2], method=method)
    return float(low), float(high)


def _checked(labels: ArrayLike, scores: ArrayLike, name: str) -> tuple[NDArray[np.bool_], NDArray]:
    """Both as arrays; ValueError where they are not what they must be.

    Labels of another type are refused and not cast: in codes such as bound / unbound / ambiguous, ambiguous
    would become bound.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.dtype != np.bool_:
        raise ValueError(f"labels must be bool, not {labels.dtype}")
    if labels.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"labels and {name} must both be (n,), not {labels.shape} and {scores.shape}")
    if scores.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be real numbers, not {scores.dtype}")
    if np.isnan(scores).any():
        raise ValueError(f"{name} hold NaN ({int(np.isnan(scores).sum())} of {scores.size} bins)")
    return labels, scores


def _check_fdr(fdr: float) -> None:
    if not 0 <= fdr < 1:
        raise ValueError(f"a false discovery rate must lie in [0, 1), not {fdr}")
