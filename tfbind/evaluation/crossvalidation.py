"""The evaluations of folds and seeds, laid together: one table of all scores, and what they come to."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.metrics import percentile_interval
from tfbind.core.progress import told
from tfbind.evaluation.breakdown import groups_of
from tfbind.evaluation.loci import DREAM_BINS, MODEL_BINS
from tfbind.evaluation.tables import (
    KEY,
    KINDS,
    MODEL,
    is_judgeable,
    read_metrics,
    write_breakdown,
    write_metrics,
    write_table,
)
from tfbind.evaluation.tsv import read_rows

TOGETHER = "together"
METRICS = ("auroc", "recall_at_10_fdr", "recall_at_50_fdr", "ece", "prevalence")
SUMMARY_COLUMNS = (
    *("bins", "fold", "kind", "predictor", "sees", "n_experiments", "n_factors", "n_seeds"),
    *("mean_auprc", "auprc_low", "auprc_high", "sd_over_seeds", "median_auprc", "sd_over_factors"),
    *("quartile_1", "quartile_3", *(f"mean_{name}" for name in METRICS), "ratio", "ratio_low", "ratio_high"),
)
GROUP_COLUMNS = (
    *("bins", "kind", "predictor", "breakdown", "part", "n_experiments", "mean_prevalence"),
    *("mean_auprc", "median_auprc"),
)
_MEND = "write the evaluation again with `tfbind evaluate`"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Unit:
    """What a predictor scores of an experiment in a fold: the mean over seeds, and each seed's.

    Attributes
    ----------
    row
        Of the first seed, with metrics that are means over seeds.
    by_seed
        AUPRC by seed.
    replicates
        (replicates,): mean over seeds.
    """

    row: Row
    by_seed: Mapping[str, float]
    replicates: np.ndarray


def gather_folds(folders: Sequence[Path], output: Path) -> list[dict[str, Any]]:
    """Lay evaluations together: `metrics.tsv`, `breakdown.tsv`, `summary.tsv` and `groups.tsv` in a folder.

    Parameters
    ----------
    folders
        That `tfbind evaluate` made, each of another fold or seed.

    Returns
    -------
    Rows of the summary.

    Raises
    ------
    InputError
        As `read_evaluations`.
    """
    found = read_evaluations(folders)
    summary = summarise_folds(found.rows, found.replicates)
    write_metrics(output / "metrics.tsv", found.rows)
    write_breakdown(output / "breakdown.tsv", found.parts)
    write_table(output / "summary.tsv", SUMMARY_COLUMNS, summary)
    write_table(output / "groups.tsv", GROUP_COLUMNS, summarise_groups(found.rows, found.parts))
    return summary


@dataclass(frozen=True)
class Evaluations:
    """What stands in several evaluations.

    Attributes
    ----------
    rows
        Of metrics, in which the model of several seeds has a name of its own, where there are single ones, too.
    replicates
        (resamples,) of each row.
    parts
        Rows of parts of the bins.
    """

    rows: list[Row]
    replicates: list[np.ndarray]
    parts: list[Row]


def read_evaluations(folders: Sequence[Path]) -> Evaluations:
    """Read evaluations of other folds or seeds of the same tests.

    Raises
    ------
    InputError
        What is missing in a folder, or no table; a fold and seed that stand in two; evaluations of the same fold
        and experiment on other bins, or of other numbers of resamples.
    """
    rows, replicates, parts = [], [], []
    first: dict[tuple[str, ...], tuple[Path, Row]] = {}
    runs: set[tuple[str, str]] = set()
    for folder in told(folders, "reading evaluations", len(folders), unit="evaluations"):
        own = read_metrics(folder / "metrics.tsv")
        drawn = _read_replicates(folder, len(own))
        given = {_run_of(row) for row in own}
        if both := given & runs:
            fold, seed = min(both)
            raise InputError(
                f"fold {fold} with seed {seed} is there already", file=folder, mend="give each evaluation once"
            )
        runs |= given
        _require_alike(folder, own, first)
        if replicates and drawn.shape[1] != len(replicates[0]):
            raise InputError(
                f"has {drawn.shape[1]} resamples where {folders[0]} has {len(replicates[0])}",
                file=folder,
                mend=_MEND,
            )
        rows += own
        replicates += list(drawn)
        parts += _read_parts(folder)
    single = {row["fold"] for row in rows if _count(row) == 1}
    kept = [(named, each) for row, each in zip(rows, replicates, strict=True) if (named := _named(row, single))]
    return Evaluations(
        rows=[row for row, _ in kept],
        replicates=[each for _, each in kept],
        parts=[named for row in parts if (named := _named(row, single))],
    )


def _require_alike(folder: Path, rows: Sequence[Row], first: dict[tuple[str, ...], tuple[Path, Row]]) -> None:
    """Refuse another test of an experiment than that which another folder has of the same fold."""
    for row in rows:
        other, known = first.setdefault((row["experiment"], row["bins"], row["fold"]), (folder, row))
        for column in ("factor", "cell_type", "kind", "n_train_peaks", "n_bins", "n_bound"):
            if row[column] != known[column]:
                raise InputError(
                    f"is of another test than {other}: {column} of {row['experiment']} is {row[column]}, "
                    f"there {known[column]}",
                    file=folder,
                    mend=_MEND,
                )


def _count(row: Row) -> int:
    """How many seeds a row is of."""
    return row["seed"].count("+") + 1


def _named(row: Row, single: Collection[str]) -> Row | None:
    """A row as it is laid beside others; None: it says again what a single seed's says.

    Parameters
    ----------
    single
        Folds that have evaluations of single seeds.
    """
    if _count(row) == 1 or not single:
        return row
    if row["predictor"] == MODEL:
        return {**row, "predictor": f"{MODEL}, {_count(row)} seeds as one"}
    return None if row["fold"] in single else row


def summarise_folds(rows: Sequence[Row], replicates: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Means by kind of bins and experiments, fold and predictor; and over all folds, as fold `together`.

    An experiment's scores are averaged over seeds first. Where it is scored in several folds, each counts.

    Returns
    -------
    list of dict with the keys `SUMMARY_COLUMNS`. `sd_over_seeds`: standard deviation of the mean AUPRC of each
    seed, nan of one seed. `sd_over_factors`: of the mean AUPRC of each factor. `auprc_low`, `auprc_high`: 95 %
    interval of the mean by resampled blocks of the genome. `ratio`: the model's mean over the predictor's, on the
    experiments that both score, and its interval, of the same resamples.
    """
    units = units_of(rows, replicates)
    summary = []
    folds = sorted({unit.row["fold"] for unit in units})
    for bins in (DREAM_BINS, MODEL_BINS):
        for fold in (TOGETHER, *folds):
            for kind in KINDS:
                by_predictor: dict[str, list[Unit]] = {}
                for unit in units:
                    row = unit.row
                    if (row["bins"], row["kind"]) == (bins, kind) and fold in (TOGETHER, row["fold"]):
                        by_predictor.setdefault(row["predictor"], []).append(unit)
                model = {_place(unit): unit for unit in by_predictor.get(MODEL, [])}
                lines = [
                    {"bins": bins, "fold": fold, "kind": kind, "predictor": name, **_line(chosen, model)}
                    for name, chosen in by_predictor.items()
                ]
                summary += sorted(
                    lines, key=lambda line: (line["predictor"] != MODEL, -line["mean_auprc"], line["predictor"])
                )
    return summary


def summarise_groups(rows: Sequence[Row], parts: Sequence[Row]) -> list[dict[str, Any]]:
    """Means over experiments (and folds and seeds) of parts of their bins, and of groups of experiments."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in parts:
        if is_judgeable(row):
            key = (row["bins"], row["kind"], row["predictor"], row["breakdown"], row["part"])
            found.setdefault(key, []).append(row)
    for row in rows:
        if is_judgeable(row):
            for breakdown, part in groups_of(row):
                found.setdefault((row["bins"], row["kind"], row["predictor"], breakdown, part), []).append(row)
    return [
        {
            **dict(zip(GROUP_COLUMNS[:5], key, strict=True)),
            "n_experiments": len({row["experiment"] for row in chosen}),
            "mean_prevalence": _mean([row["prevalence"] for row in chosen]),
            "mean_auprc": _mean([row["auprc"] for row in chosen]),
            "median_auprc": float(np.median([row["auprc"] for row in chosen])),
        }
        for key, chosen in sorted(found.items())
    ]


def units_of(rows: Sequence[Row], replicates: Sequence[np.ndarray]) -> list[Unit]:
    """Means over seeds, of the experiments that can be judged."""
    found: dict[tuple[str, ...], list[tuple[Row, np.ndarray]]] = {}
    for row, drawn in zip(rows, replicates, strict=True):
        if is_judgeable(row):
            key = tuple(row[column] for column in KEY if column != "seed")
            found.setdefault(key, []).append((row, drawn))
    units = []
    for chosen in found.values():
        first = dict(chosen[0][0])
        for name in ("auprc", *METRICS):
            first[name] = _mean([row[name] for row, _ in chosen])
        by_seed = {row["seed"]: row["auprc"] for row, _ in chosen}
        units.append(Unit(first, by_seed, np.mean([drawn for _, drawn in chosen], axis=0)))
    return units


def _line(units: Sequence[Unit], model: Mapping[tuple[str, str], Unit]) -> dict[str, Any]:
    scores = [unit.row["auprc"] for unit in units]
    by_factor: dict[str, list[float]] = {}
    for unit in units:
        by_factor.setdefault(unit.row["factor"], []).append(unit.row["auprc"])
    seeds = sorted({seed for unit in units for seed in unit.by_seed})
    low, high = percentile_interval(mean_replicates(units))
    shared = [(unit, model[_place(unit)]) for unit in units if _place(unit) in model]
    ratio, ratios = math.nan, np.zeros(0)
    if shared:
        own, other = ([pair[index] for pair in shared] for index in (1, 0))
        ratio = _mean([unit.row["auprc"] for unit in own]) / _mean([unit.row["auprc"] for unit in other])
        # A predictor that scores nothing in a resample: the model is better without limit, or as good (nan).
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = mean_replicates(own) / mean_replicates(other)
    ratio_low, ratio_high = percentile_interval(ratios)
    return {
        "sees": units[0].row["sees"],
        "n_experiments": len({unit.row["experiment"] for unit in units}),
        "n_factors": len(by_factor),
        "n_seeds": len(seeds),
        "mean_auprc": _mean(scores),
        "auprc_low": low,
        "auprc_high": high,
        "sd_over_seeds": spread_over_seeds(units),
        "median_auprc": float(np.median(scores)),
        "sd_over_factors": _deviation([_mean(each) for each in by_factor.values()]),
        "quartile_1": float(np.quantile(scores, 0.25)),
        "quartile_3": float(np.quantile(scores, 0.75)),
        **{f"mean_{name}": _mean([unit.row[name] for unit in units]) for name in METRICS},
        "ratio": ratio,
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
    }


def _place(unit: Unit) -> tuple[str, str]:
    return unit.row["experiment"], unit.row["fold"]


def spread_over_seeds(units: Sequence[Unit]) -> float:
    """Standard deviation of the mean AUPRC of each seed, nan of fewer than two.

    Of seeds that have all experiments: else their means are of different ones.
    """
    whole = set.intersection(*(set(unit.by_seed) for unit in units))
    return _deviation([_mean([unit.by_seed[seed] for unit in units]) for seed in sorted(whole)])


def mean_replicates(units: Sequence[Unit]) -> np.ndarray:
    """Mean AUPRC of each resample, over the experiments that have bound bins in it.

    nan where an experiment has none at all, as in a test of few blocks: an interval of the others alone would not
    be one of the mean.
    """
    drawn = np.stack([unit.replicates for unit in units]).astype(np.float64)
    known = ~np.isnan(drawn)
    if not known.any(1).all():
        return np.full(drawn.shape[1], np.nan)
    counts = known.sum(0)
    sums = np.where(known, drawn, 0).sum(0)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _run_of(row: Row) -> tuple[str, str]:
    return row["fold"], row["seed"]


def _read_replicates(folder: Path, count: int) -> np.ndarray:
    path = folder / "bootstrap.npy"
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError("there is no such file", file=path, mend=_MEND) from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"holds no resamples ({error})", file=path, mend=_MEND) from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or len(found) != count or found.dtype.kind != "f":
        shape = getattr(found, "shape", "no")
        raise InputError(f"has {shape} values beside {count} rows", file=path, mend=_MEND)
    return found


def _read_parts(folder: Path) -> Iterator[Row]:
    path, numbers = folder / "breakdown.tsv", ("n_bins", "n_bound", "prevalence", "auprc", "auroc")
    columns = (*KEY, "kind", "breakdown", "part", *numbers)
    for number, text in read_rows(path, columns, mend=_MEND):
        try:
            counts = {name: int(text[name]) for name in numbers[:2]}
            yield {**text, **counts, **{name: float(text[name] or "nan") for name in numbers[2:]}}
        except ValueError as error:
            raise InputError(f"holds what is no number ({error})", file=path, row=number, mend=_MEND) from None


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _deviation(values: Sequence[float]) -> float:
    # Exact, where numpy's is 1e-17 for some equal values.
    return statistics.stdev(values) if len(values) > 1 else math.nan


def print_folds(summary: Sequence[Row]) -> None:
    """Print the means over all folds, of the DREAM challenge's bins."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for kind in KINDS:
        lines = [
            line for line in summary if (line["bins"], line["fold"], line["kind"]) == (DREAM_BINS, TOGETHER, kind)
        ]
        if not lines:
            continue
        table = Table("predictor", "n", "mean AUPRC", "95 %", "sd (seeds)", "median", "ratio", title=kind)
        for line in lines:
            table.add_row(
                line["predictor"],
                str(line["n_experiments"]),
                *(_shown(line["mean_auprc"]), _between(line["auprc_low"], line["auprc_high"])),
                *(_shown(line["sd_over_seeds"]), _shown(line["median_auprc"]), _shown(line["ratio"], 2)),
            )
        console.print(table)


def _shown(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _between(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.3f}-{high:.3f}"
