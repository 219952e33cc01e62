"""Cell types as the model takes them: what is known of each, and what is hidden of it in training.

Of a cell type may be known its accessibility and further signals along the genome, a text about it, and, if it
was trained on, which row of the learnt embeddings is its own. Any of these may be missing, and all of them: the
model is then told that nothing is known of the cell type, and predicts what holds in any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tfbind.config import ContextDropout
from tfbind.contexts.contextset import ContextSet

# In place of a row of the learnt embeddings: the cell type has none.
UNKNOWN = -1


@dataclass(frozen=True)
class ContextBatch:
    """Cell types, and their accessibility and further signals in some windows.

    What is not known is 0, and has its flag off; so nothing tells what is hidden from what was never there.

    Attributes
    ----------
    accessibility : float32 (windows, bins, cell types)
        Genome mean 1. Maybe of more bins than the windows have, equally many on either side.
    has_track : bool (cell types,)
    text : float32 (cell types, text_dim)
    has_text : bool (cell types,)
    identity : int64 (cell types,)
        Row of the learnt embedding; -1 where the cell type was never trained on.
    further : float32 (windows, bins, cell types, signals)
        Signals beside accessibility, of the same bins; None stands for no signals.
    has_further : bool (cell types, signals)
    """

    accessibility: Tensor
    has_track: Tensor
    text: Tensor
    has_text: Tensor
    identity: Tensor
    further: Tensor | None = None
    has_further: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.has_track)
        if self.further is None or not self.further.shape[-1]:
            object.__setattr__(self, "further", self.accessibility.new_zeros(*self.accessibility.shape, 0))
        if self.has_further is None:
            object.__setattr__(self, "has_further", self.has_track.new_zeros(count, 0))
        found = (self.accessibility.shape[-1], len(self.text), len(self.has_text), len(self.identity))
        fits = set(found) == {count} and self.accessibility.ndim == 3 and self.text.ndim == 2
        signals = self.has_further.shape[1]
        if (
            not fits
            or self.further.shape != (*self.accessibility.shape, signals)
            or len(self.has_further) != count
        ):
            shapes = ", ".join(f"{name} {tuple(part.shape)}" for name, part in vars(self).items())
            raise ValueError(f"parts of a context batch do not fit: {shapes}")

    def __len__(self) -> int:
        """Number of cell types."""
        return len(self.has_track)

    @property
    def text_dim(self) -> int:
        """Numbers a text; 0 where none is read."""
        return self.text.shape[1]

    def select(self, indices: Tensor) -> ContextBatch:
        """Some of the cell types, in this order; int64 (n,) or bool (cell types,)."""
        return ContextBatch(
            self.accessibility[:, :, indices],
            self.has_track[indices],
            self.text[indices],
            self.has_text[indices],
            self.identity[indices],
            self.further[:, :, indices],
            self.has_further[indices],
        )

    def to(self, device: torch.device | str) -> ContextBatch:
        """The same on another device."""
        return ContextBatch(*(part.to(device) for part in vars(self).values()))

    def of(self, windows: slice) -> ContextBatch:
        """The same cell types in some of the windows."""
        return replace(self, accessibility=self.accessibility[windows], further=self.further[windows])

    def over(self, accessibility: Tensor, further: Tensor | None = None) -> ContextBatch:
        """The same cell types in other windows.

        Their accessibility, float32 (windows, bins, cell types), and further signals, if there are any, (windows,
        bins, cell types, signals).
        """
        return replace(self, accessibility=accessibility, further=further)

    def around(self, bins: slice) -> ContextBatch:
        """The same windows, of which less is seen."""
        return self.over(self.accessibility[:, bins], self.further[:, bins])

    def hidden(self, dropout: ContextDropout, rng: np.random.Generator) -> ContextBatch:
        """Hide, for training, each kind of what is known at random, for each cell type by itself.

        What is hidden is as if it had never been known: accessibility, signals and text are 0, identity is -1. A
        cell type may end with nothing at all. Each further signal is a kind of its own.

        Parameters
        ----------
        dropout
            How often each kind is hidden.
        rng
            Of a seed and a step alone, such as `np.random.default_rng([seed, step, 5])`, so that all parts of a
            step, in all processes and on any device, hide the same.
        """
        # All are drawn, whatever is known: so what is hidden of one kind does not hang on another.
        draws = torch.as_tensor(rng.random((3, len(self))), device=self.has_track.device)
        track, text, learnt = (
            draw >= rate
            for draw, rate in zip(draws, (dropout.accessibility, dropout.text, dropout.learnt), strict=True)
        )
        # After all else, so that nothing else is hidden otherwise where there are further signals.
        drawn = rng.random((self.has_further.shape[1], len(self))).T
        further = torch.as_tensor(drawn, device=self.has_track.device) >= dropout.accessibility
        return ContextBatch(
            self.accessibility.masked_fill(~track, 0.0),
            self.has_track & track,
            self.text.masked_fill(~text.unsqueeze(1), 0.0),
            self.has_text & text,
            self.identity.masked_fill(~learnt, UNKNOWN),
            self.further.masked_fill(~further, 0.0),
            self.has_further & further,
        )


def context_batch(
    names: Sequence[str],
    has_track: Sequence[bool] | np.ndarray,
    context_set: ContextSet | None = None,
    trained: Sequence[str] = (),
) -> ContextBatch:
    """What is known of cell types whatever the window: a batch of no windows; `ContextBatch.over` gives it some.

    Parameters
    ----------
    names
        The cell types, in the order that the batch is to have.
    has_track
        bool (cell types,): which of them have accessibility.
    context_set
        Where their texts are; None: there are none, and `text_dim` is 0.
    trained
        The cell types that have a learnt embedding, in the order of its rows; none: there is no such embedding.

    Raises
    ------
    InputError
        The context set does not have one of the cell types.
    """
    texts = [None if context_set is None else context_set.text(name) for name in names]
    text = torch.zeros(len(names), 0 if context_set is None else context_set.dim)
    for row, found in zip(text, texts, strict=True):
        if found is not None:
            row[:] = torch.as_tensor(found)
    rows = {name: row for row, name in enumerate(trained)}
    return ContextBatch(
        torch.zeros(0, 0, len(names)),
        torch.as_tensor(np.asarray(has_track, dtype=bool)),
        text,
        torch.tensor([found is not None for found in texts], dtype=torch.bool),
        torch.tensor([rows.get(name, UNKNOWN) for name in names], dtype=torch.int64),
    )
