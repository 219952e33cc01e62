"""A region of the genome as a figure for a paper: accessibility, predictions, calls, motif sites and genes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path
from tfbind.factors.sites import P_VALUE
from tfbind.figures.genes import DARK, LINE_MM, Placed, draw_genes, place_genes
from tfbind.figures.style import BLUE, GREEN, GREY, GRID, VERMILLION, fresh_style
from tfbind.figures.view import CellTypeView, Predicted, Steps, View, coarsened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
TIMES, DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
# mm; a column of most journals is 85 to 90 mm wide, a page 170 to 180.
WIDTH, NARROWEST, WIDEST = 180.0, 60.0, 500.0
_TRACK, _STRIP, _GAP, _HEAD, _TOP, _AXIS = 9.0, 1.7, 1.6, 4.6, 9.0, 9.0
_LEFT_PAD, _TICKS, _RIGHT, _NOTE_LINE = 1.0, 6.5, 3.0, 2.9
# pt
_LABEL, _SMALL, _TITLE = 7.0, 6.0, 8.0
# Bars are at least so wide.
_HAIR_MM = 0.25


@dataclass(frozen=True)
class _Row:
    """A row of the figure: its height and the gap above it, in mm, its label, and what draws it into its axes."""

    height: float
    gap: float
    label: str
    unit: str
    draw: Callable[[Axes], None] | None


def plot_region(view: View, path: Path, *, width: float = WIDTH) -> None:
    """Draw a region to a file.

    Parameters
    ----------
    path
        Ends with .svg, .png or .pdf. In SVG and PDF, text stays text.
    width
        mm.

    Raises
    ------
    InputError
        Another ending, or a width that no journal has.
    """
    if path.suffix.lower() not in FORMATS:
        mend = f"let its name end with {', '.join(FORMATS)}"
        raise InputError(f"'{path.suffix}' is no format of a figure", file=path, key="--output", mend=mend)
    if not NARROWEST <= width <= WIDEST:
        problem = f"{width:g} mm is not between {NARROWEST:g} and {WIDEST:g}"
        raise InputError(problem, key="--width", mend="give about 88 for a column, 180 for a page")
    with fresh_style(), _as_text():
        figure = _figure(view, width)
        form = path.suffix.lower()[1:]
        metadata: Mapping[str, Any] = {"svg": {"Date": None}, "png": {"Software": None}}.get(
            form, {"CreationDate": None, "Producer": None, "Creator": None}
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=form, metadata=metadata, dpi=300)


@contextmanager
def _as_text():
    """Text that stays text, in the fonts that journals ask for where they are installed."""
    import matplotlib

    settings = {
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        "font.family": "sans-serif",
        "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"],
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
    }
    with matplotlib.rc_context(settings):
        yield


def _figure(view: View, width: float) -> Figure:
    from matplotlib.figure import Figure

    left = _left_margin(view)
    inner = width - left - _RIGHT
    bp_per_mm = (view.region.end - view.region.start) / inner
    if inner < 20:
        problem = f"{width:g} mm leave no room beside the names of the tracks"
        raise InputError(problem, key="--width", mend="give a larger width")
    view = coarsened(view, int(inner / _HAIR_MM))
    scale, unit = (1e6, "Mb") if view.region.end - view.region.start >= 2e6 else (1e3, "kb")
    placed, left_out = [], 0
    if view.genes is not None:
        placed, left_out = place_genes(view.genes, view.region, bp_per_mm, partial(text_width_mm, size=_SMALL))
    rows = _rows(view, scale, bp_per_mm, placed)
    note = _note(view, placed, left_out, width)
    below = _AXIS + _NOTE_LINE * len(note) + 1.5
    height = _TOP + sum(row.gap + row.height for row in rows) + below
    figure = Figure(figsize=(width / 25.4, height / 25.4))
    top = height - _TOP
    axes = None
    for row in rows:
        top -= row.gap + row.height
        if row.draw is None:
            _write(figure, left - _TICKS - 1, top + 1.0, row.label, width, height, weight="bold", ha="right")
            continue
        axes = figure.add_axes((left / width, top / height, inner / width, row.height / height))
        axes.set_xlim(view.region.start / scale, view.region.end / scale)
        _bare(axes)
        row.draw(axes)
        _label(figure, row, left, top, width, height)
    _position_axis(axes, view, unit)
    _heading(figure, view, left, inner, width, height)
    for number, line in enumerate(note):
        at = _NOTE_LINE * (len(note) - 1 - number) + 1.8
        _write(figure, _LEFT_PAD, at, line, width, height, size=_SMALL, color=GREY)
    return figure


def _rows(view: View, scale: float, bp_per_mm: float, placed: Sequence[Placed]) -> list[_Row]:
    """From top to bottom; what is of a kind has one scale."""
    tops = _tops(view)
    rows: list[_Row] = []
    for number, each in enumerate(view.cell_types):
        rows.append(_Row(_HEAD, _GAP * (number > 0), each.name, "", None))
        rows += _rows_of(each, tops, scale, bp_per_mm)
    if view.sites or view.genes is not None:
        rows.append(_Row(_HEAD, _GAP, "genome", "", None))
    for factor, sites in view.sites.items():
        draw = partial(_boxes, spans=sites, colour=GREEN, scale=scale, bp_per_mm=bp_per_mm, gid=f"sites.{factor}")
        rows.append(_Row(_STRIP, _GAP, f"{factor} motif sites (n = {len(sites)})", "", draw))
    if view.genes is not None:
        lines = 1 + max((each.line for each in placed), default=0)
        draw = partial(_genes, placed=placed, view=view, scale=scale, bp_per_mm=bp_per_mm, lines=lines)
        rows.append(_Row(lines * LINE_MM, _GAP, f"genes (n = {len(view.genes)})", "", draw))
    return rows


def _tops(view: View) -> dict[str, float]:
    """Where the scale of each kind of track ends."""
    opened = [each.accessibility for each in view.cell_types if each.accessibility is not None]
    predicted = [one.track for each in view.cell_types for one in each.predicted]
    kinds = {"accessibility": opened, "predicted": predicted}
    return {kind: _round_up(max(map(_highest, tracks), default=0.0)) for kind, tracks in kinds.items()}


def _rows_of(cell_type: CellTypeView, tops: Mapping[str, float], scale: float, bp_per_mm: float) -> list[_Row]:
    rows = []
    if cell_type.accessibility is not None:
        draw = partial(
            _steps,
            steps=cell_type.accessibility,
            colour=GREY,
            top=tops["accessibility"],
            line=(1.0, ":"),
            scale=scale,
            gid=f"accessibility.{cell_type.name}",
        )
        rows.append(_Row(_TRACK, 0.0, "accessibility", f"{TIMES} genome mean", draw))
    for each in cell_type.predicted:
        name = f"{each.factor}.{cell_type.name}"
        draw = partial(
            _steps,
            steps=each.track,
            colour=BLUE,
            top=tops["predicted"],
            line=None if each.threshold is None else (each.threshold, "--"),
            scale=scale,
            gid=f"predicted.{name}",
        )
        unit = "probability" if each.calls is not None else "probability; not measured"
        rows.append(_Row(_TRACK, _GAP, f"{each.factor} predicted", unit, draw))
        if each.calls is not None:
            draw = partial(
                _boxes,
                spans=each.calls,
                colour=VERMILLION,
                scale=scale,
                bp_per_mm=bp_per_mm,
                gid=f"calls.{name}",
            )
            rows.append(_Row(_STRIP, 0.9, _calls_label(each), "", draw))
    return rows


def _calls_label(predicted: Predicted) -> str:
    return f"{predicted.factor} measured (n = {len(predicted.calls)})"


def _steps(
    axes: Axes, *, steps: Steps, colour: str, top: float, line: tuple[float, str] | None, scale: float, gid: str
) -> None:
    axes.stairs(steps.values, steps.edges / scale, fill=True, color=colour, linewidth=0, gid=gid)
    axes.set_ylim(0, top)
    axes.set_yticks([0, top], ["0", f"{top:g}"])
    axes.tick_params(axis="y", left=True, labelleft=True, labelsize=_SMALL, length=2, pad=1.5)
    axes.spines["left"].set_visible(True)
    # Within the axis, so that they keep clear of the tracks above and below.
    for label, side in zip(axes.get_yticklabels(), ("bottom", "top"), strict=True):
        label.set_verticalalignment(side)
    if line is not None and line[0] <= top:
        axes.axhline(line[0], color=DARK, linestyle=line[1], linewidth=0.6)


def _boxes(axes: Axes, *, spans: np.ndarray, colour: str, scale: float, bp_per_mm: float, gid: str) -> None:
    """Intervals on a line; a hair's width at least, so that each is seen."""
    axes.set_ylim(0, 1)
    axes.axhline(0.5, color=GRID, linewidth=0.6, zorder=0)
    wide = _HAIR_MM * bp_per_mm
    low, high = (edge * scale for edge in axes.get_xlim())
    for number, (start, end) in enumerate(spans.tolist()):
        middle, half = (start + end) / 2, max(end - start, wide) / 2
        begin, stop = max(middle - half, low), min(middle + half, high)
        axes.broken_barh(
            [(begin / scale, (stop - begin) / scale)],
            (0, 1),
            facecolor=colour,
            linewidth=0,
            gid=f"{gid}.{number}",
        )


def _genes(
    axes: Axes, *, placed: Sequence[Placed], view: View, scale: float, bp_per_mm: float, lines: int
) -> None:
    axes.set_ylim(0, lines * LINE_MM)
    draw_genes(axes, placed, view.region, scale, bp_per_mm, _SMALL)
    if not placed:
        axes.text(
            0.5,
            0.5,
            "no genes here",
            transform=axes.transAxes,
            fontsize=_SMALL,
            color=GREY,
            ha="center",
            va="center",
        )


def _bare(axes: Axes) -> None:
    axes.patch.set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)


def _position_axis(axes: Axes, view: View, unit: str) -> None:
    """The axis of positions, below the last row."""
    from matplotlib.ticker import MaxNLocator

    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_position(("outward", 3))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.tick_params(axis="x", bottom=True, labelbottom=True, labelsize=_SMALL, length=2, pad=1.5)
    axes.set_xlabel(f"position on {view.region.chrom} ({unit})", fontsize=_LABEL, labelpad=2)


def _heading(figure: Figure, view: View, left: float, inner: float, width: float, height: float) -> None:
    """Region and genome, and the scale bar at the right."""
    length = nice_below((view.region.end - view.region.start) / 5)
    bar = length / (view.region.end - view.region.start) * inner
    right, at = left + inner, height - 5.0
    title = f"{view.region.chrom}:{view.region.start + 1:,}{DASH}{view.region.end:,} · {view.genome}"
    _write(figure, _LEFT_PAD, height - 5.0, title, width, height, size=_TITLE, weight="bold")
    from matplotlib.lines import Line2D

    ends = [(right - bar) / width, right / width]
    figure.add_artist(Line2D(ends, [(at - 1.2) / height] * 2, color="black", linewidth=1.4, gid="scale-bar"))
    _write(figure, right - bar / 2, at, length_text(length), width, height, size=_SMALL, ha="center")


def _label(figure: Figure, row: _Row, left: float, bottom: float, width: float, height: float) -> None:
    right, middle = left - _TICKS - 1, bottom + row.height / 2
    if row.unit:
        _write(figure, right, middle + 0.4, row.label, width, height, size=_LABEL, ha="right")
        _write(
            figure, right, middle - 0.3, row.unit, width, height, size=_SMALL, ha="right", va="top", color=GREY
        )
    else:
        _write(figure, right, middle, row.label, width, height, size=_SMALL, ha="right", va="center_baseline")


def _write(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    width: float,
    height: float,
    *,
    size: float = _LABEL,
    weight: str = "normal",
    **others: Any,
) -> None:
    """Text at mm from the left and the bottom."""
    figure.text(x / width, y / height, text, fontsize=size, fontweight=weight, **others)


def _note(view: View, placed: Sequence[Placed], left_out: int, width: float) -> list[str]:
    """What the lines and boxes mean."""
    parts = ["Each kind of track has one scale."]
    if any(each.accessibility is not None for each in view.cell_types):
        parts.append("Dotted: the genome's mean accessibility.")
    parts.append(f"Predicted: probability of binding in bins of {view.bin} bp.")
    thresholds = [
        one.threshold for each in view.cell_types for one in each.predicted if one.threshold is not None
    ]
    if any(threshold <= _tops(view)["predicted"] for threshold in thresholds):
        parts.append(f"Dashed: threshold for {100 * view.fdr:g} % false calls.")
    elif thresholds:
        parts.append(
            f"Thresholds for {100 * view.fdr:g} % false calls ({min(thresholds):.2g} or more) lie above."
        )
    if view.sites:
        parts.append(f"Motif sites: p < {P_VALUE:g} in random DNA, either strand.")
    unnamed = sum(not each.named for each in placed)
    if unnamed:
        parts.append(f"{unnamed} genes without room for a name.")
    if left_out:
        parts.append(f"{left_out} genes are left out for want of room.")
    # A letter of a small sans serif is half as wide as high.
    letters = int((width - 2 * _LEFT_PAD) / (0.5 * _SMALL * 25.4 / 72))
    return textwrap.wrap(" ".join(parts), letters)


def _left_margin(view: View) -> float:
    """mm that the labels of the rows take."""
    large = [each.name for each in view.cell_types]
    small = [f"{factor} motif sites (n = {len(sites)})" for factor, sites in view.sites.items()]
    small += [f"{TIMES} genome mean", "probability", "genes (n = 100)"]
    for each in view.cell_types:
        for one in each.predicted:
            large.append(f"{one.factor} predicted")
            small.append("probability; not measured" if one.calls is None else _calls_label(one))
    widest = max(
        *(text_width_mm(text, _LABEL, "bold") for text in large), *(text_width_mm(text, _SMALL) for text in small)
    )
    return _LEFT_PAD + widest + 1 + _TICKS


def text_width_mm(text: str, size: float, weight: str = "normal") -> float:
    """Width of a text in the figure's font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    return (
        float(TextPath((0, 0), text, size=size, prop=FontProperties(weight=weight)).get_extents().width)
        * 25.4
        / 72
    )


def _highest(steps: Steps) -> float:
    return float(steps.values.max(initial=0.0))


def _round_up(value: float) -> float:
    """The next number that reads well: 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return float(next(f"{step * power:.6g}" for step in steps if step * power >= value * 0.999))


def nice_below(value: float) -> int:
    """The largest of 1, 2 and 5 times powers of ten that is at most a number, at least 1."""
    power = 10 ** int(np.floor(np.log10(max(value, 1))))
    return max(step * power for step in (1, 2, 5) if step * power <= max(value, 1))


def length_text(length: int) -> str:
    """bp with their unit."""
    for size, unit in ((1_000_000, "Mb"), (1000, "kb")):
        if length >= size:
            return f"{length / size:g} {unit}"
    return f"{length} bp"
