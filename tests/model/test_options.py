"""Every option of the model, and every pair of interaction and conditioning: what must hold of all of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tfbind.core.errors import InputError
from tfbind.model import inference
from tfbind.model.checkpoint import load_checkpoint, save_checkpoint
from tfbind.model.conditioning import CONDITIONERS
from tfbind.model.data import GenomeData
from tfbind.model.inference import Predictor
from tfbind.model.interaction import INTERACTIONS
from tfbind.model.shape import OUTPUTS

BINS, CELLS, TEXT = 8, 3, 7
PAIRS = torch.cartesian_prod(torch.arange(4), torch.arange(CELLS))
CONDITIONINGS = ["none", *CONDITIONERS]
SHAPE = {"text_dim": TEXT, "cell_types": CELLS, "learnt": 4, "window_bins": BINS, "outputs": OUTPUTS}


def everywhere(name: str) -> dict[str, str]:
    return dict.fromkeys(("dna", "factor", "interaction"), name)


def combination(interaction: str, conditioning: str) -> dict[str, Any]:
    return {
        "interaction": interaction,
        "conditioning": everywhere(conditioning),
        "joint": {"heads": 2, "dim_head": 4},
    }


COMBINATIONS = list(itertools.product(INTERACTIONS, CONDITIONINGS))
OPTIONS = [
    {"factor_tokens": 0},
    {"factor_tokens": 0, "interaction": "joint"},
    {"null_token": True},
    {"null_token": True, "interaction": "joint", "joint": {"depth": 2, "heads": 1, "dim_head": 8}},
    {"temperature_mode": "fixed"},
    {"temperature_mode": "per_head"},
    {"interaction_pooling": "max"},
    {"interaction_pooling": "mean"},
    *({"dna_normalisation": kind} for kind in ("layernorm", "rmsnorm", "none")),
    *({"factor_normalisation": kind} for kind in ("layernorm", "rmsnorm", "none")),
    *({"map_normalisation": kind} for kind in ("cosine", "rmsnorm", "none")),
    {"heads": 1},
    {"motif_width": 0},
    *({"conditioning": {slot: "film"}} for slot in ("dna", "factor", "interaction")),
]


@pytest.fixture
def world(codes, make_factors, make_contexts):
    """Two windows, four factors (the last two without motif, without protein), three cell types."""
    accessibility = torch.as_tensor(np.random.default_rng(5).exponential(size=(2, BINS, CELLS))).float()
    contexts = make_contexts(accessibility, [True, True, False], text_dim=TEXT)
    has_text, identity = torch.tensor([True, False, True]), torch.tensor([0, 1, -1])
    return [
        codes(2, BINS * 16),
        make_factors([30, 12, 17, 0], [5, 8, 0, 7]),
        replace(contexts, has_text=has_text, identity=identity),
        PAIRS,
    ]


def predict(model, world) -> torch.Tensor:
    """All outputs, (windows, bins, pairs, outputs)."""
    with torch.no_grad():
        found = model(*world)
    return torch.stack([getattr(found, name) for name in model.shape.outputs], -1)


def check_everything(model, world, folder) -> None:
    """It trains, comes back from disk as it was, and says of a pair the same alone and in company."""
    model.train()
    torch.manual_seed(0)
    found = model(*world)
    sum(getattr(found, name).square().mean() for name in OUTPUTS).backward()
    for name, parameter in model.named_parameters():
        if not name.startswith("head.encoder.motif.") or model.settings.motif_width:
            assert parameter.grad is not None, f"{name} is not reached"
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
    model.eval()
    everything = predict(model, world)
    assert everything.shape == (2, BINS, len(PAIRS), len(OUTPUTS))
    assert torch.isfinite(everything).all()
    assert (everything[..., 1] >= 0).all(), "rates"
    save_checkpoint(folder, model, {})
    assert torch.equal(predict(load_checkpoint(folder).model, world), everything)
    codes, factors, contexts, pairs = world
    for column in (0, 5, 11):
        factor, cell = pairs[column].tolist()
        alone = [codes, factors.select(torch.tensor([factor])), contexts, torch.tensor([[0, cell]])]
        torch.testing.assert_close(predict(model, alone)[:, :, 0], everything[:, :, column], atol=1e-5, rtol=1e-5)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1))
    permuted = predict(model, [codes, factors, contexts, pairs[order]])
    torch.testing.assert_close(permuted, everything[:, :, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("interaction", "conditioning"), COMBINATIONS)
def test_every_interaction_with_every_conditioning(make_model, world, tmp_path, interaction, conditioning):
    check_everything(make_model(shape=SHAPE, **combination(interaction, conditioning)), world, tmp_path / "model")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option(make_model, world, tmp_path, options):
    check_everything(make_model(shape=SHAPE, **options), world, tmp_path / "model")


@pytest.mark.parametrize(("interaction", "conditioning"), COMBINATIONS)
def test_windows_and_padding_do_not_matter(make_model, world, interaction, conditioning):
    model = make_model(shape=SHAPE, **combination(interaction, conditioning))
    codes, factors, contexts, pairs = world
    together = predict(model, world)
    part = slice(1, 2)
    alone = [codes[part], factors, replace(contexts, accessibility=contexts.accessibility[part]), pairs]
    torch.testing.assert_close(predict(model, alone), together[part], atol=1e-5, rtol=1e-5)
    padding = torch.full((4, 9, factors.embeddings.shape[2]), 8.0)
    padded = replace(
        factors,
        embeddings=torch.cat([factors.embeddings, padding], 1),
        residue_mask=torch.cat([factors.residue_mask, torch.zeros(4, 9, dtype=torch.bool)], 1),
    )
    torch.testing.assert_close(predict(model, [codes, padded, contexts, pairs]), together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{"outputs": (name,)} for name in OUTPUTS], ids=str)
def test_any_output_alone(make_model, world, options):
    model = make_model(shape={**SHAPE, **options})
    found = model(*world)
    assert [name for name in OUTPUTS if getattr(found, name) is not None] == list(options["outputs"])


@pytest.mark.parametrize("conditioning", CONDITIONERS)
@pytest.mark.parametrize("slot", ["dna", "factor", "interaction"])
def test_what_is_known_of_a_cell_type_reaches_its_own_tracks_alone(make_model, world, conditioning, slot):
    model = make_model(shape=SHAPE, conditioning={slot: conditioning})
    before = predict(model, world)
    codes, factors, contexts, pairs = world
    text = contexts.text.clone()
    text[0] = text[0].flip(0)
    after = predict(model, [codes, factors, replace(contexts, text=text), pairs])
    moved = (after - before).abs().amax((0, 1, 3))
    assert moved[pairs[:, 1] == 0].min() > 1e-4
    assert moved[pairs[:, 1] != 0].max() == 0


def test_no_text_is_not_a_text_of_zeros_and_an_unknown_cell_type_has_no_identity(make_model, world):
    model = make_model(shape=SHAPE)
    codes, factors, contexts, pairs = world
    before = predict(model, world)

    def moved(**known):
        return float((predict(model, [codes, factors, replace(contexts, **known), pairs]) - before).abs().max())

    assert moved(text=torch.where(contexts.has_text[:, None], contexts.text, 5.0)) == 0
    assert moved(has_text=torch.ones(3, dtype=torch.bool), text=contexts.text * contexts.has_text[:, None]) > 1e-4
    assert moved(identity=torch.tensor([0, 1, 2])) > 1e-4


def test_factors_cannot_be_conditioned_by_nothing(make_model):
    with pytest.raises(InputError, match="nothing is known of cell types") as caught:
        make_model(conditioning={"factor": "film"})
    assert caught.value.key == "model.conditioning.factor"


@pytest.mark.parametrize(
    "options", [{"interaction": "joint"}, {"conditioning": {"dna": "induced_attention"}}], ids=str
)
def test_what_looks_along_bins_predicts_in_the_windows_of_training(
    make_model, make_factors, monkeypatch, options
):
    """A genome is predicted window by window; where stretches of it begin makes no difference."""
    model = make_model(shape={"window_bins": 24}, **options)
    assert not model.head.local
    rng = np.random.default_rng(0)
    data = GenomeData(
        16,
        {"one": rng.integers(0, 5, 16 * 75 - 5).astype(np.uint8)},
        {"one": rng.exponential(size=(75, 1)).astype(np.float32)},
        np.array([True]),
    )
    tokens = rng.normal(size=(75, 12)).astype(np.float16)
    pairs = torch.tensor([[0, 0], [1, 0]])
    with torch.no_grad():
        code = model.head.encode_factors(make_factors([20, 9], [7, 0]))
    runs, dna_tokens = [], model.dna_tokens
    monkeypatch.setattr(model, "dna_tokens", lambda codes: runs.append(codes.shape) or dna_tokens(codes))
    predictor = Predictor(model, code, data)
    whole = predictor.stretch("one", tokens, 0, 75, pairs)
    assert whole.shape == (75, 2)
    monkeypatch.setattr(inference, "STRETCH", 11)
    np.testing.assert_allclose(predictor.stretch("one", tokens, 0, 75, pairs), whole, atol=1e-5)
    # Off the chromosome, and where nothing was embedded, stands what training saw there: tokens of N, made once.
    assert runs == [(1, 24 * 16)]
    empty = inference.empty_token(model)
    assert np.abs(empty).max() > 0.1
    with torch.no_grad():
        alone = model.dna_tokens(torch.full((1, 24 * 16), 4))
    np.testing.assert_allclose(empty, alone[0].mean(0), atol=1e-5)
    first = np.concatenate([np.tile(empty, (3, 1)), tokens[:21].astype(np.float32)])
    with torch.no_grad():
        found = model.head.decode(
            torch.as_tensor(first[None]),
            torch.as_tensor(data.window_codes("one", -3, 24)[None]),
            code,
            data.contexts(torch.as_tensor(data.window_accessibility("one", -3 - 12, 24 + 24)[None])),
            pairs,
            16,
        ).binding
    np.testing.assert_allclose(whole[:18], found[0, 3:21], atol=1e-5)
    # The second window, made by hand: 24 bins from bin 18 - 3, of which all but 3 at either end are kept.
    run = slice(15, 39)
    with torch.no_grad():
        found = model.head.decode(
            torch.as_tensor(tokens[None, run].astype(np.float32)),
            torch.as_tensor(data.codes["one"][None, 15 * 16 : 39 * 16]),
            code,
            data.contexts(torch.tensor(data.window_accessibility("one", 15 - 12, 24 + 24)[None])),
            pairs,
            16,
        ).binding
    np.testing.assert_allclose(whole[18:36], found[0, 3:21], atol=1e-5)
