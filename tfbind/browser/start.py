"""What the page shows first: a few tracks, and a place where something is bound."""

from __future__ import annotations

from itertools import islice

from tfbind.browser.run import Run
from tfbind.genome.regions import Region

CELL_TYPES = 3
"""Of so many cell types a track is shown first."""
WIDTH = 30_000
"""Length of the place, bp."""

Pair = tuple[str, str]
"""A factor and a cell type."""


def first_tracks(run: Run) -> list[Pair]:
    """The factor predicted best in each of the first cell types; without scores, one that was measured."""
    of_cell = {name: _best(run, name) for name in run.cell_types}
    return list(islice(((factor, name) for name, factor in of_cell.items() if factor), CELL_TYPES))


def _best(run: Run, cell_type: str) -> str | None:
    there = run.rendered[cell_type]
    measured = [each for each in run.experiments if each.cell_type == cell_type and each.factor in there]
    # Of equals, the first of the table.
    ranked = sorted(measured, key=lambda each: -1 if each.auprc is None else each.auprc, reverse=True)
    if ranked:
        return ranked[0].factor
    return next((name for name in run.factors if name in there), None)


def first_place(run: Run, pairs: list[Pair]) -> Region:
    """Around a call of the first track, of the likeliest that the model was tested on, else of all."""
    calls = [call for factor, cell_type in pairs[:1] for call in run.predicted(factor, cell_type)]
    if not calls:
        names = {each.name for each in run.experiments if (each.factor, each.cell_type) in pairs}
        calls = [(*call, name, 0) for name in sorted(names) for call in run.measured(name)]
    tested = [call for call in calls if _in_test(run, call[0], call[1])]
    chrom, start, end, *_ = max(
        tested or calls, key=lambda call: call[-1], default=(next(iter(run.reference.sizes)), 0, 0)
    )
    size = run.reference.sizes[chrom]
    first = max(0, min((start + end - WIDTH) // 2, size - WIDTH))
    return Region(chrom, first, min(first + WIDTH, size))


def _in_test(run: Run, chrom: str, place: int) -> bool:
    return any(each.chrom == chrom and each.start <= place < each.end for each in run.split.test)
