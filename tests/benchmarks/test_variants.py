"""What variants cost, at sizes that say nothing, in one round."""

from __future__ import annotations

import yaml

from benchmarks import variants


def test_every_variant_takes_a_step_and_makes_tracks(monkeypatch, capsys):
    for name, size in {"ROUNDS": 1, "RESIDUES": 12, "TRACKS": 2, "BINS": 128}.items():
        monkeypatch.setattr(variants, name, size)
    found = variants.run()
    names = list(yaml.safe_load((variants.ROOT / "config/ablation.yaml").read_text()))
    assert list(found["ratio"]) == names
    assert found["ratio"]["factored"] == {"step": 1.0, "track": 1.0}
    assert all(ratio > 0 for both in found["ratio"].values() for ratio in both.values())
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["variant", *names]
