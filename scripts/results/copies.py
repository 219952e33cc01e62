"""Small copies of what a cross-validation came to: all that the page is made from.

Of a protocol NAME stand in docs/results

    NAME.folds.tsv         the splits: how much is trained on and tested, and where
    NAME.summary.tsv       means over folds and experiments, as `tfbind gather-folds` has them
    NAME.groups.tsv        the same of parts and groups, of 200-bp bins
    NAME.experiments.tsv   AUPRC on 200-bp bins, mean over seeds: a column a predictor, a row an experiment
    NAME.reliability.tsv   predicted and observed frequencies, pooled by what is predicted
    NAME.fdr.tsv           calls at the stated false discovery rate, summed over experiments
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfbind.core.errors import InputError
from tfbind.core.files import read_json
from tfbind.evaluation.crossvalidation import GROUP_COLUMNS, SUMMARY_COLUMNS, TOGETHER
from tfbind.evaluation.fdr import COLUMNS as FDR_COLUMNS
from tfbind.evaluation.loci import DREAM_BINS
from tfbind.evaluation.tables import KEY, KINDS, MODEL, is_judgeable, read_metrics, write_table
from tfbind.evaluation.tsv import read_rows
from tfbind.model.checkpoint_files import ENSEMBLE_FILE
from tfbind.training.splits import Split

TABLES = ("folds", "summary", "groups", "experiments", "reliability", "fdr")
FOLD_COLUMNS = (
    *("fold", "train_mb", "validation_mb", "test_mb", "n_trained", "n_tested", "bin_bp", "train_seconds"),
    "test",
)
EXPERIMENT_COLUMNS = (
    *("experiment", "factor", "cell_type", "kind", "fold", "identity", "n_train_peaks"),
    *("n_bins", "n_bound", "prevalence"),
)
RELIABILITY_COLUMNS = ("kind", "predictor", "bins", "n_experiments", "predicted", "observed", "count")
POOLED_FDR_COLUMNS = (
    *("kind", "predictor", "fdr", "threshold_from", "of", "n_experiments", "n_runs", "measured", "calls"),
    *("right", "achieved_fdr", "recall"),
)
# Of a power of ten of what is predicted: groups that are pooled.
STEPS_OF_DECADE = 4
ENSEMBLE = "ensemble"

_MEND = "run the cross-validation again: snakemake --configfile ... --cores 2 cross_validation"
Row = Mapping[str, Any]


def copy_protocol(run: Path, output: Path, name: str, logs: Path | None = None) -> None:
    """Write the copies of one protocol.

    Parameters
    ----------
    run
        The folder results/NAME/cross_validation.
    output
        Folder of the copies.
    logs
        The folder logs/NAME/cross_validation, with the benchmarks of trainings; None: they are not told.

    Raises
    ------
    InputError
        A table is missing, or is not as it should be.
    """
    rows = [row for row in read_metrics(run / "metrics.tsv") if row["bins"] == DREAM_BINS]
    kinds = {(row["experiment"], row["fold"]): row["kind"] for row in rows}
    predictors = named_predictors(rows)
    tables = {
        "folds": (FOLD_COLUMNS, _folds(run, logs)),
        "summary": (SUMMARY_COLUMNS, _kept(run / "summary.tsv", SUMMARY_COLUMNS, "fold", TOGETHER)),
        "groups": (GROUP_COLUMNS, _kept(run / "groups.tsv", GROUP_COLUMNS, "bins", DREAM_BINS)),
        "experiments": ((*EXPERIMENT_COLUMNS, *predictors), experiments_of(rows)),
        "reliability": (RELIABILITY_COLUMNS, pooled_reliability(evaluations_of(run), kinds)),
        "fdr": (POOLED_FDR_COLUMNS, pooled_fdr(evaluations_of(run))),
    }
    for table, (columns, lines) in tables.items():
        write_table(output / f"{name}.{table}.tsv", columns, lines)


def read_copy(folder: Path, name: str, table: str) -> list[dict[str, Any]]:
    """Rows of a copy, with numbers as such and empty cells as nan; none where there is no such file."""
    path = folder / f"{name}.{table}.tsv"
    if not path.is_file():
        return []
    mend = "make the copies again: snakemake --cores 1 --snakefile workflow/results.smk"
    return [
        {column: _value(column, text) for column, text in row.items()}
        for _, row in read_rows(path, (), mend=mend)
    ]


def is_copied(folder: Path, name: str) -> bool:
    """Whether all copies of a protocol are there."""
    return all((folder / f"{name}.{table}.tsv").is_file() for table in TABLES)


def predictors_of(experiments: Sequence[Row]) -> list[str]:
    """The predictors that a table of experiments has columns of."""
    return [column for column in experiments[0] if column not in EXPERIMENT_COLUMNS] if experiments else []


def evaluations_of(run: Path) -> list[Path]:
    """The folders of a cross-validation's evaluations: by fold, and by seed or of all seeds as one.

    Those that stand in its gathered table: others are of earlier settings. None where there is no such table.
    """
    gathered = {(fold, ENSEMBLE if "+" in seed else seed) for fold, seed in _gathered(run)}
    found = sorted(path.parent for path in run.glob("*/*/evaluation/metrics.tsv"))
    return [path for path in found if (path.parent.parent.name, path.parent.name) in gathered]


def splits_of(run: Path) -> list[Path]:
    """The files of the splits of a cross-validation's folds, as far as they stand in its gathered table."""
    folds = {fold for fold, _ in _gathered(run)}
    found = sorted(run.glob("*/split.json"), key=lambda path: (len(path.parent.name), path.parent.name))
    return [path for path in found if path.parent.name in folds]


def _gathered(run: Path) -> set[tuple[str, str]]:
    """Fold and seed of what was laid together."""
    path = run / "metrics.tsv"
    rows = read_rows(path, ("fold", "seed"), mend=_MEND) if path.is_file() else []
    return {(row["fold"], row["seed"]) for _, row in rows}


def _folds(run: Path, logs: Path | None) -> Iterator[dict[str, Any]]:
    paths = splits_of(run)
    if not paths:
        raise InputError("holds no split of a fold", file=run, mend=_MEND)
    benchmarks = {} if logs is None else benchmarks_of(run, logs)
    for path in paths:
        split = Split.read(path)
        megabases = {
            f"{part}_mb": sum(region.end - region.start for region in getattr(split, part)) / 1e6
            for part in ("train", "validation", "test")
        }
        fold = path.parent.name
        seconds = [_seconds(paths) for (of, _), paths in benchmarks.items() if of == fold]
        yield {
            "fold": fold,
            **megabases,
            "n_trained": len(split.experiments),
            "n_tested": len(split.tested),
            "bin_bp": split.bin,
            "train_seconds": _mean([each for each in seconds if not math.isnan(each)]),
            "test": " ".join(map(str, split.test)),
        }


def benchmarks_of(run: Path, logs: Path) -> dict[tuple[str, str], list[Path]]:
    """By fold and seed of a gathered cross-validation, the benchmarks of trainings: an ensemble has several."""
    found = {}
    for evaluation in evaluations_of(run):
        fold, seed = evaluation.relative_to(run).parts[:2]
        if seed == ENSEMBLE:
            continue
        joined = evaluation.with_name("model") / ENSEMBLE_FILE
        members = range(len(read_json(joined)["members"])) if joined.is_file() else ()
        folders = [logs / fold / seed / "members" / str(member) for member in members] or [logs / fold / seed]
        found[fold, seed] = [folder / "train.benchmark.tsv" for folder in folders]
    return found


def _seconds(benchmarks: Sequence[Path]) -> float:
    """Wall seconds of trainings together, as Snakemake measured them; nan where one is not known."""
    if not all(path.is_file() for path in benchmarks):
        return math.nan
    return sum(float(row["s"]) for path in benchmarks for _, row in read_rows(path, ("s",), mend=_MEND))


def _kept(path: Path, columns: Sequence[str], column: str, value: str) -> list[dict[str, str]]:
    return [row for _, row in read_rows(path, columns, mend=_MEND) if row[column] == value]


def named_predictors(rows: Iterable[Row]) -> list[str]:
    """The model, the model's ensemble, and the others by name."""
    return sorted({row["predictor"] for row in rows}, key=lambda name: (not name.startswith(MODEL), name))


def experiments_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """AUPRC of each experiment, mean over seeds: a key a predictor, from rows of metrics on one kind of bins."""
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    about: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row["kind"], row["experiment"], row["fold"])
        about[key] = row
        scores = found.setdefault(key, {})
        if is_judgeable(row):
            scores.setdefault(row["predictor"], []).append(row["auprc"])
    return [
        {
            **{column: about[key][column] for column in EXPERIMENT_COLUMNS},
            **{name: _mean(scores) for name, scores in found[key].items()},
        }
        for key in sorted(found, key=lambda key: (KINDS.index(key[0]), *key[1:]))
    ]


def pooled_reliability(evaluations: Iterable[Path], kinds: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    """Groups of bins of all experiments, folds and seeds, pooled where about the same is predicted of them.

    Parameters
    ----------
    evaluations
        Folders that `tfbind evaluate` made.
    kinds
        (experiment, fold) -> kind.
    """
    pooled: dict[tuple[str, str, str, int], list[tuple[int, float, float]]] = {}
    experiments: dict[tuple[str, str, str], set[str]] = {}
    for folder in evaluations:
        for _, row in read_rows(folder / "reliability.tsv", (*KEY, "predicted", "observed", "count"), mend=_MEND):
            predicted = float(row["predicted"])
            if predicted > 0 and row["predictor"] == MODEL:
                curve = (kinds[row["experiment"], row["fold"]], _model_of(folder), row["bins"])
                experiments.setdefault(curve, set()).add(row["experiment"])
                step = math.floor(math.log10(predicted) * STEPS_OF_DECADE)
                group = (int(row["count"]), predicted, float(row["observed"]))
                pooled.setdefault((*curve, step), []).append(group)
    return [
        {
            **dict(zip(("kind", "predictor", "bins"), key, strict=False)),
            "n_experiments": len(experiments[key[:3]]),
            "predicted": _weighted([(count, predicted) for count, predicted, _ in groups]),
            "observed": _weighted([(count, observed) for count, _, observed in groups]),
            "count": sum(count for count, *_ in groups),
        }
        for key, groups in sorted(pooled.items())
    ]


def pooled_fdr(evaluations: Iterable[Path]) -> list[dict[str, Any]]:
    """Calls at the stated rate of folders that `tfbind evaluate` made, summed over experiments."""
    pooled: dict[tuple[str, ...], list[tuple[Path, dict[str, str]]]] = {}
    for folder in evaluations:
        for _, row in read_rows(folder / "fdr.tsv", FDR_COLUMNS, mend=_MEND):
            key = (row["kind"], _model_of(folder), row["fdr"], row["threshold_from"], row["of"])
            pooled.setdefault(key, []).append((folder, row))
    return [
        dict(zip(POOLED_FDR_COLUMNS, key, strict=False)) | _pooled_calls(rows)
        for key, rows in sorted(pooled.items())
    ]


def _pooled_calls(rows: Sequence[tuple[Path, Mapping[str, str]]]) -> dict[str, Any]:
    """Sums over experiments, folds and seeds; the recall is the mean over those with something measured."""
    calls, right = (sum(int(row[column]) for _, row in rows) for column in ("calls", "right"))
    return {
        "n_experiments": len({row["experiment"] for _, row in rows}),
        "n_runs": len({folder for folder, _ in rows}),
        "measured": sum(int(row["measured"]) for _, row in rows),
        "calls": calls,
        "right": right,
        "achieved_fdr": 1 - right / calls if calls else math.nan,
        "recall": _mean([float(row["recall"]) for _, row in rows if row["recall"]]),
    }


def _model_of(evaluation: Path) -> str:
    """Of which model an evaluation is: of single ones, or of all seeds as one."""
    return ENSEMBLE if evaluation.parent.name == ENSEMBLE else MODEL


def _value(column: str, text: str) -> Any:
    if not text:
        return math.nan
    if column in ("fold", "part"):
        return text
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text


def _weighted(pairs: Sequence[tuple[int, float]]) -> float:
    return math.fsum(weight * value for weight, value in pairs) / sum(weight for weight, _ in pairs)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
