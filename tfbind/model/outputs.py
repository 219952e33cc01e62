"""What the model says of windows, bin by bin, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch.nn.functional as F
from torch import Tensor

from tfbind.config import LossSettings
from tfbind.model.data import BOUND
from tfbind.model.losses import TRACK_LOSSES, binding_loss, peak_score_loss


@dataclass(frozen=True)
class Outputs:
    """Predictions, each (windows, bins, pairs) for pairs of factor and cell type.

    Attributes
    ----------
    binding : logits of binding; None if the model predicts none
    track : rates of signal, 0 or more; None if the model predicts none
    peak_score : log(1 + peak score) at the standard read depth; None if the model predicts none
    """

    binding: Tensor | None = None
    track: Tensor | None = None
    peak_score: Tensor | None = None

    def activated(self) -> Outputs:
        """Rates made of what the head says of them, by softplus; logits and scores are what it says."""
        return self if self.track is None else replace(self, track=F.softplus(self.track))

    def without_edges(self, crop: int) -> Outputs:
        """Without so many bins at either side of each window."""
        if crop == 0:
            return self
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{name: x[:, crop:-crop] for name, x in found.items() if x is not None})


@dataclass(frozen=True)
class Measured:
    """What was measured in the bins of windows, each (windows, bins, experiments).

    Attributes
    ----------
    labels : uint8
        0 unbound, 1 bound, 2 left out.
    signal : float32, or None
        Mean coverage, NaN where not measured.
    score : float32, or None
        Peak score, 0 without a peak, NaN where not known.
    """

    labels: Tensor
    signal: Tensor | None = None
    score: Tensor | None = None


@dataclass(frozen=True)
class Losses:
    """What is minimised, and what it is made of.

    Attributes
    ----------
    total : scalar
        Weighted.
    parts : scalar, by name
        Each loss that counts, without its weight and without a gradient.
    """

    total: Tensor
    parts: dict[str, Tensor]


def total_loss(
    outputs: Outputs,
    measured: Measured,
    settings: LossSettings,
    weights: Tensor | None = None,
    experiments: Tensor | None = None,
    *,
    depth_shift: Tensor | None = None,
    windows: int | None = None,
) -> Losses:
    """The weighted sum of the losses whose weight is above 0.

    Parameters
    ----------
    weights, experiments, windows
        As in `binding_loss`; for every loss alike.
    depth_shift
        As `shift` in `peak_score_loss`. Peak scores are learnt in bound bins only, not in ambiguous ones.

    Raises
    ------
    ValueError
        A loss has a weight, and the model does not predict what it is about, or it was not measured.
    """
    common = (weights, experiments)
    losses = {}
    if settings.binding:
        losses["binding"] = binding_loss(
            outputs.binding, measured.labels, *common, windows=windows, focal_gamma=settings.focal_gamma
        )
    if settings.track:
        track, signal = _both("track", outputs.track, measured.signal)
        losses["track"] = TRACK_LOSSES[settings.track_loss](track, signal, *common, windows=windows)
    if settings.peak_score:
        predicted, score = _both("peak_score", outputs.peak_score, measured.score)
        bound = measured.labels == BOUND
        losses["peak_score"] = peak_score_loss(
            predicted, score, *common, shift=depth_shift, mask=bound, windows=windows
        )
    total = sum(getattr(settings, name) * loss for name, loss in losses.items())
    return Losses(total, {name: loss.detach() for name, loss in losses.items()})


def _both(name: str, predicted: Tensor | None, measured: Tensor | None) -> tuple[Tensor, Tensor]:
    if predicted is None or measured is None:
        what = "the model predicts none" if predicted is None else "none was measured"
        raise ValueError(f"the loss '{name}' has a weight, and {what}")
    return predicted, measured
