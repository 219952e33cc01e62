"""The share of a step that waits for data, at a size that says nothing."""

from __future__ import annotations

import pytest

from benchmarks import loader
from benchmarks.training_world import Size


@pytest.mark.usefixtures("one_torch_thread")
def test_reading_ahead_changes_no_loss(capsys):
    model = {"trunk": {"dim": 48, "depth": 1, "heads": 2, "dim_divisible_by": 12}, "rank": 16}
    tiny = Size(
        length=2048, bin=64, windows=2, experiments=4, drawn=3, cell_types=2, chromosome=8192, model=model
    )
    found = loader.run(sizes={"tiny": tiny, "tiny, cached": tiny}, steps=3)
    assert found["max_abs_diff"] == 0
    assert list(found["waited"]) == list(found["waited_read_ahead"]) == ["tiny", "tiny, cached"]
    assert all(0 < share < 1 for share in found["waited"].values())
    assert "read ahead" in capsys.readouterr().out
