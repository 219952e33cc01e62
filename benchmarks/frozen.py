"""Training on a frozen trunk from what it said of each window, beside running it in each step.

Two trainings from the same weights take the same steps in turn; the second one's windows are embedded before, and
kept on disk, which is timed by itself. Losses of both must be the same. The genome is a window or a few long: a
step takes as long on any.

A frozen trunk could run in each step as it does in inference, which is faster than as a part of training. What
such a step would take is computed: embedding its windows, and a step from what is kept.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe
from benchmarks.training_world import Size, make_data, make_trainer
from tfbind.training.loop import Trainer

SMALL = Size(
    length=24_576,
    bin=128,
    windows=2,
    experiments=40,
    drawn=16,
    cell_types=4,
    chromosome=4 * 24_576,
    model={"trunk": {"dim": 384, "depth": 4, "heads": 8, "dim_divisible_by": 32}, "rank": 256},
)
# The trunk as published (Avsec et al. 2021).
FULL = Size(
    length=196_608,
    bin=128,
    windows=1,
    experiments=200,
    drawn=32,
    cell_types=10,
    chromosome=196_608,
    model={"trunk": {"dim": 1536, "depth": 11, "heads": 8, "dim_divisible_by": 128}, "rank": 256},
)


@contextmanager
def _deterministic() -> Iterator[None]:
    """As in training; whatever runs after is as before."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@_deterministic()
def run(
    full: bool = False, *, size: Size | None = None, rounds: int | None = None, steps: int = 2, more: int = 10
) -> dict[str, Any]:
    """Measure, print a table, and return what the JSON line says.

    Parameters
    ----------
    full
        At Enformer's published size.
    rounds, steps
        Rounds of so many steps each, of either training, all timed; the first of each round finds nothing read
        ahead, and is left out of the share that steps waited.
    more
        Steps that the faster training takes after that, and that are timed, too.
    """
    rounds = rounds or (1 if full else 2)
    size = size or (FULL if full else SMALL)
    data = make_data(size)
    spacing = size.length // size.bin
    with tempfile.TemporaryDirectory() as folder:
        trainers = {
            name: make_trainer(
                size,
                data,
                Path(folder) / name,
                window_spacing=spacing,
                fine_tuning={"mode": "frozen", "cache": cache},
            )
            for name, cache in (("trunk", None), ("cache", {}))
        }
        cache = trainers["cache"].cache
        windows = _windows(trainers["cache"], rounds * steps + more)
        began = time.perf_counter()
        cache.of(windows)
        filled = time.perf_counter() - began
        embedded = filled / len(windows)
        print(
            f"embedding {len(windows)} windows took {filled:.1f} s, {embedded:.2f} s a window, once", flush=True
        )
        found = {name: _Taken() for name in trainers}
        for index in range(rounds):
            for name, trainer in trainers.items():
                found[name].take(trainer, range(index * steps, (index + 1) * steps))
        weights = _largest_difference(*trainers.values())
        losses = {name: list(each.losses) for name, each in found.items()}
        found["cache"].take(trainers["cache"], range(rounds * steps, rounds * steps + more))
    seconds = {name: statistics.median(each.seconds) for name, each in found.items()}
    by_inference = size.windows * embedded + seconds["cache"]
    difference = max(abs(one - other) for one, other in zip(*losses.values(), strict=True))
    print(
        f"windows of {size.length:,} bp, {size.windows} a step, {size.drawn} experiments; trunk of width "
        f"{size.model['trunk']['dim']}, {size.model['trunk']['depth']} layers; {rounds} x {steps} steps"
    )
    print(f"{'':<22} {'s/step':>8} {'steps/s':>8} {'waited for data':>16}")
    for name, each in found.items():
        print(f"{name:<22} {seconds[name]:8.3f} {1 / seconds[name]:8.3f} {each.waited:16.2%}", flush=True)
    print(
        f"a step whose trunk were the inference trunk would take {by_inference:.3f} s (computed), "
        f"{by_inference / seconds['cache']:.1f} times one from what is kept"
    )
    print(f"largest difference of losses {difference:.1e}, of weights after them {weights:.1e}")
    return {
        "ratio": round(seconds["trunk"] / seconds["cache"], 1),
        "ratio_to_inference_trunk": round(by_inference / seconds["cache"], 1),
        "max_abs_diff": difference,
        "weights_max_abs_diff": weights,
        "losses": len(losses["trunk"]),
        "seconds_per_step": {name: round(each, 4) for name, each in seconds.items()},
        "seconds_per_step_by_inference_trunk": round(by_inference, 4),
        "timed_steps": {name: len(each.seconds) for name, each in found.items()},
        "waited": {name: round(each.waited, 5) for name, each in found.items()},
        "seconds_to_embed_a_window": round(embedded, 3),
        "megabytes_a_window": round(cache.window_bytes / 1e6, 2),
        "megabytes_a_mb_and_strand": round(cache.window_bytes / size.length, 1),
        "windows": [size.windows, size.length],
        "experiments": size.drawn,
        "trunk": size.model["trunk"],
        "rank": size.model["rank"],
        "device": describe(),
    }


class _Taken:
    """Seconds and losses of the steps of one training, and how long data were waited for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._waited = self._read_ahead = 0.0

    @property
    def waited(self) -> float:
        """Share of the time of the steps whose data were read ahead."""
        return self._waited / self._read_ahead

    def take(self, trainer: Trainer, steps: range) -> None:
        with trainer.ahead:
            for step in steps:
                before, began = trainer.ahead.waited, time.perf_counter()
                self.losses.append(trainer._step(step))
                self.seconds.append(time.perf_counter() - began)
                if step > steps[0]:
                    self._waited += trainer.ahead.waited - before
                    self._read_ahead += self.seconds[-1]


def _windows(trainer: Trainer, steps: int) -> np.ndarray:
    """Base codes of all windows of the steps, each once."""
    read = (trainer.sampler.batch(step, trainer.settings.batch_size).codes for step in range(steps))
    return np.unique(np.concatenate(list(read)), axis=0)


def _largest_difference(one: Trainer, other: Trainer) -> float:
    """Of weights and running statistics."""
    both = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return max(float((ours - theirs).abs().max()) for ours, theirs in both if ours.is_floating_point())
