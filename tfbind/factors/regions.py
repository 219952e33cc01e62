"""Which residues of a protein a model sees: all, its DNA-binding domains, or those and what lies beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfbind.core.errors import InputError
from tfbind.factors.lines import numbered_lines
from tfbind.factors.proteins import Protein

Span = tuple[int, int]
"""0-based, half-open, in residues."""

_NEEDED, _OPTIONAL = ("accession", "start", "end"), ("name", "pfam", "evalue")
_KEY = "factors.domains"


@dataclass(frozen=True)
class Region:
    """A rule by which proteins are cut, after they were embedded whole.

    Attributes
    ----------
    kind
        `whole`, `domain` (the domains' residues, in order), or `domain_with_flank`.
    flank
        Residues kept on either side of each domain, with `domain_with_flank`.
    domains
        Spans by accession, as `read_domains` gives them.
    without_domain
        What becomes of a protein without a span: an `error`, or it stays `whole`.
    """

    kind: Literal["whole", "domain", "domain_with_flank"] = "whole"
    flank: int = 0
    domains: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    without_domain: Literal["error", "whole"] = "error"

    @property
    def about(self) -> dict[str, Any]:
        """What the rule is, in short."""
        return {"region": self.kind, "flank": self.flank if self.kind == "domain_with_flank" else 0}

    def spans(self, protein: Protein) -> list[Span]:
        """The residues of a protein that are kept: spans in order, that neither overlap nor touch.

        Raises
        ------
        InputError
            The protein has no domain and must have one, or a domain ends behind its end.
        """
        length = len(protein.sequence)
        if self.kind == "whole":
            return [(0, length)]
        domains = self.domains.get(protein.accession, ())
        if not domains:
            if self.without_domain == "whole":
                return [(0, length)]
            raise InputError(
                f"the protein {protein.accession} ({protein.name}) has no domain in the table",
                key=_KEY,
                mend=f"add a row `{protein.accession}`, start, end to it, or set factors.without_domain: whole",
            )
        for start, end in domains:
            if end > length:
                raise InputError(
                    f"a domain of {protein.accession} is {start + 1}-{end}, and the protein ends at {length}",
                    key=_KEY,
                    mend="give the domains of this very sequence (isoforms differ)",
                )
        flank = self.about["flank"]
        return merged([(max(0, start - flank), min(length, end + flank)) for start, end in domains])


def merged(spans: Sequence[Span]) -> list[Span]:
    """Spans in order; those that overlap or touch are one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def read_domains(path: str | Path) -> dict[str, list[Span]]:
    """Read a TSV of domains, plain or gzipped, such as an extract of Pfam or InterPro.

    Its header names the columns `accession` (or `uniprot`), `start`, `end` (1-based, the end included, as Pfam
    writes them) and, if wanted, `name`, `pfam` and `evalue`. Lines that begin with `#` are comments.

    Returns
    -------
    dict
        Accession -> spans, merged (see `merged`).

    Raises
    ------
    InputError
        Naming the row: unknown or missing columns, another number of cells, no accession, or numbers that are no
        span.
    """
    path = Path(path)
    header: list[str] | None = None
    found: dict[str, list[Span]] = {}
    for row, line in numbered_lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if header is None:
            header = _header(cells, path, row)
            continue
        if len(cells) != len(header):
            raise InputError(
                f"has {len(cells)} cells, and the header {len(header)}",
                file=path,
                row=row,
                mend="separate cells by one tab each",
            )
        accession, span = _domain(dict(zip(header, cells, strict=True)), path, row)
        found.setdefault(accession, []).append(span)
    if not found:
        raise InputError("has no domains", file=path, key=_KEY, mend=f"give the columns {', '.join(_NEEDED)}")
    return {accession: merged(spans) for accession, spans in found.items()}


def _header(cells: list[str], path: Path, row: int) -> list[str]:
    cells = ["accession" if cell == "uniprot" else cell for cell in cells]
    unknown = [cell for cell in cells if cell not in (*_NEEDED, *_OPTIONAL)]
    missing = [name for name in _NEEDED if name not in cells]
    if unknown or missing or len(set(cells)) != len(cells):
        wrong = f"unknown column '{unknown[0]}'" if unknown else "a column stands twice"
        raise InputError(
            f"column '{missing[0]}' is missing" if missing else wrong,
            file=path,
            row=row,
            mend=f"the header is {', '.join(_NEEDED)} and, if wanted, {', '.join(_OPTIONAL)}, separated by tabs",
        )
    return cells


def _domain(cells: Mapping[str, str], path: Path, row: int) -> tuple[str, Span]:
    if not cells["accession"]:
        raise InputError("is empty", file=path, row=row, column="accession", mend="give the protein's accession")
    numbers = [int(cells[name]) if cells[name].isdecimal() else 0 for name in ("start", "end")]
    start, end = numbers
    if not 1 <= start <= end:
        raise InputError(
            f"{cells['start']}-{cells['end']} is no span of residues",
            file=path,
            row=row,
            column="start",
            mend="count residues from 1; the end is included",
        )
    return cells["accession"], (start - 1, end)
