"""Bins of regions: the DREAM challenge's labels and values, counted base by base."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.evaluation.loci import DREAM_BINS, MODEL_BINS, dream_starts, loci_of, to_dream_bins
from tfbind.genome.intervals import bin_count
from tfbind.genome.regions import Region
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND

SIZE, BIN = 3000, 64


@dataclass
class World:
    """What `loci_of` reads of targets and a reference."""

    peaks: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    experiments: list[dict[str, str]]
    black: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    unknown: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    def n_runs(self, _):
        return self.unknown

    def blacklist(self, _):
        return self.black


def world(spans, **changes):
    """Two experiments, the peaks of the first given, those of the second one none."""
    peaks = np.array([[0, *span] for span in sorted(spans)], dtype=np.int64).reshape(-1, 3)
    labels = np.zeros((bin_count(SIZE, BIN), 2), np.uint8)
    return World({"chr1": peaks}, {"chr1": labels}, [{"name": "A"}, {"name": "B"}], **changes)


def loci(spans, *regions, **changes):
    made = world(spans, **changes)
    return loci_of(made, made, regions or (Region("chr1", 0, SIZE),), BIN)


spans = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(1, 400)).map(lambda s: (s[0], min(s[0] + s[1], SIZE))),
    max_size=6,
)


@given(spans)
@settings(max_examples=40)
def test_a_bin_is_bound_where_peaks_cover_half_of_it_and_ambiguous_where_less(peaks):
    covered = np.zeros(SIZE, bool)
    for start, end in peaks:
        covered[start:end] = True
    found = loci(peaks)[DREAM_BINS]
    assert found.position.tolist() == list(range(0, SIZE - 199, 50))
    for position, label in zip(found.position, found.labels[:, 0], strict=True):
        count = covered[position : position + 200].sum()
        assert label == (BOUND if count >= 100 else LEFT_OUT if count else UNBOUND)
    assert (found.labels[:, 1] == UNBOUND).all()
    np.testing.assert_allclose(
        found.covered({"chr1": np.array(peaks, np.int64).reshape(-1, 2)}),
        [covered[position : position + 200].mean() for position in found.position],
        rtol=1e-6,
    )


def test_bins_in_n_and_blacklisted_ones_are_left_out():
    unknown, black = np.array([[500, 620]]), np.array([[1399, 1400]])
    found = loci([(0, SIZE)], unknown=unknown, black=black)[DREAM_BINS]
    out = found.position[(found.labels == LEFT_OUT).all(1)].tolist()
    # More than 100 of 200 bp in N; any overlap with the blacklist.
    assert out == [450, 500, 1200, 1250, 1300, 1350]
    assert (found.labels[:, 0] != LEFT_OUT).sum() == len(found) - len(out)


def test_bins_lie_within_their_region_and_regions_follow_each_other():
    regions = Region("chr1", 64 * 3, 64 * 10), Region("chr1", 64 * 20, SIZE)
    both = loci([], *regions)
    dream, own = both[DREAM_BINS], both[MODEL_BINS]
    assert dream.position[dream.of_region(0)].tolist() == [200, 250, 300, 350, 400]
    assert dream.position[dream.of_region(1)].tolist() == list(range(1300, 2801, 50))
    assert own.position[own.of_region(0)].tolist() == [64 * bin for bin in range(3, 10)]
    assert own.position[own.of_region(1)].tolist() == [64 * bin for bin in range(20, 47)]
    assert len(own.labels) == len(own) == 7 + 27
    assert dream_starts(10, 200).tolist() == []


def test_blocks_are_counted_along_a_chromosome_and_shared_by_both_kinds():
    mega = 1_000_000
    regions = (Region("chr1", 0, 2 * mega + 64 * 4), Region("chr2", mega - 64 * 5, mega + 64 * 10))
    peaks = {chrom: np.zeros((0, 3), np.int64) for chrom in ("chr1", "chr2")}
    labels = {chrom: np.zeros((40_000, 1), np.uint8) for chrom in peaks}
    made = World(peaks, labels, [{"name": "A"}])
    both = loci_of(made, made, regions, BIN)
    for each in both.values():
        chrom = np.repeat([0, 1], np.diff(each.starts))
        for place, block in (((0, 0), 0), ((0, 1), 1), ((0, 2), 2), ((1, 0), 3), ((1, 1), 4)):
            inside = (chrom == place[0]) & (each.position // mega == place[1])
            assert inside.any() and (each.blocks[inside] == block).all()


@pytest.mark.parametrize("bin", [16, 64, 128, 256])
@pytest.mark.parametrize("first", [0, 3])
def test_values_are_carried_by_overlap(bin, first):
    start, end = first * bin, 3000
    values = np.random.default_rng(bin).random(bin_count(end - start, bin)).astype(np.float32)
    bases = np.repeat(values, bin)[: end - start]
    starts = dream_starts(start, end)
    mean = to_dream_bins(values, bin, start=start, end=end)
    np.testing.assert_allclose(mean, [bases[s - start : s - start + 200].mean() for s in starts], rtol=1e-4)

    most = to_dream_bins(values, bin, start=start, end=end, rule="max")
    for at, value in zip(starts, most, strict=True):
        overlap = np.bincount((np.arange(at, at + 200) - start) // bin, minlength=len(values))
        assert value == values[2 * overlap >= min(bin, 200)].max()

    logits = np.log(bases / (1 - bases))
    logit = to_dream_bins(values, bin, start=start, end=end, rule="logit")
    expected = [1 / (1 + np.exp(-logits[s - start : s - start + 200].mean())) for s in starts]
    np.testing.assert_allclose(logit, expected, rtol=1e-3)


@pytest.mark.parametrize("rule", ["mean", "max", "logit"])
def test_a_value_that_is_the_same_everywhere_stays_so(rule):
    found = to_dream_bins(np.full(47, 0.25, np.float32), BIN, start=0, end=SIZE, rule=rule)
    np.testing.assert_allclose(found, 0.25, rtol=1e-5)


def test_values_are_carried_region_by_region():
    regions = Region("chr1", 0, 64 * 10), Region("chr1", 64 * 20, SIZE)
    found = loci([], *regions)
    values = np.arange(10 + 27, dtype=np.float32)
    both = found[DREAM_BINS].carried(values, BIN, "mean")
    parts = [
        to_dream_bins(values[:10], BIN, start=0, end=64 * 10),
        to_dream_bins(values[10:], BIN, start=64 * 20, end=SIZE),
    ]
    assert both.tolist() == np.concatenate(parts).tolist()
    assert found[MODEL_BINS].carried(values, BIN, "max").tolist() == values.tolist()
