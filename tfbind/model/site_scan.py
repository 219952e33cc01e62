"""Scanning motifs as `scan_motifs` does, by tables of words of DNA: the way that rendering takes.

A motif's score at a site is a sum over words of `WORD` bases, each looked up in a table. Words are counted from
the site's middle base, to either side: a motif's sums are rounded alike whatever motifs are scanned beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tfbind.model.motif_scan import score_moments

# Bases of a word, and the letters there are: longer words make tables that leave the cache.
WORD, LETTERS = 4, 5
N = 4
# Motifs scanned at once, and positions: what is in hand stays in the cache.
MOTIFS, POSITIONS = 32, 3072
# Motifs of a table, and bins at once, are filled up to a multiple of it. Sums over sites are then of a multiple
# of 64 columns, which PyTorch takes in one order, however many there are.
LANES = 8
# Scores whose exponential neither overflows nor vanishes, whichever is best.
SAFE = 80.0


@dataclass(frozen=True)
class _Tables:
    """Tables of motifs that are scanned at once.

    Attributes
    ----------
    places : int64 (motifs,)
        Which of all motifs these are.
    words : places of the first base of each word of the forward strand, from the middle base
    rows : float32 (2 * words * LETTERS ** WORD, motifs)
        Of the forward strand's words, then of the other's, one after the other.
    safe : bool
        Whether exp of any score is a normal number.
    """

    places: Tensor
    words: tuple[int, ...]
    rows: Tensor
    safe: bool


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
        self.count, self.present = len(motifs), present
        # In 64 bits, so that it does not matter to the last one how wide the other motifs are.
        self.mean, self.deviation = (moment.float() for moment in score_moments(motifs.double()))
        # N scores 0: over it, a column adds to neither.
        lowest, highest = motifs.amin(2).clamp(max=0).sum(1), motifs.amax(2).clamp(min=0).sum(1)
        safe = (lowest > -SAFE) & (highest < SAFE)
        # A motif's company must not change how it is computed: those that need care are scanned by themselves.
        self.tables = [
            _tables(motifs, part, is_safe)
            for is_safe in (True, False)
            for part in torch.nonzero(present & (safe == is_safe)).squeeze(1).split(MOTIFS)
            if len(part)
        ]

    @property
    def reach(self) -> int:
        """bp on either side of a site's middle base that its words may cover."""
        return max((max(-table.words[0], table.words[-1] + WORD - 1) for table in self.tables), default=0)

    def __call__(self, dna: Words) -> tuple[Tensor, Tensor]:
        """Best site's score and log of the mean exp(score) of the sites of each bin: (motifs, bins) each."""
        found = self.mean.new_zeros(2, self.count, dna.bins)
        for table in self.tables:
            starts = dna.starts(len(table.words))
            blocks = [_scan(table, rows, starts, dna.bin) for rows in dna.blocks(table.words)]
            joined = torch.cat(blocks, 1)[:, : dna.bins, : len(table.places)]
            found[:, table.places] = joined.transpose(1, 2)
        return found[0], found[1]


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
    """

    def __init__(self, codes: Tensor, margin: int, bin: int) -> None:
        self.bin, self.bins = bin, (len(codes) - 2 * margin) // bin
        # Whole blocks, so that all are computed alike; what the last one lacks is N.
        self.at_once = LANES * max(1, POSITIONS // (LANES * bin))
        self.blocks_of_bins = -(-self.bins // self.at_once)
        lacking = (self.blocks_of_bins * self.at_once - self.bins) * bin
        self.first = margin + WORD
        padded = F.pad(codes.int(), (WORD, 2 * WORD + lacking), value=N)
        length = len(padded) - WORD + 1
        self.numbers = sum(
            padded[place : place + length] * LETTERS ** (WORD - 1 - place) for place in range(WORD)
        )
        self._rows: dict[tuple[int, ...], Tensor] = {}

    def blocks(self, words: tuple[int, ...]) -> Tensor:
        """For each block of bins, rows of the tables of both strands: int32 (blocks, 2, bin * bins, words).

        Positions come before bins, so that a bin's sites are summed up along the first axis.
        """
        if words not in self._rows:
            self._rows[words] = self._look_up(words)
        return self._rows[words]

    def starts(self, words: int) -> Tensor:
        """Where in the rows of a block each site's begin."""
        count = 2 * self.bin * self.at_once * words
        return torch.arange(0, count, words, dtype=torch.int32, device=self.numbers.device)

    def _look_up(self, words: tuple[int, ...]) -> Tensor:
        bins, count = self.at_once, len(words)
        # Position by position, the bins side by side: a word further on is then some rows further down.
        reach = max(-words[0], words[-1] + WORD - 1)
        shape = (self.blocks_of_bins, self.bin + 2 * reach, bins)
        sites = self.numbers.as_strided(shape, (bins * self.bin, 1, self.bin), self.first - reach)
        sites = sites.contiguous().flatten(1)
        rows = sites.new_empty(self.blocks_of_bins, 2, self.bin * bins, count)
        for number, place in enumerate(words):
            # The other strand's words lie mirrored about the middle base.
            for strand, start in enumerate((place, 1 - WORD - place)):
                found = sites[:, (reach + start) * bins :][:, : self.bin * bins]
                torch.add(found, (strand * count + number) * LETTERS**WORD, out=rows[:, strand, :, number])
        return rows


def _scan(table: _Tables, rows: Tensor, starts: Tensor, bin: int) -> Tensor:
    """Best and soft of a block, (2, bins, motifs)."""
    sites, other = F.embedding_bag(rows.view(-1), table.rows, starts, mode="sum").view(2, bin, -1)
    torch.maximum(sites, other, out=sites)
    best = sites.amax(0)
    if not table.safe:
        sites.sub_(best)
    soft = sites.exp_().sum(0).div_(bin).log_()
    if not table.safe:
        soft.add_(best)
    return torch.stack([best, soft]).view(2, rows.shape[1] // bin, -1)


def _tables(motifs: Tensor, places: Tensor, safe: bool) -> _Tables:
    width = motifs.shape[1]
    chosen = motifs[places]
    used = torch.nonzero((chosen != 0).any(2).any(0)).squeeze(1).tolist() or [width // 2]
    first, last = used[0] - width // 2, used[-1] - width // 2
    words = tuple(range(first // WORD * WORD, last + 1, WORD))
    count = -(-len(places) // LANES) * LANES
    # (words * WORD columns, LETTERS, count), 0 for N, off the motif, and for what fills up the lanes
    columns = motifs.new_zeros(len(words) * WORD, LETTERS, count)
    start = first - words[0]
    columns[start : start + last - first + 1, :4, : len(places)] = chosen[:, used[0] : used[-1] + 1].permute(
        1, 2, 0
    )
    columns = columns.unflatten(0, (len(words), WORD))
    grid = columns[:, 0, :, None, None, None]
    grid = grid + columns[:, 1, None, :, None, None]
    grid = grid + columns[:, 2, None, None, :, None]
    grid = grid + columns[:, 3, None, None, None, :]
    # A word of the other strand: complemented, and read from its end.
    complement = torch.tensor([3, 2, 1, 0, N], device=motifs.device)
    mirrored = grid
    for axis in range(1, 1 + WORD):
        mirrored = mirrored.index_select(axis, complement)
    mirrored = mirrored.permute(0, 4, 3, 2, 1, 5)
    return _Tables(places, words, torch.cat([grid.reshape(-1, count), mirrored.reshape(-1, count)]), safe)
