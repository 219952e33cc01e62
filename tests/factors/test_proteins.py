from __future__ import annotations

import gzip
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.factors.proteins import AMINO_ACIDS, Protein, check_sequence, read_proteins, sequence_sha256


def write(path, text):
    path.write_text(text)
    return path


def test_header_styles_and_spelling(tmp_path):
    path = write(
        tmp_path / "p.fa",
        ">sp|P21538|REB1_YEAST DNA-binding protein OS=Yeast\nMPSG\n\nhnee*\n"
        ">tr|Q00001|Q1_YEAST Something GN=SMT1 PE=1\nMKX\r\n"
        ">P03069|GCN4|YEL009C\nM K V\n"
        ">MYFACTOR some words\nMBZUOJX\n",
    )
    assert list(read_proteins([path]).values()) == [
        Protein("P21538", "REB1_YEAST", "MPSGHNEE"),
        Protein("Q00001", "SMT1", "MKX"),
        Protein("P03069", "GCN4", "MKV"),
        Protein("MYFACTOR", "MYFACTOR", "MBZUOJX"),
    ]


def test_names_that_end_in_letters_of_an_ending_stay_whole(tmp_path):
    names = ["FASTA", "ATF.fasta", "stat.fa", "GATA_HUMAN", "P1.gz"]
    path = write(tmp_path / "p.fa", "".join(f">{name}\nMKV\n" for name in names))
    assert list(read_proteins([path])) == names


def test_gzip_reads_the_same_and_nothing_is_left_beside_it(tmp_path):
    plain = write(tmp_path / "p.fa", ">A\nMKV\n>B\nMLL\n")
    zipped = tmp_path / "p.fa.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_proteins([zipped]) == read_proteins([plain])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.fa", "p.fa.gz"]


def test_several_files(tmp_path):
    first, second = write(tmp_path / "1.fa", ">A\nMK\n"), write(tmp_path / "2.fa", ">B\nMV\n")
    assert list(read_proteins([second, first])) == ["B", "A"]


@pytest.mark.parametrize(
    ("text", "row", "says"),
    [
        (">A\nMK\n>B\nML\n>A\nMV\n", 5, "protein A is there twice; first in"),
        (">A\nMK\n>B\n>C\nMV\n", 3, "protein B has an empty sequence"),
        (">A\nMK\n>B\n*\n", 3, "protein B has an empty sequence"),
        (">A\nMK\n>B\nMV-K\n", 3, "protein B has '-' at position 3, which is no amino acid"),
        (">A\nMKV\nLM1\n", 1, "'1' at position 6"),
        (">A\nMK*V\n", 1, "'*' at position 3"),
        (">A\nMKß\n", 1, "'ß' at position 3"),
        (">A\n" + "ATGGCC" * 10 + "\n", 1, "protein A is DNA"),
        ("MKV\n>A\nMK\n", 1, "a FASTA file starts with a `>` header"),
        (">A\nMK\n> \nMV\n", 3, "the header has no accession"),
        (">sp||X\nMV\n", 1, "the header has no accession"),
    ],
)
def test_bad_fasta_names_file_row_and_mend(tmp_path, text, row, says):
    path = write(tmp_path / "bad.fa", text)
    with pytest.raises(InputError, match=r"mend:") as error:
        read_proteins([path])
    assert says in str(error.value)
    assert (error.value.file, error.value.row) == (path, row)


def test_duplicate_across_files_names_both(tmp_path):
    first, second = write(tmp_path / "1.fa", ">A\nMK\n"), write(tmp_path / "2.fa", "\n>A\nMV\n")
    with pytest.raises(InputError, match=r"2\.fa, row 2: protein A is there twice; first in .*1\.fa, row 1"):
        read_proteins([first, second])


def test_no_sequences(tmp_path):
    with pytest.raises(InputError, match=r"e\.fa: no protein sequences"):
        read_proteins([write(tmp_path / "e.fa", "\n")])
    with pytest.raises(InputError, match="no protein sequences"):
        read_proteins([])


def test_truncated_gzip(tmp_path):
    path = tmp_path / "p.fa.gz"
    whole = gzip.compress("".join(f">P{i}\nMKVL\n" for i in range(5000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"p\.fa\.gz, row \d+: the gzip file is truncated or damaged"):
        read_proteins([path])


def test_other_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_proteins([tmp_path / "none.fa"])
    with pytest.raises(InputError, match="not gzip"):
        read_proteins([write(tmp_path / "p.fa.gz", ">A\nMK\n")])
    binary = tmp_path / "b.fa"
    binary.write_bytes(b">A\n\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_proteins([binary])


@given(st.text(AMINO_ACIDS, min_size=1, max_size=29))
def test_check_sequence_accepts_all_amino_acids_in_either_case(sequence):
    assert check_sequence(sequence) == check_sequence(sequence.lower() + "*") == sequence
    assert check_sequence(check_sequence(sequence)) == sequence


def test_checksum_is_of_the_letters():
    assert sequence_sha256("MKV") == hashlib.sha256(b"MKV").hexdigest()


def test_real_yeast_proteins(yeast):
    proteins = read_proteins([yeast / "proteins.fa"])
    assert len(proteins) == 87
    reb1 = proteins["P21538"]
    assert reb1.name == "REB1"
    assert len(reb1.sequence) == 810
    assert reb1.sequence.startswith("MPSGHNDKNAN")
