"""Genes: from a GTF, or a BED with strands, plain or gzip."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfbind.core.errors import InputError
from tfbind.genome.compressed import read_lines
from tfbind.genome.intervals import merge
from tfbind.genome.names import ChromosomeNames
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region

MEND = "give a GTF with genes or transcripts, or a BED with strands in column 6"
_SKIPPED = ("#", "track ", "track\t", "browser ", "browser\t")


@dataclass(frozen=True)
class Genes:
    """Genes or transcripts of a chromosome.

    Attributes
    ----------
    start, end : int64 (genes,)
        0-based half-open, bp.
    forward : bool (genes,)
        Whether it is read from its start to its end.
    """

    start: np.ndarray
    end: np.ndarray
    forward: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """The base at which each starts, int64 (genes,)."""
        return np.where(self.forward, self.start, self.end - 1)

    def upstream(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends of the `length` bp before each; they may lie off the chromosome."""
        start = np.where(self.forward, self.start - length, self.end)
        return start, start + length


@dataclass(frozen=True)
class GeneRow:
    """A row of a GTF or BED.

    Attributes
    ----------
    chrom
        As the file calls it.
    kind
        The feature of a GTF, such as `exon`; `gene` in a BED.
    start, end
        0-based half-open, bp.
    strand
        `+`, `-` or `.`.
    about
        Of a GTF, column 9, unread: most rows lie outside the region that is asked for. Of a BED, the name.
    """

    chrom: str
    kind: str
    start: int
    end: int
    strand: str
    about: str

    @property
    def identifier(self) -> str:
        """What the rows of one gene share."""
        return self._attribute("gene_id") or f"{self.about} {self.start}"

    @property
    def name(self) -> str:
        """For people."""
        return self._attribute("gene_name") or self._attribute("gene_id") or self.about

    def _attribute(self, key: str) -> str | None:
        found = re.search(f'{key} "([^"]+)"', self.about)
        return found and found[1]


@dataclass(frozen=True)
class Gene:
    """A gene.

    Attributes
    ----------
    name
        For people.
    start, end
        Of all its transcripts, 0-based half-open, bp.
    strand
        `+`, `-` or `.`.
    exons
        Of all its transcripts, int64 (n, 2), sorted and disjoint; the whole gene where none is given.
    """

    name: str
    start: int
    end: int
    strand: str
    exons: np.ndarray


def is_gtf(path: Path) -> bool:
    """Whether a file's name says that it is a GTF."""
    return any(ending.lower() in (".gtf", ".gff", ".gff3") for ending in path.suffixes)


def gene_rows(path: Path) -> Iterator[GeneRow]:
    """The rows of a GTF (by its name, .gtf, .gff or .gff3) or else BED.

    Raises
    ------
    InputError
        There is no such file, it is damaged, or a row is none of its format.
    """
    gtf = is_gtf(path)
    number = 0
    for lines in read_lines(path):
        for line in lines:
            number += 1
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"cannot be read ({error})", file=path, row=number, mend=MEND) from error
            if not text.strip() or text.startswith(_SKIPPED):
                continue
            row = (_gtf_row if gtf else _bed_row)(text.split("\t"))
            if row is None:
                problem = f"is no row of a {'GTF' if gtf else 'BED'}"
                raise InputError(problem, file=path, row=number, mend=MEND)
            yield row


def read_genes(path: Path, reference: Reference, *, key: str | None = None) -> dict[str, Genes]:
    """Genes by chromosome.

    Of a GTF, the rows of transcripts, or else of genes, are read; of a BED all rows. Rows of sequences that are
    not in the reference are passed over.

    Parameters
    ----------
    key
        Of the configuration, for errors.

    Raises
    ------
    InputError
        No gene on the reference; as `gene_rows`.
    """
    found: dict[str, dict[str, list[tuple[int, int, bool]]]] = {}
    for row in gene_rows(path):
        chrom = reference.names.resolve(row.chrom)
        if chrom in reference.sizes:
            found.setdefault(row.kind, {}).setdefault(chrom, []).append((row.start, row.end, row.strand != "-"))
    chosen = found.get("transcript") or found.get("gene") or {}
    if not chosen:
        raise InputError("has no gene on the chromosomes of the reference", file=path, key=key, mend=MEND)
    genes = {}
    for chrom, places in chosen.items():
        start, end, forward = (np.array(column) for column in zip(*places, strict=True))
        genes[chrom] = Genes(start.astype(np.int64), end.astype(np.int64), forward.astype(bool))
    return genes


def genes_in(path: Path, names: ChromosomeNames, region: Region, *, key: str) -> list[Gene]:
    """The genes that touch a region, by start; each once, whatever its transcripts.

    Parameters
    ----------
    key
        What the file was given as, for the error.

    Raises
    ------
    InputError
        No chromosome of the file is one of the genome; a GFF3; as `gene_rows`.
    """
    if ".gff3" in path.suffixes:
        raise InputError("GFF3 names the gene of an exon in another way", file=path, key=key, mend="give a GTF")
    of_gene: dict[tuple[str, str], list[GeneRow]] = {}
    resolved: dict[str, str | None] = {}
    for row in gene_rows(path):
        if row.chrom not in resolved:
            resolved[row.chrom] = names.resolve(row.chrom)
        if resolved[row.chrom] == region.chrom and row.start < region.end and row.end > region.start:
            of_gene.setdefault((row.identifier, row.strand), []).append(row)
    if not any(resolved.values()):
        raise InputError("has no gene on the chromosomes of the genome", file=path, key=key, mend=MEND)
    return sorted(map(_gene, of_gene.values()), key=lambda gene: (gene.start, gene.end, gene.name))


def all_genes(
    path: Path, names: ChromosomeNames, sizes: Mapping[str, int], *, key: str
) -> Iterator[tuple[str, Gene]]:
    """All genes on the chromosomes of a genome, each with its chromosome, in the file's order.

    Parameters
    ----------
    sizes
        The chromosomes, bp; a gene that ends behind its chromosome's end is of another genome.
    key
        What the file was given as, for the error.

    Raises
    ------
    InputError
        A gene that lies outside its chromosome; no chromosome of the file is one of the genome; as `gene_rows`.
    """
    # Of a human GTF's three million rows only their places are kept.
    spans: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    exons: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    called: dict[tuple[str, str, str], str] = {}
    resolved: dict[str, str | None] = {}
    for row in gene_rows(path):
        if row.chrom not in resolved:
            resolved[row.chrom] = names.resolve(row.chrom)
        chrom = resolved[row.chrom]
        if chrom not in sizes:
            continue
        if row.end > sizes[chrom]:
            problem = f"{row.name} ends at {row.end}, and {chrom} has {sizes[chrom]} bp"
            raise InputError(problem, file=path, key=key, mend="give genes of the same genome as the reference")
        gene = (chrom, row.identifier, row.strand)
        called.setdefault(gene, row.name)
        (exons if row.kind == "exon" else spans)[gene].append((row.start, row.end))
    if not called:
        raise InputError("has no gene on the chromosomes of the genome", file=path, key=key, mend=MEND)
    for gene, name in called.items():
        blocks = merge(np.array(exons[gene] or spans[gene]))
        whole = [*spans[gene], *blocks.tolist()]
        start, end = min(first for first, _ in whole), max(last for _, last in whole)
        yield gene[0], Gene(name, start, end, gene[2], blocks)


def _gene(rows: list[GeneRow]) -> Gene:
    start, end = min(row.start for row in rows), max(row.end for row in rows)
    spans = [(row.start, row.end) for row in rows if row.kind == "exon"] or [(start, end)]
    return Gene(rows[0].name, start, end, rows[0].strand, merge(np.array(spans)))


def _gtf_row(cells: list[str]) -> GeneRow | None:
    """The intervals of a GTF are 1-based, and closed."""
    if len(cells) < 8 or cells[6] not in ("+", "-", ".") or not (cells[3].isdigit() and cells[4].isdigit()):
        return None
    return GeneRow(cells[0], cells[2], int(cells[3]) - 1, int(cells[4]), cells[6], "".join(cells[8:9]))


def _bed_row(cells: list[str]) -> GeneRow | None:
    if len(cells) < 6 or cells[5] not in ("+", "-", ".") or not (cells[1].isdigit() and cells[2].isdigit()):
        return None
    return GeneRow(cells[0], "gene", int(cells[1]), int(cells[2]), cells[5], cells[3])
