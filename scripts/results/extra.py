"""Two tables that are not of one protocol: learning curves, and what each step of the work on the model bought.

Either may be absent. Both are made by other rules, and stand in docs/results as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfbind.core.errors import InputError
from tfbind.evaluation.tsv import read_rows

LEARNING_COLUMNS = ("protocol", "what", "amount", "seed", "mean_auprc")
STEPS_COLUMNS = ("step", "protocol", "mean_auprc", "low", "high", "seconds")
TEXTS = ("protocol", "what", "seed", "step")
_MEND = "make the table again"


def read_learning(folder: Path) -> list[dict[str, Any]]:
    """Rows of learning.tsv: what is varied (`training Mb`, `factors`), its amount, a training's mean AUPRC."""
    return _read(folder / "learning.tsv", LEARNING_COLUMNS)


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """Rows of steps.tsv, in the order of the work: mean AUPRC with its interval, and seconds of training."""
    return _read(folder / "steps.tsv", STEPS_COLUMNS, may_be_empty=("low", "high", "seconds"))


def _read(path: Path, columns: Sequence[str], may_be_empty: Sequence[str] = ()) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    rows = []
    for number, text in read_rows(path, columns, mend=_MEND):
        row: dict[str, Any] = {}
        for column in columns:
            if column in TEXTS:
                row[column] = text[column]
                continue
            try:
                row[column] = math.nan if not text[column] and column in may_be_empty else float(text[column])
            except ValueError:
                raise InputError(
                    f"'{text[column]}' is no number", file=path, row=number, column=column, mend=_MEND
                ) from None
        rows.append(row)
    return rows
