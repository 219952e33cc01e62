"""Chromosome names: what a file calls chr14, 14 or NC_001146.8 and the genome calls chrXIV.

Two names are the same chromosome when they have the same *key*: the name without `chr`; one key for all
spellings of the mitochondrion; the roman numeral for an arabic one where the assembly counts in roman
numerals; the chromosome's number for a RefSeq accession of sacCer3, hg19 or hg38. A name whose key belongs to
two of the genome's chromosomes does not resolve: nothing is guessed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tfbind.core.errors import InputError
from tfbind.genome.compressed import read_lines

MITOCHONDRION = "mitochondrion"
MITOCHONDRION_SPELLINGS = frozenset({"M", "MT", "Mito", "MtDNA", "m", "mt", "mito"})
PREFIX = re.compile(r"^(?:chr|Chr|CHR)(?=.)")
REFSEQ = re.compile(r"^NC_(\d{6})(?:\.\d+)?$")
YEAST_FIRST, YEAST_LAST, YEAST_MITOCHONDRION = 1133, 1148, 1224
HUMAN_LAST, HUMAN_MITOCHONDRION = 24, 12920
LARGEST_ROMAN = 99
WORM = frozenset({"I", "II", "III", "IV", "V", "X"})
LISTED = 40
ALIASES_MEND = "give a table of aliases (two columns: alias, name), or use files made for this genome"


def roman(number: int) -> str:
    """The roman numeral of a number from 1 to 99."""
    tens = ("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC")
    ones = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
    return tens[number // 10] + ones[number % 10]


ROMAN = frozenset(roman(number) for number in range(1, LARGEST_ROMAN + 1))


def listed(names: Iterable[str]) -> str:
    """Names for an error message, the first 40 of them."""
    names = list(names)
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


class ChromosomeNames:
    """The names of a genome's chromosomes, and what other files call them.

    Parameters
    ----------
    names
        All the genome's names, those of excluded chromosomes too.
    aliases
        Further names, alias -> name of the genome; they go before the known schemes.

    Raises
    ------
    InputError
        An alias stands for a chromosome that the genome does not have, or is itself the name of another one.
    """

    def __init__(self, names: Sequence[str], aliases: Mapping[str, str] | None = None) -> None:
        self.names = tuple(names)
        self.aliases = dict(aliases or {})
        self._known = frozenset(self.names)
        bases = {PREFIX.sub("", name) for name in self.names}
        # chrX is the tenth chromosome of yeast and a sex chromosome in human and in the worm (I to V and X):
        # numerals count only where the numbered chromosomes are roman, and X only beside one of 6 to 9 or 11.
        self._roman = "I" in bases and not any(base.isdigit() for base in bases)
        self._worm = bases & ROMAN == WORM
        self._tenth = bool(bases & {"VI", "VII", "VIII", "IX", "XI"})
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self._by_key[self._key(name)].append(name)
        self._check_aliases()

    def resolve(self, name: str) -> str | None:
        """The genome's name for `name`, or None where it has none or more than one."""
        if name in self._known:
            return name
        if name in self.aliases:
            return self.aliases[name]
        candidates = self._by_key.get(self._key(name), [])
        return candidates[0] if len(candidates) == 1 else None

    def require_all(self, found: Iterable[str], file: str | Path | None = None) -> dict[str, str]:
        """Every name in `found` -> the genome's name, or an InputError that lists both sides."""
        resolved = {name: self.resolve(name) for name in found}
        missing = [name for name, target in resolved.items() if target is None]
        if missing:
            known = listed(self.names)
            problem = f"chromosome names that do not resolve: {listed(missing)}; the genome has: {known}"
            raise InputError(problem, file=file, mend=ALIASES_MEND)
        return {name: target for name, target in resolved.items() if target is not None}

    def is_mitochondrion(self, name: str) -> bool:
        """Whether a chromosome of the genome is the mitochondrion, by its name or an alias."""
        called = [name, *(alias for alias, target in self.aliases.items() if target == name)]
        return any(self._key(each) == MITOCHONDRION for each in called)

    def _key(self, name: str) -> str:
        accession = REFSEQ.match(name)
        if accession:
            return self._accession_key(int(accession[1])) or name
        base = PREFIX.sub("", name)
        if base in MITOCHONDRION_SPELLINGS:
            return MITOCHONDRION
        if self._roman and re.fullmatch(r"[1-9]\d?", base):
            return self._roman_key(int(base))
        return base

    def _roman_key(self, number: int) -> str:
        return str(number) if number == 10 and not self._tenth else roman(number)

    def _accession_key(self, number: int) -> str | None:
        if self._roman:
            if self._worm:
                return None
            if number == YEAST_MITOCHONDRION:
                return MITOCHONDRION
            yeast = YEAST_FIRST <= number <= YEAST_LAST
            return self._roman_key(number - YEAST_FIRST + 1) if yeast else None
        if number == HUMAN_MITOCHONDRION:
            return MITOCHONDRION
        if 1 <= number <= HUMAN_LAST:
            return {23: "X", 24: "Y"}.get(number, str(number))
        return None

    def _check_aliases(self) -> None:
        for alias, name in self.aliases.items():
            if name not in self._known:
                problem = f"alias '{alias}' stands for '{name}', which the genome does not have; it has: "
                raise InputError(problem + listed(self.names), mend="correct the table of aliases")
            if alias in self._known and alias != name:
                problem = f"alias '{alias}' of '{name}' is itself the name of another chromosome"
                raise InputError(problem, mend="take that row out of the table of aliases")


def read_aliases(path: str | Path) -> dict[str, str]:
    """Read a table of chromosome aliases: two tab-separated columns, alias and the genome's name.

    Lines that start with `#`, empty lines and a first row `alias<TAB>name` are skipped.

    Raises
    ------
    InputError
        The file is missing or has no alias, a row has not two filled columns, or an alias is there twice.
    """
    aliases: dict[str, str] = {}
    lines = (line for block in read_lines(path) for line in block)
    for row, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line.decode("utf-8", "replace").split("\t")]
        if cells == [""] or cells[0].startswith("#") or (row == 1 and cells == ["alias", "name"]):
            continue
        if len(cells) != 2 or not all(cells):
            problem = f"expected two tab-separated columns (alias, name), found {len([c for c in cells if c])}"
            raise InputError(problem, file=path, row=row, mend="write the row as alias, tab, name")
        if cells[0] in aliases:
            problem = f"alias '{cells[0]}' is there twice"
            raise InputError(problem, file=path, row=row, column="alias", mend="keep one of the rows")
        aliases[cells[0]] = cells[1]
    if not aliases:
        raise InputError("the table has no alias", file=path, mend="add rows (alias, tab, name) or leave it out")
    return aliases
