from __future__ import annotations

import gzip

import pytest

from tfbind.core.errors import InputError
from tfbind.genome.genes import genes_in
from tfbind.genome.names import ChromosomeNames
from tfbind.genome.regions import Region

NAMES = ChromosomeNames(["chr1", "chr2"])
GTF = """#!genome
1\tx\tgene\t101\t900\t.\t-\t.\tgene_id "G1"; gene_name "ABC";
1\tx\ttranscript\t101\t900\t.\t-\t.\tgene_id "G1"; transcript_id "T1"; gene_name "ABC";
1\tx\texon\t101\t200\t.\t-\t.\tgene_id "G1"; transcript_id "T1"; gene_name "ABC";
1\tx\texon\t801\t900\t.\t-\t.\tgene_id "G1"; transcript_id "T1"; gene_name "ABC";
1\tx\texon\t151\t300\t.\t-\t.\tgene_id "G1"; transcript_id "T2"; gene_name "ABC";
1\tx\ttranscript\t5001\t5100\t.\t+\t.\tgene_id "G2"; transcript_id "T3";
2\tx\ttranscript\t101\t900\t.\t+\t.\tgene_id "G3";
"""


def found(path, start=0, end=1000, chrom="chr1"):
    return [
        (each.name, each.start, each.end, each.strand, each.exons.tolist())
        for each in genes_in(path, NAMES, Region(chrom, start, end), key="--genes")
    ]


def test_a_gene_is_drawn_once_with_the_exons_of_all_its_transcripts(write, tmp_path):
    expected = [("ABC", 100, 900, "-", [[100, 300], [800, 900]])]
    assert found(write("genes.gtf", GTF)) == expected
    with gzip.open(tmp_path / "genes.gtf.gz", "wt") as handle:
        handle.write(GTF)
    assert found(tmp_path / "genes.gtf.gz") == expected


def test_a_gene_that_only_reaches_into_the_region_is_there_as_a_whole(write):
    path = write("genes.gtf", GTF)
    assert [each[:3] for each in found(path, 850, 2000)] == [("ABC", 100, 900)]
    assert [each[:3] for each in found(path, 400, 500)] == [("ABC", 100, 900)], "an intron"
    assert found(path, 900, 5000) == []


def test_a_gene_without_a_name_or_exons_has_its_id_and_is_one_box(write):
    assert found(write("genes.gtf", GTF), 5000, 6000) == [("G2", 5000, 5100, "+", [[5000, 5100]])]


def test_bed_rows_are_genes(write):
    path = write(
        "genes.bed", "track name=x\nchr1\t100\t200\tA\t0\t+\nchr1\t50\t90\tB\t0\t-\nchr1\t500\t600\tA\t0\t+\n"
    )
    assert [each[:4] for each in found(path)] == [("B", 50, 90, "-"), ("A", 100, 200, "+"), ("A", 500, 600, "+")]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("genes.gtf", "chr1\tx\tgene\t101\n", "row 1: is no row of a GTF"),
        ("genes.bed", "chr1\t1\t2\ta\t0\tx\n", "row 1: is no row of a BED"),
        ("genes.gtf", GTF.replace("1\tx", "9\tx").replace("2\tx", "8\tx"), "'--genes': has no gene on the chrom"),
        ("genes.gtf.gz", GTF, "the content is not gzip"),
    ],
)
def test_what_holds_no_genes_is_told(write, name, text, told):
    with pytest.raises(InputError, match=told) as error:
        found(write(name, text))
    assert error.value.mend


def test_the_genes_of_yeast(mirrored):
    path = mirrored("sacCer3.ensGene.gtf.gz")
    names = ChromosomeNames(["chrI", "chrII"])
    genes = genes_in(path, names, Region("chrII", 270_000, 290_000), key="--genes")
    by_name = {each.name: each for each in genes}
    # GAL7, GAL10 and GAL1
    assert [by_name[name].strand for name in ("YBR018C", "YBR019C", "YBR020W")] == ["-", "-", "+"]
