"""Writing tracks side by side, at sizes that say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import bigwig


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(bigwig, "SMALL", {"chr1": 500_001, "chr2": 300_000})
    monkeypatch.setattr(bigwig, "TRACKS", 2)
    monkeypatch.setattr(bigwig, "DEMO", tmp_path / "none")


def test_all_write_the_same_values(small, capsys):
    found = bigwig.run()
    assert found["max_abs_diff"] == 0 and found["rounding"] is None
    assert found["one_track"]["tfbind"]["mean_off"] < 1e-6
    assert set(found["ratio"]) == set(found["one_track"])
    assert all(each["megabytes"] >= 0 and each["cpu_seconds"] >= 0 for each in found["one_track"].values())
    printed = capsys.readouterr().out
    assert all(name in printed for name in found["one_track"]) and "2 tracks, 1 at a time" in printed


def test_the_track_is_like_the_demos():
    values = bigwig.made_up({"chr1": 128 * 200_000})["chr1"]
    assert values.dtype == np.float32
    np.testing.assert_allclose(np.quantile(values, [0.25, 0.5, 0.9]), [9.57e-5, 2.29e-4, 5.28e-3], rtol=0.1)


@pytest.mark.parametrize("name", bigwig.ROUNDINGS)
def test_ways_of_rounding_round(name):
    values = np.linspace(1e-3, 0.999, 500, dtype=np.float32)
    rounded = bigwig.ROUNDINGS[name](values)
    assert rounded.dtype == np.float32 and rounded.shape == values.shape
    np.testing.assert_allclose(rounded, values, atol=0.011)
