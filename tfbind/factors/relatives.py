"""How alike factors are, by their DNA-binding domains, and which of them are relatives."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import comb

from tfbind.core.errors import InputError
from tfbind.core.progress import told
from tfbind.factors.proteins import STANDARD_AMINO_ACIDS, Protein
from tfbind.factors.regions import Region

# Of a gap's first residue and of each further one: BLAST's, with BLOSUM62.
GAP_OPEN, GAP_EXTEND = 11, 1


@dataclass(frozen=True)
class Relatives:
    """Factors, and what of their proteins is compared.

    The identity of two proteins is the number of equal residues in their alignment over the length of the shorter
    one: a domain that is whole within another protein (a fusion, an isoform, one with more zinc fingers) is as
    alike as it can be. The alignment is global, with free ends (BLOSUM62). What is compared are the residues of
    the DNA-binding domains, in order, or the whole protein where none is known; residues that are not one of
    the 20 are left out. Of complexes, it is that of the two members that are most alike.

    Attributes
    ----------
    residues
        Factor -> what is compared of each of its proteins, none where none is known.
    """

    residues: Mapping[str, tuple[str, ...]]
    _known: dict[tuple[str, str], float] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, proteins: Mapping[str, Sequence[Protein]], region: Region) -> Relatives:
        """Relatives among factors, from their proteins and the rule that cuts the domains out of them."""
        return cls(
            {factor: tuple(_compared(protein, region) for protein in given) for factor, given in proteins.items()}
        )

    def identity(self, one: str, other: str) -> float:
        """Identity of two factors, 0 to 1: of itself 1, and 0 where a protein is not known."""
        if one == other:
            return 1.0
        pairs = [(a, b) for a in self.residues[one] for b in self.residues[other]]
        return max(
            (self._identity(*sorted(pair, key=lambda each: (len(each), each))) for pair in pairs), default=0.0
        )

    def _identity(self, shorter: str, longer: str) -> float:
        if shorter == longer:
            return 1.0
        if not shorter:
            return 0.0
        if (shorter, longer) not in self._known:
            self._known[shorter, longer] = _matches(shorter, longer) / len(shorter)
        return self._known[shorter, longer]

    def clusters(self, least: float) -> list[tuple[str, ...]]:
        """All factors, each in one cluster: those from `least` identity on are together (single linkage).

        Both clusters and the factors of each are in the order of `residues`.
        """
        root = {factor: factor for factor in self.residues}

        def find(factor: str) -> str:
            while root[factor] != factor:
                root[factor] = root[root[factor]]
                factor = root[factor]
            return factor

        pairs = told(
            combinations(self.residues, 2), "comparing proteins", comb(len(self.residues), 2), unit="pairs"
        )
        for one, other in pairs:
            if find(one) != find(other) and self.identity(one, other) >= least:
                root[find(other)] = find(one)
        found: dict[str, list[str]] = {}
        for factor in self.residues:
            found.setdefault(find(factor), []).append(factor)
        return [tuple(factors) for factors in found.values()]

    def nearest(self, factor: str, others: Collection[str]) -> tuple[str | None, float]:
        """The most alike of other factors, the first of equals, and its identity; None and 0 if none is alike."""
        if factor in others:
            return factor, 1.0
        best = max(others, key=lambda other: self.identity(factor, other), default=None)
        found = 0.0 if best is None else self.identity(factor, best)
        return (best, found) if found else (None, 0.0)


def without_domains(proteins: Mapping[str, Sequence[Protein]], region: Region) -> list[str]:
    """The factors that are compared by whole proteins, since the table of domains has none of theirs.

    Raises
    ------
    InputError
        It has none of any protein: its accessions are others.
    """
    if not region.domains:
        return []
    lacking = [
        factor
        for factor, given in proteins.items()
        if given and not any(protein.accession in region.domains for protein in given)
    ]
    if lacking and len(lacking) == sum(1 for given in proteins.values() if given):
        raise InputError(
            f"no protein has a domain in the table; its accessions are such as {next(iter(region.domains))}, "
            f"theirs such as {proteins[lacking[0]][0].accession}",
            key="factors.domains",
            mend="name proteins in it as the table of factors does (UniProt accessions)",
        )
    return lacking


def closed(names: Iterable[str], clusters: Iterable[Collection[str]]) -> set[str]:
    """Names, and all that share a cluster with one of them."""
    given = set(names)
    return given.union(*(cluster for cluster in clusters if given.intersection(cluster)))


def _compared(protein: Protein, region: Region) -> str:
    kept = "".join(protein.sequence[start:end] for start, end in region.spans(protein))
    return re.sub(f"[^{STANDARD_AMINO_ACIDS}]", "", kept)


def _matches(one: str, other: str) -> int:
    """Equal residues in the alignment of two proteins."""
    # Takes a moment to load.
    import parasail

    found = parasail.sg_stats_scan_sat(one, other, GAP_OPEN + GAP_EXTEND, GAP_EXTEND, parasail.blosum62)
    return int(found.matches)
