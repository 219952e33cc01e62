"""bigWigs hold what was written, and what is wrong in one is told."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pybigtools
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.genome import bigwig, bigwig_writer
from tfbind.genome.bigwig import (
    Track,
    bigwig_intervals,
    read_chromosome_bins,
    round_fixed,
    round_relative,
    write_bigwig,
    write_bigwigs,
)
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
    first, second = np.array([0, 0, 0, 1.25, 1.25, 0, 0, 0, 0, 7]), np.zeros(4)
    write_bigwig(path, SIZES, iter([("chrI", first), ("chrII", second)]), 10)
    with pyBigWig.open(str(path)) as handle:
        assert handle.chroms() == SIZES
        assert [(s, e) for s, e, _ in handle.intervals("chrI")] == [
            (low, low + 10) for low in range(0, 90, 10)
        ] + [(90, 95)]
        assert handle.intervals("chrII") == ((0, 40, 0.0),) and handle.intervals("chrIII") is None
        header = handle.header()
        assert (header["minVal"], header["maxVal"], header["nBasesCovered"]) == (0, 7, 135)
    np.testing.assert_array_equal(read_chromosome_bins(path, NAMES, "chrI", 95, 10), first)
    assert read_chromosome_bins(path, NAMES, "chrIII", 20, 10).tolist() == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=50)
@given(data=st.data(), bin=st.integers(1, 100), factor=st.integers(1, 4))
def test_any_values_come_back(tmp_path_factory: pytest.TempPathFactory, data, bin: int, factor: int) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bw"
    count = -(-95 // bin)
    pool = st.one_of(st.just(0.0), st.floats(-1e6, 1e6, width=32))
    values = np.array(data.draw(st.lists(pool, min_size=count, max_size=count)), dtype=np.float32)
    write_bigwig(path, SIZES, [("chrI", values)], bin)
    np.testing.assert_array_equal(read_chromosome_bins(path, NAMES, "chrI", 95, bin), values)
    bases = np.repeat(values, bin)[:95]
    for found in both(path, "chrI", 95):
        np.testing.assert_array_equal(found, bases)
    coarse = [bases[low : low + bin * factor].mean(dtype=np.float64) for low in range(0, 95, bin * factor)]
    found = read_chromosome_bins(path, NAMES, "chrI", 95, bin * factor)
    np.testing.assert_allclose(found, coarse, rtol=1e-4, atol=1e-6 * max(1, np.abs(values).max()))


def both(path: Path, chrom: str, size: int) -> list[np.ndarray]:
    """Values base by base, as pyBigWig and as pybigtools read them."""
    with pyBigWig.open(str(path)) as one, pybigtools.open(str(path)) as other:
        return [one.values(chrom, 0, size, numpy=True), other.values(chrom, 0, size, fillna=None)]


def random_track(sizes: dict[str, int], bin: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Dense stretches and empty ones, values below 0, and a chromosome of one value."""
    rng = np.random.default_rng(seed)
    found = {}
    for chrom, size in sizes.items():
        count = -(-size // bin)
        values = np.where(np.arange(count) // 5000 % 2 == 0, rng.normal(size=count), 0)
        found[chrom] = values.astype(np.float32)
    return found


LARGE = {"chr2": 1_700_003, "chr10": 1_000_000, "chrM": 7, "chrU": 900}


def test_both_readers_find_values_and_statistics_at_every_resolution(tmp_path: Path) -> None:
    path, bin = tmp_path / "x.bw", 10
    track = random_track(LARGE, bin)
    write_bigwig(path, LARGE, [(chrom, track[chrom]) for chrom in ("chr2", "chr10", "chrM")], bin)
    bases = {chrom: np.repeat(track[chrom], bin)[: LARGE[chrom]] for chrom in LARGE}
    for chrom in ("chr2", "chr10", "chrM"):
        for found in both(path, chrom, LARGE[chrom]):
            np.testing.assert_array_equal(found, bases[chrom])
    with pyBigWig.open(str(path)) as one, pybigtools.open(str(path)) as other:
        assert one.chroms() == LARGE and one.stats("chrU") == [None]
        levels = other.zooms()
        assert levels == [640, 2560, 10_240, 40_960, 163_840, 655_360]
        for level in levels:
            for chrom in ("chr2", "chr10", "chrM"):
                records = list(other.zoom_records(level, chrom))
                assert [record[:2] for record in records] == [
                    (low, min(low + level, LARGE[chrom])) for low in range(0, LARGE[chrom], level)
                ]
                check_records(records, bases[chrom])
        # Twice a level, in bins that end with its records: both readers then take it, and it holds all there is.
        for level in levels[:-1]:
            count = LARGE["chr2"] // (4 * level)
            stretches = bases["chr2"][: count * 4 * level].reshape(count, -1).astype(np.float64)
            for what, wanted in {
                "mean": stretches.mean(1),
                "min": stretches.min(1),
                "max": stretches.max(1),
                "std": stretches.std(1, ddof=1),
            }.items():
                asked = ("chr2", 0, count * 4 * level)
                found = one.stats(*asked, type=what, nBins=count)
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
                if what != "std":
                    again = other.values(*asked, bins=count, summary=what, exact=False, fillna=None)
                    np.testing.assert_allclose(again, wanted, rtol=1e-4, atol=1e-6)
            assert one.stats(*asked, type="coverage", nBins=count) == [1.0] * count
        summary = other.info()["summary"]
        whole = np.concatenate([bases[chrom] for chrom in ("chr2", "chr10", "chrM")]).astype(np.float64)
        assert summary["basesCovered"] == len(whole)
        assert (summary["min"], summary["max"]) == (whole.min(), whole.max())
        np.testing.assert_allclose([summary["sum"], summary["std"]], [whole.sum(), whole.std()], rtol=1e-6)


@pytest.mark.parametrize("part", [range(1), range(63, 70), range(9000, 30_000), range(99_990, 170_001)], ids=str)
def test_a_part_of_a_chromosome(tmp_path: Path, part: range) -> None:
    """The last bin of chr2 has 3 bp."""
    path, track = tmp_path / "x.bw", random_track(LARGE, 10)["chr2"]
    write_bigwig(path, LARGE, [("chr2", track[part.start : part.stop])], 10, part)
    bases = np.repeat(track, 10)[: LARGE["chr2"]]
    start, end = part.start * 10, min(part.stop * 10, LARGE["chr2"])
    for found in both(path, "chr2", LARGE["chr2"]):
        np.testing.assert_array_equal(found[start:end], bases[start:end])
        assert np.isnan(found[:start]).all() and np.isnan(found[end:]).all()
    with pybigtools.open(str(path)) as handle:
        for level in handle.zooms():
            records = list(handle.zoom_records(level, "chr2"))
            assert [record[:2] for record in records] == [
                (low, min(low + level, end)) for low in range(start, end, level)
            ]
            check_records(records, bases)
        assert handle.info()["summary"]["basesCovered"] == end - start
    with pyBigWig.open(str(path)) as handle:
        mean = bases[start:end].mean(dtype=np.float64)
        assert handle.stats("chr2", start, end) == [pytest.approx(mean, rel=1e-4, abs=1e-6)]


def check_records(records: list, bases: np.ndarray) -> None:
    for start, end, found in records:
        part = bases[start:end].astype(np.float64)
        assert (found["bases_covered"], found["min_val"], found["max_val"]) == (len(part), part.min(), part.max())
        np.testing.assert_allclose(found["sum"], part.sum(), rtol=1e-6, atol=1e-6 * np.abs(part).sum())
        np.testing.assert_allclose(found["sum_squares"], (part**2).sum(), rtol=1e-6)


def test_what_pybigwig_writes_reads_the_same(tmp_path: Path) -> None:
    """But for summaries, of which it loses some."""
    track = random_track(LARGE, 10)
    write_bigwig(tmp_path / "ours.bw", LARGE, track.items(), 10)
    with pyBigWig.open(str(tmp_path / "theirs.bw"), "w") as handle:
        handle.addHeader(list(LARGE.items()))
        for chrom, values in track.items():
            full = LARGE[chrom] // 10
            if full:
                handle.addEntries(chrom, 0, values=values[:full], span=10, step=10)
            if full < len(values):
                handle.addEntries([chrom], [full * 10], ends=[LARGE[chrom]], values=[float(values[-1])])
    for chrom, size in LARGE.items():
        for ours, theirs in zip(
            both(tmp_path / "ours.bw", chrom, size), both(tmp_path / "theirs.bw", chrom, size), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_empty_stretches_are_few_entries(tmp_path: Path) -> None:
    values = np.zeros(100_000)
    values[50_000:50_010] = np.arange(10)
    write_bigwig(tmp_path / "x.bw", {"chrI": 1_000_000}, [("chrI", values)], 10)
    _, _, found = bigwig_intervals(tmp_path / "x.bw", ChromosomeNames(["chrI"]), "chrI", 1_000_000)
    assert len(found) < 30
    assert (tmp_path / "x.bw").stat().st_size < 10_000


@pytest.mark.parametrize("count", [300, 70_000])
def test_many_chromosomes(tmp_path: Path, count: int) -> None:
    sizes = {f"scaffold_{number}": 25 + number % 7 for number in range(count)}
    chosen = [chrom for number, chrom in enumerate(sizes) if number % 100 == 3]
    write_bigwig(
        tmp_path / "x.bw", sizes, ((chrom, [1, 2, 3, 4][: -(-sizes[chrom] // 10)]) for chrom in chosen), 10
    )
    with pyBigWig.open(str(tmp_path / "x.bw")) as one, pybigtools.open(str(tmp_path / "x.bw")) as other:
        assert one.chroms() == sizes and dict(other.chroms()) == sizes
        for chrom in chosen[:: len(chosen) // 3]:
            assert (
                one.values(chrom, 0, 25)
                == other.values(chrom, 0, 25, fillna=None).tolist()
                == [1.0] * 10 + [2.0] * 10 + [3.0] * 5
            )
        assert one.intervals("scaffold_4") is None


def test_deep_indices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigwig_writer, "CHILDREN", 3)
    monkeypatch.setattr(bigwig_writer, "BINS_A_BLOCK", 50)
    monkeypatch.setattr(bigwig_writer, "RECORDS_A_BLOCK", 7)
    sizes = {"chr2": 40_003, "chr1": 20_000}
    track = random_track(sizes, 10)
    write_bigwig(tmp_path / "x.bw", sizes, track.items(), 10)
    with pybigtools.open(str(tmp_path / "x.bw")) as handle:
        for chrom, size in sizes.items():
            bases = np.repeat(track[chrom], 10)[:size]
            for found in both(tmp_path / "x.bw", chrom, size):
                np.testing.assert_array_equal(found, bases)
            for low in range(0, size, 997):
                assert handle.values(chrom, low, low + 1, fillna=None).tolist() == [bases[low]]
            for level in handle.zooms():
                check_records(list(handle.zoom_records(level, chrom)), bases)


def test_no_values_at_all(tmp_path: Path) -> None:
    write_bigwig(tmp_path / "x.bw", SIZES, [], 10)
    with pyBigWig.open(str(tmp_path / "x.bw")) as handle:
        assert handle.chroms() == SIZES and handle.intervals("chrI") is None


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


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(1000)
    for name in ("a.bw", "b.bw"):
        write_bigwig(tmp_path / name, {"chrI": 10_000}, [("chrI", values)], 10)
    assert (tmp_path / "a.bw").read_bytes() == (tmp_path / "b.bw").read_bytes()


def test_rounding_to_a_step() -> None:
    values = np.array([0, 0.3, 0.5, 1 / 16, 3 / 16, -0.3, 0.99, 1e-9])
    assert round_fixed(values, 3).tolist() == [0, 0.25, 0.5, 0, 0.25, -0.25, 1, 0]
    many = np.random.default_rng(0).random(10_000)
    rounded = round_fixed(many, 15)
    assert rounded.dtype == np.float32 and (rounded * 2**15 % 1 == 0).all()
    np.testing.assert_allclose(rounded, many, rtol=0, atol=2.0**-16 + 1e-7)
    np.testing.assert_array_equal(round_fixed(rounded, 15), rounded)


def test_rounding_to_bits() -> None:
    assert round_relative(np.array([1, 1.3, 1.125, 1.375, -1.3, 1.99, 0, 100]), 2).tolist() == [
        *(1, 1.25, 1, 1.5, -1.25, 2, 0, 96)
    ]
    many = 10 ** np.random.default_rng(0).uniform(-30, 30, 10_000)
    rounded = round_relative(many, 10)
    assert rounded.dtype == np.float32 and not (rounded.view(np.uint32) & 0x1FFF).any()
    np.testing.assert_allclose(rounded, many, rtol=2.0**-11 + 1e-7)
    np.testing.assert_array_equal(round_relative(rounded, 10), rounded)
    odd = np.array([np.nan, np.inf, -np.inf, np.uint32(0x7FFFFFFF).view(np.float32)], dtype=np.float32)
    np.testing.assert_array_equal(round_relative(odd, 10), odd)


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
        ([("chrI", np.ones(10)), ("chrI", np.ones(10))], "out of the order"),
        ([("chrI", np.ones(11))], "10 bins"),
        ([("chrI", np.ones((10, 1)))], "10 bins"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, values: list, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        write_bigwig(tmp_path / "x.bw", SIZES, values, 10)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("part", "count"), [(range(9, 11), 2), (range(2, 4), 3), (range(-1, 1), 2), (range(3, 3), 0)], ids=str
)
def test_parts_that_do_not_fit(tmp_path: Path, part: range, count: int) -> None:
    with pytest.raises(ValueError, match=rf"10 bins of 10 bp, not \({count},\) of range"):
        write_bigwig(tmp_path / "x.bw", SIZES, [("chrI", np.ones(count))], 10, part)
    with pytest.raises(InputError, match="at chrI:50 is not a finite number"):
        write_bigwig(tmp_path / "x.bw", SIZES, [("chrI", [1, np.nan])], 10, range(4, 6))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong", [("chrII", np.array([1, 2, np.nan, 4])), ("chrII", np.ones(5)), ("chrI", np.ones(10))]
)
def test_nothing_is_written_before_all_of_a_collection_is_right(
    tmp_path: Path, monkeypatch, wrong: tuple
) -> None:
    monkeypatch.setattr("tfbind.genome.bigwig.write_values", lambda *arguments: pytest.fail("began to write"))
    values = [("chrI", np.ones(10)), wrong]
    with pytest.raises((InputError, ValueError), match=r"not a finite|4 bins|out of the order"):
        write_bigwig(tmp_path / "x.bw", SIZES, values, 10)


@pytest.mark.parametrize("bad", [np.nan, 1e39])
def test_what_comes_late_leaves_no_file(tmp_path: Path, bad: float) -> None:
    with pytest.raises(InputError, match="at chrII:0 is not a finite"):
        write_bigwig(tmp_path / "x.bw", SIZES, iter([("chrI", np.ones(10)), ("chrII", np.full(4, bad))]), 10)
    assert not list(tmp_path.iterdir())


def test_a_chromosome_too_long_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot hold chromosome 'chrI'"):
        write_bigwig(tmp_path / "x.bw", {"chrI": 2**32}, [], 10)


def tracks(folder: Path, count: int):
    for number in range(count):
        yield Track(folder / f"{number}.bw", LARGE, random_track(LARGE, 10, number).items(), 10)


@pytest.mark.parametrize("workers", [1, 3])
def test_many_are_written_as_one_is(tmp_path: Path, workers: int) -> None:
    write_bigwigs(tracks(tmp_path / "many", 5), workers)
    assert len(list((tmp_path / "many").iterdir())) == 5
    for track in tracks(tmp_path / "one", 5):
        write_bigwig(track.path, track.sizes, track.values, track.bin)
        assert track.path.read_bytes() == (tmp_path / "many" / track.path.name).read_bytes()


def test_no_more_tracks_are_taken_than_are_written(tmp_path: Path) -> None:
    taken, written = 0, 0
    lock = threading.Lock()

    def values(number: int):
        nonlocal written
        yield from random_track(LARGE, 10, number).items()
        with lock:
            written += 1

    def each():
        nonlocal taken
        for number in range(8):
            taken += 1
            assert taken <= written + 3
            yield Track(tmp_path / f"{number}.bw", LARGE, values(number), 10)

    write_bigwigs(each(), 2)
    assert (taken, written) == (8, 8)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_error_of_one_of_many_is_told(tmp_path: Path, workers: int) -> None:
    def with_a_wrong_one():
        for number, track in enumerate(tracks(tmp_path, 6)):
            values = dict(track.values)
            if number == 2:
                values["chr10"][7] = np.nan
            yield Track(track.path, track.sizes, values.items(), track.bin)

    with pytest.raises(InputError, match=r"2.bw: value nan at chr10:70 is not a finite"):
        write_bigwigs(with_a_wrong_one(), workers)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert "2.bw" not in left and not any(name.startswith(".") for name in left)
    for name in left:
        with pyBigWig.open(str(tmp_path / name)) as handle:
            assert handle.chroms() == LARGE


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


@pytest.mark.parametrize("span", [7, 1 << 22])
@pytest.mark.parametrize("bins", [range(0, 1), range(3, 6), range(8, 10), range(10)], ids=str)
def test_some_bins_are_a_part_of_all(tmp_path: Path, monkeypatch, span: int, bins: range) -> None:
    """The last bin has 5 bp; entries begin and end within bins, and reach over the edges of what is read."""
    monkeypatch.setattr(bigwig, "SPAN", span)
    rows = [("chrI", 2, 9, 1.5), ("chrI", 9, 34, 0.25), ("chrI", 41, 88, 3.0), ("chrI", 92, 95, 2.0)]
    path = entries(tmp_path / "x.bw", SIZES, rows)
    whole = read_chromosome_bins(path, NAMES, "chrI", 95, 10)
    found = read_chromosome_bins(path, NAMES, "chrI", 95, 10, bins)
    assert found.dtype == np.float32 and whole.any()
    np.testing.assert_allclose(found, whole[bins.start : bins.stop], rtol=1e-6)
    assert not read_chromosome_bins(path, NAMES, "chrIII", 20, 10, range(1, 2)).any()


def test_some_bins_are_checked_as_all_are(tmp_path: Path) -> None:
    for size in (90, 96):
        other = entries(tmp_path / "other.bw", {"chrI": size}, [("chrI", 0, 9, 1.0)])
        with pytest.raises(InputError, match=f"other.bw: chrI has {size} bp in the file and 95 bp in the genome"):
            read_chromosome_bins(other, NAMES, "chrI", 95, 10, range(9, 10))
    for value in (float("inf"), float("nan")):
        path = entries(tmp_path / "x.bw", SIZES, [("chrI", 0, 10, 1.0), ("chrI", 10, 20, value)])
        with pytest.raises(InputError, match=f"x.bw: value {value} at chrI:10 is not a finite number"):
            read_chromosome_bins(path, NAMES, "chrI", 95, 10, range(1, 3))
    other = entries(tmp_path / "other.bw", {"chr21": 95}, [("chr21", 0, 9, 1.0)])
    with pytest.raises(InputError, match="the file has: chr21; the genome has: chrI"):
        read_chromosome_bins(other, NAMES, "chrI", 95, 10, range(1, 3))


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
    np.testing.assert_allclose(found, values, rtol=1e-6)
