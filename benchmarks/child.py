"""Measure a piece of work in a process of its own: seconds, CPU seconds, and the memory that it added."""

from __future__ import annotations

import multiprocessing
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cost:
    """What a piece of work took.

    Attributes
    ----------
    seconds, cpu_seconds
        Wall time, and processor time of all threads and ended children.
    mebibytes
        The most memory, less what there was before; without files that are mapped.
    """

    seconds: float
    cpu_seconds: float
    mebibytes: float


def measure(prepare: Callable[..., Callable[[], Any]], **arguments: Any) -> Cost:
    """Call `prepare` in a fresh process, and measure the call of what it returns.

    Parameters
    ----------
    prepare
        A function of a module; it builds what is needed, and does the work once if that warms anything up.
    arguments
        Its arguments.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (prepare, arguments))


def _measure(prepare: Callable[..., Callable[[], Any]], arguments: dict[str, Any]) -> Cost:
    work = prepare(**arguments)
    with anonymous() as seen:
        start, processor = time.perf_counter(), _processor_time()
        work()
        seconds, spent = time.perf_counter() - start, _processor_time() - processor
    return Cost(seconds, spent, max(seen) - seen[0])


@contextmanager
def anonymous() -> Iterator[list[float]]:
    """MiB of this process that are no file's, every 10 ms."""
    seen, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            status = Path("/proc/self/status").read_text()
            seen.append(int(status.split("RssAnon:")[1].split()[0]) / 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def _processor_time() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
