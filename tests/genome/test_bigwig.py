"""bigWigs hold what was written, and what is wrong in one is told."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.genome.bigwig import bigwig_intervals, read_chromosome_bins, round_digits, write_bigwig
from tfbind.genome.names import ChromosomeNames

SIZES = {"chrI": 95, "chrII": 40, "chrIII": 20}
NAMES = ChromosomeNames(list(SIZES))


def entries(path: Path, chroms: dict[str, int], rows: list[tuple[str, int, int, float]]) -> Path:
    handle = pyBigWig.open(str(path), "w")
    handle.addHeader(list(chroms.items()))
    chrom, start, end, value = (list(column) for column in zip(*rows, strict=True))
    handle.addEntries(chrom, start, ends=end, values=value)
    handle.close()
    return path


def test_round_trip_and_header(tmp_path: Path) -> None:
    path = tmp_path / "x.bw"
    first, second = np.array([0, 0, 0, 1.23456, 1.23441, 0, 0, 0, 0, 7]), np.zeros(4)
    write_bigwig(path, SIZES, iter([("chrI", first), ("chrII", second)]), 10)
    with pyBigWig.open(str(path)) as handle:
        assert handle.chroms() == SIZES
        assert [(s, e) for s, e, _ in handle.intervals("chrI")] == [(0, 30), (30, 50), (50, 90), (90, 95)]
        assert len(handle.intervals("chrII")) == 1 and handle.intervals("chrIII") is None
    np.testing.assert_allclose(
        read_chromosome_bins(path, NAMES, "chrI", 95, 10), [0, 0, 0, 1.23, 1.23, 0, 0, 0, 0, 7], rtol=1e-6
    )
    assert read_chromosome_bins(path, NAMES, "chrIII", 20, 10).tolist() == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


@settings(deadline=None, max_examples=50)
@given(data=st.data(), bin=st.integers(1, 30), factor=st.integers(1, 4))
def test_any_values_come_back(tmp_path_factory: pytest.TempPathFactory, data, bin: int, factor: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bw"
    count = -(-95 // bin)
    pool = st.one_of(st.just(0.0), st.floats(-1e6, 1e6, width=32))
    values = np.array(data.draw(st.lists(pool, min_size=count, max_size=count)))
    write_bigwig(path, SIZES, [("chrI", values)], bin, digits=7)
    np.testing.assert_allclose(read_chromosome_bins(path, NAMES, "chrI", 95, bin), values, rtol=1e-6, atol=1e-30)
    bases = np.repeat(values, bin)[:95]
    coarse = [bases[low : low + bin * factor].mean() for low in range(0, 95, bin * factor)]
    found = read_chromosome_bins(path, NAMES, "chrI", 95, bin * factor)
    np.testing.assert_allclose(found, coarse, rtol=1e-4, atol=1e-6 * max(1, np.abs(values).max()))


def test_bases_without_a_value_count_as_0(tmp_path: Path) -> None:
    path = entries(tmp_path / "x.bw", {"1": 95, "extra": 9}, [("1", 5, 10, 4.0), ("1", 20, 31, 2.0)])
    found = read_chromosome_bins(path, NAMES, "chrI", 95, 10)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [2, 0, 2, 0.2, 0, 0, 0, 0, 0, 0], rtol=1e-6)
    assert not read_chromosome_bins(path, NAMES, "chrII", 40, 10).any(), "absent, while others resolve"


def test_reading_in_spans_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.bw"
    write_bigwig(path, SIZES, [("chrI", np.array([1, 1, 1, 2, 2, 0, 0, 3, 3, 3]))], 10)
    whole = read_chromosome_bins(path, NAMES, "chrI", 95, 7)
    monkeypatch.setattr("tfbind.genome.bigwig.SPAN", 16)
    np.testing.assert_allclose(read_chromosome_bins(path, NAMES, "chrI", 95, 7), whole, rtol=1e-6)


def test_writing_in_chunks_changes_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(95)
    monkeypatch.setattr("tfbind.genome.bigwig.ENTRIES_AT_ONCE", 10)
    write_bigwig(tmp_path / "x.bw", SIZES, [("chrI", values), ("chrII", values[:40])], 1, digits=8)
    np.testing.assert_allclose(read_chromosome_bins(tmp_path / "x.bw", NAMES, "chrI", 95, 1), values, rtol=1e-6)


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(1000)
    for name in ("a.bw", "b.bw"):
        write_bigwig(tmp_path / name, {"chrI": 10_000}, [("chrI", values)], 10)
    assert (tmp_path / "a.bw").read_bytes() == (tmp_path / "b.bw").read_bytes()


def test_rounding_to_digits() -> None:
    values = np.array([0, 1234.5, -0.00123456, 999.6, 1e-31, 5e-324, 100, 0.1, 1e30])
    rounded = [0, 1230, -0.00123, 1000, 0, 0, 100, 0.1, 1e30]
    np.testing.assert_allclose(round_digits(values, 3), rounded, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    values = np.ones(10)
    values[3] = bad
    with pytest.raises(InputError, match=r"x.bw: value .* at chrI:30 is not a finite number"):
        write_bigwig(tmp_path / "x.bw", SIZES, [("chrI", values)], 10)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([("chrI", np.ones(9))], "10 bins"),
        ([("chrX", np.ones(9))], "unknown or out of the order"),
        ([("chrII", np.ones(4)), ("chrI", np.ones(10))], "out of the order"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, values: list, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        write_bigwig(tmp_path / "x.bw", SIZES, values, 10)


def test_nan_in_a_bigwig(tmp_path: Path) -> None:
    path = entries(tmp_path / "x.bw", SIZES, [("chrI", 0, 10, 1.0), ("chrI", 10, 20, float("nan"))])
    with pytest.raises(InputError, match=r"x.bw: value nan at chrI:10 is not a finite number"):
        read_chromosome_bins(path, NAMES, "chrI", 95, 10)


def test_names_and_lengths_of_another_genome(tmp_path: Path) -> None:
    other = entries(tmp_path / "other.bw", {"chr21": 95, "chrUn": 5}, [("chr21", 0, 9, 1.0)])
    with pytest.raises(InputError, match=r"other.bw: .*the file has: chr21, chrUn; the genome has: chrI, chrII"):
        read_chromosome_bins(other, NAMES, "chrI", 95, 10)
    longer = entries(tmp_path / "longer.bw", {"chrI": 96}, [("chrI", 0, 9, 1.0)])
    with pytest.raises(InputError, match=r"longer.bw: chrI has 96 bp in the file and 95 bp in the genome"):
        read_chromosome_bins(longer, NAMES, "chrI", 95, 10)
    twice = entries(tmp_path / "twice.bw", {"chr1": 95, "1": 95}, [("chr1", 0, 9, 1.0)])
    with pytest.raises(InputError, match="'chr1' and '1' are both the genome's 'chrI'"):
        read_chromosome_bins(twice, NAMES, "chrI", 95, 10)


def test_no_bigwig(tmp_path: Path, write) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_chromosome_bins(tmp_path / "absent.bw", NAMES, "chrI", 95, 10)
    for text in ("", "no bigwig at all"):
        with pytest.raises(InputError, match=r"x.bw: not a bigWig"):
            read_chromosome_bins(write("x.bw", text), NAMES, "chrI", 95, 10)


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
def test_truncated_bigwig(tmp_path: Path, part: float) -> None:
    path = tmp_path / "x.bw"
    write_bigwig(path, {"chrI": 100_000}, [("chrI", np.random.default_rng(0).random(10_000))], 10)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=r"x.bw: truncated bigWig"):
        read_chromosome_bins(path, ChromosomeNames(["chrI"]), "chrI", 100_000, 10)


def test_a_real_bigwig() -> None:
    path = Path(__file__).resolve().parents[2] / "../shared/data/human_hg19/signal/faire_peaks.K562.bw"
    if not path.is_file():
        pytest.skip("../shared/data/human_hg19 is not there")
    names, size = ChromosomeNames(["chrX", "chr22"]), 51_304_566
    bins = read_chromosome_bins(path, names, "chr22", size, 128)
    with pyBigWig.open(str(path)) as handle:
        bases = np.nan_to_num(handle.values("chr22", 17_000_064, 17_128_064, numpy=True))
    np.testing.assert_allclose(bins[132_813:133_813], bases.reshape(-1, 128).mean(1), rtol=1e-5, atol=1e-6)
    start, end, value = bigwig_intervals(path, names, "chr22", size)
    assert (end > start).all() and np.isfinite(value).all()


def test_a_million_bins_take_a_moment(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(1_000_000) * (np.arange(1_000_000) % 50 < 10)
    start = time.perf_counter()
    write_bigwig(tmp_path / "x.bw", {"chrI": 10_000_000}, [("chrI", values)], 10)
    found = read_chromosome_bins(tmp_path / "x.bw", ChromosomeNames(["chrI"]), "chrI", 10_000_000, 10)
    assert time.perf_counter() - start < 10
    np.testing.assert_allclose(found, values, rtol=6e-3)
