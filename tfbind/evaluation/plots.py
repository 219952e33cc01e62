"""Plots of an evaluation and of a training history: SVG and PNG, the same bytes for the same data."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tfbind.core.errors import InputError
from tfbind.evaluation.loci import DREAM_BINS
from tfbind.evaluation.tables import KINDS, KNOWN, MODEL, SHUFFLED, Row, is_judgeable, left_out_sentence
from tfbind.evaluation.tsv import read_rows
from tfbind.figures.style import BLUE, GREEN, GREY, GRID, PURPLE, VERMILLION, fresh_style, save
from tfbind.training.history import HISTORY_COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Kinds differ in marker as well as in colour.
STYLE_OF_KIND = dict(zip(KINDS, ((BLUE, "o"), (VERMILLION, "^"), (GREEN, "s"), (PURPLE, "D")), strict=True))

_POINTS_AS_VECTORS = 3000  # more are drawn as an image inside the SVG, which stays small
LOG_NOTE = ", log scale"


def plot_evaluation(rows: Iterable[Row], path_stem: str | Path, *, title: str) -> None:
    """Plot AUPRC of every predictor, and of the model against the best other, to `path_stem`.svg and .png.

    Left, a point an experiment with a line at their mean; right, a point an experiment above the identity
    line where the model is better than the best of the others on it. Experiments without bound bins are left
    out, as the caption says; where none is left the plot says so.

    Parameters
    ----------
    rows
        Metric rows, as of `tfbind.evaluation.tables.read_metrics`.
    path_stem
        Path without suffix.
    title
        Heading, such as the data set and the test chromosomes.

    Raises
    ------
    ValueError
        No row is the model's.
    """
    rows = [row for row in rows if row["bins"] == DREAM_BINS]
    if not any(row["predictor"] == MODEL for row in rows):
        raise ValueError(f"no row of the predictor '{MODEL}' to plot")
    judged = [row for row in rows if is_judgeable(row)]
    with fresh_style():
        from matplotlib.figure import Figure

        lanes = _lanes(judged)
        figure = Figure(figsize=(11.5, max(5.2, 1.9 + 0.27 * len(lanes))), layout="constrained")
        figure.suptitle(textwrap.fill(title, 100), fontweight="bold")
        if judged:
            left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
            log = reads_better_log([row["auprc"] for row in judged])
            _plot_predictors(left, judged, lanes, log)
            _plot_against_best(right, judged, log)
            legend_of_kinds(figure, judged, left_out_sentence(rows))
        else:
            say_only(figure.subplots(), left_out_sentence(rows))
        save(figure, path_stem)


def plot_history(history_tsv: str | Path, path_stem: str | Path, *, chance: float | None = None) -> None:
    """Plot loss and validation AUPRC of a training run over its steps, to `path_stem`.svg and .png.

    Parameters
    ----------
    history_tsv
        TSV with the columns step, loss, learning_rate, validation_auprc; fields other than step are empty
        where they were not measured. Other columns are not looked at.
    path_stem
        Path without suffix.
    chance
        Validation AUPRC of chance: the mean prevalence of the validation; None: not known.

    Raises
    ------
    InputError
        Naming file, row and column: a missing file or column, no rows, what is no finite number, steps that
        do not rise, an AUPRC outside [0, 1].
    """
    history = _read_history(history_tsv)
    with fresh_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.5, 6), layout="constrained")
        figure.suptitle("Training history", fontweight="bold")
        above, below = figure.subplots(2, 1, sharex=True)
        _plot_loss(above, history["step"], history["loss"])
        _plot_validation(below, history["step"], history["validation_auprc"], chance)
        above.tick_params(labelbottom=True)
        save(figure, path_stem)


def _lanes(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Predictor and kind of each lane of points, top first: the model, then by falling mean AUPRC."""
    of_predictor: dict[str, list[float]] = {}
    for row in rows:
        of_predictor.setdefault(row["predictor"], []).append(row["auprc"])
    names = sorted(
        of_predictor,
        key=lambda name: (name != MODEL, -math.fsum(of_predictor[name]) / len(of_predictor[name]), name),
    )
    present = {(row["predictor"], row["kind"]) for row in rows}
    return [(name, kind) for name in names for kind in KINDS if (name, kind) in present]


def _plot_predictors(axes: Axes, rows: Sequence[Row], lanes: Sequence[tuple[str, str]], log: bool) -> None:
    random = np.random.default_rng(0)
    heights: dict[str, list[float]] = {}
    height = 0.0
    for predictor, kind in lanes:
        height -= 1.0 if predictor in heights else 1.45
        heights.setdefault(predictor, []).append(height)
        values = [row["auprc"] for row in rows if row["predictor"] == predictor and row["kind"] == kind]
        spread = height + random.uniform(-0.32, 0.32, len(values)) * (len(values) > 1)
        points(axes, values, spread, kind, many=len(rows))
        mean = math.fsum(values) / len(values)
        axes.plot([mean, mean], [height - 0.42, height + 0.42], color="black", linewidth=2.2, zorder=4)
        axes.text(
            1.015,
            height,
            f"{mean:.3f}  (n = {len(values)})",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize="small",
        )
    axes.text(1.015, 1.0, "mean", transform=axes.transAxes, va="bottom", fontsize="small")
    axes.set_yticks([np.mean(group) for group in heights.values()], [textwrap.fill(name, 24) for name in heights])
    for label, name in zip(axes.get_yticklabels(), heights, strict=True):
        label.set_fontweight("bold" if name == MODEL else "normal")
    for group in list(heights.values())[1::2]:
        axes.axhspan(group[0] + 0.72, group[-1] - 0.72, color="#F5F5F5", linewidth=0, zorder=0)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(height - 0.75, -0.7)
    scale_auprc(axes, rows, log, "x")
    prevalence = _mean_prevalence(rows)
    axes.axvline(prevalence, color=GREY, linestyle=":", zorder=1)
    axes.set_title("AUPRC of each predictor", loc="left")
    axes.set_xlabel(
        f"AUPRC{LOG_NOTE * log}; a point is an experiment, a bar the mean\n"
        f"(dotted: mean prevalence {prevalence:.3g}, what chance gives)"
    )


def _plot_against_best(axes: Axes, rows: Sequence[Row], log: bool) -> None:
    """The model's AUPRC against the best other's, by experiment; against the prevalence if it is alone."""
    own = (MODEL, SHUFFLED, KNOWN)
    alone = all(row["predictor"] in own for row in rows)
    best: dict[str, float] = {}
    for row in rows:
        if alone:
            best[row["experiment"]] = row["prevalence"]
        elif row["predictor"] not in own:
            best[row["experiment"]] = max(row["auprc"], best.get(row["experiment"], 0.0))
    compared = [row for row in rows if row["predictor"] == MODEL and row["experiment"] in best]
    n, better = len(compared), sum(row["auprc"] > best[row["experiment"]] for row in compared)
    scale_auprc(axes, rows, log, "x")
    scale_auprc(axes, rows, log, "y")
    axes.set_box_aspect(1)
    axes.set_anchor("N")
    limits = axes.get_xlim()
    axes.plot(limits, limits, color="black", linewidth=1, zorder=2)
    for draw in (axes.axvline, axes.axhline):
        draw(_mean_prevalence(rows), color=GREY, linestyle=":", zorder=1)
    for kind in KINDS:
        group = [row for row in compared if row["kind"] == kind]
        if group:
            points(
                axes,
                [best[row["experiment"]] for row in group],
                [row["auprc"] for row in group],
                kind,
                len(rows),
            )
    other = "prevalence, the AUPRC of chance" if alone else "AUPRC of the best other predictor"
    rival = "chance" if alone else "the best other predictor"
    axes.set_title(f"{MODEL} beats {rival} in {better} of {n}", loc="left")
    aside = [name for name in own[1:] if any(row["predictor"] == name for row in rows)]
    note = f"\n({' and '.join(aside)} aside)" if aside else ""
    axes.set_xlabel(f"{other}{LOG_NOTE * log}\n(n = {n} experiments, one point each){note}")
    axes.set_ylabel(f"AUPRC of {MODEL}{LOG_NOTE * log}")


def legend_of_kinds(figure: Figure, rows: Sequence[Row], note: str) -> None:
    """Tell the kinds of experiments apart, with their numbers, below the panels; the note heads them."""
    from matplotlib.lines import Line2D

    handles = []
    for kind in KINDS:
        n = len({row["experiment"] for row in rows if row["kind"] == kind})
        if n:
            colour, marker = STYLE_OF_KIND[kind]
            label = f"{kind} (n = {n})"
            handles.append(Line2D([], [], color=colour, marker=marker, linestyle="none", label=label))
    figure.legend(
        handles=handles,
        title=note,
        title_fontsize="small",
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
    )


def draw_against(axes: Axes, rows: Sequence[Row], other: str, values: Sequence[Row], log: bool) -> None:
    """The AUPRC of the model against that of another predictor, a point an experiment; dotted: what chance gives.

    Parameters
    ----------
    rows
        Of the experiments that both score, a column a predictor.
    values
        Of all experiments, which set the scales.
    """
    scale_auprc(axes, values, log, "x")
    scale_auprc(axes, values, log, "y")
    axes.set_box_aspect(1)
    axes.plot(axes.get_xlim(), axes.get_xlim(), color="black", linewidth=1, zorder=2)
    prevalence = float(np.mean([row["prevalence"] for row in values]))
    for line in (axes.axvline, axes.axhline):
        line(prevalence, color=GREY, linestyle=":", zorder=1)
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        if own:
            points(axes, [row[other] for row in own], [row[MODEL] for row in own], kind, len(values))


def points(axes: Axes, x: Sequence[float], y: Sequence[float] | NDArray, kind: str, many: int) -> None:
    """Points of experiments of a kind; `many`: how many the figure has in all."""
    colour, marker = STYLE_OF_KIND[kind]
    axes.scatter(
        x,
        y,
        s=22 if len(x) <= 150 else 9,
        color=colour,
        marker=marker,
        alpha=0.65 if len(x) <= 150 else 0.45,
        linewidths=0,
        zorder=3,
        rasterized=many > _POINTS_AS_VECTORS,
    )


def scale_auprc(axes: Axes, rows: Sequence[Row], log: bool, axis: str) -> None:
    """Set the AUPRC axis: from 0 or, in logarithms, from under the lowest value."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    values = [row["auprc"] for row in rows]
    low, high = min(_mean_prevalence(rows), *values), max(values)
    limits = (low / 1.3, min(high * 1.3, 1.1)) if log else (0, min(high * 1.06, 1.03))
    of_axis = axes.xaxis if axis == "x" else axes.yaxis
    if log:
        axes.set(**{f"{axis}scale": "log"})
        of_axis.set_major_formatter(FuncFormatter(plain_number))
        of_axis.set_minor_formatter(NullFormatter())
        few_decades = limits[1] / limits[0] < 250
        of_axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few_decades else (1,)))
    else:
        of_axis.set_major_locator(MaxNLocator(6))
    axes.set(**{f"{axis}lim": limits})
    axes.grid(axis=axis, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def plain_number(value: float, _position: int) -> str:
    """As few digits as say it, without powers of ten."""
    return f"{value:g}"


def reads_better_log(values: Sequence[float]) -> bool:
    """Whether half of the points would crowd into the lowest fifth of a linear axis."""
    return bool(np.median(values) < 0.2 * max(values))


def _mean_prevalence(rows: Sequence[Row]) -> float:
    by_experiment = {row["experiment"]: row["prevalence"] for row in rows}
    return math.fsum(by_experiment.values()) / len(by_experiment)


def _plot_loss(axes: Axes, step: NDArray, loss: NDArray) -> None:
    measured = np.isfinite(loss)
    n = int(measured.sum())
    axes.set_title(f"Training loss (n = {n} times logged)", loc="left")
    axes.set_ylabel("loss, nats")
    if not measured.any():
        say_only(axes, "not measured")
        return
    step, loss = step[measured], loss[measured]
    width = max(1, step.size // 50)
    thin = {"linewidth": 0.8, "alpha": 0.4} if width > 1 else {"linewidth": 1.5}
    axes.plot(step, loss, color=BLUE, **thin, marker="o" * (step.size == 1), label="as logged")
    if width > 1:
        axes.plot(
            step, _running_mean(loss, width), color=BLUE, linewidth=2, label=f"mean of the last {width} rows"
        )
        axes.legend(frameon=False)
    axes.grid(color=GRID, linewidth=0.8)


def _plot_validation(axes: Axes, step: NDArray, auprc: NDArray, chance: float | None) -> None:
    measured = np.isfinite(auprc)
    axes.set_xlabel("training step")
    axes.set_ylabel("mean AUPRC")
    if not measured.any():
        axes.set_title("Validation AUPRC", loc="left")
        say_only(axes, "not measured")
        return
    step, auprc = step[measured], auprc[measured]
    best = int(np.argmax(auprc))
    axes.plot(step, auprc, color=VERMILLION, marker="o", markersize=4 if step.size < 100 else 0)
    axes.plot(step[best], auprc[best], marker="*", markersize=15, color="black", linestyle="none")
    axes.set_title(
        f"Validation AUPRC (n = {step.size} times): best {auprc[best]:.3g} at step {int(step[best]):,} (star)",
        loc="left",
    )
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", zorder=1)
        axes.set_xlabel(
            f"training step\n(dotted: mean prevalence of the validation {chance:.3g}, what chance gives)"
        )
    axes.set_ylim(0, max(1.15 * auprc.max(), 1e-6))
    axes.grid(color=GRID, linewidth=0.8)


def _running_mean(values: NDArray, width: int) -> NDArray:
    """Mean of each value and the up to `width` - 1 before it; (n,) in and out."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, values.size + 1)
    start = np.maximum(end - width, 0)
    return (total[end] - total[start]) / (end - start)


def say_only(axes: Axes, text: str) -> None:
    """Write a text where nothing is to be drawn."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_yticks([])


def _read_history(path: str | Path) -> dict[str, NDArray]:
    """Columns of a training history, each (n,) float64, nan where not measured."""
    mend = "train again; 'tfbind train' writes this table"
    rows = read_rows(path, HISTORY_COLUMNS, mend=mend)
    if not rows:
        raise InputError("it holds no training step", file=path, mend=mend)
    columns: dict[str, list[float]] = {column: [] for column in HISTORY_COLUMNS}
    for number, text in rows:
        for column, values in columns.items():
            problem = _problem_of_value(text[column], column, values)
            if problem:
                raise InputError(problem, file=path, row=number, column=column, mend=mend)
            values.append(float(text[column] or "nan"))
    return {column: np.array(values) for column, values in columns.items()}


def _problem_of_value(text: str, column: str, before: Sequence[float]) -> str | None:
    if not text:
        return "it is empty" if column == "step" else None
    try:
        value = float(text)
    except ValueError:
        return f"'{text}' is no number"
    if not math.isfinite(value):
        return f"'{text}' is no finite number"
    if column == "step" and before and value <= before[-1]:
        return f"step {text} does not rise above the one before, {before[-1]:g}"
    if column == "validation_auprc" and not 0 <= value <= 1:
        return f"{text} does not lie between 0 and 1"
    return None
