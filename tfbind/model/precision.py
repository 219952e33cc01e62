"""Arithmetic of the trunk: single precision, or 16 bits where autocast takes them."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compute_dtype(device: torch.device, precision: str) -> torch.dtype:
    """What a device computes in, where a precision is asked for: see `precision_on`."""
    return DTYPES[precision_on(device, precision)]


def precision_on(device: torch.device, precision: str) -> str:
    """What a precision (`fp32`, `bf16` or `fp16`) is on a device.

    16 bits are there to save time. A CPU without instructions for bfloat16 takes 20 to 50 times as long for a
    product in it as for one in single precision, so there `bf16` is single precision.
    """
    if precision == "bf16" and device.type == "cpu" and not cpu_has_bfloat16():
        return "fp32"
    return precision


def cpu_has_bfloat16() -> bool:
    """Whether this machine's CPU multiplies in bfloat16: AVX512-BF16 or AMX of x86, BF16 of Arm."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


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
    if precision_on(device, precision) != precision:
        return "this CPU has no instructions for bf16 and would be slow in it: it computes in fp32"
    return None
