"""Which windows a step sees: around peaks and uniformly, each with the weight that keeps the loss unbiased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfbind.genome.regions import Region
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData, reverse_complement

# Accessibility, in times the genome's mean, from which a bin is open.
OPEN = 4.0


@dataclass(frozen=True)
class Draw:
    """One training window: where it starts (in bins), whether it is reverse-complemented, its weight.

    `region` is where it counts bins; bins elsewhere are left out.
    """

    region: Region
    first: int
    flipped: bool
    weight: float

    @property
    def chrom(self) -> str:
        """The chromosome."""
        return self.region.chrom


@dataclass(frozen=True)
class Batch:
    """Arrays of a step.

    Attributes
    ----------
    codes : uint8 (windows, bp)
    accessibility : float32 (windows, context bins + bins + context bins, cell types)
    labels : uint8 (windows, counted bins, experiments)
    weights : float32 (windows,)
    signal : float32 (windows, counted bins, experiments), or None
    score : float32 (windows, counted bins, experiments), or None
    further : float32 (windows, context bins + bins + context bins, cell types, signals), or None
    """

    codes: np.ndarray
    accessibility: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    signal: np.ndarray | None = None
    score: np.ndarray | None = None
    further: np.ndarray | None = None


@dataclass(frozen=True)
class Window:
    """Arrays of one window, as in `Batch`, without the axis of windows."""

    codes: np.ndarray
    accessibility: np.ndarray
    labels: np.ndarray
    signal: np.ndarray | None = None
    score: np.ndarray | None = None
    further: np.ndarray | None = None

    def reverse_complement(self) -> Window:
        """The same stretch of the other strand: bases are complemented, and every array is reversed."""
        bins = {name: getattr(self, name) for name in ("accessibility", "labels", "signal", "score", "further")}
        turned = {name: None if array is None else array[::-1] for name, array in bins.items()}
        return Window(reverse_complement(self.codes), **turned)


@dataclass(frozen=True)
class _Anchors:
    """Bins around which windows are placed.

    Attributes
    ----------
    share
        Of the windows that are placed around them.
    starts
        Numbers of the first starts that count them, in sets of which one is drawn first.
    density : float64 (starts,)
        How likely a window that is placed so has each start.
    """

    share: float
    starts: list[np.ndarray]
    density: np.ndarray


class WindowSampler:
    """Draw windows; what a step draws depends on the seed and the step alone, so any step can be resumed.

    A window may start at any bin (with a spacing: at any multiple of it from the region's first) from where its
    counted bins (all but `crop` at either side) cover a region's first bin to where they cover its last, so every
    bin of the regions is counted by equally many windows (shifts of whole bins, labels with them). Of a window
    that was drawn for one region, bins outside it are left out, also those of another one: they are counted by
    its own windows.
    A share `peak_fraction` of windows is placed around peaks: a bound bin is drawn, and a uniform shift. With
    `peak_draw` `experiment`, an experiment is drawn first, then one of its bound bins; with `bin`, any bin that
    is bound in one of them, all alike. A share `open_fraction` is placed in the same way around bins that are
    open in one of the cell types (accessibility `OPEN` times the genome's mean or more): most of what is not
    bound, and hard to tell from what is. With u the uniform density of starts, q_k the density around the bins
    of kind k and p_k its share, a window has weight u / ((1 - sum p_k) u + sum p_k q_k), so that the expected
    loss is that of the whole genome (with no share left: of what lies within the counted bins' reach of these
    bins; nothing else is ever drawn).

    Parameters
    ----------
    data
        With labels.
    regions
        To draw from; disjoint, and their edges are those of bins.
    experiments
        Columns of the labels that count.
    bins
        Bins of a window.
    context_bins
        Bins on either side of a window of which accessibility is read, too.
    crop
        Bins within a window, at either side, that are not counted: of the rest alone are labels, signal and
        scores read.
    spacing
        Bins from one start to the next; a divisor of the counted bins.
    """

    def __init__(
        self,
        data: GenomeData,
        regions: Sequence[Region],
        experiments: Sequence[int],
        *,
        bins: int,
        peak_fraction: float,
        seed: int,
        context_bins: int = 0,
        crop: int = 0,
        spacing: int = 1,
        peak_draw: str = "experiment",
        open_fraction: float = 0.0,
    ) -> None:
        if 2 * crop >= bins:
            raise ValueError(f"a crop of {crop} bins at either side leaves none of {bins}")
        self.data, self.bins, self.seed, self.context_bins = data, bins, seed, context_bins
        self.crop, self.counted = crop, bins - 2 * crop
        if self.counted % spacing:
            raise ValueError(f"{self.counted} counted bins are no multiple of a spacing of {spacing}")
        # Starts are numbered, and `shifts` of them count a bin.
        self.spacing, self.shifts = spacing, self.counted // spacing
        self.regions = list(regions)
        lengths = [len(region.bins(data.bin)) for region in self.regions]
        counts = np.array([-(-length // spacing) + self.shifts - 1 for length in lengths])
        self.ends = np.cumsum(counts)
        self.offsets = self.ends - counts
        peaks = self._bound_starts(experiments, apart=peak_draw == "experiment")
        kinds = [(peak_fraction, peaks), (open_fraction, self._open_starts() if open_fraction else [])]
        self.kinds = [self._anchors(share, starts) for share, starts in kinds if share and starts]
        self.uniform_fraction = max(0.0, 1 - sum(kind.share for kind in self.kinds))

    def _bound_starts(self, experiments: Sequence[int], *, apart: bool) -> list[np.ndarray]:
        """Numbers of the first starts that count bound bins, of each experiment or of any of them."""
        found: list[list[np.ndarray]] = [[] for _ in (experiments if apart else [0])]
        for region, offset in zip(self.regions, self.offsets, strict=True):
            bins = region.bins(self.data.bin)
            labels = self.data.labels[region.chrom][bins.start : bins.stop]
            for column, experiment in enumerate(experiments):
                bound = np.flatnonzero(labels[:, experiment] == BOUND) // self.spacing + offset
                found[column if apart else 0].append(bound)
        joined = [np.concatenate(parts) for parts in found]
        return [starts if apart else np.unique(starts) for starts in joined if len(starts)]

    def _open_starts(self) -> list[np.ndarray]:
        """Numbers of the first starts that count bins open in any cell type."""
        found = []
        for region, offset in zip(self.regions, self.offsets, strict=True):
            bins = region.bins(self.data.bin)
            accessibility = self.data.accessibility[region.chrom][bins.start : bins.stop]
            found.append(np.flatnonzero((accessibility >= OPEN).any(1)) // self.spacing + offset)
        starts = np.unique(np.concatenate(found))
        return [starts] if len(starts) else []

    def _anchors(self, share: float, starts: list[np.ndarray]) -> _Anchors:
        mass = np.zeros(int(self.ends[-1]) + self.shifts)
        for each in starts:
            np.add.at(mass, each, 1 / (len(each) * len(starts)))
        # With n starts that count a bin, the start of number s counts the bins of first starts s - n + 1 .. s,
        # each of which sends 1 / n of its mass here.
        total = np.concatenate([[0.0], np.cumsum(mass)])
        position = np.arange(int(self.ends[-1]))
        before = total[np.maximum(position + 1 - self.shifts, 0)]
        return _Anchors(share, starts, (total[position + 1] - before) / self.shifts)

    def draw(self, step: int, count: int) -> list[Draw]:
        """The windows of a step."""
        rng = np.random.default_rng([self.seed, step])
        return [self._draw_one(rng) for _ in range(count)]

    def _draw_one(self, rng: np.random.Generator) -> Draw:
        total = int(self.ends[-1])
        drawn = rng.random()
        for kind in self.kinds:
            if drawn < kind.share:
                starts = kind.starts[rng.integers(len(kind.starts))]
                position = int(starts[rng.integers(len(starts))] + rng.integers(self.shifts))
                break
            drawn -= kind.share
        else:
            position = int(rng.integers(total))
        uniform = 1 / total
        around = sum(kind.share * kind.density[position] for kind in self.kinds)
        weight = uniform / (self.uniform_fraction * uniform + around)
        index = int(np.searchsorted(self.ends, position, side="right"))
        region = self.regions[index]
        counted = (position - int(self.offsets[index]) - (self.shifts - 1)) * self.spacing
        first = region.bins(self.data.bin).start + counted - self.crop
        return Draw(region, first, bool(rng.integers(2)), float(weight))

    def batch(self, step: int, count: int, part: range | None = None) -> Batch:
        """Read the windows of a step; flipped ones have bases complemented, and all bins reversed.

        Parameters
        ----------
        count
            Windows of the step.
        part
            Those of them that are read; none: all.
        """
        draws = self.draw(step, count)
        if part is not None:
            draws = draws[part.start : part.stop]
        windows = [self.read(draw) for draw in draws]
        weights = np.array([draw.weight for draw in draws], dtype=np.float32)
        arrays = {name: [getattr(window, name) for window in windows] for name in vars(windows[0])}
        stacked = {name: None if found[0] is None else np.stack(found) for name, found in arrays.items()}
        return Batch(weights=weights, **stacked)

    def read(self, draw: Draw) -> Window:
        """The arrays of a window, of the strand that was drawn."""
        counted = (draw.chrom, draw.first + self.crop, self.counted)
        around = (draw.chrom, draw.first - self.context_bins, self.bins + 2 * self.context_bins)
        window = Window(
            self.data.window_codes(draw.chrom, draw.first, self.bins),
            self.data.window_accessibility(*around),
            self._within(draw, self.data.window_labels(*counted), LEFT_OUT),
            self._within(draw, self.data.window_signal(*counted), np.nan),
            self._within(draw, self.data.window_score(*counted), np.nan),
            self.data.window_further(*around),
        )
        return window.reverse_complement() if draw.flipped else window

    def _within(self, draw: Draw, array: np.ndarray | None, outside: float) -> np.ndarray | None:
        """What was measured of a window's counted bins (bins, experiments), if they are in its region."""
        first, bins = draw.first + self.crop, draw.region.bins(self.data.bin)
        if array is None or (bins.start <= first and first + self.counted <= bins.stop):
            return array
        array = array.copy()
        array[: max(0, bins.start - first)] = outside
        array[max(0, bins.stop - first) :] = outside
        return array
