"""An embedder without weights: each residue as its identity and published physicochemical scales.

Columns 0-19 are a one-hot of the amino acids in alphabetical order of their letters, columns 20-27 the scales
below, each standardised over the 20 amino acids (mean 0, standard deviation 1). A residue that is not certain
is the mean of what it may be. A residue says nothing of its neighbours here: context is the model's to learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfbind.core.files import sha256_bytes
from tfbind.factors.proteins import AMINO_ACIDS, STANDARD_AMINO_ACIDS, check_sequence

# The order in which the literature (and AAindex) prints the scales.
_PRINTED_ORDER = "ARNDCQEGHILKMFPSTWYV"

_PRINTED_SCALES = {
    # Hydropathy: Kyte and Doolittle, J. Mol. Biol. 157:105 (1982); AAindex KYTJ820101.
    "hydropathy": (
        "1.8 -4.5 -3.5 -3.5 2.5 -3.5 -3.5 -0.4 -3.2 4.5 3.8 -3.9 1.9 2.8 -1.6 -0.8 -0.7 -0.9 -1.3 4.2"
    ),
    # Residue volume, cubic angstrom: Zamyatnin, Prog. Biophys. Mol. Biol. 24:107 (1972).
    "volume": (
        "88.6 173.4 114.1 111.1 108.5 143.8 138.4 60.1 153.2 166.7 "
        "166.7 168.6 162.9 189.9 112.7 89.0 116.1 227.8 193.6 140.0"
    ),
    # Polarity: Grantham, Science 185:862 (1974); AAindex GRAR740102.
    "polarity": "8.1 10.5 11.6 13.0 5.5 10.5 12.3 9.0 10.4 5.2 4.9 11.3 5.7 5.2 8.0 9.2 8.6 5.4 6.2 5.9",
    # Isoelectric point: Zimmerman, Eliezer and Simha, J. Theor. Biol. 21:170 (1968); AAindex ZIMJ680104.
    "isoelectric_point": (
        "6.00 10.76 5.41 2.77 5.05 5.65 3.22 5.97 7.59 6.02 5.98 9.74 5.74 5.48 6.30 5.68 5.66 5.89 5.66 5.96"
    ),
    # Helix and sheet propensity: Chou and Fasman, Adv. Enzymol. 47:45 (1978); AAindex CHOP780201, CHOP780202.
    "helix": (
        "1.42 0.98 0.67 1.01 0.70 1.11 1.51 0.57 1.00 1.08 1.21 1.16 1.45 1.13 0.57 0.77 0.83 1.08 0.69 1.06"
    ),
    "sheet": (
        "0.83 0.93 0.89 0.54 1.19 1.10 0.37 0.75 0.87 1.60 1.30 0.74 1.05 1.38 0.55 0.75 1.19 1.37 1.47 1.70"
    ),
    # Hydrogen-bond donors of the side chain, which read bases: Fauchere et al., Int. J. Pept. Protein Res.
    # 32:269 (1988); AAindex FAUJ880109.
    "donors": "0 4 2 1 0 2 1 0 1 0 0 2 0 0 0 1 1 1 1 0",
}

# pK of the side chains: Bjellqvist et al., Electrophoresis 14:1023 (1993). Sign: charge of the ionised form.
_SIDE_CHAIN_PK = {
    "D": (-1, 4.05),
    "E": (-1, 4.45),
    "C": (-1, 9.0),
    "Y": (-1, 10.0),
    "H": (1, 5.98),
    "K": (1, 10.0),
    "R": (1, 12.0),
}

_MAY_BE = {"X": STANDARD_AMINO_ACIDS, "B": "DN", "Z": "EQ", "J": "IL", "U": "C", "O": "K"}


def _charge(letter: str, ph: float = 7.0) -> float:
    # Henderson-Hasselbalch: the share of side chains that carry their charge at this pH.
    if letter not in _SIDE_CHAIN_PK:
        return 0.0
    sign, pk = _SIDE_CHAIN_PK[letter]
    return sign / (1 + 10 ** (sign * (ph - pk)))


def _scales() -> dict[str, list[float]]:
    scales = {}
    for name, printed in _PRINTED_SCALES.items():
        by_letter = dict(zip(_PRINTED_ORDER, map(float, printed.split()), strict=True))
        scales[name] = [by_letter[letter] for letter in STANDARD_AMINO_ACIDS]
    scales["charge"] = [_charge(letter) for letter in STANDARD_AMINO_ACIDS]
    return scales


def _table() -> np.ndarray:
    """One row a letter of `AMINO_ACIDS`, (26, 28) float32."""
    scales = np.array(list(_scales().values())).T
    scales = (scales - scales.mean(axis=0)) / scales.std(axis=0)
    # Rounded, so that the last bit of another machine's arithmetic changes neither the table nor its version.
    standard = np.round(np.concatenate([np.eye(20), scales], axis=1), 6)
    rows = dict(zip(STANDARD_AMINO_ACIDS, standard, strict=True))
    for letter, options in _MAY_BE.items():
        rows[letter] = np.round(np.mean([rows[option] for option in options], axis=0), 6)
    # Adding zero turns -0 into 0, which rounding a tiny negative number leaves.
    return np.stack([rows[letter] for letter in AMINO_ACIDS]).astype(np.float32) + np.float32(0)


class PhysicochemicalEmbedder:
    """Embeds residues by identity and physicochemical scales; needs no weights and is exactly deterministic.

    Attributes
    ----------
    name
        `physicochemical`.
    version
        Follows the table's content, so that cached embeddings never outlive a change of it.
    dim
        Numbers a residue.
    columns
        What each of them is.
    dtype
        How embeddings are stored.
    """

    name = "physicochemical"
    columns = (*STANDARD_AMINO_ACIDS, *_PRINTED_SCALES, "charge")
    dtype = "float32"

    def __init__(self) -> None:
        self._table = _table()
        self._row_of = np.zeros(128, dtype=np.intp)
        self._row_of[[ord(letter) for letter in AMINO_ACIDS]] = np.arange(len(AMINO_ACIDS))
        self.version = sha256_bytes(self._table.astype("<f4").tobytes())[:16]

    @property
    def dim(self) -> int:
        return self._table.shape[1]

    def embed(self, sequences: Sequence[str]) -> list[np.ndarray]:
        """Embed proteins.

        Returns
        -------
        list of numpy.ndarray
            One (L, dim) float32 array a sequence.

        Raises
        ------
        InputError
            A sequence is empty or has a letter that is no amino acid.
        """
        letters = (
            np.frombuffer(check_sequence(sequence).encode("ascii"), dtype=np.uint8) for sequence in sequences
        )
        return [self._table[self._row_of[codes]] for codes in letters]
