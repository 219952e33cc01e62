"""Enformer for prediction: the same embeddings, up to rounding, in a fraction of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbind.model.fast_attention import DEVICE_ROWS, ROWS, FastBlock
from tfbind.model.fast_tower import GELU_FACTOR, FastTower, affine
from tfbind.model.inference_trunk import InferenceTrunk, Stretch
from tfbind.model.pieces import Scratch, Workers, pieces_of, workers

if TYPE_CHECKING:
    from tfbind.model.enformer import EnformerTrunk


class FastEnformer(InferenceTrunk):
    """What `WindowByWindow` of an `EnformerTrunk` computes.

    The convolutional tower runs once over a stretch, and again over the few bins at a window's ends that see past
    it. The last block attends for the core alone. On a CPU, one thread takes a piece of the work at a time, so
    that embeddings are the same, to the bit, whatever the number of threads and of stretches.

    Parameters
    ----------
    trunk
        Its weights are copied as they are now; it stays as it is.
    dtype
        Of weights and products. What is carried between transformer blocks is float32, as is what comes out.
    """

    @torch.no_grad()
    def __init__(self, trunk: EnformerTrunk, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        stem, tower, blocks, final = trunk.parts()
        self.tower = FastTower(stem, tower, dtype)
        self.blocks = nn.ModuleList(FastBlock(block, dtype) for block in blocks)
        norm, _, pointwise = final
        scale, shift = affine(norm)
        self.register_buffer("scale", (GELU_FACTOR * scale).float())
        self.register_buffer("shift", (GELU_FACTOR * shift).float())
        # GELU before and after: a factor of the first is undone, and that of the second taken, by the weights.
        self.register_buffer("weight", pointwise.weight[..., 0].to(dtype, copy=True))
        self.register_buffer("bias", (GELU_FACTOR * pointwise.bias).to(dtype))
        self.width = trunk.width
        self.requires_grad_(False).eval()

    @torch.inference_mode()
    def forward(self, codes: Tensor, stretch: Stretch) -> Tensor:
        """See `InferenceTrunk`."""
        # One after the other on a CPU: their number changes no bit of what is found.
        size = 1 if codes.device.type == "cpu" else len(codes)
        with workers(codes.device) as threads:
            found = [self._run(threads, part, stretch) for part in codes.split(max(1, size))]
        return torch.cat(found)

    def _run(self, threads: Workers, codes: Tensor, stretch: Stretch) -> Tensor:
        x = self._bins(threads, codes, stretch)
        first, last = stretch.first_bin, stretch.first_bin + stretch.core_bins
        for block in self.blocks[:-1]:
            x = block(threads, x, 0, x.shape[1])
        x = self.blocks[-1](threads, x, first, last) if len(self.blocks) else x[:, first:last].contiguous()
        found = x.new_empty((*x.shape[:2], self.width))
        rows, into = x.view(-1, x.shape[-1]), found.view(-1, self.width)

        def finish(scratch: Scratch, start: int, end: int) -> None:
            active = F.silu(torch.addcmul(self.shift, rows[start:end], self.scale))
            active = F.linear(active.to(self.weight.dtype), self.weight, self.bias).float()
            torch.mul(F.silu(active, inplace=True), 1 / GELU_FACTOR, out=into[start:end])

        threads.run(finish, pieces_of(len(rows), ROWS if x.device.type == "cpu" else DEVICE_ROWS))
        return found.unflatten(0, (len(codes), stretch.windows))

    def _bins(self, threads: Workers, codes: Tensor, stretch: Stretch) -> Tensor:
        """What the tower makes of each window, (stretches * windows, bins, width), float32."""
        count, windows, bins = len(codes), stretch.windows, stretch.length // stretch.bin
        found = torch.empty((count, windows, bins, self.tower.width), device=codes.device)
        edge = self.tower.edge_bins()
        if windows == 1 or stretch.core >= stretch.length or bins < 4 * edge:
            parts = codes.unfold(1, stretch.length, stretch.core).reshape(-1, stretch.length)
            self.tower.run(threads, [(parts, 0, bins, found.view(-1, bins, self.tower.width))])
            return found.view(-1, bins, self.tower.width)
        step = stretch.core_bins
        whole = found.new_empty((count, stretch.bp // stretch.bin, found.shape[-1]))
        self.tower.run(threads, [(codes, 0, whole.shape[1], whole)])
        found.copy_(whole.unfold(1, bins, step).transpose(2, 3))
        del whole
        self._mend_edges(threads, codes, stretch, found)
        return found.view(-1, bins, self.tower.width)

    def _mend_edges(self, threads: Workers, codes: Tensor, stretch: Stretch, found: Tensor) -> None:
        """Put bins at the ends of windows, with nothing beyond, in the place of those that saw what is there."""
        count, windows, bins, width = found.shape
        edge = self.tower.edge_bins()
        # These ends are far enough from the other side of what is cut.
        reach = min(bins, 2 * edge)
        side = reach * stretch.bin
        cut = codes.unfold(1, stretch.length, stretch.core)
        lefts, rights = cut[:, 1:, :side].reshape(-1, side), cut[:, :-1, -side:].reshape(-1, side)
        left = found.new_empty((len(lefts), edge, width))
        right = torch.empty_like(left)
        self.tower.run(threads, [(lefts, 0, edge, left), (rights, reach - edge, reach, right)])
        found[:, 1:, :edge] = left.view(count, windows - 1, edge, width)
        found[:, :-1, bins - edge :] = right.view(count, windows - 1, edge, width)
