"""Proteins by fair-esm's loop and by ours, a few short ones, in one round."""

from __future__ import annotations

import pytest

from benchmarks import proteins


@pytest.mark.usefixtures("one_torch_thread")
def test_both_loops_give_the_same(monkeypatch, capsys):
    monkeypatch.setitem(proteins.ESM2_SIZES, "esm2_t6_8M_UR50D", (2, 40, 5))
    found = proteins.run(lengths=[30, 12, 45], rounds=1)
    assert found["max_abs_diff"] < 1e-5
    assert found["proteins"] == 3 and found["residues"] == 87
    assert set(found["ratio"]) == {"esm2_t6_8M_UR50D"}
    assert "esm2_t6_8M_UR50D" in capsys.readouterr().out
