from __future__ import annotations

import numpy as np
import pytest
import torch

from tfbind.core.metrics import average_precision, threshold_at_fdr
from tfbind.model.calibration import read_calibration
from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.model.enformer import EnformerTrunk
from tfbind.model.trunk_interface import Trunk
from tfbind.training.calibration import log_loss
from tfbind.training.thresholds import LEAST_FOR_THRESHOLD
from tfbind.training.validation import Validator

FDR = 0.1


@pytest.fixture
def trainer(make_trainer):
    return make_trainer()


@pytest.fixture
def judged(trainer, toy):
    """A validator whose predictions are given: better for the first experiment than for the second."""
    truth = toy.labels["stop"]
    rng = np.random.default_rng(0)
    logits = (truth == BOUND) * np.array([3.0, 1.0, -2.0]) + rng.normal(size=truth.shape)
    validator = trainer.validator
    validator.predict = lambda *_: logits.astype(np.float32)
    return validator, logits.astype(np.float32), truth


EXPERIMENTS = [
    {"name": f"{factor}.{cell}", "factor": factor, "cell_type": cell}
    for factor, cell in (("ONE", "A"), ("TWO", "A"), ("ONE", "B"))
]


def conclude(validator, trainer, method="none", fdr=FDR):
    validated = (trainer.model, trainer.factors, trainer.pairs)
    return validator.conclude(*validated, method=method, fdr=fdr, experiments=EXPERIMENTS)


def thresholds(validator, trainer, **settings):
    return conclude(validator, trainer, **settings)["thresholds"]


def test_predicts_every_bin_of_the_validation_chromosomes_for_the_training_experiments(trainer, toy):
    validator: Validator = trainer.validator
    logits = validator.predict(trainer.model, trainer.factors, trainer.pairs)
    assert logits.shape == (400, 3)
    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(validator.truth(), toy.labels["stop"])


def test_predicts_as_the_model_does_where_windows_do_not_matter(trainer, toy):
    """One window over the middle of the chromosome: its core is what validation predicts there."""
    validator = trainer.validator
    logits = validator.predict(trainer.model, trainer.factors, trainer.pairs)
    first = 10 * 8
    with torch.no_grad():
        tokens = trainer.model.dna_tokens(torch.tensor(toy.window_codes("stop", first - 4, 16)[None]))
        code = trainer.model.head.encode_factors(trainer.factors)
        near = slice(first - 16, first + 24)
        wide = torch.zeros(1, 40, tokens.shape[-1])
        wide[:, 16:24] = tokens[:, 4:12]
        found = trainer.model.head.decode(
            wide,
            torch.tensor(toy.window_codes("stop", near.start, 40)[None]),
            code,
            toy.contexts(torch.tensor(toy.window_accessibility("stop", near.start, 40)[None])),
            trainer.pairs,
            16,
        ).binding
    np.testing.assert_allclose(logits[first : first + 8], found[0, 16:24], atol=5e-3)


def test_runs_the_trunk_once_a_window(trainer, monkeypatch):
    seen = []
    monkeypatch.setattr(EnformerTrunk, "for_inference", Trunk.for_inference)
    trainer.model.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    trainer.validator.predict(trainer.model, trainer.factors, trainer.pairs)
    assert sum(seen) == sum(stretch.windows for stretch in trainer.validator.stretches) == 50


def test_is_the_mean_over_experiments_without_what_is_left_out(judged, trainer):
    validator, logits, truth = judged
    expected = []
    for column in range(3):
        kept = truth[:, column] != LEFT_OUT
        expected.append(average_precision(truth[kept, column] == BOUND, logits[kept, column]))
    found = validator.mean_auprc(trainer.model, trainer.factors, trainer.pairs)
    assert found == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("only", [0, BOUND])
def test_experiments_that_cannot_be_judged_do_not_count(judged, trainer, only):
    validator, logits, truth = judged
    changed = truth.copy()
    changed[:, 1] = np.where(changed[:, 1] == LEFT_OUT, LEFT_OUT, only)
    validator.truth = lambda: changed
    expected = []
    for column in (0, 2):
        kept = truth[:, column] != LEFT_OUT
        expected.append(average_precision(truth[kept, column] == BOUND, logits[kept, column]))
    found = validator.mean_auprc(trainer.model, trainer.factors, trainer.pairs)
    assert found == pytest.approx(np.mean(expected))


def test_thresholds_keep_to_the_rate_of_false_discoveries(judged, trainer):
    validator, logits, truth = judged
    found = thresholds(validator, trainer)
    kept = truth != LEFT_OUT
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    called = kept[:, 0] & (probability[:, 0] >= found["ONE.A"] * (1 - 1e-9))
    assert called.any()
    assert (truth[called, 0] == BOUND).mean() >= 1 - FDR
    best = threshold_at_fdr((truth == BOUND)[kept], logits[kept], FDR)
    assert found["pooled"] == pytest.approx(1 / (1 + np.exp(-best)))


def test_an_experiment_has_a_threshold_of_its_own_only_where_it_can_be_told(judged, trainer):
    validator, logits, truth = judged
    found = thresholds(validator, trainer)
    assert "ONE.A" in found
    few = truth.copy()
    bound = np.flatnonzero(few[:, 0] == BOUND)
    few[bound[LEAST_FOR_THRESHOLD - 1 :], 0] = LEFT_OUT
    validator.truth = lambda: few
    assert "ONE.A" not in thresholds(validator, trainer)
    validator.truth = lambda: truth
    validator.predict = lambda *_: np.where(truth == BOUND, -9, logits).astype(np.float32)
    found = thresholds(validator, trainer, fdr=0.001)
    assert found["pooled"] is None, "nothing is called where no threshold reaches the rate"
    assert set(found) == {"pooled"}


def test_thresholds_are_of_calibrated_probabilities(judged, trainer):
    validator, logits, truth = judged
    none, platt = (conclude(validator, trainer, method=method) for method in ("none", "platt"))
    calibration = read_calibration(platt)
    assert calibration.method == "platt"
    assert set(platt["thresholds"]) == set(none["thresholds"])
    for name, before in none["thresholds"].items():
        logit = torch.tensor([np.log(before / (1 - before))])
        assert platt["thresholds"][name] == pytest.approx(calibration(logit).sigmoid().item(), rel=1e-4)
    kept = truth != LEFT_OUT
    found = calibration(torch.as_tensor(logits)).numpy().astype(np.float64)
    assert log_loss(found[kept], truth[kept] == BOUND) < log_loss(logits[kept], truth[kept] == BOUND)
