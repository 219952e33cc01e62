"""A toy genome in which a factor binds its motif wherever it stands, and a tiny model to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tfbind.config import ContextDropout, ModelSettings, TrainingSettings, WindowSettings
from tfbind.model.binding import BindingModel
from tfbind.model.contexts import ContextBatch
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData
from tfbind.model.factors import FactorBatch
from tfbind.model.motif_scan import pad_motifs
from tfbind.model.shape import OUTPUTS, ModelShape
from tfbind.training.loop import Trainer
from tfbind.training.splits import Region, Split
from tfbind.training.stopping import StopSignals

BIN, RESIDUE_DIM, TEXT_DIM = 16, 5, 3
SITES = [[2, 1, 3, 2, 0, 1, 2, 3], [0, 3, 3, 0, 1, 1, 0, 3]]
"""GCTGACGT and ATTACCAT: what the two factors bind."""
WINDOWS = WindowSettings(bin=BIN, length=BIN * 16, core=BIN * 8)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    torch.set_num_threads(1)


def _plant(codes: np.ndarray, labels: np.ndarray, site: list[int], starts: np.ndarray, column: int) -> None:
    for start in starts:
        codes[start : start + len(site)] = site
        labels[(start + len(site) // 2) // BIN, column] = BOUND


def toy_data() -> GenomeData:
    """Three chromosomes, two cell types (one without a track); three experiments, the last in the second."""
    rng = np.random.default_rng(7)
    codes, labels, accessibility = {}, {}, {}
    for chrom, bins in {"train": 900, "stop": 400, "test": 100}.items():
        bases = rng.integers(0, 4, bins * BIN - 5).astype(np.uint8)
        truth = np.zeros((bins, 3), dtype=np.uint8)
        places = rng.permutation(bins - 1)[: bins // 10] * BIN
        halves = np.split(places, [len(places) // 2 + 5])
        for column, starts in enumerate(halves):
            _plant(bases, truth, SITES[column], starts + rng.integers(0, 8, len(starts)), column)
        truth[:, 2] = truth[:, 0]
        truth[rng.random(bins) < 0.02] = LEFT_OUT
        codes[chrom], labels[chrom] = bases, truth
        signal = rng.exponential(size=(bins, 2)) * [1, 0]
        accessibility[chrom] = signal.astype(np.float32)
    has_track = np.array([True, False])
    return GenomeData(BIN, codes, accessibility, has_track, labels, known_of_toy(has_track))


def known_of_toy(has_track: np.ndarray) -> ContextBatch:
    """A text of either cell type, and that both are trained on, for models that mind."""
    text = torch.as_tensor(np.random.default_rng(9).normal(size=(2, TEXT_DIM)), dtype=torch.float32)
    told = torch.ones(2, dtype=torch.bool)
    return ContextBatch(torch.zeros(0, 0, 2), torch.as_tensor(has_track), text, told, torch.arange(2))


def measured_data() -> GenomeData:
    """The toy genome with coverage of the first two experiments, and scores of all, higher where deeper."""
    toy, rng = toy_data(), np.random.default_rng(4)
    signal, score = {}, {}
    for chrom, labels in toy.labels.items():
        counts = rng.poisson(np.where(labels == BOUND, 6.0, 0.5)).astype(np.float32)
        counts[:, 2] = np.nan
        counts[(labels == LEFT_OUT).any(1)] = np.nan
        signal[chrom] = counts
        score[chrom] = np.where(labels == BOUND, [5.0, 50.0, 10.0], 0.0).astype(np.float32)
    return replace(toy, signal=signal, score=score)


PAIRS = torch.tensor([(0, 0), (1, 0), (0, 1)])
NAMES = ["ONE.A", "TWO.A", "ONE.B"]
EXPERIMENTS = [
    dict(zip(("factor", "cell_type", "name"), (*name.split("."), name), strict=True)) for name in NAMES
]


SPLIT = Split(
    genome="",
    bin=BIN,
    train=(Region("train", 0, 900 * BIN - 5),),
    validation=(Region("stop", 0, 400 * BIN - 5),),
    test=(Region("test", 0, 100 * BIN - 5),),
    experiments=tuple(NAMES),
)


def factors_of_toy() -> FactorBatch:
    """The two factors of the toy genome, their motifs and proteins of random residues."""
    rng = np.random.default_rng(3)
    matrices = [np.where(np.eye(4)[site] > 0, 1.2, -2.5) for site in SITES]
    motifs, known = pad_motifs(matrices)
    embeddings = torch.as_tensor(rng.normal(size=(2, 20, RESIDUE_DIM)), dtype=torch.float32)
    return FactorBatch(embeddings, torch.ones(2, 20, dtype=torch.bool), motifs, known)


@pytest.fixture(scope="session")
def toy() -> GenomeData:
    """See `toy_data`."""
    return toy_data()


@pytest.fixture(scope="session")
def toy_split() -> Split:
    """A chromosome for each part, and all experiments."""
    return SPLIT


@pytest.fixture(scope="session")
def toy_factors() -> FactorBatch:
    """See `factors_of_toy`."""
    return factors_of_toy()


def toy_model(
    shape: dict[str, int] | None = None, *, outputs: tuple[str, ...] = ("binding",), **settings: Any
) -> BindingModel:
    torch.manual_seed(0)
    values = {
        "trunk": {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6},
        **{"rank": 8, "heads": 4, "factor_tokens": 2, "hidden": 8, "motif_width": 6},
        **settings,
    }
    made_for = ModelShape(bin=BIN, residue_dim=RESIDUE_DIM, outputs=outputs, **(shape or {}))
    return BindingModel(ModelSettings.model_validate(values), made_for)


def three_outputs_model() -> BindingModel:
    """One that predicts coverage and peak scores, too."""
    return toy_model(outputs=OUTPUTS)


def toy_settings(**values: Any) -> TrainingSettings:
    return TrainingSettings.model_validate(
        {
            **{"steps": 6, "batch_size": 2, "validate_every": 2, "warmup_steps": 2, "experiments_per_step": 2},
            **{"learning_rate": 1e-3, "min_bound_bins": 5, "patience": 100},
            **values,
        }
    )


@pytest.fixture(scope="session")
def measured() -> GenomeData:
    """See `measured_data`."""
    return measured_data()


@pytest.fixture
def three_outputs() -> Callable[[], BindingModel]:
    """See `three_outputs_model`."""
    return three_outputs_model


@pytest.fixture
def make_trainer(toy: GenomeData, toy_factors: FactorBatch, tmp_path: Path) -> Callable[..., Trainer]:
    """A trainer of the toy world; `changes` are settings, other arguments take the place of the toy's."""

    def make(
        folder: str = "state",
        *,
        seed: int = 5,
        model: dict[str, Any] | BindingModel | None = None,
        data: GenomeData = toy,
        factors: FactorBatch = toy_factors,
        split: Split = SPLIT,
        windows: WindowSettings = WINDOWS,
        signals: StopSignals | None = None,
        reads: list[int | None] | None = None,
        context_dropout: ContextDropout | None = None,
        **changes: Any,
    ) -> Trainer:
        return Trainer(
            model if isinstance(model, BindingModel) else toy_model(**(model or {})),
            data,
            factors,
            PAIRS,
            split,
            settings=toy_settings(**changes),
            windows=windows,
            seed=seed,
            state_folder=tmp_path / folder,
            device=torch.device("cpu"),
            names=NAMES,
            context_dropout=context_dropout,
            signals=signals,
            reads=reads,
        )

    return make
