"""For test_together.py: train the toy world in the processes that torchrun starts, or in one.

    together.py FOLDER JSON

JSON: `model` and `settings` of the toy's, and, if given, `signal: [rank, step]`: who is sent SIGTERM, and when;
and `measured: true`: coverage and peak scores are there, and predicted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from killable import load_toy
from safetensors.torch import save_file

from tfbind.training import processes
from tfbind.training.loop import Trainer
from tfbind.training.stopping import Stopped


def note_windows(trainer: Trainer, folder: Path) -> None:
    """Keep which windows this process reads."""
    batch, draws = trainer.sampler.batch, []

    def noting(step: int, count: int, part: range) -> Any:
        draws.append([asdict(draw) for draw in trainer.sampler.draw(step, count)[part.start : part.stop]])
        (folder / f"windows.{processes.rank()}.json").write_text(json.dumps(draws))
        return batch(step, count, part)

    trainer.sampler.batch = noting


def send_signal(trainer: Trainer, rank: int, at: int) -> None:
    """This process is told to stop, in the middle of a step."""
    whole = trainer._step

    def interrupted(step: int) -> Any:
        if (processes.rank(), step) == (rank, at):
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(step)

    trainer._step = interrupted


def train(
    folder: Path,
    model: dict[str, Any],
    settings: dict[str, Any],
    at: list[int] | None = None,
    measured: bool = False,
) -> None:
    """Train; the main process writes history.json and weights.safetensors."""
    toy = load_toy()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    folder.mkdir(exist_ok=True)
    made = toy.toy_model(**model)
    trainer = Trainer(
        toy.three_outputs_model() if measured else made,
        toy.measured_data() if measured else toy.toy_data(),
        toy.factors_of_toy(),
        toy.PAIRS,
        toy.SPLIT,
        settings=toy.toy_settings(**settings),
        windows=toy.WINDOWS,
        seed=5,
        state_folder=folder / "state",
        device=torch.device("cpu"),
        names=toy.NAMES,
        reads=[10**6, 10**7, None],
    )
    note_windows(trainer, folder)
    if at is not None:
        send_signal(trainer, *at)
    trainer.run()
    validated = (trainer.model, trainer.factors, trainer.pairs)
    logits = trainer.validator.predict(*validated)
    concluded = trainer.validator.conclude(*validated, method="auto", fdr=0.9, experiments=toy.EXPERIMENTS)
    if processes.is_main():
        np.save(folder / "logits.npy", logits)
        weights = {name: value.contiguous() for name, value in trainer.model.state_dict().items()}
        save_file(weights, folder / "weights.safetensors")
        found = {"history": trainer.state.history, **concluded}
        (folder / "found.json").write_text(json.dumps(found))
    trainer.accelerator.end_training()


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    try:
        train(
            Path(sys.argv[1]),
            given.get("model", {}),
            given["settings"],
            given.get("signal"),
            given.get("measured", False),
        )
    except Stopped as stopped:
        print(stopped)
        sys.exit(128 + stopped.signal)
