"""The trunk: the DNA network, from a window to one embedding per bin."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tfbind.config import TrunkSettings
from tfbind.core.errors import InputError


def one_hot(codes: Tensor) -> Tensor:
    """One-hot float32 (..., 4) of base codes 0-3; N (4) is all zeros."""
    return F.one_hot(codes.long(), 5)[..., :4].float()


class EnformerTrunk(nn.Module):
    """An enformer-pytorch `Enformer` without its heads.

    Parameters
    ----------
    settings
        Width, depth, heads.
    bin
        Resolution in bp, 2^num_downsamples.

    Attributes
    ----------
    width : int
        Channels of the embedding, twice `settings.dim`.
    bin : int
        bp of one bin.
    """

    def __init__(self, settings: TrunkSettings, bin: int) -> None:
        super().__init__()
        _check(settings)
        from enformer_pytorch import Enformer

        self.bin = bin
        self.width = 2 * settings.dim
        enformer = Enformer.from_hparams(
            dim=settings.dim,
            depth=settings.depth,
            heads=settings.heads,
            output_heads={},
            target_length=-1,
            dropout_rate=settings.dropout,
            attn_dropout=settings.attention_dropout,
            num_downsamples=bin.bit_length() - 1,
            dim_divisible_by=settings.dim_divisible_by,
        )
        # Its layers alone: the module holds each of them under two names, which safetensors refuses.
        self.layers = enformer.trunk

    def forward(self, codes: Tensor) -> Tensor:
        """Embeddings (windows, bins, width) of base codes (windows, bp)."""
        return self.layers(one_hot(codes))


def _check(settings: TrunkSettings) -> None:
    per_head, rest = divmod(settings.dim, settings.heads)
    if rest or per_head % 6:
        raise InputError(
            f"dim / heads must be a multiple of 6 (Enformer's positional features), "
            f"not {settings.dim} / {settings.heads}",
            key="model.trunk.dim",
            mend=f"for {settings.heads} heads take e.g. {6 * settings.heads * max(1, round(per_head / 6))}",
        )
    if (settings.dim // 2) % settings.dim_divisible_by or settings.dim % settings.dim_divisible_by:
        raise InputError(
            f"dim and dim / 2 must be multiples of dim_divisible_by ({settings.dim_divisible_by})",
            key="model.trunk.dim_divisible_by",
            mend="take a divisor of dim / 2",
        )
