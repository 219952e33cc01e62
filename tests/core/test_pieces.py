from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.pieces import blend_pieces, piece_spans, token_batches


@given(st.integers(1, 300), st.integers(2, 40), st.data())
def test_pieces_cover_every_token(length, max_length, data):
    overlap = data.draw(st.integers(0, max_length - 1))
    spans = piece_spans(length, max_length, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(0 < end - start <= max_length for start, end in spans)
    assert all(before[1] - after[0] >= overlap for before, after in pairwise(spans))
    # What all pieces agree on comes through the blending unchanged, at every token.
    truth = np.random.default_rng(0).normal(size=(length, 3)).astype(np.float32)
    blended = blend_pieces([truth[start:end] for start, end in spans], spans, overlap)
    np.testing.assert_allclose(blended, truth, atol=1e-5)


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200), st.integers(0, 3))
def test_batches_hold_each_piece_once_longest_first(lengths, tokens, ends):
    batches = list(token_batches(lengths, tokens, ends=ends))
    order = [i for batch in batches for i in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)
    assert all(len(b) == 1 or (lengths[b[0]] + ends) * len(b) <= tokens for b in batches)
