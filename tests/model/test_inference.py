from __future__ import annotations

import numpy as np
import pytest
import torch

from tfbind.genome.windows import tile
from tfbind.model import inference
from tfbind.model.data import GenomeData
from tfbind.model.inference import embed_windows, predict_chromosome, predict_stretch

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
def fetch(data):
    return lambda chrom, start, end: data.window_codes(chrom, start // BIN, (end - start) // BIN)


@pytest.fixture
def predicted(make_model, make_factors, data, monkeypatch):
    """Logits of a chromosome, by stretches of so many bins."""
    model = make_model()
    with torch.no_grad():
        code = model.head.encode_factors(make_factors([20, 9, 0], [7, 0, 30]))
    rng = np.random.default_rng(1)
    tokens = {chrom: rng.normal(size=(data.bins(chrom), 12)).astype(np.float16) for chrom in SIZES}

    def predict(chrom: str, stretch: int) -> np.ndarray:
        monkeypatch.setattr(inference, "STRETCH", stretch)
        return predict_chromosome(model, code, data, chrom, tokens[chrom], PAIRS)

    predict.stretch = lambda *where: predict_stretch(
        model, code, data, where[0], tokens[where[0]], *where[1:], PAIRS
    )
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


@pytest.mark.parametrize(("length", "core"), [(128, 64), (192, 160), (96, 96)])
def test_cores_cover_every_bin_once(make_model, data, fetch, length, core):
    windows = tile(SIZES, length=length, core=core, bin=BIN)
    covered = {chrom: np.zeros(data.bins(chrom), int) for chrom in SIZES}
    for window, tokens in embed_windows(make_model(), fetch, windows, batch_size=4):
        assert tokens.shape[1] == 12
        assert tokens.dtype == np.float32
        first = window.core_start // BIN
        covered[window.chrom][first : first + len(tokens)] += 1
    for counts in covered.values():
        assert (counts == 1).all()


def test_batches_make_no_difference(make_model, fetch):
    model, windows = make_model(), tile(SIZES, length=128, core=64, bin=BIN)
    alone = [tokens for _, tokens in embed_windows(model, fetch, windows, batch_size=1)]
    for size in (3, 100):
        found = embed_windows(model, fetch, windows, batch_size=size)
        for (window, tokens), expected, given in zip(found, alone, windows, strict=True):
            assert window is given
            np.testing.assert_allclose(tokens, expected, atol=1e-5)


def test_the_core_is_the_middle_of_the_window(make_model, fetch):
    model, windows = make_model(), tile(SIZES, length=128, core=64, bin=BIN)
    for window, tokens in embed_windows(model, fetch, windows[:3], batch_size=2):
        codes = torch.as_tensor(np.stack([fetch(window.chrom, window.start, window.end)]))
        with torch.no_grad():
            whole = model.dna_tokens(codes)[0].numpy()
        np.testing.assert_allclose(tokens, whole[2:6], atol=1e-5)


def test_puts_a_model_in_training_into_eval_mode(make_model, fetch):
    model = make_model(trunk={"dropout": 0.5}).train()
    windows = tile(SIZES, length=128, core=64, bin=BIN)[:2]
    first, second = ([t for _, t in embed_windows(model, fetch, windows, batch_size=2)] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_half_precision_is_close(make_model, fetch):
    model, windows = make_model(), tile(SIZES, length=128, core=64, bin=BIN)[:3]
    full = np.concatenate([t for _, t in embed_windows(model, fetch, windows, batch_size=3)])
    half = np.concatenate([t for _, t in embed_windows(model, fetch, windows, batch_size=3, precision="bf16")])
    assert half.dtype == np.float32
    assert np.abs(half - full).mean() < 0.05
