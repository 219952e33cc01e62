from __future__ import annotations

import numpy as np
import pytest

from tfbind.model.data import BOUND, reverse_complement
from tfbind.training import homology
from tfbind.training.homology import COLUMNS, K, compare, write_homology
from tfbind.training.splits import Region, Split

BIN = 100


def split(train, test) -> Split:
    return Split(genome="", bin=BIN, train=train, validation=(), test=test, experiments=())


@pytest.fixture
def genome() -> dict[str, np.ndarray]:
    """A test region of five stretches: new, of the other strand, not quite half of it a copy, N, and mutated."""
    rng = np.random.default_rng(0)
    train = rng.integers(0, 4, 9_000).astype(np.uint8)
    test = rng.integers(0, 4, 4_600).astype(np.uint8)
    test[1000:2000] = reverse_complement(train[3000:4000])
    test[2000:2480] = train[100:580]
    test[3000:4000] = 4
    test[4000:4600] = train[5000:5600]
    test[4000:4600:20] ^= 1
    # What lies beside the copies differs.
    test[[999, 2480]] = [(3 - train[4000]) ^ 1, train[580] ^ 1]
    train[[2999, 99]] = [(3 - test[2000]) ^ 1, test[1999] ^ 1]
    return {"train": train, "test": test}


def fetch_from(genome):
    return lambda chrom, start, end: genome[chrom][start:end]


def test_copies_on_either_strand_are_found(genome):
    (found,) = compare(split([Region("train", 0, 9000)], [Region("test", 0, 4600)]), fetch_from(genome))
    # K-mers across the edge of a copy are not in it.
    assert found.kmers.tolist() == [1000, 1000, 1000 - K + 1, 0, 600 - K + 1]
    assert found.found.tolist() == [0, 1000 - K + 1, 480 - K + 1, 0, 0]
    assert found.homologous.tolist() == [False, True, False, False, False]
    assert found.lengths(BIN).tolist() == [1000, 1000, 1000, 0, 600]


def test_only_regions_of_the_training_are_looked_in(genome):
    regions = [Region("train", 0, 3400), Region("train", 3600, 9000)]
    (found,) = compare(split(regions, [Region("test", 1000, 2000)]), fetch_from(genome))
    assert found.found.tolist() == [1000 - 200 - 2 * (K - 1)]


@pytest.mark.parametrize("piece", [37, 500])
def test_pieces_and_samples_change_nothing_but_the_count(genome, monkeypatch, piece):
    where = split([Region("train", 0, 9000)], [Region("test", 300, 4600)])
    (whole,) = compare(where, fetch_from(genome))
    monkeypatch.setattr(homology, "PIECE", piece)
    (found,) = compare(where, fetch_from(genome))
    np.testing.assert_array_equal(found.kmers, whole.kmers)
    np.testing.assert_array_equal(found.found, whole.found)
    monkeypatch.setattr(homology, "MOST_KMERS", 3000)
    (sampled,) = compare(where, fetch_from(genome))
    assert 0.25 < sampled.kmers.sum() / whole.kmers.sum() < 0.42
    share = sampled.found.sum() / sampled.kmers.sum()
    assert share == pytest.approx(whole.found.sum() / whole.kmers.sum(), abs=0.05)


def test_the_table_has_shares_of_bp_and_of_bound_bins(genome, tmp_path):
    regions = [Region("test", 0, 2000), Region("test", 2000, 4600)]
    labels = {"test": np.zeros((46, 3), dtype=np.uint8)}
    labels["test"][[2, 12, 13, 40], 0] = BOUND
    labels["test"][[15, 39], 2] = BOUND
    found = compare(split([Region("train", 0, 9000)], regions), fetch_from(genome))
    rows = write_homology(tmp_path / "homology.tsv", found, labels, {"A.x": 0, "B.x": 2}, BIN)
    assert [row["of"] for row in rows] == ["all", "test:1-2000", "test:2001-4600", "A.x", "B.x"]
    assert [row["bp"] for row in rows] == ["3600", "2000", "1600", "3600", "3600"]
    assert [row["homologous_bp"] for row in rows] == ["0.2778", "0.5000", "0.0000", "0.2778", "0.2778"]
    assert [row["bound_bins"] for row in rows] == ["6", "4", "2", "4", "2"]
    assert [row["homologous_bound_bins"] for row in rows] == ["0.5000", "0.7500", "0.0000", "0.5000", "0.5000"]
    lines = (tmp_path / "homology.tsv").read_text().splitlines()
    assert lines[0].split("\t") == list(COLUMNS) and len(lines) == 6
