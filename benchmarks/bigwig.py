"""Writing a track as bigWig: as tfbind does, beside pyBigWig, by a value a bin and by runs of equal values.

The track is made up: probabilities with the quantiles of the demo's predictions, and neighbours as alike as they
are there. All write the same rounded values, and a value a bin unrounded, too. Where the demo has been run (`make
demo`), the second table says what each way of rounding costs its evaluation, and what room it takes.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
from scipy.signal import lfilter
from scipy.special import ndtr

from benchmarks import machine
from tfbind.evaluation.tables import score_experiment
from tfbind.factors.factorset import FactorSet
from tfbind.genome.bigwig import Track, round_fixed, round_relative, write_bigwig, write_bigwigs
from tfbind.genome.bigwig_writer import Span, value_blocks
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region
from tfbind.model.batching import factor_batch
from tfbind.model.checkpoint import Checkpoint, load_checkpoint
from tfbind.model.data import BOUND, LEFT_OUT, open_genome_data
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.render import BITS, predict_tracks
from tfbind.training.targets import Targets

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "results/demo"
BIN = 128
# bp of hg38's chromosomes; the first numbers are chr1 to chr22.
HG38 = dict(
    zip(
        [*(f"chr{number}" for number in range(1, 23)), "chrX", "chrY"],
        [
            *(
                248_956_422,
                242_193_529,
                198_295_559,
                190_214_555,
                181_538_259,
                170_805_979,
                159_345_973,
                145_138_636,
            ),
            *(
                138_394_717,
                133_797_422,
                135_086_622,
                133_275_309,
                114_364_328,
                107_043_718,
                101_991_189,
                90_338_345,
            ),
            *(83_257_441, 80_373_285, 58_617_616, 64_444_167, 46_709_983, 50_818_468, 156_040_895, 57_227_415),
        ],
        strict=True,
    )
)
SMALL = {name: HG38[name] for name in ("chr19", "chr21", "chr22")}
ROUNDS = {False: 3, True: 2}
TRACKS = 4
# Probabilities at these shares of the demo's bins, 64 bp, all tracks; and the correlation of neighbours' ranks.
SHARES = [0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1]
QUANTILES = [
    5.58e-07,
    1.57e-06,
    2.98e-05,
    4.64e-05,
    9.57e-05,
    0.000229,
    0.000819,
    0.00528,
    0.0177,
    0.29,
    0.939,
    0.998,
]
ALIKE = 0.796

OURS = "tfbind"
METRICS = ("auprc", "auroc", "recall_at_10_fdr", "recall_at_50_fdr", "ece")
# pyBigWig takes a list of names, one an entry.
ENTRIES_AT_ONCE = 1 << 18

Values = dict[str, np.ndarray]
# Factor -> probability of each bin, by cell type.
Predictions = dict[str, dict[str, np.ndarray]]


def run(full: bool = False) -> dict[str, Any]:
    """Write the track in turn by each, print the tables, and return what the JSON line says.

    `full` is hg38; else three small chromosomes of it.
    """
    sizes = HG38 if full else SMALL
    raw = made_up(sizes)
    rounded = {chrom: round_fixed(values, BITS) for chrom, values in raw.items()}
    writers: dict[str, tuple[Callable[..., None], Values]] = {
        OURS: (write_bigwig, rounded),
        "tfbind, unrounded": (write_bigwig, raw),
        "pyBigWig, a value a bin": (write_dense, rounded),
        "pyBigWig, a value a bin, unrounded": (write_dense, raw),
        "pyBigWig, runs": (write_runs, rounded),
    }
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), sizes, writers, ROUNDS[full])
        many = {
            str(workers): together(Path(folder), sizes, rounded, workers)
            for workers in sorted({1, os.cpu_count() or 1})
        }
    for workers, seconds in many.items():
        print(f"{TRACKS} tracks, {workers} at a time: {seconds['wall']:.2f} s, {seconds['cpu']:.2f} CPU-s")
    return {
        "ratio": {
            name: round(each["cpu_seconds"] / found[OURS]["cpu_seconds"], 2) for name, each in found.items()
        },
        "max_abs_diff": max(each["max_abs_diff"] for each in found.values()),
        "one_track": found,
        "tracks_together": many,
        "rounding": rounding(Targets.open(DEMO / "targets")) if DEMO.is_dir() else None,
        "sizes": {"chromosomes": len(sizes), "bins": sum(map(len, raw.values())), "bin": BIN, "tracks": TRACKS},
        "rounds": ROUNDS[full],
        "device": machine.describe(),
    }


def made_up(sizes: Mapping[str, int]) -> Values:
    """Probabilities, float32 (bins,) a chromosome: those of the demo, laid along a normal process."""
    rng = np.random.default_rng(0)
    found = {}
    for chrom, size in sizes.items():
        normal = rng.standard_normal(-(-size // BIN))
        normal = lfilter([np.sqrt(1 - ALIKE**2)], [1, -ALIKE], normal)
        found[chrom] = np.exp(np.interp(ndtr(normal), SHARES, np.log(QUANTILES))).astype(np.float32)
    return found


# --- the writers ------------------------------------------------------------------------------------------------


def write_dense(path: Path, sizes: Mapping[str, int], values: Any, bin: int) -> None:
    """By pyBigWig, a value a bin and a chromosome a call."""
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader(list(sizes.items()))
        for chrom, array in values:
            whole = sizes[chrom] // bin
            handle.addEntries(chrom, 0, values=array[:whole], span=bin, step=bin)
            if whole < len(array):
                handle.addEntries([chrom], [whole * bin], ends=[sizes[chrom]], values=[float(array[-1])])


def write_runs(path: Path, sizes: Mapping[str, int], values: Any, bin: int) -> None:
    """By pyBigWig, each run of equal values with its start and end, as in a bedGraph."""
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader(list(sizes.items()))
        for chrom, array in values:
            first = np.concatenate([[0], np.flatnonzero(array[1:] != array[:-1]) + 1])
            start = first * bin
            end, value = np.append(start[1:], sizes[chrom]), array[first].astype(np.float64)
            for low in range(0, len(first), ENTRIES_AT_ONCE):
                part = slice(low, low + ENTRIES_AT_ONCE)
                handle.addEntries([chrom] * len(start[part]), start[part], ends=end[part], values=value[part])


def measure(
    folder: Path, sizes: Mapping[str, int], writers: Mapping[str, tuple[Callable[..., None], Values]], rounds: int
) -> dict[str, dict[str, float]]:
    """CPU-seconds and seconds of each writer, median of its rounds; its file's size; how wrong it reads back."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in writers}
    found: dict[str, dict[str, float]] = {}
    for number in range(rounds):
        for name, (write, values) in writers.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            path = folder / "track.bw"
            taken[name].append(_seconds(partial(write, path, sizes, values.items(), BIN)))
            if number == 0:
                found[name] = {"megabytes": round(path.stat().st_size / 1e6, 1), **_wrong(path, sizes, values)}
    print(f"{'one track':<36}{'CPU-s':>8}{'wall s':>8}{'MB':>8}{'values off':>12}{'means off':>12}")
    for name, both in taken.items():
        cpu, wall = (statistics.median(column) for column in zip(*both, strict=True))
        each = found[name] = {"cpu_seconds": round(cpu, 4), "wall_seconds": round(wall, 4), **found[name]}
        print(
            f"{name:<36}{cpu:8.2f}{wall:8.2f}{each['megabytes']:8.1f}{each['max_abs_diff']:12.1e}"
            f"{each['mean_off']:12.1e}"
        )
    return found


def _wrong(path: Path, sizes: Mapping[str, int], values: Values) -> dict[str, float]:
    """How far what is read back is from what was written, on the last chromosome.

    The values, and the means over stretches of 256 bins, which `stats()` takes from the summaries.
    """
    chrom, array = list(values.items())[-1]
    size = sizes[chrom]
    with pyBigWig.open(str(path)) as handle:
        found = handle.values(chrom, 0, size, numpy=True)[::BIN]
        count = len(array) // 256
        means = handle.stats(chrom, 0, count * 256 * BIN, nBins=count)
    wanted = array[: count * 256].reshape(count, 256).astype(np.float64).mean(1)
    off = np.abs(np.array(means, dtype=np.float64) - wanted).max()
    return {"max_abs_diff": float(np.abs(found - array).max()), "mean_off": float(f"{off:.2g}")}


def together(folder: Path, sizes: Mapping[str, int], values: Values, workers: int) -> dict[str, float]:
    """Seconds for some tracks, so many at a time."""
    tracks = [Track(folder / f"{number}.bw", sizes, values.items(), BIN) for number in range(TRACKS)]
    cpu, wall = _seconds(partial(write_bigwigs, tracks, workers))
    return {"cpu": round(cpu, 4), "wall": round(wall, 4)}


def _seconds(job: Callable[[], None]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    job()
    return time.process_time() - cpu, time.perf_counter() - wall


# --- what rounding costs ----------------------------------------------------------------------------------------


def to_decimals(places: int) -> Callable[[np.ndarray], np.ndarray]:
    """Round to decimal places."""
    return lambda values: np.round(values.astype(np.float64), places).astype(np.float32)


def to_digits(digits: int) -> Callable[[np.ndarray], np.ndarray]:
    """Round to significant decimal digits; below 0.0001 it is 0."""

    def rounded(values: np.ndarray) -> np.ndarray:
        wide = values.astype(np.float64)
        scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.maximum(wide, 1e-30))))
        return np.where(wide >= 1e-4, np.round(wide * scale) / scale, 0).astype(np.float32)

    return rounded


ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "unrounded": lambda values: values,
    "2 digits, 0 below 0.0001": to_digits(2),
    "3 digits, 0 below 0.0001": to_digits(3),
    "8 bits after the leading one": partial(round_relative, bits=8),
    "10 bits after the leading one": partial(round_relative, bits=10),
    **{f"{places} decimals": to_decimals(places) for places in (2, 3, 4, 5)},
    **{f"multiples of 2^-{bits}": partial(round_fixed, bits=bits) for bits in (12, 13, 14, 15, 16)},
}


def rounding(targets: Targets) -> dict[str, dict[str, float]]:
    """What each way of rounding changes in the demo's evaluation, and what a track of hg38's bins would take.

    Metrics are means over the experiments, on the chromosomes that the model never saw; the largest change of an
    experiment's AUPRC stands beside. Room is that of the demo's own tracks, laid end to end.
    """
    checkpoint = load_checkpoint(DEMO / "model")
    chromosomes = _held_out(checkpoint.about["manifest"], targets)
    tracks = _demo_predictions(checkpoint, targets, chromosomes)
    labels = np.concatenate([targets.labels[chrom] for chrom in chromosomes])
    laid = np.concatenate([track for by_factor in tracks.values() for track in by_factor.values()])
    bins = sum(-(-size // BIN) for size in HG38.values())
    base: np.ndarray | None = None
    found = {}
    print(f"{'rounded to':<30}{'CPU-s':>7}{'MB':>7}" + "".join(f"{name:>10}" for name in (*METRICS, "largest")))
    for name, way in ROUNDINGS.items():
        way(laid[:1000])  # the first call of all loads what it needs
        cpu, _ = _seconds(partial(way, laid))
        room = sum(len(block.content) for block in value_blocks(Span(0, 0, len(laid)), way(laid), 1))
        scores = _scores(targets, tracks, labels, way)
        base = scores if base is None else base
        change = (scores - base).mean(0)
        largest = float(np.abs(scores - base)[:, 0].max())
        cpu, room = cpu * bins / len(laid), room * bins / len(laid) / 1e6
        print(f"{name:<30}{cpu:7.2f}{room:7.1f}" + "".join(f"{each:+10.5f}" for each in (*change, largest)))
        found[name] = {
            "cpu_seconds": round(cpu, 2),
            "megabytes": round(room, 1),
            **{metric: float(f"{each:.2g}") for metric, each in zip(METRICS, change, strict=True)},
            "largest_auprc": float(f"{largest:.2g}"),
        }
    return found


def _demo_predictions(checkpoint: Checkpoint, targets: Targets, chromosomes: list[str]) -> Predictions:
    """Unrounded predictions of the demo's model."""
    reference = Reference.open(DEMO / "reference")
    embedding = GenomeEmbedding.open(DEMO / "genome_embedding/tokens", checkpoint, reference)
    factors = sorted({experiment["factor"] for experiment in targets.experiments})
    batch = factor_batch(FactorSet.open(DEMO / "factors"), factors)
    found = {}
    for cell_type in sorted({experiment["cell_type"] for experiment in targets.experiments}):
        track = DEMO / f"accessibility/{cell_type}.bw"
        data = open_genome_data(reference, [track if track.is_file() else None], bin=checkpoint.model.bin)
        places = [Region(chrom, 0, reference.sizes[chrom]) for chrom in chromosomes]
        tracks = predict_tracks(checkpoint, embedding, data, batch, 0, places)
        columns = np.concatenate([predicted for _, predicted in tracks]).T
        found[cell_type] = dict(zip(factors, np.ascontiguousarray(columns), strict=True))
    return found


def _held_out(manifest: Mapping[str, Any], targets: Targets) -> list[str]:
    """The chromosomes that the model never saw."""
    seen = {chrom for chrom, *_ in (*manifest["regions"], *manifest["validation_regions"])}
    return [chrom for chrom in targets.labels if chrom not in seen]


def _scores(
    targets: Targets, tracks: Predictions, labels: np.ndarray, way: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Metrics of each experiment: float64 (experiments, metrics)."""
    rows = []
    for column, experiment in enumerate(targets.experiments):
        values = way(tracks[experiment["cell_type"]][experiment["factor"]])
        bound, keep = labels[:, column] == BOUND, labels[:, column] != LEFT_OUT
        scored = score_experiment(bound, keep, values, np.minimum(values, 1))
        rows.append([scored[metric] for metric in METRICS])
    return np.array(rows)
