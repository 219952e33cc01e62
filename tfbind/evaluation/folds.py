"""Which folds a cross-validation has."""

from __future__ import annotations

from tfbind.config import Config
from tfbind.tables import DataSet, trained_cell_types
from tfbind.training.splits import FOLDS

WHOLE = "all"
"""The one fold of a configuration that has none."""


def fold_names(config: Config, dataset: DataSet) -> list[str]:
    """Numbers of the folds, as text, as `tfbind split --fold` counts them."""
    folds = config.splits.folds
    if folds is None:
        return [WHOLE]
    count = folds.count
    if count is None:
        count = len(trained_cell_types(config, dataset)) if folds.over == "cell_types" else FOLDS
    return [str(number) for number in range(count)]
