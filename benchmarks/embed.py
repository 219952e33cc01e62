"""Embedding a genome: what share of its time is the trunk's own compute, beside a plain loop over windows.

The plain loop is the reference: it reads a batch of windows, makes DNA tokens of all their bins, keeps those of
the cores, and writes them, one step after the other. Both ways embed the same synthetic genome, in turn, with
models of random weights. Then a chromosome, and one four times as long, are embedded by processes of their own,
which say how much memory they took at most.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.child import anonymous
from benchmarks.machine import describe
from tfbind.config import ModelSettings, WindowSettings
from tfbind.core.files import atomic_path, sha256_file
from tfbind.genome.reference import Reference, build_reference
from tfbind.genome.windows import WindowStretch
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tfbind.model.inference_trunk import InferenceTrunk, Stretch
from tfbind.model.precision import DTYPES
from tfbind.model.shape import ModelShape
from tfbind.prediction.embed import embed_shard, shard_stretches


@dataclass(frozen=True)
class Case:
    """Sizes of a model, of its windows, and of the genome that it embeds.

    Attributes
    ----------
    windows, trunk, model
        As in a configuration.
    motifs
        Of the motif panel; 0: there is none.
    precision
        Of the trunk.
    at_once
        Windows that the plain loop takes at once.
    bp
        Of the chromosome, in the middle of which a tenth is N.
    """

    windows: WindowSettings
    trunk: dict[str, Any]
    model: dict[str, Any]
    bp: int
    motifs: int = 0
    precision: str = "fp32"
    at_once: int = 16


DEMO = Case(
    WindowSettings(bin=64, length=8192, core=6144),
    {"dim": 96, "depth": 1, "heads": 4, "dim_divisible_by": 16},
    {"rank": 64, "heads": 4, "factor_tokens": 8, "hidden": 48},
    bp=400_000,
    at_once=8,
)
YEAST = Case(
    WindowSettings(bin=64, length=4096, core=3072),
    {"dim": 96, "depth": 2, "heads": 4, "dim_divisible_by": 16},
    {"hidden": 32, "motif_panel": 48},
    bp=300_000,
    motifs=70,
)
# Enformer's windows, bins and heads; a quarter of its width, and four of its blocks.
MIDDLE = Case(
    WindowSettings(bin=128, length=196_608, core=114_688),
    {"dim": 384, "depth": 4, "heads": 8, "dim_divisible_by": 32},
    {"rank": 256, "heads": 8},
    bp=1_100_000,
    at_once=1,
)
SMALL = {"demo": DEMO, "yeast": YEAST, "yeast bf16": replace(YEAST, precision="bf16")}
FULL = {**SMALL, "middle": MIDDLE}
# For memory: so quick that a chromosome of some Mb takes seconds.
LEAN = Case(
    WindowSettings(bin=128, length=8192, core=6144),
    {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6},
    {"rank": 256, "heads": 4},
    bp=3_000_000,
)

TIMES_AS_LONG = (1, 4)


@dataclass
class Timed:
    """Seconds of one embedding.

    Attributes
    ----------
    wall, cpu
        Of the whole.
    trunk, trunk_cpu
        Within the trunk; CPU of the process, meanwhile.
    runs
        Windows that the trunk ran over.
    """

    wall: float = 0.0
    cpu: float = 0.0
    trunk: float = 0.0
    trunk_cpu: float = 0.0
    runs: int = 0

    @contextmanager
    def all(self) -> Iterator[None]:
        """The whole embedding."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall, self.cpu = time.perf_counter() - wall, time.process_time() - cpu

    @contextmanager
    def in_trunk(self, windows: int) -> Iterator[None]:
        """A run of the trunk."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.trunk += time.perf_counter() - wall
        self.trunk_cpu += time.process_time() - cpu
        self.runs += windows


class TimedTrunk(InferenceTrunk):
    """An inference trunk whose runs are timed."""

    def __init__(self, trunk: InferenceTrunk, timed: Timed) -> None:
        super().__init__()
        self.trunk, self.timed = trunk, timed

    def forward(self, codes: Tensor, stretch: Stretch) -> Tensor:
        """See `InferenceTrunk`."""
        with self.timed.in_trunk(len(codes) * stretch.windows):
            return self.trunk(codes, stretch)


def by_stretches(
    checkpoint: Checkpoint, reference: Reference, case: Case, stretches: Sequence[WindowStretch], path: Path
) -> Timed:
    """Embed as `tfbind embed` does."""
    timed, trunk = Timed(), checkpoint.model.trunk
    trunk.for_inference = lambda dtype: TimedTrunk(type(trunk).for_inference(trunk, dtype), timed)
    with timed.all(), redirect_stderr(StringIO()):
        embed_shard(checkpoint, reference, stretches, path, precision=case.precision)
    del trunk.for_inference
    return timed


def by_windows(
    checkpoint: Checkpoint, reference: Reference, case: Case, stretches: Sequence[WindowStretch], path: Path
) -> Timed:
    """Embed by a plain loop over batches of windows."""
    model, timed, runs = checkpoint.model, Timed(), []
    flank = (case.windows.length - case.windows.core) // 2
    windows = [
        (stretch.chrom, start, min(start + stretch.core, stretch.core_end))
        for stretch in stretches
        for start in range(stretch.core_start, stretch.core_end, stretch.core)
    ]
    bins = sum(-(-(end - start) // model.bin) for _, start, end in windows)
    hooks = [
        model.trunk.register_forward_pre_hook(lambda _, x: runs.append(timed.in_trunk(len(x[0])))),
        model.trunk.register_forward_pre_hook(lambda *_: runs[-1].__enter__()),
        model.trunk.register_forward_hook(lambda *_: runs.pop().__exit__(None, None, None) or None),
    ]
    with timed.all(), atomic_path(path) as temporary:
        shape, done = (bins, model.settings.rank), 0
        tokens = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        filled = [*windows, *[windows[-1]] * (-len(windows) % case.at_once)]
        for low in range(0, len(windows), case.at_once):
            codes = [
                reference.fetch(chrom, start - flank, start + case.windows.core + flank)
                for chrom, start, _ in filled[low : low + case.at_once]
            ]
            with torch.inference_mode():
                found = model.dna_tokens(torch.as_tensor(np.stack(codes)), trunk_dtype=DTYPES[case.precision])
            for (_, start, end), each in zip(windows[low:], found.numpy(), strict=False):
                core = each[flank // model.bin :][: -(-(end - start) // model.bin)]
                assert np.isfinite(core).all()
                tokens[done : done + len(core)] = core
                done += len(core)
        tokens.flush()
        sha256_file(temporary)
    for hook in hooks:
        hook.remove()
    return timed


def make(case: Case, folder: Path) -> tuple[Checkpoint, Reference]:
    """A model of random weights and running statistics, and a random chromosome, a tenth of it N."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    panel = None
    if case.motifs:
        panel = torch.as_tensor(rng.normal(size=(case.motifs, 15, 4)), dtype=torch.float32)
    settings = ModelSettings.model_validate({"trunk": case.trunk, **case.model})
    model = BindingModel(settings, ModelShape(bin=case.windows.bin, residue_dim=5), panel=panel)
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
    save_checkpoint(folder / "model", model, {})
    bases = rng.choice(np.frombuffer(b"ACGT", np.uint8), case.bp)
    bases[case.bp // 2 : case.bp // 2 + case.bp // 10] = ord("N")
    (folder / "genome.fa").write_bytes(b">chr1\n" + bases.tobytes() + b"\n")
    build_reference(folder / "genome.fa", folder / "reference")
    return load_checkpoint(folder / "model"), Reference.open(folder / "reference")


def compare(case: Case, rounds: int) -> dict[str, Any]:
    """Both ways in turn, and the best time of each; and how far their tokens are apart."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint, reference = make(case, folder)
        (stretches,) = shard_stretches(reference, case.windows, 1)
        warm = [min(stretches, key=lambda stretch: stretch.windows)]
        ways = {"plain": by_windows, "stretches": by_stretches}
        found: dict[str, list[Timed]] = {way: [] for way in ways}
        for way in ways.values():
            way(checkpoint, reference, case, warm, folder / "warm.npy")
        for turn in range(rounds):
            for way in sorted(ways, reverse=bool(turn % 2)):
                found[way].append(ways[way](checkpoint, reference, case, stretches, folder / f"{way}.npy"))
        stored = [np.load(folder / f"{way}.npy").astype(np.float32) for way in ways]
        windows = sum(stretch.windows for stretch in stretches)
        best = {way: min(times, key=lambda each: each.wall) for way, times in found.items()}
        least_cpu = {way: min(each.cpu for each in times) for way, times in found.items()}
        assert best["stretches"].runs == windows, "the trunk runs once a window"
        return {
            "bp": case.bp,
            "windows": windows,
            "ratio": best["plain"].wall / best["stretches"].wall,
            # Steadier where others use the machine, too.
            "ratio_of_cpu": least_cpu["plain"] / least_cpu["stretches"],
            "seconds": {way: each.wall for way, each in best.items()},
            "share": {way: each.trunk / each.wall for way, each in best.items()},
            "share_of_cpu": {way: each.trunk_cpu / each.cpu for way, each in best.items()},
            "bp_per_s": sum(each.core_end - each.core_start for each in stretches) / best["stretches"].wall,
            "max_abs_diff": difference(checkpoint.model, reference, case, stretches[0]),
            "max_abs_diff_stored": float(np.abs(stored[0] - stored[1]).max()),
        }


def difference(model: BindingModel, reference: Reference, case: Case, stretch: WindowStretch) -> float:
    """Largest, between the first window's DNA tokens in a stretch and alone, before they are stored."""
    layout = Stretch(stretch.windows, stretch.length, stretch.core, model.bin)
    codes = torch.tensor(reference.fetch(stretch.chrom, stretch.start, stretch.end)[None])
    dtype = DTYPES[case.precision]
    with torch.inference_mode():
        together = model.stretch_tokens(codes, layout, model.trunk.for_inference(dtype))[0, 0]
        alone = model.dna_tokens(codes[:, : stretch.length], trunk_dtype=dtype)[0]
    return float((together - alone[layout.first_bin :][: layout.core_bins]).abs().max())


def peak_memory(case: Case, times: int) -> dict[str, float]:
    """MiB that a process takes at most over a chromosome so many times as long: all, and without mapped files."""
    with tempfile.TemporaryDirectory() as folder:
        make(replace(case, bp=case.bp * times), Path(folder))
        command = [sys.executable, "-m", "benchmarks.embed", folder, case.windows.model_dump_json()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def embed_alone(folder: Path, windows: WindowSettings) -> dict[str, float]:
    """Embed in this process, for its memory."""
    checkpoint, reference = load_checkpoint(folder / "model"), Reference.open(folder / "reference")
    (stretches,) = shard_stretches(reference, windows, 1)
    with anonymous() as peak:
        embed_shard(checkpoint, reference, stretches, folder / "shard.npy", precision="fp32")
    return {"all": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "own": max(peak)}


def run(full: bool = False) -> dict[str, Any]:
    """Compare both ways, measure memory, print the tables, and return what the JSON line says."""
    found = {}
    for name, case in (FULL if full else SMALL).items():
        print(name, file=sys.stderr)
        found[name] = compare(case, rounds=1 if case is MIDDLE else 3)
    memory = {f"{times} x {LEAN.bp / 1e6:g} Mb": peak_memory(LEAN, times) for times in TIMES_AS_LONG}
    print_table(found, memory)
    main = found["middle" if full else "demo"]
    return {
        "ratio": round(main["ratio"], 3),
        "ratio_of_cpu": round(main["ratio_of_cpu"], 3),
        "share": round(main["share"]["stretches"], 4),
        "max_abs_diff": max(each["max_abs_diff"] for name, each in found.items() if "bf16" not in name),
        "cases": found,
        "peak_mebibytes": memory,
        "device": describe(),
    }


def print_table(found: dict[str, dict[str, Any]], memory: dict[str, dict[str, float]]) -> None:
    """A row a case, and a row a length."""
    print("embedding: seconds of the best round, and the share of them in the trunk; plain: a loop over windows")
    shares = ["share, plain", "share", "CPU share"]
    rows = [["case", "windows", "plain", "stretches", "ratio", "CPU ratio", *shares, "bp/s", "max diff"]]
    for name, each in found.items():
        seconds = [f"{each['seconds'][way]:.2f} s" for way in ("plain", "stretches")]
        shares = [each["share"]["plain"], each["share"]["stretches"], each["share_of_cpu"]["stretches"]]
        ratios = [f"{each['ratio']:.2f}", f"{each['ratio_of_cpu']:.2f}"]
        rest = [f"{each['bp_per_s']:,.0f}", f"{each['max_abs_diff']:.1e}"]
        shares = [f"{share:.1%}" for share in shares]
        rows.append([name, str(each["windows"]), *seconds, *ratios, *shares, *rest])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    for length, peak in memory.items():
        print(f"peak memory, a chromosome of {length}: {peak['all']:.0f} MiB, {peak['own']:.0f} without files")


if __name__ == "__main__":
    print(json.dumps(embed_alone(Path(sys.argv[1]), WindowSettings.model_validate_json(sys.argv[2]))))
