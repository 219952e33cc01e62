"""Where the model runs, what was seen there, and how much memory it took."""

from __future__ import annotations

import fcntl
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import torch

from tfbind.core.errors import InputError
from tfbind.model.precision import advice

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


def claim_gpus(visible: Sequence[str], count: int, folder: Path | None = None) -> list[str]:
    """Take some of a machine's GPUs until this process ends, so that jobs side by side do not share one.

    Slurm gives each job GPUs of its own; Snakemake on one machine only counts them.

    Parameters
    ----------
    visible
        GPUs as CUDA_VISIBLE_DEVICES names them.
    count
        How many.
    folder
        Where claims are noted, as locked files; by default the machine's temporary folder.

    Returns
    -------
    The GPUs taken, for CUDA_VISIBLE_DEVICES.

    Raises
    ------
    InputError
        If too few are free.
    """
    taken = []
    for gpu in visible:
        if len(taken) < count and _lock((folder or Path(tempfile.gettempdir())) / f"tfbind-gpu-{gpu}.lock"):
            taken.append(gpu)
    if len(taken) < count:
        raise InputError(
            f"{count} GPUs were asked for, and only {len(taken)} of {', '.join(visible)} are free of other runs",
            key="resources: gpu",
            mend="in the profile, give Snakemake no more GPUs than the machine has",
        )
    return taken


def visible_gpus() -> list[str]:
    """GPUs of this machine that torch sees, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]


# Locks last as long as their files are open.
_CLAIMS: list[TextIO] = []


def own_gpu() -> torch.device:
    """The GPU of this one of torchrun's processes, made the current one before anything touches another."""
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def _lock(path: Path) -> bool:
    try:
        handle = path.open("a")
    except PermissionError:  # another user's: a lock needs no right to write
        handle = path.open()
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return False
    _CLAIMS.append(handle)
    return True


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
    if told := advice(device, precision):
        print(told, file=sys.stderr)
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
