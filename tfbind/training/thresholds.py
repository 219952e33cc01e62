"""Probabilities above which bins are called, at a false discovery rate in the validation regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfbind.core.metrics import threshold_at_fdr
from tfbind.model.data import BOUND, LEFT_OUT

# Fewer bound bins than this in the validation regions say nothing of one experiment's threshold.
LEAST_FOR_THRESHOLD = 20


def find_thresholds(
    truth: np.ndarray, logits: np.ndarray, fdr: float, names: Sequence[str]
) -> dict[str, float | None]:
    """Thresholds of experiments, and one of all of them together.

    Parameters
    ----------
    truth
        Labels, uint8 (bins, experiments).
    logits
        Of calibrated probabilities, (bins, experiments).
    names
        Of the experiments.

    Returns
    -------
    One threshold an experiment (its own where at least 20 bins are bound and the rate is reached), and `pooled`,
    over all of them together, which serves every other track. None: no threshold reaches it.
    """
    kept, bound = truth != LEFT_OUT, truth == BOUND
    found: dict[str, float | None] = {"pooled": _probability(bound[kept], logits[kept], fdr)}
    for column, name in enumerate(names):
        use = kept[:, column]
        if bound[use, column].sum() >= LEAST_FOR_THRESHOLD:
            own = _probability(bound[use, column], logits[use, column], fdr)
            if own is not None:
                found[name] = own
    return found


def _probability(bound: np.ndarray, logits: np.ndarray, fdr: float) -> float | None:
    threshold = threshold_at_fdr(bound, logits, fdr)
    return None if threshold is None else float(1 / (1 + np.exp(-threshold)))
