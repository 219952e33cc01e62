"""How time and memory grow with genome, window, rank, factors, cell types, and experiments in training.

Each size is measured in a process of its own, all sizes in turn and several times, so that what else the machine
does is shared. Models have random weights: what they say does not matter here, what they take does.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.child import Cost, measure
from benchmarks.machine import describe
from benchmarks.synthetic import make_world
from benchmarks.training_world import Size, make_data, make_trainer
from tfbind.config import ModelSettings, TrunkSettings, WindowSettings
from tfbind.genome.intervals import bin_count
from tfbind.genome.reference import Reference
from tfbind.model.data import open_genome_data
from tfbind.prediction.embed import GenomeEmbedding, assemble, embed_shard, shard_stretches
from tfbind.prediction.render import CellTypeTracks, render_cell_types

BIN = 128
RANK = 256
WINDOWS_A_STEP, STEPS = 4, 3
Work = Callable[[], Any]


@dataclass(frozen=True)
class Axis:
    """One thing that grows, all else held.

    Attributes
    ----------
    unit
        Of the sizes.
    sizes, full
        In a run of minutes, and in a full one.
    tasks
        What is measured at each size, by name: from the size to a cost.
    """

    unit: str
    sizes: tuple[int, ...]
    full: tuple[int, ...]
    tasks: dict[str, Callable[[int], Cost]]


def embed_task(bases: int, length: int = 16_384, rank: int = RANK) -> Cost:
    """Embedding of a genome."""
    return measure(prepare_embedding, bases=bases, length=length, rank=rank)


def render_task(bases: int = 2_000_000, factors: int = 8, cell_types: int = 1, rank: int = RANK) -> Cost:
    """Rendering of tracks, to bigWigs."""
    return measure(prepare_rendering, bases=bases, factors=factors, cell_types=cell_types, rank=rank)


def step_task(experiments: int) -> Cost:
    """Some steps of training."""
    return measure(prepare_step, experiments=experiments)


AXES = {
    "genome": Axis(
        "bp",
        (500_000, 1_000_000, 2_000_000),
        (1_000_000, 2_000_000, 4_000_000, 8_000_000),
        {"embed": lambda bases: embed_task(bases), "render 8 tracks": lambda bases: render_task(bases)},
    ),
    "window": Axis(
        "bp",
        (4_096, 8_192, 16_384),
        (8_192, 16_384, 32_768, 65_536),
        {"embed 2 Mb": lambda length: embed_task(2_000_000, length)},
    ),
    "rank": Axis(
        "",
        (64, 128, 256),
        (64, 128, 256, 512),
        {
            "embed 2 Mb": lambda rank: embed_task(2_000_000, rank=rank),
            "render 8 tracks": lambda rank: render_task(rank=rank),
        },
    ),
    "factors": Axis(
        "", (1, 4, 16), (1, 4, 16, 64, 256), {"render 2 Mb": lambda factors: render_task(factors=factors)}
    ),
    "cell types": Axis(
        "", (1, 2, 4), (1, 2, 4, 8, 16), {"render 8 tracks each": lambda cells: render_task(cell_types=cells)}
    ),
    "experiments": Axis(
        "", (8, 32, 128), (8, 32, 128, 512), {"3 steps": lambda experiments: step_task(experiments)}
    ),
}


def run(full: bool = False) -> dict[str, Any]:
    """Measure, and print a table."""
    rounds = 2 if full else 1
    found: dict[str, Any] = {}
    for name, axis in AXES.items():
        sizes = axis.full if full else axis.sizes
        costs = _measure(name, axis, sizes, rounds)
        found[name] = {"unit": axis.unit, "sizes": list(sizes), "tasks": costs}
    print_table(found)
    return {
        "ratio": {name: _growths(axis) for name, axis in found.items()},
        "axes": found,
        "rounds": rounds,
        "bin": BIN,
        "rank": RANK,
        "trunk": settings(RANK).trunk.model_dump(include={"dim", "depth", "heads"}),
        "device": describe(),
    }


def _measure(name: str, axis: Axis, sizes: tuple[int, ...], rounds: int) -> dict[str, dict[str, list[float]]]:
    taken: dict[tuple[str, int], list[Cost]] = {}
    for _ in range(rounds):
        for task, work in axis.tasks.items():
            for size in sizes:
                print(f"{name}: {task}, {size:,} {axis.unit}", file=sys.stderr)
                taken.setdefault((task, size), []).append(work(size))
    return {
        task: {
            of: [round(statistics.median(getattr(cost, of) for cost in taken[task, size]), 3) for size in sizes]
            for of in ("seconds", "cpu_seconds", "mebibytes")
        }
        for task in axis.tasks
    }


def _growths(axis: dict[str, Any]) -> dict[str, float]:
    """By how much the time grows where the size grows from the first to the last: 1 is in proportion."""
    grown = axis["sizes"][-1] / axis["sizes"][0]
    return {
        task: round(costs["cpu_seconds"][-1] / costs["cpu_seconds"][0] / grown, 3)
        for task, costs in axis["tasks"].items()
    }


def print_table(found: dict[str, Any]) -> None:
    """A row a size and task."""
    print(f"{'axis':<12} {'task':<22} {'size':>12} {'seconds':>9} {'CPU s':>9} {'MiB':>8}")
    for name, axis in found.items():
        for task, costs in axis["tasks"].items():
            columns = zip(axis["sizes"], costs["seconds"], costs["cpu_seconds"], costs["mebibytes"], strict=True)
            for size, seconds, processor, mebibytes in columns:
                print(f"{name:<12} {task:<22} {size:>12,} {seconds:>9.2f} {processor:>9.2f} {mebibytes:>8.0f}")


def settings(rank: int) -> ModelSettings:
    """A middling model: the defaults of the head, and a trunk that two cores run in reasonable time."""
    trunk = TrunkSettings(dim=192, depth=2, heads=4, dim_divisible_by=32)
    return ModelSettings(trunk=trunk, rank=rank)


def prepare_embedding(bases: int, length: int, rank: int) -> Work:
    """Embed a genome in one shard, and lay it out."""
    folder = Path(_scratch.name)
    windows = WindowSettings(bin=BIN, length=length, core=length * 3 // 4)
    world = make_world(folder, settings(rank), windows, bases=bases)

    def work() -> None:
        (stretches,) = shard_stretches(world.reference, windows, 1)
        embed_shard(world.checkpoint, world.reference, stretches, folder / "0.npy", precision="fp32")
        assemble(world.checkpoint, world.reference, windows, [folder / "0.npy"], folder / "tokens")

    return work


def prepare_rendering(bases: int, factors: int, cell_types: int, rank: int) -> Work:
    """Render all tracks of a world."""
    folder = Path(_scratch.name)
    windows = WindowSettings(bin=BIN, length=16_384, core=12_288)
    world = make_world(folder, settings(rank), windows, bases=bases, factors=factors, cell_types=cell_types)
    embedding = made_up_embedding(folder / "tokens.npy", world.reference, rank)

    def work() -> None:
        render_cell_types(
            world.checkpoint,
            embedding,
            world.reference,
            open_genome_data(world.reference, list(world.tracks.values()), bin=BIN),
            world.factor_set,
            world.factor_set.names,
            [CellTypeTracks(name, folder / "tracks" / name, {}) for name in world.tracks],
        )

    return work


def made_up_embedding(path: Path, reference: Reference, rank: int) -> GenomeEmbedding:
    """Random DNA tokens of unit scale, on disk as those of a genome embedding."""
    rng = np.random.default_rng(0)
    tokens = {}
    for chrom, size in reference.sizes.items():
        np.save(path, rng.standard_normal((bin_count(size, BIN), rank), dtype=np.float32).astype(np.float16))
        tokens[chrom] = np.load(path, mmap_mode="r")
    return GenomeEmbedding({"rank": rank}, tokens)


def prepare_step(experiments: int) -> Work:
    """Steps of training, of so many experiments each."""
    size = Size(16_384, BIN, WINDOWS_A_STEP, experiments, experiments, 1, 1_000_000, settings(RANK).model_dump())
    trainer = make_trainer(size, make_data(size), Path(_scratch.name))
    trainer._step(0)

    def work() -> None:
        for step in range(1, 1 + STEPS):
            trainer._step(step)

    return work


# Of each process: removed when it ends.
_scratch = tempfile.TemporaryDirectory(prefix="tfbind-growth.")
