from __future__ import annotations

import itertools

import numpy as np
import pytest

from tfbind.figures.genes import MOST_LINES, label_of, place_genes
from tfbind.genome.genes import Gene
from tfbind.genome.regions import Region

REGION = Region("chr1", 0, 100_000)
BP_PER_MM = 1000.0


def gene(name: str, start: int, end: int, strand: str = "+") -> Gene:
    return Gene(name, start, end, strand, np.array([[start, end]]))


def width(text: str) -> float:
    return 1.5 * len(text)


def spans(placed):
    """Line, low and high of each gene with its name."""
    for each in placed:
        low, high = max(each.gene.start, 0), min(each.gene.end, REGION.end)
        if each.named:
            wide = width(label_of(each.gene, BP_PER_MM)) * BP_PER_MM
            begin = max(0, min((low + high - wide) / 2, REGION.end - wide))
            low, high = min(low, begin), max(high, begin + wide)
        yield each.line, low, high


@pytest.mark.parametrize("count", [0, 1, 12, 60, 400])
def test_genes_and_their_names_never_overlap(count):
    random = np.random.default_rng(count)
    starts = np.sort(random.integers(-2000, 99_000, count))
    genes = [gene(f"GENE{n}", int(s), int(s + random.integers(200, 9000))) for n, s in enumerate(starts)]
    placed, left_out = place_genes(genes, REGION, BP_PER_MM, width)
    assert len(placed) + left_out == count
    for (line, low, high), (other, start, end) in itertools.combinations(spans(placed), 2):
        assert line != other or high <= start or end <= low
    assert all(each.line < MOST_LINES for each in placed)
    if count <= 12:
        assert all(each.named for each in placed) and not left_out


def test_few_genes_stand_on_one_line():
    placed, _ = place_genes([gene("A", 0, 10_000), gene("B", 30_000, 50_000)], REGION, BP_PER_MM, width)
    assert [(each.gene.name, each.line, each.named) for each in placed] == [("A", 0, True), ("B", 0, True)]


def test_where_names_do_not_fit_long_genes_keep_theirs():
    genes = [gene("LONG", 0, 90_000), *(gene(f"SHORT{n}", 1000 * n, 1000 * n + 100) for n in range(90))]
    placed, left_out = place_genes(genes, REGION, BP_PER_MM, width)
    named = {each.gene.name for each in placed if each.named}
    assert "LONG" in named and 5 < len(named) < 60
    assert left_out == 0


@pytest.mark.parametrize(
    ("end", "strand", "expected"), [(5000, "+", "A"), (500, "+", "A →"), (500, "-", "← A"), (500, ".", "A")]
)
def test_a_gene_too_short_for_an_arrowhead_has_one_at_its_name(end, strand, expected):
    assert label_of(gene("A", 0, end, strand), BP_PER_MM) == expected
