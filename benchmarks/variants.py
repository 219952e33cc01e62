"""What each variant of config/ablation.yaml costs: a step of training, and a track, beside the factored head.

Models of the yeast run's sizes, with weights drawn at random, on random DNA, proteins and motifs. Variants take
turns, so that what else the machine does is shared by all.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tfbind.config import Config, load_config
from tfbind.evaluation.ablation import read_variants
from tfbind.model.binding import BindingModel
from tfbind.model.contexts import ContextBatch
from tfbind.model.factors import FactorBatch
from tfbind.model.shape import ModelShape

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
RESIDUES, RESIDUE_DIM, COLUMNS = 500, 20, 15
# Factors and bins that are rendered at once, in as many windows as that takes.
TRACKS, BINS = 16, 1024


def run(full: bool = False) -> dict[str, Any]:
    """Measure, and print a table; sizes are always the yeast run's."""
    config = load_config(ROOT / "config/yeast/config.yaml")
    variants = read_variants(ROOT / "config/ablation.yaml", config)
    jobs = {name: _jobs(variant) for name, variant in variants.items()}
    taken: dict[str, list[list[float]]] = {name: [] for name in jobs}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for name, both in jobs.items():
            taken[name].append([_seconds(job) for job in both])
    times = {
        name: [statistics.median(column) for column in zip(*rounds[1:], strict=True)]
        for name, rounds in taken.items()
    }
    first = next(iter(times))
    ratios = {name: [own / base for own, base in zip(times[name], times[first], strict=True)] for name in times}
    print(f"{'variant':<20} {'step':>8} {'ratio':>6} {'track':>8} {'ratio':>6}   seconds, of {ROUNDS} rounds")
    for name, (step, track) in times.items():
        print(f"{name:<20} {step:8.3f} {ratios[name][0]:6.2f} {track:8.4f} {ratios[name][1]:6.2f}")
    return {
        "ratio": {
            name: {"step": round(step, 3), "track": round(track, 3)} for name, (step, track) in ratios.items()
        },
        "rounds": ROUNDS,
        "windows": [config.training.batch_size, config.windows.length],
        "experiments": config.training.experiments_per_step,
        "rendered": {"factors": TRACKS, "bins": BINS},
        "device": f"CPU, {torch.get_num_threads()} threads, {platform.machine()}",
    }


def _jobs(config: Config) -> tuple[Callable[[], None], Callable[[], None]]:
    """A training step (forward and backward), and the rendering of one track."""
    torch.manual_seed(0)
    bins, length = config.windows.length // config.windows.bin, config.windows.length
    shape = ModelShape(
        config.windows.bin, RESIDUE_DIM, window_bins=bins, cell_types=1, learnt=config.contexts.learnt
    )
    model = BindingModel(config.model, shape, panel=torch.randn(70, COLUMNS, 4))
    windows, experiments = config.training.batch_size, config.training.experiments_per_step
    codes, factors, contexts = _inputs(windows, length, bins, experiments)
    pairs = torch.stack([torch.arange(experiments), torch.zeros(experiments, dtype=torch.int64)], 1)

    def step() -> None:
        model.train()
        model.zero_grad()
        model(codes, factors, contexts, pairs).binding.square().mean().backward()

    # A head that is not local is given windows; one that is, all bins at once.
    runs, per_run = (1, BINS) if model.head.local else (BINS // bins, bins)
    dna, some, around = _inputs(runs, per_run * config.windows.bin, per_run, TRACKS)
    tokens = torch.randn(runs, per_run, config.model.rank)

    def track() -> None:
        model.eval()
        with torch.inference_mode():
            code = model.head.encode_factors(some)
            model.head.decode(tokens, dna, code, around, pairs[:TRACKS], config.windows.bin)

    return step, track


def _inputs(windows: int, length: int, bins: int, factors: int) -> tuple[torch.Tensor, FactorBatch, ContextBatch]:
    codes = torch.randint(0, 4, (windows, length), dtype=torch.uint8)
    proteins = FactorBatch(
        torch.randn(factors, RESIDUES, RESIDUE_DIM),
        torch.ones(factors, RESIDUES, dtype=torch.bool),
        torch.randn(factors, COLUMNS, 4),
        torch.ones(factors, dtype=torch.bool),
    )
    known = (torch.ones(1, dtype=torch.bool), torch.zeros(1, 0), torch.zeros(1, dtype=torch.bool))
    return codes, proteins, ContextBatch(torch.rand(windows, bins, 1), *known, torch.zeros(1, dtype=torch.int64))


def _seconds(job: Callable[[], None]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
