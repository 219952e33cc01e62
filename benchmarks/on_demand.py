"""A part of a track on demand, in a process that is there, beside `tfbind render` in one of its own.

A made-up chromosome in bins of 128 bp with tokens of rank 256, as a human genome would have, in a run's folder as
the workflow leaves it; weights are drawn at random. Measured side by side:

- a region of 1 Mb by `OnDemand`: the first, which opens the run (all modules are imported already); others, of
  which nothing is kept, over the chromosome; and one that is kept;
- the same region by `tfbind render --region`, which must open everything each time;
- all of the track by `tfbind render`.

The ratio is of CPU seconds, `tfbind render --region` over a region on demand. What is rendered must be equal.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import yaml

from benchmarks.machine import describe
from benchmarks.synthetic import World, make_world
from benchmarks.windows import CHROM
from tfbind.browser.on_demand import OnDemand
from tfbind.config import ModelSettings, TrunkSettings, WindowSettings
from tfbind.core.files import new_array, write_json
from tfbind.genome.bigwig import write_bigwig
from tfbind.genome.intervals import bin_count
from tfbind.prediction.embed import FORMAT

BIN, RANK, RESOLUTION = 128, 256, 10
REGION, BASES, FULL_BASES = 1_000_000, 4_000_000, 50_000_000
FACTOR, CELL_TYPE = "TF0000", "CT0"
Seconds = tuple[float, float]
"""Wall and CPU."""


def run(full: bool = False) -> dict[str, Any]:
    """Measure, and print a table."""
    bases = FULL_BASES if full else BASES
    with tempfile.TemporaryDirectory(prefix="tmp-on-demand.", dir=".") as scratch:
        folder = Path(scratch).resolve()
        run = make_run(folder, bases)
        taken, rendered = _on_demand(run, bases)
        region = f"{CHROM}:1-{REGION}"
        taken["tfbind render --region"] = _verb(folder, run, "region", "--region", region)
        taken["tfbind render, all of it"] = _verb(folder, run, "whole")
        difference = max(_difference(folder / name, rendered) for name in ("region", "whole"))
    print(f"{f'{REGION:,} bp of {bases:,}':<34} {'seconds':>9} {'CPU s':>9}")
    for name, (wall, cpu) in taken.items():
        print(f"{name:<34} {wall:9.3f} {cpu:9.3f}")
    warm = taken["on demand"][1]
    ratios = {name: round(taken[name][1] / warm, 1) for name in taken if name.startswith("tfbind")}
    print(f"times the CPU seconds on demand: {ratios}; largest difference {difference}")
    return {
        "ratio": ratios["tfbind render --region"],
        "ratios": ratios,
        "max_abs_diff": difference,
        "seconds": {name: round(wall, 4) for name, (wall, _) in taken.items()},
        "cpu_seconds": {name: round(cpu, 4) for name, (_, cpu) in taken.items()},
        "sizes": {"bases": bases, "region": REGION, "bin": BIN, "rank": RANK, "accessibility": RESOLUTION},
        "device": describe(),
    }


def make_run(folder: Path, bases: int) -> Path:
    """A run's folder, `results/made-up`, with all that rendering needs, and its tables beside `results`."""
    run = folder / "results/made-up"
    windows = WindowSettings(bin=BIN, length=16_384, core=12_288)
    model = ModelSettings(trunk=TrunkSettings(dim=24, depth=1, heads=2, dim_divisible_by=6), rank=RANK)
    world = make_world(run, model, windows, bases=bases)
    (run / "accessibility").mkdir()
    values = np.random.default_rng(0).exponential(size=bin_count(bases, RESOLUTION)).astype(np.float32)
    path = run / f"accessibility/{CELL_TYPE}.bw"
    write_bigwig(path, world.reference.sizes, {CHROM: values}.items(), RESOLUTION)
    _write_embedding(run / "genome_embedding/tokens", world)
    tables = {
        "factors": f"factor\tuniprot\n{FACTOR}\t{FACTOR}\n",
        "cell_types": f"cell_type\taccessibility\n{CELL_TYPE}\t{path}\n",
        "experiments": f"factor\tcell_type\tpeaks\n{FACTOR}\t{CELL_TYPE}\tnone.bed\n",
    }
    for name, text in tables.items():
        (folder / f"{name}.tsv").write_text(text)
    config = {
        "name": run.name,
        "device": "cpu",
        "tables": {name: f"{name}.tsv" for name in tables},
        "reference": {"fasta": str(run / "genome.fa")},
        "factors": {"proteins": [str(run / "none.fa")]},
        "windows": windows.model_dump(),
        "splits": {"validation": [CHROM], "test": []},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run


def _write_embedding(folder: Path, world: World) -> None:
    """Random tokens, some of them again and again."""
    folder.mkdir(parents=True)
    bins = bin_count(world.reference.sizes[CHROM], BIN)
    tokens = new_array(folder / "0.npy", np.float16, (bins, RANK))
    tile = np.random.default_rng(0).normal(size=(min(bins, 1 << 14), RANK)).astype(np.float16)
    for low in range(0, bins, len(tile)):
        tokens[low : low + len(tile)] = tile[: bins - low]
    tokens.flush()
    about = {"format": FORMAT, "model": world.checkpoint.checksum, "genome": world.reference.checksum}
    chromosomes = [{"name": CHROM, "bins": bins, "sha256": ""}]
    write_json(folder / "embedding.json", {**about, "bin": BIN, "rank": RANK, "chromosomes": chromosomes})


def _on_demand(run: Path, bases: int) -> tuple[dict[str, Seconds], np.ndarray]:
    """Seconds of the first region, of others (median) and of a kept one; and the values of the first."""
    on_demand = OnDemand(run, ahead=False)

    def ask(start: int) -> np.ndarray:
        return on_demand.render(FACTOR, CELL_TYPE, f"{CHROM}:{start + 1}-{start + REGION}").values

    first, values = _timed(lambda: ask(0))
    others = [_timed(lambda start=start: ask(start))[0] for start in range(REGION, bases - REGION + 1, REGION)]
    kept, _ = _timed(lambda: ask(0))
    on_demand.close()
    wall, cpu = (statistics.median(column) for column in zip(*others, strict=True))
    return {"on demand, the first": first, "on demand": (wall, cpu), "on demand, kept": kept}, values


def _timed(work: Callable[[], np.ndarray]) -> tuple[Seconds, np.ndarray]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return (time.perf_counter() - wall, time.process_time() - cpu), found


def _verb(folder: Path, run: Path, name: str, *options: str) -> Seconds:
    """`tfbind render` of the one factor, in a process of its own."""
    given = {"config": "config.yaml", "reference": "reference", "factors": "factors", "model": "model"}
    given |= {"embedding": "genome_embedding/tokens", "accessibility": f"accessibility/{CELL_TYPE}.bw"}
    arguments = [part for key, path in given.items() for part in (f"--{key}", str(run / path))]
    arguments += ["--cell-type", CELL_TYPE, "--factor", FACTOR, "--output", str(folder / name), *options]
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "tfbind", "render", *arguments]
    subprocess.run(command, check=True, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _difference(folder: Path, rendered: np.ndarray) -> float:
    """Largest difference from the region on demand, of what stands in a bigWig."""
    with pyBigWig.open(str(folder / f"{FACTOR}.bw")) as track:
        end = min(len(rendered) * BIN, track.chroms(CHROM))
        return float(np.abs(track.values(CHROM, 0, end, numpy=True)[::BIN] - rendered).max())
