"""The plan at the scale of hg38: 1,000 factors x 100 cell types and 10,000 experiments are few jobs."""

from __future__ import annotations

import math

import pytest

from benchmarks import dag
from tfbind.config import load_config
from tfbind.downloads import download_batches
from tfbind.tables import read_tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dag")


@pytest.fixture(scope="module")
def configs(folder):
    return dag.data_sets(folder)


def test_the_made_up_tables_are_of_the_size_and_look_of_the_real_ones(folder, configs, monkeypatch):
    monkeypatch.chdir(folder)
    config = load_config(configs["human"])
    tables = read_tables(config)
    assert len({row.uniprot for row in tables.factors}) == 1000
    assert len({row.accessibility.source for row in tables.cell_types}) == 100
    assert len({row.peaks.source for row in tables.experiments}) == 10_000
    assert {row.factor for row in tables.experiments} == {row.factor for row in tables.factors}
    assert {row.cell_type for row in tables.experiments} == {row.cell_type for row in tables.cell_types}
    assert len({each.path for batch in download_batches(config, tables).values() for each in batch}) == 11_102


@pytest.mark.parametrize("name", ["human", "human, by path"])
def test_hg38_stays_under_a_thousand_jobs(folder, configs, name):
    plan = dag.dry_run(folder, configs[name])
    assert 0 < plan.total < 1000 and plan.seconds > 0 and plan.megabytes > 0
    assert plan.jobs["render"] == 100 * math.ceil(1000 / 256) and plan.jobs["gather"] == 100
    downloads = {rule: count for rule, count in plan.jobs.items() if rule.startswith("download_")}
    assert all(count <= (100 if rule == "download_accessibility" else 32) for rule, count in downloads.items())
    assert bool(downloads) == (name == "human")


def test_the_json_line_has_the_ratio_of_what_was_measured_side_by_side(monkeypatch, capsys):
    plans = {
        "yeast": dag.Plan({"all": 1, "embed": 1}, 2.0, 1.0, 100.0),
        "human": dag.Plan({"all": 1, "embed": 5}, 8.0, 3.0, 150.4),
    }
    order = []
    monkeypatch.setattr(dag, "data_sets", lambda folder: {name: name for name in plans})
    monkeypatch.setattr(dag, "dry_run", lambda folder, name: order.append(name) or plans[name])
    found = dag.run()
    assert order == ["yeast", "human"] * dag.ROUNDS
    assert found["ratio"] == {"seconds": 4.0, "cpu_seconds": 3.0, "jobs": 3.0}
    assert found["jobs"] == {"yeast": 2, "human": 6} and found["megabytes"] == {"yeast": 100, "human": 150}
    assert "embed" in capsys.readouterr().out
