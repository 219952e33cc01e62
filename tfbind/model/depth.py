"""Read depth as a covariate of peak scores, so that what the model predicts is for one standard depth.

A deeper experiment has stronger peaks of the same binding. The expected log(1 + score) of an experiment is the
model's prediction plus slope x (log reads - mean log reads of the training experiments), plus an offset where its
reads are not known. Slope and offset are learnt with the model, and are no part of it: a prediction has the depth
of a typical training experiment.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def depth_covariate(reads: Sequence[int | None], training: Sequence[int]) -> np.ndarray:
    """What is known of each experiment's read depth.

    Parameters
    ----------
    reads
        Of each experiment; None where not known.
    training
        Those of them that are trained on: their mean log depth is the standard depth.

    Returns
    -------
    float32 (experiments, 2): log reads (nats) less the mean, 0 where not known; and 1 where not known, else 0.
    """
    logs = np.array([np.nan if count is None else np.log(count) for count in reads], dtype=np.float64)
    used = logs[list(training)]
    known = used[~np.isnan(used)]
    centred = logs - (known.mean() if len(known) else 0.0)
    unknown = np.isnan(logs)
    return np.stack([np.where(unknown, 0.0, centred), unknown], axis=1).astype(np.float32)


class DepthEffect(nn.Module):
    """What read depth adds to log(1 + peak score); nothing at the start.

    Attributes
    ----------
    effects : (2,)
        Slope by log reads, and offset of experiments whose reads are not known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.effects = nn.Parameter(torch.zeros(2))

    def forward(self, covariate: Tensor) -> Tensor:
        """(experiments,) from a covariate (experiments, 2), see `depth_covariate`."""
        return covariate @ self.effects
