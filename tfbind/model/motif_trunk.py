"""A trunk that nothing trains: a library of known motifs scanned over the DNA."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfbind.config import TrunkSettings
from tfbind.model.inference_trunk import InferenceTrunk, Stretch, WindowByWindow
from tfbind.model.motif_scan import best_sites, z_scores
from tfbind.model.site_scan import SiteScan, Words
from tfbind.model.trunk_interface import Trunk

# Channels beside the motifs: the share of G and C, of CpG, and of what is not known.
COMPOSITION = 3
# In a genome of even composition a sixteenth of the bases begin a CpG.
CPG_SCALE = 8.0
# Motifs whose scores of all sites are held at once.
AT_ONCE = 32


class MotifTrunk(Trunk):
    """How well each motif of a library matches in each bin, and what the bin is made of.

    A channel a motif: the best site of either strand, as the z-score that `scan_motifs` defines. Then the shares
    of G and C, of CpG (times 8, half of each counted at either base, so that strands agree) and of N. It has no
    weights to train: a genome's embedding serves every training. `model.tower` learns on top of it.

    Parameters
    ----------
    settings
        `dim` motifs of at most `motif_columns` columns.
    bin
        Resolution in bp.

    Attributes
    ----------
    motifs : float32 (dim, motif_columns, 4)
        Log-odds, as `pad_motifs` lays them out; kept with a checkpoint's weights.
    """

    def __init__(self, settings: TrunkSettings, bin: int) -> None:
        super().__init__(settings, bin=bin, width=settings.dim + COMPOSITION)
        self.register_buffer("motifs", torch.zeros(settings.dim, settings.motif_columns, 4))

    def stages(self) -> list[nn.Module]:
        """None: nothing in it trains."""
        return []

    def blocks(self) -> list[nn.Module]:
        """None."""
        return []

    def adaptable(self) -> list[str]:
        """None."""
        return []

    def for_inference(self, dtype: torch.dtype = torch.float32) -> InferenceTrunk:
        """On a CPU by looked-up words, in float32 whatever the `dtype`; elsewhere by convolution."""
        if self.motifs.device.type != "cpu":
            return WindowByWindow(self.eval(), dtype)
        return MotifScanTrunk(self)

    @torch.no_grad()
    def forward(self, bases: Tensor) -> Tensor:
        """Embeddings (windows, bins, dim + 3) of base codes 0-4 (windows, bp), or of one-hot (windows, bp, 4)."""
        self.bins(bases.shape[1])
        codes = bases if bases.ndim == 2 else _codes(bases)
        parts = [
            z_scores(best_sites(codes, trimmed(some), self.bin), some) for some in self.motifs.split(AT_ONCE)
        ]
        return torch.cat([torch.cat(parts, 1).transpose(1, 2), composition(codes, self.bin)], -1)


class MotifScanTrunk(InferenceTrunk):
    """The same by looked-up words, over a whole stretch at once."""

    def __init__(self, trunk: MotifTrunk) -> None:
        super().__init__()
        self.bin = trunk.bin
        self.scan = SiteScan(trunk.motifs, torch.ones(len(trunk.motifs), dtype=torch.bool))

    @torch.inference_mode()
    def forward(self, codes: Tensor, stretch: Stretch) -> Tensor:
        """See `InferenceTrunk`."""
        first, count = stretch.first_bin, stretch.core_bins
        if first * self.bin < self.scan.reach:
            # What lies beyond a window is nothing, and a core sees it.
            windows = codes.unfold(1, stretch.length, stretch.core)
            found = torch.stack([torch.stack([self._embed(each) for each in some]) for some in windows])
            return found[:, :, first : first + count]
        found = torch.stack([self._embed(each) for each in codes])[:, first:]
        return found.unfold(1, count, count)[:, : stretch.windows].transpose(2, 3)

    def _embed(self, codes: Tensor) -> Tensor:
        """(bins, width) of base codes (bp,), with nothing around them."""
        margin = self.scan.reach
        best, _ = self.scan(Words(F.pad(codes, (margin, margin), value=4), margin, self.bin))
        return torch.cat([self.scan.z_scores(best).T, composition(codes[None], self.bin)[0]], -1)


def composition(codes: Tensor, bin: int) -> Tensor:
    """Shares of G and C, of CpG (times 8) and of N in each bin: float32 (windows, bins, 3)."""
    cytosine, guanine = codes == 1, codes == 2
    begins = F.pad(cytosine[:, :-1] & guanine[:, 1:], (0, 1))
    ends = F.pad(begins[:, :-1], (1, 0))
    cpg = (begins.float() + ends.float()) * (CPG_SCALE / 2)
    shares = torch.stack([(cytosine | guanine).float(), cpg, (codes > 3).float()], -1)
    return shares.unflatten(1, (-1, bin)).mean(2)


def trimmed(motifs: Tensor) -> Tensor:
    """Motifs (n, W, 4) without the columns at either end that are 0 in all of them; their middle stays."""
    used = torch.nonzero((motifs != 0).any(2).any(0)).squeeze(1).tolist()
    middle = motifs.shape[1] // 2
    reach = max((abs(column - middle) for column in used), default=0)
    return motifs[:, middle - reach : middle + reach + 1]


def _codes(one_hot: Tensor) -> Tensor:
    known = one_hot.sum(-1) > 0
    return torch.where(known, one_hot.argmax(-1), 4)
