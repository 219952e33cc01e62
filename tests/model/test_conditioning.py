from __future__ import annotations

import pytest
import torch

from tfbind.config import ConditionerName
from tfbind.model.conditioning import CONDITIONERS, Conditioner, make_conditioner

DIM, CONDITION = 12, 5
NAMES = sorted(CONDITIONERS)


def made(name: str, *, shaken: bool = True) -> Conditioner:
    torch.manual_seed(0)
    module = make_conditioner(name, DIM, CONDITION).eval()
    if shaken:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.3)
    return module


@pytest.fixture
def given() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "x": torch.randn(3, 6, DIM, generator=generator),
        "condition": torch.randn(3, 1, CONDITION, generator=generator),
        "mask": torch.arange(6) < torch.tensor([6, 4, 1])[:, None],
    }


def apply(module: Conditioner, **given: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return module(**given)


def test_config_and_registry_name_the_same():
    assert set(ConditionerName.__args__) == {"none", *CONDITIONERS}
    assert make_conditioner("none", DIM, CONDITION) is None


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_nothing_at_first(name, given):
    torch.testing.assert_close(apply(made(name, shaken=False), **given), given["x"])


@pytest.mark.parametrize("name", NAMES)
def test_its_first_step_already_learns(name, given):
    module = made(name, shaken=False)
    target = torch.randn(given["x"].shape)
    (module(**given) - target).square().sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_condition_matters_of_its_own_set_alone(name, given):
    module = made(name)
    before = apply(module, **given)
    condition = given["condition"].clone()
    condition[1] += 1
    moved = (apply(module, **{**given, "condition": condition}) - before).abs().amax((1, 2))
    assert moved[1] > 1e-3
    assert moved[[0, 2]].max() < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_what_is_masked_changes_nothing_for_what_is_real(name, given):
    module = made(name)
    longer = torch.cat([given["x"], torch.randn(3, 4, DIM)], 1)
    longer[:, :6][~given["mask"]] = 50.0
    mask = torch.cat([given["mask"], torch.zeros(3, 4, dtype=torch.bool)], 1)
    found = apply(module, x=longer, condition=given["condition"], mask=mask)[:, :6]
    expected = apply(module, **given)
    torch.testing.assert_close(found[given["mask"]], expected[given["mask"]], atol=1e-5, rtol=1e-5)


def test_squeeze_excitation_gates_by_the_mean_of_the_real_items(given):
    module = made("squeeze_excitation")
    x, condition, mask = given["x"], given["condition"], given["mask"]
    found = apply(module, **given)
    for row in range(3):
        mean = x[row, mask[row]].mean(0)
        gate = 2 * torch.sigmoid(module.gate(torch.cat([mean, condition[row, 0]])))
        torch.testing.assert_close(found[row], x[row] * gate, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_truly_whether_it_is_local(name, given):
    module = made(name)
    changed = given["x"].clone()
    changed[:, 0] += 1
    condition = given["condition"].expand(-1, 6, -1).clone()
    condition[:, 0] += 1
    before = apply(module, x=given["x"], condition=given["condition"].expand(-1, 6, -1))
    moved = (apply(module, x=changed, condition=condition) - before).abs()[:, 1:].max()
    assert bool(moved < 1e-6) == module.local


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_for_each_item_may_be_the_same_for_all(name, given):
    module = made(name)
    each = given["condition"].expand(-1, 6, -1)
    torch.testing.assert_close(
        apply(module, **{**given, "condition": each}), apply(module, **given), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_set_without_items_gives_no_nan(name, given):
    found = apply(made(name), **{**given, "mask": torch.zeros(3, 6, dtype=torch.bool)})
    assert torch.isfinite(found).all()


def test_hypergrid_gates_each_weight_by_its_row_and_column(given):
    module = made("hypergrid")
    found = apply(module, **given)
    condition = given["condition"][:, 0]
    with torch.no_grad():
        rows, columns = module.rows(condition).sigmoid(), module.columns(condition).sigmoid()
        for row in range(3):
            weight = module.weight * 4 * torch.outer(rows[row], columns[row])
            torch.testing.assert_close(found[row], given["x"][row] @ weight, atol=1e-4, rtol=1e-4)
