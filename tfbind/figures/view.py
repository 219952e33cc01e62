"""What a region figure shows: read from the folder of a run, cell type by cell type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.config import Config
from tfbind.core.errors import InputError
from tfbind.core.files import read_json
from tfbind.factors.factorset import FactorSet
from tfbind.factors.sites import P_VALUE, motif_sites
from tfbind.genome.bigwig import read_chromosome_bins
from tfbind.genome.genes import Gene, genes_in
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region, parse_place, without
from tfbind.training.targets import Targets


@dataclass(frozen=True)
class Steps:
    """A track over a region, as steps.

    Attributes
    ----------
    edges
        int64 (n + 1,): 0-based, bp.
    values
        float32 (n,).
    """

    edges: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Predicted:
    """A factor in a cell type.

    Attributes
    ----------
    factor
        The factor.
    track
        Probability of binding.
    calls
        Measured, int64 (n, 2), 0-based half-open bp; None: it was not measured in the cell type.
    threshold
        Probability from which bins are called bound; None: not known, or no bin would be.
    """

    factor: str
    track: Steps
    calls: np.ndarray | None
    threshold: float | None = None


@dataclass(frozen=True)
class CellTypeView:
    """A cell type.

    Attributes
    ----------
    name
        The cell type.
    accessibility
        In multiples of the genome's mean; None: it has no track.
    predicted
        A factor after the other.
    """

    name: str
    accessibility: Steps | None
    predicted: tuple[Predicted, ...]


@dataclass(frozen=True)
class View:
    """A region of a genome and all that is shown of it.

    Attributes
    ----------
    region
        The region.
    genome
        Its name, for people.
    bin
        bp of a bin of the predictions.
    fdr
        Share of false calls that the thresholds were chosen for.
    cell_types
        From top to bottom.
    sites
        Of each factor that has a motif, starts and ends of the motif's sites, int64 (n, 2), bp.
    genes
        By start; None: no file of genes was given.
    """

    region: Region
    genome: str
    bin: int
    fdr: float
    cell_types: tuple[CellTypeView, ...]
    sites: dict[str, np.ndarray]
    genes: tuple[Gene, ...] | None


Render = Callable[[str, str, Region], tuple[int, np.ndarray]]
"""Renders a factor in a cell type over a region: first bin, and probabilities float32 (bins,)."""


def read_view(
    run: Path,
    config: Config,
    region: str,
    factors: Sequence[str],
    cell_types: Sequence[str],
    *,
    genes: Path | None,
    genes_key: str,
    render: Render,
) -> View:
    """Read what a figure of a region shows.

    Parameters
    ----------
    run
        Folder of the run's results.
    region
        As `parse_place` reads it.
    factors, cell_types
        Of the tables, in the order in which they are shown.
    genes
        GTF, or BED with strands.
    genes_key
        What the file of genes was given as, for errors.
    render
        What makes a track that is not among the run's tracks.

    Raises
    ------
    InputError
        A region off the genome, a step of the workflow that was not made, or a damaged file.
    """
    reference = Reference.open(run / "reference")
    place = parse_place(region, reference.names, reference.sizes, key="--region")
    bin, targets = config.windows.bin, _targets(run / "targets")
    views = []
    for name in cell_types:
        path = run / "accessibility" / f"{name}.bw"
        resolution = min(bin, config.accessibility.resolution)
        track = _track(path, reference, place, resolution) if path.is_file() else None
        predicted = [_predicted(run, reference, targets, place, bin, each, name, render) for each in factors]
        views.append(CellTypeView(name, track, tuple(predicted)))
    return View(
        place,
        genome_name(config),
        bin,
        config.prediction.fdr,
        tuple(views),
        _sites(FactorSet.open(run / "factors"), factors, reference, place),
        None if genes is None else tuple(genes_in(genes, reference.names, place, key=genes_key)),
    )


def genome_name(config: Config) -> str:
    """A genome's name for people: its FASTA's, such as sacCer3."""
    if config.simulation is not None:
        return "simulated genome"
    name = Path(config.reference.fasta.source).name
    for ending in (".gz", ".bgz", ".fasta", ".fna", ".fa"):
        name = name.removesuffix(ending)
    return name


def coarsened(view: View, most: int) -> View:
    """The view with at most so many steps a track: what is finer than a line of the figure would look pale.

    Steps that are put together have the mean of their accessibility, and the maximum of their probabilities.
    """
    return replace(
        view,
        cell_types=tuple(
            replace(
                each,
                accessibility=None if each.accessibility is None else coarser(each.accessibility, most, np.mean),
                predicted=tuple(replace(one, track=coarser(one.track, most, np.max)) for one in each.predicted),
            )
            for each in view.cell_types
        ),
    )


def coarser(steps: Steps, most: int, of: Callable[..., np.ndarray]) -> Steps:
    """Steps, of which so many are put together by their mean or maximum that at most `most` are left."""
    group = -(-len(steps.values) // most)
    if group <= 1:
        return steps
    starts = np.arange(0, len(steps.values), group)
    found = [of(steps.values[start : start + group]) for start in starts]
    return Steps(np.append(steps.edges[starts], steps.edges[-1]), np.array(found, dtype=np.float32))


def _track(path: Path, reference: Reference, place: Region, bin: int) -> Steps:
    """A bigWig over a region."""
    bins, size = place.bins(bin), reference.sizes[place.chrom]
    values = read_chromosome_bins(path, reference.names, place.chrom, size, bin, bins)
    return _steps(bins.start, values, bin, place)


def _steps(first: int, values: np.ndarray, bin: int, place: Region) -> Steps:
    """Bins from `first` as steps that begin and end with the region."""
    edges = (first + np.arange(len(values) + 1, dtype=np.int64)) * bin
    return Steps(edges.clip(place.start, place.end), values)


def _predicted(
    run: Path,
    reference: Reference,
    targets: Targets | None,
    place: Region,
    bin: int,
    factor: str,
    cell_type: str,
    render: Render,
) -> Predicted:
    folder = run / "tracks" / cell_type
    path, about = folder / f"{factor}.bw", folder / f"{factor}.json"
    calls, threshold = _calls(targets, place, factor, cell_type), None
    described = read_json(about) if path.is_file() and about.is_file() else None
    # A track of a region alone is 0 elsewhere.
    if described is not None and described["region"] is None:
        threshold = threshold_in(described, place)
        return Predicted(factor, _track(path, reference, place, bin), calls, threshold)
    first, values = render(factor, cell_type, place)
    return Predicted(factor, _steps(first, values, bin, place), calls)


def threshold_in(described: Mapping[str, Any], place: Region) -> float | None:
    """What bins of a track are called by in a place; None where that differs along it, or calls nothing."""
    peaks, known = described["peaks"], described.get("known_binding")
    if known is None or "threshold_where_known" not in peaks:
        return peaks["threshold"]
    elsewhere = without([place], [Region(*each) for each in known["regions"]])
    if not elsewhere:
        return peaks["threshold_where_known"]
    return peaks["threshold"] if elsewhere == [place] else None


def _targets(folder: Path) -> Targets | None:
    """What was measured; a run without experiments of its own has no targets."""
    return Targets.open(folder) if folder.is_dir() else None


def _calls(targets: Targets | None, place: Region, factor: str, cell_type: str) -> np.ndarray | None:
    experiments = [] if targets is None else targets.experiments
    columns = [
        column
        for column, each in enumerate(experiments)
        if (each["factor"], each["cell_type"]) == (factor, cell_type)
    ]
    if not columns:
        return None
    column, start, end = targets.peaks[place.chrom].T
    inside = np.isin(column, columns) & (start < place.end) & (end > place.start)
    return np.column_stack([start[inside], end[inside]])


def _sites(
    factor_set: FactorSet, factors: Sequence[str], reference: Reference, place: Region
) -> dict[str, np.ndarray]:
    found = {}
    codes = np.asarray(reference.codes(place.chrom)[place.start : place.end])
    for name in factors:
        motif = factor_set.motif(name)
        if motif is not None:
            start = motif_sites(codes, motif, P_VALUE).start + place.start
            found[name] = np.column_stack([start, start + len(motif)])
    return found


def require_run(run: Path) -> Path:
    """The configuration of a run; an InputError where the folder is none."""
    path = run / "config.yaml"
    if not path.is_file():
        mend = "give the folder of a run's results, such as results/demo"
        raise InputError("holds no run (config.yaml)", file=run, key="--run", mend=mend)
    return path
