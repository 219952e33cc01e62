"""The benchmark of embedding runs at tiny sizes, and both of its ways give the same tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import embed
from tfbind.config import WindowSettings

TINY = replace(
    embed.LEAN, windows=WindowSettings(bin=128, length=2048, core=1024), bp=20_000, motifs=3, at_once=4
)


@pytest.fixture
def tiny(monkeypatch):
    model = {"rank": 16, "heads": 4, "motif_panel": 4}
    monkeypatch.setattr(embed, "SMALL", {"demo": replace(TINY, model=model)})
    monkeypatch.setattr(embed, "LEAN", TINY)
    monkeypatch.setattr(embed, "TIMES_AS_LONG", (2,))


def test_both_ways_give_the_same_and_the_share_is_told(tiny, capsys):
    found = embed.run()
    assert found["max_abs_diff"] < 1e-5
    (case,) = found["cases"].values()
    # One of the windows is all N.
    assert case["windows"] == 19 and case["max_abs_diff_stored"] < 4e-3
    assert 0 < found["share"] < 1 and found["ratio"] > 0
    (peak,) = found["peak_mebibytes"].values()
    assert 0 < peak["own"] < peak["all"]
    assert "peak memory, a chromosome of 2 x 0.02 Mb" in capsys.readouterr().out
