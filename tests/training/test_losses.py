from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND
from tfbind.training.losses import binding_loss, experiment_weights


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    logits = torch.as_tensor(rng.normal(size=(3, 20, 4)) * 3, dtype=torch.float32)
    return logits, torch.as_tensor(rng.integers(0, 3, (3, 20, 4)).astype(np.uint8))


def naive(logits, labels, weights, experiments):
    total = 0.0
    for window, bin, experiment in np.ndindex(labels.shape):
        label = int(labels[window, bin, experiment])
        if label != LEFT_OUT:
            probability = 1 / (1 + np.exp(-float(logits[window, bin, experiment])))
            likelihood = probability if label == BOUND else 1 - probability
            total -= np.log(likelihood) * float(weights[window]) * float(experiments[experiment])
    return total / (labels.shape[0] * labels.shape[1])


def test_equals_a_naive_loop(batch):
    weights, experiments = torch.tensor([0.5, 2.0, 1.0]), torch.tensor([1.0, 0.0, 3.0, 0.7])
    found = float(binding_loss(*batch, weights, experiments))
    assert found == pytest.approx(naive(*batch, weights, experiments), rel=1e-4)
    found = float(binding_loss(*batch, weights))
    assert found == pytest.approx(naive(*batch, weights, torch.ones(4)), rel=1e-4)


def test_equals_scikit_learns_log_loss(batch):
    logits, labels = batch
    kept = labels != LEFT_OUT
    expected = log_loss(labels[kept] == BOUND, logits[kept].double().sigmoid(), normalize=False) / 60
    assert float(binding_loss(logits, labels, torch.ones(3))) == pytest.approx(expected, rel=1e-5)


def test_what_is_left_out_teaches_nothing(batch):
    logits, labels = batch[0].requires_grad_(), batch[1]
    nothing = binding_loss(logits, torch.full_like(labels, LEFT_OUT), torch.ones(3))
    assert float(nothing.detach()) == 0
    binding_loss(logits, labels, torch.ones(3)).backward()
    assert torch.equal(logits.grad == 0, labels == LEFT_OUT)
    assert (logits.grad[labels == UNBOUND] > 0).all()
    assert (logits.grad[labels == BOUND] < 0).all()


def test_certain_predictions_stay_finite():
    logits = torch.tensor([[[1e4], [-1e4]]])
    right, wrong = (torch.tensor([[[a], [b]]], dtype=torch.uint8) for a, b in ((1, 0), (0, 1)))
    assert float(binding_loss(logits, right, torch.ones(1))) == 0
    assert float(binding_loss(logits, wrong, torch.ones(1))) == pytest.approx(1e4)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_experiments_with_few_bound_bins_count_more(balance):
    weights = experiment_weights(np.array([10, 1000, 0, 10]), balance)
    assert weights.dtype == np.float32
    assert weights.mean() == pytest.approx(1)
    assert weights[0] / weights[1] == pytest.approx(100**balance, rel=1e-4)
    assert np.isfinite(weights).all()
