"""What a run has to show: its genome, and by factor and cell type the prediction, the calls and the score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tfbind.config import Config
from tfbind.core.errors import InputError
from tfbind.evaluation.loci import DREAM_BINS
from tfbind.evaluation.tables import MODEL, read_metrics
from tfbind.genome.reference import Reference
from tfbind.prediction.peaks import read_peaks
from tfbind.tables import DataSet
from tfbind.training.splits import Split
from tfbind.training.targets import Targets


@dataclass(frozen=True)
class Experiment:
    """What was measured, and how well it is predicted.

    Attributes
    ----------
    name
        Of the table of experiments; it is fit for a file's name.
    calls
        How many, on the chromosomes of the reference.
    auprc
        Of the prediction, on the bins of the test; None where it was not scored.
    kind
        Whether factor and cell type were seen in training; None where it was not scored.
    """

    name: str
    factor: str
    cell_type: str
    calls: int
    auprc: float | None
    kind: str | None


@dataclass(frozen=True)
class Run:
    """The results of a run, as the workflow lays them.

    Attributes
    ----------
    tracks
        Folder with the tracks of each cell type; of a cell type that has none, nothing is rendered.
    accessibility
        Folder with `CELL_TYPE.bw`.
    evaluation
        Folder that `tfbind evaluate` made; None where nothing is held out.
    genes
        GTF, or BED with strands; None where none is given.
    """

    config: Config
    tables: DataSet
    reference: Reference
    targets: Targets
    split: Split
    tracks: Path
    accessibility: Path
    evaluation: Path | None = None
    genes: Path | None = None

    @property
    def factors(self) -> list[str]:
        """All factors of the table."""
        return [row.factor for row in self.tables.factors]

    @property
    def cell_types(self) -> dict[str, str]:
        """All cell types of the table, and what is said of them."""
        return {row.cell_type: row.description for row in self.tables.cell_types}

    @cached_property
    def rendered(self) -> dict[str, set[str]]:
        """The factors with a track, by cell type."""
        factors = set(self.factors)
        return {
            name: {path.stem for path in (self.tracks / name).glob("*.bw")} & factors for name in self.cell_types
        }

    def track(self, factor: str, cell_type: str) -> Path:
        """Where a prediction lies, if it is rendered."""
        return self.tracks / cell_type / f"{factor}.bw"

    def open_chromatin(self, cell_type: str) -> Path | None:
        """The accessibility track of a cell type."""
        (row,) = (row for row in self.tables.cell_types if row.cell_type == cell_type)
        path = self.accessibility / f"{cell_type}.bw"
        if row.accessibility is None:
            return None
        if not path.is_file():
            raise InputError("is not there", file=path, mend="run `tfbind accessibility` first")
        return path

    @cached_property
    def experiments(self) -> list[Experiment]:
        """What was measured, in the order of the targets."""
        scores = self._scores()
        return [
            Experiment(
                each["name"],
                each["factor"],
                each["cell_type"],
                each["calls"],
                *scores.get(each["name"], (None, None)),
            )
            for each in self.targets.experiments
        ]

    def _scores(self) -> dict[str, tuple[float, str]]:
        """AUPRC of the model, and what of it was seen, by experiment."""
        if self.evaluation is None:
            return {}
        rows = read_metrics(self.evaluation / "metrics.tsv")
        return {
            row["experiment"]: (row["auprc"], row["kind"])
            for row in rows
            if row["predictor"] == MODEL and row["bins"] == DREAM_BINS and not np.isnan(row["auprc"])
        }

    def measured(self, name: str) -> list[tuple[str, int, int]]:
        """The calls of an experiment: chromosome, start and end, 0-based half-open, bp."""
        column = [each.name for each in self.experiments].index(name)
        found = []
        for chrom, peaks in self.targets.peaks.items():
            first, last = np.searchsorted(peaks[:, 0], [column, column + 1])
            found += [(chrom, start, end) for start, end in peaks[first:last, 1:].tolist()]
        return found

    def predicted(self, factor: str, cell_type: str) -> list[tuple[str, int, int, str, int]]:
        """The predicted calls: chromosome, start and end (0-based half-open, bp), name, and score up to 1000."""
        path = self.track(factor, cell_type).with_suffix(".narrowPeak")
        return [peak[:5] for peak in read_peaks(path)]
