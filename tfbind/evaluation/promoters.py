"""Where genes start: from a GTF, or a BED with strands."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfbind.core.errors import InputError
from tfbind.genome.reference import Reference

KEY = "evaluation.promoters"
_MEND = "give a GTF with genes or transcripts, or a BED with strands in column 6"


def starts_of_genes(path: Path, reference: Reference) -> dict[str, np.ndarray]:
    """First base of each gene or transcript by chromosome, sorted int64 (n,), 0-based bp.

    Of a GTF, the rows of transcripts, or else of genes, are read; of a BED all rows. Rows of sequences that are
    not in the reference are passed over.

    Raises
    ------
    InputError
        A row that is neither, a strand that is none, or no gene on the reference.
    """
    is_gtf = any(ending in (".gtf", ".gff", ".gff3") for ending in path.suffixes)
    found: dict[str, dict[str, list[int]]] = {}
    for number, cells in _rows(path):
        kind, place = _gtf_row(cells) if is_gtf else _bed_row(cells)
        if place is None:
            raise InputError(f"is no row of a {'GTF' if is_gtf else 'BED'}", file=path, row=number, mend=_MEND)
        chrom = reference.names.resolve(cells[0])
        if chrom in reference.sizes:
            found.setdefault(kind, {}).setdefault(chrom, []).append(place)
    chosen = found.get("transcript") or found.get("gene") or {}
    if not chosen:
        raise InputError("has no gene on the chromosomes of the reference", file=path, key=KEY, mend=_MEND)
    return {chrom: np.unique(np.array(places, dtype=np.int64)) for chrom, places in chosen.items()}


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip() and not line.startswith(("#", "track", "browser")):
                    yield number, line.rstrip("\n").split("\t")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"cannot be read ({error})", file=path, key=KEY, mend=_MEND) from error


def _gtf_row(cells: list[str]) -> tuple[str, int | None]:
    """Feature, and its first base; the intervals of a GTF are 1-based, and closed."""
    if len(cells) < 8 or cells[6] not in "+-." or not (cells[3].isdigit() and cells[4].isdigit()):
        return "", None
    return cells[2], int(cells[4]) - 1 if cells[6] == "-" else int(cells[3]) - 1


def _bed_row(cells: list[str]) -> tuple[str, int | None]:
    if len(cells) < 6 or cells[5] not in "+-." or not (cells[1].isdigit() and cells[2].isdigit()):
        return "", None
    return "gene", int(cells[2]) - 1 if cells[5] == "-" else int(cells[1])
