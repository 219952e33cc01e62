"""Sites of a motif in a stretch of DNA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfbind.factors.motifs import Motif

P_VALUE = 1e-4
# Scores are counted in steps of so many nats.
_STEP = 0.01


@dataclass(frozen=True)
class Sites:
    """Sites of a motif, by start.

    Attributes
    ----------
    start
        int64 (n,): place of the first base in the stretch; a site is as long as the motif.
    strand
        int8 (n,): 1, or -1 on the reverse strand.
    score
        float32 (n,): log-odds, nats.
    """

    start: np.ndarray
    strand: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


def motif_sites(codes: np.ndarray, motif: Motif, p_value: float = P_VALUE) -> Sites:
    """Where a motif scores as random DNA does at most once in 1 / `p_value` places of a strand.

    Parameters
    ----------
    codes
        uint8 (n,): A 0, C 1, G 2, T 3, all else no base; no site holds one of these.

    Returns
    -------
    Sites; where both strands score, the better one.
    """
    scores = motif.log_odds()
    width = len(scores)
    if len(codes) < width:
        return Sites(np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0, np.float32))
    least = score_at(scores, p_value)
    forward, reverse = (_scan(codes, matrix) for matrix in (scores, scores[::-1, ::-1]))
    best = np.maximum(forward, reverse)
    start = np.flatnonzero(best >= least)
    return Sites(start, np.where(forward >= reverse, 1, -1).astype(np.int8)[start], best[start])


def score_at(scores: np.ndarray, p_value: float) -> float:
    """The lowest score that bases drawn evenly reach with a probability of `p_value` at most.

    The distribution of the sum is exact but for rounding to steps of 0.01 nats (Staden 1989,
    doi:10.1093/bioinformatics/5.2.89). Where even the best score is more frequent, it is the best score.

    Parameters
    ----------
    scores
        (w, 4), nats.
    """
    steps = np.rint((scores - scores.min(1, keepdims=True)) / _STEP).astype(np.int64)
    chance = np.ones(1)
    for row in steps:
        longer = np.zeros(len(chance) + row.max())
        for step in row:
            longer[step : step + len(chance)] += chance / 4
        chance = longer
    reached = chance[::-1].cumsum()[::-1]
    found = np.flatnonzero(reached <= p_value)
    first = found[0] if len(found) else len(chance) - 1
    # Rounding moves a sum by up to half a step a position.
    return float(scores.min(1).sum() + first * _STEP - 0.5 * _STEP)


def _scan(codes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Scores of all places, float32 (n - w + 1,); -inf where a base is none."""
    padded = np.column_stack([matrix, np.full(len(matrix), -np.inf, dtype=np.float32)])
    codes = np.minimum(codes, 4)
    count = len(codes) - len(matrix) + 1
    total = np.zeros(count, dtype=np.float32)
    for place, row in enumerate(padded):
        total += row[codes[place : place + count]]
    return total
