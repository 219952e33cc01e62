"""Reading back the tables that tfbind wrote: rows by column, with the places that errors name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfbind.core.errors import InputError


def read_rows(path: str | Path, columns: Sequence[str], *, mend: str) -> list[tuple[int, dict[str, str]]]:
    """Rows of a TSV: (row as an editor counts lines, cell by column).

    Parameters
    ----------
    columns
        That must be there; others may be.
    mend
        What a user does about a table that is not as it should be.

    Raises
    ------
    InputError
        There is no such file, it is no text, a column is missing, or a row has more or fewer fields than the
        header.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError("there is no such file", file=path, mend=mend) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"is no table ({error})", file=path, mend=mend) from None
    header = lines[0].split("\t") if lines else []
    for column in columns:
        if column not in header:
            raise InputError("this column is missing", file=path, row=1, column=column, mend=mend)
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise InputError(
                f"{len(fields)} fields where the header has {len(header)}", file=path, row=number, mend=mend
            )
        rows.append((number, dict(zip(header, fields, strict=True))))
    return rows
