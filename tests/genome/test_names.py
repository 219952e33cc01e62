"""Chromosome names resolve where they are known, and never by a guess."""

from __future__ import annotations

import pytest

from tfbind.core.errors import InputError
from tfbind.genome.names import ChromosomeNames, read_aliases, roman

YEAST = ChromosomeNames([*(f"chr{roman(n)}" for n in range(1, 17)), "chrM"])
HUMAN = ChromosomeNames([*(f"chr{n}" for n in range(1, 23)), "chrX", "chrY", "chrM"])
WORM = ChromosomeNames(["chrI", "chrII", "chrIII", "chrIV", "chrV", "chrX", "chrM"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chrXIV", "chrXIV"),
        ("XIV", "chrXIV"),
        ("chr14", "chrXIV"),
        ("14", "chrXIV"),
        ("chr10", "chrX"),
        ("chrX", "chrX"),
        ("NC_001133.9", "chrI"),
        ("NC_001133", "chrI"),
        ("NC_001148.4", "chrXVI"),
        ("NC_001224.1", "chrM"),
        *((spelling, "chrM") for spelling in ("chrM", "M", "MT", "chrMT", "Mito", "chrMito", "chrmt")),
        ("chr17", None),
        ("chr014", None),
        ("chr0", None),
        ("NC_001149", None),
        ("NC_000001.11", None),
        ("2micron", None),
        ("chr", None),
        ("", None),
    ],
)
def test_yeast(name: str, expected: str | None) -> None:
    assert YEAST.resolve(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1", "chr1"),
        ("X", "chrX"),
        ("chrI", None),
        ("IV", None),
        ("NC_000001.10", "chr1"),
        ("NC_000022.11", "chr22"),
        ("NC_000023.11", "chrX"),
        ("NC_000024.10", "chrY"),
        ("NC_000025.1", None),
        ("NC_012920.1", "chrM"),
        ("NC_001133.9", None),
        ("MT", "chrM"),
    ],
)
def test_human(name: str, expected: str | None) -> None:
    assert HUMAN.resolve(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("4", "chrIV"), ("X", "chrX"), ("10", None), ("NC_001133.9", None), ("MtDNA", "chrM")],
)
def test_x_is_no_tenth_chromosome_in_the_worm(name: str, expected: str | None) -> None:
    assert WORM.resolve(name) == expected


def test_without_prefix_and_by_numerals_both_ways_of_the_prefix() -> None:
    names = ChromosomeNames(["I", "II", "Mito"])
    assert [names.resolve(name) for name in ("chr2", "chrI", "MT")] == ["II", "I", "Mito"]


def test_what_two_chromosomes_could_be_called_does_not_resolve() -> None:
    names = ChromosomeNames(["chrM", "MT", "1", "chr1"])
    assert names.resolve("chrMT") is None
    assert names.resolve("MT") == "MT"
    assert names.resolve("Chr1") is None


def test_aliases_go_before_schemes() -> None:
    names = ChromosomeNames(["chrI", "chrII"], {"2": "chrI", "first": "chrI"})
    assert [names.resolve(name) for name in ("2", "first", "chr2")] == ["chrI", "chrI", "chrII"]


def test_mitochondrion_is_known_by_name_or_alias() -> None:
    assert YEAST.is_mitochondrion("chrM") and not YEAST.is_mitochondrion("chrXIV")
    assert ChromosomeNames(["s1", "s2"], {"chrM": "s2"}).is_mitochondrion("s2")


def test_what_does_not_resolve_lists_both_sides() -> None:
    assert YEAST.require_all(["chr1", "chrXVI"], "calls.bed") == {"chr1": "chrI", "chrXVI": "chrXVI"}
    with pytest.raises(InputError) as caught:
        YEAST.require_all(["chr1", "chr17", "chrUn"], "calls.bed")
    text = str(caught.value)
    assert "calls.bed" in text and "chr17, chrUn;" in text and "chrI, chrII" in text and "mend" in text


@pytest.mark.parametrize(
    ("aliases", "problem"),
    [({"a": "chrZ"}, "'chrZ', which the genome"), ({"chrI": "chrII"}, "itself the name")],
)
def test_aliases_that_cannot_be(aliases: dict[str, str], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        ChromosomeNames(["chrI", "chrII"], aliases)


def test_read_aliases(write) -> None:
    path = write("aliases.tsv", "alias\tname\n# GenBank\nCP1\tchrI\n\nCP2\tchrII\n")
    assert read_aliases(path) == {"CP1": "chrI", "CP2": "chrII"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\tchrI\nb\n", "row 2: expected two"),
        ("a\tchrI\textra\n", "row 1: expected two"),
        ("a\t\n", "row 1"),
        ("a\tchrI\na\tchrII\n", "row 2, column 'alias': alias 'a' is there twice"),
        ("# nothing\n", "no alias"),
    ],
)
def test_bad_aliases(write, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_aliases(write("aliases.tsv", text))
    assert "aliases.tsv" in str(caught.value)
