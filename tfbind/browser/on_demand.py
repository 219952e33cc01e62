"""Tracks on demand: any factor in any cell type of a run's tables, over the region that is looked at.

`OnDemand` is for a server of many threads. It opens the run once, in the background, and renders in one thread of
its own; torch is not imported before. `respond` answers `/render?factor=&cell_type=&region=`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfbind.browser.errors import RegionTooLargeError, RunError
from tfbind.core.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from tfbind.browser.opened_run import OpenedRun, Wanted

# Of what is kept: some 100,000 tiles of tracks.
KEPT_BYTES = 256 << 20
PARAMETERS = ("factor", "cell_type", "region")
# Characters of a parameter; names are those of files.
LONGEST = 300
# Decimals in JSON: values are multiples of 2^-15, which five decimals tell apart.
DECIMALS = 5


@dataclass(frozen=True)
class Rendered:
    """A part of a track.

    Attributes
    ----------
    chrom : str
        As the reference calls it.
    start : int
        bp, 0-based: where the first bin begins.
    bin : int
        bp of a bin; the chromosome's last bin ends with the chromosome.
    values : float32 (bins,)
        Probability of binding of each bin that the region touches, as the track's bigWig holds it: 0 where a bin
        is mostly N, or blacklisted.
    """

    chrom: str
    start: int
    bin: int
    values: np.ndarray


class OnDemand:
    """Parts of tracks of a run, rendered when they are asked for. Threads may share it.

    Parameters
    ----------
    run
        The run's folder, `results/NAME`, where the workflow made it.
    kept_bytes
        Of what was rendered, and of what it was rendered from, which are kept.
    ahead
        Whether to begin to open the run now, in the background; else with the first request.
    """

    def __init__(self, run: Path, *, kept_bytes: int = KEPT_BYTES, ahead: bool = True) -> None:
        self.run, self.kept_bytes = Path(run).absolute(), kept_bytes
        self._opened: OpenedRun | None = None
        # One thread for all: two renders at once would share the cores, and torch's settings are a thread's own.
        self._worker = ThreadPoolExecutor(1, "render")
        if ahead:
            self._worker.submit(self._open_ahead)

    def render(self, factor: str, cell_type: str, region: str) -> Rendered:
        """A factor's track in a cell type, over a region.

        What was rendered before is returned at once, also while something else is being rendered. Where files of
        the run were made again since, they are opened again.

        Parameters
        ----------
        factor, cell_type
            Of the run's tables, with a track or without.
        region
            Such as `chr7:1-1,000,000`, first and last base; or a chromosome.

        Raises
        ------
        UnknownNameError
            There is no such factor, cell type or chromosome.
        RegionTooLargeError
            The region is too large to be rendered at once.
        RunError
            The run lacks what is needed.
        InputError
            The region is none, or not on its chromosome.
        """
        opened = self._opened
        if opened is None or not opened.is_current:
            opened = self._worker.submit(self._open).result()
        wanted = opened.wanted(factor, cell_type, region)
        values = opened.found(wanted)
        if values is None:
            values = self._worker.submit(opened.rendered, wanted).result()
        return Rendered(wanted.chrom, wanted.bins.start * opened.bin, opened.bin, values)

    def close(self) -> None:
        """Let go of the thread; what waits for it is not rendered."""
        self._worker.shutdown(cancel_futures=True)

    def _open(self) -> OpenedRun:
        """The run as its files are now."""
        from tfbind.browser.opened_run import OpenedRun

        if self._opened is None or not self._opened.is_current:
            self._opened = None
            self._opened = OpenedRun(self.run, self.kept_bytes)
        return self._opened

    def _open_ahead(self) -> None:
        # Whoever asks for something is told what is wrong.
        with suppress(InputError):
            opened = self._open()
            opened.rendered(self._anything(opened))

    def _anything(self, opened: OpenedRun) -> Wanted:
        """Some bins: the first that are rendered take longer than others."""
        chrom, size = next(iter(opened.reference.sizes.items()))
        factor, cell_type = opened.factor_set.names[0], next(iter(opened.cell_types))
        return opened.wanted(factor, cell_type, f"{chrom}:1-{min(size, opened.bin)}")


def respond(on_demand: OnDemand, query: Mapping[str, Sequence[str]]) -> tuple[int, dict[str, Any]]:
    """Answer `/render`.

    Parameters
    ----------
    query
        Of the address, as `urllib.parse.parse_qs` gives it: factor, cell_type and region, each once.

    Returns
    -------
    int
        HTTP status: 200; 400, a parameter is missing, there twice, unknown or malformed; 404, there is no such
        factor, cell type or chromosome; 413, the region is too large; 503, the run lacks what is needed.
    dict
        Of JSON. With 200: `chrom`, `start` (0-based, bp), `bin` (bp) and `values`, a number for each bin, to five
        decimals; never null nor NaN. Else `error` and `mend`.
    """
    try:
        found = on_demand.render(**_parameters(query))
    except InputError as error:
        # What is wrong with a request needs no place; what is wrong with a file does.
        told = error.problem if error.file is None else error.told
        return _status(error), {"error": told, "mend": error.mend or ""}
    values = np.round(found.values.astype(np.float64), DECIMALS).tolist()
    return 200, {"chrom": found.chrom, "start": found.start, "bin": found.bin, "values": values}


def _parameters(query: Mapping[str, Sequence[str]]) -> dict[str, str]:
    mend = f"give {', '.join(PARAMETERS)}, each once"
    for name, values in query.items():
        if name not in PARAMETERS:
            raise InputError(f"there is no parameter '{name[:LONGEST]}'", mend=mend)
        if len(values) > 1:
            raise InputError(f"the parameter {name} is there twice", mend=mend)
    for name in PARAMETERS:
        given = query.get(name) or [""]
        if not given[0].strip():
            raise InputError(f"the parameter {name} is missing", mend=mend)
        if len(given[0]) > LONGEST:
            problem = f"the parameter {name} has {len(given[0]):,} characters"
            raise InputError(problem, mend=f"give at most {LONGEST}")
    return {name: query[name][0] for name in PARAMETERS}


def _status(error: InputError) -> int:
    statuses = {UnknownNameError: 404, RegionTooLargeError: 413, RunError: 503}
    return statuses.get(type(error), 400)
