"""Calibration: maps that keep the order of logits, fitted as references fit them, chosen on other bins."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from tfbind.core.errors import InputError
from tfbind.core.metrics import expected_calibration_error, operating_points
from tfbind.model.calibration import METHODS, Calibration, read_calibration
from tfbind.training.calibration import FITS, Judged, calibrate, halves, log_loss, mapped


def judged(slope=2.0, offset=-1.0, n=8000, seed=0, bend=0.0) -> Judged:
    """Bins whose true logit is a map of the model's."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 2, n)
    true = offset + slope * logits + bend * np.maximum(logits, 0)
    bound = rng.random(n) < 1 / (1 + np.exp(-true))
    return Judged(logits, bound, halves([n], 64))


def test_platt_is_logistic_regression():
    data = judged()
    found = FITS["platt"](data)
    # Each bin twice, as bound and as unbound, with Platt's targets as weights.
    n, count = len(data.bound), data.bound.sum()
    bound = np.where(data.bound, (count + 1) / (count + 2), 1 / (n - count + 2))
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(data.logits, 2)[:, None], np.repeat([1, 0], n), np.concatenate([bound, 1 - bound])
    )
    assert found.slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert found.offset == pytest.approx(reference.intercept_[0], rel=1e-4)


def test_temperature_leaves_zero_where_it_is():
    found = FITS["temperature"](judged(slope=0.5, offset=0))
    assert found.offset == 0 and found.slope == pytest.approx(0.5, rel=0.1)
    assert found(torch.zeros(1)).item() == 0


def test_isotonic_goes_through_the_blocks_of_isotonic_regression():
    data = judged(bend=3)
    found = FITS["isotonic"](data)
    reference = IsotonicRegression().fit_transform(data.logits, data.bound)
    # At a block's mean logit stands its frequency, softened by half a bin.
    for frequency in np.unique(reference):
        inside = reference == frequency
        if inside.sum() > 300:
            at = mapped(found, data.logits[inside].mean()[None])[0]
            assert 1 / (1 + np.exp(-at)) == pytest.approx(frequency, abs=0.005)


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 10), scale=st.floats(0.5, 5), bend=st.floats(-0.5, 3))
def test_every_method_keeps_the_order(method, seed, scale, bend):
    data = judged(slope=scale, n=600, seed=seed, bend=bend * scale)
    found = FITS[method](data)
    logits = np.linspace(-30, 30, 10_001).astype(np.float32)
    values = mapped(found, logits)
    assert (np.diff(values) >= 0).all() and np.isfinite(values).all()
    apart = mapped(found, np.linspace(-30, 30, 31))
    assert (np.diff(apart) > 0).all()


def test_rankings_stay_as_they_are():
    data = judged(bend=3)
    before = operating_points(data.bound, data.logits.astype(np.float32))
    for method in METHODS:
        after = operating_points(data.bound, mapped(FITS[method](data), data.logits))
        assert after.average_precision() == pytest.approx(before.average_precision(), rel=1e-5)


def test_none_leaves_logits_as_they_are_to_the_bit():
    logits = torch.randn(100)
    assert Calibration()(logits) is logits


def test_one_that_overstates_is_mended_on_bins_that_were_not_seen():
    found, about = calibrate(judged(slope=0.4, offset=-1), "auto")
    other = judged(slope=0.4, offset=-1, seed=1)
    assert about["method"] in ("platt", "isotonic")

    def error(logits):
        return expected_calibration_error(other.bound, 1 / (1 + np.exp(-logits)))

    assert error(mapped(found, other.logits)) < error(other.logits) / 3
    assert log_loss(mapped(found, other.logits), other.bound) < log_loss(other.logits, other.bound)


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        ({"slope": 1, "offset": 0}, "none"),
        ({"slope": 0.4, "offset": 0}, "temperature"),
        ({"slope": 0.6, "offset": -2}, "platt"),
        ({"slope": 0.3, "offset": -1, "bend": 6, "n": 40_000}, "isotonic"),
    ],
)
def test_the_simplest_that_is_as_good_as_the_best_is_chosen(truth, expected):
    found, about = calibrate(judged(**{"n": 20_000, **truth}), "auto")
    assert found.method == about["method"] == expected
    losses = about["chosen_by"]["log_loss"]
    assert list(losses) == list(METHODS)
    assert losses[expected] <= min(losses.values()) * 1.001


def test_a_method_that_is_asked_for_is_taken():
    for method in METHODS:
        assert calibrate(judged(), method)[0].method == method


@pytest.mark.parametrize("method", ["auto", "platt"])
def test_with_too_few_bound_bins_there_is_none_and_it_is_told(capsys, method):
    data = judged()
    few = Judged(data.logits, data.bound & (np.cumsum(data.bound) <= 30), data.half)
    found, about = calibrate(few, method)
    assert found == Calibration() and about["method"] == "none"
    assert "not calibrated: a half of the validation has" in capsys.readouterr().err
    assert "fewer than 20" in about["chosen_by"]


def test_a_model_that_is_worse_than_chance_is_not_turned_round(capsys):
    data = judged()
    found, _ = calibrate(Judged(-data.logits, data.bound, data.half), "platt")
    assert found == Calibration()
    assert "no better than chance" in capsys.readouterr().err


def test_what_can_be_told_apart_without_error_stays_finite():
    logits = np.linspace(-5, 5, 1000)
    data = Judged(logits, logits > 0, halves([1000], 64))
    for method in METHODS:
        assert np.isfinite(mapped(FITS[method](data), np.linspace(-50, 50, 11))).all()


def test_halves_are_blocks_in_turn():
    found = halves([20_000, 30_000], 100)
    np.testing.assert_array_equal(found, (np.arange(50_000) // 6250) % 2 == 1)
    assert halves([100_000], 1000)[:1001].sum() == 1, "blocks of 1 Mb"


def test_what_is_written_is_read_again():
    for method in METHODS:
        found, about = calibrate(judged(bend=1), method)
        again = read_calibration({"calibration": json.loads(json.dumps(about))})
        logits = torch.linspace(-10, 10, 100)
        assert torch.equal(again(logits), found(logits)) and again.method == method
    assert read_calibration({}) == Calibration()


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"method": "beta", "slope": 1, "offset": 0, "knots": []}, "no method 'beta'"),
        ({"method": "platt", "slope": -1, "offset": 0, "knots": []}, "not increasing"),
        ({"method": "isotonic", "slope": 1, "offset": 0, "knots": [[0, 1], [1, 0]]}, "not increasing"),
        ({"method": "platt"}, "cannot be read"),
    ],
)
def test_what_is_no_calibration_is_refused(told, problem):
    with pytest.raises(InputError, match=problem):
        read_calibration({"calibration": told})
