"""Enformer's transformer blocks for prediction, in pieces of rows; logits of all pairs are never kept at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbind.model.finetuning import merged_weight
from tfbind.model.pieces import Scratch, Workers, pieces_of
from tfbind.model.positions import positional_features

# Rows that go through linear layers at once, and logits that are alive at once, on a CPU and elsewhere.
ROWS, LOGITS = 512, 2**22
DEVICE_ROWS, DEVICE_LOGITS = 2**16, 2**28


class FastBlock(nn.Module):
    """A transformer block: attention and feed-forward, each beside its input.

    Parameters
    ----------
    block
        Of an `EnformerTrunk`; LoRA's adapters are added to the weights.
    dtype
        Of weights and products; what is carried from block to block is float32.
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        attention, feed = block[0].fn, block[1].fn
        norm, layer = attention[0], attention[1]
        self.heads, self.gamma = layer.heads, layer.gamma
        self.norm, self.feed_norm = _norm(norm), _norm(feed[0])
        query, key, value = (merged_weight(each).detach() for each in (layer.to_q, layer.to_k, layer.to_v))
        self.key_dim, self.value_dim = len(query) // self.heads, len(value) // self.heads
        self.register_buffer("mixed", torch.cat([query * layer.scale, key, value]).to(dtype))
        for name, bias in (("content", layer.rel_content_bias), ("position", layer.rel_pos_bias)):
            self.register_buffer(name, bias.detach()[0].to(dtype, copy=True))
        self.register_buffer("to_keys", merged_weight(layer.to_rel_k).detach().clone())
        self.out, self.up, self.down = (_linear(each, dtype) for each in (layer.to_out, feed[1], feed[4]))
        self._keys: dict[tuple[int, torch.device], Tensor] = {}

    def forward(self, workers: Workers, x: Tensor, first: int, last: int) -> Tensor:
        """What becomes of bins `first` to `last` of x, (windows, bins, width), which may be overwritten."""
        windows, bins, width = x.shape
        dtype = self.mixed.dtype
        mixed = x.new_empty((windows, bins, len(self.mixed)), dtype=dtype)
        rows, taken = x.view(-1, width), mixed.view(-1, len(self.mixed))
        cpu = x.device.type == "cpu"
        size, logits = (ROWS, LOGITS) if cpu else (DEVICE_ROWS, DEVICE_LOGITS)

        def project(scratch: Scratch, start: int, end: int) -> None:
            torch.mm(self.norm(rows[start:end]).to(dtype), self.mixed.T, out=taken[start:end])

        workers.run(project, pieces_of(len(rows), size))
        count = last - first
        found = x.new_empty((windows, count, self.heads * self.value_dim), dtype=dtype)
        keys = self._position_keys(bins, x.device)
        per_window = self.heads * bins * bins
        if per_window <= logits:
            parts = [(*each, first, last) for each in pieces_of(windows, logits // per_window)]
        else:
            parts = [
                (window, window + 1, first + start, first + end)
                for window in range(windows)
                for start, end in pieces_of(count, max(16, logits // (self.heads * bins)))
            ]

        def attend(scratch: Scratch, low: int, high: int, start: int, end: int) -> None:
            into = found[low:high, start - first : end - first]
            self._attend(scratch, mixed[low:high], keys, start, end, into)

        workers.run(attend, parts)
        kept = x if count == bins else x[:, first:last].contiguous()
        kept_rows, found_rows = kept.view(-1, width), found.view(-1, found.shape[-1])

        def feed(scratch: Scratch, start: int, end: int) -> None:
            part = kept_rows[start:end]
            part.add_(self.out(found_rows[start:end]))
            part.add_(self.down(self.up(self.feed_norm(part).to(dtype)).relu_()))

        workers.run(feed, pieces_of(len(kept_rows), size))
        return kept

    def _attend(self, scratch: Scratch, mixed: Tensor, keys: Tensor, start: int, end: int, into: Tensor) -> None:
        """Fill `into`, (windows, end - start, heads * width of a value), for bins `start` to `end`."""
        windows, bins, _ = mixed.shape
        heads, count, wide = self.heads, end - start, bins + end - start - 1
        query, key, value = mixed.split(
            [heads * self.key_dim, heads * self.key_dim, heads * self.value_dim], dim=-1
        )
        query = query[:, start:end].unflatten(-1, (heads, -1)).permute(2, 0, 1, 3)
        key, value = (each.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3) for each in (key, value))
        # Row i of all takes distances -i to bins - 1 - i: no row of these takes any that lies before or after.
        distances = keys[:, bins - end : 2 * bins - 1 - start]
        shape = (heads, windows, count)
        by_distance = scratch.take("by distance", (heads, windows * count, wide), mixed)
        moved = (query + self.position[:, None]).reshape(heads, windows * count, self.key_dim)
        torch.bmm(moved, distances.transpose(1, 2), out=by_distance)
        # One row on is one distance less at the same place: a view shifts.
        shifted = by_distance.as_strided(
            (heads * windows, count, bins), (count * wide, wide - 1, 1), by_distance.storage_offset() + count - 1
        )
        logits = scratch.take("logits", (heads * windows, count, bins), mixed)
        moved = (query + self.content[:, None]).reshape(heads * windows, count, self.key_dim)
        torch.baddbmm(shifted, moved, key.flatten(0, 1).transpose(1, 2), out=logits)
        weights = torch.softmax(logits, -1, out=logits) if logits.dtype == torch.float32 else logits.softmax(-1)
        attended = torch.bmm(weights, value.flatten(0, 1)).view(*shape, self.value_dim)
        into.unflatten(-1, (heads, -1)).copy_(attended.permute(1, 2, 0, 3))

    def _position_keys(self, bins: int, device: torch.device) -> Tensor:
        """Keys of the relative positions, (heads, 2 bins - 1, width of a key): from float32, kept."""
        if (bins, device) not in self._keys:
            features = positional_features(bins, self.to_keys.shape[1], self.gamma, device)
            keys = F.linear(features.to(self.to_keys.dtype), self.to_keys).unflatten(-1, (self.heads, -1))
            self._keys = {(bins, device): keys.transpose(0, 1).to(self.mixed.dtype).contiguous()}
        return self._keys[bins, device]


def _linear(layer: nn.Module, dtype: torch.dtype) -> nn.Linear:
    weight = merged_weight(layer).detach()
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=layer.bias is not None, device="meta")
    plain.weight = nn.Parameter(weight.to(dtype, copy=True), requires_grad=False)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.detach().to(dtype, copy=True), requires_grad=False)
    return plain


def _norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    plain = nn.LayerNorm(norm.normalized_shape, norm.eps, device="meta")
    plain.weight, plain.bias = (
        nn.Parameter(each.detach().float().clone(), requires_grad=False) for each in (norm.weight, norm.bias)
    )
    return plain
