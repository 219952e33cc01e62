"""ESM-2 without padding: pieces are laid end to end, and only attention minds where one ends.

fair-esm's own forward pads each batch to its longest piece, averages attention weights that nobody asked for, and
predicts a residue at each position. Here are the same numbers to rounding, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from esm.model.esm2 import ESM2

# Share of residues that were not masked in training, by which embeddings are scaled where none is (fair-esm's
# `token_dropout`: 15 % are chosen, of which 80 % are masked).
_SHOWN = 1 - 0.15 * 0.8


@torch.inference_mode()
def packed_representations(model: ESM2, pieces: Sequence[Tensor], layer: int) -> list[Tensor]:
    """Outputs of a layer of ESM-2, as `model(tokens, repr_layers=[layer])` gives them for each piece alone.

    Parameters
    ----------
    model
        In prediction mode; as it is, none of its weights is copied.
    pieces
        int64 (tokens,) each, with the tokens of their ends, none of them masked; on the model's device.
    layer
        0 is the input, the number of layers is the normalised output.

    Returns
    -------
    list of Tensor
        float32 (tokens, width) a piece.
    """
    lengths = [len(piece) for piece in pieces]
    x = model.embed_scale * model.embed_tokens(torch.cat(list(pieces)))
    if model.token_dropout:
        x = x * _SHOWN
    if layer:
        rotation = _rotation(model, lengths, x)
        for block in model.layers[:layer]:
            x = _block(block, x, lengths, rotation)
    if layer == len(model.layers):
        x = model.emb_layer_norm_after(x)
    return list(x.float().split(lengths))


def _block(block: torch.nn.Module, x: Tensor, lengths: list[int], rotation: tuple[Tensor, Tensor]) -> Tensor:
    x = x + _attention(block.self_attn, block.self_attn_layer_norm(x), lengths, rotation)
    return x + block.fc2(F.gelu(block.fc1(block.final_layer_norm(x))))


def _attention(
    attention: torch.nn.Module, x: Tensor, lengths: list[int], rotation: tuple[Tensor, Tensor]
) -> Tensor:
    """Each piece attends to itself alone."""
    heads = (len(x), attention.num_heads, attention.head_dim)
    query, key, value = (
        project(x).view(heads) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    query, key = _rotated(query, *rotation), _rotated(key, *rotation)
    # (1, heads, tokens, width of a head): torch wants an axis of batches for its fast kernels.
    pieces = zip(*(all_.transpose(0, 1)[None].split(lengths, 2) for all_ in (query, key, value)), strict=True)
    found = [F.scaled_dot_product_attention(*piece)[0] for piece in pieces]
    return attention.out_proj(torch.cat(found, 1).transpose(0, 1).reshape(x.shape))


def _rotation(model: ESM2, lengths: list[int], x: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions (Su et al. 2021, arXiv:2104.09864), (tokens, 1, width of a head)."""
    places = torch.cat([torch.arange(length, device=x.device) for length in lengths])
    angles = torch.outer(places.to(x.dtype), model.layers[0].self_attn.rot_emb.inv_freq).repeat(1, 2)[:, None]
    return angles.cos(), angles.sin()


def _rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat([-second, first], -1) * sines
