"""Folds are counted as they are made."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tfbind.config import SplitSettings, WindowSettings
from tfbind.core.errors import InputError
from tfbind.evaluation.folds import fold_names
from tfbind.factors.proteins import STANDARD_AMINO_ACIDS
from tfbind.factors.relatives import Relatives
from tfbind.genome.names import ChromosomeNames
from tfbind.tables import names_of_cell_types
from tfbind.training.splits import make_split

SIZES = {"chr1": 20_000, "chr2": 20_000, "chr3": 20_000}
# z is measured for B alone, and w for nothing.
EXPERIMENTS = [("A", "x"), ("A", "y"), ("B", "x"), ("B", "z")]
CELL_TYPES = [SimpleNamespace(cell_type=name, aliases=(f"{name}-2",)) for name in "xyzw"]


def make_fold(fold: int, settings: SplitSettings):
    residues = {
        name: ("".join(np.random.default_rng(seed).choice(list(STANDARD_AMINO_ACIDS), 60)),)
        for seed, name in enumerate("AB")
    }
    return make_split(
        settings,
        SimpleNamespace(names=ChromosomeNames(list(SIZES)), sizes=SIZES, checksum="a"),
        [{"name": f"{factor}.{cell}", "factor": factor, "cell_type": cell} for factor, cell in EXPERIMENTS],
        Relatives(residues),
        windows=WindowSettings(bin=16, length=256, core=128),
        cell_types=names_of_cell_types(CELL_TYPES),
        seed=0,
        fold=fold,
    )


@pytest.mark.parametrize(
    ("held_out", "count"),
    [
        ({}, 3),
        ({"held_out_factors": ["B"]}, 3),  # z is held out in a fold, and tested by B
        ({"held_out_cell_types": ["x-2"]}, 2),
    ],
)
def test_folds_over_cell_types_are_as_many_as_can_be_made(held_out, count):
    settings = SplitSettings(
        validation=["chr2"], test=["chr3"], folds={"over": "cell_types"}, scored="all", **held_out
    )
    dataset = SimpleNamespace(
        cell_types=CELL_TYPES,
        experiments=[SimpleNamespace(factor=factor, cell_type=cell) for factor, cell in EXPERIMENTS],
    )
    names = fold_names(SimpleNamespace(splits=settings), dataset)
    assert names == [str(number) for number in range(count)]
    held = [set(make_fold(int(name), settings).held_out_cell_types) for name in names]
    assert len({frozenset(each) for each in held}) == count
    with pytest.raises(InputError, match=f"there is no fold {count}"):
        make_fold(count, settings)
