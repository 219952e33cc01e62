"""Stopping a training from outside: Slurm's time limit, `scancel`, Ctrl-C."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

# Slurm's `--signal` is often given as USR1.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stopped(Exception):
    """A training was asked to stop, has kept its state, and ends.

    Attributes
    ----------
    signal : int
        Number of the signal.
    step : int
        Steps that are done.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}")
        self.signal, self.step = number, step


class StopSignals:
    """Within the block, the signals that ask a process to stop are noted, and the process goes on.

    A second Ctrl-C stops it at once. Elsewhere than in the main thread, which alone may handle signals, nothing
    is noted. Blocks may be nested.

    Parameters
    ----------
    patient
        A second Ctrl-C changes nothing: for one of several processes, which gets it from more than one side.

    Attributes
    ----------
    received : int
        Number of the first signal that came; 0: none.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.received = 0
        self.patient = patient
        self._depth = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._depth += 1
        if self._depth > 1:
            return self
        for number in SIGNALS:
            try:
                self._former[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            for number, handler in self._former.items():
                signal.signal(number, handler)
            self._former = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT and not self.patient:
            raise KeyboardInterrupt
        self.received = self.received or number
