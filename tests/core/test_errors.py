from __future__ import annotations

from pathlib import Path

import pytest

from tfbind.core.errors import InputError


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ({}, "is wrong"),
        ({"file": Path("a/b.tsv")}, "a/b.tsv: is wrong"),
        ({"file": "b.tsv", "row": 3, "column": "peaks"}, "b.tsv, row 3, column 'peaks': is wrong"),
        ({"key": "training.steps"}, "key 'training.steps': is wrong"),
        ({"file": "b.tsv", "row": 1, "mend": "mend it"}, "b.tsv, row 1: is wrong\n  mend: mend it"),
    ],
)
def test_says_where_what_and_how_to_mend_it(where, text):
    error = InputError("is wrong", **where)
    assert str(error) == text
    assert error.problem == "is wrong"
    assert (error.file, error.row) == (where.get("file"), where.get("row"))
    assert isinstance(error, ValueError)
