"""Conditioning: ways to let what is known of a cell type change what is known of DNA, factor or interaction.

A conditioner takes x (sets, items, dim) and a condition, and gives x' of the same shape. At initialisation none
of them changes anything, so that the network starts as it would without. A further one is a class here and a name
in `CONDITIONERS`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class Conditioner(nn.Module):
    """Base of all conditioners.

    Parameters
    ----------
    dim
        Width of what is conditioned.
    condition_dim
        Width of the condition.

    Attributes
    ----------
    local : bool
        Whether an item's result depends on that item (and the condition) alone: a set may be cut anywhere.
    """

    local: ClassVar[bool] = True

    def __init__(self, dim: int, condition_dim: int) -> None:
        super().__init__()
        self.dim, self.condition_dim = dim, condition_dim

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor | None = None) -> Tensor:
        """Condition items.

        Parameters
        ----------
        x
            (sets, items, dim).
        condition
            (sets, 1, condition_dim), or (sets, items, condition_dim): one for each item.
        mask
            Which items are real, bool (sets, items); none: all. What is not real changes nothing for the others.

        Returns
        -------
        (sets, items, dim)
        """
        raise NotImplementedError


class HyperGrid(Conditioner):
    """A linear map whose weights are gated by rows and columns (Tay et al. 2020, arXiv:2007.05891).

    x' = ((x * 2 sigmoid(R c)) W) * 2 sigmoid(S c): the gate of weight (i, j) is that of its row i times that of
    its column j. W starts as the identity, R and S as 0.
    """

    def __init__(self, dim: int, condition_dim: int) -> None:
        super().__init__(dim, condition_dim)
        self.weight = nn.Parameter(torch.eye(dim))
        self.rows, self.columns = _zero_linear(condition_dim, dim), _zero_linear(condition_dim, dim)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class and `Conditioner.forward`."""
        rows, columns = self.rows(condition), self.columns(condition)
        return (x * 2 * rows.sigmoid()) @ self.weight * 2 * columns.sigmoid()


class FiLM(Conditioner):
    """Scale and shift (Perez et al. 2018, arXiv:1709.07871): x' = x (1 + G c) + B c, with G and B 0 at first."""

    def __init__(self, dim: int, condition_dim: int) -> None:
        super().__init__(dim, condition_dim)
        self.scale, self.shift = _zero_linear(condition_dim, dim), _zero_linear(condition_dim, dim)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class and `Conditioner.forward`."""
        return x * (1 + self.scale(condition)) + self.shift(condition)


class SqueezeExcitation(Conditioner):
    """Gates from the mean of the real items and of the condition (Hu et al. 2018, arXiv:1709.01507)."""

    local = False

    def __init__(self, dim: int, condition_dim: int) -> None:
        super().__init__(dim, condition_dim)
        squeezed = max(4, dim // 4)
        self.gate = nn.Sequential(
            nn.Linear(dim + condition_dim, squeezed), nn.GELU(), _zero_linear(squeezed, dim)
        )

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class and `Conditioner.forward`."""
        squeezed = torch.cat([masked_mean(x, mask), masked_mean(condition, mask)], -1)
        return x * 2 * self.gate(squeezed).sigmoid().unsqueeze(1)


class InducedAttention(Conditioner):
    """Induced set attention (Lee et al. 2019, arXiv:1810.00825).

    A few points read the items, and the items read the points. The points are shifted by the condition, so that
    what they look for depends on it.
    """

    local = False
    POINTS = 8

    def __init__(self, dim: int, condition_dim: int) -> None:
        super().__init__(dim, condition_dim)
        heads = next(heads for heads in (4, 2, 1) if dim % heads == 0)
        self.points = nn.Parameter(torch.randn(self.POINTS, dim) * dim**-0.5)
        self.shift = nn.Linear(condition_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.read = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.write = nn.MultiheadAttention(dim, heads, batch_first=True)
        nn.init.zeros_(self.write.out_proj.weight)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class and `Conditioner.forward`."""
        items = self.norm(x)
        points = self.points + self.shift(masked_mean(condition, mask)).unsqueeze(1)
        hidden = None if mask is None else ~_never_empty(mask)
        read, _ = self.read(points, items, items, key_padding_mask=hidden, need_weights=False)
        read = points + read
        written, _ = self.write(items, read, read, need_weights=False)
        return x + written


CONDITIONERS: dict[str, type[Conditioner]] = {
    "hypergrid": HyperGrid,
    "film": FiLM,
    "squeeze_excitation": SqueezeExcitation,
    "induced_attention": InducedAttention,
}


def make_conditioner(name: str, dim: int, condition_dim: int) -> Conditioner | None:
    """The conditioner of a name in `CONDITIONERS`; None for `none`."""
    return None if name == "none" else CONDITIONERS[name](dim, condition_dim)


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean (sets, dim) over the real items of x (sets, items, dim); over its single one if it has but one."""
    if mask is None or x.shape[1] == 1:
        return x.mean(1)
    weight = mask.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def _never_empty(mask: Tensor) -> Tensor:
    """Sets without any real item attend to all of them: what comes out is read by nobody, and is no NaN."""
    return mask | ~mask.any(-1, keepdim=True)


def _zero_linear(dim: int, dim_out: int) -> nn.Linear:
    linear = nn.Linear(dim, dim_out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
