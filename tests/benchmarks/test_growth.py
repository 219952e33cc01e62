"""How cost grows is measured by real embedding, rendering and training; what hg38 costs is computed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import child, cost, growth
from benchmarks.plots import plot_growth


def prepare_bytes(count: int):
    """Work that touches so many bytes."""
    return lambda: np.ones(count, dtype=np.uint8).sum() and [np.ones(10**6).sum() for _ in range(50)]


def test_the_memory_of_a_piece_of_work_is_what_it_added():
    costs = [child.measure(prepare_bytes, count=count) for count in (50_000_000, 200_000_000)]
    assert costs[1].mebibytes - costs[0].mebibytes == pytest.approx(143, abs=20)
    assert all(each.cpu_seconds > 0 and each.seconds > 0 for each in costs)


def test_each_axis_is_measured_and_drawn(monkeypatch, capsys, tmp_path):
    axes = {
        "genome": growth.Axis(
            "bp", (60_000, 90_000), (), {"embed": lambda bases: growth.embed_task(bases, 4096)}
        ),
        "factors": growth.Axis("", (2,), (), {"render": lambda factors: growth.render_task(60_000, factors)}),
    }
    monkeypatch.setattr(growth, "AXES", axes)
    found = growth.run()
    assert found["ratio"].keys() == {"genome", "factors"}
    for axis in found["axes"].values():
        for costs in axis["tasks"].values():
            assert all(len(column) == len(axis["sizes"]) and min(column) > 0 for column in costs.values())
    assert capsys.readouterr().out.count("embed") == 2
    plot_growth(found, tmp_path / "growth")
    assert (tmp_path / "growth.svg").stat().st_size > 1000


def test_hours_and_bytes_are_constants_times_counts():
    constants = cost.Constants(10, 1000, 4.45e14, 2.0, 8.0, 1.0, 50.0, 5.0, 1.0, 2e6)
    one, many = cost.cost(constants, 1, 1), cost.cost(constants, 100, 10)
    assert one.gpu_hours == many.gpu_hours == pytest.approx(10 / 3600, rel=1e-3), "the genome is embedded once"
    assert one.cpu_hours == pytest.approx(51 / 3600)
    assert many.cpu_hours == pytest.approx(10 * (50 + 99 * 5 + 100) / 3600)
    assert cost.cost(constants, 300, 1).cpu_hours == pytest.approx((3 * 50 + 297 * 5 + 300) / 3600), "3 passes"
    assert many.pair_gpu_hours == pytest.approx(1000 * one.gpu_hours)
    assert many.pair_cpu_hours == pytest.approx(1000 * 10 * 9 / 3600)
    assert many.terabytes == pytest.approx((1000 * 256 * 2 + 1000 * 2e6) / 1e12)


def test_the_table_of_the_docs_is_what_the_results_say():
    docs = (cost.RESULTS.parents[1] / "docs/speed.md").read_text()
    assert cost.table(cost.read_constants()) in docs


def test_results_of_small_sizes_are_no_constants(tmp_path):
    (tmp_path / "trunk.json").write_text(json.dumps({"full": False}))
    with pytest.raises(ValueError, match="--full --results"):
        cost.read_constants(tmp_path)
