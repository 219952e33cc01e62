"""Learning curves: cross-validations that differ in how much they learn from alone, as a table each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.results.copies import splits_of
from scripts.results.extra import LEARNING_COLUMNS
from tfbind.core.errors import InputError
from tfbind.evaluation.loci import DREAM_BINS
from tfbind.evaluation.tables import MODEL, is_judgeable, read_metrics, write_table
from tfbind.training.splits import Split


@dataclass(frozen=True)
class Curve:
    """Runs that are tested alike, from those that learn from little to the one that learns from all there is.

    Attributes
    ----------
    what
        What they learn more or less of: `training Mb` or `factors`.
    """

    protocol: str
    what: str
    runs: tuple[str, ...]


CURVES = {
    "sequence": Curve("H1", "training Mb", ("human-h1-12mb", "human-h1-23mb", "human-h1")),
    "factors": Curve("H3", "factors", ("human-h3-12f", "human-h3-24f", "human-h3-shorter")),
}


def write_learning(curve: Curve, results: Path, output: Path) -> None:
    """A row a seed of each run: how much it learnt from, mean over folds, and its mean AUPRC on 200-bp bins.

    Parameters
    ----------
    results
        Folder of all runs.

    Raises
    ------
    InputError
        What is missing, or a run that is tested otherwise than the first.
    """
    rows, first = [], None
    for name in curve.runs:
        run = results / name / "cross_validation"
        splits = {path.parent.name: Split.read(path) for path in splits_of(run)}
        tested = {fold: (split.test, split.tested) for fold, split in splits.items()}
        first = first or tested
        if tested != first:
            raise InputError(
                f"is tested otherwise than {results / curve.runs[0]}",
                file=run,
                mend="run both again, with the same regions, folds and seed",
            )
        amount = np.mean([_amount(split, curve.what) for split in splits.values()])
        by_seed: dict[str, list[float]] = {}
        for row in read_metrics(run / "metrics.tsv"):
            if row["bins"] == DREAM_BINS and row["predictor"] == MODEL and is_judgeable(row):
                by_seed.setdefault(row["seed"], []).append(row["auprc"])
        for seed, scores in sorted(by_seed.items()):
            values = (curve.protocol, curve.what, f"{amount:.1f}", seed, f"{np.mean(scores):.6g}")
            rows.append(dict(zip(LEARNING_COLUMNS, values, strict=True)))
    write_table(output, LEARNING_COLUMNS, rows)


def was_run(curve: Curve, results: Path) -> bool:
    """Whether all cross-validations of a curve are there."""
    return all((results / name / "cross_validation/metrics.tsv").is_file() for name in curve.runs)


def _amount(split: Split, what: str) -> float:
    if what == "factors":
        return len(split.trained_factors)
    return sum(region.end - region.start for region in split.train) / 1e6
