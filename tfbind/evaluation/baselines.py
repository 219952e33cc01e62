"""What a track must beat: predictors that know one thing, on the same bins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tfbind.evaluation.loci import Loci, Rule
from tfbind.evaluation.scene import Scene
from tfbind.factors.motifs import Motif
from tfbind.genome.intervals import cut
from tfbind.model.batching import motif_scores
from tfbind.model.data import BOUND, LEFT_OUT, N_CODE, GenomeData
from tfbind.model.motif_scan import pad_motifs
from tfbind.model.site_scan import MOTIFS, SiteScan, Words

ACCESSIBILITY = "accessibility"
MOTIF = "motif max"
MOTIF_ACCESSIBILITY = "motif x accessibility"
FACTOR_MEAN = "factor mean"
OTHER_FACTORS = "other factors"
NEAREST = "nearest factor"
# Bins scanned at once.
STRETCH = 1024
# Half the base of the triangle by which peaks of other experiments are smoothed, bp.
SMOOTHING = 500

Values = dict[str, np.ndarray]
"""Scores of an experiment by kind of bins, float32 (bins,) each."""


@dataclass(frozen=True)
class Predictor:
    """Something that scores bins.

    Attributes
    ----------
    name
        In the tables.
    sees
        What it is told, in words. What looks at measurements of the tested bins is no rival of a model that may
        not, but says how much there is to be known.
    scores
        Column of an experiment -> its scores; None where the predictor does not apply to it.
    probabilities
        Whether scores are probabilities, whose calibration can be judged.
    """

    name: str
    sees: str
    scores: Callable[[int], Values | None]
    probabilities: bool = False


def carried(scene: Scene, values: np.ndarray, rule: Rule) -> Values:
    """Values of the model's bins, on the bins of all kinds."""
    return {kind: loci.carried(values, scene.data.bin, rule) for kind, loci in scene.loci.items()}


def baselines(scene: Scene) -> list[Predictor]:
    """All that need no model."""
    return [
        Predictor(ACCESSIBILITY, "accessibility", lambda column: accessibility(scene, column)),
        *_motif_predictors(scene),
        Predictor(
            FACTOR_MEAN,
            "measurements of the factor at the tested bins, in training cell types",
            lambda column: factor_mean(scene, column),
        ),
        Predictor(
            OTHER_FACTORS,
            "measurements of other factors at the tested bins, in the same cell type",
            lambda column: other_factors(scene, column),
        ),
        Predictor(
            NEAREST,
            "measurements of the nearest other training factor at the tested bins, in the same cell type",
            lambda column: nearest_factor(scene, column),
        ),
    ]


def accessibility(scene: Scene, column: int) -> Values | None:
    """Mean accessibility of each bin; None where the cell type has no track."""
    cell = scene.cell(column)
    if not scene.data.has_track[cell]:
        return None
    return carried(scene, scene.of_regions(scene.data.accessibility, cell), "mean")


def _motif_predictors(scene: Scene) -> list[Predictor]:
    sites = _Sites(scene)

    def best(column: int) -> Values | None:
        found = sites(column)
        return None if found is None else carried(scene, found[1], "max")

    def combined(column: int) -> Values | None:
        found, cell = sites(column), scene.cell(column)
        if found is None or not scene.data.has_track[cell]:
            return None
        signal = scene.of_regions(scene.data.accessibility, cell)
        return carried(scene, motif_accessibility(found[0], signal), "max")

    return [
        Predictor(MOTIF, "DNA, the factor's motif", best),
        Predictor(MOTIF_ACCESSIBILITY, "DNA, the factor's motif, accessibility", combined),
    ]


class _Sites:
    """Best sites of the tested factors, scanned for some at once, of which the last are kept."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        names = sorted({scene.experiments[column]["factor"] for column in scene.tested})
        self.motifs = {name: motif for name in names if (motif := scene.factor_set.motif(name)) is not None}
        self._kept: dict[str, np.ndarray] = {}

    def __call__(self, column: int) -> np.ndarray | None:
        """z-score and log-odds of an experiment's factor, float32 (2, bins); None without a motif."""
        factor = self.scene.experiments[column]["factor"]
        if factor not in self.motifs:
            return None
        if factor not in self._kept:
            names = list(self.motifs)
            first = names.index(factor) // MOTIFS * MOTIFS
            chosen = names[first : first + MOTIFS]
            found = scan_regions(self.scene, [self.motifs[name] for name in chosen])
            self._kept = dict(zip(chosen, found, strict=True))
        return self._kept[factor]


def factor_mean(scene: Scene, column: int) -> Values | None:
    """Mean over the training cell types, but its own, of the factor's smoothed peaks there.

    The challenge's and maxATAC's *average*, of peaks where theirs is of signal. None where there is no other.
    """
    own = scene.experiments[column]
    others = [
        each
        for each in scene.trained
        if scene.experiments[each]["factor"] == own["factor"]
        and scene.experiments[each]["cell_type"] != own["cell_type"]
    ]
    return _mean_of_cell_types(scene, others)


def nearest_factor(scene: Scene, column: int) -> Values | None:
    """Smoothed peaks of the nearest other training factor, in the same cell type; where it was not measured
    there, their mean over the cell types in which it was.

    None where no other training factor is alike.
    """
    own = scene.experiments[column]
    nearest = scene.split.identity.get(own["factor"], {}).get("other")
    if nearest is None:
        return None
    measured = [each for each, about in enumerate(scene.experiments) if about["factor"] == nearest]
    here = [each for each in measured if scene.experiments[each]["cell_type"] == own["cell_type"]]
    return _mean_of_cell_types(scene, here or [each for each in measured if each in scene.trained])


def other_factors(scene: Scene, column: int) -> Values | None:
    """Share of the other factors that were measured in this cell type and are bound: hotspots.

    None where nothing else was measured.
    """
    own = scene.experiments[column]
    others = [
        index
        for index, experiment in enumerate(scene.experiments)
        if experiment["cell_type"] == own["cell_type"] and experiment["factor"] != own["factor"]
    ]
    if not others:
        return None
    return {kind: bound_share(loci.labels, others) for kind, loci in scene.loci.items()}


def bound_share(labels: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Share of some experiments that are bound, of those where it is known, float32 (bins,)."""
    chosen = labels[:, columns]
    known = np.maximum((chosen != LEFT_OUT).sum(1), 1)
    return ((chosen == BOUND).sum(1) / known).astype(np.float32)


def motif_accessibility(z: np.ndarray, accessibility: np.ndarray) -> np.ndarray:
    """exp(z) log(1 + A): high only where a good site lies in open chromatin.

    Of the products that were tried on the yeast data, with softplus(z), powers of z and log-odds, this one is the
    hardest to beat.
    """
    return np.exp(z) * np.log1p(accessibility)


def scan_regions(scene: Scene, motifs: Sequence[Motif]) -> np.ndarray:
    """Best site of each motif in each of the model's bins: z-score and log-odds, float32 (motifs, 2, bins)."""
    parts = [scan_bins(scene.data, region.chrom, region.bins(scene.data.bin), motifs) for region in scene.regions]
    return np.concatenate(parts, axis=2)


def scan_bins(data: GenomeData, chrom: str, bins: range, motifs: Sequence[Motif]) -> np.ndarray:
    """As `scan_regions`, of some bins of a chromosome."""
    scan = SiteScan(*pad_motifs([motif_scores(motif) for motif in motifs]))
    parts = []
    for first in range(bins.start, bins.stop, STRETCH):
        count = min(STRETCH, bins.stop - first)
        codes = cut(data.codes[chrom], first * data.bin - scan.reach, count * data.bin + 2 * scan.reach, N_CODE)
        with torch.inference_mode():
            best, _ = scan(Words(torch.tensor(codes), scan.reach, data.bin))
        parts.append(torch.stack([scan.z_scores(best), best], 1).numpy())
    return np.concatenate(parts, axis=2)


def _mean_of_cell_types(scene: Scene, columns: Sequence[int]) -> Values | None:
    """Mean over cell types of smoothed peaks; of several experiments in one, the union counts."""
    by_cell_type: dict[str, list[int]] = {}
    for column in columns:
        by_cell_type.setdefault(scene.experiments[column]["cell_type"], []).append(column)
    if not by_cell_type:
        return None
    spans = [scene.spans(each) for each in by_cell_type.values()]
    return {
        kind: np.mean([smoothed(loci, each) for each in spans], axis=0, dtype=np.float32)
        for kind, loci in scene.loci.items()
    }


def smoothed(loci: Loci, spans: Mapping[str, np.ndarray]) -> np.ndarray:
    """Share of each bin that peaks cover, smoothed by a triangle of `SMOOTHING` bp to either side.

    Without it bins would only be bound or not: their order within peaks and around them would be left to chance.
    """
    covered = loci.covered(spans)
    return np.concatenate([_smooth(covered[each], loci.step) for each in _regions_of(loci)])


def _regions_of(loci: Loci) -> Iterator[slice]:
    return (loci.of_region(index) for index in range(len(loci.regions)))


def _smooth(values: np.ndarray, step: int) -> np.ndarray:
    reach = max(SMOOTHING // step, 1)
    kernel = 1 - np.abs(np.arange(1 - reach, reach)) / reach
    if len(values) < len(kernel):
        kernel = np.ones(1)
    return np.convolve(values, kernel / kernel.sum(), "same").astype(np.float32)
