"""The optimizer of a training: groups of weights, and the learning rate of each step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from tfbind.config import TrainingSettings


def schedule(step: int, settings: TrainingSettings) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine from 1 to 1 % at the last step."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - 1 - settings.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Learning rate of a step, of all but the trunk where that has its own."""
    return settings.learning_rate * schedule(step, settings)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels, none on norms and biases; nothing of what does not train."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # Enformer's attention has biases of four dimensions.
            matrix = parameter.ndim > 1 and not name.endswith("bias")
            (decayed if matrix else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def make_optimizer(model: nn.Module, trunk: nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) over what trains of a model, its trunk in own groups."""
    groups = parameter_groups(model, settings.weight_decay)
    own = {id(parameter) for parameter in trunk.parameters()}
    rates = (settings.trunk_learning_rate or settings.learning_rate, settings.learning_rate)
    divided = [
        {**group, "params": [each for each in group["params"] if (id(each) in own) == of_trunk], "peak": rate}
        for of_trunk, rate in zip((True, False), rates, strict=True)
        for group in groups
    ]
    return torch.optim.AdamW([group for group in divided if group["params"]], lr=settings.learning_rate)


def set_rates(optimizer: torch.optim.Optimizer, step: int, settings: TrainingSettings) -> None:
    """Give each group its learning rate of a step."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * schedule(step, settings)
