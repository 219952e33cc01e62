"""A training on random data of a given size, for benchmarks of its steps; what it learns is nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tfbind.config import ModelSettings, TrainingSettings, WindowSettings
from tfbind.model.binding import BindingModel
from tfbind.model.data import BOUND, GenomeData
from tfbind.model.factors import FactorBatch
from tfbind.model.shape import ModelShape
from tfbind.training.loop import Trainer
from tfbind.training.splits import Region, Split

RESIDUES, RESIDUE_DIM, COLUMNS = 400, 64, 15


@dataclass(frozen=True)
class Size:
    """What a training is like.

    Attributes
    ----------
    length, bin, windows
        bp of a window and of a bin; windows a step.
    experiments, drawn, cell_types
        In all, those a step learns from, and with a track each.
    chromosome
        bp that are trained on.
    model
        Settings of the model.
    """

    length: int
    bin: int
    windows: int
    experiments: int
    drawn: int
    cell_types: int
    chromosome: int
    model: dict[str, Any] = field(default_factory=dict)


def make_data(size: Size) -> GenomeData:
    """A genome with a chromosome to train on, and one of a window to validate on."""
    draw = np.random.default_rng(0)
    codes, labels, accessibility = {}, {}, {}
    for chrom, length in (("train", size.chromosome), ("stop", size.length)):
        bins = -(-length // size.bin)
        codes[chrom] = draw.integers(0, 4, length, dtype=np.uint8)
        labels[chrom] = np.zeros((bins, size.experiments), dtype=np.uint8)
        bound = draw.integers(0, bins, (max(20, bins // 100), size.experiments))
        labels[chrom][bound, np.arange(size.experiments)] = BOUND
        accessibility[chrom] = draw.exponential(size=(bins, size.cell_types)).astype(np.float32)
    return GenomeData(size.bin, codes, accessibility, np.ones(size.cell_types, dtype=bool), labels)


def make_trainer(size: Size, data: GenomeData, folder: Path, **settings: Any) -> Trainer:
    """Its training, from the same weights each time; `settings` are those of training."""
    torch.manual_seed(0)
    experiments = size.experiments
    factors = FactorBatch(
        torch.randn(experiments, RESIDUES, RESIDUE_DIM),
        torch.ones(experiments, RESIDUES, dtype=torch.bool),
        torch.randn(experiments, COLUMNS, 4),
        torch.ones(experiments, dtype=torch.bool),
    )
    names = [f"experiment {index}" for index in range(experiments)]
    pairs = torch.stack([torch.arange(experiments), torch.arange(experiments) % size.cell_types], 1)
    shape = ModelShape(size.bin, RESIDUE_DIM, window_bins=size.length // size.bin)
    panel = torch.randn(70, COLUMNS, 4)
    return Trainer(
        BindingModel(ModelSettings.model_validate(size.model), shape, panel=panel),
        data,
        factors,
        pairs,
        Split(
            genome="",
            bin=size.bin,
            train=(_whole(data, "train"),),
            validation=(_whole(data, "stop"),),
            test=(),
            experiments=tuple(names),
        ),
        settings=TrainingSettings.model_validate(
            {
                "batch_size": size.windows,
                "experiments_per_step": size.drawn,
                "steps": 10_000,
                "warmup_steps": 0,
                **settings,
            }
        ),
        windows=WindowSettings(bin=size.bin, length=size.length, core=size.length),
        seed=0,
        state_folder=folder,
        device=torch.device("cpu"),
        names=names,
    )


def _whole(data: GenomeData, chrom: str) -> Region:
    return Region(chrom, 0, len(data.codes[chrom]))
