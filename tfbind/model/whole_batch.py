"""Layers that do to a window what they would do if the whole batch were in one place.

A batch may be divided among processes, and in each process into parts. Dropout must then hide the same entries of
a window wherever it is, and batch normalisation must take its statistics over all processes; else another number
of GPUs would be another training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn


class WindowDropout(nn.Module):
    """Dropout whose mask follows from a window's key and the layer alone, not from what else is in the batch.

    Parameters
    ----------
    p
        Probability that an entry is hidden.
    stream
        Number of this layer in its model, so that no two layers hide alike.
    shared
        Whether the first axis is no axis of windows: one mask, the same for the whole batch.
    """

    def __init__(self, p: float, stream: int, *, shared: bool = False) -> None:
        super().__init__()
        self.p, self.stream, self.shared = p, stream, shared
        self.keys: Sequence[int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Hide entries of x, (windows, ...), and scale up the rest."""
        if not self.training or self.p == 0:
            return x
        keys = self._keys(len(x))
        rows = x.unsqueeze(0) if self.shared else x
        kept = torch.empty(rows.shape, device=x.device)
        _draw(kept, 1 - self.p, [_mix(key, self.stream) for key in keys])
        scale = kept.div_(1 - self.p).to(x.dtype)
        return x * (scale.squeeze(0) if self.shared else scale)

    def _keys(self, count: int) -> Sequence[int]:
        """Keys of the windows; random ones outside a training that sets them."""
        if self.keys is None:
            return torch.randint(2**62, (1 if self.shared else count,)).tolist()
        return [_SHARED ^ self.keys[0]] if self.shared else self.keys[1:]

    def extra_repr(self) -> str:
        """For `print(model)`."""
        return f"p={self.p}, stream={self.stream}, shared={self.shared}"


class WholeBatchNorm(nn.BatchNorm1d):
    """BatchNorm1d over the windows of all processes, on any device (torch's SyncBatchNorm wants a GPU)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, (windows, channels) or (windows, channels, positions)."""
        if not self.training or not (dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        values = x.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        own = torch.tensor([values.numel() / values.shape[1]], dtype=torch.float32, device=x.device)
        total = _SumOverProcesses.apply(torch.cat([values.sum(axes), own]))
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = values - _per_channel(mean, x)
        # In a second pass: the mean of squares less the square of the mean would cancel.
        variance = _SumOverProcesses.apply(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach(), count)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * _per_channel(scale, x) + _per_channel(self.bias, x)).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Running statistics, as BatchNorm1d keeps them."""
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


class _SumOverProcesses(torch.autograd.Function):
    """The sum over processes; each gets the sum, and so each one's gradient is the sum of all."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def whole_batch(model: nn.Module) -> nn.Module:
    """Put the layers of this module in the place of torch's; weights and their names stay as they are.

    It may be called again when layers were added; those that are in place keep their streams.
    """
    taken = [layer.stream for layer in model.modules() if isinstance(layer, WindowDropout)]
    stream = max(taken, default=-1) + 1
    for name, parent, child in list(_children(model)):
        if isinstance(child, nn.Dropout):
            # The dropout of the trunk's positional features: they have no axis of windows.
            setattr(parent, name, WindowDropout(child.p, stream, shared=name == "pos_dropout"))
            stream += 1
        elif isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, WholeBatchNorm):
            setattr(parent, name, _as_whole_batch_norm(child))
    return model


@contextmanager
def window_keys(model: nn.Module, seed: int, step: int, windows: Sequence[int]) -> Iterator[None]:
    """Within the block, the model is given these windows of a step's batch, by their numbers in it."""
    base = int(np.random.SeedSequence([seed, step, 4]).generate_state(1, np.uint64)[0] >> 2)
    keys = [base, *(_mix(base, window) for window in windows)]
    layers = [module for module in model.modules() if isinstance(module, WindowDropout)]
    for layer in layers:
        layer.keys = keys
    try:
        yield
    finally:
        for layer in layers:
            layer.keys = None


def _children(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    for parent in model.modules():
        for name, child in parent.named_children():
            yield name, parent, child


def _as_whole_batch_norm(norm: nn.modules.batchnorm._BatchNorm) -> WholeBatchNorm:
    new = WholeBatchNorm(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    # The tensors themselves: others may share them, and they are where they are, perhaps nowhere (meta).
    new.weight, new.bias = norm.weight, norm.bias
    for name, value in norm.named_buffers():
        setattr(new, name, value)
    return new.train(norm.training)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *(1 for _ in like.shape[2:]))


def _draw(rows: Tensor, probability: float, seeds: Sequence[int]) -> None:
    """Fill each row with 1, as often as that, and 0, by its own seed."""
    if rows.device.type != "cpu":
        generator = torch.Generator(device=rows.device)
        for row, seed in zip(rows, seeds, strict=True):
            row.bernoulli_(probability, generator=generator.manual_seed(seed))
        return
    # Of 16 random bits each: a tenth of the time that torch takes on a CPU.
    for row, seed in zip(rows, seeds, strict=True):
        bits = np.random.SFC64(seed).random_raw(-(-row.numel() // 4)).view(np.uint16)[: row.numel()]
        row.copy_(torch.from_numpy(bits < round(probability * 2**16)).view(row.shape))


_SHARED = 0x5DEECE66D


def _mix(key: int, number: int) -> int:
    """A seed from a key and a small number (splitmix64, Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return (z ^ (z >> 31)) >> 1
