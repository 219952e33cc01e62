"""Lines of a text file that may be gzipped, with their numbers, so that errors can name the row."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from tfbind.core.errors import InputError

_GZIP_MAGIC = b"\x1f\x8b"


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (row, line) of a plain or gzipped text file: rows count from 1, lines come without their end.

    Raises
    ------
    InputError
        The file is missing, a truncated or damaged gzip, or no text.
    """
    path = Path(path)
    row = 0
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == _GZIP_MAGIC
        if path.suffix == ".gz" and not zipped:
            raise InputError("the name ends in .gz but the content is not gzip", file=path, mend="fetch it again")
        opener = gzip.open if zipped else open
        with opener(path, "rt", encoding="utf-8-sig") as handle:
            for row, line in enumerate(handle, start=1):
                yield row, line.rstrip("\r\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"the gzip file is truncated or damaged ({error})",
            file=path,
            row=row + 1,
            mend="fetch or compress it again; `gzip -t` checks a file",
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            "this is not a text file", file=path, row=row + 1, mend="give a plain or gzipped text file"
        ) from error
    except OSError as error:
        raise InputError(
            f"the file cannot be read ({error.strerror})",
            file=path,
            mend="check the path and its permissions",
        ) from error
