"""Enformer's stem and convolutional tower for prediction, in pieces.

What it computes is what the layers of enformer-pytorch compute, up to rounding:

- Attention pooling of pairs is x1 + sigmoid(W (x0 - x1)) (x0 - x1): one product at half the resolution, and no
  softmax.
- GELU there is silu(1.702 x) / 1.702: the factor goes into batch normalisation, its inverse into the weights that
  follow.
- What is added to each position alike, biases of convolutions, cancels in x0 - x1: it goes into the batch
  normalisation of the next layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbind.model.pieces import Scratch, Workers, pieces_of
from tfbind.model.short_convolution import INPUTS, OUTPUTS, TAPS, convolve, transformed_taps, transforms

GELU_FACTOR = 1.702
# Bases that one thread takes at a time on a CPU, and positions of a layer that stay in its cache.
CHUNK_BP, TILE_POSITIONS = 32_768, 1024
# Elsewhere, of all sequences together: at Enformer's width a base takes up to 16 kB (float32).
DEVICE_CHUNK_BP = 2**18
N_CODE = 4

Span = tuple[Tensor, int, int, Tensor]


def chunk_bp(device: torch.device) -> int:
    """Most bases of all sequences of a chunk."""
    return CHUNK_BP if device.type == "cpu" else DEVICE_CHUNK_BP


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift, float64, of a batch normalisation by its running statistics."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


class Rest(nn.Module):
    """What follows the first convolution of a layer: the pointwise one beside it, and pooling."""

    def __init__(self, residual: nn.Module, pool: nn.Module, bias: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        norm, _, pointwise = residual.fn
        scale, shift = affine(norm)
        self.register_buffer("scale", (GELU_FACTOR * scale).to(dtype))
        self.register_buffer("shift", (GELU_FACTOR * (shift + scale * bias)).to(dtype))
        self.register_buffer(
            "pointwise", (pointwise.weight[..., 0].double().T / GELU_FACTOR).to(dtype).contiguous()
        )
        self.register_buffer("pool", pool.to_attn_logits.weight[..., 0, 0].T.to(dtype).contiguous())
        # What is still to be added to what comes out.
        self.register_buffer("owed", bias + pointwise.bias.double())

    def forward(self, scratch: Scratch, x: Tensor, even: Tensor, odd: Tensor, out: Tensor) -> None:
        """Fill `out` with pairs of x, whose even and odd positions are given as views of it. x is overwritten."""
        width = x.shape[-1]
        active = torch.addcmul(self.shift, x, self.scale, out=scratch.take("active", x.shape, x))
        F.silu(active, inplace=True)
        x.view(-1, width).addmm_(active.view(-1, width), self.pointwise)
        difference = torch.sub(even, odd, out=scratch.take("difference", even.shape, x))
        gate = scratch.take("active", even.shape, x)
        torch.mm(difference.view(-1, width), self.pool, out=gate.view(-1, width))
        torch.addcmul(odd, gate.sigmoid_(), difference, out=out)


class Stem(nn.Module):
    """From bases to pairs of them: a convolution of 15 taps as one product, and the rest."""

    def __init__(self, stem: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        first, residual, pool = stem
        weight = first.weight  # (out, 4, taps)
        self.taps = weight.shape[-1]
        # A tap more, of nothing, makes rows of an even size.
        taps = F.pad(weight, (0, 1)).permute(2, 1, 0).reshape(-1, weight.shape[0])
        self.register_buffer("weight", taps.to(dtype).contiguous())
        self.register_buffer("bases", torch.eye(5, 4, dtype=dtype, device=weight.device))
        self.rest = Rest(residual, pool, first.bias.double(), dtype)
        self.width = weight.shape[0]

    def forward(self, scratch: Scratch, codes: Tensor, out: Tensor) -> None:
        """Fill `out`, (sequences, pairs, width), of codes (sequences, 2 pairs + taps - 1)."""
        count, positions = codes.shape[0], 2 * out.shape[1]
        hot = F.embedding(F.pad(codes, (0, 1), value=N_CODE).int(), self.bases)
        windows = hot.as_strided((count, positions, len(self.weight)), (hot.stride(0), 4, 1))
        rows = scratch.take("moved", windows.shape, hot).copy_(windows)
        x = scratch.take("found", (count, positions, self.width), hot)
        torch.mm(rows.view(-1, rows.shape[-1]), self.weight, out=x.view(-1, self.width))
        self.rest(scratch, x, x[:, 0::2], x[:, 1::2], out)


class Layer(nn.Module):
    """A layer of the tower: activation, convolution of 5 taps, the rest."""

    def __init__(self, layer: nn.Module, owed: Tensor, dtype: torch.dtype, short: bool) -> None:
        super().__init__()
        (norm, _, conv), residual, pool = layer
        scale, shift = affine(norm)
        self.reach, self.width, self.short = conv.kernel_size[0] // 2, conv.out_channels, short
        self.register_buffer("scale", (GELU_FACTOR * scale).to(dtype))
        self.register_buffer("shift", (GELU_FACTOR * (shift + scale * owed)).to(dtype))
        weight = conv.weight / GELU_FACTOR
        if short:
            inputs, _, outputs = transforms()
            self.register_buffer("inputs", inputs.float())
            self.register_buffer("outputs", outputs.float())
            self.register_buffer("weight", transformed_taps(weight))
        else:
            weight = weight.to(dtype)[:, :, None].contiguous(memory_format=torch.channels_last)
            self.register_buffer("weight", weight)
        self.rest = Rest(residual, pool, conv.bias.double(), dtype)

    def forward(self, scratch: Scratch, x: Tensor, start: int, end: int, out: Tensor) -> None:
        """Fill `out`, (sequences, pairs, width).

        Parameters
        ----------
        x
            (sequences, positions, channels), from `reach` before the first pair on.
        start, end
            Positions of x that exist; the others, before and after, are nothing.
        """
        if self.short:
            self._short(scratch, x, start, end, out)
        else:
            self._plain(scratch, x, start, end, out)

    def _plain(self, scratch: Scratch, x: Tensor, start: int, end: int, out: Tensor) -> None:
        active = torch.addcmul(self.shift, x, self.scale, out=scratch.take("phases", x.shape, x))
        F.silu(active, inplace=True)
        active[:, :start].zero_()
        active[:, end:].zero_()
        found = F.conv2d(active.transpose(1, 2)[:, :, None], self.weight)[:, :, 0].transpose(1, 2)
        found = found if found.is_contiguous() else found.contiguous()
        self.rest(scratch, found, found[:, 0::2], found[:, 1::2], out)

    def _short(self, scratch: Scratch, x: Tensor, start: int, end: int, out: Tensor) -> None:
        count, positions, channels = x.shape
        tiles = -(-(2 * out.shape[1]) // OUTPUTS)
        # A tile more of each sequence: the inputs of its last tile reach there; and one at the very end.
        each = tiles + 1
        phases = scratch.take("phases", (OUTPUTS, count * each + 1, channels), x)
        phases[:, -1].zero_()
        within = phases[:, :-1].view(OUTPUTS, count, each, channels)
        whole = min(positions // OUTPUTS, each)
        split = x[:, : whole * OUTPUTS].unflatten(1, (whole, OUTPUTS)).permute(2, 0, 1, 3)
        torch.addcmul(self.shift, split, self.scale, out=within[:, :, :whole])
        within[:, :, whole:].zero_()
        for position in range(whole * OUTPUTS, min(positions, each * OUTPUTS)):
            tile, phase = divmod(position, OUTPUTS)
            torch.addcmul(self.shift, x[:, position], self.scale, out=within[phase, :, tile])
        F.silu(phases, inplace=True)
        for position in (*range(start), *range(end, each * OUTPUTS)):
            tile, phase = divmod(position, OUTPUTS)
            within[phase, :, tile].zero_()
        flat = count * each
        memory = (
            scratch.take("moved", (INPUTS, flat, channels), x),
            scratch.take("products", (INPUTS, flat, self.width), x),
            scratch.take("found", (OUTPUTS, flat, self.width), x),
        )
        found = convolve(phases, self.weight, (self.inputs, self.outputs), memory)
        pairs = scratch.take("pairs", (2, count, each, self.width), x)
        self.rest(scratch, found, found[0::2], found[1::2], pairs.view(2, flat, self.width))
        for phase in range(2):
            into = out[:, phase::2]
            into.copy_(pairs[phase, :, : into.shape[1]])


class FastTower(nn.Module):
    """Stem and tower: from codes to bins, (sequences, bins, width), without what a transformer does.

    Parameters
    ----------
    stem, tower
        Of an enformer-pytorch Enformer.
    dtype
        Of weights and activations.
    """

    @torch.no_grad()
    def __init__(self, stem: nn.Module, tower: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        # Fewer products pay where they cost more than the passes around them.
        short = dtype == torch.float32 and next(stem.parameters()).device.type == "cpu"
        self.stem = Stem(stem, dtype)
        layers, owed = [], self.stem.rest.owed
        for layer in tower:
            taps = layer[0][2].kernel_size[0]
            layers.append(Layer(layer, owed, dtype, short and taps == TAPS))
            owed = layers[-1].rest.owed
        self.layers = nn.ModuleList(layers)
        self.register_buffer("owed", owed.to(torch.float32))
        self.bin = 2 ** (len(layers) + 1)
        self.width = layers[-1].width if layers else self.stem.width

    @property
    def reach(self) -> int:
        """How far before the start, and after the end, of a bin bases change it, bp."""
        reach = 0
        for layer in reversed(self.layers):
            reach = 2 * reach + layer.reach
        return 2 * reach + self.stem.taps // 2

    def edge_bins(self) -> int:
        """Bins at an end of a window that see past it."""
        return -(-self.reach // self.bin)

    def run(self, workers: Workers, spans: list[Span]) -> None:
        """Embed bins of sequences, each sequence as if nothing were around it.

        Parameters
        ----------
        spans
            Codes (sequences, bp); first and last + 1 of their bins, and where they go: (sequences, bins, width),
            float32.
        """
        workers.run(self._chunk, [chunk for span in spans for chunk in self._chunks(*span)])

    def _chunks(self, codes: Tensor, first: int, last: int, into: Tensor) -> list[Span]:
        """What is done at a time: several sequences, or bins of one."""
        most = chunk_bp(codes.device) // self.bin
        # Short ones together: a layer's weights are read for each chunk.
        together = max(1, most // (last - first))
        return [
            (codes[low:high], first + start, first + end, into[low:high, start:end])
            for low, high in pieces_of(len(codes), together)
            for start, end in pieces_of(last - first, most)
        ]

    def _chunk(self, scratch: Scratch, codes: Tensor, first: int, last: int, into: Tensor) -> None:
        count, bp = codes.shape
        size = TILE_POSITIONS if codes.device.type == "cpu" else bp
        needed = self._needed(first, last, bp)
        start, end = needed[0]
        x = scratch.take("layer 0", (count, end - start, self.stem.width), self.stem.weight)
        side = self.stem.taps // 2
        for low, high in pieces_of(end - start, max(1, size // 2 // count)):
            left, right = 2 * (start + low) - side, 2 * (start + high) + side
            part = F.pad(
                codes[:, max(0, left) : min(bp, right)], (max(0, -left), max(0, right - bp)), value=N_CODE
            )
            self.stem(scratch, part, x[:, low:high])
        for number, layer in enumerate(self.layers, 1):
            length = bp >> number
            before, (start, end) = start, needed[number]
            out = scratch.take(f"layer {number % 2}", (count, end - start, layer.width), x)
            for low, high in pieces_of(end - start, max(1, size // 2 // count)):
                left, right = 2 * (start + low) - layer.reach, 2 * (start + high) + layer.reach
                have_left, have_right = max(0, left), min(length, right)
                part = x[:, have_left - before : have_right - before]
                if have_left > left or have_right < right:
                    part = F.pad(part, (0, 0, have_left - left, right - have_right))
                layer(scratch, part, have_left - left, have_right - left, out[:, low:high])
            x = out
        torch.add(x, self.owed, out=into) if into.dtype == x.dtype else into.copy_(x).add_(self.owed)

    def _needed(self, first: int, last: int, bp: int) -> list[tuple[int, int]]:
        """First and last + 1 of positions that the stem, and each layer, must give for these bins."""
        needed = [(first, last)]
        for number in range(len(self.layers), 0, -1):
            reach, (start, end) = self.layers[number - 1].reach, needed[0]
            needed.insert(0, (max(0, 2 * start - reach), min(bp >> number, 2 * end + reach)))
        return needed
