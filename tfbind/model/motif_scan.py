"""Scanning motifs over DNA, both strands, summarised per bin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tfbind.model.trunk_interface import as_one_hot

SCAN_FEATURES = 4
# Peaks are wider than sites: sites within about so many bp count for a bin, at most so many bins away.
NEAR_BP, MOST_NEAR = 128, 4


def near_bins(bin: int) -> int:
    """Bins on either side whose sites count for a bin of so many bp."""
    return min(max(round(NEAR_BP / bin), 1), MOST_NEAR)


def pad_motifs(motifs: Sequence[np.ndarray | None]) -> tuple[Tensor, Tensor]:
    """Stack log-odds motifs (w, 4), centred in a common odd width and padded with columns of zeros.

    Returns
    -------
    float32 (n, W, 4), and bool (n,): where there is a motif.
    """
    width = max((len(motif) for motif in motifs if motif is not None), default=1)
    # Odd, so that there is a middle column: a site's place then depends on neither strand nor padding.
    width += 1 - width % 2
    stacked = torch.zeros(len(motifs), width, 4)
    for row, motif in zip(stacked, motifs, strict=True):
        if motif is not None:
            start = (width - len(motif)) // 2
            row[start : start + len(motif)] = torch.as_tensor(np.asarray(motif), dtype=torch.float32)
    return stacked, torch.tensor([motif is not None for motif in motifs], dtype=torch.bool)


def scan_motifs(bases: Tensor, motifs: Tensor, bin: int) -> Tensor:
    """Score every position on both strands, and summarise each bin.

    A site belongs to the bin of its middle base; one of even width to the bin of the second of its two middle
    bases, read 5' to 3' on its own strand. So the reverse complement of a window gives the same bins in
    reverse order, exactly. Bases off the ends and N score 0 in every column.

    Parameters
    ----------
    bases
        Base codes (windows, bp), bp a multiple of `bin`; or one-hot (windows, bp, 4).
    motifs
        Log-odds (motifs, W, 4), as `pad_motifs` lays them out.
    bin
        bp of a bin.

    Returns
    -------
    float32 (windows, bins, motifs, 4), of each site's better strand: the best site as a z-score under
    uniform bases (the score less its mean, over its standard deviation: the sum over columns of the
    column's mean and variance), the best site's score, the log of the mean over sites of exp(score), through
    which no gradient flows, and the best z-score of the bin and its `near_bins` on either side.
    """
    sites, best = _sites(bases, motifs, bin)
    # Shifted by the best site, so that exp never overflows.
    with torch.no_grad():
        soft = best + (sites - best.unsqueeze(-1)).exp_().mean(-1).log()
    z = z_scores(best, motifs)
    near = F.max_pool1d(z, 2 * near_bins(bin) + 1, stride=1, padding=near_bins(bin))
    return torch.stack([z, best, soft, near], -1).transpose(1, 2)


def best_sites(bases: Tensor, motifs: Tensor, bin: int) -> Tensor:
    """The best site's score alone, as `scan_motifs` gives it, float32 (windows, motifs, bins)."""
    return _sites(bases, motifs, bin)[1]


def z_scores(best: Tensor, motifs: Tensor) -> Tensor:
    """Best sites (windows, motifs, bins) as z-scores under uniform bases; see `scan_motifs`."""
    mean, deviation = score_moments(motifs)
    return (best - mean[:, None]) / deviation[:, None]


def score_moments(motifs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (motifs,) of a site's score under uniform bases; motifs (motifs, W, 4)."""
    return motifs.mean(2).sum(1), motifs.var(2, unbiased=False).sum(1).add(1e-4).sqrt()


def _sites(bases: Tensor, motifs: Tensor, bin: int) -> tuple[Tensor, Tensor]:
    """Scores (windows, motifs, bins, bin) of each site's better strand, and of the best site of each bin."""
    if motifs.shape[1] % 2 == 0:
        motifs = F.pad(motifs, (0, 0, 0, 1))
    count, width, _ = motifs.shape
    strands = torch.cat([motifs, motifs.flip(1, 2)])
    dna = F.pad(as_one_hot(bases).transpose(1, 2), (width // 2, width // 2))
    sites = F.conv1d(dna, strands.transpose(1, 2).contiguous())
    sites = torch.maximum(sites[:, :count], sites[:, count:]).unflatten(2, (-1, bin))
    return sites, sites.amax(-1)
