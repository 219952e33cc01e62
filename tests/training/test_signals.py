"""Training reads the signals beside accessibility: what is bound where one of them is high is learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tfbind.config import ContextDropout
from tfbind.model.data import GenomeData

NAMES = ("promoters", "FAIRE-seq")
MODEL = {"trunk": {"kind": "dilated", "dim": 8, "depth": 1}, "shape": {"signals": NAMES}}
# Enough to learn it, and too little to learn anything else.
QUICK = {"steps": 60, "validate_every": 30, "batch_size": 4, "learning_rate": 0.02, "experiments_per_step": 3}


@pytest.fixture(scope="module")
def bound_by_signal(toy) -> GenomeData:
    """The toy genome, bound where the second signal is high in the cell type, whatever else is there."""
    rng = np.random.default_rng(5)
    further, labels = {}, {}
    for chrom, truth in toy.labels.items():
        found = rng.exponential(size=(len(truth), 2, 2)).astype(np.float32)
        is_high = rng.random((len(truth), 2)) < 0.1
        found[:, :, 1] = np.where(is_high, 8.0, found[:, :, 1] / 4)
        further[chrom] = found
        # The first two experiments are in the first cell type, the last is in the second.
        labels[chrom] = is_high[:, [0, 0, 1]].astype(np.uint8)
    return replace(toy, labels=labels, further=further, has_further=np.ones((2, 2), dtype=bool))


def test_what_is_bound_where_a_signal_is_high_is_learnt(make_trainer, bound_by_signal):
    trainer = make_trainer(data=bound_by_signal, model=MODEL, **QUICK)
    trainer.run()
    assert trainer.state.best > 0.9
    blind = replace(bound_by_signal, further=None, has_further=None)
    without = make_trainer("without", data=blind, model={"trunk": MODEL["trunk"]}, **QUICK)
    without.run()
    assert without.state.best < 0.4


def test_a_training_goes_on_with_the_same_signals_alone(make_trainer, bound_by_signal):
    few = {"steps": 2, "validate_every": 1, "context_dropout": ContextDropout(accessibility=0.5)}
    first = make_trainer(data=bound_by_signal, model=MODEL, **few)
    first.run()
    again = make_trainer(data=bound_by_signal, model=MODEL, **few)
    assert again.signature == first.signature
    turned = {chrom: array[::-1].copy() for chrom, array in bound_by_signal.further.items()}
    for changes in ({"further": turned}, {"has_further": np.array([[True, False], [True, True]])}):
        other = make_trainer(data=replace(bound_by_signal, **changes), model=MODEL, **few)
        assert other.signature != first.signature


def test_a_flipped_window_has_its_signals_flipped(make_trainer, bound_by_signal):
    sampler = make_trainer(data=bound_by_signal, model=MODEL).sampler
    for draw in sampler.draw(0, 20):
        window, other = sampler.read(draw), sampler.read(replace(draw, flipped=not draw.flipped))
        np.testing.assert_array_equal(window.further, other.further[::-1])
        assert window.further.shape == (*window.accessibility.shape, 2)
