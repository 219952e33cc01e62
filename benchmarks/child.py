"""Measure a piece of work in a process of its own: seconds, CPU seconds, and the memory that it added."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.embed import anonymous


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


def _processor_time() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
