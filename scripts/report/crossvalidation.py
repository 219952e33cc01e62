"""The page of a cross-validation."""

from __future__ import annotations

from pathlib import Path

from scripts.report.evaluation import draw, scores_body
from scripts.report.html import Column, Place, digits, table, whole, write_page
from scripts.report.pages import OVERVIEW
from scripts.results.copies import FOLD_COLUMNS, copy_protocol, evaluations_of
from tfbind.config import Config
from tfbind.core.files import atomic_dir
from tfbind.evaluation.tables import read_metrics
from tfbind.evaluation.tsv import read_rows

_MEND = "run the cross-validation again"
"""What is pooled is written under the names that figures and pages know."""


def write_cross_validation_page(config: Config, logs: Path) -> None:
    """Write tables, figures and page of a run's cross-validation.

    Parameters
    ----------
    logs
        Folder of its logs, with the benchmarks of trainings.
    """
    root = config.results / "cross_validation"
    tables, figures = root / "report/tables", root / "report/figures"
    with atomic_dir(tables) as folder:
        copy_protocol(root, folder, config.name, logs)
        for name in ("folds", "experiments", "reliability", "fdr"):
            (folder / f"{config.name}.{name}.tsv").rename(folder / f"{name}.tsv")
        for name in ("summary", "groups"):
            (folder / f"{config.name}.{name}.tsv").unlink()
    rows = read_metrics(root / "metrics.tsv")
    evaluations = evaluations_of(root)
    with atomic_dir(figures) as folder:
        draw(folder, rows, evaluations, tables)
    place = Place(root, OVERVIEW)
    body = scores_body(place, rows, root / "summary.tsv", tables / "experiments.tsv", [], figures)
    write_page(
        place,
        f"Cross-validation: {config.name}",
        _folds(place, tables / "folds.tsv") + body,
        pages={OVERVIEW: "Cross-validation"},
    )


def _folds(place: Place, path: Path) -> str:
    columns = [
        Column("fold", "fold"),
        digits("train_mb", "trained on, Mb", 2),
        digits("validation_mb", "validated on, Mb", 2),
        digits("test_mb", "tested on, Mb", 2),
        whole("n_trained", "experiments trained on"),
        whole("n_tested", "experiments tested"),
        whole("train_seconds", "training takes, s"),
    ]
    rows = read_rows(path, FOLD_COLUMNS, mend=_MEND)
    return "<h2>Folds</h2>" + table(place, path, rows, columns, identifier="folds", filtered=False)
