"""Training in several processes, by torchrun and gloo: the same training as in one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tfbind.core.errors import InputError
from tfbind.model.whole_batch import WholeBatchNorm

SCRIPT = Path(__file__).with_name("together.py")
# Every dropout and the motif loss are on, what is known of cell types is hidden at random, the windows do not
# divide evenly, and a panel is normalised, too.
WORLD = {
    "model": {
        "shape": {"text_dim": 3, "cell_types": 2, "learnt": 4},
        "motif_panel": 3,
        "dropout": 0.2,
        "motif_dropout": 0.3,
        "protein_dropout": 0.2,
        "trunk": {
            "dim": 24,
            "depth": 1,
            "heads": 2,
            "dim_divisible_by": 6,
            "dropout": 0.2,
            "attention_dropout": 0.1,
        },
    },
    "settings": {
        "steps": 20,
        "batch_size": 5,
        "validate_every": 5,
        "motif_loss": 0.2,
        "motif_pretraining_steps": 3,
    },
}


def run(folder: Path, processes: int, code: int = 0, **changes: Any) -> str:
    """Run together.py; with one process without torchrun."""
    values = {**WORLD, **changes, "settings": {**WORLD["settings"], **changes.get("settings", {})}}
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), str(SCRIPT), str(folder), json.dumps(values)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def found(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "found.json").read_text())


def columns(folder: Path, name: str) -> np.ndarray:
    return np.array([row[name] for row in found(folder)["history"] if row[name] is not None])


def windows(folder: Path, processes: int) -> list[list[dict]]:
    """What was drawn, step by step."""
    each = [json.loads((folder / f"windows.{rank}.json").read_text()) for rank in range(processes)]
    return [[draw for part in parts for draw in part] for parts in zip(*each, strict=True)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    run(folder, 1)
    return folder


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_train_as_one_does(alone, tmp_path, processes):
    run(tmp_path, processes)
    assert len(columns(alone, "loss")) == 20
    np.testing.assert_allclose(columns(tmp_path, "loss"), columns(alone, "loss"), rtol=0, atol=1e-5)
    assert windows(tmp_path, processes) == windows(alone, 1)


def test_several_losses_are_the_same_in_several_processes(tmp_path):
    losses = {"track": 0.1, "peak_score": 0.5}
    settings = {"steps": 5, "losses": losses, "crop": 2}
    for processes in (1, 2):
        run(tmp_path / f"{processes}", processes, model={}, settings=settings, measured=True)
    for name in ("loss", "loss_binding", "loss_track", "loss_peak_score"):
        alone, two = (columns(tmp_path / folder, name) for folder in ("1", "2"))
        assert len(alone) == 5
        np.testing.assert_allclose(two, alone, rtol=0, atol=1e-5, err_msg=name)


def test_stages_run_again_and_adapters_are_the_same_in_several_processes(make_trainer, tmp_path):
    lora = {"mode": "lora", "lora": {"rank": 2, "dropout": 0.3}}
    settings = {"fine_tuning": lora, "gradient_checkpointing": True, "steps": 5, "motif_pretraining_steps": 0}
    run(tmp_path, 2, settings=settings)
    trainer = make_trainer(model=WORLD["model"], **{**WORLD["settings"], **settings})
    trainer.run()
    losses = [row["loss"] for row in trainer.state.history]
    np.testing.assert_allclose(columns(tmp_path, "loss"), losses, rtol=0, atol=1e-5)


def test_each_validation_bin_is_predicted_once_by_however_many_processes(tmp_path):
    # Weights that do not move. Else Adam moves biases before a normalisation, whose gradient is only rounding, by
    # its full rate, and the running means follow late.
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "motif_pretraining_steps": 0, "steps": 10}
    for processes in (1, 2, 3):
        run(tmp_path / f"{processes}", processes, settings=still)
    expected = found(tmp_path / "1")
    for folder in (tmp_path / "2", tmp_path / "3"):
        np.testing.assert_allclose(np.load(folder / "logits.npy"), np.load(tmp_path / "1/logits.npy"), atol=1e-3)
        auprc = columns(folder, "validation_auprc")
        assert auprc == pytest.approx(columns(tmp_path / "1", "validation_auprc"), abs=1e-4)
        assert found(folder)["thresholds"].keys() == expected["thresholds"].keys()


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_that_are_told_to_stop_stop_together_and_go_on_exactly(tmp_path, rank):
    run(tmp_path / "straight", 2)
    # torchrun itself ends with 1; each process says what happened.
    told = run(tmp_path / "stopped", 2, code=1, signal=[rank, 12])
    assert told.count("stopped by SIGTERM after step 13") == 2
    assert not (tmp_path / "stopped/found.json").exists()
    run(tmp_path / "stopped", 2)
    assert found(tmp_path / "stopped") == found(tmp_path / "straight")
    ours, theirs = (load_file(tmp_path / name / "weights.safetensors") for name in ("stopped", "straight"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_fewer_windows_than_processes_are_an_error(tmp_path):
    told = run(tmp_path, 2, code=1, settings={"batch_size": 1})
    assert "training.batch_size" in told and "at least 2" in told


# Parts of a step.


def test_a_step_in_parts_is_the_same_step(make_trainer, monkeypatch):
    """But for batch normalisation, which sees a part at a time; here it keeps to its running statistics."""
    monkeypatch.setattr(WholeBatchNorm, "forward", _as_in_evaluation)
    losses = []
    for parts in (1, 2, 3):
        trainer = make_trainer(f"{parts}", batch_size=5, gradient_accumulation=parts, motif_loss=0.2, steps=10)
        trainer.run()
        losses.append([row["loss"] for row in trainer.state.history])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(losses[2], losses[0], rtol=0, atol=1e-5)


def _as_in_evaluation(norm: WholeBatchNorm, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False)


def test_more_parts_than_windows_are_an_error(make_trainer):
    with pytest.raises(InputError, match="2 windows a step") as caught:
        make_trainer(batch_size=2, gradient_accumulation=3)
    assert caught.value.key == "training.batch_size"
