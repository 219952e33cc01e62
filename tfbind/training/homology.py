"""How much of the test's sequence stands in the training regions, too: repeats, duplications, paralogs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfbind.core.files import atomic_path
from tfbind.core.progress import Progress
from tfbind.genome.kmers import sampled_kmers
from tfbind.genome.regions import Region
from tfbind.model.data import BOUND
from tfbind.training.splits import Split

K = 31
# A stretch of about so many bp is homologous if at least this share of its k-mers stands in a training region.
STRETCH_BP, LEAST_SHARE = 1000, 0.5
# So many k-mers of the training regions are held, at most about; of longer ones, a sample is.
MOST_KMERS = 1 << 25
PIECE = 1 << 22

COLUMNS = ("of", "bp", "kmers_in_train", "homologous_bp", "bound_bins", "homologous_bound_bins")


@dataclass(frozen=True)
class Stretches:
    """The stretches of a test region, end to end.

    Attributes
    ----------
    region
        The test region.
    bins
        Bins of a stretch; the last one may have fewer.
    kmers, found
        int64 (stretches,): sampled k-mers in each, and those of them that stand in a training region.
    """

    region: Region
    bins: int
    kmers: np.ndarray
    found: np.ndarray

    @property
    def homologous(self) -> np.ndarray:
        """bool (stretches,): at least `LEAST_SHARE` of its k-mers stand in training."""
        return (self.kmers > 0) & (self.found >= LEAST_SHARE * self.kmers)

    def lengths(self, bin: int) -> np.ndarray:
        """int64 (stretches,), bp; 0 for those without a k-mer, which are N."""
        starts = self.region.start + np.arange(len(self.kmers)) * self.bins * bin
        return np.where(self.kmers > 0, np.minimum(starts + self.bins * bin, self.region.end) - starts, 0)


def compare(split: Split, fetch: Callable[[str, int, int], np.ndarray]) -> list[Stretches]:
    """Look the k-mers of the test regions up in the training regions, on either strand.

    Parameters
    ----------
    fetch
        (chromosome, start, end) in bp -> base codes uint8.
    """
    trained, tested = (sum(each.end - each.start for each in part) for part in (split.train, split.test))
    one_in = max(1, -(-trained // MOST_KMERS))
    with Progress("comparing sequences", trained + tested, unit="bp", brief=True) as progress:
        parts = [hashes for region in split.train for _, hashes in _kmers(region, fetch, one_in, progress)]
        known = np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)
        del parts
        known.sort()
        bins = max(1, round(STRETCH_BP / split.bin))
        return [_stretches(region, bins, split.bin, known, fetch, one_in, progress) for region in split.test]


def _kmers(
    region: Region, fetch: Callable[[str, int, int], np.ndarray], one_in: int, progress: Progress
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Starts in the region, and hashes, piece by piece; k-mers lie wholly in the region."""
    for start in range(region.start, region.end, PIECE):
        codes = fetch(region.chrom, start, min(start + PIECE + K - 1, region.end))
        positions, hashes = sampled_kmers(codes, K, one_in)
        yield positions + start - region.start, hashes
        progress.advance(min(PIECE, region.end - start))


def _stretches(
    region: Region,
    bins: int,
    bin: int,
    known: np.ndarray,
    fetch: Callable[[str, int, int], np.ndarray],
    one_in: int,
    progress: Progress,
) -> Stretches:
    length = bins * bin
    count = -(-(region.end - region.start) // length)
    kmers, found = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for positions, hashes in _kmers(region, fetch, one_in, progress):
        kmers += np.bincount(positions // length, minlength=count)
        # In order, neighbours are looked up in one part of memory.
        order = np.argsort(hashes)
        places = np.searchsorted(known, hashes[order])
        inside = np.zeros(len(hashes), dtype=bool)
        there = places < len(known)
        inside[there] = known[places[there]] == hashes[order][there]
        found += np.bincount(positions[order][inside] // length, minlength=count)
    return Stretches(region, bins, kmers, found)


def write_homology(
    path: Path,
    stretches: Sequence[Stretches],
    labels: Mapping[str, np.ndarray],
    columns: Mapping[str, int],
    bin: int,
) -> list[dict[str, str]]:
    """Write the table, and return its rows: all of the test, each of its regions, and each experiment.

    `kmers_in_train` is the share of k-mers that stand in a training region, `homologous_bp` that of bp in
    homologous stretches, without those that are N, and `homologous_bound_bins` that of bound bins in them: those
    of all scored experiments together, or of one.

    Parameters
    ----------
    labels
        uint8 (bins, experiments) a chromosome.
    columns
        The scored experiments, and their columns.
    """
    bound = {name: np.zeros((len(stretches), 2), dtype=np.int64) for name in columns}
    for row, each in enumerate(stretches):
        where = each.region.bins(bin)
        homologous = np.repeat(each.homologous, each.bins)[: len(where)]
        for name, column in columns.items():
            is_bound = labels[each.region.chrom][where.start : where.stop, column] == BOUND
            bound[name][row] = is_bound.sum(), (is_bound & homologous).sum()
    together = sum(bound.values(), np.zeros((len(stretches), 2), dtype=np.int64))
    rows = [_row("all", stretches, together.sum(0), bin)]
    rows += [_row(str(each.region), [each], together[row], bin) for row, each in enumerate(stretches)]
    rows += [_row(name, stretches, counts.sum(0), bin) for name, counts in bound.items()]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        print(*COLUMNS, sep="\t", file=handle)
        for row in rows:
            print(*row.values(), sep="\t", file=handle)
    return rows


def _row(name: str, stretches: Sequence[Stretches], bound: np.ndarray, bin: int) -> dict[str, str]:
    lengths = [each.lengths(bin) for each in stretches]
    total = sum(int(length.sum()) for length in lengths)
    homologous = sum(int(length[each.homologous].sum()) for each, length in zip(stretches, lengths, strict=True))
    kmers, found = (sum(int(getattr(each, what).sum()) for each in stretches) for what in ("kmers", "found"))
    values = (
        name,
        str(total),
        _share(found, kmers),
        _share(homologous, total),
        str(int(bound[0])),
        _share(int(bound[1]), int(bound[0])),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.4f}" if whole else ""
