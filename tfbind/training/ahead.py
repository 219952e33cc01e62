"""The next step's data, read while this step computes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Prepare what consecutive steps need, one step ahead, in a thread.

    What is prepared must follow from the step alone: then it is the same whether or not it came ahead. An error
    is raised where the step asks for it. Within the block alone is anything prepared ahead.

    Parameters
    ----------
    prepare
        From the number of a step to what it needs.
    steps
        The number of steps; nothing is prepared for those beyond.

    Attributes
    ----------
    waited : float
        Seconds in which a step waited for its data.
    """

    def __init__(self, prepare: Callable[[int], T], steps: int) -> None:
        self.prepare, self.steps = prepare, steps
        self.waited = 0.0
        self._next: tuple[int, Future[T]] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def __enter__(self) -> Ahead[T]:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self.waited = 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._next = None
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._thread = None

    def of(self, step: int) -> T:
        """What a step needs; the next step's is begun."""
        began = time.perf_counter()
        ahead, self._next = self._next, None
        found = ahead[1].result() if ahead is not None and ahead[0] == step else self.prepare(step)
        if self._thread is not None and step + 1 < self.steps:
            self._next = (step + 1, self._thread.submit(self.prepare, step + 1))
        self.waited += time.perf_counter() - began
        return found
