"""Scanning by words gives what the convolution gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.model.motif_scan import pad_motifs, scan_motifs, score_moments
from tfbind.model.site_scan import SiteScan, Words, scan_windows


def drawn(count: int, width: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.as_tensor(rng.normal(size=(count, width, 4)) * scale, dtype=torch.float32)


def bases(length: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.as_tensor(rng.choice(5, size=length, p=[0.23, 0.23, 0.23, 0.23, 0.08]).astype(np.uint8))


def scanned(motifs, codes, bin, present=None):
    """Best and soft (motifs, bins) of a whole stretch, with N around it."""
    present = torch.ones(len(motifs), dtype=torch.bool) if present is None else present
    scan = SiteScan(motifs, present)
    around = torch.nn.functional.pad(codes, (scan.reach, scan.reach), value=4)
    return scan(Words(around, scan.reach, bin))


def reference(motifs, codes, bin):
    found = scan_motifs(codes[None], motifs, bin)[0]
    return found[..., 1].T, found[..., 2].T


@settings(max_examples=25)
@given(
    count=st.integers(1, 40),
    width=st.integers(1, 26),
    bin=st.sampled_from([1, 16, 50, 128]),
    bins=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_scores_are_those_of_the_convolution(count, width, bin, bins, seed):
    motifs, codes = drawn(count, width, seed), bases(bins * bin, seed)
    for found, expected in zip(scanned(motifs, codes, bin), reference(motifs, codes, bin), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_motif_is_scanned_as_if_alone():
    """To the byte: beside others, and padded to the width of the widest."""
    motifs, codes = drawn(35, 9, 0), bases(64 * 70, 1)
    padded = torch.nn.functional.pad(motifs, (0, 0, 6, 6))
    together = scanned(padded, codes, 64)
    for chosen in ([4], [30, 2], list(range(20))):
        for found, whole in zip(scanned(motifs[chosen], codes, 64), together, strict=True):
            assert torch.equal(found, whole[chosen])


def test_scores_of_any_size_are_taken_care_of():
    """One motif whose scores fit 32 bits is scanned beside one whose scores do not."""
    motifs, codes = torch.cat([drawn(2, 41, 0, scale=6.0), drawn(1, 41, 1)]), bases(64 * 9, 1)
    assert (motifs.amax(2).sum(1)[:2] > 200).all()
    for found, expected in zip(scanned(motifs, codes, 64), reference(motifs, codes, 64), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_a_bin_without_a_single_good_site_is_scored_too():
    """Strict columns, of long motifs, and sites that fit them nowhere: exp of such a score is no number."""
    motifs = torch.full((2, 31, 4), -6.9)
    motifs[:, :, 0], motifs[1, ::2, 0], motifs[1, ::2, 1] = 1.4, -6.9, 1.4
    codes = torch.cat([torch.full((64 * 3,), 2, dtype=torch.uint8), bases(64 * 5, 1)])
    expected = reference(motifs, codes, 8)
    assert expected[0].min() < -200
    for found, one in zip(scanned(motifs, codes, 8), expected, strict=True):
        torch.testing.assert_close(found, one, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_that_are_large_beside_n_alone_are_taken_care_of(sign):
    """Over bases, columns of +30 and of -30 cancel; where either lie over N, 120 or -120 are left."""
    columns = torch.tensor([30.0] * 4 + [-30.0] * 4 + [0.0])[:, None] * sign
    motifs = (columns + drawn(2, 9, 0)).contiguous()
    codes = bases(64 * 4, 1)
    codes[64:128] = 4
    codes[70:74], codes[100:104] = 1, 2
    found, expected = scanned(motifs, codes, 64), reference(motifs, codes, 64)
    for one, other in zip(found, expected, strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_what_is_absent_is_zero_and_changes_nothing():
    motifs, codes = drawn(6, 8, 0), bases(32 * 20, 1)
    present = torch.tensor([True, False, True, False, False, True])
    for found, whole in zip(scanned(motifs, codes, 32, present), scanned(motifs, codes, 32), strict=True):
        assert torch.equal(found[present], whole[present]) and not found[~present].any()


def test_no_motif_at_all():
    best, soft = scanned(drawn(3, 0, 0), bases(32 * 4, 1), 32, torch.zeros(3, dtype=torch.bool))
    assert best.shape == soft.shape == (3, 4) and not best.any()


def test_moments_do_not_depend_on_padding():
    motifs = drawn(20, 11, 3)
    wide = SiteScan(torch.nn.functional.pad(motifs, (0, 0, 9, 9)), torch.ones(20, dtype=torch.bool))
    narrow = SiteScan(motifs, torch.ones(20, dtype=torch.bool))
    assert torch.equal(wide.mean, narrow.mean)
    torch.testing.assert_close(narrow.mean, score_moments(motifs)[0])
    torch.testing.assert_close(narrow.deviation, score_moments(motifs)[1])


def test_windows_are_scanned_as_in_training():
    rng = np.random.default_rng(5)
    known = [rng.normal(0, 1, (width, 4)).astype(np.float32) for width in (6, 11, 20)]
    motifs, present = pad_motifs([*known, None])
    codes = torch.as_tensor(rng.integers(0, 5, (3, 640)).astype(np.uint8))
    found = scan_windows(SiteScan(motifs, present), codes, 64)
    expected = scan_motifs(codes, motifs, 64)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-4
