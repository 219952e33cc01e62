"""Synthetic factors whose proteins determine their motifs: the recognition code of TAL effectors.

A TAL effector binds DNA with a row of 34-residue repeats. Each repeat reads one base, and the two residues at
its positions 12 and 13 (the repeat-variable diresidue) say which: NI reads A, HD C, NN G (and A), NG T.

References
----------
Moscou & Bogdanove (2009) Science 326:1501. Boch et al. (2009) Science 326:1509. The code is theirs; the
probabilities in `CODE` are rounded choices in their spirit. Real effectors also want a T before the site
and end on a half repeat; the simulated ones do neither.
"""

from __future__ import annotations

import numpy as np

from tfbind.core.errors import InputError

BASES = "ACGT"

REPEAT = "LTPEQVVAIASxxGGKQALETVQRLLPVLCQAHG"
"""Consensus repeat; `xx` (positions 12-13) is the repeat-variable diresidue."""

CODE: dict[str, tuple[float, float, float, float]] = {
    "NI": (0.86, 0.04, 0.06, 0.04),
    "HD": (0.04, 0.90, 0.02, 0.04),
    "NN": (0.24, 0.03, 0.70, 0.03),
    "NG": (0.05, 0.06, 0.03, 0.86),
}
"""Repeat-variable diresidue -> probabilities of A, C, G, T. Their order is that of the base they prefer."""

CONSERVATIVE = {
    "A": "GS",
    "C": "S",
    "E": "DQ",
    "H": "NQ",
    "I": "LV",
    "K": "R",
    "L": "IMV",
    "Q": "EN",
    "R": "K",
    "T": "S",
    "V": "AI",
}
"""Exchanges that leave the fold of a repeat alone."""

MOST_SUBSTITUTIONS = 3

# Enriched in intrinsically disordered regions: A, R, G, Q, S, P, E, K. Depleted: W, C, F, I, Y, V, L, N.
_TAIL_LETTERS = "ARGQSPEKDTMHNLVYIFCW"
_TAIL_WEIGHTS = np.array([9, 7, 8, 7, 12, 10, 9, 8, 6, 5, 2, 2, 3, 4, 3, 1.2, 1.5, 1, 0.8, 0.5])

_DIRESIDUE = slice(11, 13)
_SUBSTITUTABLE = [i for i, residue in enumerate(REPEAT) if residue in CONSERVATIVE and i not in range(10, 14)]
# A repeat keeps at least 29 of its 32 constant residues; anything else in a protein shares about 3.
_LEAST_IDENTITIES = 26


def random_factor(rng: np.random.Generator, width: int) -> tuple[str, np.ndarray]:
    """Draw a synthetic factor.

    Parameters
    ----------
    rng
        Source of all that is random here.
    width
        Number of repeats, which is the number of bases of the motif.

    Returns
    -------
    protein
        N-terminal tail (60-140 residues), `width` repeats, C-terminal tail (40-100), one-letter code.
    pwm
        Probabilities, float64 (width, 4), columns A, C, G, T.
    """
    diresidues = _random_diresidues(rng, width)
    repeats = [_random_repeat(rng, diresidue) for diresidue in diresidues]
    n_tail = "M" + _random_tail(rng, int(rng.integers(59, 140)))
    c_tail = _random_tail(rng, int(rng.integers(40, 101)))
    return n_tail + "".join(repeats) + c_tail, _pwm(diresidues)


def read_motif(protein: str) -> np.ndarray:
    """Apply the recognition code to a protein.

    Parameters
    ----------
    protein
        Sequence in one-letter code.

    Returns
    -------
    Probabilities, float64 (repeats, 4), columns A, C, G, T, in the order of the repeats.

    Raises
    ------
    InputError
        The protein has no repeat of the kind, or one with a diresidue that the code does not know.
    """
    starts = _repeat_starts(protein)
    if not len(starts):
        raise InputError("the protein has no TAL repeat", mend="give a protein of the simulated world")
    diresidues = [protein[start : start + len(REPEAT)][_DIRESIDUE] for start in starts]
    unknown = sorted(set(diresidues) - set(CODE))
    if unknown:
        raise InputError(
            f"repeats with the diresidue {', '.join(unknown)} have no base",
            mend=f"the code knows {', '.join(CODE)}",
        )
    return _pwm(diresidues)


def _random_diresidues(rng: np.random.Generator, width: int) -> list[str]:
    """One diresidue a base; at least three kinds where width allows: poor motifs match themselves shifted."""
    names = list(CODE)
    while True:
        drawn = [names[i] for i in rng.integers(0, len(names), width)]
        if len(set(drawn)) >= min(3, width):
            return drawn


def _random_repeat(rng: np.random.Generator, diresidue: str) -> str:
    residues = list(REPEAT)
    residues[_DIRESIDUE] = diresidue
    number = int(rng.integers(0, MOST_SUBSTITUTIONS + 1))
    for position in rng.choice(_SUBSTITUTABLE, size=number, replace=False):
        choices = CONSERVATIVE[residues[position]]
        residues[position] = choices[int(rng.integers(len(choices)))]
    return "".join(residues)


def _random_tail(rng: np.random.Generator, length: int) -> str:
    weights = _TAIL_WEIGHTS / _TAIL_WEIGHTS.sum()
    return "".join(rng.choice(list(_TAIL_LETTERS), size=length, p=weights))


def _repeat_starts(protein: str) -> np.ndarray:
    residues = np.frombuffer(protein.encode("ascii", "replace"), np.uint8)
    if len(residues) < len(REPEAT):
        return np.zeros(0, np.int64)
    consensus = np.frombuffer(REPEAT.encode(), np.uint8)
    same = np.lib.stride_tricks.sliding_window_view(residues, len(REPEAT)) == consensus
    return np.flatnonzero(same.sum(axis=1) >= _LEAST_IDENTITIES)


def _pwm(diresidues: list[str]) -> np.ndarray:
    return np.array([CODE[diresidue] for diresidue in diresidues], np.float64)
