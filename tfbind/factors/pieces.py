"""Proteins of any length through models of limited length: in overlapping pieces, batched by tokens, blended.

Every language model embeds through `PiecewiseEmbedder`, so that none of them loses a residue.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.pieces import blend_pieces, piece_spans, token_batches
from tfbind.factors.proteins import check_sequence


class PiecewiseEmbedder(ABC):
    """What embeds proteins by a model that takes pieces of at most `max_length` residues.

    Parameters
    ----------
    max_length
        The longest piece, in residues, that goes through the model at once.
    overlap
        Residues that neighbouring pieces of a longer protein share at least; there they are blended linearly.
    tokens_per_batch
        Tokens (residues, two ends a piece, padding) that go through the model at once.

    Raises
    ------
    InputError
        The lengths make no sense.
    """

    section: str
    """The configuration's section with these settings, for errors."""

    def __init__(self, max_length: int, overlap: int, tokens_per_batch: int) -> None:
        if not 0 <= overlap < max_length:
            raise InputError(
                f"overlap {overlap} does not fit max_length {max_length}",
                key=f"{self.section}.overlap",
                mend="make it shorter than max_length",
            )
        self.max_length, self.overlap, self.tokens_per_batch = max_length, overlap, tokens_per_batch

    def embed(self, sequences: Sequence[str]) -> list[np.ndarray]:
        """Embed proteins.

        Returns
        -------
        list of numpy.ndarray
            One (L, dim) float32 array a sequence: every residue of it, however long it is.

        Raises
        ------
        InputError
            A sequence is empty or has a letter that is no amino acid, or the weights cannot be had.
        """
        sequences = [check_sequence(sequence) for sequence in sequences]
        spans = [piece_spans(len(sequence), self.max_length, self.overlap) for sequence in sequences]
        pieces = [(i, j) for i, its in enumerate(spans) for j in range(len(its))]
        texts = [sequences[i][slice(*spans[i][j])] for i, j in pieces]
        embedded: dict[tuple[int, int], np.ndarray] = {}
        for batch in token_batches([len(text) for text in texts], self.tokens_per_batch):
            for at, values in zip(batch, self._embed_batch([texts[at] for at in batch]), strict=True):
                if len(values) != len(texts[at]):
                    raise RuntimeError(f"{len(values)} vectors for a piece of {len(texts[at])} residues")
                embedded[pieces[at]] = values
        return [
            blend_pieces([embedded[i, j] for j in range(len(its))], its, self.overlap)
            for i, its in enumerate(spans)
        ]

    @abstractmethod
    def _embed_batch(self, texts: list[str]) -> list[np.ndarray]:
        """One (length, dim) float32 array a piece; batches come longest first."""
