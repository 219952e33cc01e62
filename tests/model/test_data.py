from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfbind.contexts.accessibility import build_accessibility
from tfbind.genome.reference import Reference, build_reference
from tfbind.model.data import LEFT_OUT, GenomeData, open_genome_data, reverse_complement

CODES = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 3], dtype=np.uint8)


@pytest.fixture
def data() -> GenomeData:
    """One chromosome of 10 bp, bins of 4: the last one is partial."""
    return GenomeData(
        4,
        {"one": CODES},
        {"one": np.array([[1.0, 5], [2, 6], [3, 7]], dtype=np.float32)},
        np.array([True, False]),
        {"one": np.array([[0, 1], [1, 0], [2, 1]], dtype=np.uint8)},
    )


def test_windows_are_cut_by_bins(data):
    assert data.bins("one") == 3
    assert data.window_codes("one", 1, 1).tolist() == [4, 0, 1, 2]
    assert data.window_accessibility("one", 1, 2).tolist() == [[2, 6], [3, 7]]
    assert data.window_labels("one", 0, 2).tolist() == [[0, 1], [1, 0]]


def test_off_the_chromosome_there_is_n_no_signal_and_nothing_to_learn(data):
    assert data.window_codes("one", -1, 5).tolist() == [4] * 4 + CODES.tolist() + [4] * 6
    assert data.window_accessibility("one", -1, 5).tolist() == [[0, 0], [1, 5], [2, 6], [3, 7], [0, 0]]
    assert data.window_labels("one", -1, 5)[[0, 4]].tolist() == [[LEFT_OUT] * 2] * 2
    for first in (-9, 3, 50):
        assert (data.window_codes("one", first, 3) == 4).all()
        assert not data.window_accessibility("one", first, 3).any()
        assert (data.window_labels("one", first, 3) == LEFT_OUT).all()


@pytest.mark.parametrize("name", ["codes", "accessibility", "labels"])
def test_nobody_writes_into_the_genome_through_a_window(data, name):
    window = getattr(data, f"window_{name}")("one", 0, 1)
    assert window.base is not None and not window.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        window[:] = 4
    assert getattr(data, name)["one"].flags.writeable


def test_labels_that_are_not_there_are_not_made_up(data):
    with pytest.raises(ValueError, match="no labels"):
        GenomeData(4, data.codes, data.accessibility, data.has_track).window_labels("one", 0, 1)


@given(arrays(np.uint8, st.integers(1, 30), elements=st.integers(0, 4)))
def test_the_reverse_complement_is_that_of_the_letters(codes):
    letters = "".join("ACGTN"[code] for code in codes)
    found = "".join("ACGTN"[code] for code in reverse_complement(codes))
    assert found == letters[::-1].translate(str.maketrans("ACGT", "TGCA"))
    np.testing.assert_array_equal(reverse_complement(reverse_complement(codes)), codes)


def test_opens_a_genome_with_tracks_and_without(tmp_path):
    fasta, peaks = tmp_path / "genome.fa", tmp_path / "peaks.bed"
    fasta.write_text(">chr1\nACGTN" + "A" * 95 + "\n>chr2\n" + "G" * 64 + "\n")
    peaks.write_text("chr1\t32\t64\n")
    build_reference(fasta, tmp_path / "reference")
    reference = Reference.open(tmp_path / "reference")
    build_accessibility(peaks, reference, tmp_path / "open.bw", kind="peaks", resolution=4)
    data = open_genome_data(reference, [None, tmp_path / "open.bw"], bin=32)
    assert data.has_track.tolist() == [False, True]
    assert data.window_codes("chr1", 0, 1)[:6].tolist() == [0, 1, 2, 3, 4, 0]
    assert {chrom: found.shape for chrom, found in data.accessibility.items()} == {"chr1": (4, 2), "chr2": (2, 2)}
    assert not data.accessibility["chr1"][:, 0].any()
    assert np.flatnonzero(data.accessibility["chr1"][:, 1]).tolist() == [1]
    whole = sum(float(found[:, 1].sum()) for found in data.accessibility.values())
    assert whole * 32 / 164 == pytest.approx(1, rel=0.05), "the genome's mean is 1"
