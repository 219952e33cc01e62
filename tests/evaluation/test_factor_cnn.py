"""The network of one factor learns its site where chromatin is open, from its own labels in its own regions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tfbind.core.metrics import average_precision
from tfbind.evaluation import factor_cnn
from tfbind.evaluation.factor_cnn import Schedule, predict_alone, predict_factor, train_factor_cnn
from tfbind.genome.regions import Region
from tfbind.model.data import BOUND, GenomeData
from tfbind.training.splits import Split

BIN, BINS = 32, 6000
SITE = [2, 1, 3, 2, 0, 1, 2, 3, 0, 3]
TRAIN, STOP, TEST = (
    Region("one", low * BIN, high * BIN) for low, high in ((0, 4000), (4050, 4800), (4850, 6000))
)
QUICK = Schedule(steps=80, windows=12, checks=2)


@pytest.fixture(scope="module", autouse=True)
def small():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_cnn, "WINDOW", 1024)
        patch.setattr(factor_cnn, "AROUND", 256)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> GenomeData:
    """A site every tenth bin or so, bound where it is open; two cell types, open in other bins."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, BINS * BIN).astype(np.uint8)
    sites = rng.random(BINS) < 0.1
    for bin in np.flatnonzero(sites):
        start = bin * BIN + rng.integers(0, BIN - len(SITE))
        codes[start : start + len(SITE)] = SITE
    is_open = rng.random((BINS, 2)) < 0.3
    signal = np.where(is_open, 6.0, 0.2) * rng.uniform(0.5, 1.5, (BINS, 2))
    labels = (sites[:, None] & is_open).astype(np.uint8)
    # The last experiment is of another factor.
    labels = np.concatenate([labels, rng.random((BINS, 1)) < 0.05], axis=1).astype(np.uint8)
    return GenomeData(BIN, {"one": codes}, {"one": signal.astype(np.float32)}, np.ones(2, bool), {"one": labels})


@pytest.fixture(scope="module")
def trained(data):
    return train_factor_cnn(data, [0], [0], [TRAIN], [STOP], seed=1, schedule=QUICK)


def in_test(data: GenomeData) -> np.ndarray:
    return np.asarray(data.labels["one"][4850:6000]) == BOUND


def test_it_finds_sites_in_open_chromatin_and_carries_over_to_another_cell_type(data, trained):
    found, truth = predict_factor(trained, data, [0, 1], [TEST]), in_test(data)
    assert found.shape == (2, 1150) and found.dtype == np.float32
    for cell in (0, 1):
        signal = data.accessibility["one"][4850:6000, cell]
        assert average_precision(truth[:, cell], found[cell]) > 2 * average_precision(truth[:, cell], signal)
    assert found[0].mean() == pytest.approx(truth[:, 0].mean(), rel=0.5), "weights undo the sampling"


def test_nothing_else_is_looked_at(data, trained):
    """Neither labels of other factors, nor what was measured where it is tested."""
    labels = np.array(data.labels["one"])
    labels[:, 1:] = np.random.default_rng(2).integers(0, 2, (BINS, 2))
    labels[4850:] = 1
    again = train_factor_cnn(
        replace(data, labels={"one": labels}), [0], [0], [TRAIN], [STOP], seed=1, schedule=QUICK
    )
    one, other = (predict_factor(model, data, [0], [TEST]) for model in (trained, again))
    np.testing.assert_array_equal(one, other)


def test_a_region_is_predicted_in_stretches_as_a_whole(data, trained, monkeypatch):
    whole = predict_factor(trained, data, [1], [STOP, TEST])
    monkeypatch.setattr(factor_cnn, "STRETCH", 100)
    np.testing.assert_allclose(predict_factor(trained, data, [1], [STOP, TEST]), whole, rtol=1e-4, atol=1e-6)


def test_a_factor_that_binds_nowhere_has_no_network(data):
    labels = {"one": np.zeros((BINS, 1), dtype=np.uint8)}
    assert train_factor_cnn(replace(data, labels=labels), [0], [0], [TRAIN], [STOP], seed=0) is None


def test_tested_experiments_of_trained_factors_are_predicted(data, trained):
    """In a cell type that was not trained on, too; of a factor that was held out, nothing."""
    experiments = [{"name": name, "factor": name[0], "cell_type": name[1]} for name in ("Ax", "Ay", "Bx")]
    split = Split(
        genome="",
        bin=BIN,
        train=(TRAIN,),
        validation=(STOP,),
        test=(TEST,),
        experiments=("Ax",),
        tested=("Ay", "Bx"),
    )
    found = predict_alone(data, experiments, ["x", "y"], split, seed=1, schedule=QUICK)
    assert found.keys() == {"Ay"}
    np.testing.assert_array_equal(found["Ay"], predict_factor(trained, data, [1], [TEST])[0])
