"""Rows of BED-like text (BED, narrowPeak, bedGraph, fragments), read in blocks and turned into arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tfbind.core.errors import InputError
from tfbind.genome.compressed import read_lines
from tfbind.genome.names import ChromosomeNames

SKIPPED = (b"#", b"track ", b"track\t", b"browser ", b"browser\t")


@dataclass(frozen=True)
class BedBlock:
    """Some rows of a BED-like file: their cells, and their row numbers as an editor counts them."""

    path: Path
    cells: list[list[bytes]]
    rows: np.ndarray

    def integers(self, index: int, column: str) -> np.ndarray:
        """A column as int64; an InputError where a cell is no integer."""
        return np.array(self._parsed(int, index, column, "a whole number"), dtype=np.int64)

    def numbers(self, index: int, column: str) -> np.ndarray:
        """A column as float64; an InputError where a cell is no finite number."""
        values = np.array(self._parsed(float, index, column, "a number"), dtype=np.float64)
        bad = ~np.isfinite(values)
        if bad.any():
            self.fail(bad, "{} is not a finite number", values, column=column)
        return values

    def fail(self, bad: np.ndarray, problem: str, *shown: np.ndarray, **where: Any) -> NoReturn:
        """Raise an InputError at the first row where `bad` holds; `shown` fills the braces in `problem`."""
        first = int(np.flatnonzero(bad)[0])
        values = [array[first] for array in shown]
        where.setdefault("mend", "correct or take out the row")
        raise InputError(problem.format(*values), file=self.path, row=int(self.rows[first]), **where)

    def _parsed(self, parse: Callable[[bytes], Any], index: int, column: str, wanted: str) -> list[Any]:
        column_cells = [cells[index] for cells in self.cells]
        try:
            values = [parse(cell) for cell in column_cells]
        except ValueError:
            values = None
        # Python would read 1_000 as a number: no genome file means that.
        if values is not None and b"_" not in b" ".join(column_cells):
            return values
        bad = np.array([not _parses(parse, cell) for cell in column_cells], dtype=bool)
        text = np.array([cell.decode("utf-8", "replace") for cell in column_cells], dtype=object)
        self.fail(bad, f"'{{}}' is not {wanted}", text, column=column, mend="correct the cell")


def _parses(parse: Callable[[bytes], Any], cell: bytes) -> bool:
    try:
        parse(cell)
    except ValueError:
        return False
    return b"_" not in cell


@dataclass(frozen=True)
class BedRows:
    """A block's rows on the chromosomes of the genome.

    Attributes
    ----------
    block
        The rows, without those on excluded chromosomes.
    chromosome
        int64 (rows,): index into `list(sizes)`.
    start, end
        int64 (rows,): 0-based half-open, bp.
    dropped
        How many rows of the block were on excluded chromosomes.
    """

    block: BedBlock
    chromosome: np.ndarray
    start: np.ndarray
    end: np.ndarray
    dropped: int


def row_count(rows: BedRows) -> int:
    """Rows of a block on the chromosomes of the genome."""
    return len(rows.start)


def read_blocks_of_rows(path: str | Path, columns: int) -> Iterator[BedBlock]:
    """Yield the rows with at least `columns` tab-separated (or else blank-separated) cells.

    Comments, `track` and `browser` lines and empty lines are skipped.
    """
    path, before = Path(path), 0
    for lines in read_lines(path):
        kept = [i for i, line in enumerate(lines, 1) if line.strip() and not line.startswith(SKIPPED)]
        cells = [lines[i - 1].split(b"\t") for i in kept]
        for at, row in enumerate(cells):
            if len(row) < columns:
                cells[at] = lines[kept[at] - 1].split()
                if len(cells[at]) < columns:
                    problem = f"{len(cells[at])} columns, at least {columns} are needed"
                    mend = "write chromosome, start and end (and what else the format has), separated by tabs"
                    raise InputError(problem, file=path, row=before + kept[at], mend=mend)
        if kept:
            yield BedBlock(path, cells, np.array(kept, dtype=np.int64) + before)
        before += len(lines)


def read_rows(
    path: str | Path,
    names: ChromosomeNames,
    sizes: Mapping[str, int],
    *,
    columns: int = 3,
    excluded: Collection[str] = (),
) -> Iterator[BedRows]:
    """Yield rows whose chromosome, start and end are checked against the genome.

    Raises
    ------
    InputError
        Names that do not resolve, start or end no integer, start >= end, an interval past its chromosome's
        end, too few columns, a damaged file, or no rows at all.
    """
    index = {name: i for i, name in enumerate(sizes)}
    chromosome_sizes = np.array(list(sizes.values()), dtype=np.int64)
    found = False
    for block in read_blocks_of_rows(path, columns):
        found = True
        rows = _on_genome(block, names, index, excluded)
        _check_spans(rows, chromosome_sizes, list(sizes))
        yield rows
    if not found:
        raise InputError("the file has no intervals", file=path, mend="give a file with at least one interval")


def _on_genome(
    block: BedBlock, names: ChromosomeNames, index: Mapping[str, int], excluded: Collection[str]
) -> BedRows:
    called = [cells[0] for cells in block.cells]
    resolved = names.require_all(sorted({name.decode("utf-8", "replace") for name in called}), block.path)
    numbers = {}
    for name, target in resolved.items():
        if target not in index and target not in excluded:
            problem = f"chromosome '{target}' is neither kept nor excluded"
            raise InputError(problem, file=block.path, mend="build the reference again")
        numbers[name.encode()] = -1 if target in excluded else index[target]
    chromosome = np.array([numbers[name] for name in called], dtype=np.int64)
    start, end = block.integers(1, "start"), block.integers(2, "end")
    keep = chromosome >= 0
    dropped = int((~keep).sum())
    if dropped:
        kept = np.flatnonzero(keep)
        block = BedBlock(block.path, [block.cells[i] for i in kept.tolist()], block.rows[kept])
        chromosome, start, end = chromosome[kept], start[kept], end[kept]
    return BedRows(block, chromosome, start, end, dropped)


def _check_spans(rows: BedRows, sizes: np.ndarray, names: list[str]) -> None:
    start, end, block = rows.start, rows.end, rows.block
    if (bad := start >= end).any():
        block.fail(bad, "start {} is not before end {}", start, end)
    if (bad := start < 0).any():
        block.fail(bad, "start {} is before the chromosome's beginning", start)
    if (bad := end > sizes[rows.chromosome]).any():
        called = np.array(names, dtype=object)[rows.chromosome]
        problem = "end {} is past the end of {}, which has {} bp"
        mend = "check that the file was made for this genome's assembly"
        block.fail(bad, problem, end, called, sizes[rows.chromosome], mend=mend)
