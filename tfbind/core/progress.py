"""Progress of long steps: a bar on a terminal, a plain line now and then elsewhere (log files, Slurm)."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

# Seconds between plain lines.
PLAIN_INTERVAL = 10.0


class Progress:
    """Count work done, with rate and time left.

    Parameters
    ----------
    title, unit
        What is done, and what is counted, e.g. `training`, `steps`.
    total
        Units in all.
    start
        Units that were done before (a resumed run); they do not count for the rate.
    stream
        Where to; standard error by default, since standard output is for results.
    """

    def __init__(
        self, title: str, total: int, *, unit: str, start: int = 0, stream: TextIO | None = None
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.start = start
        self.stream = stream or sys.stderr
        self.began = self.told = time.monotonic()
        self.note = ""
        self._bar = None

    def __enter__(self) -> Progress:
        if self.stream.isatty():
            self._open_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            self._tell(finished=True)

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
        parts = [f"{self.title}: {self.done:,}/{self.total:,} {self.unit}", self._rate_text()]
        if finished:
            parts.append(f"took {_duration(self.told - self.began)}")
        elif self.start < self.done < self.total:
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
        )
        self._task = self._bar.add_task(self.title, total=self.total, completed=self.start, note="", rate="")
        self._bar.start()


def _duration(seconds: float) -> str:
    """In seconds up to ten minutes, then in minutes, then in hours and minutes."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
