"""The whole model: trunk, DNA tokens, factored head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tfbind.config import ModelSettings
from tfbind.model.head import FactorBatch, FactoredHead
from tfbind.model.trunk import EnformerTrunk


class BindingModel(nn.Module):
    """From DNA, factors and cell types to binding.

    Parameters
    ----------
    settings
        Sizes of trunk and head.
    bin
        Resolution in bp, a power of two.
    residue_dim
        Width of the residue embeddings.
    """

    def __init__(self, settings: ModelSettings, *, bin: int, residue_dim: int) -> None:
        super().__init__()
        self.settings, self.bin, self.residue_dim = settings, bin, residue_dim
        self.trunk = EnformerTrunk(settings.trunk, bin)
        # LayerNorm keeps DNA tokens near unit scale, so that 16 bits hold them well.
        self.to_tokens = nn.Sequential(nn.Linear(self.trunk.width, settings.rank), nn.LayerNorm(settings.rank))
        self.head = FactoredHead(settings, residue_dim)

    def dna_tokens(self, codes: Tensor) -> Tensor:
        """DNA tokens, float32 (windows, bins, rank), of base codes (windows, bp)."""
        return self.to_tokens(self.trunk(codes).float())

    def forward(
        self,
        codes: Tensor,
        factors: FactorBatch,
        accessibility: Tensor,
        has_track: Tensor,
        pairs: Tensor,
        *,
        trunk_dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Logits of binding.

        Parameters
        ----------
        codes
            Base codes 0-4, (windows, bp).
        factors
            T factors.
        accessibility
            Mean accessibility per bin, (windows, bins, C cell types), genome mean 1.
        has_track
            bool (C,).
        pairs
            (factor, cell type) of each output, int64 (pairs, 2).
        trunk_dtype
            bfloat16 runs the trunk under autocast; the head stays float32.

        Returns
        -------
        float32 (windows, bins, pairs)
        """
        with torch.autocast(codes.device.type, torch.bfloat16, enabled=trunk_dtype == torch.bfloat16):
            embedding = self.trunk(codes)
        tokens = self.to_tokens(embedding.float())
        return self.head(tokens, codes, factors, accessibility, has_track, pairs, self.bin)
