from __future__ import annotations

import pytest
import torch
from enformer_pytorch import modeling_enformer
from torch.nn import functional as F

from tfbind.model.positions import gamma_features, positional_features, relative_shift

CPU = torch.device("cpu")


def test_equals_the_table_of_the_published_enformer():
    """Measured: at most 1.95e-3 apart, on average 3e-6; normalised over features it would be 1.0 apart."""
    table = modeling_enformer.TF_GAMMAS
    found = gamma_features(1536, 32)
    assert found.shape == table.shape == (3071, 32) and found.dtype == torch.float32
    assert (found - table).abs().max() < 2e-3
    assert (found - table).abs().mean() < 1e-5


def test_equals_the_features_of_enformer_pytorch_with_that_table():
    expected = modeling_enformer.get_positional_embed(1536, 192, CPU, True)
    assert (positional_features(1536, 192, "tensorflow", CPU) - expected).abs().max() < 2e-3


@pytest.mark.parametrize("bins", [1, 2, 7, 128, 896, 1536, 2000])
def test_holds_for_every_length(bins):
    found = gamma_features(bins, 8)
    assert found.shape == (2 * bins - 1, 8)
    assert torch.isfinite(found).all() and (found >= 0).all()
    assert torch.equal(found.amax(0), torch.ones(8)), "each density has its largest value at 1"
    assert torch.equal(found, found.flip(0)), "it depends on the distance, not on its direction"


@pytest.mark.parametrize("bins", [256, 1024])
def test_features_stretch_with_the_window(bins):
    """A density over twice the bins is the same density, read at twice the distance."""
    short, long = gamma_features(bins, 4)[bins - 1 :], gamma_features(2 * bins, 4)[2 * bins - 1 :: 2]
    assert (short - long).abs().max() < 0.02


@pytest.mark.parametrize("bins", [3, 40])
def test_the_other_choice_is_what_enformer_pytorch_computes(bins):
    expected = modeling_enformer.get_positional_embed(bins, 12, CPU, False)
    assert torch.equal(positional_features(bins, 12, "pytorch", CPU), expected)
    ours = positional_features(bins, 12, "tensorflow", CPU)
    changed = (ours != expected).any(0)
    assert changed.tolist() == [False] * 4 + [True] * 2 + [False] * 4 + [True] * 2


def test_logits_by_distance_become_logits_by_position():
    n = 5
    by_distance = torch.randn(2, 3, n, 2 * n - 1)
    found = relative_shift(by_distance)
    for i in range(n):
        for j in range(n):
            assert torch.equal(found[..., i, j], by_distance[..., i, j - i + n - 1])
    padded = F.pad(by_distance, (0, 0))
    assert torch.equal(found, modeling_enformer.relative_shift(padded))
