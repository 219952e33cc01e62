"""The benchmark of the trunk runs, and both of its sides find the same."""

from __future__ import annotations

from benchmarks import trunk
from tfbind.model.inference_trunk import Stretch


def test_both_sides_are_measured_and_agree(monkeypatch, capsys):
    sizes = {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6}
    monkeypatch.setattr(trunk, "SIZES", {"tiny": (sizes, Stretch(2, 640, 320, 16))})
    found = trunk.run()
    assert found["ratio"].keys() == found["max_abs_diff"].keys() == {"float32", "bfloat16"}
    assert found["max_abs_diff"]["float32"] < 1e-5 and found["max_abs_diff"]["bfloat16"] < 0.1
    assert all(0.3 < row["standard_deviation"] < 0.5 and row["gflop"] > 0 for row in found["rows"])
    assert capsys.readouterr().out.count("tiny") == 2
