from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from tfbind.core.metrics import (
    Ranking,
    auroc,
    average_precision,
    average_precision_of_resamples,
    expected_calibration_error,
    operating_points,
    percentile_interval,
    recall_at_fdr,
    reliability_by_probability,
    reliability_curve,
    resampled_blocks,
    threshold_at_fdr,
)

FDRS = st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.3, 0.5, 0.9])


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both kinds, and scores of which few or many are tied."""
    n = draw(st.integers(2, 60))
    labels = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    labels[0], labels[-1] = True, False
    score = draw(st.sampled_from([st.integers(-3, 3).map(float), st.floats(-1e3, 1e3, width=32), st.just(0.5)]))
    return labels, np.array(draw(st.lists(score, min_size=n, max_size=n)))


@given(rankings())
def test_equals_scikit_learn(ranking):
    labels, scores = ranking
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


@given(rankings(), FDRS)
def test_recall_at_fdr_is_the_best_point_of_scikit_learns_curve(ranking, fdr):
    labels, scores = ranking
    precision, recall, _ = precision_recall_curve(labels, scores)
    expected = max(recall[:-1][precision[:-1] >= 1 - fdr - 1e-9], default=0.0)
    assert recall_at_fdr(labels, scores, fdr) == pytest.approx(expected)


@given(rankings(), FDRS)
def test_calling_at_the_threshold_gives_the_recall_and_keeps_the_fdr(ranking, fdr):
    labels, scores = ranking
    threshold, recall = threshold_at_fdr(labels, scores, fdr), recall_at_fdr(labels, scores, fdr)
    if threshold is None:
        assert recall == 0
        return
    called = scores >= threshold
    assert threshold in scores
    assert labels[called].sum() / labels.sum() == recall
    assert (~labels[called]).mean() <= fdr + 1e-9
    # The most precise of the thresholds with that recall: one higher would lose a bound bin.
    assert labels[scores == threshold].any()


@given(rankings(), FDRS)
def test_only_the_order_of_the_scores_matters(ranking, fdr):
    labels, scores = ranking
    ranks = np.unique(scores, return_inverse=True)[1]
    for transformed in (ranks, ranks.astype(np.float32) * 7 - 100, np.exp(ranks / 10)):
        assert average_precision(labels, transformed) == average_precision(labels, scores)
        assert auroc(labels, transformed) == auroc(labels, scores)
        assert recall_at_fdr(labels, transformed, fdr) == recall_at_fdr(labels, scores, fdr)


@given(rankings(), st.randoms(use_true_random=False))
def test_the_order_of_the_bins_does_not_matter(ranking, random):
    labels, scores = ranking
    order = np.array(random.sample(range(labels.size), labels.size))
    probabilities = (scores - scores.min()) / max(np.ptp(scores), 1)
    assert average_precision(labels[order], scores[order]) == average_precision(labels, scores)
    assert expected_calibration_error(labels[order], probabilities[order], 4) == pytest.approx(
        expected_calibration_error(labels, probabilities, 4), abs=1e-12
    )


def test_ties_count_as_one_threshold():
    labels = np.array([True, False, True, False, False])
    scores = np.array([3.0, 2.0, 2.0, 2.0, 1.0])
    # Thresholds 3 (1 of 1), 2 (2 of 4), 1 (2 of 5).
    assert average_precision(labels, scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    # Pairs won: 3 by the first; of the second one, two ties and one win.
    assert auroc(labels, scores) == pytest.approx((3 + 0.5 * 2 + 1) / 6)
    assert recall_at_fdr(labels, scores, 0.4) == 0.5
    assert recall_at_fdr(labels, scores, 0.5) == 1.0
    assert threshold_at_fdr(labels, scores, 0.4) == 3.0
    assert threshold_at_fdr(labels, scores, 0.5) == 2.0


def test_equal_scores_are_chance():
    labels = np.array([True] * 3 + [False] * 27)
    scores = np.zeros(30)
    assert average_precision(labels, scores) == pytest.approx(0.1)
    assert auroc(labels, scores) == 0.5
    assert recall_at_fdr(labels, scores, 0.5) == 0.0
    assert threshold_at_fdr(labels, scores, 0.5) is None
    assert threshold_at_fdr(labels, scores, 0.9) == 0.0


def test_a_precision_that_dips_and_recovers_is_used():
    labels = np.array([False, True, True, True, False, False])
    scores = np.arange(6)[::-1]
    assert recall_at_fdr(labels, scores, 0.25) == 1.0
    assert threshold_at_fdr(labels, scores, 0.25) == 2


@pytest.mark.parametrize(("wrong", "calls"), [(1, 10), (3, 10), (29, 100), (7, 100)])
def test_a_rate_that_equals_the_fdr_is_within_it(wrong, calls):
    labels = np.array([False] * wrong + [True] * (calls - wrong) + [False] * 5)
    scores = np.array([1.0] * calls + [0.0] * 5)
    assert recall_at_fdr(labels, scores, wrong / calls) == 1.0


def test_infinite_scores_rank_first_and_last():
    labels = np.array([True, False, True, False])
    scores = np.array([np.inf, 0.0, 1.0, -np.inf])
    assert average_precision(labels, scores) == 1.0
    assert auroc(labels, scores) == 1.0


def test_the_threshold_of_float32_scores_calls_the_same_bins():
    scores = np.array([0.1, 0.3, 0.7], np.float32)
    threshold = threshold_at_fdr(np.array([False, True, True]), scores, 0.1)
    assert (scores >= threshold).tolist() == [False, True, True]


@pytest.mark.parametrize("labels", [[], [True, True], [False, False]])
def test_without_bound_or_unbound_bins_nothing_can_be_judged(labels):
    labels = np.array(labels, bool)
    scores = np.linspace(0, 1, labels.size)
    assert np.isnan(average_precision(labels, scores))
    assert np.isnan(auroc(labels, scores))
    assert np.isnan(recall_at_fdr(labels, scores, 0.1))
    assert np.isnan(expected_calibration_error(labels, scores))
    assert threshold_at_fdr(labels, scores, 0.1) is None
    assert reliability_curve(labels, scores).count.sum() == labels.size


@pytest.mark.parametrize(
    "metric", [average_precision, auroc, expected_calibration_error, reliability_curve, operating_points]
)
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (np.array([True, False]), np.array([np.nan, 1.0]), "NaN .1 of 2 bins"),
        (np.array([0, 2], np.int8), np.array([0.0, 1.0]), "must be bool, not int8"),
        (np.array([True, False]), np.array([0.0, 1.0, 1.0]), r"\(2,\) and \(3,\)"),
        (np.array([[True, False]]), np.array([[0.0, 1.0]]), r"must both be \(n,\)"),
        (np.array([True, False]), np.array([True, False]), "real numbers, not bool"),
    ],
)
def test_bad_arrays_are_refused(metric, labels, scores, message):
    with pytest.raises(ValueError, match=message):
        metric(labels, scores)


@pytest.mark.parametrize("fdr", [-0.1, 1.0, np.nan])
@pytest.mark.parametrize("metric", [recall_at_fdr, threshold_at_fdr])
def test_an_fdr_outside_its_range_is_refused(metric, fdr):
    with pytest.raises(ValueError, match="false discovery rate"):
        metric(np.array([True, False]), np.array([1.0, 0.0]), fdr)


def test_calibration_refuses_what_is_no_probability():
    labels = np.array([True, False])
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        expected_calibration_error(labels, np.array([0.5, 1.5]))
    with pytest.raises(ValueError, match="at least 1 group"):
        reliability_curve(labels, np.array([0.5, 0.5]), bins=0)


def test_reliability_groups_hold_equal_mass_and_whole_ties():
    labels = np.array([False, False, False, True, False, True, True, True])
    probabilities = np.array([0.1, 0.2, 0.3, 0.3, 0.3, 0.6, 0.8, 0.9])
    curve = reliability_curve(labels, probabilities, bins=4)
    # Pairs from the top: 0.9 and 0.8; 0.6 with all of the 0.3s, which completes the third pair too; the rest.
    assert curve.count.tolist() == [2, 4, 2]
    np.testing.assert_allclose(curve.predicted, [0.15, 0.375, 0.85])
    np.testing.assert_allclose(curve.observed, [0, 0.5, 1])
    expected = (2 * 0.15 + 4 * 0.125 + 2 * 0.15) / 8
    assert expected_calibration_error(labels, probabilities, bins=4) == pytest.approx(expected)


@given(rankings(), st.integers(1, 20))
def test_reliability_accounts_for_every_bin(ranking, bins):
    labels, scores = ranking
    probabilities = (scores - scores.min()) / max(np.ptp(scores), 1)
    curve = reliability_curve(labels, probabilities, bins)
    assert curve.count.sum() == labels.size
    assert (curve.count > 0).all() and curve.count.size <= bins
    assert curve.predicted @ curve.count == pytest.approx(probabilities.sum())
    assert curve.observed @ curve.count == pytest.approx(labels.sum())
    assert (np.diff(curve.predicted) > -1e-12).all()


def test_reliability_by_probability_tells_of_high_ones_alike():
    labels = np.array([False, False, True, False, True, True, True])
    probabilities = np.array([0.0, 1e-5, 1e-5, 0.02, 0.6, 0.9, 1.0], dtype=np.float32)
    curve = reliability_by_probability(operating_points(labels, probabilities))
    assert curve.count.tolist() == [1, 2, 1, 3]
    np.testing.assert_allclose(curve.predicted, [0, 1e-5, 0.02, 2.5 / 3], rtol=1e-6)
    np.testing.assert_allclose(curve.observed, [0, 0.5, 0, 1])
    nothing = reliability_by_probability(operating_points(np.zeros(0, bool), np.zeros(0)))
    assert nothing.count.size == 0


@given(rankings())
def test_reliability_by_probability_accounts_for_every_bin(ranking):
    labels, scores = ranking
    probabilities = (scores - scores.min()) / max(np.ptp(scores), 1)
    curve = reliability_by_probability(operating_points(labels, probabilities))
    assert curve.count.sum() == labels.size and (curve.count > 0).all()
    assert curve.predicted @ curve.count == pytest.approx(probabilities.sum())
    assert curve.observed @ curve.count == pytest.approx(labels.sum())
    assert (np.diff(curve.predicted) > 0).all()


def test_calibration_error_tells_calibrated_from_overconfident_at_low_prevalence():
    random = np.random.default_rng(0)
    truth = random.beta(0.05, 5, 100_000)  # prevalence 1 %
    labels = random.random(truth.size) < truth
    assert expected_calibration_error(labels, truth) < 0.001
    assert expected_calibration_error(labels, np.minimum(3 * truth, 1)) > 0.01
    assert expected_calibration_error(labels, np.full(truth.size, labels.mean())) == pytest.approx(0, abs=1e-9)


# --- subsets and resamples of a ranking that is sorted once ---


@given(rankings(), st.randoms(use_true_random=False))
def test_a_ranking_scores_chosen_bins_as_if_they_were_alone(ranking, random):
    labels, scores = ranking
    chosen = np.array([random.random() < 0.6 for _ in labels])
    points, alone = Ranking(labels, scores).points(chosen), operating_points(labels[chosen], scores[chosen])
    for name in ("thresholds", "true_calls", "false_calls"):
        np.testing.assert_array_equal(getattr(points, name), getattr(alone, name))


@given(rankings(), st.integers(1, 5), st.integers(0, 99))
def test_a_resample_scores_as_its_bins_written_out(ranking, count, seed):
    labels, scores = ranking
    blocks = np.arange(labels.size) * count // labels.size
    drawn = resampled_blocks(count, 4, seed)
    assert drawn.shape == (count, 4) and (drawn.sum(0) == count).all()
    found = average_precision_of_resamples(Ranking(labels, scores), blocks, drawn)
    for replicate, times in zip(found, drawn.T, strict=True):
        bins = np.repeat(np.arange(labels.size), times[blocks])
        expected = average_precision(labels[bins], scores[bins])
        assert replicate == pytest.approx(expected, nan_ok=True)


def test_every_block_drawn_once_is_the_whole():
    labels = np.array([True, False, True, False, False])
    scores = np.array([3.0, 2.0, 2.0, 2.0, 1.0])
    once = np.ones((2, 1), np.int64)
    found = average_precision_of_resamples(Ranking(labels, scores), np.array([0, 0, 1, 1, 1]), once)
    assert found.tolist() == [average_precision(labels, scores)]


def test_a_resample_of_blocks_without_bound_bins_cannot_be_judged():
    ranking = Ranking(np.array([True, False, False]), np.array([3.0, 2.0, 1.0]))
    drawn = np.array([[0, 2], [2, 0]])
    found = average_precision_of_resamples(ranking, np.array([0, 0, 1]), drawn)
    assert np.isnan(found[0]) and found[1] == 1.0
    assert percentile_interval(found) == (1.0, 1.0)
    assert np.isnan(percentile_interval([np.nan])).all()


def test_resamples_come_from_the_seed():
    assert (resampled_blocks(9, 5, 1) == resampled_blocks(9, 5, 1)).all()
    assert (resampled_blocks(9, 5, 1) != resampled_blocks(9, 5, 2)).any()


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    inside = 0
    for seed in range(60):
        labels = random.random(2000) < 0.1
        scores = random.normal(size=2000) + 1.5 * labels
        ranking, blocks = Ranking(labels, scores), np.arange(2000) // 40
        low, high = percentile_interval(
            average_precision_of_resamples(ranking, blocks, resampled_blocks(50, 200, seed))
        )
        inside += low <= 0.4787 <= high
    # Of 60 draws, 95 % are 57; the bound is three standard deviations below.
    assert inside >= 51
