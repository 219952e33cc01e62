"""Known binding: what it says is of other experiments alone, and what was not measured changes nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.model.known_binding import (
    KEY,
    KINDS,
    Experiments,
    KnownBinding,
    Weights,
    read_known_binding,
)

MEASURED = [("A", "K562"), ("A", "GM12878"), ("B", "K562"), ("C", "HUVEC"), ("B", "K562")]
FACTOR, CELL_TYPE = (Weights(0.9, -0.2, {kind: 0.7}) for kind in KINDS)
BOTH = Weights(0.8, -0.1, {"factor": 0.6, "cell_type": 0.3})
KNOWN = KnownBinding({("factor",): FACTOR, ("cell_type",): CELL_TYPE, KINDS: BOTH}, {"pooled": 0.25})

PAIRS = st.tuples(st.sampled_from("ABCD"), st.sampled_from(["K562", "GM12878", "HUVEC", "HeLa-S3"]))
LABELS = st.lists(
    st.lists(st.sampled_from([0, BOUND, LEFT_OUT]), min_size=5, max_size=5), min_size=1, max_size=20
)


def labels_of(rows):
    return np.array(rows, dtype=np.uint8)


@pytest.mark.parametrize(
    ("pair", "factor", "cell_type"),
    [
        (("A", "K562"), [1], [2, 4]),
        (("A", "HUVEC"), [0, 1], [3]),
        (("B", "K562"), [], [0]),
        (("A", "HeLa-S3"), [0, 1], []),
        (("D", "GM12878"), [], [1]),
        (("D", "HeLa-S3"), [], []),
    ],
)
def test_evidence_is_of_the_factor_elsewhere_and_of_others_here(pair, factor, cell_type):
    about = Experiments(MEASURED).about([pair])[:, 0]
    assert [torch.nonzero(each).flatten().tolist() for each in about] == [factor, cell_type]


@given(LABELS, st.lists(PAIRS, min_size=1, max_size=4))
def test_evidence_grows_with_the_share_that_is_bound(rows, pairs):
    about = Experiments(MEASURED).about(pairs)
    found = Experiments(MEASURED).evidence(labels_of(rows), pairs).numpy()
    for kind, pair, bin in np.ndindex(found.shape):
        chosen = [label for label, own in zip(rows[bin], about[kind, pair], strict=True) if own]
        known = [label for label in chosen if label != LEFT_OUT]
        share = known.count(BOUND) / len(known) if known else 0
        assert found[kind, pair, bin] == pytest.approx(np.log1p(50 * share), rel=1e-6)


@given(LABELS, PAIRS, st.integers(0, 2**32 - 1))
def test_an_experiment_is_no_evidence_of_itself(rows, pair, seed):
    """Whatever is measured of a factor in a cell type, its own track does not know it."""
    labels, experiments = labels_of(rows), Experiments(MEASURED)
    logits = torch.randn(1, len(rows), generator=torch.Generator().manual_seed(seed))
    changed = labels.copy()
    for column, measured in enumerate(MEASURED):
        if measured == pair:
            changed[:, column] = (changed[:, column] + 1) % 3
    before, after = (KNOWN.counted(logits, each, experiments, [pair]) for each in (labels, changed))
    assert torch.equal(before, after)


def test_logits_are_those_of_the_formula():
    labels = labels_of([[0, 1, 1, 0, 2], [1, 1, 0, 0, 0]])
    pairs = [("A", "HeLa-S3"), ("D", "K562"), ("A", "K562"), ("D", "HeLa-S3")]
    logits = torch.linspace(-3, 2, 8).reshape(4, 2)
    found = KNOWN.counted(logits, labels, Experiments(MEASURED), pairs)
    half, all_of_them, third = (np.log1p(50 * share) for share in (0.5, 1, 1 / 3))
    expected = [
        [0.9 * logits[0, 0] - 0.2 + 0.7 * half, 0.9 * logits[0, 1] - 0.2 + 0.7 * all_of_them],
        # Of B's two experiments in K562 one is not known in the first bin.
        [0.9 * logits[1, 0] - 0.2 + 0.7 * half, 0.9 * logits[1, 1] - 0.2 + 0.7 * third],
        [
            0.8 * logits[2, 0] - 0.1 + 0.6 * all_of_them + 0.3 * all_of_them,
            0.8 * logits[2, 1] - 0.1 + 0.6 * all_of_them,
        ],
    ]
    np.testing.assert_allclose(found[:3], torch.tensor(expected), rtol=1e-5)
    assert torch.equal(found[3], logits[3]), "of which nothing is known"


def test_a_set_that_was_not_fitted_gives_way_to_a_smaller_one():
    assert KNOWN.of([True, True]) is BOTH
    without = KnownBinding({("factor",): FACTOR, ("cell_type",): CELL_TYPE}, {})
    assert without.of([True, True]) is FACTOR
    assert KnownBinding({("cell_type",): CELL_TYPE}, {}).of([True, True]) is CELL_TYPE
    assert KnownBinding({("cell_type",): CELL_TYPE}, {}).of([True, False]) is None
    assert KNOWN.of([False, False]) is None


def test_rows_do_not_depend_on_each_other():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (300, 5)).astype(np.uint8)
    pairs = [(factor, cell) for factor in "ABCD" for cell in ("K562", "HUVEC", "HeLa-S3")]
    logits = torch.as_tensor(rng.normal(size=(len(pairs), 300)).astype(np.float32))
    together = KNOWN.counted(logits, labels, Experiments(MEASURED), pairs)
    for row, pair in enumerate(pairs):
        alone = KNOWN.counted(logits[row : row + 1], labels, Experiments(MEASURED), [pair])
        assert torch.equal(alone[0], together[row])


def test_comes_back_from_json():
    about = {KEY: json.loads(json.dumps(KNOWN.as_json()))}
    assert read_known_binding(about) == KNOWN
    assert read_known_binding({}) is None


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"weights": {}},
        {"weights": {}, "thresholds": {}},
        {"weights": {"factor": {"slope": 1}}, "thresholds": {}},
        {"weights": {"weather": {"slope": 1, "offset": 0, "evidence": {"weather": 1}}}, "thresholds": {}},
    ],
)
def test_what_cannot_be_read_is_told(told):
    with pytest.raises(InputError, match="known binding cannot be read"):
        read_known_binding({KEY: told})
