"""Progress of long steps: a bar on a terminal, a plain line now and then elsewhere (log files, Slurm)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TextIO, TypeVar

Item = TypeVar("Item")

# Seconds between plain lines.
PLAIN_INTERVAL = 10.0

# What has a bar now: work within work is told in plain lines above it, since two bars would garble each other.
_with_bar: list[Progress] = []


class Progress:
    """Count work done, with rate and time left.

    Parameters
    ----------
    title, unit
        What is done, and what is counted, e.g. `training`, `steps`.
    total
        Units in all; None: nobody knows before the end.
    start
        Units that were done before (a resumed run); they do not count for the rate.
    stream
        Where to; standard error by default, since standard output is for results.
    brief
        Whether work that is over before a first line is due leaves no trace: most steps of a small data set.
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        *,
        unit: str,
        start: int = 0,
        stream: TextIO | None = None,
        brief: bool = False,
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.start = start
        self.stream = stream or sys.stderr
        self.began = self.told = time.monotonic()
        self.brief, self.note = brief, ""
        self._bar = None

    def __enter__(self) -> Progress:
        if self.stream.isatty() and not _with_bar:
            self._open_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self.close_bar()
        elif kind is None and not (self.brief and time.monotonic() - self.began < PLAIN_INTERVAL):
            self._tell(finished=True)

    def close_bar(self) -> None:
        """Take the bar down; where there is none any more, nothing happens."""
        if self in _with_bar:
            _with_bar.remove(self)
            self._bar.stop()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Say that `count` more units are done; `note` stands beside them (e.g. the loss)."""
        self.done += count
        self.note = note
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note, rate=self._rate_text())
        elif time.monotonic() - self.told >= PLAIN_INTERVAL:
            self._tell()

    def _rate(self) -> float:
        return (self.done - self.start) / max(time.monotonic() - self.began, 1e-9)

    def _rate_text(self) -> str:
        rate = self._rate()
        return f"{rate:,.0f} {self.unit}/s" if rate >= 100 else f"{rate:.3g} {self.unit}/s"

    def _tell(self, *, finished: bool = False) -> None:
        """Print a line. What is finished may have ended early: no time is left, but some was taken."""
        self.told = time.monotonic()
        of_total = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{self.title}: {self.done:,}{of_total} {self.unit}", self._rate_text()]
        if finished:
            parts.append(f"took {_duration(self.told - self.began)}")
        elif self.total is not None and self.start < self.done < self.total:
            parts.append(f"{_duration((self.total - self.done) / self._rate())} left")
        if self.note:
            parts.append(self.note)
        print(", ".join(parts), file=self.stream, flush=True)

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(self.unit),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(file=self.stream),
            transient=self.brief,
        )
        self._task = self._bar.add_task(self.title, total=self.total, completed=self.start, note="", rate="")
        self._bar.start()
        # A hidden cursor would stay hidden where the process is killed.
        self._bar.console.show_cursor(True)
        _with_bar.append(self)


def close_bars() -> None:
    """Take down what bars work that failed has left on the terminal."""
    for each in list(_with_bar):
        each.close_bar()


def told(
    items: Iterable[Item],
    title: str,
    total: int | None,
    *,
    unit: str,
    amount: Callable[[Item], int] = lambda item: 1,
) -> Iterator[Item]:
    """Items one after the other, with the progress of the work that is done on them; brief work leaves no trace.

    Parameters
    ----------
    title, total, unit
        As of `Progress`.
    amount
        Units that an item is.
    """
    with Progress(title, total, unit=unit, brief=True) as progress:
        for item in items:
            yield item
            progress.advance(amount(item))


def _duration(seconds: float) -> str:
    """In seconds up to ten minutes, then in minutes, then in hours and minutes."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
