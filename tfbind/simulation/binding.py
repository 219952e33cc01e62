"""Where a simulated factor binds: planted sites, the scan of both strands, occupancy, and noisy calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfbind.simulation.chromatin import BACKGROUND, Genome, N, Regions
from tfbind.simulation.streams import stream

STEEPNESS = 0.4
"""s of the occupancy, nats: how fast it rises with affinity."""

MISSED = 0.05
"""Share of bound sites that are not called."""

FALSE = 0.03
"""False calls, in open chromatin, as a share of the bound sites."""

PEAK_WIDTHS = (100, 150)
"""Narrowest and widest call, bp."""

_SUMMIT_JITTER = 8.0  # standard deviation, bp
_MERGED = 75  # bound sites of one factor nearer than this, bp, are one call
# Sites this many nats below half occupancy (occupancy under 0.1 %) are left unbound.
_NEGLIGIBLE = 7 * STEEPNESS
_WORD = 6


@dataclass(frozen=True, eq=False)
class Sites:
    """Sites of one factor on either strand, in genome order.

    Attributes
    ----------
    middles
        (sites,) int64, bp in the concatenated genome.
    affinities
        (sites,) float32, log-likelihood ratio of the motif against the background, nats.
    half_affinity
        mu: the affinity at which an open site is occupied half of the time.
    """

    middles: np.ndarray
    affinities: np.ndarray
    half_affinity: float

    def occupancy(self, openness: np.ndarray) -> np.ndarray:
        """Openness of the base in the middle x sigmoid((affinity - mu) / s): (sites,) from 0 to 1."""
        return openness[self.middles] / (1 + np.exp((self.half_affinity - self.affinities) / STEEPNESS))


@dataclass(frozen=True, eq=False)
class Calls:
    """Peaks of one experiment, in genome order.

    Attributes
    ----------
    starts, ends, summits
        (calls,) int64, 0-based half-open, bp in the concatenated genome.
    signal
        (calls,) float64, for signalValue.
    bound, missed, false
        Sites that were bound, those of them that were not called, and calls where nothing is bound.
    """

    starts: np.ndarray
    ends: np.ndarray
    summits: np.ndarray
    signal: np.ndarray
    bound: int
    missed: int
    false: int


def plant_sites(
    seed: int, genome: Genome, regions: Regions, factor: str, pwm: np.ndarray, number: int, free: np.ndarray
) -> int:
    """Write words drawn from the motif into the genome: half into candidate regions, half elsewhere.

    Parameters
    ----------
    pwm
        (width, 4) probabilities.
    number
        How many words.
    free
        (bp,) bool: where no earlier factor's word stands and no N; updated.

    Returns
    -------
    int
        Words written; fewer than `number` where there is no room.
    """
    rng = stream(seed, "planted", factor)
    in_region = np.zeros(len(genome.codes), bool)
    for start, end in zip(regions.starts, regions.ends, strict=True):
        in_region[start : end - len(pwm) + 1] = True
    inside = number // 2
    return sum(
        _plant(rng, genome.codes, np.flatnonzero(where), pwm, count, free)
        for where, count in ((in_region, inside), (~in_region, number - inside))
    )


def _plant(
    rng: np.random.Generator,
    codes: np.ndarray,
    allowed: np.ndarray,
    pwm: np.ndarray,
    number: int,
    free: np.ndarray,
) -> int:
    width = len(pwm)
    tries = 3 * number
    positions = rng.choice(allowed, size=tries)
    words = (rng.random((tries, width, 1)) > np.cumsum(pwm, axis=1)[None, :, :3]).sum(axis=2)
    reverse = rng.random(tries) < 0.5
    words[reverse] = 3 - words[reverse, ::-1]
    planted = 0
    for position, word in zip(positions, words, strict=True):
        place = slice(position, position + width)
        if planted < number and position + width <= len(codes) and free[place].all():
            codes[place], free[place] = word, False
            planted += 1
    return planted


def word_codes(codes: np.ndarray) -> np.ndarray:
    """Number of the 6-letter word that begins at each base: uint16 (bp - 5,), 4096 where N stands in it."""
    count = len(codes) - _WORD + 1
    words = np.zeros(count, np.uint16)
    unknown = np.zeros(count, bool)
    for i in range(_WORD):
        letters = codes[i : i + count]
        words = words * 4 + (letters & 3)
        unknown |= letters == N
    words[unknown] = 4**_WORD
    return words


def affinities(words: np.ndarray, pwm: np.ndarray) -> np.ndarray:
    """Log-likelihood ratio of a motif against the background at each position of the forward strand.

    Parameters
    ----------
    words
        `word_codes` of the genome, (bp - 5,).
    pwm
        (width, 4) probabilities, 6 <= width <= 12.

    Returns
    -------
    float32 (bp - width + 1,), nats; -inf where N stands in the site.
    """
    scores = np.log(pwm / np.array(BACKGROUND))
    width = len(scores)
    rest = scores[width - _WORD :].copy()
    rest[: 2 * _WORD - width] = 0  # columns that the first word counts
    count = len(words) - (width - _WORD)
    return _word_table(scores[:_WORD])[words[:count]] + _word_table(rest)[words[width - _WORD :]]


def _word_table(scores: np.ndarray) -> np.ndarray:
    table = np.zeros(1)
    for column in scores:
        table = (table[:, None] + column).reshape(-1)
    return np.append(table, -np.inf).astype(np.float32)


def find_sites(words: np.ndarray, pwm: np.ndarray, number: int) -> Sites:
    """All sites of a motif on both strands; the `number`-th best of the genome is half occupied if open."""
    strands = [affinities(words, pwm), affinities(words, pwm[::-1, ::-1])]
    half = float(_nth_largest(np.concatenate(strands), number))
    kept = [np.flatnonzero(scores > half - _NEGLIGIBLE) for scores in strands]
    positions = np.concatenate(kept)
    values = np.concatenate([scores[where] for scores, where in zip(strands, kept, strict=True)])
    order = np.argsort(positions, kind="stable")
    return Sites(positions[order] + len(pwm) // 2, values[order], half)


def _nth_largest(values: np.ndarray, n: int) -> float:
    return np.partition(values, len(values) - n)[len(values) - n]


def call_peaks(seed: int, sites: Sites, openness: np.ndarray, experiment: str) -> Calls:
    """Draw an experiment: sites bound by their occupancy, some of them missed, and some false calls.

    Parameters
    ----------
    openness
        (bp,) openness of the cell type.
    experiment
        Its name; experiments of another name are other draws.
    """
    rng = stream(seed, "calls", experiment)
    occupancy = sites.occupancy(openness)
    bound = np.flatnonzero(rng.random(len(occupancy)) < occupancy)
    bound = _strongest_of_neighbours(bound, sites)
    called = bound[rng.random(len(bound)) >= MISSED]
    open_bases = np.flatnonzero(openness >= 0.5)
    false = rng.choice(open_bases, size=rng.binomial(len(bound), FALSE))
    middles = np.concatenate([sites.middles[called], false])
    strength = np.concatenate([occupancy[called], rng.uniform(0.2, 0.6, len(false))])
    summits = middles + np.clip(rng.normal(0, _SUMMIT_JITTER, len(middles)), -24, 24).astype(np.int64)
    widths = rng.integers(PEAK_WIDTHS[0], PEAK_WIDTHS[1] + 1, len(middles))
    signal = 100 * strength * rng.lognormal(0, 0.3, len(middles))
    starts = summits - widths // 2
    order = np.lexsort((widths, starts))
    return Calls(
        starts[order],
        (starts + widths)[order],
        summits[order],
        signal[order],
        bound=len(bound),
        missed=len(bound) - len(called),
        false=len(false),
    )


def _strongest_of_neighbours(bound: np.ndarray, sites: Sites) -> np.ndarray:
    """Of bound sites in a row nearer than `_MERGED` to the one before, the one of highest affinity."""
    if not len(bound):
        return bound
    middles = sites.middles[bound]
    group = np.concatenate([[0], np.cumsum(np.diff(middles) >= _MERGED)])
    order = np.lexsort((-sites.affinities[bound], group))
    first = np.unique(group[order], return_index=True)[1]
    return bound[order[first]]


def narrow_peak_lines(genome: Genome, calls: Calls, name: str) -> str:
    """Calls as narrowPeak (0-based half-open; p and q unknown: -1; the summit as offset from the start)."""
    chromosomes, starts = genome.locate(calls.starts)
    lines = []
    for i, (chromosome, start) in enumerate(zip(chromosomes, starts, strict=True)):
        width, offset = calls.ends[i] - calls.starts[i], calls.summits[i] - calls.starts[i]
        score = min(1000, round(10 * calls.signal[i]))
        lines.append(
            f"{genome.names[chromosome]}\t{start}\t{start + width}\t{name}_{i + 1}\t{score}\t.\t"
            f"{calls.signal[i]:.3f}\t-1\t-1\t{offset}\n"
        )
    return "".join(lines)
