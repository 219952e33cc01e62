from __future__ import annotations

import numpy as np
import pytest
import torch

from tfbind.config import ModelSettings
from tfbind.model.interaction import INTERACTIONS, Filip, Joint

RANK = 12
NORMALISATIONS = ["cosine", "layernorm", "rmsnorm", "none"]


def made(name: str = "filip", **settings: object) -> Filip | Joint:
    """An interaction with shaken weights."""
    torch.manual_seed(1)
    joint = {"heads": 2, "dim_head": 4, "depth": 2}
    values = {"rank": RANK, "heads": 3, "temperature": 0.2, "joint": joint, **settings}
    module = INTERACTIONS[name](ModelSettings.model_validate(values)).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return module


@pytest.fixture
def met() -> dict[str, torch.Tensor]:
    """Two windows of 7 bins, four factors of up to 6 tokens, the last one without any."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(6) < torch.tensor([6, 3, 1, 0])[:, None]
    return {
        "dna": torch.randn(2, 7, RANK, generator=generator) * 2,
        "factor": torch.randn(4, 6, RANK, generator=generator) * 2 * mask[..., None],
        "mask": mask,
    }


def meet(module: Filip | Joint, **met: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return module(**met)


def normalised(vector: np.ndarray, kind: str, module: Filip, side: str) -> np.ndarray:
    """One vector, by the formulas."""
    if kind == "cosine":
        return vector / max(np.linalg.norm(vector), 1e-12)
    if kind == "none":
        return vector
    norm = getattr(module, f"{side}_norm").norm
    gain, size = norm.weight.detach().numpy(), len(vector)
    if kind == "rmsnorm":
        return vector / np.sqrt(np.mean(vector**2) + 1e-6) * gain / np.sqrt(size)
    centred = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5)
    return (centred * gain + norm.bias.detach().numpy()) / np.sqrt(size)


@pytest.mark.parametrize("null_token", [False, True])
@pytest.mark.parametrize("pooling", ["log_mean_exp", "max", "mean"])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_filip_equals_a_naive_loop(met, kind, heads, pooling, null_token):
    module = made(
        heads=heads,
        dna_normalisation=kind,
        factor_normalisation=kind,
        map_normalisation="none",
        interaction_pooling=pooling,
        null_token=null_token,
        temperature_mode="per_head",
    )
    found = meet(module, **met)
    tau = module.temperature.detach().numpy()
    size = RANK // heads
    expected = np.zeros((2, 7, 3, heads))
    for window, bin, factor, h in np.ndindex(expected.shape):
        part = slice(h * size, (h + 1) * size)
        tokens = list(met["factor"][factor, met["mask"][factor]].double().numpy())
        if null_token:
            tokens.append(module.null.detach().double().numpy())
        here = normalised(met["dna"][window, bin].double().numpy()[part], kind, module, "dna")
        similar = np.array([here @ normalised(token[part], kind, module, "factor") for token in tokens])
        expected[window, bin, factor, h] = {
            "log_mean_exp": lambda x, h=h: tau[h] * np.log(np.mean(np.exp(x / tau[h]))),
            "max": np.max,
            "mean": np.mean,
        }[pooling](similar)
    np.testing.assert_allclose(found[:, :, :3], expected, atol=1e-4, rtol=1e-3)
    assert torch.isfinite(found).all(), "of the factor without tokens, too"


@pytest.mark.parametrize("name", INTERACTIONS)
def test_padding_changes_nothing_whatever_it_holds(met, name):
    module = made(name)
    longer = torch.cat([met["factor"], torch.full((4, 5, RANK), 9.0)], 1)
    longer[:, :6][~met["mask"]] = -7.0
    mask = torch.cat([met["mask"], torch.zeros(4, 5, dtype=torch.bool)], 1)
    found = meet(module, dna=met["dna"], factor=longer, mask=mask)[:, :, :3]
    torch.testing.assert_close(found, meet(module, **met)[:, :, :3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", INTERACTIONS)
def test_a_factor_meets_the_dna_alone_as_in_company(met, name):
    module = made(name)
    together = meet(module, **met)
    for row in range(4):
        alone = meet(module, dna=met["dna"], factor=met["factor"][[row]], mask=met["mask"][[row]])
        torch.testing.assert_close(alone[:, :, 0], together[:, :, row], atol=1e-5, rtol=1e-5)


def test_a_null_token_is_normalised_like_any_other(met):
    """However large it has grown, it cannot win by its length."""
    module = made(null_token=True, map_normalisation="none", interaction_pooling="max")
    before = meet(module, **met)
    with torch.no_grad():
        module.null *= 1000
    torch.testing.assert_close(meet(module, **met), before, atol=1e-5, rtol=1e-5)
    assert before.abs().max() <= 1 + 1e-5, "cosines"


@pytest.mark.parametrize(("mode", "trained"), [("fixed", 0), ("learnt", 1), ("per_head", 3)])
def test_the_temperature_is_trained_as_it_is_said(met, mode, trained):
    module = made(temperature_mode=mode, map_normalisation="none")
    named = dict(module.named_parameters())
    assert sum(named[name].numel() for name in named if name == "log_temperature") == trained
    with torch.no_grad():
        module.log_temperature.fill_(np.log(0.2))
    learnt = made(map_normalisation="none")
    with torch.no_grad():
        learnt.log_temperature.fill_(np.log(0.2))
    torch.testing.assert_close(meet(module, **met), meet(learnt, **met))
    assert "log_temperature" in module.state_dict(), "it comes back with the weights"


def test_log_mean_exp_lies_between_mean_and_maximum(met):
    low, middle, high = (
        meet(made(interaction_pooling=pooling, map_normalisation="none"), **met)[:, :, :3]
        for pooling in ("mean", "log_mean_exp", "max")
    )
    assert (low <= middle + 1e-6).all()
    assert (middle <= high + 1e-6).all()


@pytest.mark.parametrize("temperature", [0.01, 10.0])
def test_a_temperature_at_its_bounds_is_learnt(temperature):
    module = Filip(ModelSettings(temperature=temperature))
    module.temperature.sum().backward()
    assert module.log_temperature.grad.item() == pytest.approx(temperature)


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_the_map_is_normalised_over_heads(met, kind):
    plain = meet(made(map_normalisation="none"), **met)
    found = meet(made(map_normalisation=kind), **met)
    single = meet(made(map_normalisation=kind, heads=1), **met)
    assert single[:, :, :3].std() > 1e-3, "over a single head nothing is normalised: nothing would be left"
    assert torch.allclose(plain, found) == (kind == "none")


def test_joint_attention_lets_bins_see_bins_and_filip_does_not(met):
    changed = met["dna"].clone()
    # Not by one number for all: a layer norm takes that off again.
    changed[:, 0] *= -1
    for name, local in (("filip", True), ("joint", False)):
        module = made(name)
        assert module.local == local
        moved = (meet(module, **{**met, "dna": changed}) - meet(module, **met)).abs().amax((0, 2, 3))
        assert (moved[1:] == 0).all() if local else (moved[1:] > 1e-4).all()


def test_joint_attention_goes_both_ways(met):
    """DNA reads the factor's tokens, and they read the DNA: each block changes both."""
    block = made("joint").blocks[0]
    dna, factor = met["dna"].unsqueeze(1).expand(-1, 3, -1, -1), met["factor"][None, :3].expand(2, -1, -1, -1)
    mask = met["mask"][:3]
    with torch.no_grad():
        _, before = block(dna, factor, mask)
        _, after = block(dna + torch.randn(RANK), factor, mask)
        other, _ = block(dna, factor.flip(1), mask.flip(0))
        same, _ = block(dna, factor, mask)
    assert (before - after).abs().max() > 1e-3
    assert (other[:, 0] - same[:, 0]).abs().max() > 1e-3
