"""What the steps take, from what configuration and tables name: files that are there, proteins and motifs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.config import Config, Source
from tfbind.core.errors import InputError
from tfbind.core.files import sha256_file
from tfbind.core.sources import local_path, uniprot_url
from tfbind.factors.factorset import FactorInput
from tfbind.factors.motifs import Motif, read_meme, resolve_motif
from tfbind.factors.proteins import read_proteins, sequence_sha256
from tfbind.tables import DataSet, FactorRow, accessions_to_fetch


def source_file(source: Source, **where: Any) -> Path:
    """Where a source lies; it is there, and a file of the user's has the checksum that was stated.

    Downloads were verified as they came.

    Parameters
    ----------
    where
        What names it: `key`, or `file`, `row` and `column`.

    Raises
    ------
    InputError
        It is not there, or has another checksum.
    """
    path = source.local_path
    if not path.is_file():
        mend = "correct the path; paths are relative to the folder in which the run is started"
        if source.is_url:
            mend = f"run `tfbind download` with {path} first"
        raise InputError(f"the file {path} is not there", **where, mend=mend)
    if source.sha256 is not None and not source.is_url and (found := sha256_file(path)) != source.sha256:
        raise InputError(
            f"checksum differs: expected sha256 {source.sha256}, got {found}",
            file=path,
            mend="take the file that was meant, or correct its sha256",
        )
    return path


def factor_inputs(config: Config, dataset: DataSet) -> list[FactorInput]:
    """Protein and motif of each factor of the table.

    Raises
    ------
    InputError
        A protein or motif that is in no file, or in several, has another checksum, or is damaged.
    """
    fastas = [source_file(source, key="factors.proteins") for source in config.factors.proteins]
    fastas += [local_path(uniprot_url(accession)) for accession in accessions_to_fetch(config, dataset)]
    proteins = read_proteins(fastas) if fastas else {}
    known = {accession: protein.sequence for accession, protein in proteins.items()}
    meme = _motifs(config)
    return [
        FactorInput(row.factor, row.uniprot, _sequence(row, known, config), _motif(row, meme, config))
        for row in dataset.factors
    ]


def _sequence(row: FactorRow, known: Mapping[str, str], config: Config) -> str | None:
    """A factor's protein: from the table, or by its accession; None where only its motif is given."""
    where: dict[str, Any] = {"file": config.tables.factors, "row": row.row}
    sequence = row.sequence if row.sequence is not None else known.get(row.uniprot or row.factor)
    if sequence is None and row.uniprot is not None:
        raise InputError(
            f"the protein {row.uniprot} of {row.factor} is in no FASTA",
            **where,
            column="uniprot",
            mend="add it to a FASTA of factors.proteins, or correct the accession",
        )
    if row.sequence_sha256 is not None and sequence is not None:
        found = sequence_sha256(sequence)
        if found != row.sequence_sha256:
            raise InputError(
                f"the sequence of {row.factor} has sha256 {found}, expected {row.sequence_sha256}",
                **where,
                column="sequence_sha256",
                mend="the protein was revised: look at it, then take its new checksum into the table",
            )
    return sequence


def _motifs(config: Config) -> dict[str, Motif]:
    """The motifs of all MEME files; an id of two files must mean one motif."""
    motifs: dict[str, Motif] = {}
    for source in config.factors.motifs:
        path = source_file(source, key="factors.motifs")
        for identifier, motif in read_meme(path).items():
            first = motifs.setdefault(identifier, motif)
            if not np.array_equal(first.probabilities, motif.probabilities):
                raise InputError(
                    f"motif {identifier} is another one in a file before it",
                    file=path,
                    key="factors.motifs",
                    mend="take it out of one of the files, or give it another id",
                )
    return motifs


def _motif(row: FactorRow, meme: Mapping[str, Motif], config: Config) -> Motif | None:
    if row.motif is None:
        return None
    try:
        return resolve_motif(row.motif, meme, config.factors.jaspar)
    except InputError as error:
        if error.key is not None:
            raise
        raise InputError(
            error.problem, file=config.tables.factors, row=row.row, column="motif", mend=error.mend
        ) from error
