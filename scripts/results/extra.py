"""Tables that are not of one protocol: learning curves, and what each step of the work on the model bought.

Any may be absent. They stand in docs/results as `learning.py` and `steps.py` made them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfbind.core.errors import InputError
from tfbind.evaluation.tsv import read_rows

LEARNING_COLUMNS = ("protocol", "what", "amount", "seed", "mean_auprc")
STEPS_COLUMNS = (
    *("base", "kind", "step", "description", "extends", "changes", "stayed", "n_experiments", "n_seeds"),
    *("mean_auprc", "sd_over_seeds", "low", "high", "gain", "gain_low", "gain_high"),
    *("gain_on_base", "gain_on_base_low", "gain_on_base_high", "seconds", "cpu_seconds", "weights"),
)
TEXTS = ("protocol", "what", "seed", *STEPS_COLUMNS[:7])
_MEND = "make the table again"


def read_learning(folder: Path) -> list[dict[str, Any]]:
    """Rows of learning.NAME.tsv: what is varied (`training Mb`, `factors`), its amount, a seed's mean AUPRC."""
    paths = sorted(folder.glob("learning.*.tsv"), reverse=True)
    return [row for path in paths for row in _read(path, LEARNING_COLUMNS)]


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """Rows of steps.tsv, each after what it extends: see `scripts/results/steps.py`."""
    return _read(folder / "steps.tsv", STEPS_COLUMNS, may_be_empty=STEPS_COLUMNS[10:])


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
