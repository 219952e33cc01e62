"""Memory and time of one training step of the trunk at Enformer's full size. They are computed, not measured.

The step, forward and backward, runs on tensors that have sizes and no content (torch's FakeTensorMode), and every
operation is noted: what it computes (torch.utils.flop_counter), what it reads and writes, and which tensors are
alive after it. So the memory is what torch would allocate, but for kernels' workspace and fragmentation. The
time is a lower bound, which no real step reaches: each operation takes as long as its arithmetic or its memory
traffic does, whichever is longer, at the rates of a GPU's data sheet. The optimizer's own step is not in it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tfbind.config import FineTuningSettings, TrunkSettings
from tfbind.model.finetuning import fine_tune
from tfbind.model.positions import positional_features
from tfbind.model.precision import DTYPES, autocast
from tfbind.model.trunk import make_trunk
from tfbind.model.whole_batch import whole_batch, window_keys

CPU = torch.device("cpu")
BIN, LENGTH = 128, 196_608
# As published (Avsec et al. 2021).
FULL = TrunkSettings(dim=1536, depth=11, heads=8, dim_divisible_by=128, dropout=0.4, gamma="tensorflow")
# Operations per second by the type of numbers, and bytes per second, of NVIDIA's data sheets (SXM, dense).
GPUS = {
    "A100 80 GB": ({"fp32": 19.5e12, "bf16": 312e12}, 2.039e12),
    "H100 80 GB": ({"fp32": 67e12, "bf16": 989e12}, 3.35e12),
}
CASES = [
    *(("all", precision, again) for precision in ("fp32", "bf16") for again in (False, True)),
    *((mode, "bf16", again) for mode in ("lora", "last") for again in (False, True)),
    ("frozen", "bf16", False),
]


@dataclass
class Step:
    """What one step takes.

    Attributes
    ----------
    weights, trained
        Number of the trunk's weights, and of those that train.
    working_bytes
        Most that is alive at once beside weights and moments: activations, gradients, what lies between.
    flops
        Of products and convolutions; a product and its sum are two.
    seconds
        Lower bound a GPU.
    """

    weights: int = 0
    trained: int = 0
    working_bytes: int = 0
    flops: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def fixed_bytes(self) -> int:
        """Weights in float32, and AdamW's two moments of what trains."""
        return 4 * self.weights + 8 * self.trained

    @property
    def bytes(self) -> int:
        """Peak of memory."""
        return self.fixed_bytes + self.working_bytes


class Ledger(TorchDispatchMode):
    """Notes of each operation what it computes and moves, and what is alive after it."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()
        self.known = {id(tensor.untyped_storage()) for tensor in known}
        self.held = [tensor.untyped_storage() for tensor in known]
        self.alive: dict[int, int] = {}
        self.now = self.peak = self.flops = 0
        self.seconds = dict.fromkeys(GPUS, 0.0)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and note it."""
        found = function(*args, **(kwargs or {}))
        written = list(_tensors(found))
        flops = self._flops(function, args, kwargs or {}, found)
        self.flops += flops
        for tensor in written:
            self._note(tensor.untyped_storage())
        if not function.is_view:
            moved = sum(each.numel() * each.element_size() for each in (*_tensors((args, kwargs)), *written))
            kind = "bf16" if any(each.dtype == torch.bfloat16 for each in written) else "fp32"
            for name, (rates, bandwidth) in GPUS.items():
                self.seconds[name] += max(flops / rates[kind], moved / bandwidth)
        return found

    @staticmethod
    def _flops(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> int:
        count = flop_registry.get(function._overloadpacket)
        return 0 if count is None else count(*args, **kwargs, out_val=found)

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self.alive or key in self.known:
            return
        self.alive[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self.alive.pop(key)


class Trained(nn.Module):
    """What `fine_tune` takes: a model with a trunk."""

    def __init__(self, settings: TrunkSettings, bin: int) -> None:
        super().__init__()
        self.trunk = make_trunk(settings, bin)
        whole_batch(self)


def compute_step(
    settings: TrunkSettings,
    fine_tuning: FineTuningSettings,
    *,
    bin: int,
    length: int,
    precision: str,
    again: bool,
    windows: int = 1,
    fake: bool = True,
) -> Step:
    """What a step of the trunk takes.

    Parameters
    ----------
    again
        Whether stages run again in the backward pass (`training.gradient_checkpointing`).
    fake
        Whether tensors have no content; else the step is really run, for comparison.
    """
    if settings.kind == "enformer":
        features = settings.dim // settings.heads
        positional_features(
            length // bin, features, settings.gamma or "pytorch", CPU
        )  # is then at hand, and real
    with torch.device("meta" if fake else "cpu"):
        model = Trained(settings, bin).train()
        fine_tune(model, fine_tuning)
    trunk = model.trunk
    trunk.gradient_checkpointing = again
    with ExitStack() as stack:
        if fake:
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            _without_content(model)
        bases = torch.zeros(windows, length, 4)
        ledger = Ledger([*trunk.parameters(), *trunk.buffers(), bases])
        with ledger, window_keys(model, 0, 0, range(windows)):
            with autocast(CPU, DTYPES[precision]):
                embedding = trunk(bases)
            if embedding.requires_grad:
                embedding.float().square().mean().backward()
    weights = list(trunk.parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    total = sum(weight.numel() for weight in weights)
    return Step(total, trained, ledger.peak, ledger.flops, ledger.seconds)


def run(full: bool = False) -> dict[str, Any]:
    """Compute the step in each mode, print the table; return what the JSON line says; the size is always real."""
    found = {}
    for mode, precision, again in CASES:
        print(f"{mode}, {precision}{', stages run again' if again else ''}", file=sys.stderr)
        settings = FineTuningSettings(mode=mode, last=2 if mode == "last" else None)
        found[mode, precision, again] = compute_step(
            FULL, settings, bin=BIN, length=LENGTH, precision=precision, again=again
        )
    print_table(found)
    whole, less = found["all", "bf16", False], found["all", "bf16", True]
    return {
        "ratio": {
            "bytes": round(whole.bytes / less.bytes, 2),
            "flops": round(whole.flops / less.flops, 2),
            **{name: round(whole.seconds[name] / less.seconds[name], 2) for name in GPUS},
        },
        "computed": True,
        "weights": whole.weights,
        "gibibytes": {_name(*case): round(step.bytes / 2**30, 2) for case, step in found.items()},
        "teraflops": {_name(*case): round(step.flops / 1e12, 2) for case, step in found.items()},
        "windows": 1,
        "bp": LENGTH,
        "bin": BIN,
        "device": "none: computed",
    }


def print_table(found: dict[tuple[str, str, bool], Step]) -> None:
    """A row a case; every figure of it is computed."""
    first = next(iter(found.values()))
    print(f"one step of the trunk, computed: {first.weights:,} weights, 1 window of {LENGTH:,} bp, bins of {BIN}")
    print(
        "GiB: weights and AdamW's moments; activations, gradients and the like; together. Least seconds by GPU."
    )
    columns = [
        "trains",
        "precision",
        "stages again",
        "weights trained",
        "fixed",
        "working",
        "GiB",
        "TFLOP",
        *GPUS,
    ]
    rows = [columns]
    for (mode, precision, again), step in found.items():
        sizes = [f"{each / 2**30:.1f}" for each in (step.fixed_bytes, step.working_bytes, step.bytes)]
        seconds = [f"{step.seconds[name]:.2f} s" for name in GPUS]
        trained = [mode, precision, "yes" if again else "no", f"{step.trained:,}"]
        rows.append([*trained, *sizes, f"{step.flops / 1e12:.1f}", *seconds])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _without_content(model: nn.Module) -> None:
    """Move weights and statistics from `meta` to the CPU, where autocast is; within FakeTensorMode."""
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            moved = torch.empty_like(weight, device=CPU)
            setattr(module, name, nn.Parameter(moved, requires_grad=weight.requires_grad))
        for name, value in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(value, device=CPU))


def _name(mode: str, precision: str, again: bool) -> str:
    return f"{mode} {precision}{' again' if again else ''}"


def _tensors(values: Any) -> Iterator[Tensor]:
    return (each for each in tree_leaves(values) if isinstance(each, Tensor))
