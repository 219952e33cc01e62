"""Parts of a test: bins counted one by one."""

from __future__ import annotations

import gzip
from types import SimpleNamespace

import numpy as np
import pytest

from tfbind.core.errors import InputError
from tfbind.evaluation.breakdown import group_of_identity, group_of_peaks, near_starts, rich_in_cpg
from tfbind.evaluation.loci import Loci
from tfbind.evaluation.promoters import starts_of_genes
from tfbind.genome.names import ChromosomeNames
from tfbind.genome.regions import Region


def bins(width, starts, region):
    position = np.asarray(starts)
    return Loci("model", width, (region,), np.array([0, len(position)]), position, np.zeros((0, 0)), np.zeros(0))


def test_islands_are_told_by_gc_and_by_the_cpg_that_chance_would_make():
    rng = np.random.default_rng(1)
    # An island; then as many C and G without one CpG; then mostly A and T.
    island = np.tile([1, 2], 200)
    without = np.tile([2, 2, 1, 1, 0], 80)
    poor = rng.choice([0, 0, 0, 3, 3, 3, 1, 2], 400)
    codes = np.concatenate([poor, island, without, poor]).astype(np.uint8)
    region = Region("chr1", 64, 1536)
    found = bins(64, range(64, 1536, 64), region)
    rich = rich_in_cpg(SimpleNamespace(data=SimpleNamespace(codes={"chr1": codes})), found)
    for start, told in zip(found.position, rich, strict=True):
        middle = start + 32
        around = codes[max(middle - 100, 0) : middle + 100]
        text = "".join("ACGTN"[code] for code in around)
        c, g, cpg = text.count("C"), text.count("G"), text.count("CG")
        expected = (c + g) / len(text) >= 0.5 and cpg * len(text) / (c * g) >= 0.6
        assert told == expected, start
    assert rich[(found.position >= 500) & (found.position < 700)].all()
    assert not rich[found.position < 250].any() and not rich[found.position >= 900].any()


def test_n_is_no_base_and_lies_in_no_island():
    codes = np.full(1000, 4, np.uint8)
    scene = SimpleNamespace(data=SimpleNamespace(codes={"chr1": codes}))
    assert not rich_in_cpg(scene, bins(64, range(0, 1000, 64), Region("chr1", 0, 1000))).any()


def test_bins_are_near_a_start_within_1_kb_of_it():
    found = bins(200, range(0, 8000, 50), Region("chr1", 0, 8200))
    near = near_starts(found, {"chr1": np.array([3000, 6000])})
    expected = [any(abs(start + 100 - gene) <= 1000 for gene in (3000, 6000)) for start in found.position]
    assert near.tolist() == expected
    assert not near_starts(found, {}).any()


@pytest.mark.parametrize(
    ("identity", "group"),
    [
        (0.0, "< 30 %"),
        (0.3, "30-50 %"),
        (0.69, "50-70 %"),
        (0.7, ">= 70 %"),
        (1.0, ">= 70 %"),
        (np.nan, "not known"),
    ],
)
def test_groups_of_identity(identity, group):
    assert group_of_identity(identity) == group


@pytest.mark.parametrize(
    ("count", "group"), [(0, "0"), (1, "1-100"), (100, "100-300"), (999, "300-1000"), (1000, ">= 1000")]
)
def test_groups_of_training_peaks(count, group):
    assert group_of_peaks(count) == group


REFERENCE = SimpleNamespace(names=ChromosomeNames(["chrI", "chrII"]), sizes={"chrI": 9000, "chrII": 9000})
GTF = (
    "#!genome\n"
    "chrI\tx\ttranscript\t101\t500\t.\t+\t.\tid\n"
    "chrI\tx\ttranscript\t101\t500\t.\t-\t.\tid\n"
    "chrI\tx\texon\t150\t160\t.\t+\t.\tid\n"
    "chrII\tx\tgene\t7\t9\t.\t+\t.\tid\n"
    "chrUn\tx\ttranscript\t7\t9\t.\t+\t.\tid\n"
)


def test_genes_start_at_the_end_of_their_strand(write, tmp_path):
    found = starts_of_genes(write("genes.gtf", GTF), REFERENCE)
    assert {chrom: each.tolist() for chrom, each in found.items()} == {"chrI": [100, 499]}
    with gzip.open(tmp_path / "genes.gtf.gz", "wt") as handle:
        handle.write("\n".join(line for line in GTF.splitlines() if "transcript" not in line) + "\n")
    found = starts_of_genes(tmp_path / "genes.gtf.gz", REFERENCE)
    assert {chrom: each.tolist() for chrom, each in found.items()} == {"chrII": [6]}
    found = starts_of_genes(write("genes.bed", "chrI\t100\t500\ta\t0\t+\nchrI\t100\t500\tb\t0\t-\n"), REFERENCE)
    assert found["chrI"].tolist() == [100, 499]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("genes.bed", "chrI\t100\t500\n", "row 1: is no row of a BED"),
        ("genes.gtf", "chrI\t100\t500\ta\t0\t+\n", "row 1: is no row of a GTF"),
        ("genes.bed", "chrUn\t100\t500\ta\t0\t+\n", "'evaluation.promoters': has no gene on the chromosomes"),
    ],
)
def test_files_without_genes_are_refused(write, name, text, told):
    with pytest.raises(InputError, match=told):
        starts_of_genes(write(name, text), REFERENCE)
