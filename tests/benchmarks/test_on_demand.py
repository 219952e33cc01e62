"""A region on demand is measured beside the verb, at sizes that say nothing; both render the same."""

from __future__ import annotations

import json

from benchmarks import on_demand


def test_a_region_on_demand_is_measured_beside_the_verb(monkeypatch, capsys, tmp_path, one_torch_thread):
    for name, size in {"RANK": 16, "REGION": 20_000, "BASES": 60_000}.items():
        monkeypatch.setattr(on_demand, name, size)
    monkeypatch.chdir(tmp_path)
    found = on_demand.run()
    json.dumps(found)
    assert found["max_abs_diff"] == 0 and found["ratio"] > 1
    assert min(found["seconds"].values()) > 0 and found["seconds"].keys() == found["cpu_seconds"].keys()
    printed = capsys.readouterr().out
    assert "on demand, kept" in printed and "tfbind render --region" in printed
    assert list(tmp_path.iterdir()) == []
