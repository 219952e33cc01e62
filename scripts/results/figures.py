"""The figures of the page, from the copies in docs/results alone."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.results.copies import ENSEMBLE, is_copied, predictors_of, read_copy
from scripts.results.extra import read_learning, read_steps
from scripts.results.protocols import BY_NAME, PEEKS, PROTOCOLS
from tfbind.evaluation.breakdown import IDENTITIES, TRAINING_PEAKS, group_of_identity, group_of_peaks
from tfbind.evaluation.factor_cnn import NAME as CNN
from tfbind.evaluation.loci import DREAM_BINS, MODEL_BINS
from tfbind.evaluation.plots import (
    LOG_NOTE,
    draw_against,
    legend_of_kinds,
    plain_number,
    reads_better_log,
    say_only,
)
from tfbind.evaluation.tables import MODEL
from tfbind.figures.style import (
    BLUE,
    GREEN,
    GREY,
    GRID,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    fresh_style,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
# Of the predictors that are compared by groups of experiments.
LINES = {
    MODEL: (BLUE, "o", "-"),
    "protein shuffled": (SKY, "v", "--"),
    "nearest factor": (VERMILLION, "^", "-"),
    "factor mean": (PURPLE, "D", "-"),
    CNN: ("black", "P", "-"),
    "motif x accessibility": (GREEN, "s", "-"),
    "accessibility": (ORANGE, "X", "-"),
}
# Of these, those that look at measurements of the tested bins.
PEEKING = ("nearest factor", "factor mean")
IDENTITY_GROUPS = [*(group_of_identity(edge) for edge in (0.0, *IDENTITIES)), group_of_identity(math.nan)]
PEAK_GROUPS = [group_of_peaks(count) for count in (0, *TRAINING_PEAKS)]
OF_PROTOCOLS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, "black", GREY)
MARKERS = "o^sDXvP*"

Row = Mapping[str, Any]


def figures(folder: Path, names: Sequence[str], tables: Sequence[str] = ()) -> dict[str, Callable[[Path], None]]:
    """What can be drawn: name of a figure, and how it is drawn to a path without suffix.

    Parameters
    ----------
    folder
        Of the copies.
    names
        Protocols that have copies, or will have them when the figures are drawn.
    tables
        Likewise `learning` and `steps`, which need not be there yet.
    """
    told = [protocol.name for protocol in PROTOCOLS if protocol.name in names]
    found: dict[str, Callable[[Path], None]] = {
        f"{name}.factors": lambda stem, name=name: plot_factors(folder, name, stem) for name in told
    }
    if told:
        found["reliability"] = lambda stem: plot_reliability(folder, told, stem)
        found["identity"] = lambda stem: plot_groups(folder, told, stem, "identity", IDENTITY_GROUPS)
        found["training_peaks"] = lambda stem: plot_groups(folder, told, stem, "training peaks", PEAK_GROUPS)
    if "learning" in tables or read_learning(folder):
        found["learning"] = lambda stem: plot_learning(folder, stem)
    if "steps" in tables or read_steps(folder):
        found["steps"] = lambda stem: plot_steps(folder, stem)
    return found


def plot_factors(folder: Path, name: str, stem: Path) -> None:
    """AUPRC of the model against that of each other predictor, a point an experiment (and fold)."""
    rows = read_copy(folder, name, "experiments")
    scored = [row for row in rows if not math.isnan(row[MODEL])]
    # Best first; the model's own ensemble is no baseline.
    means = {each: _mean_of(scored, each) for each in predictors_of(rows) if not each.startswith(MODEL)}
    others = sorted(means, key=lambda each: (-means[each], each))
    peeks = {row["predictor"] for row in read_copy(folder, name, "summary") if PEEKS in row["sees"]}
    values = [
        {**row, "auprc": row[each]} for row in scored for each in (MODEL, *others) if not math.isnan(row[each])
    ]
    with fresh_style():
        figure, panels = _panels(len(others), height=3.1)
        left_out = len(rows) - len(scored)
        figure.suptitle(f"{_title(name)}: AUPRC of each experiment, 200-bp bins", fontweight="bold")
        log = bool(values) and reads_better_log([row["auprc"] for row in values])
        for panel, other in zip(panels, others, strict=True):
            compared = [row for row in scored if not math.isnan(row[other])]
            _against(panel, compared, other, values, log)
            mark = " †" if other in peeks else ""
            panel.set_xlabel(f"AUPRC of {textwrap.fill(other, 30)}{mark}{LOG_NOTE * log}")
        for panel in panels[::COLUMNS]:
            panel.set_ylabel(f"AUPRC of {MODEL}{LOG_NOTE * log}")
        note = f"Left out: {left_out} without bound bins. " if left_out else ""
        note += (
            "Dotted: mean prevalence, what chance gives. "
            + "† looks at measurements of the tested bins." * bool(peeks)
        )
        legend_of_kinds(figure, scored, note)
        save(figure, stem)


def _against(panel: Axes, rows: Sequence[Row], other: str, values: Sequence[Row], log: bool) -> None:
    draw_against(panel, rows, other, values, log)
    if log:
        _plain_decades(panel)
    means = [_mean_of(rows, each) for each in (MODEL, other)]
    better = sum(row[MODEL] > row[other] for row in rows)
    panel.set_title(
        f"{MODEL} above in {better} of n = {len(rows)}\nmeans {means[0]:.3f} and {means[1]:.3f}",
        fontsize="small",
        loc="left",
    )


def plot_reliability(folder: Path, names: Sequence[str], stem: Path) -> None:
    """What is predicted against what is observed, of groups of bins that are pooled over experiments."""
    with fresh_style():
        figure, panels = _panels(len(names), height=3.3, columns=3)
        figure.suptitle("Reliability: share of bound bins where a probability is predicted", fontweight="bold")
        _legend_of_bins(figure)
        for panel, name in zip(panels, names, strict=True):
            rows = [
                row
                for row in read_copy(folder, name, "reliability")
                if row["predictor"] != ENSEMBLE and row["observed"] > 0
            ]
            counts = _reliability_panel(panel, rows)
            panel.set_title("\n".join([_title(name), *counts]), fontsize="small", loc="left")
            panel.set_xlabel("predicted probability, log scale", fontsize="small")
        for panel in panels[::3]:
            panel.set_ylabel("observed share, log scale")
        save(figure, stem)


# Of both kinds of bins.
BINS = {MODEL_BINS: (BLUE, "o", "model's bins"), DREAM_BINS: (VERMILLION, "^", "200-bp bins")}


def _legend_of_bins(figure: Figure) -> None:
    """One legend for all panels, below them: within, it would lie over points."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4, linewidth=1, label=label)
        for colour, marker, label in BINS.values()
    ]
    handles.append(Line2D([], [], color="black", linewidth=1, label="calibrated: observed as predicted"))
    figure.legend(
        handles=handles,
        title="A point pools groups of bins of about one mean probability, of all experiments, folds and seeds;\n"
        "those without any bound bin are left out. n: experiments",
        title_fontsize="small",
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize="small",
    )


def _reliability_panel(panel: Axes, rows: Sequence[Row]) -> list[str]:
    """Draw the curves; what its title says of each kind of experiments."""
    if not rows:
        say_only(panel, "no bound bins")
        return []
    counts = []
    values = [row[column] for row in rows for column in ("predicted", "observed")]
    limits = (min(values) / 1.5, max(values) * 1.5)
    panel.plot(limits, limits, color="black", linewidth=1)
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    for kind in kinds:
        n = max(row["n_experiments"] for row in rows if row["kind"] == kind)
        filled = "" if len(kinds) == 1 else "filled: " if kind == kinds[0] else "open: "
        counts.append(f"{filled}{kind} (n = {n})")
        for bins, (colour, marker, _) in BINS.items():
            own = [row for row in rows if (row["kind"], row["bins"]) == (kind, bins)]
            if own:
                panel.plot(
                    [row["predicted"] for row in own],
                    [row["observed"] for row in own],
                    color=colour,
                    marker=marker,
                    markersize=4,
                    linewidth=1,
                    fillstyle="full" if kind == kinds[0] else "none",
                )
    panel.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    panel.set_box_aspect(1)
    _plain_decades(panel)
    panel.grid(color=GRID, linewidth=0.8)
    return counts


def grouped(folder: Path, names: Sequence[str], breakdown: str) -> dict[str, list[Row]]:
    """Of protocols that have more than one group of a breakdown, the rows that are drawn."""
    found = {}
    for name in names:
        rows = [row for row in read_copy(folder, name, "groups") if row["breakdown"] == breakdown]
        drawn = _of_main_kind([row for row in rows if row["predictor"] in LINES])
        if len({row["part"] for row in drawn}) > 1:
            found[name] = drawn
    return found


def plot_groups(folder: Path, names: Sequence[str], stem: Path, breakdown: str, order: Sequence[str]) -> None:
    """Mean AUPRC by groups of experiments, of some predictors; protocols with one group alone are left out."""
    told = grouped(folder, names, breakdown)
    what = {"identity": "identity to the nearest training factor"}.get(breakdown, f"number of {breakdown}")
    with fresh_style():
        figure, panels = _panels(len(told), height=3.5, columns=3)
        figure.suptitle(f"Mean AUPRC by {breakdown}, 200-bp bins", fontweight="bold")
        for panel, (name, rows) in zip(panels, told.items(), strict=True):
            groups = [group for group in order if any(row["part"] == group for row in rows)]
            _group_panel(panel, rows, groups)
            panel.set_title(_title(name), fontsize="small", loc="left")
            panel.set_xlabel(f"{what};\nn: experiments", fontsize="small")
        if not told:
            _only(figure, "no protocol has more than one group")
        for panel in panels[::3]:
            panel.set_ylabel("mean AUPRC")
        handles = {line.get_label(): line for panel in panels for line in panel.get_lines()}
        shown = [name for name in (*LINES, CHANCE) if name in handles]
        if shown:
            labels = [f"{name} †" if name in PEEKING else name for name in shown]
            figure.legend(
                [handles[name] for name in shown],
                labels,
                loc="outside lower center",
                ncols=3 if len(told) < 3 else 4,
                title="† looks at measurements of the tested bins" if set(shown) & set(PEEKING) else None,
                title_fontsize="small",
                frameon=False,
                fontsize="small",
            )
        save(figure, stem)


def _of_main_kind(rows: Sequence[Row]) -> list[Row]:
    """Of several kinds of experiments, the rows of the one that most are of."""
    kind = max(rows, key=lambda row: row["n_experiments"], default={"kind": None})["kind"]
    return [row for row in rows if row["kind"] == kind]


def _group_panel(panel: Axes, rows: Sequence[Row], groups: Sequence[str]) -> None:
    place = {group: index for index, group in enumerate(groups)}
    counts = dict.fromkeys(groups, 0)
    for name, (colour, marker, style) in LINES.items():
        own = sorted(
            (row for row in rows if row["predictor"] == name),
            key=lambda row: place[row["part"]],
        )
        if own:
            panel.plot(
                [place[row["part"]] for row in own],
                [row["mean_auprc"] for row in own],
                color=colour,
                marker=marker,
                linestyle=style,
                markersize=6,
                linewidth=1.3 if name == MODEL else 0.8,
                label=name,
                zorder=4 if name == MODEL else 3,
            )
            if name == MODEL:
                counts |= {row["part"]: row["n_experiments"] for row in own}
                _draw_chance(panel, [place[row["part"]] for row in own], [row["mean_prevalence"] for row in own])
    panel.set_xticks(range(len(groups)), [f"{group}\nn = {counts[group]}" for group in groups], fontsize="small")
    panel.set_xlim(-0.4, len(groups) - 0.6)
    _from_zero(panel)
    panel.grid(axis="y", color=GRID, linewidth=0.8)


CHANCE = "mean prevalence, what chance gives"


def _draw_chance(panel: Axes, x: Sequence[float], prevalences: Sequence[float]) -> None:
    panel.plot(x, prevalences, color=GREY, linestyle=":", linewidth=1.3, zorder=2, label=CHANCE)


def plot_learning(folder: Path, stem: Path) -> None:
    """Mean AUPRC over how much is trained on; a point a seed, a line their means."""
    rows = read_learning(folder)
    kinds = list(dict.fromkeys(row["what"] for row in rows))
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    with fresh_style():
        figure, panels = _panels(len(kinds), height=4.2, columns=2, width=4.6)
        figure.suptitle("Learning curves: mean AUPRC, 200-bp bins", fontweight="bold")
        for panel, what in zip(panels, kinds, strict=True):
            for index, protocol in enumerate(protocols):
                own = [row for row in rows if (row["what"], row["protocol"]) == (what, protocol)]
                if own:
                    _curve(panel, own, protocol, OF_PROTOCOLS[index % 8], MARKERS[index % 8])
                    _chance_of_protocol(panel, folder, protocol, [row["amount"] for row in own])
            amounts = sorted({row["amount"] for row in rows if row["what"] == what})
            panel.set_xscale("log")
            panel.set_xticks(amounts, [f"{amount:g}" for amount in amounts], minor=False)
            panel.minorticks_off()
            panel.set_xlabel(f"{_AMOUNTS.get(what, what)}, log scale")
            _from_zero(panel)
            panel.grid(color=GRID, linewidth=0.8)
            panel.legend(frameon=False, fontsize="small", title="n: runs, each of a seed", title_fontsize="small")
        panels[0].set_ylabel("mean AUPRC")
        save(figure, stem)


def _from_zero(panel: Axes) -> None:
    """A y axis from just below 0, so that chance is seen above the axis."""
    panel.set_ylim(bottom=-0.02 * panel.get_ylim()[1])


def _chance_of_protocol(panel: Axes, folder: Path, label: str, amounts: Sequence[float]) -> None:
    """Mean prevalence in a protocol's test, which has one for all amounts of training."""
    names = [protocol.name for protocol in PROTOCOLS if protocol.label == label]
    if names and is_copied(folder, names[0]):
        rows = read_copy(folder, names[0], "experiments")
        prevalence = float(np.mean([row["prevalence"] for row in rows if not math.isnan(row[MODEL])]))
        _draw_chance(panel, [min(amounts), max(amounts)], [prevalence, prevalence])


_AMOUNTS = {"training Mb": "training sequence, Mb", "factors": "training factors"}


def _curve(panel: Axes, rows: Sequence[Row], protocol: str, colour: str, marker: str) -> None:
    amounts = sorted({row["amount"] for row in rows})
    means = [float(np.mean([row["mean_auprc"] for row in rows if row["amount"] == each])) for each in amounts]
    panel.plot(amounts, means, color=colour, linewidth=1.3, label=f"{_label(protocol)} (n = {len(rows)})")
    panel.scatter(
        [row["amount"] for row in rows],
        [row["mean_auprc"] for row in rows],
        color=colour,
        marker=marker,
        s=20,
        alpha=0.7,
        linewidths=0,
        zorder=3,
    )


def plot_steps(folder: Path, stem: Path) -> None:
    """What each step of the work came to, and its gain on what it was tried on top of; a line a base and kind."""
    from matplotlib.figure import Figure

    rows = read_steps(folder)
    lines = list(dict.fromkeys((row["base"], row["kind"]) for row in rows))
    counts = [sum((row["base"], row["kind"]) == line for row in rows) for line in lines]
    with fresh_style():
        figure = Figure(figsize=(9.0, 1.3 + sum(0.9 + 0.42 * count for count in counts)), layout="constrained")
        grid = figure.subplots(
            len(lines),
            2,
            squeeze=False,
            sharey="row",
            gridspec_kw={"height_ratios": [1 + count for count in counts]},
        )
        figure.suptitle("What each step bought: AUPRC on 200-bp bins", fontweight="bold")
        for panels, (base, kind) in zip(grid, lines, strict=True):
            own = [row for row in rows if (row["base"], row["kind"]) == (base, kind)]
            _steps_panels(panels, own)
            panels[0].set_title(
                f"{kind}, n = {_count(own, 'n_experiments')} experiments", fontsize="small", loc="left"
            )
            panels[1].set_title(f"{_count(own, 'n_seeds')} seeds", fontsize="small", loc="left")
        grid[-1, 0].set_xlabel("mean AUPRC, 95 % interval")
        grid[-1, 1].set_xlabel("gain by the step, 95 % interval")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
        save(figure, stem)


def _count(rows: Sequence[Row], column: str) -> str:
    low, high = min(row[column] for row in rows), max(row[column] for row in rows)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _steps_panels(panels: Sequence[Axes], rows: Sequence[Row]) -> None:
    """Means to the left and gains to the right; what stayed is joined by a line."""
    from matplotlib.ticker import MaxNLocator

    places = np.arange(len(rows))
    stayed = np.array([row["stayed"] == "yes" for row in rows])
    for panel, names in (
        (panels[0], ("mean_auprc", "low", "high")),
        (panels[1], ("gain", "gain_low", "gain_high")),
    ):
        middle, low, high = (np.array([row[name] for row in rows]) for name in names)
        for chosen, colour, marker, label in (
            (stayed, BLUE, "o", "the base, and what was added to it and stayed"),
            (~stayed, VERMILLION, "D", "tried on top of the last of these above, and left"),
        ):
            reach = np.stack([middle - low, high - middle])[:, chosen]
            style = {"color": colour, "marker": marker, "fillstyle": "full" if marker == "o" else "none"}
            line = "-" if marker == "o" and panel is panels[0] else "none"
            panel.plot(
                middle[chosen], places[chosen], **style, linewidth=1, linestyle=line, label=label, zorder=3
            )
            panel.errorbar(
                middle[chosen],
                places[chosen],
                xerr=np.nan_to_num(np.maximum(reach, 0)),
                color=colour,
                linestyle="none",
                elinewidth=1,
                capsize=2,
            )
        panel.grid(axis="x", color="#E6E6E6", linewidth=0.8)
        panel.xaxis.set_major_locator(MaxNLocator(6))
    panels[1].axvline(0, color="black", linewidth=1, zorder=1)
    labels = [textwrap.fill(("" if row["stayed"] == "yes" else "or: ") + row["step"], 36) for row in rows]
    panels[0].set_yticks(places, labels, fontsize="small")
    panels[0].set_ylim(len(rows) - 0.5, -0.5)


def _panels(
    count: int, *, height: float, columns: int = COLUMNS, width: float = 3.0
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(columns, max(count, 1))
    lines = max(1, -(-count // columns))
    figure = Figure(figsize=(max(6.0, width * columns + 0.4), height * lines + 0.8), layout="constrained")
    figure.get_layout_engine().set(hspace=0.08)
    if not count:
        return figure, []
    grid = figure.subplots(lines, columns, squeeze=False)
    for panel in grid.flat[count:]:
        panel.set_axis_off()
    return figure, list(grid.flat[:count])


def _only(figure: Figure, text: str) -> None:
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)


def _mean_of(rows: Sequence[Row], predictor: str) -> float:
    known = [row[predictor] for row in rows if not math.isnan(row[predictor])]
    return math.fsum(known) / len(known) if known else math.nan


def _plain_decades(panel: Axes) -> None:
    """Ticks at powers of ten alone."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(LogLocator(subs=(1,), numticks=12))
        axis.set_major_formatter(FuncFormatter(_power))
    panel.minorticks_off()


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power(value: float, position: int) -> str:
    """Powers of ten, written as such where they are small."""
    if value >= 0.01:
        return plain_number(value, position)
    return "10" + str(round(math.log10(value))).translate(_SUPERSCRIPTS)


def _title(name: str) -> str:
    return f"{_label(name)} ({name.split('-')[0]})"


def _label(name: str) -> str:
    return BY_NAME[name].label if name in BY_NAME else name
