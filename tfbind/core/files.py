"""Whole files: written under a temporary name, renamed when complete, and their checksums."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# Part of temporary names: on a shared file system, a number of a process says nothing of another machine's.
_WRITER = socket.gethostname()


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; rename it to `final` when the block ends without an error.

    The temporary name keeps the final suffix (`.x.tmp.bw`), since some writers choose a format by it.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.stem}.{_WRITER}.{os.getpid()}.tmp{final.suffix}")
    _sweep(final.parent, f".{final.stem}.{_WRITER}.", f".tmp{final.suffix}")
    try:
        with _full_disk_told(final):
            yield temporary
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_dir(final: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `final`; it replaces `final` when the block ends without an error."""
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{_WRITER}.{os.getpid()}.tmp")
    former = final.with_name(f".{final.name}.{_WRITER}.{os.getpid()}.old")
    for ending in (".tmp", ".old"):
        _sweep(final.parent, f".{final.name}.{_WRITER}.", ending)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with _full_disk_told(final):
            yield temporary
        if final.exists():
            final.replace(former)
        temporary.replace(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def full_disk(path: str | Path) -> OSError:
    """The error that says that there is no room for a file."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextmanager
def _full_disk_told(final: Path) -> Iterator[None]:
    """Each writer tells of a full disk in its own way, and none names the file."""
    try:
        yield
    except Exception as error:
        unnamed = not (isinstance(error, OSError) and error.filename)
        by_number = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        # safetensors says it in words, NumPy counts what it wrote.
        in_words = re.search(r"No space left|quota exceeded|\d+ requested and \d+ written", str(error))
        if unnamed and (by_number or in_words):
            raise full_disk(final) from error
        raise


def new_array(path: str | Path, dtype: np.dtype | type, shape: tuple[int, ...]) -> np.memmap:
    """A new array on disk (.npy), memory-mapped, of zeros.

    Its room is taken at once: to write into a mapping for which the disk has no room kills a process (SIGBUS).

    Raises
    ------
    OSError
        There is no room for it.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with Path(path).open("r+b") as handle:
        os.posix_fallocate(handle.fileno(), 0, max(1, os.fstat(handle.fileno()).st_size))
    return array


class RowWriter:
    """Rows of a new array on disk (.npy), written one after the other; see `new_rows`.

    Attributes
    ----------
    dtype, shape
        Of the whole array.
    rows
        How many are written.
    """

    def __init__(self, handle: BinaryIO, dtype: np.dtype | type, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape, self.rows = np.dtype(dtype), shape, 0
        self._handle, self._digest = handle, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 of the rows so far, without the file's header."""
        return self._digest.hexdigest()

    def write(self, rows: np.ndarray) -> None:
        """Write rows (n, ...) after those that are there."""
        if rows.dtype != self.dtype or rows.shape[1:] != self.shape[1:]:
            raise ValueError(f"rows are {rows.dtype} {rows.shape[1:]}, not {self.dtype} {self.shape[1:]}")
        data = np.ascontiguousarray(rows)
        self._handle.write(data)
        self._digest.update(data)
        self.rows += len(rows)


@contextmanager
def new_rows(path: str | Path, dtype: np.dtype | type, shape: tuple[int, ...]) -> Iterator[RowWriter]:
    """A new array on disk (.npy) to write row after row; unlike a mapped one it takes no memory as it grows.

    Its room is taken at once: a full disk is told before anything is computed.

    Raises
    ------
    OSError
        There is no room for it.
    ValueError
        The block ended before all rows were written.
    """
    with Path(path).open("wb") as handle:
        rows = RowWriter(handle, dtype, shape)
        header = {"descr": np.lib.format.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(handle, header)
        size = handle.tell() + rows.dtype.itemsize * math.prod(shape)
        os.posix_fallocate(handle.fileno(), 0, size)
        yield rows
        if rows.rows != shape[0]:
            raise ValueError(f"{rows.rows} rows were written, of {shape[0]}")
        handle.flush()
        os.fsync(handle.fileno())


def rows_of(path: str | Path, counts: Iterable[int]) -> Iterator[np.ndarray]:
    """The rows of an array on disk (.npy), so many at a time, one after the other; it takes no more memory."""
    mapped = np.load(path, mmap_mode="r")
    with Path(path).open("rb") as handle:
        handle.seek(mapped.offset)
        for count in counts:
            found = np.fromfile(handle, mapped.dtype, count * math.prod(mapped.shape[1:]))
            yield found.reshape(count, *mapped.shape[1:])


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """A file under a further name: a hard link, which takes no time and no room; a copy where there is none."""
    try:
        os.link(source, target)
    except OSError:
        # No hard links there. What else is wrong, such as a full disk, is wrong with a copy, too.
        shutil.copyfile(source, target)


def _sweep(folder: Path, prefix: str, ending: str) -> None:
    """Remove what writers on this machine left that were killed: half a genome embedding is gigabytes."""
    for path in folder.glob(f"{glob.escape(prefix)}*{glob.escape(ending)}"):
        process = path.name[len(prefix) : len(path.name) - len(ending)]
        if process.isdecimal() and not _is_alive(int(process)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, and alive
    return True


def sha256_bytes(data: bytes | memoryview) -> str:
    """SHA-256 of bytes, as lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's content, as lower-case hex."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file whole, with sorted keys, so that equal values are equal bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text())
