"""What learns on top of a trunk, at the resolution of bins."""

from __future__ import annotations

from torch import Tensor, nn

from tfbind.config import TowerSettings
from tfbind.model.dilated import MOST_DOUBLINGS, DilatedBlock


class Tower(nn.Module):
    """Normalisation, dropout and a projection of the trunk's channels; then dilated residual convolutions.

    Parameters
    ----------
    width
        Channels of the trunk.
    settings
        Channels that come out, number of blocks, dropouts.
    """

    def __init__(self, width: int, settings: TowerSettings) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.hidden = nn.Dropout(settings.input_dropout)
        self.mix = nn.Linear(width, settings.dim)
        dilations = [2 ** (index % MOST_DOUBLINGS) for index in range(settings.depth)]
        self.blocks = nn.ModuleList(DilatedBlock(settings.dim, each, settings.dropout) for each in dilations)
        self.width, self.reach = settings.dim, sum(dilations)

    def forward(self, embedding: Tensor) -> Tensor:
        """(windows, bins, dim) of embeddings (windows, bins, width); a bin sees `reach` bins on either side."""
        x = self.mix(self.hidden(self.norm(embedding.transpose(1, 2)).transpose(1, 2)))
        for block in self.blocks:
            x = block(x)
        return x
