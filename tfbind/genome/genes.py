"""Where genes lie: from a GTF, or a BED with strands."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfbind.core.errors import InputError
from tfbind.genome.reference import Reference

_MEND = "give a GTF with genes or transcripts, or a BED with strands in column 6"


@dataclass(frozen=True)
class Genes:
    """Genes or transcripts of a chromosome.

    Attributes
    ----------
    start, end : int64 (genes,)
        0-based half-open, bp.
    forward : bool (genes,)
        Whether it is read from its start to its end.
    """

    start: np.ndarray
    end: np.ndarray
    forward: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """The base at which each starts, int64 (genes,)."""
        return np.where(self.forward, self.start, self.end - 1)

    def upstream(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends of the `length` bp before each; they may lie off the chromosome."""
        start = np.where(self.forward, self.start - length, self.end)
        return start, start + length


def is_gtf(path: Path) -> bool:
    """Whether a file's name says that it is a GTF."""
    return any(ending.lower() in (".gtf", ".gff") for ending in path.suffixes)


def read_genes(path: Path, reference: Reference, *, key: str | None = None) -> dict[str, Genes]:
    """Genes by chromosome.

    Of a GTF, the rows of transcripts, or else of genes, are read; of a BED all rows. Rows of sequences that are
    not in the reference are passed over.

    Parameters
    ----------
    key
        Of the configuration, for errors.

    Raises
    ------
    InputError
        A row that is neither, a strand that is none, or no gene on the reference.
    """
    gtf = is_gtf(path)
    found: dict[str, dict[str, list[tuple[int, int, bool]]]] = {}
    for number, cells in _rows(path):
        kind, place = _gtf_row(cells) if gtf else _bed_row(cells)
        if place is None:
            raise InputError(f"is no row of a {'GTF' if gtf else 'BED'}", file=path, row=number, mend=_MEND)
        chrom = reference.names.resolve(cells[0])
        if chrom in reference.sizes:
            found.setdefault(kind, {}).setdefault(chrom, []).append(place)
    chosen = found.get("transcript") or found.get("gene") or {}
    if not chosen:
        raise InputError("has no gene on the chromosomes of the reference", file=path, key=key, mend=_MEND)
    genes = {}
    for chrom, places in chosen.items():
        start, end, forward = (np.array(column) for column in zip(*places, strict=True))
        genes[chrom] = Genes(start.astype(np.int64), end.astype(np.int64), forward.astype(bool))
    return genes


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rt") if packed else path.open() as handle:
        for number, line in enumerate(handle, start=1):
            if line.strip() and not line.startswith(("#", "track", "browser")):
                yield number, line.rstrip("\n").split("\t")


def _gtf_row(cells: list[str]) -> tuple[str, tuple[int, int, bool] | None]:
    """Feature, and where it lies; the intervals of a GTF are 1-based, and closed."""
    if len(cells) < 8 or cells[6] not in "+-." or not (cells[3].isdigit() and cells[4].isdigit()):
        return "", None
    return cells[2], (int(cells[3]) - 1, int(cells[4]), cells[6] != "-")


def _bed_row(cells: list[str]) -> tuple[str, tuple[int, int, bool] | None]:
    if len(cells) < 6 or cells[5] not in "+-." or not (cells[1].isdigit() and cells[2].isdigit()):
        return "", None
    return "gene", (int(cells[1]), int(cells[2]), cells[5] != "-")
