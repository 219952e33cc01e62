from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tfbind.config import SplitSettings, WindowSettings
from tfbind.core.errors import InputError
from tfbind.factors.proteins import STANDARD_AMINO_ACIDS
from tfbind.factors.relatives import Relatives
from tfbind.genome.names import ChromosomeNames
from tfbind.genome.regions import Region, overlap
from tfbind.training.splits import KINDS, Split, describe, make_split

SIZES = {"chrI": 10_000, "chrII": 20_000, "chrIII": 5_003, "chrIV": 4_000, "chrM": 900}
BIN, LENGTH = 16, 256
WINDOWS = WindowSettings(bin=BIN, length=LENGTH, core=128)
EXPERIMENTS = [("A", "x"), ("B", "x"), ("A", "y"), ("C", "y"), ("D", "z"), ("A2", "x")]


def protein(seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list(STANDARD_AMINO_ACIDS), 60))


# A2 is A with 6 of 60 residues changed; E was never measured; M is known by its motif alone.
RESIDUES = {
    **{name: (protein(seed),) for seed, name in enumerate("ABCD")},
    "A2": ("W" * 6 + protein(0)[6:],),
    "E": (protein(9),),
    "M": (),
}


def genome(sizes=SIZES):
    return SimpleNamespace(names=ChromosomeNames(list(sizes)), sizes=sizes, checksum="a" * 64)


def split(fold=None, *, experiments=EXPERIMENTS, sizes=SIZES, cell_types="xyz", seed=1, **changes) -> Split:
    settings = {"validation": ["chrIII"], "test": ["chrM", "chrI"], **changes}
    return make_split(
        SplitSettings(**settings),
        genome(sizes),
        [{"name": f"{factor}.{cell}", "factor": factor, "cell_type": cell} for factor, cell in experiments],
        Relatives(RESIDUES),
        windows=WINDOWS,
        cell_types={**{cell: cell for cell in cell_types}, "ex": "x", "why": "y"},
        seed=seed,
        fold=fold,
    )


def whole(*chromosomes):
    return tuple(Region(chrom, 0, SIZES[chrom]) for chrom in chromosomes)


# --- the genome ---


def test_every_chromosome_is_in_one_part_in_the_genomes_order():
    found = split()
    assert found.train == whole("chrII", "chrIV")
    assert (found.validation, found.test) == (whole("chrIII"), whole("chrI", "chrM"))
    assert found.experiments == found.tested == tuple(f"{factor}.{cell}" for factor, cell in EXPERIMENTS)
    assert set(found.kinds.values()) == {"seen"}


def test_regions_of_a_chromosome_have_a_window_between_them():
    found = split(validation=["chrII:3,201-4800"], test=["2:8001-9600"], train=["chrII"])
    assert found.test == (Region("chrII", 8000, 9600),)
    assert found.validation == (Region("chrII", 3200, 4800),)
    assert found.train == (
        Region("chrII", 0, 3200 - LENGTH),
        Region("chrII", 4800 + LENGTH, 8000 - LENGTH),
        Region("chrII", 9600 + LENGTH, 20_000),
    )


def test_validation_gives_way_to_the_test_and_regions_grow_to_whole_bins():
    found = split(validation=["chrII:1-4100"], test=["chrII:4111-5000"], gap=0)
    assert found.test == (Region("chrII", 4096, 5008),)
    assert found.validation == (Region("chrII", 0, 4096),)
    assert found.train == (*whole("chrI"), Region("chrII", 5008, 20_000), *whole("chrIII", "chrIV", "chrM"))


places = st.lists(
    st.tuples(st.sampled_from(["chrI", "chrII"]), st.integers(1, 9_000), st.integers(1, 3_000)), max_size=3
).map(lambda found: [f"{chrom}:{start}-{min(start + length, 10_000)}" for chrom, start, length in found])


@examples(max_examples=150)
@given(places, places, st.one_of(st.none(), places), st.sampled_from([None, 0, 1, 100, 1000]))
def test_no_counted_bin_of_training_lies_within_the_gap_of_a_held_out_one(validation, test, train, gap):
    test = [place for place in test if place not in validation]
    try:
        found = split(
            validation=[*validation, "chrIV"],
            test=[*test, "chrM"],
            train=None if train is None else [*train, "chrIII"],
            gap=gap,
        )
    except InputError as error:
        assert "overlap" in str(error) or "nothing is left" in str(error)
        return
    least = LENGTH if gap is None else gap
    parts = [found.train, found.validation, found.test]
    for index, one in enumerate(parts):
        for region in one:
            assert region.start < region.end and region.start % BIN == 0
            assert region.end % BIN == 0 or region.end == SIZES[region.chrom]
            assert overlap([region], one) == [region], "regions of a part are disjoint"
        for other in parts[index + 1 :]:
            near = [Region(each.chrom, each.start - least, each.end + least) for each in other]
            assert not overlap(one, near)


@pytest.mark.parametrize(
    ("changes", "problem", "key"),
    [
        ({"validation": ["chr9"]}, "'chr9' is no chromosome of the genome", "splits.validation"),
        ({"test": ["chrI", "chrX"]}, "'chrX' is no chromosome", "splits.test"),
        ({"train": ["chrI:0-50"]}, "0-50 is no part of chrI", "splits.train"),
        ({"validation": ["chrII:1-100"], "test": ["chrII:90-200"]}, "overlap: chrII:90-100", "splits.validation"),
        (
            {"validation": ["chrI", "chrII"], "test": ["chrIII", "chrIV", "chrM"]},
            "nothing is left to train",
            "splits",
        ),
        ({"validation": ["chrII:1-200"], "test": ["chrII:250-500"]}, "left to validate on", "splits.validation"),
        ({"held_out_factors": ["A", "B", "C", "D"]}, "every experiment is held out", "splits.held_out_factors"),
        ({"held_out_cell_types": ["x", "y", "z"]}, "every experiment is held out", "splits.held_out_factors"),
        ({"held_out_factors": ["E"], "scored": "held_out"}, "nothing would be scored", "splits.scored"),
        ({"fold": 0}, "has none", "splits.folds"),
        ({"fold": 3, "folds": {"over": "cell_types"}}, "no fold 3: there are 3", "splits.folds"),
        ({"fold": 0, "folds": {"over": "factors", "count": 9}}, "9 folds of 4 clusters", "splits.folds.count"),
        (
            {"fold": 0, "folds": {"over": "cell_types", "count": 4}},
            "4 folds of 3 cell types",
            "splits.folds.count",
        ),
        ({"fold": 0, "folds": {"over": "blocks", "count": 9999}}, "9999 folds of", "splits.folds.count"),
    ],
)
def test_splits_that_cannot_be_made_are_told(changes, problem, key):
    with pytest.raises(InputError, match=problem) as caught:
        split(**changes)
    assert caught.value.key == key
    assert caught.value.mend


# --- factors and cell types ---


@pytest.mark.parametrize(
    ("held_out", "left"),
    [
        ({"held_out_factors": ["B"]}, "A.x A.y C.y D.z A2.x"),
        ({"held_out_factors": ["A"]}, "B.x C.y D.z"),
        ({"held_out_factors": ["A"], "identity": 0.95}, "B.x C.y D.z A2.x"),
        ({"held_out_cell_types": ["y"]}, "A.x B.x D.z A2.x"),
        ({"held_out_cell_types": ["why"]}, "A.x B.x D.z A2.x"),
        ({"held_out_factors": ["A2"], "held_out_cell_types": ["y"]}, "B.x D.z"),
        ({"held_out_factors": ["E", "M"]}, "A.x B.x A.y C.y D.z A2.x"),
    ],
)
def test_what_is_held_out_takes_relatives_and_aliases_with_it(held_out, left):
    assert split(**held_out).experiments == tuple(left.split())


def test_treated_cells_are_held_out_with_their_cell_type():
    rows = [
        {"name": f"A.x{treated}", "factor": "A", "cell_type": "x"} for treated in ("", ".IFNg_30min", ".IFNa")
    ]
    rows.append({"name": "A.y", "factor": "A", "cell_type": "y"})
    found = make_split(
        SplitSettings(validation=["chrIII"], test=["chrI"], held_out_cell_types=["ex"]),
        genome(),
        rows,
        Relatives(RESIDUES),
        windows=WINDOWS,
        cell_types={"x": "x", "ex": "x", "y": "y"},
        seed=0,
    )
    assert found.experiments == ("A.y",)
    assert {kind for name, kind in found.kinds.items() if name != "A.y"} == {"unseen cell type"}


def test_what_was_never_trained_on_is_told():
    found = split(held_out_factors=["A"], held_out_cell_types=["y"])
    assert found.kinds == {
        **{"A.x": "unseen factor", "A2.x": "unseen factor", "A.y": "unseen factor and cell type"},
        **{"B.x": "seen", "D.z": "seen", "C.y": "unseen factor and cell type"},
    }
    assert found.held_out_factors == ("A", "A2") and found.held_out_cell_types == ("y",)
    assert found.identity["B"] == {"nearest": "B", "identity": 1.0, "other": "D"}
    assert found.identity["M"] == {"nearest": None, "identity": 0.0, "other": None}
    assert 0 < found.identity["A"]["identity"] < 0.5 and found.identity["A"]["nearest"] in ("B", "D")


def test_a_factor_with_a_relative_in_training_is_not_called_unseen():
    experiments = [("A", "x"), ("B", "x"), ("A2", "y")]
    found = split(experiments=experiments, held_out_cell_types=["y"])
    assert found.kinds["A2.y"] == "unseen cell type"
    assert found.identity["A2"] == {"nearest": "A", "identity": 0.9, "other": "A"}


@pytest.mark.parametrize(
    ("changes", "scored"),
    [
        ({}, "A.x B.x A.y C.y D.z A2.x"),
        ({"held_out_factors": ["A"], "held_out_cell_types": ["y"]}, "A.x B.x A.y C.y D.z A2.x"),
        ({"scored": "held_out"}, "A.x B.x A.y C.y D.z A2.x"),
        ({"scored": "held_out", "held_out_factors": ["A"]}, "A.x A.y A2.x"),
        ({"scored": "held_out", "held_out_cell_types": ["y"]}, "A.y C.y"),
        ({"scored": "held_out", "held_out_factors": ["A"], "held_out_cell_types": ["y"]}, "A.y"),
    ],
)
def test_experiments_that_are_scored(changes, scored):
    assert split(**changes).tested == tuple(scored.split())


# --- folds ---


experiments = st.lists(
    st.tuples(st.sampled_from(["A", "A2", "B", "C", "D", "E", "M"]), st.sampled_from("xyz")),
    min_size=5,
    unique=True,
)


@examples(max_examples=60)
@given(experiments, st.integers(2, 4), st.integers(0, 3))
def test_folds_over_factors_partition_them_and_keep_relatives_together(measured, count, seed):
    clusters = {name: "A" if name == "A2" else name for name in RESIDUES}
    if len({clusters[factor] for factor, _ in measured}) < count:
        return
    settings = {"experiments": measured, "folds": {"over": "factors", "count": count}, "seed": seed}
    folds = [split(fold, **settings) for fold in range(count)]
    assert sorted(name for fold in folds for name in fold.tested) == sorted(f"{f}.{c}" for f, c in measured)
    for fold in folds:
        assert not set(fold.tested) & set(fold.experiments)
        trained = {clusters[name.split(".")[0]] for name in fold.experiments}
        assert not trained & {clusters[name.split(".")[0]] for name in fold.tested}
        assert all(
            found["identity"] < 0.7 for factor, found in fold.identity.items() if clusters[factor] not in trained
        )
        assert {fold.kinds[name] for name in fold.tested} <= {KINDS[2], KINDS[3]}
    assert folds == [split(fold, **settings) for fold in range(count)]
    sizes = sorted(len(fold.tested) for fold in folds)
    largest = max(sum(clusters[factor] == one for factor, _ in measured) for one in clusters)
    assert sizes[-1] - sizes[0] <= largest


def test_folds_over_factors_in_a_held_out_cell_type_score_what_is_both():
    measured = [(factor, cell) for factor in "ABCD" for cell in "xy"]
    settings = {
        "experiments": measured,
        "held_out_cell_types": ["why"],
        "folds": {"over": "factors", "count": 2},
    }
    folds = [split(fold, **settings) for fold in (0, 1)]
    assert sorted(name for fold in folds for name in fold.tested) == ["A.y", "B.y", "C.y", "D.y"]
    for fold in folds:
        assert {fold.kinds[name] for name in fold.tested} == {"unseen factor and cell type"}
        assert len(fold.tested) == 2 and len(fold.experiments) == 2
        assert all(name.endswith(".x") for name in fold.experiments)


def test_folds_over_cell_types_hold_out_one_each_or_groups():
    folds = [split(fold, folds={"over": "cell_types"}) for fold in range(3)]
    assert sorted(fold.held_out_cell_types for fold in folds) == [("x",), ("y",), ("z",)]
    assert {fold.kinds["D.z"] for fold in folds if fold.held_out_cell_types == ("z",)} == {KINDS[3]}
    grouped = [split(fold, folds={"over": "cell_types", "count": 2}) for fold in range(2)]
    assert sorted(name for fold in grouped for name in fold.held_out_cell_types) == ["x", "y", "z"]


@examples(max_examples=60)
@given(st.integers(2, 7), st.sampled_from([0, 64, None]), st.one_of(st.none(), st.just(["chrI", "chrII:1-9000"])))
def test_folds_over_blocks_partition_the_genome(count, gap, train):
    folds = [
        split(fold, test=["chrM"], gap=gap, train=train, folds={"over": "blocks", "count": count})
        for fold in range(count)
    ]
    covered = {chrom: np.zeros(-(-size // BIN), dtype=int) for chrom, size in SIZES.items()}
    for fold in folds:
        for region in fold.test:
            covered[region.chrom][region.bins(BIN)] += 1
        assert not overlap(fold.train, [*fold.test, *fold.validation])
        assert fold.validation == whole("chrIII")
    blocks = [sum(len(region.bins(BIN)) for region in fold.test) for fold in folds]
    assert max(blocks) - min(blocks) <= 1
    expected = {chrom: np.ones_like(bins) for chrom, bins in covered.items()}
    expected["chrIII"][:] = 0
    if train:
        expected["chrIV"][:] = 0
        expected["chrII"][-(-9000 // BIN) :] = 0
    for chrom in SIZES:
        np.testing.assert_array_equal(covered[chrom], expected[chrom])


# --- fewer factors ---


def test_fewer_factors_are_learnt_from_and_the_same_is_scored():
    folds = {"over": "factors", "count": 2}
    whole = split(0, folds=folds)
    found = {count: split(0, folds=folds, training_factors=count) for count in (1, len(whole.trained_factors))}
    one, all_of_them = found.values()
    assert all_of_them == whole and one.tested == whole.tested and one.held_out_factors == whole.held_out_factors
    (drawn,) = one.trained_factors
    assert sorted([drawn, *one.left_out_factors]) == sorted(whole.trained_factors)
    assert {name.split(".")[0] for name in one.experiments} == {drawn}
    assert set(one.experiments) == {name for name in whole.experiments if name.split(".")[0] == drawn}
    assert all(one.kinds[name] in KINDS[2:] for name in one.tested)


def test_fewer_factors_are_some_of_more():
    drawn = [set(split(training_factors=count).trained_factors) for count in range(1, 6)]
    assert all(less < more for less, more in pairwise(drawn)) and drawn[-1] == {"A", "B", "C", "D", "A2"}
    assert {split(training_factors=1, seed=seed).trained_factors for seed in range(9)} > {("A",)}
    # A2 is a relative of A: with one of them it is no unseen factor.
    for seed in range(9):
        found = split(training_factors=1, seed=seed)
        assert (found.kinds["A2.x"] in KINDS[:2]) == (found.trained_factors[0] in ("A", "A2"))


def test_more_factors_than_there_are_cannot_be_learnt_from():
    with pytest.raises(
        InputError, match=r"'splits.training_factors': 5 factors are to be .*, and 4 are measured"
    ):
        split(held_out_factors=["B"], training_factors=5)


def test_factors_that_were_not_drawn_are_kept_with_the_split(tmp_path):
    found = split(training_factors=2)
    found.write(tmp_path / "split.json")
    assert Split.read(tmp_path / "split.json") == found and len(found.left_out_factors) == 3
    assert "left out factors, by splits.training_factors: " in describe(found)
    # Without, the file is what it was before there were any.
    split().write(tmp_path / "whole.json")
    assert "left_out_factors" not in (tmp_path / "whole.json").read_text()


# --- the file ---


def test_a_split_is_read_as_it_was_written(tmp_path):
    found = split(0, held_out_cell_types=["y"], folds={"over": "factors", "count": 2})
    found.write(tmp_path / "split.json")
    again = Split.read(tmp_path / "split.json")
    assert again == found and again.checksum == found.checksum
    assert "held out cell types: y" in describe(found)
    other = split(1, held_out_cell_types=["y"], folds={"over": "factors", "count": 2})
    assert other.checksum != found.checksum


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["split"]["train"][0].__setitem__(2, 100),
        lambda content: content["split"]["experiments"].append("B.x"),
        lambda content: content["split"].update(fold=1),
        lambda content: content.update(checksum="0" * 64),
    ],
)
def test_a_changed_split_is_refused(tmp_path, change):
    path = tmp_path / "split.json"
    split(held_out_factors=["B"]).write(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="was changed") as caught:
        Split.read(path)
    assert caught.value.file == path and "tfbind split" in caught.value.mend


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9, "split": {}, "checksum": ""}'])
def test_what_is_no_split_is_refused(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(InputError, match=r"no split|format 9"):
        Split.read(tmp_path / "split.json")
    with pytest.raises(InputError, match="no split"):
        Split.read(tmp_path / "missing.json")


def test_a_split_of_something_else_is_refused():
    found = split()
    found.require_fitting("a" * 64, BIN)
    for other in (("b" * 64, BIN), ("a" * 64, 32)):
        with pytest.raises(InputError, match="the split is of genome"):
            found.require_fitting(*other)
    assert found.columns(["Q.q", *reversed(found.experiments)]) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(InputError, match=r"have no A2\.x"):
        found.columns(found.experiments[:-1])
