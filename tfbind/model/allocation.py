"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes

# Of <malloc.h>: beyond how much freed memory is handed back, and from what size on it is not of the heap.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 1 << 30, 1 << 25


def keep_freed_memory() -> None:
    """Let this process keep what it frees, up to 1 GiB, for what it allocates next.

    Work in many small blocks otherwise has its pages taken away and given back, zeroed, at every block: a seventh
    of rendering's time. Where the C library is not glibc, nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MMAP_THRESHOLD, _LARGEST)
