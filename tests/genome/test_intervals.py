"""Peaks are read as they stand, or refused with the row that is wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.genome.bed import read_rows
from tfbind.genome.compressed import read_lines
from tfbind.genome.intervals import (
    coverage_fraction,
    depth_per_bin,
    mean_per_bin,
    merge,
    read_bedgraph,
    read_intervals,
)
from tfbind.genome.names import ChromosomeNames

SIZES = {"chrI": 1000, "chrII": 500}
NAMES = ChromosomeNames([*SIZES, "chrM"])
EXCLUDED = ("chrM",)
SPAN_LISTS = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 40)), max_size=12)


def read(path: Path, **options):
    return read_intervals(path, NAMES, SIZES, **{"excluded": EXCLUDED} | options)


def test_bed_with_comments_blanks_and_other_names(write) -> None:
    text = "track name=x\nbrowser hide all\n# c\n\nchr1\t50\t60\tp\t7.5\t+\n1\t10\t30\t.\t.\nII 0 500\n"
    intervals = read(write("calls.bed", text))
    first, second = intervals["chrI"], intervals["chrII"]
    assert first.spans.tolist() == [[10, 30], [50, 60]] and first.spans.dtype == np.int64
    assert first.summit.tolist() == [20, 55]
    np.testing.assert_array_equal(first.score, [np.nan, 7.5])
    assert second.spans.tolist() == [[0, 500]] and np.isnan(second.score).all()
    assert intervals.total == 3 and intervals.dropped == 0 and len(intervals["chrM"]) == 0


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_narrow_peak(tmp_path: Path, ending: str) -> None:
    rows = ["chrI\t10\t40\ta\t100\t.\t5.5\t-1\t2\t7", "chrI\t50\t60\tb\t0\t.\t3\t-1\t-1\t-1"]
    path = tmp_path / "x.narrowPeak.gz"
    path.write_bytes(gzip.compress(ending.join(rows).encode()))
    peaks = read(path)["chrI"]
    assert peaks.summit.tolist() == [17, 55]
    assert peaks.signal.tolist() == [5.5, 3] and peaks.score.tolist() == [100, 0]


def test_one_bp_calls_get_their_half_width(write) -> None:
    path = write("calls.bed", "chrI\t3\t4\nchrI\t998\t999\nchrII\t100\t120\n")
    intervals = read(path, half_width=10)
    assert intervals["chrI"].spans.tolist() == [[0, 14], [988, 1000]]
    assert intervals["chrI"].summit.tolist() == [3, 998]
    assert intervals["chrII"].spans.tolist() == [[100, 120]]
    with pytest.raises(InputError, match=r"calls.bed, row 1: a call of 1 bp[\s\S]*targets.half_width"):
        read(path)
    with pytest.raises(InputError, match="negative"):
        read(path, half_width=-1)


def test_rows_on_excluded_chromosomes_are_counted(write) -> None:
    intervals = read(write("calls.bed", "chrM\t5\t9\nchrI\t5\t9\nMT\t99999\t100000\n"))
    assert intervals.total == 1 and intervals.dropped == 2
    assert read(write("calls.bed", "chrM\t5\t9\n")).total == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("chrI\t5\t9\nchrI\t9\t9\n", "row 2: start 9 is not before end 9"),
        ("# c\nchrI\t9\t5\n", "row 2: start 9 is not before end 5"),
        ("chrI\t-5\t9\n", "row 1: start -5 is before"),
        ("chrI\tx\t9\n", "row 1, column 'start': 'x' is not a whole number"),
        ("chrI\t5\t9\nchrI\t1\t9.5\n", "row 2, column 'end': '9.5' is not a whole number"),
        ("chrI\t5\t1_0\n", "row 1, column 'end': '1_0' is not a whole number"),
        ("chrI\t5\t9\nchrII\t400\t501\n", "row 2: end 501 is past the end of chrII, which has 500 bp"),
        ("chrI\t5\n", "row 1: 2 columns, at least 3"),
        ("chrI\t5\t9\tn\tbad\n", "row 1, column 'score': 'bad' is not a number"),
        ("chrI\t5\t9\tn\tinf\n", "row 1, column 'score': inf is not a finite number"),
        (
            "chrI\t5\t9\nchrX\t5\t9\nscaf\t5\t9\n",
            "do not resolve: chrX, scaf; the genome has: chrI, chrII, chrM",
        ),
        ("", "no intervals"),
        ("# only a comment\n", "no intervals"),
    ],
)
def test_bad_bed(write, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read(write("calls.bed", text))
    assert "calls.bed" in str(caught.value) and "mend" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("chrI\t5\t9\ta\t0\t.\t1\t-1\t-1\n", "row 1: a narrowPeak row has 10 columns, this one has 9"),
        ("chrI\t5\t9\ta\t0\t.\t1\t-1\t-1\t5\n", "row 1, column 'peak': summit offset 5 is outside"),
        ("chrI\t5\t9\ta\t0\t.\t1\t-1\t-1\tx\n", "row 1, column 'peak': 'x'"),
        ("chrI\t5\t9\ta\t0\t.\tx\t-1\t-1\t1\n", "row 1, column 'signalValue': 'x'"),
    ],
)
def test_bad_narrow_peak(write, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read(write("calls.narrowPeak", text))


def test_truncated_gzip_and_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.bed.gz"
    path.write_bytes(gzip.compress(b"chrI\t5\t9\n" * 1000)[:-6])
    with pytest.raises(InputError, match=r"calls.bed.gz: truncated"):
        read(path)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "absent.bed")


@settings(max_examples=50)
@given(lines=st.lists(st.text("ab\t", max_size=9), max_size=20), size=st.integers(1, 30), end=st.booleans())
def test_lines_do_not_depend_on_blocks(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int, end: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    text = "\n".join(lines) + "\n" * end
    path.write_text(text)
    assert [line for block in read_lines(path, size) for line in block] == text.encode().splitlines()


def test_rows_keep_their_numbers_over_blocks(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_lines, "__defaults__", (16,))
    path = write("calls.bed", "# c\n" + "chrI\t5\t9\n" * 20 + "chrI\t9\t5\n")
    with pytest.raises(InputError, match="row 22: start 9"):
        list(read_rows(path, NAMES, SIZES))


def test_bedgraph(write) -> None:
    path = write("x.bedGraph", "track type=bedGraph\nchrI\t20\t30\t2.5\nchr1\t0\t10\t1\nchrM\t0\t5\t1\n")
    signal, dropped = read_bedgraph(path, NAMES, SIZES, excluded=EXCLUDED)
    assert [column.tolist() for column in signal["chrI"]] == [[0, 20], [10, 30], [1.0, 2.5]]
    assert list(signal) == ["chrI"] and dropped == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("chrI\t0\t10\t1\nchrI\t9\t12\t1\n", "overlap at chrI:9"),
        ("chrI\t0\t10\tnan\n", "row 1, column 'value': nan is not a finite"),
        ("chrI\t0\t10\n", "row 1: 3 columns, at least 4"),
    ],
)
def test_bad_bedgraph(write, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_bedgraph(write("x.bedGraph", text), NAMES, SIZES)


def paint(spans: list[tuple[int, int]], size: int) -> np.ndarray:
    depth = np.zeros(size)
    for start, length in spans:
        depth[start : start + length] += 1
    return depth


def per_bin(signal: np.ndarray, bin: int) -> list[float]:
    return [signal[low : low + bin].mean() for low in range(0, len(signal), bin)]


@given(spans=SPAN_LISTS, size=st.integers(1, 100), bin=st.integers(1, 60))
def test_coverage_and_depth_agree_with_painting_bases(spans: list, size: int, bin: int) -> None:
    intervals = np.array([(start, start + length) for start, length in spans], dtype=np.int64).reshape(-1, 2)
    depth = paint(spans, size)
    fraction = coverage_fraction(intervals, size, bin)
    assert fraction.dtype == np.float32
    np.testing.assert_allclose(fraction, per_bin(depth > 0, bin), rtol=1e-6)
    sums = depth_per_bin(intervals[:, 0], intervals[:, 1], size, bin)
    assert sums.tolist() == [depth[low : low + bin].sum() for low in range(0, size, bin)]
    union = merge(intervals)
    assert (union[1:, 0] > union[:-1, 1]).all()


@given(spans=SPAN_LISTS, size=st.integers(1, 200), bin=st.integers(1, 60), at_once=st.sampled_from([1, 3, 1000]))
def test_mean_per_bin_agrees_with_painting_bases(spans: list, size: int, bin: int, at_once: int) -> None:
    union = merge(np.array([(start, start + length) for start, length in spans]))
    union = np.minimum(union[union[:, 0] < size], size)
    value = np.arange(len(union)) * 1.5
    signal = np.zeros(size)
    for (start, end), each in zip(union.tolist(), value, strict=True):
        signal[start:end] = each
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfbind.genome.intervals.PIECES_AT_ONCE", at_once)
        found = mean_per_bin(union[:, 0], union[:, 1], value, size, bin)
    np.testing.assert_allclose(found, per_bin(signal, bin), rtol=1e-12)


def test_yeast_calls(yeast, mirrored) -> None:
    path = mirrored("Bas1_CX.bed")
    intervals = read_intervals(path, yeast.names, yeast.sizes, half_width=50)
    assert intervals.total == len(path.read_text().splitlines())
    assert 637_195 in intervals["chrXIII"].start and set(intervals.by_chromosome) <= set(yeast.sizes)
    width = intervals["chrXIII"].end - intervals["chrXIII"].start
    assert (width == 101).all()


def test_a_summit_rounded_up_to_the_end_is_the_last_base(write) -> None:
    path = write("rounded.narrowPeak", "chrI\t5\t9\ta\t0\t.\t1\t-1\t-1\t4\n")
    assert read(path)["chrI"].summit.tolist() == [8]
