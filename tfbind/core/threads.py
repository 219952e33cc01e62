"""Work beside the main thread, in order: what is read ahead of it, and what is written behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextmanager
def ahead(work: Callable[[Item], Made], items: Iterable[Item], depth: int) -> Iterator[Iterator[Made]]:
    """What `work` makes of each item, made by a thread up to `depth` items before it is asked for.

    Its errors come up where the item is asked for. When the block ends, the thread has ended.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        waiting: deque[Future[Made]] = deque()
        try:
            yield _in_order(thread, work, items, depth, waiting)
        finally:
            _give_up(waiting)


def _in_order(
    thread: ThreadPoolExecutor,
    work: Callable[[Item], Made],
    items: Iterable[Item],
    depth: int,
    waiting: deque[Future[Made]],
) -> Iterator[Made]:
    for item in items:
        waiting.append(thread.submit(work, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class Behind:
    """Work that a thread does in order while the caller goes on, at most `depth` pieces behind.

    An error comes up in a later `do`, or where the block ends. When it ends without one, all work is done; with
    one, what has not begun is not done. Either way the thread has ended.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._thread = ThreadPoolExecutor(1, "behind")
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while kind is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            _give_up(self._waiting)
            self._thread.shutdown()

    def do(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Give the thread a piece of work; waits where it is too far behind."""
        if len(self._waiting) >= self.depth:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(work, *arguments))


def _give_up(waiting: deque[Future[Any]]) -> None:
    while waiting:
        waiting.popleft().cancel()
