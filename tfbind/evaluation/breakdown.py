"""Parts of a test: by where bins lie, by how many cell types share a site, and by what experiments are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.evaluation.loci import Loci
from tfbind.evaluation.promoters import starts_of_genes
from tfbind.evaluation.scene import Scene
from tfbind.genome.intervals import cut
from tfbind.model.data import BOUND, N_CODE, UNBOUND

PROMOTER_REACH = 1000
# Gardiner-Garden & Frommer (1987) on CpG islands: so much of 200 bp is G or C, and so much of the CpG is
# there that C and G would make by chance.
CPG_WINDOW, LEAST_GC, LEAST_CPG = 200, 0.5, 0.6

IDENTITIES = (0.3, 0.5, 0.7)
TRAINING_PEAKS = (1, 100, 300, 1000)


@dataclass(frozen=True)
class Part:
    """Part of an experiment's bins.

    Attributes
    ----------
    breakdown, name
        What it is a part by, and which it is.
    bins
        bool (bins,).
    """

    breakdown: str
    name: str
    bins: np.ndarray


class Parts:
    """The parts of a test's bins.

    Parameters
    ----------
    promoters
        GTF or BED of genes; None: bins are told apart by their CpG.
    """

    def __init__(self, scene: Scene, promoters: Path | None = None) -> None:
        self.scene, self.promoters = scene, promoters

    @cached_property
    def places(self) -> dict[str, tuple[str, str, str, np.ndarray]]:
        """By kind of bins: breakdown, the name of bins in it, of others, and which are, bool (bins,)."""
        found = {}
        for kind, loci in self.scene.loci.items():
            if self.promoters is None:
                found[kind] = ("CpG", "CpG-rich", "CpG-poor", rich_in_cpg(self.scene, loci))
            else:
                starts = starts_of_genes(self.promoters, self.scene.reference)
                found[kind] = ("promoter", "promoter", "distal", near_starts(loci, starts))
        return found

    def of(self, column: int, kind: str) -> Iterator[Part]:
        """The parts of an experiment's bins of one kind."""
        breakdown, inside, outside, bins = self.places[kind]
        yield Part(breakdown, inside, bins)
        yield Part(breakdown, outside, ~bins)
        own = self.scene.experiments[column]
        others = [
            index
            for index, each in enumerate(self.scene.experiments)
            if each["factor"] == own["factor"] and each["cell_type"] != own["cell_type"]
        ]
        if others:
            labels = self.scene.loci[kind].labels
            bound, elsewhere = labels[:, column] == BOUND, labels[:, others]
            # Unbound bins stand beside both: a site's part says nothing of where it might have been.
            for name, chosen in (
                ("cell-type-specific", (elsewhere == UNBOUND).all(1)),
                ("shared", (elsewhere == BOUND).any(1)),
            ):
                yield Part("sites", name, ~bound | chosen)


def rich_in_cpg(scene: Scene, loci: Loci) -> np.ndarray:
    """Whether the 200 bp about the middle of each bin are as rich in CpG as an island, bool (bins,)."""
    parts = []
    for index, region in enumerate(loci.regions):
        half = CPG_WINDOW // 2
        start = region.start - half
        codes = cut(scene.data.codes[region.chrom], start, region.end - region.start + 2 * CPG_WINDOW, N_CODE)
        low = loci.position[loci.of_region(index)] + loci.width // 2 - half - start
        c, g, known = codes == 1, codes == 2, codes != N_CODE
        pairs = np.zeros(len(codes), dtype=bool)
        pairs[:-1] = c[:-1] & g[1:]
        counts = [_window_sums(each, low, CPG_WINDOW) for each in (c, g, known)]
        # A pair that begins on the last base ends beyond the window.
        cpg = _window_sums(pairs, low, CPG_WINDOW - 1)
        parts.append(is_island(*counts, cpg))
    return np.concatenate(parts)


def is_island(c: np.ndarray, g: np.ndarray, known: np.ndarray, cpg: np.ndarray) -> np.ndarray:
    """Gardiner-Garden & Frommer's two conditions, on counts of C, G, known bases and CpG."""
    return (c + g >= LEAST_GC * np.maximum(known, 1)) & (c * g > 0) & (cpg * known >= LEAST_CPG * c * g)


def near_starts(loci: Loci, starts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether the middle of each bin lies within 1 kb of where a gene starts, bool (bins,)."""
    parts = []
    for index, region in enumerate(loci.regions):
        middle = loci.position[loci.of_region(index)] + loci.width // 2
        found = starts.get(region.chrom, np.zeros(0, dtype=np.int64))
        before, after = middle - PROMOTER_REACH, middle + PROMOTER_REACH
        parts.append(np.searchsorted(found, before) < np.searchsorted(found, after, side="right"))
    return np.concatenate(parts)


def group_of_identity(identity: float) -> str:
    """In which group of identities a factor is, such as `30-50 %`."""
    if np.isnan(identity):
        return "not known"
    return _group(100 * identity, [round(100 * edge) for edge in IDENTITIES], " %")


def group_of_peaks(count: int) -> str:
    """In which group of numbers of training peaks a factor is."""
    return "0" if count == 0 else _group(count, TRAINING_PEAKS, "")


def groups_of(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Breakdowns of a row of the metrics table by what its experiment is."""
    yield "identity", group_of_identity(row["identity"])
    yield "training peaks", group_of_peaks(row["n_train_peaks"])


def _group(value: float, edges: Sequence[float], unit: str) -> str:
    if value < edges[0]:
        return f"< {edges[0]}{unit}"
    for low, high in pairwise(edges):
        if value < high:
            return f"{low}-{high}{unit}"
    return f">= {edges[-1]}{unit}"


def _window_sums(flags: np.ndarray, low: np.ndarray, width: int) -> np.ndarray:
    sums = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    return sums[low + width] - sums[low]
