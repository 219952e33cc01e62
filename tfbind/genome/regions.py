"""Regions of a genome: as genome browsers write them, and what is left of them without others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfbind.core.errors import InputError, UnknownNameError
from tfbind.genome.names import ChromosomeNames, listed

_PLACE = re.compile(r"(?P<chrom>.+):(?P<start>[\d,]+)-(?P<end>[\d,]+)")
_FORM = "give it as chr7:1-2000000, first and last base, or a chromosome's name alone"


@dataclass(frozen=True, order=True)
class Region:
    """Part of a chromosome: bp from `start` to `end`, 0-based half-open."""

    chrom: str
    start: int
    end: int

    def __str__(self) -> str:
        """`chr7:1-2048`: first and last base, counted from 1."""
        return f"{self.chrom}:{self.start + 1}-{self.end}"

    def bins(self, bin: int) -> range:
        """The bins that it touches."""
        return range(self.start // bin, -(-self.end // bin))


def apart(regions: Iterable[Region]) -> list[Region]:
    """The same bases, in order, none of them twice."""
    found: list[Region] = []
    for region in sorted(regions):
        found += without([region], found)
    return found


def require_form(text: str, *, key: str) -> None:
    """Refuse what no genome could have: a region without first and last base, or with these in the wrong order.

    Parameters
    ----------
    key
        What the text was given as, for the error.

    Raises
    ------
    InputError
        It has another form. (Names with more than one colon, as of HLA sequences, may be chromosomes.)
    """
    text = text.strip()
    place = _PLACE.fullmatch(text)
    if place is None:
        if not text or text.count(":") == 1:
            raise InputError(f"'{text}' is no region", key=key, mend=_FORM)
        return
    start, end = _ends(place)
    if not 1 <= start <= end:
        raise InputError(
            f"'{text}' is no region: bases are counted from 1, the first one first", key=key, mend=_FORM
        )


def _ends(place: re.Match[str]) -> tuple[int, int]:
    """First and last base, counted from 1; 0 where there are but commas."""
    start, end = (int(place[name].replace(",", "") or 0) for name in ("start", "end"))
    return start, end


def parse_place(text: str, names: ChromosomeNames, sizes: Mapping[str, int], *, key: str) -> Region:
    """The region that a text names.

    Parameters
    ----------
    text
        `chr7:1-2000000`: first and last base, counted from 1, with commas or without; or `chr7`. The chromosome
        may go by any name that resolves.
    key
        What the text was given as, for the error.

    Raises
    ------
    UnknownNameError
        Its chromosome does not resolve.
    InputError
        It has another form, or does not lie on the chromosome.
    """
    text = text.strip()
    whole = names.resolve(text)
    place = _PLACE.fullmatch(text)
    if whole is None and place is None and ":" in text:
        raise InputError(f"'{text}' is no region", key=key, mend=_FORM)
    named = text if place is None or whole is not None else place["chrom"]
    chrom = names.resolve(named)
    if chrom not in sizes:
        problem = f"'{named}' is no chromosome of the genome, which has {listed(sizes)}"
        raise UnknownNameError(problem, key=key, mend=_FORM)
    size = sizes[chrom]
    if named == text:
        return Region(chrom, 0, size)
    start, end = _ends(place)
    if not 1 <= start <= end <= size:
        problem = f"{start}-{end} is no part of {chrom}, whose bases are 1-{size}"
        raise InputError(problem, key=key, mend="give a first and a last base that lie on the chromosome")
    return Region(chrom, start - 1, end)


def in_whole_bins(regions: Iterable[Region], sizes: Mapping[str, int], bin: int) -> list[Region]:
    """The bins that regions touch, in the genome's order; what overlaps or touches is one."""
    return _merged([grown(region, 0, sizes, bin) for region in regions], sizes)


def grown(region: Region, gap: int, sizes: Mapping[str, int], bin: int) -> Region:
    """A region and at least `gap` bp on either side of it, out to whole bins, as far as the chromosome goes."""
    start, end = max(0, region.start - gap) // bin * bin, -(-(region.end + gap) // bin) * bin
    return Region(region.chrom, start, min(end, sizes[region.chrom]))


def without(regions: Iterable[Region], others: Iterable[Region]) -> list[Region]:
    """What of regions is in none of the others, in order."""
    left = list(regions)
    for other in others:
        left = [piece for region in left for piece in _cut(region, other)]
    return left


def overlap(regions: Iterable[Region], others: Sequence[Region]) -> list[Region]:
    """What of regions is in the others, too."""
    found = [
        Region(one.chrom, max(one.start, other.start), min(one.end, other.end))
        for one in regions
        for other in others
        if one.chrom == other.chrom
    ]
    return [region for region in found if region.start < region.end]


def _cut(region: Region, other: Region) -> list[Region]:
    if other.chrom != region.chrom or other.end <= region.start or region.end <= other.start:
        return [region]
    pieces = [
        Region(region.chrom, region.start, other.start),
        Region(region.chrom, other.end, region.end),
    ]
    return [piece for piece in pieces if piece.start < piece.end]


def _merged(regions: Iterable[Region], sizes: Mapping[str, int]) -> list[Region]:
    order = {chrom: index for index, chrom in enumerate(sizes)}
    joined: list[Region] = []
    for region in sorted(regions, key=lambda each: (order[each.chrom], each.start, each.end)):
        if joined and joined[-1].chrom == region.chrom and region.start <= joined[-1].end:
            joined[-1] = Region(region.chrom, joined[-1].start, max(joined[-1].end, region.end))
        else:
            joined.append(region)
    return joined
