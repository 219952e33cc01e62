"""Where the model runs, what was seen there, and how much memory it took."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tfbind.core.errors import InputError

DRIVER = Path("/proc/driver/nvidia/version")


def choose_device(name: str, *, gpus: int = 0) -> torch.device:
    """The device to run on.

    Parameters
    ----------
    name
        `auto`: a GPU if torch sees one or the job was given some, else the CPU; `cuda`; `cpu`, come what may.
    gpus
        GPUs that this job was given.

    Raises
    ------
    InputError
        A GPU is wanted, and torch sees too few; the message says what was seen.
    """
    if name == "cpu":
        return torch.device("cpu")
    seen = torch.cuda.device_count()
    needed = max(gpus, 1 if name == "cuda" else 0)
    if seen < needed:
        raise InputError(
            f"{'no GPU is' if not seen else f'only {seen} of {needed} GPUs are'} seen ({gpu_surroundings()})",
            key="device",
            mend="run on a node with a GPU, with a CUDA build of torch that its driver supports, "
            "or set device: cpu",
        )
    return torch.device("cuda" if seen else "cpu")


def gpu_surroundings() -> str:
    """What decides whether torch sees a GPU, for messages."""
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    driver = DRIVER.read_text().splitlines()[0] if DRIVER.is_file() else f"none, there is no {DRIVER}"
    return "; ".join(
        [
            f"machine: {platform.node()}",
            f"CUDA_VISIBLE_DEVICES: {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}",
            f"torch {torch.__version__}, built {built}",
            f"NVIDIA driver: {driver}",
        ]
    )


@contextmanager
def reported(device: torch.device, precision: str) -> Iterator[None]:
    """Say on standard error where a step runs and, at its end, how much memory it took at most."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    given = "" if visible is None else f" (CUDA_VISIBLE_DEVICES: {visible})"
    print(f"device: {_name(device)}{given}, precision: {precision}, torch {torch.__version__}", file=sys.stderr)
    yield
    print(f"peak memory: {_peak(device)}", file=sys.stderr)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _peak(device: torch.device) -> str:
    # Linux counts in KiB.
    host = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB on the GPU, {host} on the host"
    return host
