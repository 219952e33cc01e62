"""Figures of an evaluation, from the tables of its page: SVG and PNG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfbind.evaluation.loci import DREAM_BINS, MODEL_BINS
from tfbind.evaluation.plots import (
    BLUE,
    GREY,
    LOG_NOTE,
    STYLE_OF_KIND,
    VERMILLION,
    draw_against,
    fresh_style,
    legend_of_kinds,
    reads_better_log,
    save,
    say_only,
)
from tfbind.evaluation.tables import KINDS, MODEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
GRID = "#E6E6E6"
Row = Mapping[str, Any]


def plot_baselines(rows: Sequence[Row], others: Sequence[str], peeks: Collection[str], stem: Path) -> None:
    """AUPRC of the model against that of each other predictor: a panel a predictor, a point an experiment.

    Parameters
    ----------
    rows
        As `scripts.results.copies.experiments_of` has them: AUPRC by predictor; nan or absent if there is none.
    others
        Predictors, each a panel.
    peeks
        Those of them that look at measurements of the tested bins.
    stem
        Path without suffix.
    """
    scored = [row for row in rows if not math.isnan(row.get(MODEL, math.nan))]
    values = [
        {**row, "auprc": row[name]}
        for row in scored
        for name in (MODEL, *others)
        if not math.isnan(row.get(name, math.nan))
    ]
    with fresh_style():
        from matplotlib.figure import Figure

        lines = max(1, -(-len(others) // COLUMNS))
        figure = Figure(figsize=(12.5, 3.4 * lines + 1.2), layout="constrained")
        figure.suptitle(f"AUPRC of {MODEL} against each other predictor", fontweight="bold")
        if not values or not others:
            say_only(figure.subplots(), "no experiment has bound bins in the test")
            save(figure, stem)
            return
        log = reads_better_log([row["auprc"] for row in values])
        grid = figure.subplots(lines, COLUMNS, squeeze=False)
        for axes in grid.flat[len(others) :]:
            axes.set_axis_off()
        for axes, name in zip(grid.flat, others, strict=False):
            _against(axes, scored, name, values, log)
            mark = " †" if name in peeks else ""
            axes.set_xlabel(f"AUPRC of {textwrap.fill(name, 26)}{mark}{LOG_NOTE * log}")
        for axes in grid[:, 0]:
            axes.set_ylabel(f"AUPRC of {MODEL}{LOG_NOTE * log}")
        note = "Line: equal. Dotted: mean prevalence, what chance gives."
        note += " † looks at measurements of the tested bins." * bool(peeks & set(others))
        legend_of_kinds(figure, scored, note)
        save(figure, stem)


def _against(axes: Axes, scored: Sequence[Row], name: str, values: Sequence[Row], log: bool) -> None:
    rows = [row for row in scored if not math.isnan(row.get(name, math.nan))]
    draw_against(axes, rows, name, values, log)
    better = sum(row[MODEL] > row[name] for row in rows)
    axes.set_title(f"{MODEL} above in {better} of n = {len(rows)}", fontsize="small", loc="left")


def plot_reliability(rows: Sequence[Row], stem: Path) -> None:
    """Observed against predicted share of bound bins, on logarithmic axes: a panel a kind of experiments.

    Parameters
    ----------
    rows
        As `scripts.results.copies.pooled_reliability` has them.
    """
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    with fresh_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(max(4.8, 3.6 * len(kinds)), 4.8), layout="constrained")
        figure.suptitle("Are predicted probabilities observed frequencies?", fontweight="bold")
        known = [row for row in rows if row["observed"] > 0 and row["predicted"] > 0]
        if not known:
            say_only(figure.subplots(), "no bound bins in the test")
            save(figure, stem)
            return
        shares = [row[column] for row in known for column in ("predicted", "observed")]
        limits = (min(shares) / 1.5, min(1.2, max(shares) * 1.5))
        panels = figure.subplots(1, len(kinds), squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            _reliability_panel(axes, [row for row in known if row["kind"] == kind], limits)
            axes.set_title(kind, fontsize="small", loc="left")
        panels[0].set_ylabel("observed share of bound bins")
        figure.supxlabel(
            "mean predicted probability. A point pools bins of all experiments of which about the same "
            "is predicted\n"
            "(groups without any bound bin are left out). Line: calibrated.",
            fontsize="small",
        )
        save(figure, stem)


def _reliability_panel(axes: Axes, rows: Sequence[Row], limits: tuple[float, float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.plot(limits, limits, color="black", linewidth=1, zorder=1)
    styles = {MODEL_BINS: (BLUE, "o", "model's bins"), DREAM_BINS: (VERMILLION, "^", "200-bp bins")}
    for bins, (colour, marker, name) in styles.items():
        own = [row for row in rows if row["bins"] == bins]
        if own:
            label = f"{name} (n = {max(row['n_experiments'] for row in own):.0f} experiments)"
            place = ([row["predicted"] for row in own], [row["observed"] for row in own])
            axes.plot(*place, color=colour, marker=marker, markersize=4.5, linewidth=1, label=label)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1,), numticks=12))
        axis.set_major_formatter(FuncFormatter(_power))
    axes.minorticks_off()
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.8)
    axes.legend(frameon=False, fontsize="x-small", loc="upper left")


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power(value: float, _position: int) -> str:
    """A power of ten."""
    return "10" + str(round(math.log10(value))).translate(_SUPERSCRIPTS)


def plot_fdr(rows: Sequence[Row], pooled: Sequence[Row], stem: Path) -> None:
    """Achieved against stated false discovery rate of called bins and peaks.

    Parameters
    ----------
    rows
        Of each experiment, as `tfbind.evaluation.fdr` writes them, numbers as such.
    pooled
        As `scripts.results.copies.pooled_fdr` has them.
    """
    pooled = sorted(pooled, key=lambda row: KINDS.index(row["kind"]))
    lanes = [_lane(row) for row in pooled]
    with fresh_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.5, max(2.6, 1.6 + 0.42 * len(lanes))), layout="constrained")
        figure.suptitle("What the stated false discovery rate comes to in held-out regions", fontweight="bold")
        axes = figure.subplots()
        if not lanes:
            say_only(axes, "nothing was called")
        for height, (lane, own) in enumerate(zip(lanes, pooled, strict=True)):
            _fdr_lane(axes, -height, [row for row in rows if _lane(row) == lane], own)
        if lanes:
            stated = float(pooled[0]["fdr"])
            axes.axvline(stated, color=GREY, linestyle=":", zorder=1)
            names = [
                f"{of}, threshold {'of its own' if source == 'own' else 'of all'}\n{kind}"
                for kind, source, of in lanes
            ]
            axes.set_yticks([-height for height in range(len(lanes))], names, fontsize="x-small")
            axes.set(ylim=(0.6 - len(lanes), 0.6), xlim=(-0.02, 1.02))
            axes.set_xlabel(
                "achieved false discovery rate; a point is an experiment with calls, the bar all their "
                "calls together\n"
                f"(dotted: {100 * stated:g} %, as stated; its threshold was found in the validation regions)"
            )
            axes.grid(axis="x", color=GRID, linewidth=0.8)
        save(figure, stem)


def _lane(row: Row) -> tuple[str, str, str]:
    return (row["kind"], row["threshold_from"], row["of"])


def _fdr_lane(axes: Axes, height: float, rows: Sequence[Row], pooled: Row) -> None:
    colour, marker = STYLE_OF_KIND[pooled["kind"]]
    values = [row["achieved_fdr"] for row in rows if not math.isnan(row["achieved_fdr"])]
    spread = np.random.default_rng(0).uniform(-0.25, 0.25, len(values))
    axes.scatter(values, height + spread, s=14, color=colour, marker=marker, alpha=0.55, linewidths=0, zorder=3)
    achieved = float(pooled["achieved_fdr"])
    text = f"n = {len(values)} experiments, {int(pooled['calls']):,} calls"
    if not math.isnan(achieved):
        axes.plot([achieved, achieved], [height - 0.35, height + 0.35], color="black", linewidth=2.2, zorder=4)
        text = f"{100 * achieved:.1f} %  ({text})"
    axes.text(1.015, height, text, transform=axes.get_yaxis_transform(), va="center", fontsize="x-small")
