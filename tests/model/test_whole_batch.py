from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tfbind.model.whole_batch import WholeBatchNorm, WindowDropout, whole_batch, window_keys

TOGETHER = Path(__file__).with_name("norm_together.py")


def dropped(layer: nn.Module, x: torch.Tensor, step: int, windows: list[int]) -> torch.Tensor:
    with window_keys(layer, 3, step, windows):
        return layer(x)


def test_a_window_loses_the_same_entries_wherever_it_is_in_the_batch():
    layer, x = WindowDropout(0.4, 0), torch.ones(5, 30, 4)
    whole = dropped(layer, x, 7, [0, 1, 2, 3, 4])
    parts = [dropped(layer, x[:2], 7, [0, 1]), dropped(layer, x[2:], 7, [2, 3, 4])]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(dropped(layer, x[:1], 7, [3])[0], whole[3])


def test_windows_steps_and_layers_lose_different_entries():
    layer, x = WindowDropout(0.5, 0), torch.ones(2, 500)
    first = dropped(layer, x, 1, [0, 1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, dropped(layer, x, 2, [0, 1]))
    assert not torch.equal(first, dropped(WindowDropout(0.5, 1), x, 1, [0, 1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_much_is_lost_as_torch_loses_and_the_mean_stays(dtype):
    out = dropped(WindowDropout(0.3, 0), torch.ones(4, 20_000, dtype=dtype), 1, [0, 1, 2, 3])
    assert out.dtype == dtype
    assert (out == 0).float().mean() == pytest.approx(0.3, abs=0.01)
    assert out.float().mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", [(2, 3), (2, 5, 7), (2, 0)])
@pytest.mark.parametrize(("p", "lost"), [(1e-6, 0), (1 - 1e-6, 1)])
def test_next_to_nothing_and_next_to_all_may_be_lost_of_any_shape(p, lost, shape):
    out = dropped(WindowDropout(p, 0), torch.ones(shape), 1, [0, 1])
    assert out.shape == shape
    assert torch.equal(out == 0, torch.full(shape, bool(lost)))


def test_what_has_no_windows_loses_the_same_whatever_the_windows():
    layer, x = WindowDropout(0.5, 0, shared=True), torch.ones(40, 6)
    assert torch.equal(dropped(layer, x, 1, [0]), dropped(layer, x, 1, [5, 6, 7]))
    assert not torch.equal(dropped(layer, x, 1, [0]), dropped(layer, x, 2, [0]))


def test_outside_a_training_it_draws_anew_each_time():
    layer, x = WindowDropout(0.5, 0), torch.ones(3, 100)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), x)


def test_a_model_keeps_its_weights_and_their_names(make_model):
    from tfbind.model.trunk import make_trunk

    model = make_model()
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())
    trunk = make_trunk(model.settings.trunk, model.bin)
    before = trunk.state_dict()
    names = [name for name, module in trunk.named_modules() if isinstance(module, nn.BatchNorm1d)]
    after = whole_batch(trunk).state_dict()
    assert list(before) == list(after) and all(torch.equal(before[name], after[name]) for name in before)
    assert names and all(isinstance(trunk.get_submodule(name), WholeBatchNorm) for name in names)


def test_layers_that_were_added_get_streams_of_their_own(make_model):
    model = make_model()
    before = {layer: layer.stream for layer in model.modules() if isinstance(layer, WindowDropout)}
    norms = [module for module in model.modules() if isinstance(module, WholeBatchNorm)]
    model.added = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.2))
    whole_batch(model)
    assert {layer: layer.stream for layer in before} == before
    assert [layer.stream for layer in model.added] == [max(before.values()) + 1, max(before.values()) + 2]
    assert [module for module in model.modules() if isinstance(module, WholeBatchNorm)] == norms


def test_every_dropout_of_a_model_has_a_stream_of_its_own(make_model):
    layers = [module for module in make_model().modules() if isinstance(module, WindowDropout)]
    assert len(layers) > 3 and len({layer.stream for layer in layers}) == len(layers)
    assert sum(layer.shared for layer in layers) == 1  # the positional features of one transformer layer


@pytest.mark.parametrize("shape", [(7, 3), (6, 3, 11)])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_normalise_together_as_one_does(tmp_path, shape, processes):
    """Outputs, gradients and running statistics, shares of unequal size, equal torch's over the whole batch."""
    torch.manual_seed(1)
    x, weight = torch.randn(*shape) * 3 + 50, torch.randn(*shape)
    norm = nn.BatchNorm1d(shape[1])
    with torch.no_grad():
        norm.weight.uniform_(), norm.bias.uniform_()
    torch.save({"x": x, "weight": weight, "norm": norm.state_dict()}, tmp_path / "in.pt")
    x.requires_grad_()
    (norm(x) * weight).sum().backward()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", TOGETHER, tmp_path]
    subprocess.run([sys.executable, *map(str, command)], env=environment, check=True)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(processes)]
    assert [part["x"] for part in parts] and sum(len(part["gradient"]) for part in parts) == len(x)
    gradient = torch.cat([part["gradient"] for part in parts])
    torch.testing.assert_close(gradient, x.grad, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(sum(part["of_weight"] for part in parts), norm.weight.grad, atol=1e-4, rtol=1e-4)
    for part in parts:
        for name, value in norm.state_dict().items():
            torch.testing.assert_close(part["norm"][name], value, atol=1e-5, rtol=1e-5)
