"""A trunk as embedding a genome uses it: overlapping windows of a stretch at once, the core of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tfbind.model.precision import autocast

# Windows that are shorter than this go through a trunk several at once, about so many bp: each alone would cost
# much in calls.
SHORT_BP = 2**15


@dataclass(frozen=True)
class Stretch:
    """How overlapping windows lie in a stretch of DNA: their cores are laid end to end. Lengths are in bp.

    Attributes
    ----------
    windows
        Number of windows.
    length, core, bin
        Of a window, of its core, which lies in its middle, and of a bin; multiples of the bin.
    """

    windows: int
    length: int
    core: int
    bin: int

    @property
    def bp(self) -> int:
        """From the first window's start to the last one's end."""
        return self.length + (self.windows - 1) * self.core

    @property
    def core_bins(self) -> int:
        """Bins of a core."""
        return self.core // self.bin

    @property
    def first_bin(self) -> int:
        """Bin of a window where its core starts."""
        return (self.length - self.core) // 2 // self.bin

    def starts(self) -> range:
        """Where each window starts, from the stretch's start."""
        return range(0, self.windows * self.core, self.core)


class InferenceTrunk(nn.Module, ABC):
    """A trunk that embeds stretches of DNA, for prediction alone: no gradients, no dropout, statistics held."""

    @abstractmethod
    def forward(self, codes: Tensor, stretch: Stretch) -> Tensor:
        """Embeddings of cores, (stretches, windows, core bins, width), of base codes (stretches, bp), uint8.

        Each window is embedded as if it alone were there: what lies around it is nothing, not the neighbour.
        """


class WindowByWindow(InferenceTrunk):
    """Any trunk as it is, over each window by itself: what faster ones are compared with.

    Parameters
    ----------
    trunk
        In prediction mode.
    dtype
        Of autocast.
    """

    def __init__(self, trunk: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.trunk, self.dtype = trunk, dtype

    @torch.inference_mode()
    def forward(self, codes: Tensor, stretch: Stretch) -> Tensor:
        """See `InferenceTrunk`."""
        first, count = stretch.first_bin, stretch.core_bins
        windows = codes.unfold(1, stretch.length, stretch.core)
        at_once = max(1, SHORT_BP // stretch.length)
        found = []
        for some in windows.split(at_once, 1):
            with autocast(codes.device, self.dtype):
                embedding = self.trunk(some.flatten(0, 1))
            found.append(embedding[:, first : first + count].float().unflatten(0, some.shape[:2]))
        return torch.cat(found, 1)
