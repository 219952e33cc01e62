"""Windows cover the genome, each bin in one core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.genome.windows import WindowStretch, shard, tile, windows_a_stretch


@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    bin=st.integers(1, 40),
    core_bins=st.integers(1, 12),
    flank_bins=st.integers(0, 6),
)
def test_every_bin_is_in_one_core(sizes: list[int], bin: int, core_bins: int, flank_bins: int) -> None:
    core, length = core_bins * bin, (core_bins + 2 * flank_bins) * bin
    genome = {f"c{i}": size for i, size in enumerate([*sizes, length])}
    stretches = tile(genome, length=length, core=core, bin=bin)
    for chrom, size in genome.items():
        seen = np.zeros(size, dtype=int)
        for stretch in stretches:
            assert stretch.end - stretch.start == length + (stretch.windows - 1) * core
            assert stretch.core_start % core == 0 and stretch.core_start - stretch.start == flank_bins * bin
            if stretch.chrom == chrom:
                assert stretch.core_start < stretch.core_end <= size
                assert (stretch.core_end - stretch.core_start) % core == 0 or stretch.core_end == size
                seen[stretch.core_start : stretch.core_end] += 1
        assert (seen == 1).all()


def test_windows_of_a_short_chromosome_reach_over_its_ends() -> None:
    stretches = tile({"a": 8, "b": 3}, length=8, core=4, bin=2)
    assert stretches == [WindowStretch("a", 0, 8, 8, 4), WindowStretch("b", 0, 3, 8, 4)]
    assert [(each.start, each.end, each.windows) for each in stretches] == [(-2, 10, 2), (-2, 6, 1)]


@pytest.mark.parametrize(("core", "windows"), [(114_688, 8), (6144, 10), (3072, 21), (64, 1024)])
def test_stretches_are_long_enough_to_share_and_short_enough_for_memory(core, windows) -> None:
    assert windows_a_stretch(core) == windows
    stretches = tile({"a": 3 * windows * core + 1, "b": core}, length=core, core=core, bin=1)
    assert [each.windows for each in stretches] == [windows, windows, windows, 1, 1]
    assert [each.core_start for each in stretches] == [
        0,
        windows * core,
        2 * windows * core,
        3 * windows * core,
        0,
    ]


def test_a_stretch_breaks_where_windows_are_left_out_and_the_next_stays_where_it_was() -> None:
    """So what is embedded together is a matter of the place on the chromosome alone."""
    core = 10_000  # 8 windows a stretch
    runs = np.array([[30_000, 50_000], [85_000, 90_000]])
    stretches = tile({"a": 200_000}, length=core, core=core, bin=1, n_runs=lambda _: runs)
    assert [(each.core_start // core, each.windows) for each in stretches] == [(0, 3), (5, 3), (8, 8), (16, 4)]


@given(
    core=st.integers(1, 10),
    cuts=st.lists(st.integers(0, 60), max_size=8, unique=True).map(sorted),
)
def test_cores_of_n_alone_are_left_out(core: int, cuts: list[int]) -> None:
    runs = np.array(cuts[: len(cuts) // 2 * 2], dtype=np.int64).reshape(-1, 2)
    unknown = np.zeros(60, dtype=bool)
    for start, end in runs.tolist():
        unknown[start:end] = True
    stretches = tile({"a": 60}, length=core, core=core, bin=1, n_runs=lambda _: runs)
    expected = [s for s in range(0, 60, core) if not unknown[s : s + core].all()]
    starts = [start for each in stretches for start in range(each.core_start, each.core_end, core)]
    assert starts == expected


@pytest.mark.parametrize(
    ("length", "core", "bin", "problem"),
    [
        (64, 96, 16, "'windows.core': a core of 96 bp is longer"),
        (60, 32, 16, "'windows.length': 60 bp is no multiple"),
        (64, 40, 16, "'windows.core': 40 bp is no multiple"),
        (64, 48, 16, "'windows.core': the flanks"),
        (2048, 1024, 16, "'windows.length': a window of 2048 bp is longer than every chromosome .*1000"),
        (0, 32, 16, "'windows.length': 0 bp"),
        (64, 32, 0, "'windows.bin': 0 bp"),
    ],
)
def test_lengths_that_do_not_fit(length: int, core: int, bin: int, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        tile({"a": 1000, "b": 10}, length=length, core=core, bin=bin)
    assert "mend" in str(caught.value)


@given(windows=st.lists(st.integers(1, 8), max_size=50), shards=st.integers(1, 20))
def test_shards_are_consecutive_and_even(windows: list[int], shards: int) -> None:
    stretches = [WindowStretch("a", 100 * i, 100 * i + count, 1, 1) for i, count in enumerate(windows)]
    parts = shard(stretches, shards)
    assert [stretch for part in parts for stretch in part] == stretches
    assert len(parts) == min(shards, len(windows)) and all(parts)
    # Each edge is as near as a stretch allows, unless a list would be empty.
    loads = [sum(stretch.windows for stretch in part) for part in parts]
    least_stretches = min(map(len, parts), default=2)
    assert not loads or least_stretches == 1 or max(loads) <= sum(windows) / len(parts) + 8


def test_no_shards_is_an_error() -> None:
    with pytest.raises(ValueError, match="below 1"):
        shard([], 0)
