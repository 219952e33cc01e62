"""Whatever there is of a cell type's accessibility becomes a bigWig of mean 1."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.contexts.accessibility import binned_accessibility, build_accessibility
from tfbind.core.errors import InputError
from tfbind.genome.bigwig import write_bigwig
from tfbind.genome.reference import Reference, build_reference

FASTA = ">chrI\n" + "A" * 95 + "\n>chrII\n" + "C" * 30 + "N" * 10 + "\n>chrM\n" + "G" * 20 + "\n>chrU\nACGT\n"
KNOWN = {"chrI": np.ones(95), "chrII": np.repeat([1, 0], [30, 10])}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    (folder / "genome.fa").write_text(FASTA)
    build_reference(folder / "genome.fa", folder / "reference", exclude=["chrU"])
    return Reference.open(folder / "reference")


def build(source: Path, reference: Reference, **options) -> tuple[dict, dict[str, np.ndarray]]:
    """The summary, and the track as one value a base."""
    output = source.parent / "out.bigWig"
    summary = build_accessibility(source, reference, output, **{"resolution": 1} | options)
    return summary, {chrom: binned_accessibility(output, reference, chrom, 1) for chrom in reference.sizes}


def expected(signal: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Divided by the mean over the bases that are neither N nor of the mitochondrion."""
    mean = sum((signal[chrom] * known).sum() for chrom, known in KNOWN.items()) / 125
    return {chrom: each / mean for chrom, each in signal.items()}


def empty(reference: Reference) -> dict[str, np.ndarray]:
    return {chrom: np.zeros(size) for chrom, size in reference.sizes.items()}


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for chrom, each in wanted.items():
        np.testing.assert_allclose(found[chrom], each, rtol=6e-3, atol=1e-6, err_msg=chrom)


@settings(max_examples=30)
@given(
    fragments=st.lists(
        st.tuples(st.sampled_from(["chrI", "chrII", "chrM"]), st.integers(0, 18), st.integers(1, 19)),
        min_size=1,
    ),
    smoothing=st.integers(1, 60),
)
def test_cuts_are_spread_as_the_formula_says(
    reference: Reference, tmp_path_factory: pytest.TempPathFactory, fragments: list, smoothing: int
) -> None:
    fragments = [
        ("chrI", 30, 50),
        *((chrom, start, min(20, start + length)) for chrom, start, length in fragments),
    ]
    signal = empty(reference)
    for chrom, start, end in fragments:
        for cut in (start, end - 1):
            low = cut - smoothing // 2
            signal[chrom][max(0, low) : max(0, low + smoothing)] += 1 / smoothing
    path = tmp_path_factory.getbasetemp() / "x.frag.gz"
    rows = "".join(f"{chrom}\t{start}\t{end}\tAACG\t7\n" for chrom, start, end in fragments)
    path.write_bytes(gzip.compress(rows.encode()))
    summary, found = build(path, reference, smoothing=smoothing)
    same(found, expected(signal))
    assert summary["rows"] == len(fragments) and summary["cut_sites"] == 2 * len(fragments)


def test_a_fragment_counts_once_whatever_its_copies(reference: Reference, write) -> None:
    path = write("a.fragments.tsv", "# 10x\nchr1\t10\t40\tA\t1\nchr1\t60\t90\tB\t99\n")
    _, found = build(path, reference, smoothing=1)
    assert np.flatnonzero(found["chrI"]).tolist() == [10, 39, 60, 89]
    np.testing.assert_allclose(found["chrI"][[10, 39, 60, 89]], 125 / 4, rtol=6e-3)


def test_the_genome_has_a_mean_of_1_at_any_resolution(reference: Reference, write) -> None:
    path = write("a.frag", "chrI\t10\t40\tA\t1\nchrM\t0\t20\tA\t1\nchrM\t0\t20\tA\t1\nII\t0\t20\tA\t1\n")
    for resolution in (1, 5, 10):
        summary, found = build(path, reference, smoothing=20, resolution=resolution)
        mean = sum((found[chrom] * known).sum() for chrom, known in KNOWN.items()) / 125
        assert mean == pytest.approx(1, rel=5e-3)
        assert summary["resolution"] == resolution and summary["scale"] > 0
    with pyBigWig.open(str(path.parent / "out.bigWig")) as handle:
        assert handle.chroms() == reference.sizes


def test_peaks_are_painted_with_their_highest_value(reference: Reference, write) -> None:
    rows = [
        ("chrI", 10, 50, 4),
        ("chrI", 30, 40, 9),
        ("chrI", 45, 60, 2),
        ("chrII", 0, 5, -1),
        ("chrI", 80, 81, 3),
    ]
    text = "".join(f"{c}\t{s}\t{e}\t.\t0\t.\t{v}\t-1\t-1\t-1\n" for c, s, e, v in rows)
    signal = empty(reference)
    for chrom, start, end, value in rows:
        part = signal[chrom][start:end]
        np.maximum(part, value if value > 0 else 1, out=part)
    summary, found = build(write("a.narrowPeak", text), reference)
    same(found, expected(signal))
    assert summary["kind"] == "peaks" and summary["rows"] == 5


def test_bed_peaks_have_a_value_of_1(reference: Reference, write) -> None:
    signal = empty(reference)
    signal["chrI"][10:40] = 1
    _, found = build(write("a.bed", "chrI\t10\t30\nchrI\t20\t40\tx\t900\n"), reference)
    same(found, expected(signal))


def test_bedgraph_and_bigwig_agree(reference: Reference, write, tmp_path: Path) -> None:
    bedgraph = write("a.bedGraph", "chrI\t0\t10\t2\nchrI\t10\t20\t6\nchrII\t30\t40\t5\nchrU\t0\t4\t1\n")
    signal = empty(reference)
    signal["chrI"][:10], signal["chrI"][10:20], signal["chrII"][30:] = 2, 6, 5
    summary, found = build(bedgraph, reference)
    same(found, expected(signal))
    assert summary["dropped"] == 1 and summary["rows"] == 3
    write_bigwig(tmp_path / "a.bw", {**reference.sizes, "chrU": 4}, list(signal.items()), 1)
    summary, found = build(tmp_path / "a.bw", reference)
    same(found, expected(signal))
    assert summary["kind"] == "bigwig" and summary["dropped"] == 1


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.txt", "chrI\t0\t10\n", "does not tell whether"),
        (
            "a.bed",
            "chrI\t0\t10\nchr7\t0\t10\n",
            "do not resolve: chr7; the genome has: chrI, chrII, chrM, chrU",
        ),
        ("a.frag", "chrI\t0\t10\tA\t1\nchrI\t0\t96\tA\t1\n", "row 2: end 96 is past the end of chrI"),
        ("a.frag", "chrI\t10\t10\tA\t1\n", "row 1: start 10 is not before"),
        ("a.frag", "# none\n", "no intervals"),
        ("a.bdg", "chrI\t0\t10\t-2\n", "value -2 at chrI:0 is negative"),
        ("a.bdg", "chrI\t0\t10\tnan\n", "nan is not a finite"),
        ("a.bdg", "chrI\t0\t10\t0\n", "0 all over the genome"),
        ("a.frag", "chrM\t0\t10\tA\t1\n", "0 all over the genome"),
        ("a.bed", "chrU\t0\t4\n", "0 all over the genome"),
    ],
)
def test_bad_sources(reference: Reference, write, name: str, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        build(write(name, text), reference)
    assert name in str(caught.value) and "mend" in str(caught.value)


def test_bad_bigwigs(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "a.bw"
    write_bigwig(path, {"chrI": 95}, [("chrI", -np.ones(95))], 1)
    with pytest.raises(InputError, match="value -1 at chrI:0 is negative"):
        build(path, reference)
    write_bigwig(path, {"chrI": 95, "chr9": 5}, [("chrI", np.ones(95))], 1)
    with pytest.raises(InputError, match="do not resolve: chr9; the genome has: chrI"):
        build(path, reference)


def test_bad_options(reference: Reference, write) -> None:
    path = write("a.bed", "chrI\t0\t10\n")
    with pytest.raises(InputError, match="unknown kind 'wiggle'"):
        build(path, reference, kind="wiggle")
    with pytest.raises(InputError, match=r"accessibility.resolution"):
        build(path, reference, resolution=0)
    with pytest.raises(InputError, match=r"accessibility.smoothing"):
        build(path, reference, smoothing=0)
    assert build(write("a.txt", "chrI\t0\t10\n"), reference, kind="peaks")[0]["rows"] == 1


@pytest.mark.parametrize("bins", [None, range(2, 4)])
def test_a_track_of_another_assembly_is_refused(reference: Reference, tmp_path: Path, bins: range | None) -> None:
    write_bigwig(tmp_path / "x.bw", {"chrI": 96, "chrII": 40}, [("chrI", np.ones(96))], 1)
    with pytest.raises(InputError, match=r"x.bw: chrI has 96 bp in the file and 95 bp in the genome"):
        binned_accessibility(tmp_path / "x.bw", reference, "chrI", 10, bins)


def test_truncated_fragments(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "a.frag.gz"
    path.write_bytes(gzip.compress(b"chrI\t0\t10\tA\t1\n" * 5000)[:-9])
    with pytest.raises(InputError, match=r"a.frag.gz: truncated"):
        build(path, reference)


def test_real_fragments(yeast: Reference, mirrored, tmp_path: Path) -> None:
    source = mirrored("yeast_500k_SRR1822137.frag.gz")
    summary = build_accessibility(source, yeast, tmp_path / "atac.bw")
    assert summary["rows"] == 414_968 and summary["dropped"] == 0
    nuclear = [chrom for chrom in yeast.sizes if chrom != "chrM"]
    bins = {chrom: binned_accessibility(tmp_path / "atac.bw", yeast, chrom, 100) for chrom in yeast.sizes}
    total = sum(bins[chrom].sum() for chrom in nuclear) * 100 / sum(yeast.sizes[chrom] for chrom in nuclear)
    assert total == pytest.approx(1, rel=0.01)
    # A cut's 150 bp reach one bin to either side: counts of cuts in kb-wide stretches must all but agree.
    with gzip.open(source, "rt") as handle:
        rows = [line.split("\t") for line in handle if line.startswith("chrIV\t")]
    cuts = np.concatenate([np.array([int(row[1]) for row in rows]), np.array([int(row[2]) - 1 for row in rows])])
    counts = np.bincount(cuts // 5000, minlength=307)[:300]
    kb = bins["chrIV"][:15_000].reshape(300, 50).mean(1) * summary["scale"] * 5000
    assert np.corrcoef(counts, kb)[0, 1] > 0.99


# --- other signals: of some fragments, of their middles, of genes ---

OF_LENGTHS = [("chrI", 10, 20), ("chrI", 40, 69), ("chrI", 30, 60), ("chrII", 2, 32)]


@pytest.fixture
def fragments(tmp_path):
    path = tmp_path / "a.fragments.tsv"
    path.write_text("".join(f"{chrom}\t{start}\t{end}\tb\t1\n" for chrom, start, end in OF_LENGTHS))
    return path


def test_fragments_of_some_lengths_alone(fragments, reference):
    summary, found = build(fragments, reference, smoothing=1, shortest=29, longest=30)
    signal = empty(reference)
    signal["chrI"][[40, 68]] = 1
    same(found, expected(signal))
    assert (summary["rows"], summary["cut_sites"]) == (1, 2)


def test_where_fragments_have_their_middle(fragments, reference):
    summary, found = build(fragments, reference, smoothing=3, shortest=29, count="middle")
    signal = empty(reference)
    for chrom, middle in (("chrI", 54), ("chrI", 45), ("chrII", 17)):
        signal[chrom][middle - 1 : middle + 2] += 1 / 3
    same(found, expected(signal))
    assert (summary["rows"], summary["middles"]) == (3, 3) and "cut_sites" not in summary


def test_no_fragment_of_such_a_length(fragments, reference):
    with pytest.raises(InputError, match=r"0 all over the genome.*\n.*bounds of the fragments' lengths"):
        build(fragments, reference, longest=5)


GENES = [
    ("transcript", 41, 60, "+"),
    ("transcript", 51, 70, "-"),
    ("exon", 1, 90, "+"),
    ("transcript", 81, 95, "-"),
]


@pytest.mark.parametrize(
    ("kind", "covered"), [("genes", [(40, 70), (80, 95)]), ("promoters", [(0, 40), (70, 95)])]
)
def test_promoters_and_genes(tmp_path, reference, kind, covered):
    path = tmp_path / "genes.gtf"
    rows = [
        f'chrI\tx\t{what}\t{start}\t{end}\t.\t{strand}\t.\tgene_id "g"\n' for what, start, end, strand in GENES
    ]
    path.write_text("".join([*rows, 'chrU\tx\ttranscript\t1\t3\t.\t+\t.\tgene_id "u"\n']))
    _, found = build(path, reference, kind=kind)
    signal = empty(reference)
    for start, end in covered:
        signal["chrI"][start:end] = 1
    same(found, expected(signal))


def test_a_gtf_may_be_either(tmp_path, reference):
    (tmp_path / "genes.gtf.gz").write_bytes(b"")
    with pytest.raises(InputError, match="state its kind: promoters or genes"):
        build(tmp_path / "genes.gtf.gz", reference)
