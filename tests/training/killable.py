"""A training to be killed: `killable.py FOLDER` trains the toy world slowly, and says each step before it."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import torch

from tfbind.model.checkpoint import save_checkpoint
from tfbind.training.history import write_history
from tfbind.training.loop import Trainer


def load_toy() -> ModuleType:
    """The toy world, outside pytest."""
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("conftest.py"))
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    return toy


def train(folder: Path, *, pause: float = 0) -> None:
    """Train as `tfbind train` does: state, history and model in a folder; before each step, pause (s)."""
    toy = load_toy()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    trainer = Trainer(
        toy.toy_model(),
        toy.toy_data(),
        toy.factors_of_toy(),
        toy.PAIRS,
        toy.SPLIT,
        settings=toy.toy_settings(steps=6, motif_loss=0.1, motif_pretraining_steps=2),
        windows=toy.WINDOWS,
        seed=5,
        state_folder=folder / "state",
        device=torch.device("cpu"),
        names=toy.NAMES,
    )
    step = trainer._step

    def say(number: int) -> float:
        print(f"step {number}", flush=True)
        time.sleep(pause)
        return step(number)

    trainer._step = say
    trainer.run()
    save_checkpoint(folder / "model", trainer.model, {"best": trainer.state.best})
    write_history(folder / "history.tsv", trainer.state.history)


if __name__ == "__main__":
    train(Path(sys.argv[1]), pause=0.2)
