"""Baselines: each is what its one sentence says, computed here in the plainest way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tfbind.evaluation.baselines import bound_share, motif_accessibility, scan_bins
from tfbind.factors.motifs import Motif
from tfbind.model.batching import motif_scores
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND, GenomeData

BIN = 32


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    torch.set_num_threads(1)


def random_motif(name, width, rng):
    return Motif(name, name, rng.dirichlet([0.5] * 4, width))


def naive_scan(codes, motif, bins):
    """Best site by bin; a site of even width belongs to the second of its middle bases, on its own strand."""
    scores = motif_scores(motif).astype(np.float64)
    width = len(scores)
    mean = scores.mean(1).sum()
    deviation = math.sqrt(scores.var(1).sum() + 1e-4)
    best = np.full(bins, -np.inf)
    for start in range(-width, bins * BIN + 1):
        bases = [int(codes[start + j]) if 0 <= start + j < len(codes) else 4 for j in range(width)]
        forward = sum(scores[j, base] for j, base in enumerate(bases) if base < 4)
        reverse = sum(scores[width - 1 - j, 3 - base] for j, base in enumerate(bases) if base < 4)
        for score, middle in ((forward, start + width // 2), (reverse, start + width - 1 - width // 2)):
            if 0 <= middle < bins * BIN:
                best[middle // BIN] = max(best[middle // BIN], score)
    return (best - mean) / deviation, best


def test_motif_scan_finds_the_best_site_of_each_bin():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, 10 * BIN - 7).astype(np.uint8)
    codes[100:120] = 4
    data = GenomeData(BIN, {"chr1": codes}, {}, np.zeros(0, dtype=bool))
    motifs = [random_motif(f"M{width}", width, rng) for width in (5, 8, 11)]
    found = scan_bins(data, "chr1", range(10), motifs)
    assert found.shape == (3, 2, 10)
    for column, motif in enumerate(motifs):
        z, best = naive_scan(codes, motif, 10)
        np.testing.assert_allclose(found[column, 0], z, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found[column, 1], best, rtol=1e-4, atol=1e-4)


def test_motif_scan_does_not_depend_on_stretches_or_other_motifs(monkeypatch):
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 4, 50 * BIN).astype(np.uint8)
    data = GenomeData(BIN, {"chr1": codes}, {}, np.zeros(0, dtype=bool))
    motifs = [random_motif(f"M{width}", width, rng) for width in (6, 9, 21)]
    whole = scan_bins(data, "chr1", range(50), motifs)
    monkeypatch.setattr("tfbind.evaluation.baselines.STRETCH", 7)
    np.testing.assert_allclose(scan_bins(data, "chr1", range(50), motifs), whole, rtol=1e-5, atol=1e-5)
    alone = [scan_bins(data, "chr1", range(50), [motif]) for motif in motifs]
    np.testing.assert_allclose(np.concatenate(alone), whole, rtol=1e-4, atol=1e-4)


def test_motif_times_accessibility():
    z, accessibility = np.array([-3.0, 0.0, 2.0, 4.0]), np.array([1.0, 0.0, 3.0, 0.5])
    expected = [math.exp(-3) * math.log(2), 0, math.exp(2) * math.log(4), math.exp(4) * math.log(1.5)]
    np.testing.assert_allclose(motif_accessibility(z, accessibility), expected)


def test_bound_share_is_that_of_what_is_known():
    labels = np.random.default_rng(3).choice([UNBOUND, BOUND, LEFT_OUT], (40, 5)).astype(np.uint8)
    labels[0, 2:4] = LEFT_OUT
    for others in ([2, 3], [0, 1, 3], [4]):
        expected = []
        for row in labels[:, others]:
            known = [label for label in row if label != LEFT_OUT]
            expected.append(sum(label == BOUND for label in known) / len(known) if known else 0)
        np.testing.assert_allclose(bound_share(labels, others), expected, rtol=1e-6)
