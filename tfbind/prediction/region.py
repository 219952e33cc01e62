"""A region of the genome, as genome browsers write it, and a bigWig of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfbind.genome.bigwig import write_bigwig
from tfbind.genome.reference import Reference
from tfbind.genome.regions import parse_place

KEY = "--region"


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
    place = parse_place(text, reference.names, reference.sizes, key=KEY)
    bins = place.bins(bin)
    return Region(place.chrom, bins.start, len(bins))


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
