"""Small drawings within pages, as SVG: motif logos, and profiles around calls. They take a few kB each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from scripts.report.html import escape
from tfbind.factors.motifs import Motif

# Okabe & Ito's colours, told apart with any colour vision. Lines differ in their dashes as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
BASES = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00"}
STYLE = 'font-family="system-ui, DejaVu Sans, sans-serif" font-size="12" fill="#1b1f24"'
BITS = 2.0


def logo(motif: Motif) -> str:
    """The logo of a motif: letters as high as what they tell of a position, in bits, of equally likely bases.

    Schneider & Stephens, Nucleic Acids Research 18:6097 (1990), without the correction for few sites, whose
    number is not known.
    """
    column, height, left, top = 26, 110, 48, 10
    width, bottom = left + column * len(motif) + 12, top + height
    frequencies = np.asarray(motif.probabilities)
    bits = BITS + (frequencies * np.log2(np.maximum(frequencies, 1e-12))).sum(1)
    parts = [_axis(left, top, height, [0, 1, 2], BITS, "information, bits")]
    for place, (row, total) in enumerate(zip(frequencies, bits, strict=True)):
        y = float(bottom)
        for base in np.argsort(row):
            tall = height * float(row[base] * total) / BITS
            if tall >= 0.4:
                y -= tall
                x = left + column * place + 1
                parts.append(
                    f'<use href="#base-{"ACGT"[base]}" '
                    f'transform="translate({x:g} {y:.2f}) scale({column - 2} {tall:.2f})"/>'
                )
        parts.append(_text(left + column * (place + 0.5), bottom + 16, str(place + 1)))
    parts.append(_text(left + column * len(motif) / 2, bottom + 34, "position"))
    about = escape(f"Motif {motif.identifier} of {len(motif)} bp")
    letters = "".join(f'<path id="base-{base}" d="{_letter(base)}" fill="{BASES[base]}"/>' for base in BASES)
    return _svg(width, bottom + 42, about, f"<defs>{letters}</defs>{''.join(parts)}")


@cache
def _letter(base: str) -> str:
    """The outline of a letter in a box of 1 x 1, from the top left, as the data of an SVG path."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    outline = TextPath((0, 0), base, size=100, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = outline.get_extents()
    words = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
    parts = []
    for points, code in outline.iter_segments():
        pairs = np.asarray(points).reshape(-1, 2)
        x, y = (pairs[:, 0] - box.x0) / box.width, (box.y1 - pairs[:, 1]) / box.height
        numbers = " ".join(f"{value:.3f}" for pair in zip(x, y, strict=True) for value in pair)
        parts.append(words[code] + ("" if code == Path.CLOSEPOLY else numbers))
    return "".join(parts)


def profile(curves: Mapping[str, Sequence[tuple[int, float]]], backgrounds: Mapping[str, float]) -> str:
    """Mean predicted probability by distance from the middle of calls: a line a name; dotted, its background.

    Parameters
    ----------
    curves
        Name of a line -> (offset in bp, mean probability), by offset. The names stand beside the lines.
    backgrounds
        Name of a line -> mean probability elsewhere.
    """
    left, top, wide, height = 64, 12, 430, 200
    highest = max(value for curve in curves.values() for _, value in curve)
    ceiling = _round_up(max(highest, *backgrounds.values(), 1e-6))
    reach = max(abs(offset) for curve in curves.values() for offset, _ in curve)
    bottom = top + height

    def x(offset: float) -> float:
        return left + wide * (offset + reach) / (2 * reach)

    def y(value: float) -> float:
        return bottom - height * value / ceiling

    ticks = [ceiling * step / 4 for step in range(5)]
    parts = [_axis(left, top, height, ticks, ceiling, "mean predicted probability", wide)]
    for offset in (-2000, -1000, 0, 1000, 2000):
        if abs(offset) <= reach * 1.02:
            at = x(max(-reach, min(reach, offset)))
            parts.append(f'<path d="M{at:.1f} {bottom}v5" stroke="#1b1f24"/>')
            parts.append(_text(at, bottom + 19, f"{offset:+,d}" if offset else "0"))
    parts.append(_text(left + wide / 2, bottom + 38, "distance from the middle of a measured call, bp"))
    for index, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        dash = DASHES[(index // len(COLOURS)) % len(DASHES)]
        line = "M" + "L".join(f"{x(offset):.1f} {y(value):.1f}" for offset, value in curve)
        drawn = f'fill="none" stroke="{colour}"'
        parts.append(f'<path d="{line}" {drawn} stroke-width="2" stroke-dasharray="{dash}"/>')
        level = y(backgrounds[name])
        parts.append(f'<path d="M{left} {level:.1f}h{wide}" {drawn} stroke-dasharray="2 4"/>')
        row = top + 8 + 18 * index
        parts.append(
            f'<path d="M{left + wide + 14} {row}h24" {drawn} stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        parts.append(f'<text x="{left + wide + 44}" y="{row + 4}">{escape(name)}</text>')
    longest = max(len(name) for name in curves)
    tall = max(bottom + 46, top + 18 * len(curves) + 12)
    return _svg(
        left + wide + 56 + 7.2 * longest, tall, "Mean predicted probability around measured calls", "".join(parts)
    )


def _axis(
    left: float, top: float, height: float, ticks: Sequence[float], ceiling: float, name: str, grid: float = 0
) -> str:
    """The vertical axis of a drawing, with lines across it if `grid` is its width."""
    bottom = top + height
    parts = [f'<path d="M{left} {top}V{bottom}{f"h{grid:g}" if grid else ""}" fill="none" stroke="#1b1f24"/>']
    for tick in ticks:
        at = bottom - height * tick / ceiling
        if grid and tick:
            parts.append(f'<path d="M{left} {at:.1f}h{grid:g}" stroke="#e6e6e6"/>')
        parts.append(f'<path d="M{left - 5} {at:.1f}h5" stroke="#1b1f24"/>')
        parts.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    middle = top + height / 2
    parts.append(f'<text transform="translate(14 {middle:g}) rotate(-90)" text-anchor="middle">{name}</text>')
    return "".join(parts)


def _text(x: float, y: float, text: str) -> str:
    """Text around a place."""
    return f'<text x="{x:.1f}" y="{y:g}" text-anchor="middle">{escape(text)}</text>'


def _round_up(value: float) -> float:
    """The next number of one or two digits that splits into four."""
    step = 10.0 ** np.floor(np.log10(value))
    return float(
        next(step * each for each in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * each >= value * 0.9999)
    )


def _svg(width: float, height: float, about: str, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{about}" {STYLE}>{content}</svg>'
    )
