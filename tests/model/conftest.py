"""Tiny models with lively weights, and factors to show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tfbind.config import ModelSettings
from tfbind.model.binding import BindingModel
from tfbind.model.contexts import ContextBatch
from tfbind.model.factors import FactorBatch
from tfbind.model.motif_scan import pad_motifs
from tfbind.model.shape import ModelShape

RESIDUE_DIM = 5


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Whatever ran before, a test draws the same weights."""
    torch.manual_seed(0)


@pytest.fixture
def make_model() -> Callable[..., BindingModel]:
    """A tiny model in eval mode; its weights and running statistics are shaken, so that nothing is at 0."""

    def make(
        bin: int = 16,
        *,
        trunk: dict[str, Any] | None = None,
        panel: torch.Tensor | None = None,
        shape: dict[str, Any] | None = None,
        **settings: Any,
    ) -> BindingModel:
        torch.manual_seed(0)
        trunk = {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6, **(trunk or {})}
        sizes = {"rank": 12, "heads": 3, "factor_tokens": 4, "hidden": 10, "motif_width": 6, **settings}
        model = BindingModel(
            ModelSettings.model_validate({"trunk": trunk, **sizes}),
            ModelShape(bin=bin, residue_dim=RESIDUE_DIM, **(shape or {})),
            panel=panel,
        )
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if name.endswith("running_var"):
                    value.uniform_(0.5, 2)
                elif value.is_floating_point() and value.ndim and name != "panel.motifs":
                    value.add_(torch.randn(value.shape) * 0.1)
        return model.eval()

    return make


@pytest.fixture
def make_factors() -> Callable[..., FactorBatch]:
    """Factors with proteins of these lengths (0: none) and motifs of these widths (0: none)."""

    def make(lengths: list[int], widths: list[int], seed: int = 0) -> FactorBatch:
        rng = np.random.default_rng(seed)
        embeddings = torch.zeros(len(lengths), max(*lengths, 1), RESIDUE_DIM)
        mask = torch.zeros(embeddings.shape[:2], dtype=torch.bool)
        for row, length in enumerate(lengths):
            embeddings[row, :length] = torch.as_tensor(
                rng.normal(size=(length, RESIDUE_DIM)), dtype=torch.float32
            )
            mask[row, :length] = True
        motifs, has_motif = pad_motifs([rng.normal(size=(width, 4)) if width else None for width in widths])
        return FactorBatch(embeddings, mask, motifs, has_motif)

    return make


@pytest.fixture
def codes() -> Callable[..., torch.Tensor]:
    """Random base codes, a tenth of them N."""

    def draw(*shape: int, seed: int = 0) -> torch.Tensor:
        rng = np.random.default_rng(seed)
        return torch.as_tensor(rng.choice(5, size=shape, p=[0.225] * 4 + [0.1]).astype(np.uint8))

    return draw


@pytest.fixture
def make_contexts() -> Callable[..., ContextBatch]:
    """Cell types of which nothing but accessibility is known, or random texts and identities too."""

    def make(
        accessibility: torch.Tensor, has_track: list[bool] | None = None, *, text_dim: int = 0
    ) -> ContextBatch:
        count = accessibility.shape[2]
        generator = torch.Generator().manual_seed(3)
        return ContextBatch(
            accessibility,
            torch.ones(count, dtype=torch.bool) if has_track is None else torch.tensor(has_track),
            torch.randn(count, text_dim, generator=generator),
            torch.full((count,), text_dim > 0),
            torch.arange(count) if text_dim else torch.full((count,), -1),
        )

    return make
