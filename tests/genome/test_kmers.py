from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.genome.kmers import sampled_kmers
from tfbind.model.data import reverse_complement

codes = st.lists(st.sampled_from([0, 1, 2, 3, 0, 1, 2, 3, 4]), max_size=80).map(
    lambda x: np.array(x, dtype=np.uint8)
)


def canonical(codes: np.ndarray, k: int) -> dict[int, tuple[int, ...]]:
    """Start -> k-mer or its reverse complement, whichever comes first; none with N."""
    found = {}
    for start in range(len(codes) - k + 1):
        word = codes[start : start + k]
        if (word < 4).all():
            found[start] = min(tuple(word.tolist()), tuple(reverse_complement(word).tolist()))
    return found


@settings(max_examples=150)
@given(codes, st.sampled_from([1, 3, 5, 7, 13, 31]))
def test_hashes_are_equal_where_kmers_are_on_either_strand(codes, k):
    positions, hashes = sampled_kmers(codes, k, 1)
    expected = canonical(codes, k)
    assert positions.tolist() == list(expected)
    hash_of = dict(zip(expected.values(), hashes.tolist(), strict=True))
    assert [hash_of[word] for word in expected.values()] == hashes.tolist()
    assert len(set(hash_of.values())) == len(hash_of)
    turned, again = sampled_kmers(reverse_complement(codes), k, 1)
    assert sorted(again.tolist()) == sorted(hashes.tolist())
    assert sorted(len(codes) - k - turned) == positions.tolist()


def test_a_sample_is_the_same_wherever_kmers_stand():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 20_000).astype(np.uint8)
    _, whole = sampled_kmers(codes, 31, 1)
    positions, hashes = sampled_kmers(codes, 31, 10)
    assert 0.08 < len(hashes) / len(whole) < 0.12
    part, some = sampled_kmers(codes[5000:9000], 31, 10)
    inside = (positions >= 5000) & (positions <= 9000 - 31)
    np.testing.assert_array_equal(part + 5000, positions[inside])
    np.testing.assert_array_equal(some, hashes[inside])


@pytest.mark.parametrize("k", [0, 4, 33])
def test_lengths_that_cannot_be_are_refused(k):
    with pytest.raises(ValueError, match="odd and at most 31"):
        sampled_kmers(np.zeros(50, dtype=np.uint8), k, 1)
