"""Reading windows side by side, at sizes that say nothing: all read the same bases."""

from __future__ import annotations

from benchmarks import windows


def test_all_read_the_same_bases(monkeypatch, capsys):
    for name, value in {"LENGTH": 1280, "SIZES": {False: 100_037}, "ROUNDS": 1, "SECONDS": 0.01}.items():
        monkeypatch.setattr(windows, name, value)
    found = windows.run()
    assert found["max_abs_diff"] == 0
    rates = found["windows_per_second"]
    assert len(rates) == 8 and all(rate > 0 for rate in rates.values())
    assert all(name in capsys.readouterr().out for name in list(rates)[:1])
