"""How known binding counts is a logistic regression on the validation, and none where that misleads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.model.known_binding import KINDS, Experiments
from tfbind.training.known_binding import fit_known_binding
from tfbind.training.thresholds import find_thresholds

MEASURED = [(factor, cell) for factor in ("ONE", "TWO", "SIX") for cell in ("A", "B")]
NAMES = [f"{factor}.{cell}" for factor, cell in MEASURED]
FDR = 0.5


def simulated(bins=40_000, shared=3.0, seed=0):
    """Logits that know half of what decides; the rest all experiments of a factor, or a cell type, share."""
    rng = np.random.default_rng(seed)
    by_factor, by_cell = (
        {name: shared * (rng.random(bins) < 0.02) for name in names} for names in (("ONE", "TWO", "SIX"), "AB")
    )
    logits = rng.normal(-5, 1.5, (bins, len(MEASURED)))
    hidden = np.stack([by_factor[factor] + by_cell[cell] for factor, cell in MEASURED], 1)
    truth = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits - hidden))).astype(np.uint8)
    truth[rng.random(logits.shape) < 0.05] = LEFT_OUT
    return logits.astype(np.float32), truth


def share(truth, columns):
    bound, known = ((test(truth[:, columns])).sum(1) for test in (lambda x: x == BOUND, lambda x: x != LEFT_OUT))
    return bound / np.maximum(known, 1)


def test_weights_are_those_of_logistic_regression():
    logits, truth = simulated()
    found = fit_known_binding(logits, truth, MEASURED, FDR, NAMES)
    rows, bound = [], []
    for column, (factor, cell) in enumerate(MEASURED):
        elsewhere = [i for i, (f, c) in enumerate(MEASURED) if f == factor and c != cell]
        here = [i for i, (f, c) in enumerate(MEASURED) if f != factor and c == cell]
        kept = truth[:, column] != LEFT_OUT
        shares = [share(truth, columns) for columns in (elsewhere, here)]
        rows.append(np.stack([logits[:, column], *(np.log1p(50 * each) for each in shares)], 1)[kept])
        bound.append(truth[kept, column] == BOUND)
    expected = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-9).fit(
        np.concatenate(rows), np.concatenate(bound)
    )
    weights = found.weights[KINDS]
    assert [weights.slope, *weights.evidence.values()] == pytest.approx(expected.coef_[0], abs=0.02)
    assert weights.offset == pytest.approx(expected.intercept_[0], abs=0.02)
    assert set(found.weights) == {("factor",), ("cell_type",), KINDS}
    assert min(weights.evidence.values()) > 0.1


def test_more_is_found_at_the_rate_where_binding_is_known():
    logits, truth = simulated(shared=6.0)
    found = fit_known_binding(logits, truth, MEASURED, FDR, NAMES)
    others, measured = simulated(shared=6.0, seed=1)
    logits_of_others = torch.from_numpy(others.T.copy())
    counted = found.counted(logits_of_others, measured, Experiments(MEASURED), MEASURED).T.numpy()
    kept, bound = measured != LEFT_OUT, measured == BOUND
    recall = {}
    for name, values, thresholds in (
        ("known", counted, found.thresholds),
        ("plain", others, find_thresholds(truth, logits, FDR, NAMES)),
    ):
        called = kept & (1 / (1 + np.exp(-values)) >= (thresholds["pooled"] or 1))
        recall[name] = (called & bound).sum() / bound.sum()
        assert 0 < (called & ~bound).sum() <= 1.1 * FDR * called.sum()
    assert recall["known"] > 1.5 * recall["plain"]
    assert set(found.thresholds) <= {"pooled", *NAMES}


def test_evidence_that_says_nothing_does_not_count():
    logits, truth = simulated(shared=0)
    rng = np.random.default_rng(1)
    truth = np.stack([rng.permutation(column) for column in truth.T], 1)
    # Where one is bound, the others are not.
    truth[(truth == BOUND).sum(1) > 1] = 0
    assert fit_known_binding(logits, truth, MEASURED, FDR, NAMES).weights == {}


def test_few_bound_bins_tell_no_weights():
    logits, truth = simulated(bins=100)
    truth[truth == BOUND] = 0
    truth[0] = BOUND
    assert fit_known_binding(logits, truth, MEASURED, FDR, NAMES).weights == {}


def test_is_fitted_in_parts(monkeypatch):
    logits, truth = simulated(bins=3000)
    whole = fit_known_binding(logits, truth, MEASURED, FDR, NAMES)
    monkeypatch.setattr("tfbind.training.known_binding.STRETCH", 700)
    assert fit_known_binding(logits, truth, MEASURED, FDR, NAMES) == whole
