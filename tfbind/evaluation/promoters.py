"""Where genes start: from a GTF, or a BED with strands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfbind.genome.genes import read_genes
from tfbind.genome.reference import Reference

KEY = "evaluation.promoters"


def starts_of_genes(path: Path, reference: Reference) -> dict[str, np.ndarray]:
    """First base of each gene or transcript by chromosome, sorted int64 (n,), 0-based bp.

    Raises
    ------
    InputError
        As `read_genes`.
    """
    return {chrom: np.unique(genes.first) for chrom, genes in read_genes(path, reference, key=KEY).items()}
