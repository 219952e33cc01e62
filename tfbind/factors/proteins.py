"""Protein sequences from FASTA files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfbind.core.errors import InputError
from tfbind.core.files import sha256_bytes
from tfbind.factors.lines import numbered_lines

STANDARD_AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
# IUPAC-IUB codes beyond the 20: X any, B = D or N, Z = E or Q, J = I or L, U selenocysteine, O pyrrolysine.
AMINO_ACIDS = STANDARD_AMINO_ACIDS + "XBZUOJ"

# Both cases are spelt out: upper() alone would make letters of some non-ASCII characters.
_NO_AMINO_ACID = re.compile(f"[^{AMINO_ACIDS}{AMINO_ACIDS.lower()}]")
_GENE_NAME = re.compile(r"\bGN=(\S+)")
_UNIPROT_DATABASES = ("sp", "tr")
# Shorter runs of A, C, G and T can be real peptides.
_DNA_LENGTH = 30


@dataclass(frozen=True)
class Protein:
    """A protein: its accession (the key), its gene symbol or entry name, and its sequence in upper case."""

    accession: str
    name: str
    sequence: str


@dataclass(frozen=True)
class _Record:
    row: int
    header: str
    sequence: str


def read_proteins(paths: Sequence[str | Path]) -> dict[str, Protein]:
    """Read protein FASTA files, plain or gzipped.

    Headers may be `>sp|P21538|REB1_YEAST ...` (or `tr`; a `GN=` field gives the name), `>P21538|REB1|...` or
    `>NAME`. Nothing is written beside the files, which may lie in a read-only folder.

    Parameters
    ----------
    paths
        The FASTA files.

    Returns
    -------
    dict
        Accession -> `Protein`, in the order of the files.

    Raises
    ------
    InputError
        No sequences at all, an accession that occurs twice (in one file or in two), an empty sequence or
        header, letters that are no amino acids, or a file that is missing, damaged or no FASTA.
    """
    proteins: dict[str, Protein] = {}
    seen: dict[str, str] = {}
    for path in map(Path, paths):
        for record in _records(path):
            accession, name = _accession_and_name(record, path)
            if accession in seen:
                raise InputError(
                    f"protein {accession} is there twice; first in {seen[accession]}",
                    file=path,
                    row=record.row,
                    mend="keep one of the two, or give them different accessions",
                )
            seen[accession] = f"{path}, row {record.row}"
            sequence = check_sequence(record.sequence, file=path, row=record.row, name=accession)
            proteins[accession] = Protein(accession, name, sequence)
    if not proteins:
        raise InputError(
            "no protein sequences",
            file=", ".join(map(str, paths)) or None,
            mend="give at least one FASTA file with a `>` header and a sequence",
        )
    return proteins


def check_sequence(
    sequence: str, *, file: str | Path | None = None, row: int | None = None, name: str | None = None
) -> str:
    """Return a protein sequence in its canonical form: upper case, no white space, no closing `*`.

    Parameters
    ----------
    sequence
        One-letter amino acids; the 20 standard ones and X, B, Z, U, O, J.
    file, row, name
        Where it comes from and whose it is, for the error.

    Raises
    ------
    InputError
        The sequence is empty, has a letter that is no amino acid (named with its 1-based position), or is
        DNA.
    """
    clean = "".join(sequence.split()).removesuffix("*")
    whose = f"protein {name}" if name else "the protein"
    if not clean:
        raise InputError(
            f"{whose} has an empty sequence", file=file, row=row, mend="give its sequence or remove it"
        )
    wrong = _NO_AMINO_ACID.search(clean)
    if wrong:
        raise InputError(
            f"{whose} has '{wrong.group()}' at position {wrong.start() + 1}, which is no amino acid",
            file=file,
            row=row,
            mend=f"use one-letter amino acids ({AMINO_ACIDS}), X for an unknown one, and no gaps",
        )
    clean = clean.upper()
    if len(clean) >= _DNA_LENGTH and set("ACGT") <= set(clean) <= set("ACGTN"):
        raise InputError(
            f"{whose} is DNA: only the letters {', '.join(sorted(set(clean)))} occur",
            file=file,
            row=row,
            mend="give the protein's amino acids, not its gene",
        )
    return clean


def listed(text: str) -> tuple[str, ...]:
    """The items of a cell that may list several, separated by `;`, such as the proteins of a complex."""
    return tuple(item.strip() for item in text.split(";"))


def protein_names(factor: str, uniprot: str | None, count: int) -> tuple[str, ...]:
    """The accessions of a factor's proteins: as given, else its name (in a complex, `FACTOR.1` and on)."""
    if uniprot is not None:
        return listed(uniprot)
    return (factor,) if count == 1 else tuple(f"{factor}.{number}" for number in range(1, count + 1))


def sequence_sha256(sequence: str) -> str:
    """SHA-256 of a protein sequence in its canonical form (see `check_sequence`), as lower-case hex."""
    return sha256_bytes(sequence.encode("ascii"))


def _records(path: Path) -> Iterator[_Record]:
    header, start, parts = None, 0, []
    for row, line in numbered_lines(path):
        if line.startswith(">"):
            if header is not None:
                yield _Record(start, header, "".join(parts))
            header, start, parts = line[1:].strip(), row, []
        elif header is not None:
            parts.append(line)
        elif line.strip():
            raise InputError(
                "a FASTA file starts with a `>` header", file=path, row=row, mend="give a protein FASTA file"
            )
    if header is not None:
        yield _Record(start, header, "".join(parts))


def _accession_and_name(record: _Record, path: Path) -> tuple[str, str]:
    word = record.header.split()[0] if record.header else ""
    fields = word.split("|")
    if fields[0] in _UNIPROT_DATABASES and len(fields) > 1:
        fields = fields[1:]
    accession = fields[0]
    if not accession:
        raise InputError(
            "the header has no accession", file=path, row=record.row, mend="write it as `>ACCESSION|NAME`"
        )
    gene = _GENE_NAME.search(record.header)
    if gene:
        return accession, gene.group(1)
    return accession, fields[1] if len(fields) > 1 and fields[1] else accession
