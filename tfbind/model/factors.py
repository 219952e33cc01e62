"""Factors, as the model takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class FactorBatch:
    """Factors as the model takes them.

    Attributes
    ----------
    embeddings : float32 (factors, L, residue_dim), padded with zeros
    residue_mask : bool (factors, L)
    motifs : float32 (factors, W, 4), log-odds (nats), zero where there is none
    has_motif : bool (factors,)
    unfamiliar : bool (factors,), or None
        Factors that are predicted twice, told their protein and not, if they have a motif, too: see
        `model.probabilities`. None: no factor is.
    """

    embeddings: Tensor
    residue_mask: Tensor
    motifs: Tensor
    has_motif: Tensor
    unfamiliar: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def has_protein(self) -> Tensor:
        """Where there is a protein, bool (factors,)."""
        return self.residue_mask.any(1)

    def select(self, indices: Tensor) -> FactorBatch:
        """Some of the factors, trimmed to the longest protein among them."""
        mask = self.residue_mask[indices]
        longest = max(1, int(mask.sum(1).max()))
        return FactorBatch(
            self.embeddings[indices, :longest],
            mask[:, :longest],
            self.motifs[indices],
            self.has_motif[indices],
            None if self.unfamiliar is None else self.unfamiliar[indices],
        )

    @property
    def seen_twice(self) -> Tensor:
        """Which of them are predicted twice, bool (factors,)."""
        both = self.has_protein & self.has_motif
        return both & self.unfamiliar if self.unfamiliar is not None else torch.zeros_like(both)

    def without_protein(self) -> FactorBatch:
        """The same factors, of which nothing but the motif is told."""
        return replace(
            self, embeddings=torch.zeros_like(self.embeddings), residue_mask=torch.zeros_like(self.residue_mask)
        )

    def to(self, device: torch.device | str) -> FactorBatch:
        """The same factors on another device."""
        return FactorBatch(
            self.embeddings.to(device),
            self.residue_mask.to(device),
            self.motifs.to(device),
            self.has_motif.to(device),
            None if self.unfamiliar is None else self.unfamiliar.to(device),
        )
