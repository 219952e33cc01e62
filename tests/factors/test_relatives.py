from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.factors.proteins import STANDARD_AMINO_ACIDS, Protein, read_proteins
from tfbind.factors.regions import Region, read_domains
from tfbind.factors.relatives import GAP_EXTEND, GAP_OPEN, Relatives, closed, without_domains

residues = st.text(STANDARD_AMINO_ACIDS, min_size=1, max_size=40)
RNG = np.random.default_rng(1)
ONE, OTHER = ("".join(RNG.choice(list(STANDARD_AMINO_ACIDS), 80)) for _ in range(2))


def of(**proteins):
    return Relatives({name: tuple(given.split(";")) if given else () for name, given in proteins.items()})


@settings(max_examples=60)
@given(residues, residues)
def test_identity_is_that_of_an_optimal_alignment(one, other):
    """An alignment of the same score, by another library, is one of those that tie; the counts lie among them."""
    align = pytest.importorskip("biotite.sequence.align")
    from biotite.sequence import ProteinSequence

    shorter, longer = sorted((one, other), key=lambda each: (len(each), each))
    found = of(a=one, b=other).identity("a", "b")
    assert 0 <= found <= 1
    assert found == of(a=other, b=one).identity("a", "b"), "whichever comes first"
    matrix = align.SubstitutionMatrix.std_protein_matrix()
    ties = align.align_optimal(
        ProteinSequence(shorter),
        ProteinSequence(longer),
        matrix,
        gap_penalty=(-GAP_OPEN - GAP_EXTEND, -GAP_EXTEND),
        terminal_penalty=False,
        max_number=100,
    )
    counts = []
    for tie in ties:
        both = (tie.trace >= 0).all(1)
        counts.append(sum(shorter[i] == longer[j] for i, j in tie.trace[both]))
    if one == other:
        counts = [len(one)]
    if len(ties) < 100:
        assert min(counts) / len(shorter) <= found <= max(counts) / len(shorter)


def test_a_domain_within_another_protein_is_wholly_alike():
    known = of(one=ONE, fusion=OTHER + ONE, changed="A" * 8 + ONE[8:], other=OTHER)
    assert known.identity("one", "fusion") == known.identity("one", "one") == 1.0
    assert 0.88 <= known.identity("one", "changed") <= 0.93
    assert known.identity("one", "other") < 0.4
    assert known.nearest("one", ["other", "changed"]) == ("changed", known.identity("one", "changed"))


def test_clusters_join_what_is_linked_and_are_in_order():
    half = ONE[:40] + OTHER[:40]
    known = of(z=OTHER, one=ONE, unknown="", half=half, copy=ONE, nothing="")
    assert known.clusters(0.7) == [("z",), ("one", "copy"), ("unknown",), ("half",), ("nothing",)]
    assert known.clusters(0.4) == [("z", "one", "half", "copy"), ("unknown",), ("nothing",)]
    assert closed(["copy", "elsewhere"], known.clusters(0.7)) == {"one", "copy", "elsewhere"}


def test_a_complex_is_related_to_whoever_is_like_a_member():
    known = of(complex=f"{ONE};{OTHER}", one=ONE, other="W" * 4 + OTHER[4:])
    assert known.identity("complex", "one") == 1.0 and known.identity("complex", "other") >= 0.9
    assert known.clusters(0.9) == [("complex", "one", "other")]


def test_proteins_that_are_not_known_are_only_themselves():
    known = of(a="", b="", c=ONE)
    assert known.identity("a", "a") == 1.0 and known.identity("a", "b") == known.identity("a", "c") == 0.0
    assert known.nearest("a", ["b", "c"]) == (None, 0.0) and known.nearest("a", []) == (None, 0.0)


def test_domains_alone_are_compared_where_there_are_some():
    region = Region("domain", domains={"P1": [(5, 25), (40, 60)], "P2": [(0, 40)]}, without_domain="whole")
    one = Protein("P1", "one", OTHER[:5] + ONE[:20] + OTHER[5:20] + ONE[20:40] + OTHER[20:30])
    two, three = Protein("P2", "two", ONE[:40]), Protein("P3", "three", "XX" + OTHER[:30] + "UB")
    known = Relatives.of({"one": [one], "two": [two], "three": [three], "none": []}, region)
    assert known.residues == {"one": (ONE[:40],), "two": (ONE[:40],), "three": (OTHER[:30],), "none": ()}
    assert known.identity("one", "two") == 1.0


def test_families_of_real_proteins_are_found(human):
    proteins = read_proteins([human / "proteins.fa"])
    region = Region("domain", domains=read_domains(human / "dbd_pfam.tsv"), without_domain="whole")
    known = Relatives.of({each.name: [each] for each in proteins.values()}, region)
    clusters = {frozenset(cluster) for cluster in known.clusters(0.7)}
    for family in ({"GATA1", "GATA2"}, {"JUN", "JUNB", "JUND"}, {"USF1", "USF2"}, {"CTCF", "CTCFL"}, {"YY1"}):
        assert frozenset(family) in clusters


def test_a_table_of_domains_that_names_no_protein_is_refused():
    proteins = {"A": (Protein("P1", "A", "MKV"),), "B": (Protein("P2", "B", "MKV"),), "M": ()}
    assert without_domains(proteins, Region()) == []
    assert without_domains(proteins, Region("domain", domains={"P1": [(0, 2)]}, without_domain="whole")) == ["B"]
    with pytest.raises(InputError, match="such as P1_HUMAN, theirs such as P1"):
        without_domains(proteins, Region("domain", domains={"P1_HUMAN": [(0, 2)]}, without_domain="whole"))
