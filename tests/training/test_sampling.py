from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.genome.regions import Region
from tfbind.model.data import BOUND, LEFT_OUT, N_CODE, GenomeData, reverse_complement
from tfbind.training.sampling import Draw, WindowSampler

BIN, BINS = 4, 5


def genome(sizes: dict[str, int], bound: dict[str, list[tuple[int, int]]], experiments: int = 2) -> GenomeData:
    """Bases at random; accessibility and labels say where a bin lies."""
    rng = np.random.default_rng(0)
    codes, accessibility, labels = {}, {}, {}
    for chrom, bins in sizes.items():
        codes[chrom] = rng.integers(0, 4, bins * BIN).astype(np.uint8)
        accessibility[chrom] = np.arange(1, bins + 1, dtype=np.float32)[:, None]
        labels[chrom] = np.zeros((bins, experiments), dtype=np.uint8)
        for bin, experiment in bound.get(chrom, []):
            labels[chrom][bin, experiment] = BOUND
    return GenomeData(BIN, codes, accessibility, np.array([True]), labels)


PLACES = {"one": [(0, 0), (3, 0), (19, 0), (7, 1)], "two": [(5, 1)], "held": [(2, 0)]}


@pytest.fixture
def data() -> GenomeData:
    return genome({"one": 20, "two": 7, "held": 9}, PLACES)


def regions(data, *chromosomes):
    """Whole chromosomes."""
    return [Region(chrom, 0, len(data.codes[chrom])) for chrom in chromosomes]


def whole(chrom, data):
    return regions(data, chrom)[0]


def sampler(data, peak_fraction=0.5, experiments=(0, 1), seed=3, chromosomes=("one", "two"), **how):
    return WindowSampler(
        data, regions(data, *chromosomes), experiments, bins=BINS, peak_fraction=peak_fraction, seed=seed, **how
    )


def drawn(found: WindowSampler, count: int) -> list[Draw]:
    return [draw for step in range(count // 50) for draw in found.draw(step, 50)]


def covered(draws: list[Draw], data: GenomeData) -> dict[str, np.ndarray]:
    """How often each bin was seen, by the weights of the windows."""
    seen = {chrom: np.zeros(data.bins(chrom)) for chrom in data.codes}
    for draw in draws:
        low, high = max(draw.first, 0), min(draw.first + BINS, data.bins(draw.chrom))
        assert low < high, "a window covers at least a bin of its chromosome"
        seen[draw.chrom][low:high] += draw.weight
    return seen


@pytest.mark.parametrize("peak_fraction", [0.0, 0.5, 0.9])
def test_weighted_windows_see_every_bin_equally_often(data, peak_fraction):
    seen = covered(drawn(sampler(data, peak_fraction), 40_000), data)
    everywhere = np.concatenate([seen["one"], seen["two"]])
    # 27 bins, 35 starts: each bin is in 5 of 35 windows.
    np.testing.assert_allclose(everywhere / 40_000, BINS / 35, rtol=0.12)
    assert not seen["held"].any()


def exact_density(found: WindowSampler, data: GenomeData, experiments) -> dict[tuple[str, int], float]:
    """Probability of each window, enumerated: (chromosome, first bin) -> probability."""
    chroms = [region.chrom for region in found.regions]
    starts = [(chrom, first) for chrom in chroms for first in range(1 - BINS, data.bins(chrom))]
    probability = dict.fromkeys(starts, found.uniform_fraction / len(starts))
    bound = [
        [(chrom, bin) for chrom in chroms for bin in np.flatnonzero(data.labels[chrom][:, e] == BOUND)]
        for e in experiments
    ]
    bound = [places for places in bound if places]
    for places in bound:
        for chrom, bin in places:
            for shift in range(BINS):
                share = (1 - found.uniform_fraction) / (len(bound) * len(places) * BINS)
                probability[chrom, bin - shift] += share
    return probability


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=8),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=4),
    st.sampled_from([0.0, 0.3, 0.99]),
)
def test_weights_undo_the_preference_for_peaks_exactly(first, second, peak_fraction):
    data = genome({"one": 9, "two": 3}, {"one": first, "two": second}, experiments=3)
    found = sampler(data, peak_fraction, experiments=(0, 2))
    probability = exact_density(found, data, (0, 2))
    assert sum(probability.values()) == pytest.approx(1)
    for draw in drawn(found, 100):
        expected = 1 / len(probability) / probability[draw.chrom, draw.first]
        assert draw.weight == pytest.approx(expected, rel=1e-9)


def test_windows_around_peaks_hold_peaks_at_every_place(data):
    draws = drawn(sampler(data, peak_fraction=1.0), 3000)
    places = {chrom: {bin for bin, _ in bound} for chrom, bound in PLACES.items()}
    offsets = {}
    for draw in draws:
        inside = [bin - draw.first for bin in places[draw.chrom] if 0 <= bin - draw.first < BINS]
        assert inside
        if draw.chrom == "two":
            offsets[inside[0]] = offsets.get(inside[0], 0) + 1
    assert sorted(offsets) == list(range(BINS))
    assert max(offsets.values()) < 2 * min(offsets.values())
    assert sum(offsets.values()) / 3000 == pytest.approx(0.25, abs=0.05), "each experiment counts alike"


def test_every_window_can_be_drawn_and_both_strands(data):
    for peak_fraction in (0.0, 0.5):
        draws = drawn(sampler(data, peak_fraction), 5000)
        assert {(draw.chrom, draw.first) for draw in draws} == {
            (chrom, first) for chrom, bins in (("one", 20), ("two", 7)) for first in range(1 - BINS, bins)
        }
        assert np.mean([draw.flipped for draw in draws]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("peak_fraction", [0.0, 0.7, 1.0])
def test_without_peaks_windows_are_uniform(peak_fraction):
    data = genome({"one": 20, "two": 7}, {})
    assert {draw.weight for draw in drawn(sampler(data, peak_fraction), 200)} == {1.0}


def test_an_experiment_without_peaks_does_not_disturb_the_others(data):
    empty = replace(data, labels={c: np.pad(v, ((0, 0), (0, 1))) for c, v in data.labels.items()})
    assert sampler(empty, experiments=(0, 1, 2)).draw(0, 20) == sampler(data).draw(0, 20)


def test_only_peaks_of_experiments_that_are_used_attract(data):
    draws = drawn(sampler(data, 1.0, experiments=(1,)), 500)
    assert all(
        any(draw.first <= bin < draw.first + BINS for bin, e in PLACES[draw.chrom] if e == 1) for draw in draws
    )


def test_a_step_draws_the_same_whenever_it_is_drawn(data):
    steps = [sampler(data).draw(step, 4) for step in range(20)]
    again = sampler(data)
    for step in (13, 2, 19, 2):
        assert again.draw(step, 4) == steps[step]
    assert len({tuple(draws) for draws in steps}) == 20
    assert sampler(data, seed=4).draw(2, 4) != steps[2]
    one, two = sampler(data).batch(7, 3), sampler(data).batch(7, 3)
    for name in ("codes", "accessibility", "labels", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_bases_signal_and_labels_of_a_window_belong_together_flipped_or_not(data):
    """What a window holds is looked for in the genome: labels follow from the bases, as signal does."""
    found = sampler(data)
    flipped = set()
    for step in range(30):
        batch, draws = found.batch(step, 4), found.draw(step, 4)
        assert batch.codes.shape == (4, BINS * BIN)
        assert batch.accessibility.shape == (4, BINS, 1)
        assert batch.labels.shape == (4, BINS, 2)
        assert batch.weights.dtype == np.float32
        for row, draw in enumerate(draws):
            flipped.add(draw.flipped)
            bases = batch.codes[row].reshape(BINS, BIN)
            for bin in range(BINS):
                where = int(batch.accessibility[row, bin, 0]) - 1
                if where < 0:
                    assert (bases[bin] == N_CODE).all()
                    assert (batch.labels[row, bin] == LEFT_OUT).all()
                    continue
                truth = data.codes[draw.chrom][where * BIN : (where + 1) * BIN]
                expected = 3 - truth[::-1] if draw.flipped else truth
                np.testing.assert_array_equal(bases[bin], expected)
                np.testing.assert_array_equal(batch.labels[row, bin], data.labels[draw.chrom][where])
            order = np.diff(batch.accessibility[row, batch.accessibility[row, :, 0] > 0, 0])
            assert (order == (-1 if draw.flipped else 1)).all()
    assert flipped == {True, False}


def test_a_window_longer_than_its_chromosome_is_padded(data):
    draws = [(step, draw) for step in range(60) for draw in sampler(data, 0.0).draw(step, 1) if draw.first < 0]
    step, draw = draws[0]
    batch = sampler(data, 0.0).batch(step, 1)
    outside = -draw.first
    padding = batch.labels[0, -outside:] if draw.flipped else batch.labels[0, :outside]
    assert (padding == LEFT_OUT).all()
    tiny = genome({"one": 2}, {"one": [(1, 0)]})
    assert WindowSampler(tiny, regions(tiny, "one"), [0], bins=BINS, peak_fraction=0.5, seed=0).batch(
        0, 8
    ).codes.shape == (
        8,
        20,
    )


def test_accessibility_is_read_around_a_window_too_flipped_with_it(data):
    settings = {"bins": BINS, "peak_fraction": 0.0, "seed": 1}
    chromosomes = list(data.codes)
    plain = WindowSampler(data, regions(data, *chromosomes), [0, 1], **settings)
    wide = WindowSampler(data, regions(data, *chromosomes), [0, 1], **settings, context_bins=3)
    for step in range(20):
        narrow, around = plain.batch(step, 4), wide.batch(step, 4)
        np.testing.assert_array_equal(around.accessibility[:, 3:-3], narrow.accessibility)
        for row, draw in enumerate(wide.draw(step, 4)):
            signal = data.window_accessibility(draw.chrom, draw.first - 3, BINS + 6)
            np.testing.assert_array_equal(around.accessibility[row], signal[::-1] if draw.flipped else signal)


# What is measured goes with the sequence.


@st.composite
def measured_genomes(draw):
    """Two chromosomes, the second of a length that is no multiple of the bin; everything at random."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    arrays = {name: {} for name in ("codes", "accessibility", "labels", "signal", "score")}
    for chrom, size in (("one", 9 * BIN), ("two", 4 * BIN - draw(st.integers(0, BIN - 1)))):
        bins = -(-size // BIN)
        arrays["codes"][chrom] = rng.integers(0, 5, size).astype(np.uint8)
        arrays["accessibility"][chrom] = rng.random((bins, 1), dtype=np.float32)
        arrays["labels"][chrom] = rng.integers(0, 3, (bins, 2)).astype(np.uint8)
        for name in ("signal", "score"):
            values = rng.random((bins, 2), dtype=np.float32)
            values[rng.random((bins, 2)) < 0.2] = np.nan
            arrays[name][chrom] = values
    return GenomeData(BIN, has_track=np.array([True]), **arrays)


def other_strand(data: GenomeData) -> GenomeData:
    """The genome of the reverse complement, its bins where they were: the last may begin with N."""
    whole = {
        c: np.pad(v, (0, data.bins(c) * BIN - len(v)), constant_values=N_CODE) for c, v in data.codes.items()
    }
    turned = {
        name: {chrom: array[::-1] for chrom, array in getattr(data, name).items()}
        for name in ("accessibility", "labels", "signal", "score")
    }
    return replace(data, codes={c: reverse_complement(v) for c, v in whole.items()}, **turned)


@settings(max_examples=100)
@given(
    measured_genomes(),
    st.sampled_from(["one", "two"]),
    st.integers(-BINS - 1, 10),
    st.integers(0, 2),
    st.integers(0, 3),
)
def test_a_flipped_window_is_what_is_read_from_the_other_strand(data, chrom, first, crop, context_bins):
    settings = {"bins": BINS, "peak_fraction": 0.5, "seed": 0, "crop": crop, "context_bins": context_bins}
    found = WindowSampler(data, regions(data, "one", "two"), [0, 1], **settings)
    turned = WindowSampler(other_strand(data), regions(data, "one", "two"), [0, 1], **settings)
    there = data.bins(chrom) - first - BINS
    for flipped in (True, False):
        one = found.read(Draw(whole(chrom, data), first, flipped, 1.0))
        other = turned.read(Draw(whole(chrom, turned.data), there, not flipped, 1.0))
        assert one.labels.shape == one.signal.shape == one.score.shape == (BINS - 2 * crop, 2)
        assert one.codes.shape == (BINS * BIN,)
        assert one.accessibility.shape == (BINS + 2 * context_bins, 1)
        for field in fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), field.name)


@settings(max_examples=50)
@given(measured_genomes(), st.integers(-5, 9), st.integers(-4, 4), st.booleans())
def test_a_shift_moves_everything_alike(data, first, shift, flipped):
    found = WindowSampler(data, regions(data, "one", "two"), [0, 1], bins=BINS, peak_fraction=0.0, seed=0)
    here, moved = (found.read(Draw(whole("one", data), at, flipped, 1.0)) for at in (first, first + shift))
    shift = -shift if flipped else shift
    keep, other = slice(max(shift, 0), BINS + min(shift, 0)), slice(max(-shift, 0), BINS + min(-shift, 0))
    for name in ("accessibility", "labels", "signal", "score"):
        np.testing.assert_array_equal(getattr(here, name)[keep], getattr(moved, name)[other], name)
    bases = [window.codes.reshape(BINS, BIN) for window in (here, moved)]
    np.testing.assert_array_equal(bases[0][keep], bases[1][other])


@settings(max_examples=50)
@given(measured_genomes(), st.integers(-5, 9), st.integers(1, 2), st.booleans())
def test_a_crop_takes_edges_off_what_was_measured_and_not_off_the_sequence(data, first, crop, flipped):
    settings = {"bins": BINS, "peak_fraction": 0.0, "seed": 0}
    full = WindowSampler(data, regions(data, "one"), [0, 1], **settings).read(
        Draw(whole("one", data), first, flipped, 1.0)
    )
    found = WindowSampler(data, regions(data, "one"), [0, 1], **settings, crop=crop).read(
        Draw(whole("one", data), first, flipped, 1.0)
    )
    for name in ("labels", "signal", "score"):
        np.testing.assert_array_equal(getattr(found, name), getattr(full, name)[crop:-crop], name)
    np.testing.assert_array_equal(found.codes, full.codes)
    np.testing.assert_array_equal(found.accessibility, full.accessibility)


@pytest.mark.parametrize("peak_fraction", [0.0, 0.5, 0.9])
def test_with_a_crop_too_every_bin_counts_equally_often(data, peak_fraction):
    found = WindowSampler(
        data, regions(data, "one", "two"), [0, 1], bins=7, crop=2, peak_fraction=peak_fraction, seed=1
    )
    seen = {chrom: np.zeros(data.bins(chrom)) for chrom in ("one", "two")}
    near_peaks = 0
    for draw in drawn(found, 20_000):
        low, high = max(draw.first + 2, 0), min(draw.first + 5, data.bins(draw.chrom))
        assert low < high, "a window counts at least a bin of its chromosome"
        seen[draw.chrom][low:high] += draw.weight
        near_peaks += any(low <= bin < high for bin, _ in PLACES[draw.chrom])
    np.testing.assert_allclose(np.concatenate(list(seen.values())) / 20_000, 3 / 31, rtol=0.15)
    assert near_peaks / 20_000 >= peak_fraction


def test_a_crop_that_leaves_nothing_is_refused(data):
    with pytest.raises(ValueError, match="leaves none"):
        WindowSampler(data, regions(data, "one"), [0], bins=4, crop=2, peak_fraction=0.5, seed=0)


def test_a_batch_holds_signal_and_scores_only_where_there_are_some(data):
    batch = sampler(data).batch(0, 3)
    assert batch.signal is None
    assert batch.score is None
    signal = {chrom: values.astype(np.float32) for chrom, values in data.labels.items()}
    batch = sampler(replace(data, signal=signal)).batch(0, 3)
    assert batch.score is None
    np.testing.assert_array_equal(batch.signal, np.where(batch.labels == LEFT_OUT, np.nan, batch.labels))
    assert batch.signal.dtype == np.float32


# Windows on a grid.


@pytest.mark.parametrize(("bins", "crop", "spacing"), [(6, 0, 6), (6, 0, 2), (8, 1, 3), (6, 0, 1)])
@pytest.mark.parametrize("peak_fraction", [0.0, 0.6, 1.0])
def test_starts_lie_apart_and_weights_undo_the_preference_for_peaks_exactly(
    data, bins, crop, spacing, peak_fraction
):
    found = WindowSampler(
        data,
        regions(data, "one", "two"),
        [0, 1],
        bins=bins,
        crop=crop,
        spacing=spacing,
        peak_fraction=peak_fraction,
        seed=1,
    )
    counted = bins - 2 * crop
    # First counted bins, in each chromosome multiples of the spacing, of all windows that count a bin.
    starts = [
        (chrom, first)
        for chrom in ("one", "two")
        for first in range(1 - counted, data.bins(chrom))
        if first % spacing == 0
    ]
    uniform = dict.fromkeys(starts, 1 / len(starts))
    peaks = dict.fromkeys(starts, 0.0)
    bound = [
        [(chrom, bin) for chrom, its in PLACES.items() for bin, e in its if e == column] for column in (0, 1)
    ]
    bound = [[place for place in places if place[0] in ("one", "two")] for places in bound]
    for places in bound:
        for chrom, bin in places:
            around = [start for start in starts if start[0] == chrom and start[1] <= bin < start[1] + counted]
            assert len(around) == counted // spacing
            for start in around:
                peaks[start] += 1 / (len(bound) * len(places) * len(around))
    assert sum(peaks.values()) == pytest.approx(1)
    draws = drawn(found, 2000)
    assert {(draw.chrom, draw.first + crop) for draw in draws} <= set(starts)
    for draw in draws:
        start = draw.chrom, draw.first + crop
        mixed = (1 - peak_fraction) * uniform[start] + peak_fraction * peaks[start]
        assert draw.weight == pytest.approx(uniform[start] / mixed, rel=1e-9)
    if peak_fraction < 1:
        assert {(draw.chrom, draw.first + crop) for draw in draws} == set(starts)


@pytest.mark.parametrize("spacing", [1, 3])
def test_of_windows_apart_too_each_bin_counts_equally_often(data, spacing):
    found = WindowSampler(data, regions(data, "one", "two"), [], bins=3, spacing=spacing, peak_fraction=0, seed=1)
    seen = {chrom: np.zeros(data.bins(chrom)) for chrom in ("one", "two")}
    for chrom, first in {(draw.chrom, draw.first) for draw in drawn(found, 5000)}:
        seen[chrom][max(first, 0) : first + 3] += 1
    assert set(np.concatenate(list(seen.values()))) == {3 // spacing}


def test_a_spacing_that_would_count_some_bins_more_often_is_refused(data):
    with pytest.raises(ValueError, match="no multiple of a spacing of 4"):
        WindowSampler(data, regions(data, "one"), [], bins=6, spacing=4, peak_fraction=0, seed=1)


# Regions.


@settings(max_examples=40)
@given(
    st.integers(0, 6), st.integers(1, 9), st.integers(0, 9), st.integers(1, 5), st.integers(0, 2), st.booleans()
)
def test_each_bin_of_the_regions_counts_equally_often_and_no_other_does(low, length, gap, second, crop, dense):
    """All windows that may be drawn, each as often as its weight and the density of drawing it say."""
    data = genome({"one": 30}, {"one": [(bin, 0) for bin in range(30)]}, experiments=1)
    ends = [low, low + length, low + length + gap, low + length + gap + second]
    places = [Region("one", ends[0] * BIN, ends[1] * BIN), Region("one", ends[2] * BIN, ends[3] * BIN)]
    bins = 3 + 2 * crop
    found = WindowSampler(data, places, [0], bins=bins, crop=crop, peak_fraction=0.9 if dense else 0.0, seed=0)
    counted = np.zeros(30)
    draws = {(draw.region, draw.first): draw for draw in drawn(found, 2000)}
    assert len(draws) == sum(len(place.bins(BIN)) + 2 for place in places)
    for draw in draws.values():
        window = found.read(replace(draw, flipped=False))
        measured = np.flatnonzero(window.labels[:, 0] != LEFT_OUT) + draw.first + crop
        assert len(measured)
        counted[measured] += 1
        assert window.codes.tolist() == data.window_codes("one", draw.first, bins).tolist(), "real DNA all around"
    inside = np.zeros(30, dtype=bool)
    for place in places:
        inside[place.bins(BIN)] = True
    assert set(counted[inside]) == {3.0}
    assert not counted[~inside].any()


def test_only_peaks_in_the_regions_attract_and_weights_undo_it(data):
    places = [Region("one", 2 * BIN, 9 * BIN), Region("two", 0, 3 * BIN)]
    found = WindowSampler(data, places, [0, 1], bins=BINS, peak_fraction=0.6, seed=2)
    seen = {chrom: np.zeros(data.bins(chrom)) for chrom in ("one", "two")}
    for draw in drawn(found, 30_000):
        bins = draw.region.bins(BIN)
        seen[draw.chrom][max(draw.first, bins.start) : min(draw.first + BINS, bins.stop)] += draw.weight
    inside = np.concatenate([seen["one"][2:9], seen["two"][:3]])
    # 11 and 7 starts.
    np.testing.assert_allclose(inside / 30_000, BINS / 18, rtol=0.1)
    # Bound bins at 19 and, of the second, at 5 lie outside.
    assert sorted(map(len, found.kinds[0].starts)) == [1, 1]


def test_signal_and_scores_outside_a_region_are_not_seen(data):
    signal = {chrom: values.astype(np.float32) for chrom, values in data.labels.items()}
    found = WindowSampler(
        replace(data, signal=signal, score=signal),
        [Region("one", 3 * BIN, 5 * BIN)],
        [0],
        bins=BINS,
        peak_fraction=0,
        seed=0,
    )
    window = found.read(Draw(found.regions[0], 2, False, 1.0))
    for array in (window.signal, window.score):
        assert np.isnan(array[[0, 3, 4]]).all() and np.isfinite(array[1:3]).all()
    turned = found.read(Draw(found.regions[0], 2, True, 1.0))
    np.testing.assert_array_equal(turned.labels, window.labels[::-1])


@pytest.mark.parametrize(
    "how", [{"peak_draw": "bin"}, {"open_fraction": 0.4}, {"peak_draw": "bin", "open_fraction": 0.3}]
)
def test_however_windows_are_drawn_every_bin_counts_alike(data, how):
    seen = covered(drawn(sampler(data, 0.5, **how), 40_000), data)
    np.testing.assert_allclose(np.concatenate([seen["one"], seen["two"]]) / 40_000, BINS / 35, rtol=0.12)


def test_open_bins_are_drawn(data):
    """Accessibility is the bin's number, from 1: bins from the fourth on are open."""
    draws = drawn(sampler(data, peak_fraction=0.0, open_fraction=1.0), 2000)
    assert all(draw.first + BINS > 3 for draw in draws)
    assert {draw.chrom for draw in draws} == {"one", "two"}


def test_open_bins_where_none_is_open_are_an_error_with_a_mend(data):
    closed = replace(data, accessibility={chrom: each / 100 for chrom, each in data.accessibility.items()})
    with pytest.raises(InputError, match=r"'training.open_fraction': no bin of the training regions is open"):
        sampler(closed, open_fraction=0.4)
    sampler(closed, open_fraction=0.0)


def test_bins_bound_in_several_experiments_are_drawn_as_often_as_others():
    shared = genome({"one": 40}, {"one": [(5, 0), (5, 1), (30, 0), (30, 1), (18, 0)]})
    draws = drawn(sampler(shared, 1.0, chromosomes=("one",), peak_draw="bin"), 3000)
    middle = [draw for draw in draws if draw.first <= 18 < draw.first + BINS]
    assert abs(len(middle) / len(draws) - 1 / 3) < 0.04
