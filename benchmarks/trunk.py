"""Embedding a stretch by the fast trunk, beside enformer-pytorch's own forward pass, window by window."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from enformer_pytorch import Enformer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import child
from benchmarks.machine import describe
from tfbind.model.enformer import EnformerTrunk
from tfbind.model.inference_trunk import Stretch
from tfbind.model.trunk import one_hot

# As published (Avsec et al. 2021); the demo's trunk; yeast's.
FULL = {"dim": 1536, "depth": 11, "heads": 8, "dim_divisible_by": 128}
SIZES = {
    "yeast": ({"dim": 96, "depth": 2, "heads": 4, "dim_divisible_by": 16}, Stretch(8, 4096, 3072, 64)),
    "demo": ({"dim": 96, "depth": 1, "heads": 4, "dim_divisible_by": 16}, Stretch(8, 8192, 6144, 64)),
    "middle": ({"dim": 384, "depth": 4, "heads": 8, "dim_divisible_by": 32}, Stretch(4, 32_768, 24_576, 128)),
}
FULL_SIZES = {"enformer": (FULL, Stretch(4, 196_608, 114_688, 128))}
STANDARD_DEVIATION = 0.4


def lively_enformer(sizes: dict[str, int], bin: int) -> Enformer:
    """Random weights, none at 0, statistics of batch normalisation that matter, outputs as those of Enformer."""
    torch.manual_seed(0)
    enformer = Enformer.from_hparams(
        **sizes, num_downsamples=bin.bit_length() - 1, output_heads={}, target_length=-1, use_tf_gamma=False
    ).eval()
    with torch.no_grad():
        for module in enformer.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.7, 1.3)
                module.bias.normal_(std=0.2)
            if hasattr(module, "to_out"):
                nn.init.normal_(module.to_out.weight, std=module.to_out.in_features**-0.5)
                nn.init.normal_(module.to_out.bias, std=0.1)
        pointwise = enformer.trunk[-1][1][2]
        probe = one_hot(torch.randint(0, 4, (1, 32 * bin)))
        for _ in range(4):
            pointwise.weight.mul_(STANDARD_DEVIATION / enformer.trunk(probe).std())
    return enformer


@torch.inference_mode()
def measure(name: str, sizes: dict[str, int], stretch: Stretch, rounds: int) -> list[dict[str, Any]]:
    """A row each for fp32 and bf16, both sides taken in turn."""
    enformer = lively_enformer(sizes, stretch.bin)
    codes = torch.randint(0, 4, (1, stretch.bp), dtype=torch.uint8)
    codes[:, 100:300] = 4
    window = one_hot(codes[:, : stretch.length])
    alone = replace(stretch, windows=1)
    core = slice(stretch.first_bin, stretch.first_bin + stretch.core_bins)
    with FlopCounterMode(display=False) as counter:
        exact = enformer.trunk(window)[:, core]
    # The second window has neighbours on both sides.
    second = one_hot(codes[:, stretch.core : stretch.core + stretch.length])
    exact = torch.cat([exact, enformer.trunk(second)[:, core]])

    def cast() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return enformer.trunk(window)

    rows = []
    for precision in (torch.float32, torch.bfloat16):
        sides: dict[str, Callable[[], Tensor]] = {}
        fast = EnformerTrunk(enformer).for_inference(precision)
        sides["fast, one window"] = lambda fast=fast: fast(codes[:, : stretch.length], alone)
        sides["fast"] = lambda fast=fast: fast(codes, stretch)
        if precision == torch.float32:
            sides["upstream"] = lambda: enformer.trunk(window)
        else:
            sides["autocast"] = cast
            half = copy.deepcopy(enformer).bfloat16()
            sides["bfloat16"] = lambda half=half: half.trunk(window.bfloat16())
        wall, cpu, found = _in_turn(sides, rounds)
        peak = child.measure(_prepare, sizes=sizes, stretch=stretch, precision=precision).mebibytes / 1024
        theirs = min((each for each in sides if "fast" not in each), key=wall.__getitem__)
        apart = {
            each: value[0, :2] - exact
            if each == "fast"
            else (value[0] if "fast" in each else value[:, core]) - exact[:1]
            for each, value in found.items()
        }
        rows.append(
            {
                "size": name,
                "precision": str(precision).removeprefix("torch."),
                "windows": stretch.windows,
                "gflop": round(counter.get_total_flops() / 1e9, 4),
                "upstream": theirs,
                "upstream_ms": round(1e3 * wall[theirs], 1),
                "upstream_cpu_ms": round(1e3 * cpu[theirs], 1),
                "cpu_ms": round(1e3 * cpu["fast"] / stretch.windows, 1),
                "ms": round(1e3 * wall["fast"] / stretch.windows, 1),
                "ratio": round(wall[theirs] / wall["fast"] * stretch.windows, 2),
                "ratio_one_window": round(wall[theirs] / wall["fast, one window"], 2),
                "cpu_ratio": round(cpu[theirs] / cpu["fast"] * stretch.windows, 2),
                "max_abs_diff": float(apart["fast"].abs().max()),
                "rms_diff": float(apart["fast"].square().mean().sqrt()),
                "upstream_max_abs_diff": float(apart[theirs].abs().max()),
                "upstream_rms_diff": float(apart[theirs].float().square().mean().sqrt()),
                "standard_deviation": round(float(exact.std()), 3),
                "peak_gib": round(peak, 2),
            }
        )
    return rows


def _in_turn(
    sides: dict[str, Callable[[], Tensor]], rounds: int
) -> tuple[dict[str, float], dict[str, float], dict[str, Tensor]]:
    """Least wall and CPU seconds of each side, and what it found."""
    wall, cpu = dict.fromkeys(sides, float("inf")), dict.fromkeys(sides, float("inf"))
    found: dict[str, Tensor] = {}
    for _ in range(rounds):
        for name, side in sides.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            found[name] = side().float()
            wall[name] = min(wall[name], time.perf_counter() - start)
            cpu[name] = min(cpu[name], time.process_time() - start_cpu)
    return wall, cpu, found


def _prepare(sizes: dict[str, int], stretch: Stretch, precision: torch.dtype) -> Callable[[], Tensor]:
    """A stretch through the fast trunk, for its memory."""
    fast = EnformerTrunk(lively_enformer(sizes, stretch.bin)).for_inference(precision)
    codes = torch.randint(0, 4, (1, stretch.bp), dtype=torch.uint8)
    return lambda: fast(codes, stretch)


def run(full: bool = False) -> dict[str, Any]:
    """Measure, print the table, and return what the JSON line says."""
    rows = []
    for name, (sizes, stretch) in (FULL_SIZES if full else SIZES).items():
        rows += measure(name, sizes, stretch, rounds=1 if full else 7)
    print_table(rows)
    chosen = {row["precision"]: row for row in rows}
    return {
        "ratio": {precision: row["ratio"] for precision, row in chosen.items()},
        "max_abs_diff": {precision: row["max_abs_diff"] for precision, row in chosen.items()},
        "rows": rows,
        "device": describe(),
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """A row a size and precision; ms are of a window."""
    shown = [list(rows[0]), *([_short(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 0.01 else str(value)
