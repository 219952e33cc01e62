"""bigBed: intervals that genome browsers read piece by piece, as they do a bigWig."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path

import pybigtools

from tfbind.core.files import atomic_path

Row = tuple[str, int, int, str]
"""Chromosome, start and end (0-based half-open, bp), and the further columns of a BED, tab-separated."""

_FIELDS = (
    ("string", "chrom", "Chromosome"),
    ("uint", "chromStart", "First base, from 0"),
    ("uint", "chromEnd", "Base after the last"),
    ("string", "name", "Name"),
    ("uint", "score", "0 to 1000"),
    ("char[1]", "strand", "+, - or ."),
    ("uint", "thickStart", "Start of what is drawn thick"),
    ("uint", "thickEnd", "End of what is drawn thick"),
    ("uint", "reserved", "Colour"),
    ("int", "blockCount", "Number of blocks"),
    ("int[blockCount]", "blockSizes", "Sizes of blocks"),
    ("int[blockCount]", "chromStarts", "Starts of blocks, from chromStart"),
)


def write_bigbed(
    path: str | Path, sizes: Mapping[str, int], rows: Iterable[Row], *, columns: int, about: str
) -> int:
    """Write a BED of so many columns (3 to 12) as bigBed. Without a row no file is written: the format has none.

    Parameters
    ----------
    sizes
        All chromosomes, bp.
    rows
        In any order.
    about
        What the intervals are, in a few words.

    Returns
    -------
    Number of rows.
    """
    # The index of a bigBed is by name, as bytes.
    found = sorted(rows, key=itemgetter(0, 1, 2))
    if found:
        with atomic_path(path) as temporary:
            pybigtools.open(str(temporary), "w").write(dict(sizes), iter(found), autosql=_autosql(columns, about))
    return len(found)


def _autosql(columns: int, about: str) -> str:
    """What stands in which column, as UCSC's tools want it told."""
    lines = [f'    {kind} {name}; "{what}"' for kind, name, what in _FIELDS[:columns]]
    return "\n".join(["table bed", f'"{about}"', "(", *lines, ")", ""])
