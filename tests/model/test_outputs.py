from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tfbind.config import LossSettings
from tfbind.model.data import BOUND
from tfbind.model.losses import binding_loss, peak_score_loss, pearson_loss, poisson_loss
from tfbind.model.outputs import Measured, Outputs, total_loss

SHAPE = (2, 10, 3)
WEIGHTS, EXPERIMENTS = torch.tensor([0.5, 1.5]), torch.tensor([1.0, 2.0, 0.5])


@pytest.fixture
def outputs() -> Outputs:
    torch.manual_seed(0)
    return Outputs(*(torch.rand(SHAPE).requires_grad_() for _ in range(3)))


@pytest.fixture
def measured() -> Measured:
    torch.manual_seed(1)
    labels = torch.randint(0, 3, SHAPE).to(torch.uint8)
    return Measured(labels, torch.rand(SHAPE) * 9, torch.where(labels > 0, torch.rand(SHAPE) * 20, 0.0))


def test_losses_are_weighted_and_told_apart(outputs, measured):
    settings = LossSettings(binding=2.0, focal_gamma=1.0, track=0.3, track_loss="pearson", peak_score=0.7)
    shift = torch.tensor([0.1, 0.2, 0.3])
    found = total_loss(outputs, measured, settings, WEIGHTS, EXPERIMENTS, depth_shift=shift, windows=4)
    common = (WEIGHTS, EXPERIMENTS)
    expected = {
        "binding": binding_loss(outputs.binding, measured.labels, *common, windows=4, focal_gamma=1.0),
        "track": pearson_loss(outputs.track, measured.signal, *common, windows=4),
        "peak_score": peak_score_loss(
            outputs.peak_score,
            measured.score,
            *common,
            windows=4,
            shift=shift,
            mask=measured.labels == BOUND,
        ),
    }
    assert found.parts == {name: float(loss.detach()) for name, loss in expected.items()}
    assert not any(part.requires_grad for part in found.parts.values())
    assert found.total.shape == ()
    weights = {"binding": 2.0, "track": 0.3, "peak_score": 0.7}
    whole = sum(weights[name] * float(loss.detach()) for name, loss in expected.items())
    assert float(found.total.detach()) == pytest.approx(whole, rel=1e-6)
    found.total.backward()
    assert all(x.grad.any() for x in (outputs.binding, outputs.track, outputs.peak_score))


def test_binding_alone_is_its_loss_to_the_last_bit(outputs, measured):
    found = total_loss(Outputs(outputs.binding), Measured(measured.labels), LossSettings(), WEIGHTS, EXPERIMENTS)
    assert torch.equal(found.total, binding_loss(outputs.binding, measured.labels, WEIGHTS, EXPERIMENTS))
    assert list(found.parts) == ["binding"]


def test_a_loss_without_a_weight_is_not_asked_for(outputs, measured):
    found = total_loss(outputs, measured, LossSettings(binding=0.0, track=1.0))
    assert torch.equal(found.total, poisson_loss(outputs.track, measured.signal))
    found.total.backward()
    assert outputs.binding.grad is None


@pytest.mark.parametrize("name", ["track", "peak_score"])
def test_what_is_not_predicted_or_not_measured_is_told(outputs, measured, name):
    settings = LossSettings.model_validate({name: 1.0})
    with pytest.raises(ValueError, match=f"'{name}' has a weight, and the model predicts none"):
        total_loss(replace(outputs, **{name: None}), measured, settings)
    with pytest.raises(ValueError, match="none was measured"):
        total_loss(outputs, Measured(measured.labels), settings)


def test_edges_are_taken_off_every_output(outputs):
    cropped = outputs.without_edges(2)
    assert torch.equal(cropped.track, outputs.track[:, 2:8])
    assert cropped.peak_score.shape == cropped.binding.shape == (2, 6, 3)
    assert outputs.without_edges(0) is outputs
    assert Outputs(outputs.binding).without_edges(1).track is None
