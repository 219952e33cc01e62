"""Targets: from measured calls to labels per bin, one array a chromosome with all experiments side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, read_json, sha256_bytes, sha256_file, sha256_json, write_json
from tfbind.genome.intervals import bin_count, coverage_fraction, read_intervals
from tfbind.genome.reference import Reference
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND

FORMAT = 1


@dataclass(frozen=True)
class Experiment:
    """One measured binding set."""

    name: str
    factor: str
    cell_type: str
    peaks: Path


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
) -> dict[str, Any]:
    """Write the labels of all experiments: `<chromosome index>.npy`, uint8 (bins, experiments), and JSON.

    N and blacklisted bins are left out for every experiment.

    Returns
    -------
    Summary: number of calls and of bound bins by experiment.
    """
    peaks = [
        read_intervals(
            experiment.peaks,
            reference.names,
            reference.sizes,
            half_width=half_width,
            excluded=reference.excluded,
        )
        for experiment in experiments
    ]
    for experiment, found in zip(experiments, peaks, strict=True):
        if not found.total:
            raise InputError(
                "has no peak on the chromosomes of the reference",
                file=experiment.peaks,
                mend="take the experiment out of the table, or include its chromosomes",
            )
    bound = np.zeros(len(experiments), dtype=np.int64)
    checksums = {}
    with atomic_dir(output) as folder:
        for index, (chrom, size) in enumerate(reference.sizes.items()):
            columns = [
                label_bins(found[chrom].spans, size, bin, bound_fraction=bound_fraction) for found in peaks
            ]
            labels = np.stack(columns, axis=1)
            labels[~reference.usable_bins(chrom, bin)] = LEFT_OUT
            bound += (labels == BOUND).sum(0)
            np.save(folder / f"{index}.npy", labels)
            checksums[chrom] = sha256_bytes(labels.tobytes())
        about = {
            "format": FORMAT,
            "bin": bin,
            "genome": reference.checksum,
            "half_width": half_width,
            "bound_fraction": bound_fraction,
            "chromosomes": [{"name": chrom, "sha256": checksums[chrom]} for chrom in reference.sizes],
            "experiments": [
                {
                    "name": experiment.name,
                    "factor": experiment.factor,
                    "cell_type": experiment.cell_type,
                    "calls": found.total,
                    "bound_bins": int(count),
                    "peaks_sha256": sha256_file(experiment.peaks),
                }
                for experiment, found, count in zip(experiments, peaks, bound, strict=True)
            ],
        }
        about["checksum"] = sha256_json(about)
        write_json(folder / "targets.json", about)
    return about


@dataclass(frozen=True)
class Targets:
    """Labels on disk.

    Attributes
    ----------
    about : dict, as `targets.json`
    labels : uint8 (bins, experiments), memory-mapped, a chromosome
    """

    about: dict[str, Any]
    labels: dict[str, np.ndarray]

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
        labels = {
            chromosome["name"]: np.load(folder / f"{index}.npy", mmap_mode="r")
            for index, chromosome in enumerate(about["chromosomes"])
        }
        return cls(about, labels)

    @property
    def experiments(self) -> list[dict[str, Any]]:
        """Name, factor, cell type and counts of each column."""
        return self.about["experiments"]
