"""Where the pages of a run stand, and what they are made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tfbind.config import Config
from tfbind.tables import DataSet, factors_to_render, read_tables

OVERVIEW, EVALUATION, SPLIT = "report/index.html", "report/evaluation.html", "report/calibration.html"
FACTORS = "report/factors.html"


def page_of(factor: str) -> str:
    """Path of a factor's page, from the root."""
    return f"report/factors/{factor}.html"


@dataclass(frozen=True)
class Pages:
    """The pages of a run."""

    config: Config

    @property
    def root(self) -> Path:
        """Folder of the run's results, where Snakemake's report stands."""
        return self.config.results

    @property
    def tables(self) -> Path:
        """Folder of the tables that are made for pages."""
        return self.root / "report/tables"

    @property
    def is_tested(self) -> bool:
        """Whether anything is held out to be scored."""
        return bool(self.config.splits.test)

    @property
    def names(self) -> dict[str, str]:
        """Path -> name of the pages, in the order in which they are read."""
        tested = {EVALUATION: "How good it is", SPLIT: "Why to believe it"} if self.is_tested else {}
        return {OVERVIEW: "This run", **tested, FACTORS: "Factor by factor"}

    @property
    def histories(self) -> list[Path]:
        """Plots of the trainings' histories, without those of members that are no longer."""
        count = self.config.training.ensemble
        if count == 1:
            return [self.root / "training/history.svg"]
        return [self.root / f"members/{member}/training/history.svg" for member in range(count)]

    @cached_property
    def dataset(self) -> DataSet:
        """The tables of the run."""
        return read_tables(self.config)

    @property
    def factors(self) -> list[str]:
        """Factors that tracks are made of."""
        return factors_to_render(self.config, self.dataset)

    @property
    def cell_types(self) -> list[str]:
        """Cell types that tracks are made of."""
        return self.config.prediction.cell_types or [row.cell_type for row in self.dataset.cell_types]
