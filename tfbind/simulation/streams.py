"""Random streams: one for each named thing, so that adding a factor leaves all the others as they were."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *names: str) -> np.random.Generator:
    """The random stream of a thing, such as `stream(seed, "fragments", cell_type)`."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
