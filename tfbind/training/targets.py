"""Targets: what was measured per bin, one array a chromosome with all experiments side by side.

Labels always, and the peaks that they come from, so that bins of another width can be labelled; where a loss
needs them, the signal (coverage) and the scores of peaks too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, read_json, sha256_bytes, sha256_file, sha256_json, write_json
from tfbind.core.progress import told
from tfbind.genome.bigwig import read_chromosome_bins
from tfbind.genome.intervals import (
    ChromosomeIntervals,
    Intervals,
    bin_count,
    coverage_fraction,
    read_intervals,
)
from tfbind.genome.reference import Reference
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND

FORMAT = 2
ARRAYS = ("signal", "score")
"""What targets may hold beside labels."""
# Columns that are laid into an array at once: each is read and made whole.
COLUMNS_AT_ONCE = 64


@dataclass(frozen=True)
class Experiment:
    """One measured binding set.

    Attributes
    ----------
    signal
        bigWig of its coverage; None: not measured.
    reads
        Its read depth; None: not known.
    """

    name: str
    factor: str
    cell_type: str
    peaks: Path
    signal: Path | None = None
    reads: int | None = None


def label_bins(spans: np.ndarray, size: int, bin: int, *, bound_fraction: float) -> np.ndarray:
    """Labels of a chromosome's bins from the peaks of one experiment.

    A bin is bound if peaks cover at least `bound_fraction` of it, ambiguous (left out) if they cover less
    but some, else unbound. The bin of a peak's middle is always bound, so that no peak is lost that is
    narrower than a bin or lies across an edge.

    Parameters
    ----------
    spans
        Peaks, int64 (n, 2), 0-based half-open, bp.

    Returns
    -------
    uint8 (ceil(size / bin),): 0 unbound, 1 bound, 2 left out.
    """
    labels = np.full(bin_count(size, bin), UNBOUND, dtype=np.uint8)
    if len(spans) == 0:
        return labels
    covered = coverage_fraction(spans, size, bin)
    labels[covered > 0] = LEFT_OUT
    # The last step of float32 must not decide about a bin that is covered by just the fraction.
    labels[covered >= bound_fraction - 1e-6] = BOUND
    labels[(spans[:, 0] + spans[:, 1] - 1) // 2 // bin] = BOUND
    return labels


def build_targets(
    experiments: Sequence[Experiment],
    reference: Reference,
    output: str | Path,
    *,
    bin: int,
    half_width: int | None,
    bound_fraction: float,
    arrays: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the labels of all experiments: `<chromosome index>.npy`, uint8 (bins, experiments), and JSON.

    Beside them the peaks, `<index>.peaks.npy`: int64 (peaks, 3), of each its experiment's column, start and end.
    N and blacklisted bins are left out for every experiment.

    Parameters
    ----------
    arrays
        What is written beside the labels, float32 (bins, experiments), NaN in bins that are left out for every
        experiment: `signal` (`<index>.signal.npy`), the mean coverage, NaN without a bigWig; and `score`
        (`<index>.score.npy`), the largest score of a peak over the bin, see `score_bins`.

    Returns
    -------
    Summary: number of calls and of bound bins by experiment.

    Raises
    ------
    InputError
        An experiment without a peak on the reference; a signal or a peak score below 0; no experiment that has
        what an array holds; as `read_intervals` and `bigwig_intervals`.
    """
    peaks = [
        read_intervals(
            experiment.peaks,
            reference.names,
            reference.sizes,
            half_width=half_width,
            excluded=reference.excluded,
        )
        for experiment in told(experiments, "reading peaks", len(experiments), unit="experiments")
    ]
    for experiment, found in zip(experiments, peaks, strict=True):
        if not found.total:
            raise InputError(
                "has no peak on the chromosomes of the reference",
                file=experiment.peaks,
                mend="take the experiment out of the table, or include its chromosomes",
            )
    _require_contents(experiments, peaks, arrays)
    bound = np.zeros(len(experiments), dtype=np.int64)
    checksums: dict[str, dict[str, str]] = {}
    with atomic_dir(output) as folder:
        sizes, total = reference.sizes.items(), sum(reference.sizes.values())
        for index, (chrom, size) in enumerate(told(sizes, "writing targets", total, unit="bp", amount=_size)):
            columns = [
                label_bins(found[chrom].spans, size, bin, bound_fraction=bound_fraction) for found in peaks
            ]
            labels = np.stack(columns, axis=1)
            usable = reference.usable_bins(chrom, bin)
            labels[~usable] = LEFT_OUT
            bound += (labels == BOUND).sum(0)
            np.save(folder / f"{index}.npy", labels)
            listed = _listed_peaks(peaks, chrom)
            np.save(folder / f"{index}.peaks.npy", listed)
            checksums[chrom] = {
                "sha256": sha256_bytes(labels.tobytes()),
                "peaks_sha256": sha256_bytes(listed.tobytes()),
            }
            made = {
                "signal": (_signal(experiment, reference, chrom, bin) for experiment in experiments),
                "score": (score_bins(found[chrom], size, bin) for found in peaks),
            }
            for name in arrays:
                path = folder / f"{index}.{name}.npy"
                _write_columns(path, made[name], len(experiments), usable)
                checksums[chrom][f"{name}_sha256"] = sha256_file(path)
        about = {
            "format": FORMAT,
            "bin": bin,
            "genome": reference.checksum,
            "half_width": half_width,
            "bound_fraction": bound_fraction,
            "chromosomes": [{"name": chrom, **checksums[chrom]} for chrom in reference.sizes],
            "experiments": [
                {
                    "name": experiment.name,
                    "factor": experiment.factor,
                    "cell_type": experiment.cell_type,
                    "calls": found.total,
                    "bound_bins": int(count),
                    "peaks_sha256": sha256_file(experiment.peaks),
                    **_about_arrays(experiment, arrays),
                }
                for experiment, found, count in zip(experiments, peaks, bound, strict=True)
            ],
        }
        if arrays:
            about["arrays"] = list(arrays)
        about["checksum"] = sha256_json(about)
        write_json(folder / "targets.json", about)
    return about


def _size(chromosome: tuple[str, int]) -> int:
    return chromosome[1]


def _listed_peaks(peaks: Sequence[Intervals], chrom: str) -> np.ndarray:
    """Column, start and end of each peak on a chromosome, int64 (peaks, 3), by column and start."""
    spans = [found[chrom].spans for found in peaks]
    columns = np.repeat(np.arange(len(spans)), [len(each) for each in spans])
    return np.column_stack([columns, np.concatenate(spans)]).astype(np.int64)


def score_bins(peaks: ChromosomeIntervals, size: int, bin: int) -> np.ndarray:
    """The largest signalValue of the peaks that overlap each bin.

    Returns
    -------
    float32 (ceil(size / bin),): 0 without a peak, NaN where a peak has no signalValue.
    """
    scores = np.zeros(bin_count(size, bin), dtype=np.float32)
    first, last = peaks.start // bin, (peaks.end - 1) // bin
    counts = last - first + 1
    peak = np.repeat(np.arange(len(peaks)), counts)
    offset = np.arange(len(peak)) - np.repeat(np.cumsum(counts) - counts, counts)
    with np.errstate(invalid="ignore"):  # NaN is meant to win
        np.maximum.at(scores, first[peak] + offset, peaks.signal[peak].astype(np.float32))
    return scores


def _require_contents(
    experiments: Sequence[Experiment], peaks: Sequence[Intervals], arrays: Sequence[str]
) -> None:
    if "signal" in arrays and all(experiment.signal is None for experiment in experiments):
        raise InputError(
            "no experiment has a signal",
            key="training.losses.track",
            mend="give bigWigs in the column 'signal' of experiments.tsv, or set training.losses.track to 0",
        )
    if "score" not in arrays:
        return
    known = False
    for experiment, found in zip(experiments, peaks, strict=True):
        scores = np.concatenate([each.signal for each in found.by_chromosome.values()])
        if (scores < 0).any():
            raise InputError(
                f"a signalValue is {scores[scores < 0][0]:g}; a peak's score is 0 or more",
                file=experiment.peaks,
                column="signalValue",
                mend="give enrichments there, or '.' where they are not known",
            )
        known = known or bool((scores > 0).any())
    if not known:
        raise InputError(
            "no experiment's peaks have scores (signalValue, narrowPeak's column 7)",
            key="training.losses.peak_score",
            mend="give narrowPeak files, or set training.losses.peak_score to 0",
        )


def _signal(experiment: Experiment, reference: Reference, chrom: str, bin: int) -> np.ndarray:
    """Mean coverage of a chromosome's bins, float32 (bins,); NaN where there is no bigWig."""
    size = reference.sizes[chrom]
    if experiment.signal is None:
        return np.full(bin_count(size, bin), np.nan, dtype=np.float32)
    values = read_chromosome_bins(experiment.signal, reference.names, chrom, size, bin)
    if (values < 0).any():
        at = int(np.flatnonzero(values < 0)[0])
        raise InputError(
            f"the mean at {chrom}:{at * bin} is {values[at]:g}, and coverage is 0 or more",
            file=experiment.signal,
            mend="give coverage (reads, or fold enrichment), not its logarithm or a difference",
        )
    return values


def _write_columns(path: Path, columns: Iterator[np.ndarray], count: int, usable: np.ndarray) -> None:
    """Write float32 (bins, experiments), in the memory of a few columns."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(usable), count))
    for first in range(0, count, COLUMNS_AT_ONCE):
        block = np.stack(list(islice(columns, COLUMNS_AT_ONCE)), axis=1)
        block[~usable] = np.nan
        array[:, first : first + COLUMNS_AT_ONCE] = block
    array.flush()


def _about_arrays(experiment: Experiment, arrays: Sequence[str]) -> dict[str, Any]:
    about: dict[str, Any] = {}
    if "signal" in arrays:
        about["signal_sha256"] = None if experiment.signal is None else sha256_file(experiment.signal)
    if "score" in arrays:
        about["reads"] = experiment.reads
    return about


@dataclass(frozen=True)
class Targets:
    """Targets on disk.

    Attributes
    ----------
    about : dict, as `targets.json`
    labels : uint8 (bins, experiments), memory-mapped, a chromosome
    peaks : int64 (peaks, 3), memory-mapped, a chromosome
        Column of the experiment, start and end (0-based half-open, bp), by column and start.
    signal, score : float32 (bins, experiments), memory-mapped, a chromosome; None where they were not written
    """

    about: dict[str, Any]
    labels: dict[str, np.ndarray]
    peaks: dict[str, np.ndarray]
    signal: dict[str, np.ndarray] | None = None
    score: dict[str, np.ndarray] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> Targets:
        """Open the targets of a folder."""
        folder = Path(folder)
        if not (folder / "targets.json").is_file():
            raise InputError("holds no targets (targets.json)", file=folder, mend="run `tfbind targets` first")
        about = read_json(folder / "targets.json")
        if about.get("format") != FORMAT:
            raise InputError(
                f"holds targets of format {about.get('format')}, this version reads {FORMAT}",
                file=folder,
                mend="run `tfbind targets` again",
            )
        arrays = {name: _open_arrays(folder, about, f".{name}") for name in about.get("arrays", ())}
        return cls(about, _open_arrays(folder, about), _open_arrays(folder, about, ".peaks"), **arrays)

    @property
    def experiments(self) -> list[dict[str, Any]]:
        """Name, factor, cell type and counts of each column."""
        return self.about["experiments"]


def _open_arrays(folder: Path, about: dict[str, Any], suffix: str = "") -> dict[str, np.ndarray]:
    return {
        chromosome["name"]: np.load(folder / f"{index}{suffix}.npy", mmap_mode="r")
        for index, chromosome in enumerate(about["chromosomes"])
    }
