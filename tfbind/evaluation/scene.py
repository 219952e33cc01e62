"""What a test is about: where it is scored, what was measured there, and what may be known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfbind.evaluation.loci import Loci, loci_of
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region
from tfbind.model.data import GenomeData
from tfbind.training.splits import Split
from tfbind.training.targets import Targets


@dataclass(frozen=True)
class Scene:
    """A test.

    Attributes
    ----------
    split
        Regions and experiments of training and test.
    targets
        What was measured; an experiment is known by its column there.
    reference, data
        The genome, and accessibility of `cell_types`.
    factor_set
        Proteins and motifs.
    cell_types
        Columns of `data`.
    """

    split: Split
    targets: Targets
    reference: Reference
    data: GenomeData
    factor_set: FactorSet
    cell_types: Sequence[str]

    @cached_property
    def loci(self) -> dict[str, Loci]:
        """The bins to score on, by kind."""
        return loci_of(self.targets, self.reference, self.regions, self.data.bin)

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where the test is."""
        return tuple(self.split.test)

    @property
    def experiments(self) -> list[dict[str, Any]]:
        """All that were measured, by column."""
        return self.targets.experiments

    @cached_property
    def tested(self) -> list[int]:
        """Columns of the experiments that are scored."""
        chosen = set(self.split.tested)
        return [column for column, each in enumerate(self.experiments) if each["name"] in chosen]

    @cached_property
    def trained(self) -> list[int]:
        """Columns of the experiments that were trained on."""
        chosen = set(self.split.experiments)
        return [column for column, each in enumerate(self.experiments) if each["name"] in chosen]

    def cell(self, column: int) -> int:
        """Column of an experiment's cell type in `data`."""
        return list(self.cell_types).index(self.experiments[column]["cell_type"])

    def spans(self, columns: Sequence[int]) -> dict[str, np.ndarray]:
        """The peaks of experiments together on the chromosomes of the test, int64 (n, 2) each."""
        chromosomes = {region.chrom for region in self.regions}
        found = {chrom: np.asarray(self.targets.peaks[chrom]) for chrom in chromosomes}
        return {chrom: peaks[np.isin(peaks[:, 0], columns), 1:] for chrom, peaks in found.items()}

    def of_regions(self, arrays: Mapping[str, np.ndarray], column: int) -> np.ndarray:
        """A column of arrays over the model's bins of each chromosome, in the test's regions."""
        parts = [
            arrays[region.chrom][region.start // self.data.bin : -(-region.end // self.data.bin), column]
            for region in self.regions
        ]
        return np.concatenate(parts)

    def training_peaks(self, factor: str) -> int:
        """How many peaks of a factor training saw: those with their middle in a training region."""
        columns = [column for column in self.trained if self.experiments[column]["factor"] == factor]
        total = 0
        for region in self.split.train:
            peaks = np.asarray(self.targets.peaks[region.chrom])
            middle = peaks[np.isin(peaks[:, 0], columns), 1:].sum(1) // 2
            total += int(((middle >= region.start) & (middle < region.end)).sum())
        return total
