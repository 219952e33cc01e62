"""FASTA to memory-mapped codes and back."""

from __future__ import annotations

import gzip
import pickle
import shutil
import zlib
from pathlib import Path

import numpy as np
import pyfaidx
import pytest
from Bio import bgzf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.genome.reference import Reference, build_reference

FASTA = ">chr1 first\nACGTacgt\nNNRYAC\n>chr2\nGGGG\n>chrM\nTTTT\nNN\n"


def build(fasta: Path, **options) -> Reference:
    folder = fasta.parent / "reference"
    build_reference(fasta, folder, **options)
    return Reference.open(folder)


def test_codes_order_and_n_runs(write) -> None:
    reference = build(write("genome.fa", FASTA))
    assert list(reference.sizes.items()) == [("chr1", 14), ("chr2", 4), ("chrM", 6)]
    assert reference.codes("chr1").tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 4, 4, 4, 0, 1]
    assert isinstance(reference.codes("chr1"), np.memmap) and reference.codes("chr1").dtype == np.uint8
    assert reference.n_runs("chr1").tolist() == [[8, 12]]
    assert reference.n_runs("chr2").shape == (0, 2)
    assert reference.n_runs("chrM").tolist() == [[4, 6]]
    assert reference.names.resolve("1") == "chr1"
    with pytest.raises(KeyError, match="chr1, chr2, chrM"):
        reference.codes("chr9")


def test_fetch_pads_with_n(write) -> None:
    reference = build(write("genome.fa", FASTA))
    assert reference.fetch("chr2", -2, 6).tolist() == [4, 4, 2, 2, 2, 2, 4, 4]
    assert reference.fetch("chr1", 1, 4).tolist() == [1, 2, 3]
    assert reference.fetch("chr2", -9, -5).tolist() == [4] * 4
    assert reference.fetch("chr2", 4, 6).tolist() == [4, 4]
    assert reference.fetch("chr2", 2, 2).shape == (0,)


def test_fetch_inside_a_chromosome_is_a_view_that_nobody_may_write_into(write) -> None:
    reference = build(write("genome.fa", FASTA))
    found = reference.fetch("chr1", 1, 12)
    assert type(found) is np.ndarray and np.shares_memory(found, reference.codes("chr1"))
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 4


def test_windows_are_those_of_pyfaidx(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ACGTacgtN"), 10_007))
    fasta = tmp_path / "genome.fa"
    fasta.write_text(">chr1\n" + "".join(f"{text[low : low + 61]}\n" for low in range(0, len(text), 61)))
    reference, letters = build(fasta), pyfaidx.Fasta(str(fasta), as_raw=True)["chr1"]
    for start, end in [(0, 0), (0, len(text)), *np.sort(rng.integers(0, len(text), (50, 2))).tolist()]:
        found = "".join("ACGTN"[code] for code in reference.fetch("chr1", start, end))
        assert found == letters[start:end].upper()
        outside = reference.fetch("chr1", start - len(text), end + 7)
        assert (outside[: len(text) - start] == 4).all()
        np.testing.assert_array_equal(outside[len(text) - start :][:end], reference.fetch("chr1", 0, end))


def test_compression_changes_nothing(tmp_path: Path) -> None:
    checksums = set()
    for name in ("plain.fa", "gzip.fa.gz", "bgzip.fa.gz"):
        path = tmp_path / name.split(".")[0] / name
        path.parent.mkdir()
        opener = {"plain": open, "gzip": gzip.open, "bgzip": bgzf.BgzfWriter}[path.parent.name]
        with opener(path, "wb") as handle:
            handle.write(FASTA.encode())
        before = sorted(path.parent.iterdir())
        build_reference(path, tmp_path / "out" / name)
        checksums.add(Reference.open(tmp_path / "out" / name).checksum)
        assert sorted(path.parent.iterdir()) == before, "the input's folder is left as it was"
    assert len(checksums) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "bgzip.fa.gz",
        "gzip.fa.gz",
        "plain.fa",
    ]


def test_checksum_tells_genomes_apart(write) -> None:
    first = build(write("genome.fa", FASTA)).checksum
    assert first == build(write("genome.fa", FASTA.upper().replace(">CHR", ">chr"))).checksum
    for text in (FASTA.replace("GGGG", "GGGC"), FASTA.replace(">chr2", ">chr3"), FASTA.replace("N", "A")):
        assert build(write("genome.fa", text)).checksum != first
    assert build(write("genome.fa", FASTA), exclude=["chrM"]).checksum != first


def test_include_and_exclude(write) -> None:
    reference = build(write("genome.fa", FASTA), include=["chr[0-9]", "chrM"], exclude=["chr2"])
    assert list(reference.sizes) == ["chr1", "chrM"]
    assert reference.excluded == ("chr2",)
    assert reference.names.resolve("2") == "chr2", "an excluded name still resolves"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"include": ["chr1", "scaffold*"]}, r"'reference.include'.*'scaffold\*'.*chr1, chr2, chrM"),
        ({"exclude": ["chrY"]}, "'reference.exclude'.*'chrY'.*chr1, chr2, chrM"),
        ({"exclude": ["*"]}, "no sequence is left"),
        ({"include": []}, "no sequence is left"),
    ],
)
def test_patterns_that_match_nothing(write, options: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        build(write("genome.fa", FASTA), **options)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (">a\nACGT\n>a\nGGGG\n", "duplicate sequence name.*a"),
        (">a\nACGT\n>b\n>c\nAC\n", "empty sequences: b"),
        (">a\nACGT\n>b\n", "empty sequences: b"),
        (">a\nACGJ*\n", r"'a' has letters that are no nucleotide's: '\*J', first at base 4"),
        (">a\nACGU\n", "no nucleotide"),
        ("ACGT\n", "before the first sequence"),
        ("", "valid sequence"),
        (">a\nACGT\nAC\nACGT\n", "not consistent"),
    ],
)
def test_bad_fasta(write, text: str, problem: str) -> None:
    path = write("genome.fa", text)
    with pytest.raises(InputError, match=problem) as caught:
        build(path)
    assert "genome.fa" in str(caught.value) and "mend" in str(caught.value)
    assert list(path.parent.iterdir()) == [path], "nothing is left behind"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "genome.fa"
    path.write_bytes(b">a\nAC\xff\xe9\n")
    with pytest.raises(InputError, match="not text"):
        build(path)


@pytest.mark.parametrize("cut", [5, 30, -10])
def test_truncated_gzip(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "genome.fa.gz"
    path.write_bytes(gzip.compress(FASTA.encode())[:cut])
    with pytest.raises(InputError, match=r"genome.fa.gz: truncated"):
        build(path)


def test_bgzip_cut_between_two_blocks(tmp_path: Path) -> None:
    path = tmp_path / "genome.fa.gz"
    with bgzf.BgzfWriter(path, "wb") as handle:
        handle.write(FASTA.encode())
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(InputError, match=r"genome.fa.gz: truncated bgzip"):
        build(path)


def test_named_gzip_but_is_none_and_missing(write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not gzip"):
        build(write("genome.fa.gz", FASTA))
    with pytest.raises(InputError, match="no such file"):
        build(tmp_path / "absent.fa")


def test_blacklist_and_usable_bins(write) -> None:
    blacklist = write("black.bed", "1\t0\t1\n1\t1\t2\n2\t0\t4\n")
    reference = build(write("genome.fa", FASTA), blacklist=blacklist, exclude=["chr2"])
    assert reference.blacklist("chr1").tolist() == [[0, 2]]
    assert reference.blacklist("chrM").shape == (0, 2)
    # chr1: [0,4) black; [4,8) fine; [8,12) all N; [12,14) fine. chrM: [4,6) all N.
    assert reference.usable_bins("chr1", 4).tolist() == [False, True, False, True]
    assert reference.usable_bins("chrM", 4).tolist() == [True, False]
    assert reference.usable_bins("chrM", 8).tolist() == [True]


def test_half_n_is_usable_and_more_is_not(write) -> None:
    reference = build(write("genome.fa", ">a\nNNACNNNA\n"))
    assert reference.usable_bins("a", 4).tolist() == [True, False]


def test_bad_blacklist_and_aliases(write) -> None:
    fasta = write("genome.fa", FASTA)
    with pytest.raises(InputError, match=r"black.bed, row 1: end 99 is past the end of chr1"):
        build(fasta, blacklist=write("black.bed", "chr1\t0\t99\n"))
    with pytest.raises(InputError, match=r"aliases.tsv: alias 'one' stands for 'chr9'"):
        build(fasta, aliases=write("aliases.tsv", "one\tchr9\n"))
    assert build(fasta, aliases=write("aliases.tsv", "one\tchr1\n")).names.resolve("one") == "chr1"


def test_building_twice_gives_the_same_bytes(write, tmp_path: Path) -> None:
    fasta = write("genome.fa", FASTA)
    contents = []
    for _ in range(2):
        build_reference(fasta, tmp_path / "reference")
        files = sorted(path for path in (tmp_path / "reference").rglob("*") if path.is_file())
        contents.append([(path.name, path.read_bytes()) for path in files])
        shutil.rmtree(tmp_path / "reference")
    assert contents[0] == contents[1]


def test_names_that_are_no_file_names(write) -> None:
    reference = build(write("genome.fa", ">a/b\nACGT\n>HLA-A*01:01\nCC\n"))
    assert reference.codes("a/b").tolist() == [0, 1, 2, 3]
    assert reference.codes("HLA-A*01:01").tolist() == [1, 1]


def test_names_that_end_in_letters_of_an_ending_stay_whole(write) -> None:
    names = ["chrn", "chr.npy", "py", "chr.fa", "gaf.fa.gz"]
    reference = build(write("genome.fa", "".join(f">{name}\n{'A' * n}C\n" for n, name in enumerate(names, 1))))
    assert list(reference.sizes) == names
    assert [len(reference.codes(name)) for name in names] == [2, 3, 4, 5, 6]


def test_a_pickled_reference_carries_no_genome(write) -> None:
    reference = build(write("genome.fa", ">a\n" + "ACGT" * 5000 + "\n"))
    reference.codes("a")
    pickled = pickle.dumps(reference)
    assert len(pickled) < 1000
    assert pickle.loads(pickled).checksum == reference.checksum


def test_open_what_is_no_reference(tmp_path: Path, write) -> None:
    with pytest.raises(InputError, match="no reference is here"):
        Reference.open(tmp_path)
    write("reference.json", '{"format": "tfbind-reference", "version": 99}')
    with pytest.raises(InputError, match="version 1"):
        Reference.open(tmp_path)


@settings(max_examples=30)
@given(letters=st.text("ACGTNacgtnRY", min_size=1, max_size=200), width=st.integers(1, 70))
def test_codes_agree_with_the_letters(tmp_path_factory: pytest.TempPathFactory, letters: str, width: int) -> None:
    folder = tmp_path_factory.mktemp("fasta")
    lines = [letters[i : i + width] for i in range(0, len(letters), width)]
    (folder / "genome.fa").write_text(">a\n" + "\n".join(lines) + "\n")
    reference = build(folder / "genome.fa")
    expected = [{"A": 0, "C": 1, "G": 2, "T": 3}.get(letter.upper(), 4) for letter in letters]
    assert reference.codes("a").tolist() == expected
    unknown = np.zeros(len(letters), dtype=bool)
    for start, end in reference.n_runs("a").tolist():
        unknown[start:end] = True
    assert unknown.tolist() == [code == 4 for code in expected]


def test_the_yeast_genome(yeast: Reference) -> None:
    assert len(yeast.sizes) == 17 and sum(yeast.sizes.values()) == 12_157_105
    assert list(yeast.sizes)[-1] == "chrM" and yeast.sizes["chrM"] == 85_779
    assert "".join("ACGTN"[code] for code in yeast.fetch("chrI", 0, 20)) == "CCACACCACACCCACACACC"
    assert yeast.names.resolve("chr14") == "chrXIV"
    assert all(yeast.usable_bins(chrom, 64).all() for chrom in yeast.sizes)


def test_zlib_damage_is_told(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(FASTA.encode() * 50))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises((zlib.error, EOFError, gzip.BadGzipFile)):
        gzip.decompress(bytes(data))
    (tmp_path / "genome.fa.gz").write_bytes(bytes(data))
    with pytest.raises(InputError, match="truncated or damaged gzip"):
        build(tmp_path / "genome.fa.gz")
