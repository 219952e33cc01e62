"""Tracks from a genome embedding: what a track more costs, and the per-pair way of tf-bind-transformer beside it.

Weights, DNA tokens, DNA, proteins and motifs are drawn at random; sizes are the configuration's defaults, but the
rank is 256. Three things are measured:

1. CPU-seconds that a track of hg38 takes before its bigWig is written, from a store on disk, by what is known of
   the factors: on the average of 32 that are rendered together, what one more adds to them, by a factor or by a
   cell type more, and one alone. Measured over a part of it, with `full` the first once over chromosome 1, and
   scaled.
2. 32 factors in 8 cell types over 1 Mb, beside a pass of trunk and `joint` head for each window, factor and cell
   type: measured for one pair in one window, and multiplied.
3. FLOPs and CPU-seconds of a factor more and a cell type more in a window, as shares of the trunk's. A scan
   counts as the dense convolution that it equals.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from enformer_pytorch import Enformer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import describe
from tfbind.config import ModelSettings
from tfbind.core.files import new_array
from tfbind.model.binding import BindingModel
from tfbind.model.calibration import Calibration
from tfbind.model.context_encoder import ACCESSIBILITY_REACH
from tfbind.model.contexts import ContextBatch
from tfbind.model.data import GenomeData
from tfbind.model.factors import FactorBatch
from tfbind.model.head import FactorCode
from tfbind.model.inference import Predictor
from tfbind.model.probabilities import Member, Probabilities
from tfbind.model.rendering import PIECE, Renderer
from tfbind.model.shape import ModelShape
from tfbind.prediction.region import Region
from tfbind.prediction.render import fill_numbers

BIN, RANK, RESIDUES, RESIDUE_DIM, COLUMNS = 128, 256, 300, 20, 15
# hg38's chromosomes 1 to 22, X and Y together; chromosome 1; and the part that is rendered by default.
GENOME, CHROMOSOME, PART = 3_088_269_832, 248_956_422, 8_000_000
MEGABASE = 1_000_000
TRACKS, CELL_TYPES = 32, 8
# Windows and kept bins: Enformer's own, and small ones.
FULL = {"dim": 1536, "depth": 11, "bp": 196_608, "kept": 896}
SMALL = {"dim": 384, "depth": 2, "bp": 16_384, "kept": 112}
ROUNDS, FILL_ROUNDS = 2, 6


@dataclass(frozen=True)
class Kind:
    """A kind of factor, and the columns of motifs read off proteins."""

    motif: bool
    protein: bool
    columns: int


KINDS = {
    "motif and protein, which one is read off": Kind(True, True, 16),
    "motif alone": Kind(True, False, 16),
    "protein, which a motif is read off": Kind(False, True, 16),
    "motif and protein, none is read off": Kind(True, True, 0),
    "protein, none is read off": Kind(False, True, 0),
}
FIRST = next(iter(KINDS))


def run(full: bool = False) -> dict[str, Any]:
    """Measure, and print tables."""
    torch.manual_seed(0)
    difference = largest_difference()
    tracks = _tracks(CHROMOSOME if full else PART)
    pairs = _beside_pairs(FULL if full else SMALL)
    shares = _shares(pairs)
    return {
        "ratio": round(pairs["ratio_with_embedding"]),
        "max_abs_diff": difference,
        "cpu_seconds_a_track_of_hg38": tracks,
        "beside_pairs": pairs,
        "shares_of_the_trunk": shares,
        "sizes": {
            "bins_of_hg38": math.ceil(GENOME / BIN),
            "rendered_bp": CHROMOSOME if full else PART,
            "tracks": TRACKS,
            "rank": RANK,
            "cell_types": CELL_TYPES,
            "window": FULL if full else SMALL,
        },
        "device": describe(),
    }


def make_model(kind: Kind = KINDS[FIRST], **settings: Any) -> BindingModel:
    """A model with a trunk that is never run."""
    trunk = {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6}
    chosen = ModelSettings.model_validate({"trunk": trunk, "rank": RANK, "motif_width": kind.columns, **settings})
    return BindingModel(chosen, ModelShape(BIN, RESIDUE_DIM, window_bins=1536)).eval()


def make_factors(model: BindingModel, count: int, kind: Kind = KINDS[FIRST]) -> FactorCode:
    """Random factors, encoded."""
    batch = FactorBatch(
        torch.randn(count, RESIDUES, RESIDUE_DIM),
        torch.full((count, RESIDUES), kind.protein),
        torch.randn(count, COLUMNS, 4),
        torch.full((count,), kind.motif),
    )
    with torch.inference_mode():
        return model.head.encode_factors(batch)


def largest_difference() -> float:
    """Between logits as rendered and as decoded."""
    model = make_model()
    factors, pairs = make_factors(model, TRACKS), torch.cartesian_prod(torch.arange(TRACKS), torch.arange(2))
    inputs = _piece(2)
    rendered = _render(Renderer(model.head, factors, BIN), inputs, pairs)
    tokens, codes, contexts = inputs
    with torch.inference_mode():
        decoded = model.head.decode(tokens[None].float(), codes[None], factors, contexts, pairs, BIN).binding[0].T
    # The decoder sees N beyond either end.
    inner = slice(2, -2)
    return (rendered - decoded)[:, inner].abs().max().item()


def _tracks(bases: int) -> dict[str, dict[str, float]]:
    """CPU-seconds of a track of hg38, by kind of factor and by what is rendered beside it."""
    heads = f"{'of 32':>8} {'one more':>9} {'by a cell':>9} {'alone':>8}"
    print(f"{'factors with':<42} {heads}   CPU-seconds a track, scaled to hg38")
    found = {}
    for name, kind in KINDS.items():
        # A chromosome for the first kind; a part for the others and for what is added.
        whole = bases if name == FIRST else min(bases, PART)
        part = min(bases, PART)
        with _store(max(whole, part)) as store:
            once = _fill_seconds(store, kind, TRACKS, whole) * GENOME / whole
            alone, base, more = (_fill_seconds(store, kind, count, part) for count in (1, TRACKS, 2 * TRACKS))
            cell = _fill_seconds(store, kind, TRACKS, part, cells=2)
        taken = {
            "a_track": once / TRACKS,
            "a_track_more": (more - base) / TRACKS * GENOME / part,
            "a_track_more_by_a_cell_type": (cell - base) / TRACKS * GENOME / part,
            "alone": alone * GENOME / part,
        }
        more, by_cell = taken["a_track_more"], taken["a_track_more_by_a_cell_type"]
        print(f"{name:<42} {taken['a_track']:8.2f} {more:9.2f} {by_cell:9.2f} {taken['alone']:8.2f}")
        found[name] = {what: round(seconds, 2) for what, seconds in taken.items()} | {"rendered_bp": whole}
    with _store(part) as store:
        seconds = _fill_seconds(store, KINDS[FIRST], TRACKS // 4, part, cells=4) / TRACKS * GENOME / part
    print(f"{'the first, 8 factors in 4 cell types':<42} {seconds:8.2f}")
    found["the first, 8 factors in 4 cell types"] = {"a_track": round(seconds, 2), "rendered_bp": part}
    return found


@dataclass(frozen=True)
class _Store:
    """What rendering reads, of one chromosome; it stands for a reference and an embedding, too."""

    codes: np.ndarray
    tokens: dict[str, np.ndarray]
    folder: Path
    accessibility: np.ndarray = field(repr=False)

    def usable_bins(self, chrom: str, bin: int) -> np.ndarray:
        return np.ones(len(self.tokens[chrom]), dtype=bool)


@contextmanager
def _store(bases: int) -> Iterator[_Store]:
    """Tokens and DNA on disk, of some random ones again and again."""
    rng = np.random.default_rng(0)
    bins = math.ceil(bases / BIN)
    with tempfile.TemporaryDirectory(prefix="tmp-render.", dir=".") as folder:
        tokens = new_array(Path(folder) / "tokens.npy", np.float16, (bins, RANK))
        codes = new_array(Path(folder) / "codes.npy", np.uint8, (bins * BIN,))
        for array, tile in (
            (tokens, rng.normal(size=(1 << 16, RANK)).astype(np.float16)),
            (codes, rng.integers(0, 4, (1 << 16) * BIN, dtype=np.uint8)),
        ):
            for low in range(0, len(array), len(tile)):
                array[low : low + len(tile)] = tile[: len(array) - low]
        accessibility = rng.exponential(size=(bins, 1)).astype(np.float32)
        yield _Store(codes, {"genome": tokens}, Path(folder), accessibility)


def _fill_seconds(store: _Store, kind: Kind, count: int, bases: int, cells: int = 1) -> float:
    """CPU-seconds from the store to tracks that wait to be written; the least of some rounds, or one long one."""
    model = make_model(kind)
    factors = make_factors(model, count, kind)
    bins = math.ceil(bases / BIN)
    data = GenomeData(
        BIN, {"genome": store.codes}, {"genome": np.repeat(store.accessibility, cells, 1)}, np.full(cells, True)
    )
    path = store.folder / "tracks.npy"
    values = new_array(path, np.uint16, (1, count * cells, bins))
    pairs = torch.cartesian_prod(torch.arange(count), torch.arange(cells))
    seconds = []
    for _ in range(1 if bases > PART else FILL_ROUNDS):
        start = time.process_time()
        probabilities = Probabilities([Member(Predictor(model, factors, data), Calibration())])
        fill_numbers(values, probabilities, pairs, store.tokens, store, [Region("genome", 0, bins)])
        seconds.append(time.process_time() - start)
    path.unlink()
    return min(seconds)


def _beside_pairs(sizes: dict[str, int]) -> dict[str, Any]:
    """Seconds of 1 Mb, one pair at a time and together."""
    trunk, windows = _make_trunk(sizes), math.ceil(MEGABASE / (sizes["kept"] * BIN))
    codes = torch.randint(0, 4, (1, sizes["bp"]))
    with torch.inference_mode():
        counter = FlopCounterMode(display=False)
        with counter:
            trunk(codes)
        trunk_seconds, trunk_cpu = _best(lambda: trunk(codes))
    joint, plain = make_model(interaction="joint"), make_model()
    bins = sizes["bp"] // BIN
    tokens, one = torch.randn(1, bins, RANK), make_factors(joint, 1)
    contexts = _contexts(torch.rand(1, bins, 1))
    with torch.inference_mode():
        joint_seconds, _ = _best(
            lambda: joint.head.decode(tokens, codes, one, contexts, torch.zeros(1, 2, dtype=torch.int64), BIN)
        )
    count = math.ceil(MEGABASE / BIN)
    data = GenomeData(
        BIN,
        {"genome": np.random.default_rng(0).integers(0, 4, count * BIN, dtype=np.uint8)},
        {"genome": np.random.default_rng(1).exponential(size=(count, CELL_TYPES)).astype(np.float32)},
        np.ones(CELL_TYPES, dtype=bool),
    )
    pairs = torch.cartesian_prod(torch.arange(TRACKS), torch.arange(CELL_TYPES))
    factors, stored = make_factors(plain, TRACKS), np.random.default_rng(2).normal(size=(count, RANK))
    stored = stored.astype(np.float16)
    rendered, _ = _best(lambda: Predictor(plain, factors, data).stretch("genome", stored, 0, count, pairs))
    per_pair = windows * len(pairs) * (trunk_seconds + joint_seconds)
    with_embedding = windows * trunk_seconds + rendered
    found = {
        "windows": windows,
        "pairs_measured": 1,
        "pairs_multiplied_to": windows * len(pairs),
        "trunk_s_a_window": trunk_seconds,
        "trunk_cpu_s_a_window": trunk_cpu,
        "trunk_gflop_a_window": counter.get_total_flops() / 1e9,
        "joint_head_s_a_pair": joint_seconds,
        "per_pair_s": per_pair,
        "rendering_s": rendered,
        "ratio_with_embedding": per_pair / with_embedding,
        "ratio_without_embedding": per_pair / rendered,
        "bins_of_a_window": bins,
    }
    print(f"\n{TRACKS} factors x {CELL_TYPES} cell types over 1 Mb, seconds")
    print(f"  a pair in a window: trunk {trunk_seconds:.3f}, joint head {joint_seconds:.3f}")
    print(f"  one at a time, {windows * len(pairs):,} of these: {per_pair:,.0f} (measured for one, multiplied)")
    print(f"  embedded once: {windows * trunk_seconds:.2f}, rendered: {rendered:.3f}")
    print(
        f"  ratio {found['ratio_with_embedding']:,.0f}; without embedding {found['ratio_without_embedding']:,.0f}"
    )
    return {name: _short(value) for name, value in found.items()}


def _shares(pairs: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What one more costs in a window, over the trunk's cost of it: 1 / share, in FLOPs and in CPU-seconds."""
    windows = pairs["bins_of_a_window"] / PIECE
    model = make_model()
    threads = torch.get_num_threads()
    # Threads that wait for each other count as busy.
    torch.set_num_threads(1)

    def cost(factors: int, cells: int) -> tuple[float, float]:
        renderer = Renderer(model.head, make_factors(model, factors), BIN)
        inputs = _piece(cells)
        chosen = torch.cartesian_prod(torch.arange(factors), torch.arange(cells))
        with FlopCounterMode(display=False) as counter:
            _render(renderer, inputs, chosen)
        _, seconds = _best(lambda: _render(renderer, inputs, chosen), 3 * ROUNDS)
        strands, multiplications = 2, 2
        scan = factors * strands * multiplications * 4 * (COLUMNS + model.settings.motif_width) * PIECE * BIN
        return counter.get_total_flops() + scan, seconds

    grid = {
        "a factor more (of 32)": ((TRACKS, 1), (2 * TRACKS, 1)),
        "a cell type more (of a factor)": ((1, 1), (1, 1 + CELL_TYPES)),
        "a cell type more (of 32 factors), a track": ((TRACKS, 1), (TRACKS, 1 + CELL_TYPES)),
    }
    found = {}
    print(f"\n{'the trunk costs so many times':<44} {'FLOPs':>9} {'CPU-s':>9}")
    for name, (few, many) in grid.items():
        number = math.prod(many) - math.prod(few)
        (flops, seconds), (more_flops, more_seconds) = cost(*few), cost(*many)
        by_flops = pairs["trunk_gflop_a_window"] * 1e9 * number / ((more_flops - flops) * windows)
        by_time = pairs["trunk_cpu_s_a_window"] * number / max(1e-9, (more_seconds - seconds) * windows)
        found[name] = {"flops": round(by_flops), "cpu_seconds": round(by_time)}
        print(f"{name:<44} {by_flops:9,.0f} {by_time:9,.0f}")
    torch.set_num_threads(threads)
    return found


def _make_trunk(sizes: dict[str, int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """enformer-pytorch's own, uncropped, as the predecessor runs it."""
    enformer = Enformer.from_hparams(dim=sizes["dim"], depth=sizes["depth"], target_length=sizes["bp"] // BIN)
    return partial(enformer.eval(), return_only_embeddings=True)


def _piece(cells: int) -> tuple[torch.Tensor, torch.Tensor, ContextBatch]:
    """DNA tokens, codes and cell types of a piece."""
    accessibility = torch.rand(1, PIECE + 2 * ACCESSIBILITY_REACH, cells) * 5
    return torch.randn(PIECE, RANK).half(), torch.randint(0, 4, (PIECE * BIN,)), _contexts(accessibility)


def _render(renderer: Renderer, inputs: tuple[Any, ...], pairs: torch.Tensor) -> torch.Tensor:
    tokens, codes, contexts = inputs
    around = torch.nn.functional.pad(codes, (renderer.margin + renderer.near * BIN,) * 2, value=4)
    with torch.inference_mode():
        return renderer(tokens, around, contexts, pairs)


def _contexts(accessibility: torch.Tensor) -> ContextBatch:
    count = accessibility.shape[2]
    known = torch.ones(count, dtype=torch.bool)
    return ContextBatch(accessibility, known, torch.zeros(count, 0), ~known, torch.full((count,), -1))


def _best(job: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Seconds and CPU-seconds, the least of some rounds each; a first round that takes long is the only one."""
    taken = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        job()
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
        if taken[0][0] > 5 and len(taken) == 2:
            break
    return min(wall for wall, _ in taken), min(cpu for _, cpu in taken)


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.4g}")
