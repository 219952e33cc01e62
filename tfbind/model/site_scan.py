"""Scanning motifs as `scan_motifs` does, by tables of words of DNA: the way that prediction takes.

The exponential of a motif's score at a site is a product over words of `WORD` bases, each looked up in a table
(`word_kernel.py`). Its maximum over a bin is the best site's, its mean the soft one's: no exponential is taken a
site. Words are counted from the site's middle base, to either side, and what a motif does not cover is a
factor of 1: products are rounded alike whatever motifs are scanned beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tfbind.model.motif_scan import near_bins, scan_motifs, score_moments
from tfbind.model.word_kernel import aligned, products

# Bases of a word, and the letters there are: longer words make tables that leave the cache.
WORD, LETTERS = 4, 5
N = 4
# Motifs scanned at once, and what a table is filled up to a multiple of.
MOTIFS, LANES = 32, 16
# Products are multiplied by a power of two, so that the highest is about exp(TOP): a bin's sum does not overflow.
TOP = 70.0
# exp of it is the least that loses no digits.
LEAST = -87.0
# What is exp(-ENOUGH) of the best site adds nothing.
ENOUGH = 20.0
ALL = slice(None)


@dataclass(frozen=True)
class _Tables:
    """Tables of motifs that are scanned at once.

    Attributes
    ----------
    places : int64 (motifs,)
        Which of all motifs these are.
    words : places of the first base of each word of the forward strand, from the middle base; 0 is the first
    rows : float32 (2 * words * LETTERS ** WORD, lanes)
        Exponentials, of the forward strand's words, then of the other's, one after the other.
    back : float32 (lanes,)
        What products are multiplied by to be of scores: powers of two.
    """

    places: Tensor
    words: tuple[int, ...]
    rows: Tensor
    back: Tensor

    def scan(self, dna: Words) -> tuple[Tensor, Tensor]:
        """Best and soft, (motifs, bins) each."""
        strands = (self.words, tuple(1 - WORD - place for place in self.words))
        function = products(strands, LETTERS**WORD, self.rows.shape[1])
        best, total = function(dna.numbers, dna.margin, self.rows, dna.bin, dna.bins)
        best.mul_(self.back)
        total.mul_(self.back).div_(dna.bin)
        return tuple(each.log_()[:, : len(self.places)].T for each in (best, total))


class SiteScan:
    """Known motifs, or those read off proteins, ready to be scanned.

    Parameters
    ----------
    motifs
        Log-odds (motifs, W, 4), as `scan_motifs` takes them.
    present
        bool (motifs,): those that are there; of the others nothing is scanned, and 0 comes out.
    """

    def __init__(self, motifs: Tensor, present: Tensor) -> None:
        if motifs.shape[1] % 2 == 0:
            motifs = F.pad(motifs, (0, 0, 0, 1))
        self.count, self.present, self.motifs = len(motifs), present, motifs
        # In 64 bits, so that it does not matter to the last one how wide the other motifs are.
        self.mean, self.deviation = (moment.float() for moment in score_moments(motifs.double()))
        # N scores 0: over it, a column adds to neither.
        self.highest = motifs.amax(2).clamp(min=0).double().sum(1)
        parts = torch.nonzero(present).squeeze(1).split(MOTIFS)
        self.tables = [_tables(motifs, self.highest, part) for part in parts if len(part)]
        # Where the best is not known to be more, 32 bits may not have held the products of all sites that count.
        least = (2 * self.highest - TOP).clamp(min=0) + LEAST + ENOUGH
        self.least = least.masked_fill(self.highest > TOP, torch.nan).float()[:, None]

    def z_scores(self, best: Tensor, chosen: slice = ALL) -> Tensor:
        """Best sites of motifs (of those chosen), (motifs, bins), as the z-scores that `scan_motifs` defines."""
        return (best - self.mean[chosen, None]) / self.deviation[chosen, None]

    def features(self, best: Tensor, soft: Tensor, near: int, chosen: slice = ALL) -> Tensor:
        """What `scan_motifs` says of a stretch, float32 (SCAN_FEATURES, motifs, bins - 2 near).

        Parameters
        ----------
        best, soft
            Of motifs (of those chosen) in the stretch and in `near` bins on either side, (motifs, bins).
        """
        z = self.z_scores(best, chosen)
        around = F.max_pool1d(z, 2 * near + 1, stride=1)
        inner = slice(near, best.shape[1] - near)
        return torch.stack([z[:, inner], best[:, inner], soft[:, inner], around])

    @property
    def reach(self) -> int:
        """bp on either side of a site's middle base that its words may cover."""
        ends = ((-min(table.words), max(table.words) + WORD - 1) for table in self.tables)
        return max((max(end) for end in ends), default=0)

    def __call__(self, dna: Words) -> tuple[Tensor, Tensor]:
        """Best site's score and log of the mean exp(score) of the sites of each bin: (motifs, bins) each."""
        found = self.mean.new_zeros(2, self.count, dna.bins)
        for table in self.tables:
            found[0, table.places], found[1, table.places] = table.scan(dna)
        low = ~(found[0] >= self.least) & self.present[:, None]
        for motif in torch.nonzero(low.any(1)).squeeze(1).tolist():
            bins = torch.nonzero(low[motif]).squeeze(1)
            found[:, motif, bins] = self._plainly(motif, dna, bins)
        return found[0], found[1]

    def _plainly(self, motif: int, dna: Words, bins: Tensor) -> Tensor:
        """Best and soft of one motif in some bins, (2, bins), by convolution: of scores of any size."""
        chosen = self.motifs[motif]
        middle = len(chosen) // 2
        used = torch.nonzero((chosen != 0).any(1)).squeeze(1) - middle
        reach = int(used.abs().max()) if len(used) else 0
        # Windows of whole bins; what lies beyond the motif's reach does not count.
        around = -(-reach // dna.bin)
        filled = F.pad(dna.codes, (around * dna.bin,) * 2, value=N)[dna.margin :]
        codes = filled.unfold(0, (1 + 2 * around) * dna.bin, dna.bin)[bins]
        trimmed = chosen[middle - reach : middle + reach + 1]
        return scan_motifs(codes, trimmed[None], dna.bin)[:, around, 0, 1:3].T


class Words:
    """The words of a stretch of DNA, by number.

    Parameters
    ----------
    codes
        Base codes 0-4, (bp,), of whole bins and of `margin` bp on either side.
    margin
        At least the reach of the motifs.
    bin
        bp of a bin.

    Attributes
    ----------
    numbers : int32 (bp - WORD + 1,)
        Of the word that begins at each base.
    """

    def __init__(self, codes: Tensor, margin: int, bin: int) -> None:
        self.codes, self.margin = codes, margin
        self.bin, self.bins = bin, (len(codes) - 2 * margin) // bin
        letters = codes.int()
        length = max(0, len(codes) - WORD + 1)
        self.numbers = letters.new_zeros(length)
        for place in range(WORD):
            self.numbers.mul_(LETTERS).add_(letters[place : place + length])


@torch.inference_mode()
def scan_windows(scan: SiteScan, codes: Tensor, bin: int) -> Tensor:
    """What `scan_motifs` says of windows, float32 (windows, bins, motifs, 4), of base codes uint8 (windows, bp).

    For windows that are learnt from: a fifth of the time, and no gradient.
    """
    margin, near = scan.reach, near_bins(bin)
    found = []
    for window in F.pad(codes, (margin, margin), value=N):
        # Beyond the window there is no site.
        around = (F.pad(each, (near, near), value=-torch.inf) for each in scan(Words(window, margin, bin)))
        found.append(scan.features(*around, near).permute(2, 1, 0))
    return torch.stack(found)


def _tables(motifs: Tensor, highest: Tensor, places: Tensor) -> _Tables:
    width = motifs.shape[1]
    chosen = motifs[places].double()
    used = torch.nonzero((chosen != 0).any(2).any(0)).squeeze(1).tolist() or [width // 2]
    first, last = used[0] - width // 2, used[-1] - width // 2
    lowest = min(0, first // WORD * WORD)
    words = range(lowest, max(0, last) + 1, WORD)
    lanes = -(-len(places) // LANES) * LANES
    # (words * WORD columns, LETTERS, lanes), 0 for N, off the motif, and for what fills up the lanes
    columns = chosen.new_zeros(len(words) * WORD, LETTERS, lanes)
    start = first - lowest
    columns[start : start + last - first + 1, :4, : len(places)] = chosen[:, used[0] : used[-1] + 1].permute(
        1, 2, 0
    )
    columns = columns.unflatten(0, (len(words), WORD))
    grid = columns[:, 0, :, None, None, None]
    grid = grid + columns[:, 1, None, :, None, None]
    grid = grid + columns[:, 2, None, None, :, None]
    grid = grid + columns[:, 3, None, None, None, :]
    # The word that every motif has comes first, and bears the scale: products then never grow beyond exp(TOP).
    powers = highest.new_zeros(lanes)
    powers[: len(places)] = ((TOP - highest[places]) / math.log(2)).floor()
    middle = words.index(0)
    grid[middle] += powers * math.log(2)
    order = [middle, *(number for number in range(len(words)) if number != middle)]
    grid = grid[order].exp()
    # A word of the other strand: complemented, and read from its end.
    complement = torch.tensor([3, 2, 1, 0, N], device=motifs.device)
    mirrored = grid
    for axis in range(1, 1 + WORD):
        mirrored = mirrored.index_select(axis, complement)
    mirrored = mirrored.permute(0, 4, 3, 2, 1, 5)
    rows = aligned(torch.cat([grid.reshape(-1, lanes), mirrored.reshape(-1, lanes)]))
    return _Tables(places, tuple(words[number] for number in order), rows, torch.exp2(-powers).float())
