"""The cell type's side: accessibility and further signals around a bin, and what is known of it as a whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tfbind.model.contexts import ContextBatch

# Bins on either side of a bin that the accessibility tower looks at: 4 near, and 2 x 4 of what is near them.
ACCESSIBILITY_REACH = 12


class AccessibilityTower(nn.Module):
    """A(i, c): a small convolution over the logs of accessibility and further signals around the bin.

    A cell type of which none is known has a learnt token. Where there are further signals, one that a cell type
    lacks is 0, and a learnt vector tells so: else it would look like one that is 0 there.

    Parameters
    ----------
    hidden
        Width of A.
    signals
        Number of signals beside accessibility.
    """

    def __init__(self, hidden: int, signals: int = 0) -> None:
        super().__init__()
        self.near = nn.Conv1d(1 + signals, hidden, 9, padding=4)
        self.far = nn.Conv1d(hidden, hidden, 5, padding=8, dilation=4)
        self.out = nn.Linear(hidden, hidden)
        self.missing = nn.Parameter(torch.zeros(hidden))
        self.absent = nn.Parameter(torch.zeros(1 + signals, hidden)) if signals else None

    def forward(self, contexts: ContextBatch) -> Tensor:
        """(windows, bins, cells, hidden), of all bins that are seen."""
        known = torch.cat([contexts.has_track[:, None], contexts.has_further], 1)
        x = torch.cat([contexts.accessibility[..., None], contexts.further], -1)
        windows = len(x)
        x = rearrange(torch.log1p(x), "windows bins cells channels -> (windows cells) channels bins")
        x = self.near(x)
        if self.absent is not None:
            absent = (~known).to(x.dtype) @ self.absent
            x = x + absent.repeat(windows, 1)[:, :, None]
        x = F.gelu(x)
        x = x + F.gelu(self.far(x))
        x = self.out(rearrange(x, "n hidden bins -> n bins hidden"))
        x = rearrange(x, "(windows cells) bins hidden -> windows bins cells hidden", cells=len(contexts))
        return torch.where(known.any(1)[:, None], x, self.missing)


class CellTypeTower(nn.Module):
    """u(c): what is known of a cell type as a whole, from its text embedding and its learnt embedding.

    Parameters
    ----------
    hidden
        Width of u.
    text_dim
        Width of the text embeddings; 0: none.
    cell_types, learnt
        Number of learnt embeddings and their width; 0: none.
    """

    def __init__(self, hidden: int, *, text_dim: int, cell_types: int, learnt: int) -> None:
        super().__init__()
        self.text = self.identity = None
        # What stands for nothing is as large as what is known: of zeros, the norm would blow up the rounding.
        if text_dim:
            self.text = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, hidden))
            self.no_text = nn.Parameter(torch.randn(hidden))
        if learnt and cell_types:
            self.identity = nn.Embedding(cell_types, learnt)
            self.from_identity = nn.Linear(learnt, hidden)
            self.no_identity = nn.Parameter(torch.randn(hidden))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, contexts: ContextBatch) -> Tensor:
        """(cells, hidden)."""
        parts = []
        if self.text is not None:
            parts.append(torch.where(contexts.has_text[:, None], self.text(contexts.text), self.no_text))
        if self.identity is not None:
            known = (contexts.identity >= 0)[:, None]
            learnt = self.from_identity(self.identity(contexts.identity.clamp(min=0)))
            parts.append(torch.where(known, learnt, self.no_identity))
        return self.norm(sum(parts))
