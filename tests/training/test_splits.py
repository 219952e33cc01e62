from __future__ import annotations

import pytest

from tfbind.config import SplitSettings
from tfbind.core.errors import InputError
from tfbind.training.splits import make_split

CHROMOSOMES = ["chrI", "chrII", "chrIII", "chrIV", "chrM"]
EXPERIMENTS = [
    {"factor": factor, "cell_type": cell} for factor, cell in [("A", "x"), ("B", "x"), ("A", "y"), ("C", "y")]
]


def split(**changes):
    settings = {"validation_chromosomes": ["chrIII"], "test_chromosomes": ["chrM", "chrI"], **changes}
    return make_split(SplitSettings(**settings), CHROMOSOMES, EXPERIMENTS)


def test_every_chromosome_is_in_one_part_in_the_genomes_order():
    found = split()
    assert (found.train, found.validation, found.test) == (["chrII", "chrIV"], ["chrIII"], ["chrI", "chrM"])
    assert found.experiments == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("held_out", "left"),
    [
        ({"held_out_factors": ["A"]}, [1, 3]),
        ({"held_out_cell_types": ["y"]}, [0, 1]),
        ({"held_out_factors": ["A"], "held_out_cell_types": ["y"]}, [1]),
        ({"held_out_factors": ["never measured"]}, [0, 1, 2, 3]),
    ],
)
def test_experiments_of_what_is_held_out_are_not_trained_on(held_out, left):
    assert split(**held_out).experiments == left


@pytest.mark.parametrize(
    ("changes", "problem", "key"),
    [
        ({"validation_chromosomes": ["chr3"]}, "chr3; it has chrI, chrII", "splits.validation_chromosomes"),
        ({"test_chromosomes": ["chrI", "chrX"]}, "reference: chrX;", "splits.test_chromosomes"),
        (
            {"validation_chromosomes": ["chrI", "chrII"], "test_chromosomes": ["chrIII", "chrIV", "chrM"]},
            "no chromosome is left",
            "splits",
        ),
        ({"held_out_factors": ["A", "B", "C"]}, "every experiment is held out", "splits.held_out_factors"),
        ({"held_out_cell_types": ["x", "y"]}, "every experiment is held out", "splits.held_out_factors"),
    ],
)
def test_splits_that_cannot_be_made_are_told(changes, problem, key):
    with pytest.raises(InputError, match=problem) as caught:
        split(**changes)
    assert caught.value.key == key
    assert caught.value.mend
