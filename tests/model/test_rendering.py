"""Rendering gives what the head decodes, whatever is asked for beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfbind.model import inference, rendering
from tfbind.model.data import GenomeData
from tfbind.model.head import joined_codes
from tfbind.model.inference import Predictor
from tfbind.model.rendering import can_render

BIN, CELLS = 16, 3
LENGTHS, WIDTHS = [20, 9, 0, 14, 30], [7, 0, 12, 9, 4]
ALL = torch.cartesian_prod(torch.arange(len(LENGTHS)), torch.arange(CELLS))
SIZES = {"long": BIN * 300 - 5, "short": BIN * 14 + 3}
RENDERED = [
    {},
    {"rank": 16, "heads": 1},
    {"factor_tokens": 0},
    {"motif_width": 0},
    {"motif_width": 7},
    {"null_token": True},
    {"temperature_mode": "per_head"},
    {"temperature": 0.01},
    {"interaction_pooling": "max"},
    {"interaction_pooling": "mean"},
    {"interaction_pooling": "mean", "factor_tokens": 0},
    {"dna_normalisation": "layernorm", "factor_normalisation": "rmsnorm"},
    {"dna_normalisation": "none", "factor_normalisation": "none"},
    {"map_normalisation": "rmsnorm"},
    {"map_normalisation": "cosine"},
    {"map_normalisation": "none"},
    {"conditioning": {"interaction": "film"}},
    {"conditioning": {"interaction": "hypergrid"}},
]
DECODED = [
    {"interaction": "joint"},
    {"conditioning": {"dna": "film"}},
    {"conditioning": {"factor": "film"}},
    {"conditioning": {"interaction": "squeeze_excitation"}},
]
# Where every residue is a token, those of a factor are filled up to the most of any.
COMPANY = [
    {},
    {"factor_tokens": 0},
    {"factor_tokens": 0, "null_token": True},
    {"factor_tokens": 0, "null_token": True, "interaction_pooling": "mean"},
]
KNOWING = {"cell_types": 2, "learnt": 4, "outputs": ("binding", "track")}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    for name, size in {"PIECE": 64, "BLOCK": 32}.items():
        monkeypatch.setattr(rendering, name, size)
    monkeypatch.setattr(inference, "PIECE", 64)


@pytest.fixture(scope="module")
def data() -> GenomeData:
    rng = np.random.default_rng(0)
    codes = {
        chrom: rng.choice(5, size=size, p=[0.22] * 4 + [0.12]).astype(np.uint8) for chrom, size in SIZES.items()
    }
    accessibility = {
        chrom: rng.exponential(size=(-(-size // BIN), CELLS)).astype(np.float32) for chrom, size in SIZES.items()
    }
    data = GenomeData(BIN, codes, accessibility, np.array([True, False, True]))
    return data.knowing(["a", "b", "c"], None, ["a", "b"])


@pytest.fixture
def make_predictor(make_model, make_factors, data):
    def make(chosen=None, shape=None, apart=None, **settings):
        model = make_model(shape={"window_bins": 64, **(KNOWING if shape is None else shape)}, **settings)
        factors = make_factors(apart or LENGTHS, WIDTHS)
        rows = torch.arange(len(factors)) if chosen is None else torch.tensor(chosen)
        with torch.inference_mode():
            if apart:
                code = joined_codes([model.head.encode_factors(factors.select(row[None])) for row in rows])
            else:
                code = model.head.encode_factors(factors).select(rows)
        return Predictor(model, code, data)

    return make


def tokens(chrom, rank=12):
    bins = -(-SIZES[chrom] // BIN)
    return np.random.default_rng(1).normal(size=(bins, rank)).astype(np.float16)


def logits(predictor, chrom, first=0, count=None, pairs=ALL):
    stored = tokens(chrom, predictor.model.settings.rank)
    return predictor.stretch(chrom, stored, first, len(stored) if count is None else count, pairs)


@pytest.mark.parametrize("chrom", SIZES)
@pytest.mark.parametrize("settings", RENDERED, ids=str)
def test_logits_are_those_that_the_head_decodes(make_predictor, chrom, settings):
    rendered, decoded = make_predictor(**settings), make_predictor(**settings)
    assert rendered.renderer is not None
    decoded.renderer = None
    np.testing.assert_allclose(logits(rendered, chrom), logits(decoded, chrom), rtol=0, atol=1e-5)


def test_a_model_that_is_told_nothing_of_cell_types(make_predictor):
    rendered, decoded = make_predictor(shape={}), make_predictor(shape={})
    decoded.renderer = None
    np.testing.assert_allclose(logits(rendered, "long"), logits(decoded, "long"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("exponent", [69.0, 79.9])
def test_a_long_protein_all_of_whose_residues_fit_does_not_overflow(make_model, make_factors, exponent):
    """Every residue of 8,000 is a token, and all tokens are what stands in the bin: S is 1."""
    model = make_model(factor_tokens=0, temperature=1 / exponent, temperature_mode="fixed", motif_width=0)
    head = model.head
    with torch.no_grad():
        head.interaction.log_temperature.fill_(-math.log(exponent))
        head.encoder.to_tokens.weight.zero_()
        code = head.encode_factors(make_factors([8000], [0]))
        group = rendering._Group(head, code, rendering._ContextLayers(head))
        dna = F.normalize(head.encoder.to_tokens.bias.view(1, head.interaction.heads, -1), dim=-1)
        products = torch.bmm(group.tokens, dna.permute(1, 2, 0)).unflatten(1, (-1, group.size))
        pooled = group._pooled(head.interaction, products)[:, 0]
    torch.testing.assert_close(pooled, torch.ones_like(pooled), rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", DECODED, ids=str)
def test_other_heads_are_decoded(make_predictor, settings):
    predictor = make_predictor(**settings)
    assert not can_render(predictor.model.head) and predictor.renderer is None
    assert np.isfinite(logits(predictor, "short")).all()


def test_a_head_in_training_is_not_rendered(make_model):
    assert not can_render(make_model().train().head)


@pytest.mark.parametrize("chosen", [[0], [3], [4, 1], [2, 3, 0]])
@pytest.mark.parametrize("lengths", [LENGTHS, [20, 37, 0, 14, 70]], ids=str)
@pytest.mark.parametrize("settings", COMPANY, ids=str)
def test_a_track_does_not_depend_on_the_others(make_predictor, settings, lengths, chosen):
    """To the byte: neither on the other factors, nor on the other cell types."""
    whole = logits(make_predictor(apart=lengths, **settings), "long")
    pairs = torch.cartesian_prod(torch.arange(len(chosen)), torch.tensor([2, 0]))
    found = logits(make_predictor(chosen, apart=lengths, **settings), "long", pairs=pairs)
    for column, (row, cell) in enumerate(pairs.tolist()):
        np.testing.assert_array_equal(found[:, column], whole[:, chosen[row] * CELLS + cell])


def test_pairs_come_in_their_order(make_predictor):
    predictor = make_predictor()
    order = torch.as_tensor(np.random.default_rng(0).permutation(len(ALL)))[:7]
    whole = logits(predictor, "long")
    np.testing.assert_array_equal(logits(predictor, "long", pairs=ALL[order]), whole[:, order])


def test_more_factors_than_fit_in_a_group(make_predictor, monkeypatch):
    whole = logits(make_predictor(), "long")
    for name in ("GROUP", "LANES"):
        monkeypatch.setattr(rendering, name, 2)
    np.testing.assert_allclose(logits(make_predictor(), "long"), whole, rtol=0, atol=1e-5)


# A stretch changes nothing of what predicts it.
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 299), count=st.integers(1, 300), threads=st.sampled_from([1, 3]))
def test_a_stretch_is_a_part_of_the_whole(stretched, first, count, threads):
    """To the byte, in however many threads."""
    predictor, whole = stretched
    count = min(count, len(whole) - first)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(logits(predictor, "long", first, count), whole[first : first + count])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def stretched(make_predictor):
    predictor = make_predictor()
    return predictor, logits(predictor, "long")


def test_what_fails_in_a_thread_is_told(make_predictor):
    predictor = make_predictor()

    def fail(low, found):
        raise ValueError(f"at {low}")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="at 0"):
            predictor.each(fail, "long", tokens("long"), 0, 300, ALL)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
