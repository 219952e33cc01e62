"""Genes of a region: which line each stands on, and how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfbind.genome.genes import Gene
from tfbind.genome.regions import Region

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Span = tuple[float, float]

MOST_LINES = 6
LINE_MM = 4.6
DARK = "#333333"
# Above the line of exons: baseline of the name, in mm; exons are as high as twice their half height.
_NAME_MM, _HALF_MM, _MIDDLE_MM = 2.1, 0.65, 1.1
# Between arrowheads, and how long a gene must be to hold one.
_ARROWS_MM, _ARROW_MM = 4.0, 1.6


@dataclass(frozen=True)
class Placed:
    """A gene on its line.

    Attributes
    ----------
    gene
        The gene.
    line
        From 0, at the top.
    named
        Whether there is room for its name.
    """

    gene: Gene
    line: int
    named: bool


def label_of(gene: Gene, bp_per_mm: float) -> str:
    """Its name; with an arrow for its strand where it is too short to hold one itself."""
    if gene.end - gene.start >= _ARROW_MM * bp_per_mm or gene.strand == ".":
        return gene.name
    return f"{gene.name} →" if gene.strand == "+" else f"← {gene.name}"


def place_genes(
    genes: Sequence[Gene], region: Region, bp_per_mm: float, width_mm: Callable[[str], float]
) -> tuple[list[Placed], int]:
    """Lay genes on lines so that neither they nor their names overlap.

    Where `MOST_LINES` lines do not hold all names, long genes keep theirs; where they do not even hold all genes,
    some are left out.

    Parameters
    ----------
    genes
        By start.
    width_mm
        Width of a name.

    Returns
    -------
    The genes, and how many were left out.
    """
    gap = 0.8 * bp_per_mm

    def bare(gene: Gene) -> Span:
        return max(gene.start, region.start), min(gene.end, region.end)

    def named(gene: Gene) -> Span:
        (low, high), width = bare(gene), width_mm(label_of(gene, bp_per_mm)) * bp_per_mm
        begin = max(region.start, min((low + high - width) / 2, region.end - width))
        return min(low, begin), max(high, begin + width)

    lines = _lay([named(gene) for gene in genes], gap)
    if None not in lines:
        return [Placed(gene, line, True) for gene, line in zip(genes, lines, strict=True)], 0
    lines = _lay([bare(gene) for gene in genes], gap)
    spans = {number: (line, bare(genes[number])) for number, line in enumerate(lines) if line is not None}
    has_name = set()
    # Long genes first, each on its own line, or else on another.
    for number in sorted(spans, key=lambda number: genes[number].start - genes[number].end):
        wanted, own = named(genes[number]), spans[number][0]
        others = [each for other, each in spans.items() if other != number]
        for line in (own, *range(MOST_LINES)):
            if all(on != line or _apart(wanted, span, gap) for on, span in others):
                spans[number] = (line, wanted)
                has_name.add(number)
                break
    found = [Placed(genes[number], line, number in has_name) for number, (line, _) in spans.items()]
    return found, len(genes) - len(found)


def _lay(spans: Sequence[Span], gap: float) -> list[int | None]:
    """The line of each span, from left to right, which needs the fewest; None where no line is free."""
    ends = [-math.inf] * MOST_LINES
    lines: list[int | None] = [None] * len(spans)
    for number in sorted(range(len(spans)), key=spans.__getitem__):
        low, high = spans[number]
        lines[number] = next((line for line, end in enumerate(ends) if end + gap <= low), None)
        if lines[number] is not None:
            ends[lines[number]] = high
    return lines


def _apart(one: Span, other: Span, gap: float) -> bool:
    return one[1] + gap <= other[0] or other[1] + gap <= one[0]


def draw_genes(
    axes: Axes, placed: Sequence[Placed], region: Region, scale: float, bp_per_mm: float, font: float
) -> None:
    """Draw genes into axes whose y axis counts mm, from the bottom of the last line.

    Parameters
    ----------
    scale
        bp of a unit of the x axis.
    font
        Size of names, pt.
    """
    lines = 1 + max((each.line for each in placed), default=0)
    for each in placed:
        _draw_gene(axes, each, (lines - 1 - each.line) * LINE_MM, region, scale, bp_per_mm, font)


def _draw_gene(
    axes: Axes, placed: Placed, bottom: float, region: Region, scale: float, bp_per_mm: float, font: float
) -> None:
    gene, middle = placed.gene, bottom + _MIDDLE_MM
    low, high = max(gene.start, region.start), min(gene.end, region.end)
    axes.plot([low / scale, high / scale], [middle, middle], color=DARK, linewidth=0.6, gid=f"gene.{gene.name}")
    exons = [
        (max(start, low), min(end, high)) for start, end in gene.exons.tolist() if start < high and end > low
    ]
    # What is narrower than a hair would not be seen.
    boxes = [(start / scale, max(end - start, 0.12 * bp_per_mm) / scale) for start, end in exons]
    axes.broken_barh(boxes, (middle - _HALF_MM, 2 * _HALF_MM), facecolor=DARK, linewidth=0)
    _draw_arrows(axes, gene, exons, (low, high), middle, scale, bp_per_mm)
    if placed.named:
        text = label_of(gene, bp_per_mm)
        axes.text(
            (low + high) / 2 / scale,
            bottom + _NAME_MM,
            text,
            fontsize=font,
            fontstyle="italic",
            ha="center",
            va="bottom",
        )


def _draw_arrows(
    axes: Axes,
    gene: Gene,
    exons: Sequence[tuple[float, float]],
    span: tuple[float, float],
    middle: float,
    scale: float,
    bp_per_mm: float,
) -> None:
    """Arrowheads along a gene, white on its exons."""
    low, high = span
    if gene.strand == "." or high - low < _ARROW_MM * bp_per_mm:
        return
    count = max(1, int((high - low) / (_ARROWS_MM * bp_per_mm)))
    marker = ((-1, 1), (0, 0), (-1, -1)) if gene.strand == "+" else ((1, 1), (0, 0), (1, -1))
    from matplotlib.path import Path as Outline

    head = Outline(marker)
    for number in range(count):
        at = low + (number + 0.5) * (high - low) / count
        on_exon = any(start <= at <= end for start, end in exons)
        axes.plot(
            [at / scale],
            [middle],
            marker=head,
            markersize=2.2,
            markerfacecolor="none",
            markeredgecolor="white" if on_exon else DARK,
            markeredgewidth=0.6,
            linestyle="none",
        )
