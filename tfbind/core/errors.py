"""Errors that are meant for people."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Something a user gave is wrong: says where, what, and how to mend it.

    Parameters
    ----------
    problem
        What is wrong, in one sentence.
    file, row, column, key
        Where: a file, a row of it (1-based, as an editor counts lines), a column's name, a config key.
    mend
        What the user can do about it.

    Attributes
    ----------
    told : str
        Where and what, without the mend.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        row: int | None = None,
        column: str | None = None,
        key: str | None = None,
        mend: str | None = None,
    ) -> None:
        where = []
        if file is not None:
            where.append(str(file))
        if row is not None:
            where.append(f"row {row}")
        if column is not None:
            where.append(f"column '{column}'")
        if key is not None:
            where.append(f"key '{key}'")
        told = f"{', '.join(where)}: {problem}" if where else problem
        super().__init__(f"{told}\n  mend: {mend}" if mend else told)
        self.told = told
        self.problem, self.mend = problem, mend
        self.file, self.row, self.column, self.key = file, row, column, key


class UnknownNameError(InputError):
    """A name that stands for nothing there is."""
