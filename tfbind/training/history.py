"""The training history: a table of losses and validation scores."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfbind.core.files import atomic_path

HISTORY_COLUMNS = ("step", "loss", "learning_rate", "validation_auprc")
"""In every history; where several losses count, each follows as `loss_NAME`, without its weight."""


def write_history(path: str | Path, rows: Sequence[Mapping[str, float | None]]) -> None:
    """Training history as TSV; an empty field where validation was not run."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t", lineterminator="\n")
        columns = list(dict.fromkeys([*HISTORY_COLUMNS, *(rows[0] if rows else ())]))
        writer.writerow(columns)
        for row in rows:
            cells = [row[column] for column in columns]
            writer.writerow(["" if c is None else f"{c:.6g}" if isinstance(c, float) else c for c in cells])
