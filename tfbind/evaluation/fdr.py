"""What a stated false discovery rate becomes where the model was not trained: of bins, and of called peaks.

Thresholds come from the validation (`Checkpoint.about["thresholds"]`); here they are applied to the test regions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.files import atomic_path
from tfbind.evaluation.loci import MODEL_BINS
from tfbind.evaluation.scene import Scene
from tfbind.genome.bigwig import round_fixed
from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.prediction.peaks import call_peaks
from tfbind.prediction.render import BITS, presentable_threshold

COLUMNS = (
    "experiment",
    "kind",
    "fdr",
    "threshold_from",
    "threshold",
    "of",
    "measured",
    "calls",
    "right",
    "achieved_fdr",
    "recall",
)
OWN, POOLED = "own", "pooled"


def achieved(
    labels: np.ndarray,
    usable: np.ndarray,
    probabilities: np.ndarray,
    lengths: Sequence[int],
    thresholds: Mapping[str, float | None],
    *,
    experiment: str,
    kind: str,
    fdr: float,
) -> Iterator[dict[str, Any]]:
    """How many calls of an experiment are right, at its own threshold, if it has one, and at the pooled one.

    Bins and thresholds are rounded as tracks are, so that calls are those of `tfbind render`.

    - Of bins: those that are bound or unbound count. Right is a call that is bound; recall is that of bound bins.
    - Of peaks: called peaks as narrowPeak has them, which are runs of called bins; right is one that overlaps a
      measured peak by a base or more. Measured peaks that touch the same or neighbouring bins are one; recall is
      the share of them that a called peak overlaps.

    Parameters
    ----------
    labels
        uint8 (bins,) of the test regions, one after the other.
    usable
        bool (bins,): not N, not blacklisted. Bins that are usable and left out are partly covered by a peak.
    probabilities
        float32 (bins,), calibrated as tracks are.
    lengths
        Bins of each region: no peak goes from one to the next.
    thresholds
        As of a checkpoint.
    kind
        What of the experiment was not trained on.
    fdr
        The rate that the thresholds are for.

    Yields
    ------
    Rows with the keys `COLUMNS`. Without a threshold nothing is called; the rate of no calls is nan, and so is
    the recall of nothing measured.
    """
    shown = round_fixed(np.asarray(probabilities, dtype=np.float32), BITS) * usable
    measured = usable & (labels != 0)
    for source, name in ((OWN, experiment), (POOLED, "pooled")):
        if name not in thresholds:
            continue
        threshold = presentable_threshold(thresholds[name])
        about = {"experiment": experiment, "kind": kind, "fdr": fdr, "threshold_from": source}
        about["threshold"] = math.nan if threshold is None else threshold
        called = np.zeros(len(shown), dtype=bool)
        if threshold is not None:
            called = shown >= np.float32(threshold)
        judged = labels != LEFT_OUT
        bound = labels == BOUND
        yield about | _counts("bins", called & judged, bound, bound)
        peaks, found = _peaks(called, measured, lengths), _peaks(measured, called, lengths)
        yield about | _row("peaks", len(found), len(peaks), int(peaks.sum()), int(found.sum()))


@dataclass(frozen=True)
class Calls:
    """A model's calls in a test.

    Attributes
    ----------
    scene
        Where they are called, and what was measured there.
    about
        Of the model: its thresholds, and the rate that they are for.
    """

    scene: Scene
    about: Mapping[str, Any]

    def of(self, column: int, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """Rows of an experiment, from its probabilities (bins,) in the test's regions; see `achieved`."""
        experiment = self.scene.experiments[column]["name"]
        loci = self.scene.loci[MODEL_BINS]
        rows = achieved(
            loci.labels[:, column],
            self.usable,
            probabilities,
            np.diff(loci.starts).tolist(),
            self.about["thresholds"],
            experiment=experiment,
            kind=self.scene.split.kinds[experiment],
            fdr=self.about["fdr"],
        )
        return list(rows)

    @cached_property
    def usable(self) -> np.ndarray:
        """Bins of the test's regions that are neither N nor blacklisted, bool (bins,)."""
        bin, reference = self.scene.data.bin, self.scene.reference
        parts = []
        for region in self.scene.regions:
            bins = region.bins(bin)
            parts.append(reference.usable_bins(region.chrom, bin)[bins.start : bins.stop])
        return np.concatenate(parts)


def write_fdr(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as TSV, as they come; nan is an empty field."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write("\t".join(COLUMNS) + "\n")
        for row in rows:
            handle.write("\t".join(_field(row[column]) for column in COLUMNS) + "\n")


def _counts(of: str, called: np.ndarray, right: np.ndarray, measured: np.ndarray) -> dict[str, Any]:
    hits = int((called & right).sum())
    return _row(of, int(measured.sum()), int(called.sum()), hits, hits)


def _row(of: str, measured: int, calls: int, right: int, found: int) -> dict[str, Any]:
    """`found` of the measured ones are called; `right` of the calls are measured."""
    return {
        "of": of,
        "measured": measured,
        "calls": calls,
        "right": right,
        "achieved_fdr": 1 - right / calls if calls else math.nan,
        "recall": found / measured if measured else math.nan,
    }


def _peaks(chosen: np.ndarray, others: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Of each run of chosen bins, whether one of the others lies in it: bool (runs,)."""
    hits, start = [], 0
    for length in lengths:
        inside = slice(start, start + length)
        start += length
        sums = np.concatenate([[0], np.cumsum(others[inside])])
        runs = call_peaks(chosen[inside], 1)
        hits.append(sums[runs[:, 1]] > sums[runs[:, 0]])
    return np.concatenate(hits) if hits else np.zeros(0, dtype=bool)


def _field(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
