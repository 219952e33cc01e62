from __future__ import annotations

import gzip
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.factors.proteins import Protein
from tfbind.factors.regions import Region, merged, read_domains

PROTEIN = Protein("P1", "REB1", "MKVLAWHCGDERKRKSTYYY")


def write(folder, text, name="domains.tsv"):
    path = folder / name
    path.write_text(text)
    return path


def test_spans_are_read_as_pfam_writes_them(tmp_path):
    text = (
        "# Pfam 37\naccession\tname\tstart\tend\nP1\tMyb\t3\t5\nP2-2\tzf\t1\t1\n\nP1\tMyb\t9\t12\nP1\tMyb\t4\t7\n"
    )
    expected = {"P1": [(2, 7), (8, 12)], "P2-2": [(0, 1)]}
    path = write(tmp_path, text)
    assert read_domains(path) == expected
    zipped = tmp_path / "domains.tsv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert read_domains(zipped) == expected


@pytest.mark.parametrize(
    ("text", "row", "says"),
    [
        ("accession\tstart\nP1\t3\n", 1, "column 'end' is missing"),
        ("accession\tstart\tend\tscore\nP1\t3\t4\t5\n", 1, "unknown column 'score'"),
        ("accession\tstart\tend\tend\nP1\t3\t4\t5\n", 1, "a column stands twice"),
        ("accession\tstart\tend\nP1\t3\n", 2, "has 2 cells, and the header 3"),
        ("accession\tstart\tend\nP1\t0\t4\n", 2, "0-4 is no span"),
        ("accession\tstart\tend\n#x\nP1\t5\t4\n", 3, "5-4 is no span"),
        ("accession\tstart\tend\nP1\ta\t4\n", 2, "a-4 is no span"),
        ("accession\tstart\tend\n\t3\t4\n", 2, "is empty"),
        ("accession\tstart\tend\n", None, "has no domains"),
    ],
)
def test_bad_tables_name_the_row(tmp_path, text, row, says):
    with pytest.raises(InputError, match="mend: ") as error:
        read_domains(write(tmp_path, text))
    assert says in str(error.value) and error.value.row == row


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda s: (s[0], s[0] + s[1])), max_size=8))
def test_merged_spans_hold_the_same_residues_once(spans):
    joined = merged(spans)
    inside = [residue for start, end in joined for residue in range(start, end)]
    assert inside == sorted({residue for start, end in spans for residue in range(start, end)})
    assert all(a[1] < b[0] for a, b in pairwise(joined))


def test_the_whole_protein_needs_no_domains():
    assert Region().spans(PROTEIN) == [(0, 20)]


@pytest.mark.parametrize(
    ("kind", "flank", "spans"),
    [
        ("domain", 15, [(4, 7), (12, 14)]),
        ("domain_with_flank", 2, [(2, 9), (10, 16)]),
        ("domain_with_flank", 3, [(1, 17)]),
        ("domain_with_flank", 15, [(0, 20)]),
        ("domain_with_flank", 0, [(4, 7), (12, 14)]),
    ],
)
def test_domains_and_their_flanks(kind, flank, spans):
    assert Region(kind, flank, {"P1": [(4, 7), (12, 14)]}).spans(PROTEIN) == spans


def test_a_protein_without_a_domain_is_an_error_or_whole():
    # Neither the domain of an isoform nor that of a longer name is its own.
    domains = {"P1-2": [(4, 7)], "P12": [(4, 7)]}
    with pytest.raises(InputError, match=r"the protein P1 \(REB1\) has no domain(?s:.*)without_domain: whole"):
        Region("domain", 0, domains).spans(PROTEIN)
    assert Region("domain", 0, domains, "whole").spans(PROTEIN) == [(0, 20)]


def test_a_domain_behind_the_end_is_told():
    with pytest.raises(InputError, match=r"a domain of P1 is 19-21, and the protein ends at 20"):
        Region("domain", 0, {"P1": [(18, 21)]}).spans(PROTEIN)
