"""What every trunk is: a network from a window of DNA to one embedding per bin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from tfbind.config import TrunkSettings
from tfbind.core.errors import InputError
from tfbind.model.inference_trunk import InferenceTrunk, WindowByWindow
from tfbind.model.whole_batch import WindowDropout


def one_hot(codes: Tensor) -> Tensor:
    """One-hot float32 (..., 4) of base codes 0-3; N (4) is all zeros."""
    # Rows of a table: on a CPU, eight times as fast as F.one_hot, which makes 5 columns of 64-bit integers first.
    rows = torch.eye(5, 4, device=codes.device).index_select(0, codes.reshape(-1).int())
    return rows.view(*codes.shape, 4)


def as_one_hot(bases: Tensor) -> Tensor:
    """One-hot (windows, bp, 4) of base codes 0-4 (windows, bp), of any integer type; what is one-hot stays so.

    Raises
    ------
    InputError
        If it is neither.
    """
    if not (bases.is_floating_point() or bases.dtype == torch.bool) and bases.ndim == 2:
        return one_hot(bases)
    if bases.is_floating_point() and bases.ndim == 3 and bases.shape[-1] == 4:
        return bases
    raise InputError(
        f"DNA must be integer codes (windows, bp) or one-hot numbers (windows, bp, 4), "
        f"not {str(bases.dtype).removeprefix('torch.')} {tuple(bases.shape)}",
        mend="give codes 0-3, N = 4, as integers, or one-hot as float32",
    )


class Trunk(nn.Module, ABC):
    """A network from a window of DNA to one embedding per bin. It crops nothing: that is its caller's to do.

    Another network takes the place of Enformer by being a subclass: it gives `stages`, `blocks` and `adaptable`,
    and runs from one-hot (windows, bp, 4) to (windows, bins, width) when its stages are called in order.

    Parameters
    ----------
    settings
        All that is needed to build the network again, pretrained weights aside: a checkpoint keeps them.
    bin
        bp of one bin.
    width
        Channels of the embedding.
    source
        Where pretrained weights came from; None if it is new.

    Attributes
    ----------
    gradient_checkpointing : bool
        Whether training keeps what goes into each stage alone, and runs the stage again in the backward pass.
    live : tuple of str
        Names of the parts that train as a whole; dropout is active within them alone. `""` is all of it.
    batch_norm_follows : bool
        Whether batch normalisation takes and follows the batch's statistics in what is live.
    """

    def __init__(
        self, settings: TrunkSettings, *, bin: int, width: int, source: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.settings, self.bin, self.width, self.source = settings, bin, width, source
        self.gradient_checkpointing = False
        self.live: tuple[str, ...] = ("",)
        self.batch_norm_follows = True

    @property
    def downsampling(self) -> int:
        """How often the resolution is halved on the way: `bin` is 2 to this."""
        return self.bin.bit_length() - 1

    @property
    def pretrained(self) -> bool:
        """Whether its weights come from a training on other data."""
        return self.source is not None

    @abstractmethod
    def stages(self) -> Sequence[nn.Module]:
        """The parts that run one after the other, from (windows, bp, 4) to (windows, bins, width)."""

    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """What `training.fine_tuning.last` counts: equal blocks at the resolution of bins, in order."""

    @abstractmethod
    def adaptable(self) -> Sequence[str]:
        """Names of the layers that LoRA adapts."""

    def bins(self, length: int) -> int:
        """Number of bins of a window of so many bp.

        Raises
        ------
        InputError
            If the length is not a multiple of `bin`, or nothing.
        """
        if length < self.bin or length % self.bin:
            raise InputError(
                f"this trunk takes windows of a multiple of {self.bin} bp, not of {length} bp",
                key="windows.length",
                mend=f"set it to e.g. {max(1, round(length / self.bin)) * self.bin}",
            )
        return length // self.bin

    def for_inference(self, dtype: torch.dtype = torch.float32) -> InferenceTrunk:
        """What embeds stretches of DNA by this trunk, as its weights are now; `dtype` is that of its products."""
        return WindowByWindow(self.eval(), dtype)

    def forward(self, bases: Tensor) -> Tensor:
        """Embeddings (windows, bins, width) of base codes 0-4 (windows, bp), or of one-hot (windows, bp, 4)."""
        x = as_one_hot(bases)
        self.bins(x.shape[1])
        self._settle()
        weights = list(self.parameters())
        x = x.to(weights[0].dtype)
        trained = x.requires_grad or any(weight.requires_grad for weight in weights)
        with nullcontext() if trained else torch.no_grad():
            for stage in self.stages():
                x = self._run(stage, x)
        return x

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        kept = x.requires_grad or any(weight.requires_grad for weight in stage.parameters())
        if not (self.gradient_checkpointing and kept and torch.is_grad_enabled()):
            return stage(x)
        return checkpoint(stage, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _as_before(stage)))

    def train(self, mode: bool = True) -> Trunk:
        """Training mode for what is live; all else runs as in prediction."""
        super().train(mode)
        self._settle()
        return self

    def _settle(self) -> None:
        """Hold still what does not train, however it was put into training mode."""
        for name, module in self.named_modules():
            held = isinstance(module, _BatchNorm) and not self.batch_norm_follows
            if held or not any(_within(name, part) for part in self.live):
                module.training = False


def _within(name: str, part: str) -> bool:
    return part in ("", name) or name.startswith(f"{part}.")


def _as_before(stage: nn.Module) -> AbstractContextManager[None]:
    """For running a stage again in the backward pass: with the windows that it has now, and no other effect."""
    keys = [(layer, layer.keys) for layer in stage.modules() if isinstance(layer, WindowDropout)]
    norms = [module for module in stage.modules() if isinstance(module, _BatchNorm)]
    return _again(keys, norms)


@contextmanager
def _again(
    keys: Sequence[tuple[WindowDropout, Sequence[int] | None]], norms: Sequence[_BatchNorm]
) -> Iterator[None]:
    keys_now = [layer.keys for layer, _ in keys]
    followed = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for layer, own in keys:
        layer.keys = own
    # Batch normalisation would else count its batch twice.
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for (layer, _), own in zip(keys, keys_now, strict=True):
            layer.keys = own
        for norm, (momentum, count) in zip(norms, followed, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
