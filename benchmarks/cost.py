"""What hg38 costs for so many factors and cell types, beside the per-pair way: computed from measured results.

Constants are those of benchmarks/results: CPU seconds of the trunk, the joint head, a track and its bigWig, and
bytes of a bigWig, each measured on the machine that its file names. Hours are these times counts. No GPU was
measured: its hours follow from the trunk's operations, at a stated share of what a data sheet promises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bigwig import HG38
from benchmarks.render import FIRST
from tfbind.prediction.render import TRACKS_AT_ONCE

RESULTS = Path(__file__).with_name("results")
BIN, CORE_BINS, RANK = 128, 896, 256
FACTORS, CELL_TYPES = (1, 100, 1000), (1, 10, 100)
# Operations per second in bf16 of an H100 SXM, by its data sheet (dense), and the share of it that is assumed.
GPU_RATE, GPU_SHARE = 989e12, 0.45
HOUR = 3600.0


@dataclass(frozen=True)
class Constants:
    """Measured, but for what is counted.

    Attributes
    ----------
    windows, bins
        Of hg38, counted: runs of N are not left out.
    trunk_flop
        Of a window, counted.
    trunk_s
        CPU seconds of a window by the inference trunk, in fp32.
    upstream_s
        The same by enformer-pytorch.
    joint_s
        Seconds of the joint head for a pair in a window.
    alone_s, more_s, bigwig_s
        CPU seconds of a track that is rendered alone, of one more beside it, and of writing one.
    bigwig_bytes
        Of a track.
    """

    windows: int
    bins: int
    trunk_flop: float
    trunk_s: float
    upstream_s: float
    joint_s: float
    alone_s: float
    more_s: float
    bigwig_s: float
    bigwig_bytes: float


@dataclass(frozen=True)
class Cost:
    """Of tracks of hg38: embedding and rendering, and the same a pair at a time."""

    factors: int
    cell_types: int
    gpu_hours: float
    cpu_hours: float
    terabytes: float
    pair_gpu_hours: float
    pair_cpu_hours: float
    pair_terabytes: float


def read_constants(results: Path = RESULTS) -> Constants:
    """Take the constants from the committed results of full runs."""
    trunk, render, bigwig = (_read(results / f"{name}.json") for name in ("trunk", "render", "bigwig"))
    (row,) = [row for row in trunk["rows"] if row["precision"] == "float32"]
    # Of factors with both a motif and a protein, which take most.
    track = render["cpu_seconds_a_track_of_hg38"][FIRST]
    written = bigwig["one_track"]["tfbind"]
    return Constants(
        windows=sum(math.ceil(size / (BIN * CORE_BINS)) for size in HG38.values()),
        bins=sum(math.ceil(size / BIN) for size in HG38.values()),
        trunk_flop=1e9 * row["gflop"],
        trunk_s=row["cpu_ms"] / 1e3,
        upstream_s=row["upstream_cpu_ms"] / 1e3,
        joint_s=render["beside_pairs"]["joint_head_s_a_pair"],
        alone_s=track["alone"],
        more_s=track["a_track_more"],
        bigwig_s=written["cpu_seconds"],
        bigwig_bytes=1e6 * written["megabytes"],
    )


def cost(constants: Constants, factors: int, cell_types: int) -> Cost:
    """What so many factors in so many cell types take."""
    pairs = factors * cell_types
    gpu_s = constants.trunk_flop / (GPU_RATE * GPU_SHARE)
    # As the workflow does it: a job a cell type, in which so many factors go through the store at once.
    passes = math.ceil(factors / TRACKS_AT_ONCE)
    rendered_s = cell_types * (passes * constants.alone_s + (factors - passes) * constants.more_s)
    tracks_s = rendered_s + pairs * constants.bigwig_s
    per_pair_s = constants.upstream_s + constants.joint_s
    return Cost(
        factors,
        cell_types,
        gpu_hours=constants.windows * gpu_s / HOUR,
        cpu_hours=tracks_s / HOUR,
        terabytes=(constants.bins * RANK * 2 + pairs * constants.bigwig_bytes) / 1e12,
        pair_gpu_hours=pairs * constants.windows * gpu_s / HOUR,
        pair_cpu_hours=pairs * constants.windows * per_pair_s / HOUR,
        # The predecessor's output: 4 bytes a bin and pair.
        pair_terabytes=pairs * constants.bins * 4 / 1e12,
    )


def table(constants: Constants) -> str:
    """Markdown: a row a number of factors and cell types."""
    rows = [
        "| factors | cell types | embed, GPU-h | or CPU-h | render and write, CPU-h | TB | "
        "per pair: GPU-h | or CPU-h | TB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    embed_cpu = constants.windows * constants.trunk_s / HOUR
    for factors in FACTORS:
        for cell_types in CELL_TYPES:
            found = cost(constants, factors, cell_types)
            cells = [
                *(f"{factors:,}", f"{cell_types:,}", _short(found.gpu_hours), _short(embed_cpu)),
                *(_short(found.cpu_hours), _short(found.terabytes), _short(found.pair_gpu_hours)),
                *(_short(found.pair_cpu_hours), _short(found.pair_terabytes)),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def run(full: bool = False) -> dict[str, Any]:
    """Compute and print the table."""
    constants = read_constants()
    print(table(constants))
    most = cost(constants, FACTORS[-1], CELL_TYPES[-1])
    ours = most.cpu_hours + constants.windows * constants.trunk_s / HOUR
    return {
        "ratio": {"cpu_hours": round(most.pair_cpu_hours / ours)},
        "computed": True,
        "constants": vars(constants),
        "device": "none: computed from benchmarks/results",
    }


def _read(path: Path) -> Mapping[str, Any]:
    again = f"run `python -m benchmarks {path.stem} --full --results`"
    if not path.is_file():
        raise ValueError(f"there is no {path}: {again}")
    found = json.loads(path.read_text())
    if not found["full"]:
        raise ValueError(f"{path} is of small sizes: {again}")
    return found


def _short(value: float) -> str:
    """Two significant digits, without an exponent."""
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"
