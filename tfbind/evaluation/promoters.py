"""Where genes start: from a GTF, or a BED with strands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfbind.core.errors import InputError
from tfbind.genome.genes import MEND, gene_rows
from tfbind.genome.reference import Reference

KEY = "evaluation.promoters"


def starts_of_genes(path: Path, reference: Reference) -> dict[str, np.ndarray]:
    """First base of each gene or transcript by chromosome, sorted int64 (n,), 0-based bp.

    Of a GTF, the rows of transcripts, or else of genes, are read; of a BED all rows. Rows of sequences that are
    not in the reference are passed over.

    Raises
    ------
    InputError
        A row that is neither, a strand that is none, or no gene on the reference.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for row in gene_rows(path):
        chrom = reference.names.resolve(row.chrom)
        if chrom in reference.sizes:
            first = row.end - 1 if row.strand == "-" else row.start
            found.setdefault(row.kind, {}).setdefault(chrom, []).append(first)
    chosen = found.get("transcript") or found.get("gene") or {}
    if not chosen:
        raise InputError("has no gene on the chromosomes of the reference", file=path, key=KEY, mend=MEND)
    return {chrom: np.unique(np.array(places, dtype=np.int64)) for chrom, places in chosen.items()}
