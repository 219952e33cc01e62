"""What a track costs, at sizes that say nothing."""

from __future__ import annotations

from benchmarks import render


def test_tracks_are_measured_beside_pairs(monkeypatch, capsys, tmp_path):
    sizes = {
        "RANK": 16,
        "RESIDUES": 9,
        "PART": 40_000,
        "MEGABASE": 20_000,
        "TRACKS": 4,
        "CELL_TYPES": 2,
        "ROUNDS": 1,
        "FILL_ROUNDS": 1,
    }
    small = {"dim": 384, "depth": 1, "bp": 2048, "kept": 8}
    for name, size in {**sizes, "SMALL": small, "KINDS": dict([*render.KINDS.items()][:2])}.items():
        monkeypatch.setattr(render, name, size)
    monkeypatch.chdir(tmp_path)
    found = render.run()
    assert 0 < found["max_abs_diff"] < 1e-4 and found["ratio"] > 0
    assert found["beside_pairs"]["pairs_multiplied_to"] == 20 * 8
    tracks = found["cpu_seconds_a_track_of_hg38"]
    assert [*tracks][:2] == [*render.KINDS] and len(tracks) == 3
    assert all(each["a_track"] > 0 for each in tracks.values())
    assert all(share["flops"] > 0 for share in found["shares_of_the_trunk"].values())
    printed = capsys.readouterr().out
    assert "multiplied" in printed and "a cell type more" in printed
    assert list(tmp_path.iterdir()) == []
