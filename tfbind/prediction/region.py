"""A region of the genome, as genome browsers write it, and a bigWig of nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfbind.core.errors import InputError
from tfbind.genome.bigwig import write_bigwig
from tfbind.genome.intervals import bin_count
from tfbind.genome.names import listed
from tfbind.genome.reference import Reference

KEY = "--region"
_PLACE = re.compile(r"(?P<chrom>.+):(?P<start>[\d,]+)-(?P<end>[\d,]+)")
_FORM = "give it as chr7:1-2000000, first and last base, or a chromosome's name alone"


@dataclass(frozen=True)
class Region:
    """Bins `first` .. `first + count` of a chromosome."""

    chrom: str
    first: int
    count: int

    def as_text(self, sizes: Mapping[str, int], bin: int) -> str:
        """`chr7:1-2048`: the bases of its bins, from 1, the last one included."""
        end = min((self.first + self.count) * bin, sizes[self.chrom])
        return f"{self.chrom}:{self.first * bin + 1}-{end}"


def parse_region(text: str, reference: Reference, bin: int) -> Region:
    """The bins that a region touches.

    Parameters
    ----------
    text
        `chr7:1-2000000`: first and last base, counted from 1, with commas or without; or `chr7`. The chromosome
        may go by any name that resolves.
    bin
        bp of a bin.

    Raises
    ------
    InputError
        It has another form, its chromosome does not resolve, or it does not lie on it.
    """
    text = text.strip()
    whole = reference.names.resolve(text)
    place = _PLACE.fullmatch(text)
    if whole is None and place is None and ":" in text:
        raise InputError(f"'{text}' is no region", key=KEY, mend=_FORM)
    named = text if place is None or whole is not None else place["chrom"]
    chrom = reference.names.resolve(named)
    if chrom not in reference.sizes:
        problem = f"'{named}' is no chromosome of the genome, which has {listed(reference.sizes)}"
        raise InputError(problem, key=KEY, mend=_FORM)
    size = reference.sizes[chrom]
    if named == text:
        return Region(chrom, 0, bin_count(size, bin))
    start, end = (int(place[name].replace(",", "") or 0) for name in ("start", "end"))
    if not 1 <= start <= end <= size:
        problem = f"{start}-{end} is no part of {chrom}, whose bases are 1-{size}"
        raise InputError(problem, key=KEY, mend="give a first and a last base that lie on the chromosome")
    first = (start - 1) // bin
    return Region(chrom, first, (end - 1) // bin + 1 - first)


def write_region(path: Path, sizes: Mapping[str, int], region: Region, values: np.ndarray, bin: int) -> None:
    """Write the bigWig of a region, one value a bin; bases elsewhere have none.

    Parameters
    ----------
    sizes
        All chromosomes, bp: the header.
    values
        Finite, float32 (region.count,).
    """
    part = range(region.first, region.first + region.count)
    write_bigwig(path, sizes, [(region.chrom, values)], bin, part)
