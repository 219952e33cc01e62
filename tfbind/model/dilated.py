"""A small convolutional trunk: a stem that pools down to bins, and dilated residual blocks."""

from __future__ import annotations

from torch import Tensor, nn

from tfbind.config import TrunkSettings
from tfbind.model.trunk_interface import Trunk

# From here on, blocks repeat the dilation: 2^9 bins reach further than any window in use.
MOST_DOUBLINGS = 9


class DilatedTrunk(Trunk):
    """Convolutions and pooling down to bins (Basset), then dilated residual convolutions (Basenji, BPNet).

    Parameters
    ----------
    settings
        `dim` channels, `depth` dilated blocks, `dropout` within them.
    bin
        Resolution in bp, a power of two, at least 4.

    Notes
    -----
    Kelley et al. 2016, doi:10.1101/gr.200535.115; Avsec et al. 2021, doi:10.1038/s41588-021-00782-6.
    """

    def __init__(self, settings: TrunkSettings, bin: int) -> None:
        super().__init__(settings, bin=bin, width=settings.dim)
        halvings, half = bin.bit_length() - 1, max(1, settings.dim // 2)
        first = 2 ** -(-halvings // 2)
        self.stem = nn.Sequential(_Transposed(), *_pooled(4, half, 15, first))
        self.tower = nn.Sequential(*_pooled(half, settings.dim, 5, bin // first), _Transposed())
        self.dilated = nn.ModuleList(
            DilatedBlock(settings.dim, 2 ** (index % MOST_DOUBLINGS), settings.dropout)
            for index in range(settings.depth)
        )

    def stages(self) -> list[nn.Module]:
        """The two pooling convolutions, and each block."""
        return [self.stem, self.tower, *self.dilated]

    def blocks(self) -> list[nn.Module]:
        """The dilated blocks."""
        return list(self.dilated)

    def adaptable(self) -> list[str]:
        """The convolutions of width 1 that end the blocks: peft's adapters know of no dilation."""
        return [f"dilated.{index}.mix" for index in range(len(self.dilated))]


class DilatedBlock(nn.Module):
    """x + mix(gelu(around(norm(x)))), of (windows, bins, channels)."""

    def __init__(self, dim: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.around = nn.Conv1d(dim, dim, 3, dilation=dilation, padding=dilation)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)
        self.mix = nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Add what lies `dilation` bins to either side."""
        around = self.activation(self.around(self.norm(x).transpose(1, 2)))
        return x + self.mix(self.dropout(around)).transpose(1, 2)


class _Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def _pooled(channels_in: int, channels: int, width: int, pool: int) -> list[nn.Module]:
    convolution = nn.Conv1d(channels_in, channels, width, padding=width // 2)
    return [convolution, nn.BatchNorm1d(channels), nn.GELU(), nn.MaxPool1d(pool)]
