"""Arithmetic of the trunk: single precision, or 16 bits where autocast takes them."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Within the block, matrix products and convolutions are in `dtype`; nothing changes for float32."""
    reduced = dtype != torch.float32
    return torch.autocast(device.type, dtype if reduced else torch.bfloat16, enabled=reduced)


def loss_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """What keeps small gradients from vanishing in float16; it does nothing in other precisions.

    Micikevicius et al. 2018, arXiv:1710.03740. bfloat16 has the range of float32 and needs none.
    """
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def advice(device: torch.device, precision: str) -> str | None:
    """What to tell of a precision on this kind of device, if anything."""
    if precision == "fp16" and device.type == "cpu":
        return "fp16 is slow on a CPU, and saves no time: fp32 or bf16 is faster there"
    return None
