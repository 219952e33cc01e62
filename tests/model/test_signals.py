"""Signals beside accessibility in the model: hidden, missing, mirrored, rendered, kept, and given by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tfbind import Model
from tfbind.config import ContextDropout, TrunkSettings
from tfbind.core.errors import InputError
from tfbind.model import inference, rendering
from tfbind.model.checkpoint import load_checkpoint, save_checkpoint
from tfbind.model.context_encoder import AccessibilityTower
from tfbind.model.contexts import ContextBatch
from tfbind.model.data import GenomeData
from tfbind.model.inference import Predictor
from tfbind.model.shape import ModelShape
from tfbind.model.trunk import DilatedTrunk

BIN, CELLS = 16, 3
NAMES = ("H3K27ac", "FAIRE-seq")
# The first cell type has all, the second the last signal alone, the third nothing.
HAS_TRACK, HAS_FURTHER = [True, False, False], [[True, True], [False, True], [False, False]]


def known(windows=2, bins=30, seed=0):
    rng = torch.Generator().manual_seed(seed)
    has_track, has_further = torch.tensor(HAS_TRACK), torch.tensor(HAS_FURTHER)
    return ContextBatch(
        torch.rand(windows, bins, CELLS, generator=rng) * has_track,
        has_track,
        torch.zeros(CELLS, 0),
        torch.zeros(CELLS, dtype=torch.bool),
        torch.full((CELLS,), -1),
        torch.rand(windows, bins, CELLS, 2, generator=rng) * has_further,
        has_further,
    )


@pytest.fixture
def tower():
    torch.manual_seed(0)
    tower = AccessibilityTower(6, 2)
    with torch.no_grad():
        for weight in tower.parameters():
            weight.normal_()
    return tower


def test_every_channel_counts_and_what_is_missing_is_not_zero(tower):
    contexts = known()
    found = tower(contexts)
    assert torch.equal(found[:, :, 2], tower.missing.expand(2, 30, -1)), "nothing is known"
    for channel in (0, 1):
        other = contexts.further.clone()
        other[:, :, 0, channel] += 1
        assert not torch.allclose(tower(replace(contexts, further=other))[:, :, 0], found[:, :, 0])
    silent = replace(contexts, has_track=torch.tensor([True, True, False]))
    assert not torch.allclose(tower(silent)[:, :, 1], found[:, :, 1]), "no accessibility is not one of zeros"
    without = replace(contexts, has_further=torch.tensor([[False, True], [False, True], [False, False]]))
    assert not torch.allclose(tower(without)[:, :, 0], found[:, :, 0])
    # A window says the same by itself, and a cell type, too.
    torch.testing.assert_close(tower(contexts.of(slice(1, 2))), found[1:])
    torch.testing.assert_close(tower(contexts.select(torch.tensor([1]))), found[:, :, [1]])


def test_each_signal_is_hidden_by_itself_and_changes_nothing_else_that_is():
    cells, dropout = 3000, ContextDropout(accessibility=0.2, text=0.5, learnt=0.3)
    batch = ContextBatch(
        torch.ones(1, 2, cells),
        torch.ones(cells, dtype=torch.bool),
        torch.ones(cells, 1),
        torch.ones(cells, dtype=torch.bool),
        torch.arange(cells),
    )
    more = replace(batch, further=torch.ones(1, 2, cells, 2), has_further=torch.ones(cells, 2, dtype=torch.bool))
    without, found = (each.hidden(dropout, np.random.default_rng(1)) for each in (batch, more))
    for name in ("accessibility", "has_track", "text", "has_text", "identity"):
        assert torch.equal(getattr(without, name), getattr(found, name))
    assert not found.further.transpose(0, 2)[~found.has_further.any(1)].any()
    assert torch.equal(found.further[0, 1] == 1, found.has_further)
    kept = torch.cat([found.has_track[:, None], found.has_further], 1).float()
    np.testing.assert_allclose(kept.mean(0), 0.8, atol=0.03)
    assert np.abs(np.corrcoef(kept.T) - np.eye(3)).max() < 0.07


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="further"):
        known().over(torch.zeros(2, 10, CELLS))
    with pytest.raises(ValueError, match="further"):
        known().over(torch.zeros(2, 10, CELLS), torch.zeros(2, 10, CELLS, 1))


def test_a_model_keeps_its_signals_and_one_without_says_nothing_of_them(make_model, tmp_path):
    model = make_model(shape={"signals": NAMES})
    save_checkpoint(tmp_path / "model", model, {})
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.signals == NAMES and loaded.model.shape == model.shape
    assert loaded.model.head.accessibility.near.in_channels == 3
    plain = make_model()
    assert "signals" not in plain.shape.as_json() and ModelShape.from_json(plain.shape.as_json()) == plain.shape
    assert not any("absent" in name for name in plain.state_dict())


# --- along a genome ---


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    size = BIN * 300 - 5
    bins = -(-size // BIN)
    has_track, has_further = np.array(HAS_TRACK), np.array(HAS_FURTHER)
    return GenomeData(
        BIN,
        {"a": rng.choice(5, size=size, p=[0.22] * 4 + [0.12]).astype(np.uint8)},
        {"a": (rng.exponential(size=(bins, CELLS)) * has_track).astype(np.float32)},
        has_track,
        further={"a": (rng.exponential(size=(bins, CELLS, 2)) * has_further).astype(np.float32)},
        has_further=has_further,
    )


@pytest.mark.parametrize("settings", [{}, {"conditioning": {"interaction": "film"}}])
def test_what_is_rendered_is_what_the_head_decodes(make_model, make_factors, data, monkeypatch, settings):
    for name, size in {"PIECE": 64, "BLOCK": 32}.items():
        monkeypatch.setattr(rendering, name, size)
    monkeypatch.setattr(inference, "PIECE", 64)
    model = make_model(shape={"signals": NAMES}, **settings)
    tokens = np.random.default_rng(1).normal(size=(300, model.rank)).astype(np.float16)
    with torch.inference_mode():
        predictor = Predictor(model, model.head.encode_factors(make_factors([20, 9, 0], [7, 0, 12])), data)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(CELLS))
    assert predictor.renderer is not None
    rendered = predictor.stretch("a", tokens, 40, 200, pairs)
    predictor.renderer = None
    decoded = predictor.stretch("a", tokens, 40, 200, pairs)
    np.testing.assert_allclose(rendered, decoded, atol=1e-5)
    other = replace(data, further={"a": data.further["a"][::-1].copy()})
    predictor = Predictor(model, predictor.factors, other)
    changed = predictor.stretch("a", tokens, 40, 200, pairs).reshape(200, 3, CELLS)
    same = rendered.reshape(200, 3, CELLS)
    assert not np.allclose(changed[..., 1], same[..., 1]) and np.array_equal(changed[..., 2], same[..., 2])


# --- by hand ---

BINS = 12


@pytest.fixture
def by_hand():
    torch.manual_seed(1)
    model = Model(
        trunk=DilatedTrunk(TrunkSettings(kind="dilated", dim=8, depth=1), BIN),
        **{"aa_embed_dim": 5, "signals": NAMES, "loss": "binding", "rank": 12, "heads": 3, "hidden": 10},
    )
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(torch.randn(weight.shape) * 0.1)
    return model.eval()


def given():
    rng = torch.Generator().manual_seed(2)
    return {
        "seq": torch.randint(0, 4, (2, BIN * BINS), generator=rng),
        "aa_embed": torch.randn(1, 9, 5, generator=rng),
        "accessibility": torch.rand(2, BINS, CELLS, generator=rng),
        "signals": torch.rand(2, BINS, CELLS, 2, generator=rng),
    }


def test_signals_of_ones_own(by_hand, tmp_path):
    whole = given()
    found = by_hand.predict(**whole, pairs="all")
    assert found.shape == (2, BINS, 1, CELLS)
    own = {**whole, "accessibility": whole["accessibility"][..., 1], "signals": whole["signals"][:, :, 1]}
    torch.testing.assert_close(by_hand.predict(**own), found[..., 0, 1])
    alone = by_hand.predict(**{**whole, "accessibility": None}, pairs="all")
    assert alone.shape == found.shape and not torch.allclose(alone, found)
    missing = {name: value for name, value in whole.items() if name != "signals"}
    nothing = by_hand.predict(**missing, pairs="all")
    hidden = by_hand.predict(**whole, signals_mask=torch.tensor([False, False]), pairs="all")
    torch.testing.assert_close(nothing, hidden)
    mask = torch.tensor([[True, True], [False, False], [True, False]])
    some = by_hand.predict(**whole, signals_mask=mask, pairs="all")
    torch.testing.assert_close(some[..., 0], found[..., 0])
    torch.testing.assert_close(some[..., 1], hidden[..., 1])
    by_hand.save(tmp_path / "model")
    torch.testing.assert_close(Model.load(tmp_path / "model").predict(**whole, pairs="all"), found)


def test_both_strands_are_read_with_their_signals(by_hand):
    both = by_hand.predict(**given(), pairs="all", average_reverse_complement=True)
    mirrored = {**given(), "seq": 3 - given()["seq"].flip(1)}
    mirrored |= {name: given()[name].flip(1) for name in ("accessibility", "signals")}
    other = by_hand.predict(**mirrored, pairs="all", average_reverse_complement=True)
    torch.testing.assert_close(both, other.flip(1))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"signals": torch.zeros(2, BINS, CELLS)},
            r"'signals': is of shape \(2, 12, 3\), and must be \(2, 12, 3, 2\)",
        ),
        ({"signals": -torch.ones(2, BINS, CELLS, 2)}, r"'signals': is of shape .*, 0 or more"),
        ({"signals_mask": torch.ones(3, dtype=torch.bool)}, r"'signals_mask': must be bool \(2,\) or \(3, 2\)"),
        (
            {"signals": None, "signals_mask": torch.ones(2, dtype=torch.bool)},
            "'signals_mask': says of what is not",
        ),
    ],
)
def test_signals_that_do_not_fit(by_hand, changes, problem):
    with pytest.raises(InputError, match=problem):
        by_hand.predict(**{**given(), **changes}, pairs="all")


def test_signals_for_a_model_that_takes_none():
    trunk = DilatedTrunk(TrunkSettings(kind="dilated", dim=8, depth=1), BIN)
    model = Model(trunk=trunk, aa_embed_dim=5, rank=12, heads=3, hidden=10)
    with pytest.raises(InputError, match=r"'signals': is given, and the model takes none"):
        model.predict(**given(), pairs="all")
