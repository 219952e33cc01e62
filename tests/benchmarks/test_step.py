"""The computed step is the real one: on a small trunk, both are taken."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import step
from tfbind.config import FineTuningSettings, TrunkSettings
from tfbind.model.trunk import make_trunk

SMALL = TrunkSettings(dim=48, depth=2, heads=2, dim_divisible_by=6, dropout=0.3)
MODES = {
    "all": {"mode": "all"},
    "frozen": {"mode": "frozen"},
    "last": {"mode": "last", "last": 1},
    "lora": {"mode": "lora"},
}


def compute(mode, **changes):
    values = {"bin": 64, "length": 64 * 32, "precision": "fp32", "again": False, **changes}
    return step.compute_step(SMALL, FineTuningSettings.model_validate(MODES[mode]), **values)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_computed_without_content_is_what_a_real_step_takes(mode, again):
    fake, real = (compute(mode, again=again, fake=fake) for fake in (True, False))
    assert (fake.weights, fake.trained) == (real.weights, real.trained)
    assert fake.flops == real.flops
    assert fake.working_bytes == pytest.approx(real.working_bytes, rel=0.02)


def test_operations_are_those_that_torch_counts():
    trunk = make_trunk(SMALL, 64).train()
    with FlopCounterMode(display=False) as counter:
        trunk(torch.zeros(1, 64 * 32, 4)).square().mean().backward()
    assert compute("all").flops == counter.get_total_flops()


def test_memory_holds_what_the_backward_pass_needs():
    """What autograd saves is alive at the end of the forward pass, and more than twice of it never is."""
    trunk, saved = make_trunk(SMALL, 64).train(), {}
    weights = {weight.data_ptr() for weight in trunk.parameters()}

    def pack(tensor):
        if tensor.data_ptr() not in weights:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trunk(torch.zeros(1, 64 * 32, 4)).square().mean()
    found = compute("all")
    assert sum(saved.values()) < found.working_bytes < 2 * sum(saved.values()) + 8 * found.weights
    assert found.bytes == found.working_bytes + 12 * found.weights


def test_stages_that_run_again_save_memory_and_cost_a_third_more():
    once, again = (compute("all", again=again, length=64 * 128) for again in (False, True))
    assert again.working_bytes < 0.7 * once.working_bytes
    # A third, and a little more: the first convolution has no gradient of its input.
    assert 1.3 < again.flops / once.flops < 1.37
    assert all(again.seconds[name] > once.seconds[name] > 0 for name in step.GPUS)


def test_sixteen_bits_halve_what_is_kept():
    single, half = (compute("all", precision=precision, length=64 * 128) for precision in ("fp32", "bf16"))
    assert 0.4 < half.working_bytes / single.working_bytes < 0.75
    assert half.flops == single.flops


def test_the_json_line_says_that_it_is_computed(monkeypatch, capsys):
    monkeypatch.setattr(step, "FULL", SMALL)
    monkeypatch.setattr(step, "BIN", 64)
    monkeypatch.setattr(step, "LENGTH", 64 * 32)
    found = step.run()
    assert found["computed"] is True and found["ratio"]["bytes"] > 1 > found["ratio"]["flops"]
    assert len(found["gibibytes"]) == len(step.CASES)
    assert "computed" in capsys.readouterr().out
