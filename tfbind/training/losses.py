"""The loss: binary cross-entropy over every measured bin of a window."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tfbind.model.data import BOUND, LEFT_OUT


def binding_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Negative log-likelihood per bin, summed over experiments.

    Parameters
    ----------
    logits
        (windows, bins, experiments).
    labels
        uint8, the same shape; left-out bins count for nothing.
    weights
        Importance of each window, (windows,).

    Returns
    -------
    Scalar, in nats.
    """
    kept = (labels != LEFT_OUT).to(logits.dtype)
    truth = (labels == BOUND).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, truth, weight=kept, reduction="none")
    return (loss.sum(-1).mean(-1) * weights).mean()
