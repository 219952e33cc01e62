"""The most probable sites of each track of a cell type, and what is known of the places where they lie."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import read_json
from tfbind.genome.regions import Region
from tfbind.prediction.gather import UNCERTAINTY
from tfbind.prediction.peaks import read_peaks
from tfbind.training.splits import Split
from tfbind.training.targets import Targets

SITE_COLUMNS = (
    *("factor", "cell_type", "rank", "chrom", "start", "end", "summit", "probability"),
    *("part", "measured"),
)
TRACK_COLUMNS = (
    "factor",
    "cell_type",
    "peaks",
    "fdr",
    "threshold",
    "threshold_from",
    "threshold_where_known",
    "seen_factor",
    "seen_cell_type",
)
PARTS = ("train", "validation", "test")
OTHER = "none"
"""The part of a place that is neither trained on, nor stopped by, nor tested."""

_MEND = "make the tracks again: `tfbind render`, then `tfbind gather`"
Row = dict[str, Any]


def tracks_of(folder: str | Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Path of each track's provenance in a folder that `tfbind gather` made, and what it says; by factor.

    Raises
    ------
    InputError
        There is no track in the folder, or a provenance is none.
    """
    paths = [path for path in sorted(Path(folder).glob("[!.]*.json")) if not path.stem.endswith(UNCERTAINTY)]
    if not paths:
        raise InputError("holds no track", file=folder, mend=_MEND)
    for path in paths:
        try:
            about = read_json(path)
            named = {key: about[key] for key in ("factor", "cell_type", "peaks", "bin")}
            named["peaks"]["count"], named["factor"]["factor"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"is no provenance of a track ({error})", file=path, mend=_MEND) from error
        yield path, about


def describe_tracks(folder: str | Path) -> list[Row]:
    """What was called in each track, by which threshold: rows with `TRACK_COLUMNS`, as their provenance says."""
    return [
        {
            "factor": about["factor"]["factor"],
            "cell_type": about["cell_type"],
            "peaks": about["peaks"]["count"],
            "fdr": about["peaks"]["fdr"],
            "threshold": about["peaks"]["threshold"],
            "threshold_from": about["peaks"]["threshold_from"],
            "threshold_where_known": about["peaks"].get("threshold_where_known"),
            "seen_factor": yes_or_no(about["trained_on_factor"]),
            "seen_cell_type": yes_or_no(about["trained_on_cell_type"]),
        }
        for _, about in tracks_of(folder)
    ]


def top_sites(folder: str | Path, targets: Targets, split: Split, *, count: int) -> Iterator[Row]:
    """The most probable called peaks of each track in a folder.

    Parameters
    ----------
    folder
        Tracks of one cell type, as `tfbind gather` made them.
    count
        Sites a track, at most; of equals, those that come first in the genome.

    Yields
    ------
    Rows with `SITE_COLUMNS`. Places are 0-based, half-open, bp; `probability` is that at the summit; `part` is
    the part of the split that the summit lies in, or `none`; `measured` says whether a measured peak of this
    factor in this cell type overlaps the site by a base or more, and is empty where none was measured.

    Raises
    ------
    InputError
        As `tracks_of`; a row of a narrowPeak file is none.
    """
    regions = {part: getattr(split, part) for part in PARTS}
    for path, about in tracks_of(folder):
        factor, cell_type = about["factor"]["factor"], about["cell_type"]
        columns = [
            column
            for column, each in enumerate(targets.experiments)
            if (each["factor"], each["cell_type"]) == (factor, cell_type)
        ]
        best = heapq.nlargest(
            count, _peaks(path.with_suffix(".narrowPeak")), key=lambda site: site["probability"]
        )
        measured = _measured_peaks(targets, columns, {site["chrom"] for site in best})
        for rank, site in enumerate(best, start=1):
            yield {
                **{"factor": factor, "cell_type": cell_type, "rank": rank},
                **site,
                "part": part_of(site["chrom"], site["summit"], regions),
                "measured": yes_or_no(_overlaps(measured[site["chrom"]], site)) if columns else "",
            }


def part_of(chrom: str, place: int, regions: Mapping[str, Sequence[Region]]) -> str:
    """The part of a split that a base lies in."""
    for part, inside in regions.items():
        if any(each.chrom == chrom and each.start <= place < each.end for each in inside):
            return part
    return OTHER


def yes_or_no(value: bool) -> str:
    """As tables say it."""
    return "yes" if value else "no"


def _peaks(path: Path) -> Iterator[Row]:
    """Places and probabilities of a narrowPeak file, one at a time."""
    for peak in read_peaks(path):
        yield {
            **{"chrom": peak.chrom, "start": peak.start, "end": peak.end},
            **{"summit": peak.summit, "probability": peak.probability},
        }


def _measured_peaks(targets: Targets, columns: Sequence[int], chroms: Iterable[str]) -> dict[str, np.ndarray]:
    """Peaks of some experiments on some chromosomes: int64 (peaks, 2)."""
    return {chrom: targets.peaks[chrom][np.isin(targets.peaks[chrom][:, 0], columns), 1:] for chrom in chroms}


def _overlaps(peaks: np.ndarray, site: Row) -> bool:
    return bool(((peaks[:, 0] < site["end"]) & (peaks[:, 1] > site["start"])).any())
