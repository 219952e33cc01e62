from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tfbind.model import inference
from tfbind.model.data import GenomeData
from tfbind.model.inference import Predictor
from tfbind.model.probabilities import encoded

BIN, SIZES = 16, {"long": 16 * 75 - 5, "short": 16 * 14 + 3}
PAIRS = torch.tensor([(0, 0), (1, 1), (0, 1), (2, 0)])


@pytest.fixture
def data() -> GenomeData:
    rng = np.random.default_rng(0)
    codes = {chrom: rng.integers(0, 5, size).astype(np.uint8) for chrom, size in SIZES.items()}
    accessibility = {
        chrom: rng.exponential(size=(-(-size // BIN), 2)).astype(np.float32) for chrom, size in SIZES.items()
    }
    return GenomeData(BIN, codes, accessibility, np.array([True, True]))


@pytest.fixture
def predicted(make_model, make_factors, data, monkeypatch):
    """Logits of a chromosome, by stretches of so many bins."""
    model = make_model()
    with torch.no_grad():
        code = model.head.encode_factors(make_factors([20, 9, 0], [7, 0, 30]))
    rng = np.random.default_rng(1)
    tokens = {chrom: rng.normal(size=(data.bins(chrom), 12)).astype(np.float16) for chrom in SIZES}

    predictor = Predictor(model, code, data)

    def predict(chrom: str, stretch: int) -> np.ndarray:
        monkeypatch.setattr(inference, "STRETCH", stretch)
        return predictor.stretch(chrom, tokens[chrom], 0, data.bins(chrom), PAIRS)

    predict.stretch = lambda chrom, first, count: predictor.stretch(chrom, tokens[chrom], first, count, PAIRS)
    return predict


@pytest.mark.parametrize("chrom", SIZES)
@pytest.mark.parametrize("stretch", [1, 7, 64])
def test_stretches_join_without_a_seam(predicted, data, chrom, stretch):
    whole = predicted(chrom, 10_000)
    assert whole.shape == (data.bins(chrom), len(PAIRS))
    assert whole.dtype == np.float32
    np.testing.assert_allclose(predicted(chrom, stretch), whole, atol=1e-5)


def test_the_margin_is_wide_enough_and_the_ends_are_ends(predicted, data, make_model, monkeypatch):
    """What lies beyond the margin changes nothing: a wider margin gives the same."""
    narrow = predicted.stretch("long", 30, 9)
    monkeypatch.setattr(inference, "MARGIN", 60)
    np.testing.assert_allclose(predicted.stretch("long", 30, 9), narrow, atol=1e-5)
    wide_start = predicted.stretch("long", 0, 9)
    monkeypatch.setattr(inference, "MARGIN", 16)
    np.testing.assert_allclose(predicted.stretch("long", 0, 9), wide_start, atol=1e-5)


@pytest.mark.parametrize("rendered", [True, False])
def test_what_is_unfamiliar_is_predicted_told_its_protein_and_not(
    make_model, make_factors, data, monkeypatch, rendered
):
    """The mean of both logits where there is a protein and a motif; all others are as ever."""
    if not rendered:
        monkeypatch.setattr(inference, "can_render", lambda head: False)
    model = make_model()
    factors = make_factors([20, 9, 0, 15], [7, 0, 30, 11])
    tokens = np.random.default_rng(1).normal(size=(data.bins("long"), 12)).astype(np.float16)
    pairs = torch.tensor([(3, 0), (0, 0), (1, 1), (0, 1), (2, 0)])

    def predicted(batch):
        found = Predictor(model, encoded(model, batch), data)
        return found.stretch("long", tokens, 0, data.bins("long"), pairs)

    told, alone = predicted(factors), predicted(factors.without_protein())
    flags = torch.tensor([True, True, True, False])
    found = predicted(replace(factors, unfamiliar=flags))
    np.testing.assert_allclose(found[:, [1, 3]], ((told + alone) / 2)[:, [1, 3]], atol=1e-5)
    assert np.abs(told - alone)[:, [1, 3]].max() > 0.01
    np.testing.assert_allclose(found[:, [0, 2, 4]], told[:, [0, 2, 4]], atol=1e-6)
