from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfbind.model.data import reverse_complement
from tfbind.model.motif_scan import SCAN_FEATURES, near_bins, pad_motifs, scan_motifs

BIN = 4
WINDOWS = st.integers(1, 6).flatmap(lambda bins: arrays(np.uint8, bins * BIN, elements=st.integers(0, 4)))
# Quarters are exact in float32: sums do not depend on their order.
MOTIFS = st.integers(1, 9).flatmap(
    lambda width: arrays(np.int8, (width, 4), elements=st.integers(-12, 8)).map(lambda whole: whole / 4)
)


def scan(window: np.ndarray, motifs: list[np.ndarray]) -> np.ndarray:
    found = scan_motifs(torch.as_tensor(window[None]), pad_motifs(motifs)[0], BIN)
    return found[0].numpy()


def naive(window: np.ndarray, motif: np.ndarray) -> np.ndarray:
    """Both strands, base by base: (bins, 4)."""
    width, length = len(motif), len(window)
    best = np.full(length, -np.inf)
    for strand, columns in (("+", motif), ("-", motif[::-1, ::-1])):
        for start in range(-width, length):
            # The middle base, or the second of two, read on the site's own strand.
            middle = start + (width // 2 if strand == "+" else (width - 1) // 2)
            if 0 <= middle < length:
                covered = [(start + j, j) for j in range(width) if 0 <= start + j < length]
                score = sum(columns[j, window[at]] for at, j in covered if window[at] < 4)
                best[middle] = max(best[middle], score)
    bins = best.reshape(-1, BIN)
    top, soft = bins.max(1), np.log(np.exp(bins).mean(1))
    z = (top - motif.mean(1).sum()) / np.sqrt(motif.var(1).sum() + 1e-4)
    reach = near_bins(BIN)
    near = [z[max(i - reach, 0) : i + reach + 1].max() for i in range(len(z))]
    return np.stack([z, top, soft, near], 1)


@settings(max_examples=150)
@given(WINDOWS, st.lists(MOTIFS, min_size=1, max_size=3))
def test_equals_a_naive_scan_of_both_strands(window, motifs):
    found = scan(window, motifs)
    assert found.shape == (len(window) // BIN, len(motifs), SCAN_FEATURES)
    for column, motif in enumerate(motifs):
        np.testing.assert_allclose(found[:, column], naive(window, motif), rtol=1e-4, atol=1e-4)


@settings(max_examples=100)
@given(WINDOWS, MOTIFS)
def test_the_other_strand_gives_the_same_bins_in_reverse_order(window, motif):
    there, back = scan(window, [motif]), scan(reverse_complement(window), [motif])
    np.testing.assert_allclose(back[::-1], there, rtol=1e-5, atol=1e-5)
    other = scan(window, [motif[::-1, ::-1].copy()])
    if len(motif) % 2:  # of even width, the middle is the other one of two bases
        np.testing.assert_allclose(other, there, rtol=1e-5, atol=1e-5)


@settings(max_examples=100)
@given(WINDOWS, MOTIFS, MOTIFS)
def test_a_motif_does_not_care_how_wide_others_are(window, motif, other):
    np.testing.assert_allclose(
        scan(window, [motif, other])[:, 0], scan(window, [motif])[:, 0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("width", [4, 5])
def test_a_motif_that_nobody_padded_is_scanned_like_one_that_was(width, codes):
    motif = np.random.default_rng(width).normal(size=(width, 4)).astype(np.float32)
    window = codes(2, 8 * BIN)
    unpadded = scan_motifs(window, torch.as_tensor(motif[None]), BIN)
    torch.testing.assert_close(unpadded, scan_motifs(window, pad_motifs([motif, np.zeros((9, 4))])[0][:1], BIN))


def test_a_site_is_found_where_its_middle_base_lies():
    window = np.zeros(4 * BIN, dtype=np.uint8)
    site = [2, 1, 3, 2, 1]  # GCTGC
    for start in range(len(window) - len(site) + 1):
        holding = window.copy()
        holding[start : start + len(site)] = site
        motif = np.full((5, 4), -2.0)
        motif[np.arange(5), site] = 2
        for dna in (holding, reverse_complement(holding)):
            best = scan(dna, [motif])[:, 0, 1]
            middle = start + 2 if dna is holding else len(window) - 1 - (start + 2)
            assert best.argmax() == middle // BIN
            assert best.max() == 10


def test_nothing_but_n_scores_nothing_and_is_finite():
    found = scan(
        np.full(3 * BIN, 4, dtype=np.uint8), [np.random.default_rng(0).normal(size=(5, 4)), np.zeros((3, 4))]
    )
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[..., 1:3], 0)


def test_high_scores_do_not_overflow():
    found = scan(np.zeros(3 * BIN, dtype=np.uint8), [np.full((9, 4), 100.0)])
    assert np.isfinite(found).all()
    assert found[..., 1].max() == 900


def test_gradients_reach_the_motif(codes):
    motifs = torch.randn(2, 6, 4, requires_grad=True)
    found = scan_motifs(codes(2, 6 * BIN), motifs, BIN)
    for feature in (0, 1, 3):
        (gradient,) = torch.autograd.grad(found[..., feature].sum(), motifs, retain_graph=True)
        assert (gradient.abs().sum((1, 2)) > 0).all()
        assert torch.isfinite(gradient).all()


def test_factors_without_a_motif_are_told_apart():
    stacked, known = pad_motifs([None, np.ones((4, 4)), None, np.ones((7, 4))])
    assert known.tolist() == [False, True, False, True]
    assert stacked.shape == (4, 7, 4)
    assert not stacked[[0, 2]].any()
    assert stacked.sum((1, 2)).tolist() == [0, 16, 0, 28]
    nothing, none_known = pad_motifs([None, None])
    assert not nothing.any()
    assert not none_known.any()
    assert torch.isfinite(scan_motifs(torch.zeros(1, BIN, dtype=torch.uint8), nothing, BIN)).all()
