"""Peaks: runs of bins at or above a threshold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfbind.prediction.peaks import call_peaks, write_peaks

# Few distinct values: runs, ties and values equal to the threshold are common.
VALUES = st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]), max_size=30)


def naive_peaks(values: list[float], threshold: float) -> list[list[int]]:
    peaks, start = [], None
    for i, value in enumerate([*values, -1.0]):
        if value >= threshold and start is None:
            start = i
        elif value < threshold and start is not None:
            run = values[start:i]
            peaks.append([start, i, start + run.index(max(run))])
            start = None
    return peaks


@given(VALUES, st.sampled_from([0.05, 0.1, 0.3, 0.7, 1.0]))
def test_peaks_are_the_runs_above_the_threshold(values, threshold):
    found = call_peaks(np.array(values, dtype=np.float32), threshold)
    assert found.shape[1:] == (3,) and found.dtype == np.int64
    assert found.tolist() == naive_peaks(values, threshold)


def test_each_bin_may_have_a_threshold_of_its_own():
    values = np.array([0.5, 0.5, 0.5, 0.1, 0.9], dtype=np.float32)
    thresholds = np.array([0.6, 0.5, 0.4, 0.1, np.inf], dtype=np.float32)
    assert call_peaks(values, thresholds).tolist() == [[1, 4, 1]]


@given(VALUES)
def test_no_threshold_calls_nothing(values):
    assert call_peaks(np.array(values, dtype=np.float32), None).shape == (0, 3)


def test_narrow_peak_rows(tmp_path):
    """The last bin of chr1 has 30 bp of 50; chr2 has no peak; of equal bins the first is the summit."""
    stretches = [
        ("chr1", 0, np.array([0.1, 0.5, 0.25, 0.0, 0.75], dtype=np.float32), 0.25),
        ("chr2", 0, np.array([0.2], dtype=np.float32), 0.25),
        ("chr3", 0, np.array([1.0, 1.0], dtype=np.float32), 0.25),
    ]
    sizes = {"chr1": 230, "chr2": 50, "chr3": 100}
    assert write_peaks(tmp_path / "x.narrowPeak", sizes, stretches, bin=50, name="X_K562") == 3
    rows = [line.split("\t") for line in (tmp_path / "x.narrowPeak").read_text().splitlines()]
    assert rows == [
        ["chr1", "50", "150", "X_K562_1", "500", ".", "0.5", "-1", "-1", "25"],
        ["chr1", "200", "230", "X_K562_2", "750", ".", "0.75", "-1", "-1", "15"],
        ["chr3", "0", "100", "X_K562_3", "1000", ".", "1", "-1", "-1", "25"],
    ]


def test_stretch_of_a_chromosome_has_its_peaks_in_their_place(tmp_path):
    stretch = [("chr1", 3, np.array([0.5, 0.75, 0.0], dtype=np.float32), 0.25)]
    assert write_peaks(tmp_path / "x.narrowPeak", {"chr1": 1000}, stretch, bin=50, name="X") == 1
    row = (tmp_path / "x.narrowPeak").read_text().split("\t")
    assert row[:3] == ["chr1", "150", "250"] and row[-1] == "75\n"
