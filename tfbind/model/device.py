"""Where the model runs."""

from __future__ import annotations

import torch

from tfbind.core.errors import InputError


def choose_device(name: str) -> torch.device:
    """`auto`: a GPU if torch sees one, else the CPU. A GPU that was asked for and is not there is an error."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"no GPU is seen by torch {torch.__version__}",
            key="training.device",
            mend="run on a node with a GPU and a CUDA build of torch, or set it to auto or cpu",
        )
    return torch.device(name)
