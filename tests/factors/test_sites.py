from __future__ import annotations

import itertools

import numpy as np
import pytest

from tfbind.factors.motifs import Motif
from tfbind.factors.sites import motif_sites, score_at


def motif(text: str, share: float = 0.97) -> Motif:
    rows = np.full((len(text), 4), (1 - share) / 3)
    rows[np.arange(len(text)), ["ACGT".index(base) for base in text]] = share
    return Motif("M1", "M1", rows)


def codes(text: str) -> np.ndarray:
    return np.array(["ACGTN".index(base) for base in text], dtype=np.uint8)


def test_sites_on_both_strands():
    found = motif_sites(codes("AAAATTACCCGGAAAAAACCGGGTAATTTTT"), motif("TTACCCGG"))
    assert found.start.tolist() == [4, 18] and found.strand.tolist() == [1, -1]
    assert found.score[0] == pytest.approx(found.score[1])


def test_no_site_holds_what_is_no_base():
    assert len(motif_sites(codes("TTACCNGG"), motif("TTACCCGG"))) == 0
    assert len(motif_sites(codes("TTACC"), motif("TTACCCGG"))) == 0


def test_a_threshold_is_what_random_dna_reaches_so_often():
    """All words of a length, one by one."""
    random = np.random.default_rng(0)
    scores = Motif("M", "M", random.dirichlet([0.6] * 4, 7)).log_odds()
    words = np.array(list(itertools.product(range(4), repeat=7)))
    sums = scores[np.arange(7), words].sum(1)
    for p_value in (0.01, 0.001):
        share = np.mean(sums >= score_at(scores, p_value))
        assert 0.8 * p_value <= share <= 1.1 * p_value


def test_a_short_motif_has_its_best_sites():
    found = motif_sites(codes("GGACGTCCTTTACGAAA"), motif("ACGT"))
    assert found.start.tolist() == [2]
