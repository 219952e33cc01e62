"""Benchmarks by name: one line of JSON each, after the table."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as benchmarks
from benchmarks import dag, machine


@pytest.fixture
def fake(monkeypatch, tmp_path):
    def run(full: bool = False):
        print("a table")
        return {"ratio": 4.0 if full else 2.0}

    monkeypatch.setattr(dag, "run", run)
    monkeypatch.setattr(benchmarks, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_a_line_of_json_comes_last(fake, capsys):
    benchmarks.main(["dag"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a table" and json.loads(lines[-1]) == {"name": "dag", "full": False, "ratio": 2.0}
    assert not fake.exists()


def test_the_line_is_kept_where_asked(fake, capsys):
    benchmarks.main(["dag", "--full", "--results"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line == {"name": "dag", "full": True, "ratio": 4.0}
    assert [path.name for path in fake.iterdir()] == ["dag.json"]
    assert json.loads((fake / "dag.json").read_text()) == line


def test_an_unknown_name_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        benchmarks.main(["fast"])
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("no such benchmark: fast; there are\n") and "\n  dag " in told


def test_each_has_a_module():
    for name in benchmarks.BENCHMARKS:
        run = import_module(f"benchmarks.{name}").run
        assert inspect.signature(run).parameters["full"].default is False


def test_each_module_is_among_them():
    modules = {path.stem for path in Path(benchmarks.__file__).parent.glob("*.py")}
    shared = {"__init__", "__main__", "child", "machine", "plots", "synthetic", "training_world"}
    assert modules - shared <= set(benchmarks.BENCHMARKS)


def test_results_that_are_kept_are_lines_of_benchmarks():
    for path in benchmarks.RESULTS.glob("*.json"):
        line = json.loads(path.read_text())
        assert line["name"] == path.stem and {"ratio", "device"} <= set(line)


def test_the_machine_is_told():
    told = machine.describe()
    threads = torch.get_num_threads()
    assert f"{threads} thread" in told and f"torch {torch.__version__}" in told and "NumPy" in told
