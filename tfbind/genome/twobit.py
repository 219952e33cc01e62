"""The genome as one .2bit file, which genome browsers read piece by piece (and track hubs ask for).

The format is UCSC's, https://genome.ucsc.edu/FAQ/FAQformat.html#format7; all numbers are little-endian uint32.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path
from tfbind.genome.reference import Reference

MAGIC = 0x1A412743
# By the code of the reference (A, C, G, T, else): what stands for a base. Where no base is known, any does.
_PACKED = np.array([2, 1, 3, 0, 0], dtype=np.uint8)
_BASES_AT_ONCE = 1 << 22
_LARGEST = 1 << 32


def write_two_bit(path: str | Path, reference: Reference) -> None:
    """Write a reference as .2bit: its chromosomes, in its order. Lower case (repeats) is not kept.

    Raises
    ------
    InputError
        The file would have more than 4 GiB (17 Gb of DNA), or a name more than 255 bytes: the format ends there.
    """
    names = {chrom: chrom.encode() for chrom in reference.sizes}
    if longest := [chrom for chrom, name in names.items() if len(name) > 255]:
        raise _too_large(f"the name of '{longest[0][:40]}...' has more than 255 bytes", reference)
    runs = {chrom: reference.n_runs(chrom) for chrom in names}
    at = 16 + sum(5 + len(name) for name in names.values())
    offsets = {}
    for chrom, size in reference.sizes.items():
        offsets[chrom] = at
        at += 16 + 8 * len(runs[chrom]) + -(-size // 4)
    if at > _LARGEST:
        raise _too_large("the genome has more than 17 Gb", reference)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        handle.write(_numbers(MAGIC, 0, len(names), 0))
        for chrom, name in names.items():
            handle.write(bytes([len(name)]) + name + _numbers(offsets[chrom]))
        for chrom, size in reference.sizes.items():
            starts, ends = runs[chrom].T
            handle.write(_numbers(size, len(starts), *starts, *(ends - starts), 0, 0))
            for piece in _packed(reference.codes(chrom)):
                handle.write(piece)


def _numbers(*values: int) -> bytes:
    return np.array(values, dtype="<u4").tobytes()


def _packed(codes: np.ndarray) -> Iterator[bytes]:
    """Four bases a byte, the first in the highest bits."""
    for start in range(0, len(codes), _BASES_AT_ONCE):
        bases = _PACKED[codes[start : start + _BASES_AT_ONCE]]
        fours = np.pad(bases, (0, -len(bases) % 4)).reshape(-1, 4)
        yield (fours[:, 0] << 6 | fours[:, 1] << 4 | fours[:, 2] << 2 | fours[:, 3]).tobytes()


def _too_large(problem: str, reference: Reference) -> InputError:
    return InputError(
        f"{problem}, more than a .2bit file can hold",
        file=reference.folder,
        key="reference.include",
        mend="include fewer sequences",
    )
