from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.genome.names import ChromosomeNames
from tfbind.genome.regions import Region, grown, in_whole_bins, overlap, parse_place, require_form, without

SIZES = {"chr2": 103, "chr1": 50}
NAMES = ChromosomeNames(list(SIZES))

regions = st.lists(
    st.tuples(st.sampled_from(list(SIZES)), st.integers(0, 49), st.integers(1, 50)).map(
        lambda found: Region(found[0], found[1], min(found[1] + found[2], SIZES[found[0]]))
    ),
    max_size=5,
)


def mask(found):
    bases = {chrom: np.zeros(size, dtype=bool) for chrom, size in SIZES.items()}
    for region in found:
        bases[region.chrom][region.start : region.end] = True
    return np.concatenate(list(bases.values()))


@given(regions, regions)
def test_what_is_left_and_what_is_shared_are_sets_of_bases(some, others):
    np.testing.assert_array_equal(mask(without(some, others)), mask(some) & ~mask(others))
    np.testing.assert_array_equal(mask(overlap(some, others)), mask(some) & mask(others))


@given(regions)
def test_in_whole_bins_regions_are_disjoint_and_in_order(some):
    found = in_whole_bins(some, SIZES, 8)
    assert (mask(found) | mask(some) == mask(found)).all()
    assert sum(region.end - region.start for region in found) == mask(found).sum()
    assert found == in_whole_bins(reversed(found), SIZES, 8) == in_whole_bins(found, SIZES, 8)
    touched = {(region.chrom, bin) for region in some for bin in region.bins(8)}
    assert touched == {(region.chrom, bin) for region in found for bin in region.bins(8)}


def test_a_region_grows_by_a_gap_at_least_and_within_its_chromosome():
    assert grown(Region("chr2", 24, 40), 5, SIZES, 8) == Region("chr2", 16, 48)
    assert grown(Region("chr2", 24, 99), 32, SIZES, 8) == Region("chr2", 0, 103)


def test_a_region_is_written_as_it_is_read():
    region = parse_place(" 2:1,7-20 ", NAMES, SIZES, key="--region")
    assert region == Region("chr2", 16, 20) and str(region) == "chr2:17-20"
    assert parse_place(str(region), NAMES, SIZES, key="x") == region
    assert parse_place("chr1", NAMES, SIZES, key="x") == Region("chr1", 0, 50)


@pytest.mark.parametrize("text", ["chr1:5", "chr3", "chr3:1-5", "chr1:0-5", "chr1:6-5", "chr1:1-51", "chr1:,-,"])
def test_what_is_no_region_is_told_with_its_key(text):
    with pytest.raises(InputError) as caught:
        parse_place(text, NAMES, SIZES, key="splits.test")
    assert caught.value.key == "splits.test" and caught.value.mend


@pytest.mark.parametrize("text", ["", "chr1:5", "chr1:0-5", "chr1:6-5", "chr1:,-,", "chr1:1e6-2e6", "chr1:5-"])
def test_what_no_genome_could_have_is_told_without_one(text):
    with pytest.raises(InputError, match="is no region"):
        require_form(text, key="splits.test")


@pytest.mark.parametrize("text", ["chr1", " 2:1,7-20 ", "HLA-A*01:01:01", "HLA-A*01:01:01:1-20"])
def test_what_a_genome_could_have_is_let_through(text):
    require_form(text, key="splits.test")
