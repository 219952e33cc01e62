from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.genome.intervals import ChromosomeIntervals
from tfbind.genome.reference import Reference, build_reference
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND
from tfbind.training.targets import Experiment, Targets, build_targets, label_bins, score_bins

BIN = 8


def naive_labels(spans, size, bin, bound_fraction):
    """Base by base."""
    covered = np.zeros(size, bool)
    for start, end in spans:
        covered[start:end] = True
    labels = []
    for first in range(0, size, bin):
        here = covered[first : first + bin]
        middle = any(first <= (start + end - 1) // 2 < first + bin for start, end in spans)
        if middle or here.sum() >= bound_fraction * len(here):
            labels.append(BOUND)
        else:
            labels.append(LEFT_OUT if here.any() else UNBOUND)
    return labels


@st.composite
def chromosomes_with_peaks(draw):
    size = draw(st.integers(1, 70))
    ends = st.tuples(st.integers(0, size), st.integers(0, size)).filter(lambda pair: pair[0] != pair[1])
    return size, [tuple(sorted(pair)) for pair in draw(st.lists(ends, max_size=5))]


@settings(max_examples=300)
@given(chromosomes_with_peaks(), st.sampled_from([1, 4, 8, 16]), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_equals_a_count_base_by_base(chromosome, bin, bound_fraction):
    size, spans = chromosome
    found = label_bins(np.array(spans, dtype=np.int64).reshape(-1, 2), size, bin, bound_fraction=bound_fraction)
    assert found.dtype == np.uint8
    assert found.tolist() == naive_labels(spans, size, bin, bound_fraction)
    assert (found == BOUND).any() == bool(spans), "no peak is lost, and none is made up"


def test_a_bin_is_bound_from_the_fraction_on_and_ambiguous_below():
    labels = label_bins(np.array([[0, 20], [28, 40], [60, 61]]), 64, BIN, bound_fraction=0.5)
    assert labels.tolist() == [1, 1, 1, 1, 1, 0, 0, 1]
    labels = label_bins(np.array([[0, 19], [29, 40]]), 64, BIN, bound_fraction=0.5)
    assert labels.tolist() == [1, 1, 2, 2, 1, 0, 0, 0]


@pytest.fixture
def genome(tmp_path) -> Reference:
    """chr1: 100 bp, N from 40 to 56, blacklisted from 70 to 71; chr2: 30 bp; chr3 is left out."""
    fasta, blacklist = tmp_path / "genome.fa", tmp_path / "blacklist.bed"
    fasta.write_text(f">chr1\n{'ACGT' * 10}{'N' * 16}{'ACGT' * 11}\n>chr2\n{'G' * 30}\n>chr3\n{'C' * 50}\n")
    blacklist.write_text("chr1\t70\t71\n")
    build_reference(fasta, tmp_path / "reference", blacklist=blacklist, exclude=["chr3"])
    return Reference.open(tmp_path / "reference")


@pytest.fixture
def build(genome, tmp_path):
    """Targets of experiments whose peak files have these lines."""

    def builder(*peaks: str, half_width: int | None = None, names: tuple[str, ...] = (), out: str = "targets"):
        experiments = []
        for index, text in enumerate(peaks):
            path = tmp_path / (names[index] if names else f"peaks{index}.bed")
            path.write_text(text)
            experiments.append(Experiment(f"F{index}.C", f"F{index}", "C", path))
        build_targets(experiments, genome, tmp_path / out, bin=BIN, half_width=half_width, bound_fraction=0.5)
        return Targets.open(tmp_path / out)

    return builder


def test_experiments_stand_side_by_side_and_are_one_read(build):
    targets = build("chr1\t0\t16\nchr2\t8\t30\n", "chr1\t12\t32\n")
    assert targets.labels["chr1"].shape == (13, 2)
    assert targets.labels["chr2"].shape == (4, 2)
    assert targets.labels["chr1"][:5].tolist() == [[1, 0], [1, 1], [0, 1], [0, 1], [0, 0]]
    assert targets.labels["chr2"].tolist() == [[0, 0], [1, 0], [1, 0], [1, 0]]
    assert isinstance(targets.labels["chr1"], np.memmap)
    assert targets.labels["chr1"].flags.c_contiguous, "a window's experiments lie together"
    first, second = targets.experiments
    assert (first["name"], first["factor"], first["cell_type"]) == ("F0.C", "F0", "C")
    assert (first["calls"], first["bound_bins"]) == (2, 5)
    assert (second["calls"], second["bound_bins"]) == (1, 3)


def test_n_and_blacklist_are_left_out_for_every_experiment(build):
    targets = build("chr1\t36\t80\n", "chr1\t0\t8\n")
    assert targets.labels["chr1"][:, 0].tolist() == [0, 0, 0, 0, 1, 2, 2, 1, 2, 1, 0, 0, 0]
    assert targets.labels["chr1"][:, 1].tolist() == [1, 0, 0, 0, 0, 2, 2, 0, 2, 0, 0, 0, 0]
    assert targets.experiments[0]["bound_bins"] == 3


def test_a_call_of_one_base_stands_for_what_is_around_it(build):
    targets = build("chr1\t20\t21\nchr2\t1\t2\nchr2\t29\t30\n", half_width=6)
    # [14, 27) and, clipped to the chromosome, [0, 8) and [23, 30).
    assert targets.labels["chr1"][:5, 0].tolist() == [0, 2, 1, 2, 0]
    assert targets.labels["chr2"][:, 0].tolist() == [1, 0, 2, 1]


def test_narrow_peaks_are_never_lost(build):
    targets = build("".join(f"chr1\t{start}\t{start + 2}\n" for start in range(0, 38, 3)))
    assert targets.labels["chr1"][:5, 0].tolist() == [1, 1, 1, 1, 1]


def test_names_of_other_schemes_and_left_out_chromosomes(build):
    targets = build("1\t0\t8\nchr3\t0\t8\n")
    assert targets.experiments[0]["calls"] == 1
    assert targets.labels["chr1"][0, 0] == BOUND
    assert "chr3" not in targets.labels


@pytest.mark.parametrize(
    ("peaks", "problem"),
    [
        ("chr1\t90\t101\n", "101"),
        ("chr1\t0\t8\nchr1\t20\t20\n", "row 2"),
        ("chr9\t0\t8\n", "chr9"),
        ("", "peaks1.bed"),
        ("chr3\t0\t8\n", "no peak on the chromosomes"),
        ("chr1\t5\t6\n", "half-width"),
        ("chr1\tfive\t6\n", "row 1"),
    ],
    ids=["past the end", "start = end", "unknown chromosome", "empty", "only left out", "1 bp", "no number"],
)
def test_bad_peaks_are_told_with_their_file_and_leave_nothing(build, tmp_path, peaks, problem):
    with pytest.raises(InputError, match=problem) as caught:
        build("chr1\t0\t8\n", peaks)
    assert Path(caught.value.file).name == "peaks1.bed"
    assert caught.value.mend
    assert not (tmp_path / "targets").exists()


def test_equal_peaks_are_equal_bytes(build):
    text = "chr1\t0\t16\nchr2\t8\t30\n"
    build(text, out="one")
    folder = Path(build(text, out="two").labels["chr1"].filename).parent
    for path in folder.iterdir():
        assert path.read_bytes() == (folder.with_name("one") / path.name).read_bytes()
    other = build(text.replace("16", "24"), out="three")
    assert other.about["checksum"] != Targets.open(folder).about["checksum"]


def test_what_holds_no_targets_or_others_is_told(build, tmp_path):
    with pytest.raises(InputError, match="holds no targets") as caught:
        Targets.open(tmp_path / "nowhere")
    assert "tfbind targets" in caught.value.mend
    build("chr1\t0\t8\n")
    path = tmp_path / "targets" / "targets.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(InputError, match="format 99"):
        Targets.open(tmp_path / "targets")


# Signal and scores.


def write_signal(path: Path, entries: list[tuple[str, int, int, float]]) -> Path:
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader([("chr1", 100), ("chr2", 30), ("chr3", 50)])
        for chrom, start, end, value in entries:
            handle.addEntries([chrom], [start], ends=[end], values=[value])
    return path


def narrow_peaks(path: Path, rows: list[tuple[str, int, int, str]]) -> Path:
    path.write_text("".join(f"{c}\t{s}\t{e}\t.\t0\t.\t{score}\t-1\t-1\t-1\n" for c, s, e, score in rows))
    return path


@pytest.fixture
def measured(genome, tmp_path):
    """Two experiments: one with a signal and scores, the other without either."""
    signal = write_signal(
        tmp_path / "one.bw", [("chr1", 0, 12, 2.0), ("chr1", 36, 80, 3.0), ("chr2", 24, 30, 6.0)]
    )
    rows = [("chr1", 0, 20, "5.5"), ("chr1", 14, 18, "9"), ("chr1", 44, 46, "7"), ("chr2", 8, 30, "4")]
    peaks = narrow_peaks(tmp_path / "one.narrowPeak", rows)
    plain = tmp_path / "two.bed"
    plain.write_text("chr1\t8\t16\n")
    return [
        Experiment("F0.C", "F0", "C", peaks, signal, reads=1000),
        Experiment("F1.C", "F1", "C", plain),
    ]


def build_with(genome, experiments, folder, arrays=("signal", "score")) -> Targets:
    build_targets(experiments, genome, folder, bin=BIN, half_width=None, bound_fraction=0.5, arrays=arrays)
    return Targets.open(folder)


def test_a_signal_is_the_mean_of_each_bin_and_unknown_elsewhere(genome, measured, tmp_path):
    targets = build_with(genome, measured, tmp_path / "targets")
    first, second = targets.signal["chr1"].T
    nan = np.nan  # of the bins with N (5, 6) and the blacklisted one (8)
    expected = [2, 1, 0, 0, 1.5, nan, nan, 3, nan, 3, 0, 0, 0]
    np.testing.assert_array_equal(first, np.array(expected, dtype=np.float32))
    np.testing.assert_array_equal(targets.signal["chr2"][:, 0], [0, 0, 0, 6])
    assert np.isnan(second).all(), "what was not measured is not 0"
    assert targets.signal["chr1"].dtype == np.float32
    assert isinstance(targets.signal["chr1"], np.memmap)
    assert targets.signal["chr1"].flags.c_contiguous, "a window's experiments lie together"


def test_a_score_is_that_of_the_best_peak_over_a_bin(genome, measured, tmp_path):
    targets = build_with(genome, measured, tmp_path / "targets")
    first, second = targets.score["chr1"].T
    nan = np.nan
    np.testing.assert_array_equal(
        first, np.array([5.5, 9, 9, 0, 0, nan, nan, 0, nan, 0, 0, 0, 0], dtype=np.float32)
    )
    np.testing.assert_array_equal(second, [0, nan, 0, 0, 0, nan, nan, 0, nan, 0, 0, 0, 0])
    np.testing.assert_array_equal(targets.score["chr2"][:, 0], [0, 4, 4, 4])
    assert [experiment["reads"] for experiment in targets.experiments] == [1000, None]


@settings(max_examples=100)
@given(chromosomes_with_peaks(), st.integers(0, 99), st.sampled_from([1, 4, 16]))
def test_scores_equal_a_search_peak_by_peak(chromosome, seed, bin):
    size, spans = chromosome
    spans = np.array(sorted(spans), dtype=np.int64).reshape(-1, 2)
    signal = np.random.default_rng(seed).choice([1.0, 2.5, 7.0, np.nan], len(spans), p=[0.3, 0.3, 0.3, 0.1])
    found = score_bins(ChromosomeIntervals(spans[:, 0], spans[:, 1], spans[:, 0], signal, signal), size, bin)
    for index, first in enumerate(range(0, size, bin)):
        over = [s for (start, end), s in zip(spans, signal, strict=True) if start < first + bin and end > first]
        np.testing.assert_equal(found[index], np.nan if np.isnan(over).any() else max(over, default=0))


def test_arrays_are_written_only_where_they_are_asked_for(genome, measured, tmp_path):
    plain = build_with(genome, measured, tmp_path / "plain", arrays=())
    assert (plain.signal, plain.score) == (None, None)
    assert "arrays" not in plain.about
    assert set(plain.experiments[0]) == {"name", "factor", "cell_type", "calls", "bound_bins", "peaks_sha256"}
    both = build_with(genome, measured, tmp_path / "both")
    for chrom in plain.labels:
        np.testing.assert_array_equal(plain.labels[chrom], both.labels[chrom])
    only = build_with(genome, measured, tmp_path / "only", arrays=("score",))
    assert only.signal is None
    assert only.score is not None
    assert len({each.about["checksum"] for each in (plain, both, only)}) == 3


def test_another_signal_is_another_checksum_and_the_same_is_the_same_bytes(genome, measured, tmp_path):
    first, again = (build_with(genome, measured, tmp_path / name) for name in ("first", "again"))
    assert first.about == again.about
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    write_signal(measured[0].signal, [("chr1", 0, 12, 2.5)])
    assert build_with(genome, measured, tmp_path / "other").about["checksum"] != first.about["checksum"]


def test_many_experiments_are_laid_side_by_side_in_groups(genome, measured, tmp_path, monkeypatch):
    expected = build_with(genome, [*measured, *measured, measured[0]], tmp_path / "whole")
    monkeypatch.setattr("tfbind.training.targets.COLUMNS_AT_ONCE", 2)
    found = build_with(genome, [*measured, *measured, measured[0]], tmp_path / "groups")
    for chrom in found.signal:
        np.testing.assert_array_equal(found.signal[chrom], expected.signal[chrom])
        np.testing.assert_array_equal(found.score[chrom], expected.score[chrom])
    assert found.signal["chr1"].shape == (13, 5)


def test_what_is_no_coverage_or_no_score_is_told(genome, measured, tmp_path):
    folder = tmp_path / "targets"
    write_signal(measured[0].signal, [("chr1", 16, 20, -2.0)])
    with pytest.raises(InputError, match="chr1:16 is -1, and coverage is 0 or more") as caught:
        build_with(genome, measured, folder)
    assert Path(caught.value.file).name == "one.bw"
    narrow_peaks(measured[0].peaks, [("chr1", 0, 20, "-5")])
    with pytest.raises(InputError, match="signalValue is -5") as caught:
        build_with(genome, measured, folder)
    assert Path(caught.value.file).name == "one.narrowPeak"
    for array, key in (("signal", "track"), ("score", "peak_score")):
        with pytest.raises(InputError, match="no experiment") as caught:
            build_with(genome, measured[1:], folder, arrays=(array,))
        assert caught.value.key == f"training.losses.{key}"
        assert caught.value.mend
    assert not folder.exists()
