"""Convolutions of five positions with fewer products, as plain matrix products."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

TAPS, OUTPUTS = 5, 4
# Inputs of a tile of outputs, and products that it takes instead of OUTPUTS * TAPS.
INPUTS = OUTPUTS + TAPS - 1
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


@cache
def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of input (8, 8), taps (8, 5) and outputs (4, 8), float64: Winograd's F(4, 5).

    Four outputs of a convolution of five taps are `out @ ((taps @ g) * (inputs @ d))`: 8 products, not 20.
    Winograd 1980, Arithmetic complexity of computations; Lavin and Gray 2016, arXiv:1509.09308. Products of
    polynomials are taken at seven points and at infinity, and what is made of them is transposed.
    """

    def at_points(size: int) -> Tensor:
        values = torch.tensor(POINTS, dtype=torch.float64)[:, None] ** torch.arange(size)
        return torch.cat([values, torch.eye(size, dtype=torch.float64)[-1:]])

    # Not as inference tensors: they are kept.
    with torch.inference_mode(False):
        inputs, taps, outputs = (at_points(size) for size in (INPUTS, TAPS, OUTPUTS))
        return torch.linalg.inv(inputs).T.contiguous(), taps, outputs.T.contiguous()


def transformed_taps(weight: Tensor) -> Tensor:
    """What is multiplied with inputs, float32 (8, channels in, channels out), of a weight (out, in, 5)."""
    return torch.einsum("pk,oik->pio", transforms()[1], weight.double().cpu()).float().contiguous()


def convolve(
    phases: Tensor, taps: Tensor, matrices: tuple[Tensor, Tensor], out: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Convolve a sequence, without padding.

    Parameters
    ----------
    phases
        (4, tiles + 1, channels): position 4 t + j of the sequence is at [j, t].
    taps
        By `transformed_taps`.
    matrices
        Of inputs and of outputs, by `transforms`, float32.
    out
        Memory to work in: (8, tiles, channels in), (8, tiles, channels out), (4, tiles, channels out).

    Returns
    -------
    The last of `out`: position 4 t + j of the convolved sequence is at [j, t].
    """
    inputs, outputs = matrices
    moved, products, found = out
    width = moved[0].numel()
    flat, into = phases.flatten(1), moved.view(INPUTS, width)
    torch.mm(inputs[:, :OUTPUTS], flat[:, :width], out=into)
    into.addmm_(inputs[:, OUTPUTS:], flat[:, phases.shape[2] : phases.shape[2] + width])
    torch.bmm(moved, taps, out=products)
    torch.mm(outputs, products.view(INPUTS, -1), out=found.view(OUTPUTS, -1))
    return found
