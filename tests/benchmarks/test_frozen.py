"""Training from cached embeddings beside running the trunk, at a size that says nothing."""

from __future__ import annotations

import torch

from benchmarks import frozen
from benchmarks.training_world import Size


def test_both_trainings_take_the_same_steps(capsys):
    torch.set_num_threads(1)
    model = {"trunk": {"dim": 48, "depth": 1, "heads": 2, "dim_divisible_by": 12}, "rank": 16, "motif_panel": 2}
    size = Size(
        length=2048, bin=64, windows=2, experiments=4, drawn=3, cell_types=2, chromosome=8192, model=model
    )
    try:
        found = frozen.run(size=size, more=2)
    finally:
        torch.use_deterministic_algorithms(False)
    assert found["max_abs_diff"] < 1e-6 and found["weights_max_abs_diff"] < 1e-5
    assert found["losses"] == 4 and found["ratio"] > 0
    assert found["megabytes_a_window"] == round(32 * 96 * 4 / 1e6, 2)
    assert "waited for data" in capsys.readouterr().out
