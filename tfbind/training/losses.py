"""The loss: binary cross-entropy over every measured bin of a window."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from tfbind.model.data import BOUND, LEFT_OUT


def experiment_weights(bound: np.ndarray, balance: float) -> np.ndarray:
    """Weight of each experiment: bound bins to the power of -balance, mean 1, float32 (experiments,)."""
    weights = np.maximum(bound, 1.0) ** -balance
    return (weights / weights.mean()).astype(np.float32)


def binding_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    experiments: Tensor | None = None,
    *,
    windows: int | None = None,
) -> Tensor:
    """Negative log-likelihood per bin, summed over experiments.

    Parameters
    ----------
    logits
        (windows, bins, experiments).
    labels
        uint8, the same shape; left-out bins count for nothing.
    weights
        Importance of each window, (windows,).
    experiments
        Weight of each experiment, (experiments,); none: 1.
    windows
        Windows of the whole batch of which these are a part; none: these are all. The losses of its parts add
        up to that of the batch.

    Returns
    -------
    Scalar, in nats.
    """
    kept = (labels != LEFT_OUT).to(logits.dtype)
    truth = (labels == BOUND).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, truth, weight=kept, reduction="none")
    if experiments is not None:
        loss = loss * experiments
    return (loss.sum(-1).mean(-1) * weights).sum() / (windows or len(logits))
