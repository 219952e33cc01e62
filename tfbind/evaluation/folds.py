"""Which folds a cross-validation has."""

from __future__ import annotations

from tfbind.config import Config
from tfbind.tables import DataSet, names_of_cell_types
from tfbind.training.splits import FOLDS, cell_types_in_folds

WHOLE = "all"
"""The one fold of a configuration that has none."""


def fold_names(config: Config, dataset: DataSet) -> list[str]:
    """Numbers of the folds, as text, as `tfbind split --fold` counts them."""
    folds = config.splits.folds
    if folds is None:
        return [WHOLE]
    count = folds.count
    if count is None:
        measured = {row.cell_type for row in dataset.experiments}
        names = names_of_cell_types(dataset.cell_types)
        of_cell_types = folds.over == "cell_types"
        count = len(cell_types_in_folds(config.splits, measured, names)) if of_cell_types else FOLDS
    return [str(number) for number in range(count)]
