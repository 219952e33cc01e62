"""What a run came to, in a few lines: how good the tracks are, and which files to open."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfbind.evaluation.crossvalidation import TOGETHER
from tfbind.evaluation.loci import DREAM_BINS
from tfbind.evaluation.tables import KINDS, MODEL, read_metrics, summarise
from tfbind.evaluation.tsv import read_rows

# Other views of the model itself are nothing to be compared with.
_OWN = ("protein shuffled",)
_COLUMNS = ("kind", "predictor", "n_experiments", "mean_auprc", "mean_prevalence")
_OPEN = {
    "report.html": "all of it: what was made, how good it is, and why to believe it",
    "browser/index.html": "the tracks on the genome: tfbind browse {run}",
    "evaluation/evaluation.svg": "how good the tracks are, beside simpler predictions",
    "evaluation/metrics.tsv": "the same, experiment by experiment",
    "cross_validation/summary.tsv": "means over folds and seeds, with intervals",
    "cross_validation/metrics.tsv": "the same, experiment by experiment",
    "training/history.svg": "loss and validation score in training",
    "homology.tsv": "how much of the test's sequence stands in the training regions, too",
    "tracks": "FACTOR.bw and FACTOR.narrowPeak of each cell type",
}

Row = Mapping[str, Any]


def overview(run: Path) -> str:
    """What is in the folder of a run's results, as text: tables of scores, and paths to open.

    Raises
    ------
    InputError
        A table of scores is damaged.
    """
    parts = []
    metrics, folds = run / "evaluation/metrics.tsv", run / "cross_validation/summary.tsv"
    if metrics.is_file():
        lines = [line for line in summarise(read_metrics(metrics)) if line["bins"] == DREAM_BINS]
        parts.append(table_of_scores(lines, "Held-out test"))
    if folds.is_file():
        parts.append(table_of_scores(_read_folds(folds), "Cross-validation"))
    there = {path: what.format(run=run) for path, what in _OPEN.items() if (run / path).exists()}
    if there:
        rows = [(f"  {run}/{path}", what) for path, what in there.items()]
        parts.append("\n".join(["Open:", *aligned(rows)]))
    return "\n\n".join(part for part in parts if part)


def table_of_scores(lines: Sequence[Row], title: str) -> str:
    """A line for each kind of experiments: the model beside the best other predictor; nothing without scores.

    Parameters
    ----------
    lines
        Of a summary of 200-bp bins, with `_COLUMNS`; n_experiments, mean_auprc and mean_prevalence are numbers.
    """
    rows = [("  experiments", "n", "bound bins", MODEL, "proteins shuffled", "best other", "")]
    for kind in KINDS:
        of_kind = {line["predictor"]: line for line in lines if line["kind"] == kind}
        model = of_kind.pop(MODEL, None)
        if model is None:
            continue
        own = {name: of_kind.pop(name) for name in list(of_kind) if name in _OWN or name.startswith(MODEL)}
        best = max(of_kind.values(), key=lambda line: line["mean_auprc"], default=None)
        rows.append(
            (
                f"  {kind}",
                f"{model['n_experiments']:.0f}",
                f"{100 * model['mean_prevalence']:.2g} %",
                _score(model),
                _score(own.get(_OWN[0])),
                _score(best),
                "" if best is None else best["predictor"],
            )
        )
    if len(rows) == 1:
        return ""
    return "\n".join([f"{title}: mean AUPRC on bins of 200 bp", *aligned(rows, right=(1, 2, 3, 4, 5))])


def aligned(rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines whose columns stand below each other; those of `right` end below each other."""
    rows = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _score(line: Row | None) -> str:
    return "-" if line is None or math.isnan(line["mean_auprc"]) else f"{line['mean_auprc']:.3f}"


def _read_folds(path: Path) -> list[dict[str, Any]]:
    """The lines of all folds together, on bins of 200 bp."""
    mend = "lay the folds together again with `tfbind gather-folds`"
    rows = [row for _, row in read_rows(path, ("bins", "fold", *_COLUMNS), mend=mend)]
    numbers = _COLUMNS[2:]
    return [
        {**row, **{column: float(row[column] or "nan") for column in numbers}}
        for row in rows
        if (row["bins"], row["fold"]) == (DREAM_BINS, TOGETHER)
    ]
