"""Benchmarks by name: one line of JSON each, after the table."""

from __future__ import annotations

import json

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import dag


def test_a_line_of_json_comes_last(monkeypatch, capsys):
    monkeypatch.setattr(dag, "run", lambda: print("a table") or {"ratio": 2.0})
    benchmarks.main(["dag"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a table" and json.loads(lines[-1]) == {"name": "dag", "ratio": 2.0}


def test_an_unknown_name_is_told():
    with pytest.raises(SystemExit, match=r"no such benchmark: fast; there are\n  dag "):
        benchmarks.main(["fast"])
