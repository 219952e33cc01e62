"""Sequences as users have them: strings, base codes or one-hot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tfbind.core.errors import InputError
from tfbind.genome.reference import CODES, NOT_A_BASE
from tfbind.model.data import N_CODE


def as_bases(seq: Tensor | np.ndarray | str | Sequence[str], *, device: torch.device | str = "cpu") -> Tensor:
    """Sequences as the trunk takes them.

    Parameters
    ----------
    seq
        B strings of one length (A, C, G, T, and N for any other letter of IUPAC's; case does not matter), or one;
        integers 0-3, N = 4, (B, bp); or one-hot float (B, bp, 4), where N is all 0.

    Returns
    -------
    Base codes uint8 (B, bp), or one-hot float32 (B, bp, 4), through which gradients flow.

    Raises
    ------
    InputError
        Strings of several lengths or with other letters, codes beyond 0-4, or another shape.
    """
    if isinstance(seq, str):
        seq = [seq]
    if not isinstance(seq, Tensor | np.ndarray):
        return _from_strings(seq).to(device)
    if isinstance(seq, np.ndarray):
        # Copied only if need be: torch takes no reversed view, and warns of one that cannot be written to.
        seq = np.require(seq, requirements="CW")
    found = torch.as_tensor(seq).to(device)
    if not found.numel():
        raise InputError("there is no sequence", key="seq", mend="give at least one")
    if found.is_floating_point() and found.ndim == 3 and found.shape[2] == 4:
        return found.float()
    if found.is_floating_point() or found.dtype == torch.bool or found.ndim != 2:
        raise InputError(
            f"sequences must be strings, integers (B, bp) or one-hot numbers (B, bp, 4), not "
            f"{str(found.dtype).removeprefix('torch.')} {tuple(found.shape)}",
            key="seq",
            mend="give codes 0-3, N = 4, as integers, or one-hot as float32",
        )
    low, high = int(found.min()), int(found.max())
    if low < 0 or high > N_CODE:
        raise InputError(
            f"base codes go from 0 to 4, and there are some from {low} to {high}",
            key="seq",
            mend="write A, C, G, T as 0, 1, 2, 3, and N and padding as 4",
        )
    return found.to(torch.uint8)


def reverse_complemented(bases: Tensor) -> Tensor:
    """The other strand of base codes (B, bp), where N stays N, or of one-hot (B, bp, 4)."""
    if bases.ndim == 3:
        return bases.flip(1, 2)
    flipped = bases.flip(1)
    return torch.where(flipped < N_CODE, 3 - flipped, flipped)


def _from_strings(seq: Sequence[str]) -> Tensor:
    lengths = {len(each) for each in seq}
    if len(lengths) != 1:
        raise InputError(
            f"sequences of one batch must have one length, not {', '.join(map(str, sorted(lengths))) or 'none'}",
            key="seq",
            mend="cut them, or pad them with N",
        )
    return torch.as_tensor(np.stack([_codes(each, row) for row, each in enumerate(seq)]))


def _codes(text: str, row: int) -> np.ndarray:
    codes = np.frombuffer(text.encode("ascii", "replace").translate(CODES), dtype=np.uint8)
    wrong = np.flatnonzero(codes == NOT_A_BASE)
    if len(wrong):
        raise InputError(
            f"sequence {row} has '{text[wrong[0]]}' at position {wrong[0]}, which is no base",
            key="seq",
            mend="use A, C, G, T, and N for what is not known",
        )
    return codes
