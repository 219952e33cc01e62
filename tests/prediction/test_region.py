"""A region is what a genome browser shows; what lies off the genome is told."""

from __future__ import annotations

import numpy as np
import pyBigWig
import pytest

from tfbind.core.errors import InputError
from tfbind.genome.reference import Reference, build_reference
from tfbind.prediction.region import Region, parse_region, write_region

SIZES = {"chr1": 1000, "chr2": 130}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("region")
    sequences = (f">{name}\n{'ACGTA' * (size // 5)}\n" for name, size in SIZES.items())
    (folder / "genome.fa").write_text("".join(sequences))
    build_reference(folder / "genome.fa", folder / "reference")
    return Reference.open(folder / "reference")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chr1:1-64", ("chr1", 0, 1)),
        ("chr1:64-65", ("chr1", 0, 2)),
        ("chr1:65-128", ("chr1", 1, 1)),
        ("1:1-1,000", ("chr1", 0, 16)),
        (" chr2:130-130 ", ("chr2", 2, 1)),
        ("chr2", ("chr2", 0, 3)),
        ("2", ("chr2", 0, 3)),
    ],
)
def test_bins_that_a_region_touches(reference, text, expected):
    assert parse_region(text, reference, 64) == Region(*expected)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("chr9:1-10", "'chr9' is no chromosome of the genome, which has chr1, chr2"),
        ("chr9", "'chr9' is no chromosome"),
        ("chr1:0-10", "0-10 is no part of chr1, whose bases are 1-1000"),
        ("chr1:20-10", "20-10 is no part of chr1"),
        ("chr1:1-1001", "1-1001 is no part of chr1"),
        ("chr1:,-10", "0-10 is no part of chr1"),
        ("chr1:1", "'chr1:1' is no region"),
        ("chr1:a-b", "'chr1:a-b' is no region"),
        ("", "'' is no chromosome"),
    ],
)
def test_what_is_no_region_is_told(reference, text, told):
    with pytest.raises(InputError, match="key '--region'") as error:
        parse_region(text, reference, 64)
    assert told in str(error.value) and error.value.mend


def test_a_region_is_told_by_its_bases():
    assert Region("chr2", 1, 2).as_text(SIZES, 64) == "chr2:65-130"


@pytest.mark.parametrize(("first", "count"), [(0, 3), (1, 2), (2, 1), (0, 1)])
def test_bases_of_a_region_have_its_values_and_others_none(tmp_path, first, count):
    """The last bin of chr2 has 2 bp."""
    values = np.array([0.25, 0.25, 0.75], dtype=np.float32)[:count]
    write_region(tmp_path / "x.bw", SIZES, Region("chr2", first, count), values, 64)
    with pyBigWig.open(str(tmp_path / "x.bw")) as handle:
        assert handle.chroms() == SIZES
        bases = handle.values("chr2", 0, 130, numpy=True)
        start, end = first * 64, min(130, (first + count) * 64)
        np.testing.assert_array_equal(bases[start:end], np.repeat(values, 64)[: end - start])
        assert np.isnan(bases[:start]).all() and np.isnan(bases[end:]).all()
        assert handle.stats("chr2", start, end) == [pytest.approx(bases[start:end].mean())]
