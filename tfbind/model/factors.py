"""Factors, as the model takes them."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    embeddings: Tensor
    residue_mask: Tensor
    motifs: Tensor
    has_motif: Tensor

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
        )

    def to(self, device: torch.device | str) -> FactorBatch:
        """The same factors on another device."""
        return FactorBatch(
            self.embeddings.to(device),
            self.residue_mask.to(device),
            self.motifs.to(device),
            self.has_motif.to(device),
        )
