"""The training history: a table of losses and validation scores."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfbind.core.files import atomic_path

HISTORY_COLUMNS = ("step", "loss", "learning_rate", "validation_auprc")


def write_history(path: str | Path, rows: Sequence[Mapping[str, float | None]]) -> None:
    """Training history as TSV; an empty field where validation was not run."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t", lineterminator="\n")
        writer.writerow(HISTORY_COLUMNS)
        for row in rows:
            cells = [row[column] for column in HISTORY_COLUMNS]
            writer.writerow(["" if c is None else f"{c:.6g}" if isinstance(c, float) else c for c in cells])
