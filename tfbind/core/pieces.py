"""Long sequences in overlapping pieces: proteins and texts may be longer than a network takes at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def piece_spans(length: int, max_length: int, overlap: int) -> list[tuple[int, int]]:
    """Overlapping pieces that cover a sequence: half-open spans of tokens, each at most `max_length` long.

    Neighbours share `overlap` tokens; the last piece is moved back to keep its full length, and may share
    more.
    """
    if length <= max_length:
        return [(0, length)]
    starts = [*range(0, length - max_length, max_length - overlap), length - max_length]
    return [(start, start + max_length) for start in starts]


def blend_pieces(pieces: Sequence[np.ndarray], spans: Sequence[tuple[int, int]], overlap: int) -> np.ndarray:
    """Join the embeddings of overlapping pieces, (length of span, d) each, to one (L, d) float32 array.

    Within `overlap` tokens of its own end a piece weighs less and less, linearly, since there it has seen
    least of what lies beyond. The weights are scaled to sum to 1 at each token.
    """
    if len(pieces) == 1:
        return np.array(pieces[0], dtype=np.float32)
    length = spans[-1][1]
    total = np.zeros((length, pieces[0].shape[1]), dtype=np.float32)
    weight = np.zeros((length, 1), dtype=np.float32)
    for values, (start, end) in zip(pieces, spans, strict=True):
        steps = np.arange(1, end - start + 1, dtype=np.float32) / (overlap + 1)
        ramp = np.ones(end - start, dtype=np.float32)
        if start > 0:
            ramp = np.minimum(ramp, steps)
        if end < length:
            ramp = np.minimum(ramp, steps[::-1])
        total[start:end] += values * ramp[:, None]
        weight[start:end] += ramp[:, None]
    return total / weight


def token_batches(lengths: Sequence[int], tokens_per_batch: int, *, ends: int = 2) -> Iterator[list[int]]:
    """Group pieces by length, longest first (memory runs out at once or never): lists of indices.

    A batch costs (its longest + `ends`) * its number of pieces tokens, at most `tokens_per_batch` unless it is
    one piece; `ends` is the number of tokens that mark the ends of each piece.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (lengths[batch[0]] + ends) * (len(batch) + 1) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
