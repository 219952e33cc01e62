from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tfbind.config import TrainingSettings
from tfbind.core.errors import InputError
from tfbind.model.checkpoint import load_checkpoint, save_checkpoint
from tfbind.training.optimization import learning_rate, make_optimizer, parameter_groups, set_rates

MODES = {
    "frozen": {"mode": "frozen"},
    "norms": {"mode": "norms"},
    "last": {"mode": "last", "last": 1},
    "lora": {"mode": "lora", "lora": {"rank": 2, "dropout": 0.2}},
}


def test_warms_up_and_then_falls_to_a_hundredth():
    settings = TrainingSettings(steps=101, warmup_steps=21, learning_rate=2.0)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(2 / 21)
    assert np.diff(rates[:21]) == pytest.approx(2 / 21)
    assert max(rates) == rates[20] == rates[21] == pytest.approx(2)
    assert (np.diff(rates[21:]) < 0).all()
    assert rates[-1] == pytest.approx(0.02)
    assert (rates[21] + rates[-1]) / 2 == pytest.approx(np.mean(rates[21:]), rel=0.01)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 5), (3, 2), (5, 0)])
def test_short_runs_have_sensible_rates(steps, warmup):
    settings = TrainingSettings(steps=steps, warmup_steps=warmup, learning_rate=1.0)
    assert all(0 < learning_rate(step, settings) <= 1 for step in range(steps))


def test_weights_decay_and_norms_and_biases_do_not(make_trainer):
    model = make_trainer().model
    decayed, free = parameter_groups(model, 0.3)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    for parameter in decayed["params"]:
        assert parameter.ndim > 1
        assert not names[id(parameter)].endswith("bias")
    for parameter in free["params"]:
        assert parameter.ndim <= 1 or names[id(parameter)].endswith("bias")


def test_the_trunk_has_its_own_rate_in_groups_of_its_own(make_trainer):
    trainer = make_trainer(steps=11, warmup_steps=1, learning_rate=1e-3, trunk_learning_rate=1e-5)
    groups = trainer.optimizer.param_groups
    own = {id(weight) for weight in trainer.model.trunk.parameters()}
    for group in groups:
        assert {id(weight) in own for weight in group["params"]} == {group["peak"] == 1e-5}
    assert {(group["peak"], group["weight_decay"]) for group in groups} == {
        (rate, decay) for rate in (1e-5, 1e-3) for decay in (0.0, 0.01)
    }
    assert sum(len(group["params"]) for group in groups) == len(list(trainer.model.parameters()))
    for step, share in ((0, 1), (10, 0.01)):
        set_rates(trainer.optimizer, step, trainer.settings)
        assert [group["lr"] / group["peak"] for group in groups] == pytest.approx([share] * 4)


def test_without_a_rate_of_its_own_the_trunk_has_that_of_all(make_trainer):
    trainer = make_trainer()
    assert {group["peak"] for group in trainer.optimizer.param_groups} == {1e-3}


def test_a_rate_for_a_frozen_trunk_is_an_error():
    with pytest.raises(ValueError, match="trunk_learning_rate does nothing"):
        TrainingSettings.model_validate({"trunk_learning_rate": 1e-5, "fine_tuning": {"mode": "frozen"}})


def test_checkpointing_of_a_frozen_trunk_is_an_error():
    with pytest.raises(ValueError, match="gradient_checkpointing does nothing"):
        TrainingSettings.model_validate({"gradient_checkpointing": True, "fine_tuning": {"mode": "frozen"}})


@pytest.mark.parametrize("mode", MODES)
def test_the_optimizer_holds_what_trains_and_nothing_else(make_trainer, mode):
    trainer = make_trainer(fine_tuning=MODES[mode])
    held = {id(weight) for group in trainer.optimizer.param_groups for weight in group["params"]}
    trained = {id(weight) for weight in trainer.model.parameters() if weight.requires_grad}
    assert held == trained
    assert len(held) < len(list(trainer.model.parameters()))
    assert all(
        len(group["params"])
        for group in make_optimizer(trainer.objective, trainer.model.trunk, trainer.settings).param_groups
    )


# A training in each mode.


def weights_of(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def trunk_names(weights):
    return {name for name in weights if name.startswith("trunk.")}


@pytest.mark.parametrize("settings", [*MODES, "checkpointing", "fp16"])
def test_a_run_that_stopped_goes_on_exactly(make_trainer, tmp_path, settings):
    changes = {
        "checkpointing": {"gradient_checkpointing": True, "trunk_learning_rate": 1e-4},
        "fp16": {"precision": "fp16"},
    }.get(settings) or {"fine_tuning": MODES[settings]}
    straight = make_trainer("straight", **changes)
    straight.run()
    stopped = make_trainer("stopped", **changes)
    step = stopped._step
    stopped._step = lambda number: step(number) if number < 3 else (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    state = load_file(tmp_path / "stopped" / "training.safetensors")
    moments = {name.split("/")[1] for name in state if name.startswith("optimizer/")}
    assert len(moments) == sum(weight.requires_grad for weight in stopped.model.parameters())
    resumed = make_trainer("stopped", **changes)
    resumed.run()
    ours, theirs = weights_of(resumed), weights_of(straight)
    assert list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert vars(resumed.state) == vars(straight.state)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_trained_is_written_plain_and_comes_back(make_trainer, tmp_path, mode):
    before = weights_of(make_trainer("untouched"))
    trainer = make_trainer(fine_tuning=MODES[mode], steps=4, learning_rate=1e-2)
    trainer.run()
    after = weights_of(trainer)
    assert list(after) == list(before), "no adapter is left"
    moved = {name for name in trunk_names(after) if not torch.equal(after[name], before[name])}
    assert bool(moved) == (mode != "frozen")
    assert not any("running" in name or "tracked" in name for name in moved)
    save_checkpoint(tmp_path / "model", trainer.model, {})
    loaded = load_checkpoint(tmp_path / "model").model
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in after.items())
    logits = trainer.validator.predict(trainer.model, trainer.factors, trainer.pairs)
    assert np.array_equal(trainer.validator.predict(loaded, trainer.factors, trainer.pairs), logits)


def test_a_mode_that_changed_starts_anew(make_trainer):
    make_trainer(fine_tuning=MODES["frozen"]).run()
    assert make_trainer(fine_tuning=MODES["frozen"])._restore()
    assert not make_trainer(fine_tuning=MODES["norms"])._restore()


def test_a_trunk_that_came_from_elsewhere_starts_anew(make_trainer):
    make_trainer().run()
    other = make_trainer()
    other.model.trunk.source = {"name": "somewhere", "sha256": "0" * 64}
    other.signature = other._signature()
    assert not other._restore()


def test_gradient_checkpointing_trains_the_same(make_trainer):
    plain, again = make_trainer("plain"), make_trainer("again", gradient_checkpointing=True)
    for trainer in (plain, again):
        trainer.run()
    losses = [[row["loss"] for row in trainer.state.history] for trainer in (plain, again)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-5)


def test_fp16_scales_the_loss_and_remembers_by_how_much(make_trainer, monkeypatch):
    trainer = make_trainer(precision="fp16", steps=4)
    backward, scales = trainer.accelerator.backward, []
    monkeypatch.setattr(
        trainer.accelerator, "backward", lambda loss: scales.append(float(loss.detach())) or backward(loss)
    )
    trainer.run()
    assert trainer.state.scaling["scale"] > 1 and all(loss > 100 for loss in scales)
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
    again = make_trainer(precision="fp16", steps=4)
    again._restore()
    assert again.scaler.state_dict() == trainer.scaler.state_dict()
    plain = make_trainer("plain", steps=4)
    plain.run()
    assert plain.state.scaling == {}
    assert trainer.state.history[0]["loss"] == pytest.approx(plain.state.history[0]["loss"], rel=0.02)


def test_more_blocks_than_there_are_stop_before_anything_is_trained(make_trainer):
    with pytest.raises(InputError, match="the trunk has 1"):
        make_trainer(fine_tuning={"mode": "last", "last": 2})
