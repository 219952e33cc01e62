"""Losses: what a prediction costs, given what was measured. Each is one scalar, and each takes masks and weights.

All of them reduce alike: a sum over experiments, a mean over the bins of a window, a mean over windows, times
their weights. What is masked counts for nothing, and is not taken out of the means, so that the losses of a
batch's parts add up to that of the batch, and so that every bin of the genome counts alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tfbind.model.data import BOUND, LEFT_OUT

# As in Borzoi's training: how much the total of a window counts beside its shape.
TOTAL_WEIGHT = 0.2
# Below this standard deviation of a prediction over a window, its correlation fades to 0 instead of having a
# gradient without bound.
LEAST_DEVIATION = 1e-3


def experiment_weights(bound: np.ndarray, balance: float) -> np.ndarray:
    """Weight of each experiment: bound bins to the power of -balance, mean 1, float32 (experiments,)."""
    weights = np.maximum(bound, 1.0) ** -balance
    return (weights / weights.mean()).astype(np.float32)


def binding_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    experiments: Tensor | None = None,
    *,
    windows: int | None = None,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Binary cross-entropy of binding per bin, summed over experiments.

    With `focal_gamma`, the focal loss (Lin et al. 2017, arXiv:1708.02002): each bin's cross-entropy times
    (1 - p)^gamma, where p is the probability given to what is true. Probabilities are then no longer calibrated.

    Parameters
    ----------
    logits
        (windows, bins, experiments): logits, not probabilities.
    labels
        uint8, the same shape: 0 unbound, 1 bound, 2 left out, which counts for nothing.
    weights
        Importance of each window, (windows,); none: 1.
    experiments
        Weight of each experiment, (experiments,); none: 1.
    windows
        Windows of the whole batch of which these are a part; none: these are all. The losses of its parts add
        up to that of the batch.
    focal_gamma
        0 is the cross-entropy itself.

    Returns
    -------
    Scalar, in nats.
    """
    _require_shapes(logits, labels)
    kept = (labels != LEFT_OUT).to(logits.dtype)
    truth = (labels == BOUND).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, truth, weight=kept, reduction="none")
    if focal_gamma:
        # By the logarithm: a power of 1 - p has no finite gradient at p = 1 where gamma is below 1.
        loss = loss * (focal_gamma * F.logsigmoid((1 - 2 * truth) * logits)).exp()
    return _over_bins(loss, weights, experiments, windows)


def poisson_loss(
    rates: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    experiments: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    windows: int | None = None,
    eps: float = 1e-8,
) -> Tensor:
    """Poisson negative log-likelihood per bin without its constant, rate - target log(rate + eps).

    As `torch.nn.PoissonNLLLoss(log_input=False)`, and Enformer's loss (Avsec et al. 2021,
    doi:10.1038/s41592-021-01252-x).

    Parameters
    ----------
    rates
        Predicted, 0 or more, (windows, bins, experiments).
    target
        Measured, 0 or more, the same shape; NaN where nothing was.
    weights, experiments, windows
        As in `binding_loss`.
    mask
        bool, the same shape: what counts; none: all that was measured.
    eps
        Keeps the logarithm finite at a rate of 0.

    Returns
    -------
    Scalar.
    """
    rates, target, kept = _measured(rates, target, mask)
    loss = rates - target * (rates + eps).log()
    return _over_bins(torch.where(kept, loss, 0.0), weights, experiments, windows)


def poisson_multinomial_loss(
    rates: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    experiments: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    windows: int | None = None,
    total_weight: float = TOTAL_WEIGHT,
    eps: float = 1e-8,
) -> Tensor:
    """Shape and total of each window apart: how its counts fall on bins, and how many there are.

    With T the sum of the target over the counted bins of a window, R that of the rates, it is (per bin of the
    window, without constants)

        - sum_i target_i log(rate_i / R) + total_weight (R - T log R)

    that is the negative log-likelihood of a multinomial over bins and, weighted, of a Poisson count (BPNet, Avsec
    et al. 2021, doi:10.1038/s41588-021-00782-6, with a Poisson total as Borzoi, Linder et al. 2025,
    doi:10.1038/s41588-024-02053-6).

    Parameters
    ----------
    rates, target, weights, experiments, mask, windows, eps
        As in `poisson_loss`.
    total_weight
        Weight of the total.

    Returns
    -------
    Scalar, in nats.
    """
    rates, target, kept = _measured(rates, target, mask)
    rates = torch.where(kept, rates, 0.0)
    total, expected = target.sum(1), rates.sum(1)
    log_total = (expected + eps).log()
    shape = -(target * ((rates + eps).log() - log_total.unsqueeze(1))).sum(1)
    loss = (shape + total_weight * (expected - total * log_total)) / rates.shape[1]
    return _over_windows(_of_experiments(loss, experiments), weights, windows)


def pearson_loss(
    prediction: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    experiments: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    windows: int | None = None,
) -> Tensor:
    """1 - Pearson's r over the bins of each window and experiment, summed over experiments.

    Where fewer than two bins are measured, or all are equal, there is no r, and nothing to learn: the loss is 0.
    A prediction that is constant has an r of 0, and a gradient that is bounded: 1e-6 is added to its variance.

    Parameters
    ----------
    prediction, target
        (windows, bins, experiments); the target is NaN where nothing was measured.
    weights, experiments, mask, windows
        As in `poisson_loss`.

    Returns
    -------
    Scalar between 0 and 2 an experiment, for weights of 1.
    """
    prediction, target, kept = _measured(prediction, target, mask)
    varies = _varies(target, kept)
    count = kept.sum(1).clamp(min=1)
    prediction, target = _centred(prediction, kept), _centred(target, kept)
    covariance = (prediction * target).sum(1) / count
    variance = torch.where(varies, target.square().sum(1) / count, 1.0)
    deviation = (prediction.square().sum(1) / count + LEAST_DEVIATION**2).sqrt()
    loss = torch.where(varies, 1 - covariance / (deviation * variance.sqrt()), 0.0)
    return _over_windows(_of_experiments(loss, experiments), weights, windows)


def pearson_correlation(prediction: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Pearson's r over bins: (windows, ...) of (windows, bins, ...), so (windows,) of (windows, bins).

    Parameters
    ----------
    prediction, target
        (windows, bins, ...); the target is NaN where nothing was measured.
    mask
        bool, the same shape: the bins that count; none: all that were measured.

    Returns
    -------
    In [-1, 1], float32 or the inputs' wider type; NaN where fewer than two bins count, or one side is constant.
    """
    prediction, target, kept = _measured(prediction, target, mask, axes=None)
    defined = _varies(prediction, kept) & _varies(target, kept)
    prediction, target = (_unit(_centred(x, kept)) for x in (prediction, target))
    return torch.where(defined, (prediction * target).sum(1).clamp(-1, 1), torch.nan)


def peak_score_loss(
    predicted: Tensor,
    scores: Tensor,
    weights: Tensor | None = None,
    experiments: Tensor | None = None,
    *,
    shift: Tensor | None = None,
    mask: Tensor | None = None,
    windows: int | None = None,
) -> Tensor:
    """Huber loss (delta 1) of log(1 + peak score) in the bins that hold a peak.

    Parameters
    ----------
    predicted
        log(1 + score) at a standard read depth, (windows, bins, experiments).
    scores
        Measured, 0 or more, the same shape: narrowPeak's signalValue; 0 without a peak, NaN where it is not
        known. Both count for nothing: that there is no peak is what `binding_loss` says.
    weights, experiments, windows
        As in `binding_loss`.
    shift
        What each experiment's own read depth adds to log(1 + score), (experiments,); see `tfbind.model.depth`.
    mask
        bool, the same shape: what counts; none: every bin with a score above 0.

    Returns
    -------
    Scalar. Its mean is over all bins, so it is small where peaks are rare, as the loss of binding is.
    """
    predicted, scores, kept = _measured(predicted, scores, mask)
    if shift is not None:
        predicted = predicted + shift
    loss = F.huber_loss(predicted, scores.log1p(), reduction="none")
    return _over_bins(torch.where(kept & (scores > 0), loss, 0.0), weights, experiments, windows)


TRACK_LOSSES: dict[str, Callable[..., Tensor]] = {
    "poisson": poisson_loss,
    "poisson_multinomial": poisson_multinomial_loss,
    "pearson": pearson_loss,
}
"""Losses of a track by the names of `training.losses.track_loss`; all take the same arguments."""


def _require_shapes(prediction: Tensor, target: Tensor, mask: Tensor | None = None, axes: int | None = 3) -> None:
    """Shapes that differ would broadcast, and give a loss of everything against everything."""
    if prediction.shape != target.shape or (mask is not None and mask.shape != target.shape):
        mask_shape = "" if mask is None else f", mask {tuple(mask.shape)}"
        raise ValueError(
            f"shapes differ: prediction {tuple(prediction.shape)}, target {tuple(target.shape)}{mask_shape}"
        )
    if axes is not None and prediction.ndim != axes:
        raise ValueError(f"expected (windows, bins, experiments), got shape {tuple(prediction.shape)}")


def _measured(
    prediction: Tensor, target: Tensor, mask: Tensor | None, *, axes: int | None = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """Both sides in at least float32, the target 0 where it is masked or NaN; and what counts, bool."""
    _require_shapes(prediction, target, mask, axes)
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    kept = ~target.isnan() if mask is None else mask & ~target.isnan()
    return prediction.to(dtype), torch.where(kept, target, 0.0).to(dtype), kept


def _varies(x: Tensor, kept: Tensor) -> Tensor:
    """Whether what counts of (windows, bins, ...) is not all the same, bool (windows, ...)."""
    return torch.where(kept, x, -torch.inf).amax(1) > torch.where(kept, x, torch.inf).amin(1)


def _centred(x: Tensor, kept: Tensor) -> Tensor:
    """Less the mean over the bins that count; 0 elsewhere."""
    mean = torch.where(kept, x, 0.0).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
    return torch.where(kept, x - mean, 0.0)


def _unit(x: Tensor) -> Tensor:
    """Scaled to a norm of 1 over bins; by its largest value first, whose square might overflow."""
    largest = x.abs().amax(1, keepdim=True)
    scaled = x / torch.where(largest > 0, largest, 1.0)
    norm = scaled.square().sum(1, keepdim=True)
    return scaled / torch.where(norm > 0, norm, 1.0).sqrt()


def _over_bins(loss: Tensor, weights: Tensor | None, experiments: Tensor | None, windows: int | None) -> Tensor:
    """Reduce (windows, bins, experiments): sum of experiments, mean of bins, weighted mean of windows."""
    return _over_windows(_of_experiments(loss, experiments).mean(-1), weights, windows)


def _of_experiments(loss: Tensor, experiments: Tensor | None) -> Tensor:
    """The weighted sum over the last axis."""
    return (loss if experiments is None else loss * experiments).sum(-1)


def _over_windows(loss: Tensor, weights: Tensor | None, windows: int | None) -> Tensor:
    if weights is not None:
        loss = loss * weights
    return loss.sum() / (windows or len(loss))
