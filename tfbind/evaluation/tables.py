"""Tables of scores: one row an experiment, predictor and kind of bins, and their summary for people.

A row is a dict with the keys `COLUMNS`. The model is the predictor named `MODEL`; the others are what it is
compared with, under free names.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path
from tfbind.core.metrics import Ranking, calibration_error_of, reliability_of_points
from tfbind.evaluation.loci import DREAM_BINS, MODEL_BINS
from tfbind.evaluation.tsv import read_rows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MODEL = "tfbind"
# The model itself, told nothing of the factor's protein: no rival, but a question to it.
SHUFFLED = "protein shuffled"
# The model, told what was measured at the tested bins, too: no rival either.
KNOWN = f"{MODEL}, known binding"
KINDS = ("seen", "unseen factor", "unseen cell type", "unseen factor and cell type")

_NAMES = ("experiment", "factor", "cell_type", "kind", "predictor", "bins", "fold", "seed")
_COUNTS = ("n_train_peaks", "n_bins", "n_bound")
_METRICS = ("prevalence", "auprc", "auroc", "recall_at_10_fdr", "recall_at_50_fdr", "ece")
_OPTIONAL = ("identity", "auprc_low", "auprc_high")
COLUMNS = (*_NAMES, "sees", *_COUNTS, *_METRICS, *_OPTIONAL)
"""`fold` is `all` where there are none, `identity` that to the nearest training factor; `auprc_low` and
`auprc_high` end the 95 % interval of a bootstrap over blocks of the genome."""
BREAKDOWN_COLUMNS = ("breakdown", "part", "n_bins", "n_bound", "prevalence", "auprc", "auroc")
# What a row is known by.
KEY = ("experiment", "predictor", "bins", "fold", "seed")

_SUMMARY_COLUMNS = (
    "bins",
    "kind",
    "predictor",
    "n_experiments",
    "mean_prevalence",
    "mean_auprc",
    "median_auprc",
    "mean_auroc",
    "mean_recall_at_10_fdr",
    "mean_recall_at_50_fdr",
    "mean_ece",
    "ratio",
)

Row = Mapping[str, Any]


def score_experiment(
    labels: ArrayLike, keep: ArrayLike, scores: ArrayLike, probabilities: ArrayLike | None = None
) -> dict[str, int | float]:
    """Score one predictor on one experiment.

    Parameters
    ----------
    labels
        (n,) bool: bound. What it says where `keep` is False does not matter.
    keep
        (n,) bool: the bins to score on; False for ambiguous, blacklisted and N bins, and other chromosomes.
    scores
        (n,) numbers, higher is more likely bound. NaN is allowed only where `keep` is False.
    probabilities
        (n,) in [0, 1], for predictors that give any; without them the calibration error is nan.

    Returns
    -------
    dict
        n_bins, n_bound (of the kept bins), prevalence, auprc, auroc, recall_at_10_fdr, recall_at_50_fdr, ece.
        Metrics are nan where all kept bins are bound, or none.

    Raises
    ------
    ValueError
        As `tfbind.core.metrics.average_precision`, and a `keep` that is not (n,) bool.
    """
    labels, keep, scores = np.asarray(labels), np.asarray(keep), np.asarray(scores)
    if keep.dtype != np.bool_ or keep.ndim != 1:
        raise ValueError(f"keep must be (n,) bool, not {keep.shape} {keep.dtype}")
    given = {"labels": labels, "scores": scores}
    if probabilities is not None:
        given["probabilities"] = np.asarray(probabilities)
    for name, values in given.items():
        if values.shape != keep.shape:
            raise ValueError(f"{name} must be as long as keep, not {values.shape} beside {keep.shape}")
    kept = labels[keep]
    scored = score_ranking(Ranking(kept, scores[keep]))
    if probabilities is not None and 0 < scored["n_bound"] < kept.size:
        scored["ece"] = _calibration_error(Ranking(kept, given["probabilities"][keep]))
    return scored


def score_ranking(ranking: Ranking, *, probabilities: bool = False) -> dict[str, int | float]:
    """As `score_experiment`, of bins that are ranked already; `probabilities`: whether their scores are."""
    points, size = ranking.points(), ranking.labels.size
    ece = math.nan
    if probabilities and points.judgeable:
        ece = _calibration_error(ranking)
    return {
        "n_bins": size,
        "n_bound": points.n_bound,
        "prevalence": points.n_bound / size if size else math.nan,
        "auprc": points.average_precision(),
        "auroc": points.auroc(),
        "recall_at_10_fdr": points.recall_at_fdr(0.1),
        "recall_at_50_fdr": points.recall_at_fdr(0.5),
        "ece": ece,
    }


def _calibration_error(ranking: Ranking) -> float:
    return calibration_error_of(reliability_of_points(ranking.points()))


def is_judgeable(row: Row) -> bool:
    """Whether the row's experiment has both bound and unbound bins, so that its metrics mean something."""
    return 0 < row["n_bound"] < row["n_bins"]


def write_metrics(path: str | Path, rows: Iterable[Row]) -> None:
    """Write rows as TSV, sorted by what they are known by; 6 significant digits, nan as an empty field.

    Raises
    ------
    ValueError
        Rows that `read_metrics` would refuse.
    """
    rows = in_order(rows)
    problem = _problem_of(rows)
    if problem:
        index, column, text = problem
        raise ValueError(f"row {index} of the metrics, column '{column}': {text}")
    write_table(path, COLUMNS, rows)


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows by what they are known by."""
    return sorted(rows, key=lambda row: tuple(str(row.get(column)) for column in KEY))


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read what `write_metrics` wrote; empty metrics are nan.

    Raises
    ------
    InputError
        Naming file, row and column: a missing file, column or field, what is no number or out of range, an
        unknown kind, an experiment and predictor given twice, predictors of one experiment scored on
        different bins.
    """
    mend = "write the table again with 'tfbind evaluate'"
    rows = []
    for number, text in read_rows(path, COLUMNS, mend=mend):
        row: dict[str, Any] = {column: text[column] for column in (*_NAMES, "sees")}
        for column in (*_COUNTS, *_METRICS, *_OPTIONAL):
            try:
                row[column] = int(text[column]) if column in _COUNTS else float(text[column] or "nan")
            except ValueError:
                raise InputError(
                    f"'{text[column]}' is no number", file=path, row=number, column=column, mend=mend
                ) from None
        rows.append(row)
    problem = _problem_of(rows)
    if problem:
        index, column, explanation = problem
        raise InputError(explanation, file=path, row=index + 2, column=column, mend=mend)
    return rows


def summarise(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Means per kind of bins, kind of experiment and predictor, over the experiments that can be judged.

    Returns
    -------
    list of dict
        bins, kind, predictor, n_experiments, mean_prevalence, mean_auprc, median_auprc, mean_auroc,
        mean_recall_at_10_fdr, mean_recall_at_50_fdr, mean_ece (nan without probabilities) and ratio: the
        model's mean AUPRC over the predictor's, both over the experiments that both have scores for (nan
        where there are none). In the order of `KINDS`, the model first, then by falling mean AUPRC. Kinds
        without an experiment to judge are absent.
    """
    judged = [row for row in rows if is_judgeable(row)]
    summary = []
    for bins in (DREAM_BINS, MODEL_BINS):
        for kind in KINDS:
            of_predictor: dict[str, list[Row]] = {}
            for row in judged:
                if (row["bins"], row["kind"]) == (bins, kind):
                    of_predictor.setdefault(row["predictor"], []).append(row)
            of_model = {row["experiment"]: row["auprc"] for row in of_predictor.get(MODEL, [])}
            lines = [_summary_line(bins, kind, name, group, of_model) for name, group in of_predictor.items()]
            summary += sorted(
                lines, key=lambda line: (line["predictor"] != MODEL, -line["mean_auprc"], line["predictor"])
            )
    return summary


def write_summary(path: str | Path, rows: Iterable[Row]) -> None:
    """Write the summary of metric rows (see `summarise`) as TSV, in the manner of `write_metrics`."""
    write_table(path, _SUMMARY_COLUMNS, summarise(rows))


def write_reliability(path: str | Path, rows: Iterable[Row]) -> None:
    """Write the curves of predicted against observed frequencies, a row a group of bins, as TSV."""
    write_table(path, (*KEY, "group", "predicted", "observed", "count"), in_order(rows))


def write_breakdown(path: str | Path, rows: Iterable[Row]) -> None:
    """Write the scores of parts of experiments as TSV."""
    write_table(path, (*_NAMES, *BREAKDOWN_COLUMNS), in_order(rows))


def left_out_sentence(rows: Iterable[Row]) -> str:
    """A sentence on the experiments that could not be judged, for tables and captions."""
    judgeable: dict[str, bool] = {}
    bound: dict[str, bool] = {}
    for row in rows:
        judgeable[row["experiment"]] = is_judgeable(row)
        bound[row["experiment"]] = row["n_bound"] > 0
    total = len(judgeable)
    n_unbound = sum(not value for value in bound.values())
    n_saturated = total - sum(judgeable.values()) - n_unbound
    experiments = "experiment" if total == 1 else "experiments"
    if n_unbound + n_saturated == 0:
        return f"All {total} {experiments} had bound bins in the test chromosomes; none was left out."
    were = "was" if n_unbound == 1 else "were"
    sentence = (
        f"{n_unbound} of {total} {experiments} had no bound bins in the test chromosomes and {were} left out."
    )
    if n_saturated:
        sentence += (
            f" {n_saturated} had no unbound bins and {'was' if n_saturated == 1 else 'were'} left out too."
        )
    return sentence


def print_summary(rows: Iterable[Row], console: Console | None = None) -> None:
    """Print the summary of metric rows, of the DREAM challenge's bins: a table for each kind of experiment,
    a line for each predictor, the model first.

    Parameters
    ----------
    rows
        Metric rows, as of `read_metrics`.
    console
        Where to print; the terminal's standard output if None.
    """
    from rich.console import Console

    console = console or Console()
    rows = [row for row in rows if row["bins"] == DREAM_BINS]
    summary = summarise(rows)
    for kind in KINDS:
        lines = [line for line in summary if line["kind"] == kind]
        if lines:
            console.print(_rich_table(kind, lines))
            console.print()
    console.print(left_out_sentence(rows), highlight=False)


def _summary_line(
    bins: str, kind: str, predictor: str, rows: Sequence[Row], of_model: Mapping[str, float]
) -> dict[str, Any]:
    shared = [row for row in rows if row["experiment"] in of_model]
    ratio = math.nan
    if shared:
        ratio = _mean([of_model[row["experiment"]] for row in shared]) / _mean([row["auprc"] for row in shared])
    return {
        "bins": bins,
        "kind": kind,
        "predictor": predictor,
        "n_experiments": len(rows),
        "median_auprc": statistics.median(row["auprc"] for row in rows),
        **{
            f"mean_{column}": _mean([row[column] for row in rows if not _absent(row, column)])
            for column in _METRICS
        },
        "ratio": ratio,
    }


def _rich_table(kind: str, lines: Sequence[Row]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    n = max(line["n_experiments"] for line in lines)
    prevalence = next(line["mean_prevalence"] for line in lines if line["n_experiments"] == n)
    table = Table(
        title=f"{kind}: {n} experiment{'s' * (n != 1)}, mean prevalence {prevalence:.3g} of 200-bp bins",
        caption=f"ratio: mean AUPRC of {MODEL} over the predictor's, on the same experiments",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    # The numbers keep their widths; on a narrow terminal it is the names that wrap.
    table.add_column("\npredictor")
    headers = (
        "\nn",
        "AUPRC\nmean",
        "AUPRC\nmedian",
        "AUROC\nmean",
        "recall\n10% FDR",
        "recall\n50% FDR",
        "cal.\nerror",
        "\nratio",
    )
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            Text(line["predictor"]),  # as it is: brackets are no markup
            str(line["n_experiments"]),
            *(
                _shown(line[column], 3)
                for column in (
                    "mean_auprc",
                    "median_auprc",
                    "mean_auroc",
                    "mean_recall_at_10_fdr",
                    "mean_recall_at_50_fdr",
                    "mean_ece",
                )
            ),
            "" if line["predictor"] == MODEL else _shown(line["ratio"], 2),
            style="bold" if line["predictor"] == MODEL else None,
        )
    return table


def _problem_of(rows: Sequence[Row]) -> tuple[int, str, str] | None:
    """The first thing wrong in metric rows: index of the row, column, what; None if all is right."""
    seen: set[tuple[str, ...]] = set()
    first: dict[tuple[str, ...], Row] = {}
    for index, row in enumerate(rows):
        problem = _problem_of_row(row)
        if problem:
            return (index, *problem)
        key = tuple(row[column] for column in KEY)
        if key in seen:
            return index, "predictor", f"'{row['predictor']}' is given twice for experiment '{row['experiment']}'"
        seen.add(key)
        other = first.setdefault((row["experiment"], row["bins"], row["fold"]), row)
        for column in ("factor", "cell_type", "kind", *_COUNTS):
            if row[column] != other[column]:
                return (
                    index,
                    column,
                    f"'{row[column]}' for predictor '{row['predictor']}', but '{other[column]}' for "
                    f"'{other['predictor']}' of the same experiment: all need the same bins",
                )
    return None


def _problem_of_row(row: Row) -> tuple[str, str] | None:
    for column in (*_NAMES, *_COUNTS):
        if row.get(column) in (None, ""):
            return column, "it is empty"
    for column in _NAMES:
        name = str(row[column])
        if "\t" in name or name.splitlines() != [name]:
            return column, f"{name!r} holds a tab or line break"
    if row["kind"] not in KINDS:
        return "kind", f"'{row['kind']}' is none of {', '.join(KINDS)}"
    if row["bins"] not in (DREAM_BINS, MODEL_BINS):
        return "bins", f"'{row['bins']}' is none of {DREAM_BINS}, {MODEL_BINS}"
    for column in ("n_bins", "n_train_peaks"):
        if row[column] < 0:
            return column, f"{row[column]} is negative"
    if not 0 <= row["n_bound"] <= row["n_bins"]:
        return "n_bound", f"{row['n_bound']} does not lie between 0 and n_bins"
    for column in _METRICS:
        if _absent(row, column):
            if is_judgeable(row) and column != "ece":
                return column, "it is empty although the experiment has bound and unbound bins"
        elif not 0 <= row[column] <= 1:
            return column, f"{row[column]} does not lie between 0 and 1"
    return None


def _absent(row: Row, column: str) -> bool:
    value = row.get(column)
    return value is None or math.isnan(value)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _shown(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write columns of rows as TSV; 6 significant digits, nan as an empty field."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write("\t".join(columns) + "\n")
        for row in rows:
            handle.write("\t".join(_field(row.get(column)) for column in columns) + "\n")


def _field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):  # numpy's float64 too
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
