"""What share of a training step waits for its data: read in the step, and read while the one before computes.

Trainings of the sizes of the demo, of yeast and of a human genome: there one window of Enformer's a step, 1,000
experiments in 100 cell types, and a small trunk that is frozen, and cached. Steps in which more runs take longer,
and wait for a smaller share.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe
from benchmarks.training_world import Size, make_data, make_trainer
from tfbind.training.loop import Trainer

SIZES = {
    "demo": Size(8192, 64, 8, 24, 24, 2, 2_000_000, {"trunk": {"dim": 96, "depth": 1, "dim_divisible_by": 16}}),
    "yeast": Size(
        4096,
        64,
        4,
        70,
        35,
        1,
        8_000_000,
        {"trunk": {"dim": 96, "depth": 2, "dim_divisible_by": 16}, "motif_panel": 48, "motif_width": 0},
    ),
}
HUMAN = Size(
    196_608, 128, 1, 1000, 32, 100, 10_000_000, {"trunk": {"dim": 384, "depth": 2, "heads": 8}, "rank": 256}
)
FULL_SIZES = {**SIZES, "human, frozen": HUMAN, "human, cached": HUMAN}


def run(full: bool = False, *, sizes: dict[str, Size] | None = None, steps: int = 5) -> dict[str, Any]:
    """Measure, print a table, and return what the JSON line says.

    Parameters
    ----------
    full
        With the human genome's sizes.
    steps
        That are timed, of either way, one after the other.
    """
    sizes = sizes or (FULL_SIZES if full else SIZES)
    print(f"{'training':<14} {'s/step':>8} {'ms to read':>11} {'waited':>8} {'read ahead':>11}")
    found = {name: _measure(name, size, steps) for name, size in sizes.items()}
    return {
        "ratio": {name: round(each["waited"] / max(each["ahead"], 1e-9), 1) for name, each in found.items()},
        "waited": {name: round(each["waited"], 5) for name, each in found.items()},
        "waited_read_ahead": {name: round(each["ahead"], 5) for name, each in found.items()},
        "seconds_per_step": {name: round(each["step"], 4) for name, each in found.items()},
        "max_abs_diff": max(each["difference"] for each in found.values()),
        "windows": {name: [size.windows, size.length] for name, size in sizes.items()},
        "experiments": {name: size.experiments for name, size in sizes.items()},
        "device": describe(),
    }


def _measure(name: str, size: Size, steps: int) -> dict[str, float]:
    data = make_data(size)
    settings: dict[str, Any] = {}
    if "," in name:
        cache = {} if name.endswith("cached") else None
        settings = {
            "fine_tuning": {"mode": "frozen", "cache": cache},
            "window_spacing": size.length // size.bin,
        }
    with tempfile.TemporaryDirectory() as folder:
        both = [make_trainer(size, data, Path(folder) / kind, **settings) for kind in ("in", "ahead")]
        for trainer in both:
            _fill(trainer, 2 * steps + 1)
        in_step = both[0]
        in_step.ahead.of = lambda step: _in_step(in_step, step)
        shares: list[float] = []
        taken, losses = ([], []), ([], [])
        for index, trainer in enumerate(both):
            with trainer.ahead:
                losses[index].append(trainer._step(0))  # warms up, and finds nothing read ahead
                trainer.ahead.waited = 0.0
                for step in range(1, steps + 1):
                    began = time.perf_counter()
                    losses[index].append(trainer._step(step))
                    taken[index].append(time.perf_counter() - began)
                shares.append(trainer.ahead.waited / sum(taken[index]))
    seconds = statistics.median(taken[1])
    read = shares[0] * sum(taken[0]) / steps
    print(f"{name:<14} {seconds:8.3f} {1000 * read:11.2f} {shares[0]:8.2%} {shares[1]:11.3%}", flush=True)
    difference = max(abs(one - other) for one, other in zip(*losses, strict=True))
    return {"step": seconds, "waited": shares[0], "ahead": shares[1], "difference": difference}


def _in_step(trainer: Trainer, step: int) -> Any:
    """The data of a step, read when it asks."""
    began = time.perf_counter()
    found = trainer._own_windows(step)
    trainer.ahead.waited += time.perf_counter() - began
    return found


def _fill(trainer: Trainer, steps: int) -> None:
    """Keep noise for what the trunk says of windows, whose content makes no difference here."""
    if trainer.cache is None:
        return
    noise = torch.randn(
        trainer.cache.bins, trainer.model.trunk.width, generator=torch.Generator().manual_seed(0)
    ).numpy()
    for step in range(steps):
        for window in trainer.sampler.batch(step, trainer.settings.batch_size).codes:
            trainer.cache._keep(trainer.cache._path(window), noise)
