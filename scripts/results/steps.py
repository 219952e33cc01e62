"""What each step of the work on a model bought: cross-validations that differ in one step, as one table.

A step is a configuration beside others, with a `title`, that extends another one of them: what it is tried on top
of. One that extends none of them is a base. Steps that others extend, one after the other, are the path that the
work took; what nothing extends is an alternative that was tried at its place, but for the end of the path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.results.copies import benchmarks_of, evaluations_of, splits_of
from scripts.results.extra import STEPS_COLUMNS
from tfbind.config import load_config, read_yaml
from tfbind.core.errors import InputError
from tfbind.core.metrics import percentile_interval
from tfbind.evaluation.crossvalidation import Unit, mean_replicates, read_evaluations, spread_over_seeds, units_of
from tfbind.evaluation.loci import DREAM_BINS
from tfbind.evaluation.tables import KINDS, MODEL, write_table
from tfbind.evaluation.tsv import read_rows
from tfbind.training.splits import Split

# What a run is called and says of itself is no difference.
NO_DIFFERENCE = ("name", "title", "description", "extends")
_MEND = "run it again: snakemake --configfile ... --cores 2 cross_validation"


@dataclass(frozen=True)
class Step:
    """A configuration of a step.

    Attributes
    ----------
    name
        Of its file, without ending.
    run
        Of its run: results stand in results/RUN.
    title, description
        In words; the description may be empty.
    extends
        The step that it is tried on top of; None: it is a base.
    """

    name: str
    run: str
    title: str
    description: str
    extends: str | None


@dataclass(frozen=True)
class _Run:
    """What a step came to: scores on 200-bp bins, settings, and where its parts lie."""

    step: Step
    folder: Path
    units: Sequence[Unit]
    settings: Mapping[str, Any]


def read_steps_in(folder: Path) -> list[Step]:
    """The steps of a folder of configurations, by name.

    Raises
    ------
    InputError
        A configuration that is wrong, has no title, or extends two steps.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    by_path = {path.resolve(): name for name, path in paths.items()}
    steps = []
    for name, path in paths.items():
        config, given = load_config(path), read_yaml(path).get("extends")
        if config.title is None:
            raise InputError("has no title", file=path, key="title", mend="say what the step is, in a few words")
        bases = given if isinstance(given, list) else [] if given is None else [given]
        extended = [by_path[found] for base in bases if (found := Path(base).resolve()) in by_path]
        if len(extended) > 1:
            mend = "let one of them extend the other"
            raise InputError("is on top of two steps", file=path, key="extends", mend=mend)
        steps.append(Step(name, config.name, config.title, config.description or "", *(extended or [None])))
    return steps


def write_steps(steps: Sequence[Step], results: Path, logs: Path, output: Path) -> None:
    """Write what the steps that were run came to: a row a step and kind of experiments.

    Parameters
    ----------
    steps
        All there are. Of one whose own base was not run, what it is tried on top of is the next below that was.
    results, logs
        Folders of all runs, such as `results` and `logs`.

    Raises
    ------
    InputError
        Nothing was run; a run is not whole, or is tested elsewhere than what it is tried on top of.
    """
    runs = {step.name: _read_run(step, results / step.run) for step in steps if was_run(step, results)}
    if not runs:
        raise InputError("no step was run", file=results, mend="run them: make steps")
    below = _below(steps, runs)
    path = _path(below, runs)
    rows = []
    for name in _in_order(below, path):
        run, base = runs[name], runs[_chain(name, below)[0]]
        parent = None if below[name] is None else runs[below[name]]
        for other in (parent, base):
            if other is not None:
                _require_same_test(run, other)
        for kind in KINDS:
            if own := [unit for unit in run.units if unit.row["kind"] == kind]:
                rows.append(
                    {
                        "base": base.step.name,
                        "kind": kind,
                        "step": run.step.title,
                        "description": run.step.description,
                        "extends": "" if parent is None else parent.step.title,
                        "changes": "" if parent is None else "; ".join(changes(parent.settings, run.settings)),
                        "stayed": "yes" if name in path else "no",
                        **_scores(own),
                        **_gain("gain", own, None if parent is None else parent.units),
                        **_gain("gain_on_base", own, None if parent is None else base.units),
                        **_cost(run, logs),
                    }
                )
    write_table(output, STEPS_COLUMNS, rows)


def was_run(step: Step, results: Path) -> bool:
    """Whether a step's cross-validation is there."""
    return (results / step.run / "cross_validation/metrics.tsv").is_file()


def changes(before: Mapping[str, Any], after: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Keys that differ, with what they are and, in brackets, what they were."""
    for key in sorted({*before, *after}):
        if not above and key in NO_DIFFERENCE:
            continue
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changes(old, new, f"{above}{key}.")
        elif old != new:
            was = "" if isinstance(old, Mapping) else f" ({_shown(old)})"
            yield f"{above}{key}: {_shown(new)}{was}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(each)}" for key, each in value.items()) + "}"
    return " ".join(map(_shown, value)) if isinstance(value, list) else str(value)


# --- the tree ---------------------------------------------------------------------------------------------


def _below(steps: Sequence[Step], runs: Mapping[str, Any]) -> dict[str, str | None]:
    """Of each step that was run, the nearest that it extends and that was run."""
    extends = {step.name: step.extends for step in steps}
    found = {}
    for name in runs:
        below = extends[name]
        while below is not None and below not in runs:
            below = extends[below]
        found[name] = below
    return found


def _chain(name: str, below: Mapping[str, str | None]) -> list[str]:
    """A base, and the steps from there to a step."""
    chain = [name]
    while (under := below[chain[0]]) is not None:
        chain.insert(0, under)
    return chain


def _path(below: Mapping[str, str | None], runs: Mapping[str, _Run]) -> set[str]:
    """The steps that stayed: of each base the longest chain, of equally long ones that which ends best.

    Alternatives to the base alone are no path.
    """
    longest: dict[str, list[str]] = {}
    for name in runs:
        chain = _chain(name, below)
        known = longest.get(chain[0], [])
        if (len(chain), _mean_of(runs[name])) > (len(known), _mean_of(runs[known[-1]]) if known else -math.inf):
            longest[chain[0]] = chain
    return {name for chain in longest.values() for name in (chain if len(chain) > 2 else chain[:1])}


def _in_order(below: Mapping[str, str | None], path: set[str]) -> list[str]:
    """Each step after what it extends: first what was tried there and left, then what stayed."""

    def from_here(name: str | None) -> Iterator[str]:
        for each in sorted(
            (each for each in below if below[each] == name), key=lambda each: (each in path, each)
        ):
            yield each
            yield from from_here(each)

    return list(from_here(None))


# --- what it came to ---------------------------------------------------------------------------------------


def _read_run(step: Step, folder: Path) -> _Run:
    found = read_evaluations(evaluations_of(folder / "cross_validation"))
    chosen = [
        (row, drawn)
        for row, drawn in zip(found.rows, found.replicates, strict=True)
        if (row["bins"], row["predictor"]) == (DREAM_BINS, MODEL)
    ]
    units = units_of([row for row, _ in chosen], [drawn for _, drawn in chosen])
    return _Run(step, folder, units, read_yaml(folder / "config.yaml"))


def _require_same_test(run: _Run, other: _Run) -> None:
    tests = [
        [(path.parent.name, Split.read(path).test) for path in splits_of(each.folder / "cross_validation")]
        for each in (run, other)
    ]
    if tests[0] != tests[1]:
        raise InputError(
            f"is tested elsewhere than {other.folder}, which it is compared with",
            file=run.folder,
            mend=f"take splits.test and splits.folds out of the step, or {_MEND}",
        )


def _scores(units: Sequence[Unit]) -> dict[str, Any]:
    seeds = sorted({seed for unit in units for seed in unit.by_seed})
    low, high = percentile_interval(mean_replicates(units))
    return {
        "n_experiments": len({unit.row["experiment"] for unit in units}),
        "n_seeds": len(seeds),
        "mean_auprc": float(np.mean([unit.row["auprc"] for unit in units])),
        "sd_over_seeds": spread_over_seeds(units),
        "low": low,
        "high": high,
    }


def _gain(name: str, units: Sequence[Unit], others: Sequence[Unit] | None) -> dict[str, float]:
    """Difference of the means of the experiments that both score, and its interval, of the same resamples."""
    known = {_place(unit): unit for unit in others or ()}
    shared = [(unit, known[_place(unit)]) for unit in units if _place(unit) in known]
    if not shared:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), math.nan)
    own, other = ([pair[index] for pair in shared] for index in (0, 1))
    difference = np.mean([unit.row["auprc"] for unit in own]) - np.mean([unit.row["auprc"] for unit in other])
    low, high = percentile_interval(mean_replicates(own) - mean_replicates(other))
    return {name: float(difference), f"{name}_low": low, f"{name}_high": high}


def _place(unit: Unit) -> tuple[str, ...]:
    return unit.row["experiment"], unit.row["fold"], unit.row["kind"]


def _mean_of(run: _Run) -> float:
    return float(np.mean([unit.row["auprc"] for unit in run.units]))


def _cost(run: _Run, logs: Path) -> dict[str, float]:
    """Seconds and CPU-seconds of a training, or of an ensemble's; their means, and the numbers that it trains."""
    root = Path("cross_validation")
    benchmarks = benchmarks_of(run.folder / root, logs / run.step.run / root)
    times = [np.sum([_times(path) for path in paths], 0) for paths in benchmarks.values()]
    seconds, cpu = ([each[index] for each in times if not math.isnan(each[index])] for index in (0, 1))
    return {
        "seconds": float(np.mean(seconds)) if seconds else math.nan,
        "cpu_seconds": float(np.mean(cpu)) if cpu else math.nan,
        "weights": _weights(run.folder.joinpath(root, *min(benchmarks), "model")) if benchmarks else math.nan,
    }


def _times(path: Path) -> tuple[float, float]:
    """Wall and CPU seconds, as Snakemake measured them; nan where it did not."""
    if not path.is_file():
        return math.nan, math.nan
    rows = [row for _, row in read_rows(path, ("s",), mend=_MEND)]
    return _last_number(rows, "s"), _last_number(rows, "cpu_time")


def _last_number(rows: Sequence[Mapping[str, str]], column: str) -> float:
    try:
        return float(rows[-1][column])
    except (LookupError, ValueError):
        return math.nan


def _weights(model: Path) -> float:
    """How many numbers of a model train; nan where it is not kept."""
    if not model.is_dir():
        return math.nan
    # Slow to import, and only wanted here.
    from tfbind.model.ensemble import open_checkpoint

    return sum(weight.numel() for weight in open_checkpoint(model).model.parameters())
