"""Motifs: position probability matrices from MEME files and JASPAR.

The MEME minimal format is described in the MEME Suite's documentation ("MEME Minimal Motif Format").
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path
from tfbind.factors.lines import numbered_lines

# JASPAR's data types of motifs that were measured outside of cells.
IN_VITRO = (
    "HT-SELEX",
    "CAP-SELEX",
    "NCAP-SELEX",
    "SELEX",
    "SMiLE-seq",
    "PBM",
    "PBM, CSA and/or DIP-chip",
    "bacterial 1-hybrid",
)
UNIFORM = (0.25, 0.25, 0.25, 0.25)

_JASPAR_ID = re.compile(r"(?P<base>(?:MA|UN)\d{4,})(?:\.(?P<version>\d+))?")
# How far a row of a MEME file may be from 1: published files round to two or three decimals.
_ROW_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Motif:
    """A factor's motif.

    Attributes
    ----------
    identifier
        Unique id, such as MA0363.3; no white space.
    name
        What people call it, such as REB1; no white space.
    probabilities
        (w, 4) float64, columns A, C, G, T; each row sums to 1; read-only.
    """

    identifier: str
    name: str
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        if not self.identifier or (self.identifier + self.name).split() != [self.identifier + self.name]:
            raise ValueError(f"a motif's id and name are single words: {self.identifier!r}, {self.name!r}")
        matrix = np.array(self.probabilities, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] == 0 or matrix.shape[1] != 4:
            raise ValueError(f"motif {self.identifier}: a matrix of shape (w, 4) is needed, not {matrix.shape}")
        if not (matrix >= 0).all() or not np.allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-6):
            raise ValueError(f"motif {self.identifier}: each row must be probabilities that sum to 1")
        matrix.flags.writeable = False
        object.__setattr__(self, "probabilities", matrix)

    def __len__(self) -> int:
        return len(self.probabilities)

    def log_odds(self, background: Sequence[float] = UNIFORM, pseudocount: float = 1e-3) -> np.ndarray:
        """Log-odds score of each base at each position, in nats (natural logarithm).

        score(i, b) = ln((p(i, b) + pseudocount * q(b)) / (1 + pseudocount) / q(b)). In nats, so that the
        log-sum-exp of a region's scores is the logarithm of its summed odds (a partition function), with no
        factor in between.

        Parameters
        ----------
        background
            q: probabilities of A, C, G, T; positive, sum 1.
        pseudocount
            Weight of the background against the motif; positive, so that all scores are finite.

        Returns
        -------
        numpy.ndarray
            (w, 4) float32.
        """
        q = np.asarray(background, dtype=np.float64)
        if q.shape != (4,) or not (q > 0).all() or abs(q.sum() - 1) > 1e-6:
            raise ValueError(f"background must be four positive numbers that sum to 1, not {background}")
        if not pseudocount > 0:
            raise ValueError(f"pseudocount must be positive, not {pseudocount}")
        smoothed = (self.probabilities + pseudocount * q) / (1 + pseudocount)
        return np.log(smoothed / q).astype(np.float32)


def read_meme(path: str | Path) -> dict[str, Motif]:
    """Read the motifs of a MEME file (minimal format, version 4 or 5, DNA), plain or gzipped.

    Only `letter-probability matrix` sections are read; `log-odds matrix` sections are skipped. Rows that sum
    to 1 within 0.02 are scaled to 1. A motif without a second name is named by its id.

    Returns
    -------
    dict
        Identifier -> `Motif`, in the order of the file.

    Raises
    ------
    InputError
        No MEME file, another alphabet, a row that does not sum to 1 or has not four numbers, a matrix that is
        not as long as its header says, an id that occurs twice, a motif without a matrix, or no motifs.
    """
    return _MemeReader(Path(path)).read()


def write_meme(path: str | Path, motifs: Iterable[Motif], background: Sequence[float] = UNIFORM) -> None:
    """Write motifs in the MEME minimal format, whole; `read_meme` gives back exactly the same matrices.

    Parameters
    ----------
    path
        The file.
    motifs
        In the order they are to be written; their identifiers must differ.
    background
        Probabilities of A, C, G, T, as the file states them.

    Raises
    ------
    InputError
        Two motifs have the same identifier.
    """
    lines = ["MEME version 4", "", "ALPHABET= ACGT", "", "strands: + -", "", "Background letter frequencies"]
    lines.append(" ".join(f"{base} {_exact(value)}" for base, value in zip("ACGT", background, strict=True)))
    seen = set()
    for motif in motifs:
        if motif.identifier in seen:
            raise InputError(
                f"motif {motif.identifier} would be written twice", file=path, mend="give each motif once"
            )
        seen.add(motif.identifier)
        lines += ["", f"MOTIF {motif.identifier} {motif.name}"]
        lines.append(f"letter-probability matrix: alength= 4 w= {len(motif)}")
        lines += [" ".join(map(_exact, row)) for row in motif.probabilities]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def jaspar_motif(identifier: str, release: str = "JASPAR2024") -> Motif:
    """A motif of the JASPAR database that pyjaspar ships; no network is used.

    Parameters
    ----------
    identifier
        Matrix id with its version, such as MA0363.3.
    release
        A release that pyjaspar knows, such as JASPAR2024.

    Returns
    -------
    Motif
        Counts divided by their sum at each position, with no pseudocount.

    Raises
    ------
    InputError
        An unknown release or id; the error lists what there is.
    """
    database = _jaspar(release, "factors.jaspar")
    try:
        parsed = _JASPAR_ID.fullmatch(identifier)
        found = None
        if parsed and parsed["version"]:
            with warnings.catch_warnings():  # pyjaspar warns of an unknown id; the error below says more.
                warnings.simplefilter("ignore")
                found = database.fetch_motif_by_id(identifier)
        if found is None:
            versions = _jaspar_versions(database, parsed["base"]) if parsed else []
            mend = f"{release} has {', '.join(versions)}" if versions else "look the id up at jaspar.elixir.no"
            raise InputError(f"no motif '{identifier}' in {release}", mend=mend)
    finally:
        database.conn.close()
    return _of_jaspar(found)


def jaspar_library(group: str, release: str = "JASPAR2024", *, in_vitro: bool = False) -> list[Motif]:
    """The latest version of each CORE motif of a taxonomic group, of the database that pyjaspar ships.

    Parameters
    ----------
    group
        As JASPAR names it, e.g. Vertebrates or Fungi; case does not matter.
    in_vitro
        Only those measured in vitro (`IN_VITRO`), by the data type that JASPAR states: no matrix then comes of
        ChIP of the cells that a model is tested on.

    Raises
    ------
    InputError
        An unknown release or group.
    """
    database = _jaspar(release, "model.trunk.pretrained")
    try:
        with warnings.catch_warnings():  # pyjaspar warns of an unknown group; the error below says more.
            warnings.simplefilter("ignore")
            found = database.fetch_motifs(collection="CORE", tax_group=[group])
    finally:
        database.conn.close()
    if in_vitro:
        found = [motif for motif in found if motif.data_type in IN_VITRO]
    if not found:
        raise InputError(
            f"{release} has no motifs of the group '{group}'",
            key="model.trunk.pretrained",
            mend="give one of its taxonomic groups, e.g. Vertebrates, Fungi, Plants, Insects",
        )
    return sorted((_of_jaspar(motif) for motif in found), key=lambda motif: motif.identifier)


def _jaspar(release: str, key: str) -> Any:
    from pyjaspar import jaspar_releases, jaspardb

    if release not in jaspar_releases:
        raise InputError(
            f"unknown JASPAR release '{release}'",
            key=key,
            mend=f"use one of {', '.join(sorted(jaspar_releases))}",
        )
    return jaspardb(release=release)


def _of_jaspar(found: Any) -> Motif:
    counts = np.array([found.counts[base] for base in "ACGT"], dtype=np.float64).T
    name = "_".join(found.name.split()) or found.matrix_id
    return Motif(found.matrix_id, name, counts / counts.sum(axis=1, keepdims=True))


def resolve_motif(text: str, meme: Mapping[str, Motif], release: str = "JASPAR2024") -> Motif:
    """The motif that a table's cell means: an id or a name in the MEME files, else a JASPAR id.

    Parameters
    ----------
    text
        Identifier or name.
    meme
        The motifs of the MEME files by identifier; they go before JASPAR.
    release
        JASPAR release for ids such as MA0363.3 that the MEME files do not have.

    Raises
    ------
    InputError
        Nothing has that id or name (near ones are listed), or several motifs have that name.
    """
    if text in meme:
        return meme[text]
    named = [motif for motif in meme.values() if motif.name == text]
    if len(named) == 1:
        return named[0]
    if named:
        raise InputError(
            f"{len(named)} motifs are named '{text}'",
            column="motif",
            mend=f"give one of their ids: {', '.join(motif.identifier for motif in named)}",
        )
    if _JASPAR_ID.fullmatch(text):
        return jaspar_motif(text, release)
    known = sorted({*meme, *(motif.name for motif in meme.values())})
    near = difflib.get_close_matches(text, known, n=5)
    raise InputError(
        f"no motif '{text}' in the MEME files, and it is no JASPAR id",
        column="motif",
        mend=f"did you mean {', '.join(near)}?"
        if near
        else "give a MEME file that has it, or a JASPAR id such as MA0363.3",
    )


def _jaspar_versions(database, base: str) -> list[str]:
    return sorted(
        (m.matrix_id for m in database.fetch_motifs(matrix_id=[base], all_versions=True)), key=_version_number
    )


def _version_number(identifier: str) -> int:
    return int(identifier.rsplit(".", 1)[1])


def _exact(value: float) -> str:
    # The shortest decimal that reads back as the same double, without an exponent, which some readers reject.
    return np.format_float_positional(value, unique=True, trim="0")


class _MemeReader:
    """One pass over a MEME file; keeps the row, so that each error can name it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = [(row, line.split()) for row, line in numbered_lines(path)]
        self.at = 0
        self.motifs: dict[str, Motif] = {}
        self.rows: dict[str, int] = {}
        self.pending: tuple[int, str, str] | None = None  # a MOTIF line whose matrix is still to come

    def read(self) -> dict[str, Motif]:
        self._check_version()
        while self.at < len(self.lines):
            row, words = self.lines[self.at]
            self.at += 1
            if not words:
                continue
            if words[0].startswith("ALPHABET="):
                self._check_alphabet(row, words)
            elif words[0] == "MOTIF":
                self._start_motif(row, words)
            elif words[0] == "letter-probability":
                self._read_matrix(row, " ".join(words))
        self._check_pending()
        if not self.motifs:
            raise InputError(
                "no motifs", file=self.path, mend="give a MEME file with `letter-probability matrix` sections"
            )
        return self.motifs

    def _check_version(self) -> None:
        row, words = next(((row, words) for row, words in self.lines if words), (1, []))
        if words[:2] != ["MEME", "version"] or len(words) < 3:
            raise InputError(
                "no `MEME version` line at the top",
                file=self.path,
                row=row,
                mend="give a motif file in MEME format",
            )
        if words[2].split(".")[0] not in ("4", "5"):
            raise InputError(
                f"MEME version {words[2]} is not read",
                file=self.path,
                row=row,
                mend="convert it to version 4 or 5",
            )

    def _check_alphabet(self, row: int, words: list[str]) -> None:
        alphabet = "".join(words).removeprefix("ALPHABET=")
        if alphabet != "ACGT":
            raise InputError(
                f"the alphabet is '{alphabet}'",
                file=self.path,
                row=row,
                mend="give DNA motifs (ALPHABET= ACGT)",
            )

    def _start_motif(self, row: int, words: list[str]) -> None:
        self._check_pending()
        if len(words) < 2:
            raise InputError("a MOTIF line without an id", file=self.path, row=row, mend="write `MOTIF ID NAME`")
        identifier = words[1]
        if identifier in self.rows:
            raise InputError(
                f"motif {identifier} is there twice; first in row {self.rows[identifier]}",
                file=self.path,
                row=row,
                mend="keep one of the two",
            )
        self.rows[identifier] = row
        self.pending = (row, identifier, words[2] if len(words) > 2 else identifier)

    def _check_pending(self) -> None:
        if self.pending:
            row, identifier, _ = self.pending
            raise InputError(
                f"motif {identifier} has no letter-probability matrix",
                file=self.path,
                row=row,
                mend="add it, or remove the motif",
            )

    def _read_matrix(self, row: int, header: str) -> None:
        if self.pending is None:
            raise InputError(
                "a matrix without a MOTIF line of its own",
                file=self.path,
                row=row,
                mend="write `MOTIF ID` before it",
            )
        _, identifier, name = self.pending
        self.pending = None
        stated = dict(re.findall(r"(alength|w)= *(\S+)", header))
        if stated.get("alength", "4") != "4":
            raise InputError(
                f"motif {identifier}: alength= {stated['alength']}, but DNA has 4 letters",
                file=self.path,
                row=row,
                mend="give DNA motifs",
            )
        matrix = []
        while self.at < len(self.lines) and (numbers := _numbers(self.lines[self.at][1])) is not None:
            matrix.append(self._probabilities(self.lines[self.at][0], identifier, numbers))
            self.at += 1
        if not matrix or stated.get("w", str(len(matrix))) != str(len(matrix)):
            said = stated.get("w", "nothing")
            raise InputError(
                f"motif {identifier}: {len(matrix)} rows of four numbers, but the header says w= {said}",
                file=self.path,
                row=self.lines[self.at][0] if self.at < len(self.lines) else row,
                mend="complete the matrix or correct w=",
            )
        self.motifs[identifier] = Motif(identifier, name, np.array(matrix))

    def _probabilities(self, row: int, identifier: str, numbers: list[float]) -> np.ndarray:
        if len(numbers) != 4:
            raise InputError(
                f"motif {identifier}: {len(numbers)} numbers, not 4",
                file=self.path,
                row=row,
                mend="give A, C, G and T for each position",
            )
        values = np.array(numbers)
        total = values.sum()
        if not (values >= 0).all() or not abs(total - 1) <= _ROW_TOLERANCE:
            raise InputError(
                f"motif {identifier}: the probabilities {' '.join(map(str, numbers))} do not sum to 1",
                file=self.path,
                row=row,
                mend="give probabilities, not counts or scores",
            )
        # What is already exact stays as it is, so that written files read back bit for bit.
        return values if abs(total - 1) < 1e-12 else values / total


def _numbers(words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words] or None
    except ValueError:
        return None
