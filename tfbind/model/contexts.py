"""What is known of cell types, as the model takes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ContextBatch:
    """Cell types and what is known of them; any part may be missing for any of them.

    Attributes
    ----------
    accessibility : float32 (windows, bins, cell types)
        Genome mean 1.
    has_track : bool (cell types,)
    text : float32 (cell types, text_dim)
        Text embeddings, zeros where there is none.
    has_text : bool (cell types,)
    identity : int64 (cell types,)
        Row of the learnt embedding; -1 for a cell type that was not trained on.
    """

    accessibility: Tensor
    has_track: Tensor
    text: Tensor
    has_text: Tensor
    identity: Tensor

    def __len__(self) -> int:
        return len(self.has_track)

    def to(self, device: torch.device | str) -> ContextBatch:
        """The same cell types on another device."""
        return ContextBatch(*(value.to(device) for value in vars(self).values()))
