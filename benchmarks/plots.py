"""Draw what benchmarks/results/growth.json holds: `python -m benchmarks.plots` makes docs/growth.svg and .png."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cost import RESULTS
from benchmarks.growth import AXES
from tfbind.figures.style import BLUE, GREY, VERMILLION, fresh_style, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).resolve().parents[1] / "docs"
ROWS = (("cpu_seconds", "CPU seconds"), ("mebibytes", "MiB of memory"))
# With markers, since not all eyes tell colours apart.
STYLES = ((BLUE, "o"), (VERMILLION, "^"))


def plot_growth(found: Mapping[str, Any], path_stem: Path) -> None:
    """A column of panels for each thing that grows: time above, memory below; the line is in proportion to it."""
    with fresh_style():
        from matplotlib.figure import Figure

        axes = found["axes"]
        figure = Figure(figsize=(2.6 * len(axes), 5.6), layout="constrained")
        figure.suptitle("How time and memory grow", fontweight="bold")
        panels = figure.subplots(len(ROWS), len(axes))
        for column, (name, axis) in enumerate(axes.items()):
            for row, (of, label) in enumerate(ROWS):
                _panel(panels[row, column], axis, of)
                if column == 0:
                    panels[row, column].set_ylabel(label)
            panels[0, column].set_title(name)
            panels[-1, column].set_xlabel(", ".join(filter(None, (name, axis["unit"]))))
        figure.supxlabel(found["device"], fontsize="small", color=GREY)
        save(figure, path_stem)


def _panel(panel: Axes, axis: Mapping[str, Any], of: str) -> None:
    sizes = np.array(axis["sizes"], dtype=float)
    for (task, costs), (colour, marker) in zip(axis["tasks"].items(), STYLES, strict=False):
        values = np.array(costs[of])
        panel.plot(sizes, values, marker=marker, color=colour, label=task, markersize=4)
        if of == "cpu_seconds":
            panel.plot(sizes, values[-1] * sizes / sizes[-1], color=colour, linewidth=0.8, linestyle=":")
    panel.set_xscale("log", base=2)
    panel.set_xticks(sizes, [_short(size) for size in axis["sizes"]], minor=False)
    panel.minorticks_off()
    if of == "cpu_seconds":
        panel.set_yscale("log")
        panel.set_ylim(_values(axis, of).min() / 1.8, _values(axis, of).max() * 3)
        panel.yaxis.set_major_formatter(_plain)
        panel.yaxis.set_minor_formatter(_plain if _is_narrow(_values(axis, of)) else _nothing)
        panel.legend(fontsize="x-small", frameon=False)
    else:
        panel.set_ylim(0, 1.1 * _values(axis, of).max())


def _values(axis: Mapping[str, Any], of: str) -> np.ndarray:
    """All of a panel's values."""
    return np.concatenate([costs[of] for costs in axis["tasks"].values()])


def _is_narrow(values: np.ndarray) -> bool:
    """Whether there may be no power of ten among them."""
    return bool(values.max() < 10 * values.min())


def _plain(value: float, _: int) -> str:
    # 1, 2 and 5 times powers of ten.
    return f"{value:g}" if f"{value:e}"[0] in "125" else ""


def _nothing(_: float, __: int) -> str:
    return ""


def _short(size: int) -> str:
    for unit, letter in ((10**6, "M"), (2**10, "k")):
        if size >= unit and size % (unit if unit == 2**10 else unit // 2) == 0:
            return f"{size / unit:g}{letter}"
    return str(size)


if __name__ == "__main__":
    found = json.loads((RESULTS / "growth.json").read_text())
    # In the file they stand by name.
    found["axes"] = {name: found["axes"][name] for name in AXES}
    plot_growth(found, DOCS / "growth")
