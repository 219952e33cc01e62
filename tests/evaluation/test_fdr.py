"""Achieved false discovery rates: of bins by hand, of peaks against the overlap of what is written."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from tfbind.evaluation.fdr import COLUMNS, achieved, write_fdr
from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.prediction.peaks import write_peaks
from tfbind.prediction.render import presentable_threshold
from tfbind.training.targets import label_bins

ABOUT = {"experiment": "ONE.A", "kind": "seen", "fdr": 0.25}


def rows(labels, probabilities, thresholds, lengths=None, usable=None):
    labels, probabilities = np.asarray(labels, np.uint8), np.asarray(probabilities, np.float32)
    usable = np.ones(len(labels), bool) if usable is None else np.asarray(usable)
    found = achieved(labels, usable, probabilities, lengths or [len(labels)], thresholds, **ABOUT)
    return {(row["threshold_from"], row["of"]): row for row in found}


def test_bins_by_hand():
    labels = [1, 0, 1, LEFT_OUT, 0, 1, 0]
    found = rows(labels, [0.9, 0.9, 0.5, 0.9, 0.1, 0.1, 0.1], {"pooled": 0.5})["pooled", "bins"]
    assert (found["measured"], found["calls"], found["right"]) == (3, 3, 2)
    assert found["achieved_fdr"] == pytest.approx(1 / 3) and found["recall"] == pytest.approx(2 / 3)
    assert {key: found[key] for key in ABOUT} == ABOUT


def test_peaks_by_hand():
    # Three called peaks: one on a measured peak, one that only its partly covered edge is called, one on nothing.
    labels = [0, 1, 1, 0, LEFT_OUT, 1, 0, 0, 0, 1]
    called = [1, 1, 1, 0, 1, 0, 0, 1, 0, 0]
    found = rows(labels, np.array(called) * 0.8, {"pooled": 0.5})["pooled", "peaks"]
    assert (found["measured"], found["calls"], found["right"]) == (3, 3, 2)
    assert found["achieved_fdr"] == pytest.approx(1 / 3) and found["recall"] == pytest.approx(2 / 3)


def test_no_peak_goes_from_one_region_to_the_next():
    labels, called = [0, 1, 1, 0], [0.0, 0.9, 0.9, 0.0]
    whole = rows(labels, called, {"pooled": 0.5})["pooled", "peaks"]
    parted = rows(labels, called, {"pooled": 0.5}, lengths=[2, 2])["pooled", "peaks"]
    assert (whole["measured"], whole["calls"]) == (1, 1) and (parted["measured"], parted["calls"]) == (2, 2)


def test_bins_that_show_nothing_are_not_called():
    found = rows([LEFT_OUT, 1, 0], [0.9, 0.9, 0.9], {"pooled": 0.5}, usable=[False, True, True])
    assert found["pooled", "peaks"]["calls"] == 1 and found["pooled", "bins"]["calls"] == 2


def test_own_threshold_stands_beside_the_pooled_one():
    found = rows([1, 0], [0.9, 0.6], {"ONE.A": 0.8, "pooled": 0.5, "TWO.A": 0.1})
    assert set(found) == {(source, of) for source in ("own", "pooled") for of in ("bins", "peaks")}
    assert found["own", "bins"]["calls"] == 1 and found["pooled", "bins"]["calls"] == 2


def test_no_threshold_calls_nothing():
    found = rows([1, 0], [0.9, 0.6], {"pooled": None})
    assert all(row["calls"] == 0 and row["recall"] == 0 for row in found.values())
    assert all(math.isnan(row["achieved_fdr"]) and math.isnan(row["threshold"]) for row in found.values())


@pytest.mark.parametrize("seed", range(3))
def test_peaks_are_those_that_are_written(tmp_path, seed):
    """Overlap by the base, of what stands in narrowPeak with the peaks that labels were made from."""
    rng = np.random.default_rng(seed)
    bin, size = 64, 64 * 400
    starts = np.sort(rng.permutation(np.arange(0, size - 500, 250))[:30])
    spans = np.stack([starts, starts + rng.integers(1, 200, 30)], 1)
    labels = label_bins(spans, size, bin, bound_fraction=0.5)
    probabilities = np.clip(rng.random(400) * (0.3 + 0.7 * (labels == BOUND)), 0, 1).astype(np.float32)
    threshold = presentable_threshold(0.25)
    shown = np.round(probabilities * 2**15) / 2**15
    write_peaks(tmp_path / "p", {"c": size}, [("c", 0, shown, threshold)], bin=bin, name="x")
    called = [tuple(map(int, line.split("\t")[1:3])) for line in (tmp_path / "p").read_text().splitlines()]
    right = [any(start < high and low < end for low, high in spans) for start, end in called]
    found = rows(labels, probabilities, {"pooled": 0.25})["pooled", "peaks"]
    assert (found["calls"], found["right"]) == (len(called), sum(right))


def test_written_as_a_table(tmp_path):
    found = rows([1, 0], [0.9, 0.6], {"ONE.A": None, "pooled": 0.5}).values()
    write_fdr(tmp_path / "fdr.tsv", found)
    with (tmp_path / "fdr.tsv").open() as handle:
        read = list(csv.DictReader(handle, delimiter="\t"))
    assert tuple(read[0]) == COLUMNS and len(read) == 4
    assert read[0]["achieved_fdr"] == "" and read[2]["achieved_fdr"] == "0.5"
