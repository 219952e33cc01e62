"""Plain or gzip-compressed text, read in blocks; damage is an error that names the file."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tfbind.core.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
BLOCK_BYTES = 1 << 24
# Every BGZF (bgzip) file ends with this empty block (SAM specification, section 4.1.2).
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
MEND = "download or copy the file again and compare its sha256"


def is_gzip(path: Path) -> bool:
    """Whether the content begins as gzip does; an InputError where only the name says so."""
    if not path.is_file():
        raise InputError("there is no such file", file=path, mend="check the path")
    with path.open("rb") as handle:
        magic = handle.read(2)
    if path.suffix.lower() in (".gz", ".bgz") and magic != GZIP_MAGIC:
        raise InputError("the name says gzip, but the content is not gzip", file=path, mend=MEND)
    return magic == GZIP_MAGIC


def read_blocks(path: str | Path, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the decompressed content in blocks of at most `size` bytes.

    Raises
    ------
    InputError
        The file is missing, is no gzip although named so, or is truncated or damaged.
    """
    path = Path(path)
    if not is_gzip(path):
        with path.open("rb") as handle:
            yield from iter(lambda: handle.read(size), b"")
        return
    _require_bgzf_end(path)
    try:
        with gzip.open(path, "rb") as handle:
            yield from iter(lambda: handle.read(size), b"")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"truncated or damaged gzip ({error})", file=path, mend=MEND) from error


def read_lines(path: str | Path, size: int = BLOCK_BYTES) -> Iterator[list[bytes]]:
    """Yield the lines, without their ends, in blocks of about `size` bytes; errors as `read_blocks`."""
    rest = b""
    for block in read_blocks(path, size):
        text = rest + block
        cut = text.rfind(b"\n") + 1
        if cut:
            yield text[:cut].splitlines()
        rest = text[cut:]
    if rest:
        yield rest.splitlines()


def _require_bgzf_end(path: Path) -> None:
    """A bgzip file cut between two blocks is whole to a gzip reader: only its end marker tells."""
    with path.open("rb") as handle:
        if not _is_bgzf(handle):
            return
        handle.seek(0, os.SEEK_END)
        handle.seek(max(0, handle.tell() - len(BGZF_END)))
        if handle.read() != BGZF_END:
            raise InputError("truncated bgzip: its end marker is missing", file=path, mend=MEND)


def _is_bgzf(handle: BinaryIO) -> bool:
    head = handle.read(14)
    return len(head) == 14 and bool(head[3] & 4) and head[12:14] == b"BC"
