"""Training from cached embeddings beside running the trunk, at a size that says nothing."""

from __future__ import annotations

import pytest
import torch

from benchmarks import frozen
from benchmarks.training_world import Size


@pytest.mark.usefixtures("one_torch_thread")
def test_both_trainings_take_the_same_steps(capsys):
    model = {"trunk": {"dim": 48, "depth": 1, "heads": 2, "dim_divisible_by": 12}, "rank": 16, "motif_panel": 2}
    size = Size(
        length=2048, bin=64, windows=2, experiments=4, drawn=3, cell_types=2, chromosome=8192, model=model
    )
    before = torch.are_deterministic_algorithms_enabled()
    found = frozen.run(size=size, more=2)
    assert torch.are_deterministic_algorithms_enabled() == before, "later benchmarks run as they would alone"
    assert found["max_abs_diff"] < 1e-6 and found["weights_max_abs_diff"] < 1e-5
    assert found["losses"] == 4 and found["ratio"] > 0
    assert found["timed_steps"] == {"trunk": 4, "cache": 4 + 2}
    cached, computed = found["seconds_per_step"]["cache"], found["seconds_per_step_by_inference_trunk"]
    assert computed == pytest.approx(cached + 2 * found["seconds_to_embed_a_window"], abs=0.0015)
    assert found["ratio_to_inference_trunk"] == pytest.approx(computed / cached, rel=0.01, abs=0.06)
    assert found["megabytes_a_window"] == round(32 * 96 * 4 / 1e6, 2)
    assert "waited for data" in capsys.readouterr().out
