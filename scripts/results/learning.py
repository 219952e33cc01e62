"""The learning curve: cross-validations that differ in how much sequence they learn from, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts.results.extra import LEARNING_COLUMNS
from tfbind.evaluation.loci import DREAM_BINS
from tfbind.evaluation.tables import MODEL, is_judgeable, read_metrics, write_table
from tfbind.training.splits import Split

# Of one test, from little sequence to all there is.
RUNS = ("human-h1-12mb", "human-h1-23mb", "human-h1")


def write_learning(runs: Sequence[Path], output: Path) -> None:
    """A row a training: Mb of sequence that it learnt from, and its mean AUPRC on 200-bp bins.

    Parameters
    ----------
    runs
        Folders results/NAME/cross_validation of runs with one fold, `all`.
    """
    rows = []
    for run in runs:
        split = Split.read(run / "all" / "split.json")
        length = sum(region.end - region.start for region in split.train) / 1e6
        by_seed: dict[str, list[float]] = {}
        for row in read_metrics(run / "metrics.tsv"):
            if row["bins"] == DREAM_BINS and row["predictor"] == MODEL and is_judgeable(row):
                by_seed.setdefault(row["seed"], []).append(row["auprc"])
        for seed, scores in sorted(by_seed.items()):
            values = ("H1", "training Mb", f"{length:.1f}", seed, f"{np.mean(scores):.6g}")
            rows.append(dict(zip(LEARNING_COLUMNS, values, strict=True)))
    write_table(output, LEARNING_COLUMNS, rows)
