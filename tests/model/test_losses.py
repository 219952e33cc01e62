from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import log_loss
from torch.distributions import Multinomial, Poisson

from tfbind.config import LossSettings
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND
from tfbind.model.losses import (
    TRACK_LOSSES,
    binding_loss,
    experiment_weights,
    peak_score_loss,
    pearson_correlation,
    pearson_loss,
    poisson_loss,
    poisson_multinomial_loss,
)

SHAPE = (3, 20, 4)
LOSSES = {**TRACK_LOSSES, "peak_score": peak_score_loss}


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    logits = torch.as_tensor(rng.normal(size=SHAPE) * 3, dtype=torch.float32)
    return logits, torch.as_tensor(rng.integers(0, 3, SHAPE).astype(np.uint8))


@pytest.fixture
def track():
    """Rates, and counts measured."""
    rng = np.random.default_rng(1)
    rates = torch.as_tensor(rng.exponential(2, SHAPE), dtype=torch.float32)
    return rates, torch.as_tensor(rng.poisson(2, SHAPE), dtype=torch.float32)


# Binding.


def naive(logits, labels, weights, experiments, gamma=0.0):
    total = 0.0
    for window, bin, experiment in np.ndindex(labels.shape):
        label = int(labels[window, bin, experiment])
        if label != LEFT_OUT:
            probability = 1 / (1 + np.exp(-float(logits[window, bin, experiment])))
            likelihood = probability if label == BOUND else 1 - probability
            cost = -np.log(likelihood) * (1 - likelihood) ** gamma
            total += cost * float(weights[window]) * float(experiments[experiment])
    return total / (labels.shape[0] * labels.shape[1])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_equals_a_naive_loop(batch, gamma):
    weights, experiments = torch.tensor([0.5, 2.0, 1.0]), torch.tensor([1.0, 0.0, 3.0, 0.7])
    found = float(binding_loss(*batch, weights, experiments, focal_gamma=gamma))
    assert found == pytest.approx(naive(*batch, weights, experiments, gamma), rel=1e-4)
    found = float(binding_loss(*batch, weights, focal_gamma=gamma))
    assert found == pytest.approx(naive(*batch, weights, torch.ones(4), gamma), rel=1e-4)


def test_equals_scikit_learns_log_loss(batch):
    logits, labels = batch
    kept = labels != LEFT_OUT
    expected = log_loss(labels[kept] == BOUND, logits[kept].double().sigmoid(), normalize=False) / 60
    assert float(binding_loss(logits, labels, torch.ones(3))) == pytest.approx(expected, rel=1e-5)
    assert torch.equal(binding_loss(logits, labels, focal_gamma=0.0), binding_loss(logits, labels, torch.ones(3)))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_what_is_left_out_teaches_nothing(batch, gamma):
    logits, labels = batch[0].requires_grad_(), batch[1]
    nothing = binding_loss(logits, torch.full_like(labels, LEFT_OUT), torch.ones(3), focal_gamma=gamma)
    assert float(nothing.detach()) == 0
    binding_loss(logits, labels, torch.ones(3), focal_gamma=gamma).backward()
    assert torch.equal(logits.grad == 0, labels == LEFT_OUT)
    assert (logits.grad[labels == UNBOUND] > 0).all()
    assert (logits.grad[labels == BOUND] < 0).all()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_certain_predictions_stay_finite(gamma):
    logits = torch.tensor([[[1e4], [-1e4]]], requires_grad=True)
    right, wrong = (torch.tensor([[[a], [b]]], dtype=torch.uint8) for a, b in ((1, 0), (0, 1)))
    losses = [binding_loss(logits, labels, focal_gamma=gamma) for labels in (right, wrong)]
    assert [float(loss.detach()) for loss in losses] == [0, pytest.approx(1e4)]
    sum(losses).backward()
    assert torch.isfinite(logits.grad).all()


def test_it_takes_logits_and_not_probabilities():
    """A loss of what has been through a sigmoid could not fall below log 2 in unbound bins."""
    labels = torch.zeros(1, 8, 1, dtype=torch.uint8)
    assert float(binding_loss(torch.full((1, 8, 1), -6.0), labels)) < 0.01


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_experiments_with_few_bound_bins_count_more(balance):
    weights = experiment_weights(np.array([10, 1000, 0, 10]), balance)
    assert weights.dtype == np.float32
    assert weights.mean() == pytest.approx(1)
    assert weights[0] / weights[1] == pytest.approx(100**balance, rel=1e-4)
    assert np.isfinite(weights).all()


# What holds for every loss.


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_one_number_and_the_parts_of_a_batch_add_up(track, name):
    loss, (predicted, measured) = LOSSES[name], track
    weights, experiments = torch.tensor([0.5, 2.0, 1.0]), torch.tensor([1.0, 0.0, 3.0, 0.7])
    whole = loss(predicted, measured, weights, experiments)
    assert isinstance(whole, torch.Tensor)
    assert whole.shape == ()
    parts = [
        loss(predicted[part], measured[part], weights[part], experiments, windows=3)
        for part in (slice(0, 1), slice(1, 3))
    ]
    assert float(sum(parts)) == pytest.approx(float(whole), rel=1e-5)
    single = [
        float(
            loss(predicted[w : w + 1, :, e : e + 1], measured[w : w + 1, :, e : e + 1])
            * weights[w]
            * experiments[e]
        )
        for w in range(3)
        for e in range(4)
    ]
    assert sum(single) / 3 == pytest.approx(float(whole), rel=1e-5)
    assert torch.equal(loss(predicted, measured), loss(predicted, measured, torch.ones(3), torch.ones(4)))


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_masked_or_not_measured_changes_nothing_and_gets_no_gradient(track, name):
    loss, (predicted, measured) = LOSSES[name], track
    mask = torch.as_tensor(np.random.default_rng(2).random(SHAPE) < 0.7)
    mask[0, :, 0] = False
    holes = torch.where(mask, measured, torch.nan)
    changed = torch.where(mask, predicted, 77.0).requires_grad_()
    found = [
        loss(predicted, measured, mask=mask),
        loss(predicted, holes),
        loss(predicted, torch.where(mask, measured, 55.0), mask=mask),
        loss(changed, holes),
    ]
    assert len({float(each.detach()) for each in found}) == 1
    found[-1].backward()
    assert torch.isfinite(changed.grad).all()
    assert not changed.grad[~mask].any()
    assert changed.grad[mask].any()
    nothing = loss(changed, torch.full_like(measured, torch.nan))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert torch.isfinite(changed.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_that_would_broadcast_are_refused(track, name):
    predicted, measured = track
    for wrong in (measured[..., :1], measured[0], measured[:, :, 0]):
        with pytest.raises(ValueError, match="shapes differ"):
            LOSSES[name](predicted, wrong)
    with pytest.raises(ValueError, match="mask"):
        LOSSES[name](predicted, measured, mask=torch.ones(20, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="windows, bins, experiments"):
        LOSSES[name](predicted[0], measured[0])


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_not_enough_and_is_not_used(track, name):
    predicted, measured = track
    half = predicted.to(torch.bfloat16)
    assert torch.equal(LOSSES[name](half, measured), LOSSES[name](half.float(), measured))
    assert LOSSES[name](predicted.double(), measured.double()).dtype == torch.float64


def test_the_configuration_names_every_loss_of_tracks():
    assert set(get_args(LossSettings.model_fields["track_loss"].annotation)) == set(TRACK_LOSSES)


# Tracks.


def test_the_poisson_loss_is_torchs(track):
    rates, counts = track
    expected = torch.nn.PoissonNLLLoss(log_input=False, eps=1e-8)(rates, counts) * 4
    assert float(poisson_loss(rates, counts)) == pytest.approx(float(expected), rel=1e-6)


def test_a_rate_of_nothing_where_there_is_something_is_finite():
    rates = torch.zeros(1, 5, 1, requires_grad=True)
    for loss in (poisson_loss, poisson_multinomial_loss):
        found = loss(rates, torch.ones(1, 5, 1))
        found.backward()
        assert torch.isfinite(found.detach())
        assert torch.isfinite(rates.grad).all()
        # In 16 bits, what keeps the logarithm finite would itself be 0.
        assert torch.equal(loss(rates.half(), torch.ones(1, 5, 1)), found)


def test_the_poisson_multinomial_loss_is_a_multinomial_and_a_poisson(track):
    """With torch.distributions, and the constants that the loss leaves out."""
    rates, counts = (x.double() for x in track)
    expected = 0.0
    for window in range(3):
        for experiment in range(4):
            rate, count = rates[window, :, experiment], counts[window, :, experiment]
            total = count.sum()
            shape = Multinomial(int(total), probs=rate).log_prob(count)
            constant = torch.lgamma(total + 1) - torch.lgamma(count + 1).sum()
            size = Poisson(rate.sum()).log_prob(total) + torch.lgamma(total + 1)
            expected -= (shape - constant + 0.3 * size) / 20 / 3
    found = poisson_multinomial_loss(rates, counts, total_weight=0.3)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_shape_and_total_are_apart(track):
    rates, counts = track

    def of(rates, total_weight):
        return float(poisson_multinomial_loss(rates, counts, total_weight=total_weight))

    assert of(3 * rates, 0) == pytest.approx(of(rates, 0), rel=1e-5), "the shape does not know of the total"
    scaled = rates * counts.sum(1, keepdim=True) / rates.sum(1, keepdim=True)
    assert of(scaled, 1) < min(of(1.1 * scaled, 1), of(0.9 * scaled, 1))


@pytest.mark.parametrize("loss", [poisson_loss, poisson_multinomial_loss])
def test_the_truth_costs_least(track, loss):
    _, counts = track
    best = float(loss(counts + 1e-6, counts))
    for seed in range(5):
        torch.manual_seed(seed)
        assert float(loss(counts * torch.empty(SHAPE).uniform_(0.8, 1.2) + 0.05, counts)) > best


def test_the_pearson_loss_is_one_less_r_of_each_window_and_experiment(track):
    prediction, target = track
    mask = torch.as_tensor(np.random.default_rng(2).random(SHAPE) < 0.7)
    expected = 0.0
    for window in range(3):
        for experiment in range(4):
            kept = mask[window, :, experiment]
            pair = (x[window, kept, experiment].numpy() for x in (prediction, target))
            expected += 1 - pearsonr(*pair).statistic
    assert float(pearson_loss(prediction, target, mask=mask)) == pytest.approx(expected / 3, rel=1e-4)


def test_the_pearson_loss_of_constants_has_no_nan_and_no_exploding_gradient(track):
    _, target = track
    for constant in (0.0, 0.1, 1e4):
        flat = torch.full(SHAPE, constant, requires_grad=True)
        loss = pearson_loss(flat, target)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(4), "r is 0 in each of four experiments"
        assert float(flat.grad.norm()) < 1e3
        nothing = pearson_loss(target.clone().requires_grad_(), torch.full(SHAPE, constant))
        nothing.backward()
        assert float(nothing.detach()) == 0


@settings(max_examples=60)
@given(st.integers(3, 40), st.integers(0, 10**6), st.sampled_from([1e-3, 1.0, 1e4]), st.floats(-100, 100))
def test_the_correlation_is_scipys_one_value_a_sequence(bins, seed, scale, shift):
    rng = np.random.default_rng(seed)
    prediction, target = rng.normal(size=(2, 4, bins)) * scale + shift
    found = pearson_correlation(torch.as_tensor(prediction), torch.as_tensor(target))
    assert found.shape == (4,)
    expected = [pearsonr(*pair).statistic for pair in zip(prediction, target, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_the_correlation_of_many_pairs_with_a_mask(track):
    prediction, target = track
    mask = torch.as_tensor(np.random.default_rng(2).random(SHAPE) < 0.7)
    found = pearson_correlation(prediction, torch.where(mask, target, torch.nan))
    assert found.shape == (3, 4)
    assert torch.equal(found, pearson_correlation(prediction, target, mask=mask))
    kept = mask[1, :, 2]
    assert float(found[1, 2]) == pytest.approx(pearsonr(prediction[1, kept, 2], target[1, kept, 2])[0], rel=1e-5)
    assert pearson_correlation(target[..., 0] * 1e-30, target[..., 0]).tolist() == pytest.approx(
        [1] * 3, rel=1e-5
    )


def test_there_is_no_correlation_with_a_constant(track):
    prediction, _ = track
    for x, y in ((prediction, torch.full(SHAPE, 0.1)), (torch.zeros(SHAPE), prediction)):
        assert pearson_correlation(x, y).isnan().all()
    assert pearson_correlation(prediction[:, :1], prediction[:, :1]).isnan().all()


# Peak scores.


def test_peak_scores_are_learnt_in_peaks_alone_given_depth():
    scores = torch.tensor([[[0.0, 3.0], [7.0, torch.nan], [0.0, 1.0], [19.0, 0.0]]])
    predicted = torch.zeros(1, 4, 2, requires_grad=True)
    shift = torch.tensor([0.5, 0.0])
    found = peak_score_loss(predicted, scores, shift=shift)
    huber = {
        e: 0.5 * e**2 if e < 1 else e - 0.5 for e in (np.log(8) - 0.5, np.log(20) - 0.5, np.log(4), np.log(2))
    }
    assert float(found.detach()) == pytest.approx(sum(huber.values()) / 4, rel=1e-5)
    found.backward()
    assert torch.equal(predicted.grad != 0, scores > 0)
    only = torch.zeros(1, 4, 2, dtype=torch.bool)
    only[0, 1, 0] = True
    found = peak_score_loss(predicted, scores, shift=shift, mask=only)
    assert float(found.detach()) == pytest.approx((np.log(8) - 1) / 4, rel=1e-5)
