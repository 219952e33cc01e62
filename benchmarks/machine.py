"""What a benchmark ran on, in words: figures mean nothing without it."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch

CPUINFO = Path("/proc/cpuinfo")


def describe() -> str:
    """Processor and threads, GPU where there is one, and versions of Python, torch and NumPy."""
    threads = torch.get_num_threads()
    parts = [f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"]
    parts += [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}"
    return "; ".join([*parts, versions])


def _processor() -> str:
    """Name of the processor's model; of its architecture where the system does not say."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
