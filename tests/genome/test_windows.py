"""Windows cover the genome, each bin in one core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.genome.windows import Window, shard, tile


@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    bin=st.integers(1, 40),
    core_bins=st.integers(1, 12),
    flank_bins=st.integers(0, 6),
)
def test_every_bin_is_in_one_core(sizes: list[int], bin: int, core_bins: int, flank_bins: int) -> None:
    core, length = core_bins * bin, (core_bins + 2 * flank_bins) * bin
    genome = {f"c{i}": size for i, size in enumerate([*sizes, length])}
    windows = tile(genome, length=length, core=core, bin=bin)
    for chrom, size in genome.items():
        seen = np.zeros(size, dtype=int)
        for window in windows:
            assert window.end - window.start == length
            assert window.start <= window.core_start < window.core_end <= window.end
            assert window.core_start % bin == 0 and window.core_start - window.start == flank_bins * bin
            if window.chrom == chrom:
                assert window.core_end <= size
                assert (window.core_end - window.core_start) % bin == 0 or window.core_end == size
                seen[window.core_start : window.core_end] += 1
        assert (seen == 1).all()


def test_windows_of_a_short_chromosome_reach_over_its_ends() -> None:
    windows = tile({"a": 8, "b": 3}, length=8, core=4, bin=2)
    assert windows == [Window("a", -2, 6, 0, 4), Window("a", 2, 10, 4, 8), Window("b", -2, 6, 0, 3)]


@given(
    core=st.integers(1, 10),
    cuts=st.lists(st.integers(0, 60), max_size=8, unique=True).map(sorted),
)
def test_cores_of_n_alone_are_left_out(core: int, cuts: list[int]) -> None:
    runs = np.array(cuts[: len(cuts) // 2 * 2], dtype=np.int64).reshape(-1, 2)
    unknown = np.zeros(60, dtype=bool)
    for start, end in runs.tolist():
        unknown[start:end] = True
    windows = tile({"a": 60}, length=core, core=core, bin=1, n_runs=lambda _: runs)
    expected = [s for s in range(0, 60, core) if not unknown[s : s + core].all()]
    assert [window.core_start for window in windows] == expected


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


@given(count=st.integers(0, 50), shards=st.integers(1, 20))
def test_shards_are_consecutive_and_even(count: int, shards: int) -> None:
    windows = [Window("a", i, i + 1, i, i + 1) for i in range(count)]
    parts = shard(windows, shards)
    assert [window for part in parts for window in part] == windows
    assert len(parts) == min(shards, count)
    lengths = [len(part) for part in parts]
    assert not lengths or (min(lengths) >= 1 and max(lengths) - min(lengths) <= 1)


def test_no_shards_is_an_error() -> None:
    with pytest.raises(ValueError, match="below 1"):
        shard([], 0)
