"""K-mers of DNA on either strand, and a sample of them that is the same wherever they stand."""

from __future__ import annotations

import numpy as np

# Of the finaliser of MurmurHash3 (Appleby 2011), which mixes 64 bits.
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_N_CODE = 4


def sampled_kmers(codes: np.ndarray, k: int, one_in: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the k-mers of a stretch that are in the sample.

    A k-mer and its reverse complement are one. It is in the sample if its hash is among the lowest 1 / `one_in`
    of all hashes, wherever it stands (FracMinHash: Irber et al. 2022, bioRxiv 2022.01.11.475838): so of two
    stretches the same k-mers are sampled. Those with N are in none.

    Parameters
    ----------
    codes : uint8 (bp,)
        Base codes, N = 4.
    k
        Odd, at most 31.

    Returns
    -------
    int64 (n,), where they start, and uint64 (n,), their hashes.
    """
    if not (0 < k <= 31 and k % 2):
        raise ValueError(f"k is odd and at most 31, not {k}")
    count = len(codes) - k + 1
    if count < 1:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    known = codes < _N_CODE
    bases = np.where(known, codes, 0).astype(np.uint64)
    hashes = _mixed(np.minimum(_words(bases, k, forward=True), _words(3 - bases, k, forward=False)))
    unknown = np.concatenate([[0], np.cumsum(~known)])
    kept = (unknown[k:] == unknown[:-k]) & (hashes <= np.uint64((2**64 - 1) // one_in))
    positions = np.flatnonzero(kept)
    return positions, hashes[positions]


def _words(bases: np.ndarray, k: int, *, forward: bool) -> np.ndarray:
    """Each k-mer as a number, 2 bits a base; its first base highest, or lowest where it is read backwards."""
    # Words of 1, 2, 4 .. bases, of which those are laid together that k is the sum of.
    count = len(bases) - k + 1
    word, length = bases, 1
    found, done = np.zeros(count, dtype=np.uint64), 0
    while True:
        if k & length:
            part = word[done : done + count]
            found = _joined(found, done, part, length, forward=forward)
            done += length
        if 2 * length > k:
            return found
        word = _joined(word[:-length], length, word[length:], length, forward=forward)
        length *= 2


def _joined(first: np.ndarray, before: int, then: np.ndarray, after: int, *, forward: bool) -> np.ndarray:
    """Words of `before` bases and the `after` bases that follow."""
    if forward:
        return first << np.uint64(2 * after) | then
    return then << np.uint64(2 * before) | first


def _mixed(words: np.ndarray) -> np.ndarray:
    half = np.uint64(33)
    for factor in _MIX:
        words = (words ^ (words >> half)) * factor
    return words ^ (words >> half)
