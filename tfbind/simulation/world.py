"""The demo's simulated world: a genome, factors, cell types and experiments, drawn from a seed. Not data.

Below `simulation.folder`:

genome.fa.gz                   chr1 .. chrN
proteins.fa                    one protein for each factor of the table
motifs.meme                    the motifs of the factors that the table gives one; never of a held-out factor
<cell type>.fragments.tsv.gz   ATAC-seq fragments, 10x format
<experiment>.narrowPeak        calls, `FACTOR.CELL_TYPE`
truth.json                     what was drawn: for tests and the curious; nothing else may read it
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.config import Config, SimulationSettings, Source
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path, write_json
from tfbind.core.progress import told
from tfbind.factors.motifs import Motif, write_meme
from tfbind.simulation import binding, chromatin
from tfbind.simulation.chromatin import BACKGROUND, Genome, N
from tfbind.simulation.recognition import random_factor
from tfbind.simulation.streams import stream
from tfbind.tables import DataSet, ExperimentRow, FactorRow, names_of_cell_types

MOTIF_WIDTHS = (8, 11)
"""Narrowest and widest motif, bases."""


@dataclass(frozen=True, eq=False)
class _Factor:
    row: FactorRow
    protein: str
    pwm: np.ndarray

    @property
    def accession(self) -> str:
        """What a reader of the tables looks for in the FASTA."""
        return self.row.uniprot or self.row.factor


def simulate_world(config: Config, dataset: DataSet) -> None:
    """Draw the world and write its files below `config.simulation.folder`, `truth.json` last.

    Equal seed, settings and tables give equal bytes. One factor, cell type or experiment more leaves the
    proteins, motifs and open regions of all others as they were. Words are planted in the order of the table,
    so that a factor added at its end takes no place from the others.

    Raises
    ------
    InputError
        No `simulation` in the configuration, a configuration or tables that name other files than those that
        are made, a held-out factor with a motif, a factor with a sequence, or an experiment without a call.
    """
    settings = _settings(config)
    _check(config, settings, dataset)
    folder, seed = settings.folder, config.seed
    genome = chromatin.random_genome(seed, settings.chromosomes, settings.chromosome_length)
    regions = chromatin.random_regions(seed, genome, settings.open_fraction)
    openness = {
        row.cell_type: chromatin.region_openness(seed, genome, regions, row.cell_type)
        for row in dataset.cell_types
    }
    factors = [_random_factor(seed, row) for row in dataset.factors]
    planted = _plant(seed, genome, regions, factors, settings.sites_per_factor)

    _write_gzip(folder / "genome.fa.gz", chromatin.fasta(genome))
    _write_text(folder / "proteins.fa", "".join(map(_protein_record, factors)))
    _write_motifs(folder / "motifs.meme", factors)
    for row in told(dataset.cell_types, "drawing accessibility", len(dataset.cell_types), unit="cell types"):
        if row.accessibility is not None:
            drawn = chromatin.random_fragments(
                seed, genome, regions, openness[row.cell_type], row.cell_type, settings.fragments
            )
            lines = chromatin.fragment_lines(seed, genome, row.cell_type, *drawn)
            _write_gzip(_fragments_path(settings, row.cell_type), lines)
    profiles = {cell: chromatin.base_openness(genome, regions, values) for cell, values in openness.items()}
    sites, experiments = _write_experiments(config, dataset, genome, factors, profiles)
    names = names_of_cell_types(dataset.cell_types)
    held_out = {names[name] for name in config.splits.held_out_cell_types}
    write_json(
        folder / "truth.json",
        {
            "about": "Simulated by tfbind from a seed; not data.",
            "seed": seed,
            "chromosomes": dict.fromkeys(genome.names, settings.chromosome_length),
            "background": dict(zip("ACGT", BACKGROUND, strict=True)),
            "occupancy": "openness * sigmoid((affinity - half_affinity) / steepness), affinity in nats",
            "steepness": binding.STEEPNESS,
            "closed_openness": chromatin.CLOSED,
            "factors": {
                factor.row.factor: {
                    "held_out": factor.row.factor in config.splits.held_out_factors,
                    "pwm": factor.pwm.tolist(),
                    "planted": planted[factor.row.factor],
                    "half_affinity": sites[factor.row.factor].half_affinity,
                }
                for factor in factors
            },
            "cell_types": {
                cell: {
                    "held_out": cell in held_out,
                    "open_fraction": chromatin.open_share(genome, regions, values),
                }
                for cell, values in openness.items()
            },
            "regions": chromatin.region_rows(genome, regions, openness),
            "experiments": experiments,
        },
    )


def _settings(config: Config) -> SimulationSettings:
    if config.simulation is None:
        raise InputError(
            "the configuration simulates nothing",
            key="simulation",
            mend="add `simulation` with a `folder`, as config/demo/config.yaml does",
        )
    return config.simulation


def _random_factor(seed: int, row: FactorRow) -> _Factor:
    rng = stream(seed, "factor", row.factor)
    width = int(rng.integers(MOTIF_WIDTHS[0], MOTIF_WIDTHS[1] + 1))
    return _Factor(row, *random_factor(rng, width))


def _plant(
    seed: int, genome: Genome, regions: chromatin.Regions, factors: list[_Factor], number: int
) -> dict[str, int]:
    free = genome.codes != N
    return {
        factor.row.factor: binding.plant_sites(seed, genome, regions, factor.row.factor, factor.pwm, number, free)
        for factor in factors
    }


def _write_experiments(
    config: Config,
    dataset: DataSet,
    genome: Genome,
    factors: list[_Factor],
    profiles: Mapping[str, np.ndarray],
) -> tuple[dict[str, binding.Sites], dict[str, Any]]:
    settings = _settings(config)
    words = binding.word_codes(genome.codes)
    sites = {
        factor.row.factor: binding.find_sites(words, factor.pwm, settings.sites_per_factor) for factor in factors
    }
    truth = {}
    for row in told(dataset.experiments, "drawing calls", len(dataset.experiments), unit="experiments"):
        calls = binding.call_peaks(config.seed, sites[row.factor], profiles[row.cell_type], row.name)
        if not len(calls.starts):
            raise InputError(
                f"the experiment {row.name} came out without a single peak",
                key="simulation.sites_per_factor",
                mend="raise it, or chromosome_length, or open_fraction",
            )
        _write_text(_peaks_path(settings, row), binding.narrow_peak_lines(genome, calls, row.name))
        truth[row.name] = {
            "calls": len(calls.starts),
            "bound": calls.bound,
            "missed": calls.missed,
            "false": calls.false,
        }
    return sites, truth


# --- the tables must name the files that are made ---


def _fragments_path(settings: SimulationSettings, cell_type: str) -> Path:
    return settings.folder / f"{cell_type}.fragments.tsv.gz"


def _peaks_path(settings: SimulationSettings, row: ExperimentRow) -> Path:
    return settings.folder / f"{row.name}.narrowPeak"


def _check(config: Config, settings: SimulationSettings, dataset: DataSet) -> None:
    folder, tables = settings.folder, config.tables
    _same(config.reference.fasta, folder / "genome.fa.gz", {"key": "reference.fasta"})
    for key, name in (("proteins", "proteins.fa"), ("motifs", "motifs.meme")):
        given = getattr(config.factors, key)
        if len(given) != 1:
            raise InputError(
                f"{len(given)} files, where the simulation makes one",
                key=f"factors.{key}",
                mend=f"give [{folder / name}]",
            )
        _same(given[0], folder / name, {"key": f"factors.{key}"})
    for row in dataset.cell_types:
        if row.accessibility is not None:
            where = {"file": tables.cell_types, "row": row.row, "column": "accessibility"}
            _same(row.accessibility, _fragments_path(settings, row.cell_type), where)
    for row in dataset.experiments:
        where = {"file": tables.experiments, "row": row.row, "column": "peaks"}
        _same(row.peaks, _peaks_path(settings, row), where)
    for row in dataset.factors:
        _check_factor(config, row)


def _check_factor(config: Config, row: FactorRow) -> None:
    where: dict[str, Any] = {"file": config.tables.factors, "row": row.row}
    if row.sequence is not None:
        raise InputError(
            f"{row.factor} has a sequence, and the simulation draws its own",
            **where,
            column="sequence",
            mend="leave the cell empty",
        )
    if row.motif is not None and row.factor in config.splits.held_out_factors:
        raise InputError(
            f"{row.factor} is held out, so that its motif must not be known",
            **where,
            column="motif",
            mend="leave the cell empty, or take the factor out of splits.held_out_factors",
        )


def _same(given: Source, made: Path, where: Mapping[str, Any]) -> None:
    if given.is_url or Path(given.source) != made:
        raise InputError(
            f"names {given.source}, which the simulation does not make", **where, mend=f"write {made}"
        )


# --- files ---


def _protein_record(factor: _Factor) -> str:
    lines = [factor.protein[i : i + 60] for i in range(0, len(factor.protein), 60)]
    return "\n".join([f">{factor.accession}|{factor.row.factor} simulated protein", *lines, ""])


def _write_motifs(path: Path, factors: list[_Factor]) -> None:
    motifs = [Motif(f.row.motif, f.row.factor, f.pwm) for f in factors if f.row.motif is not None]
    write_meme(path, motifs, BACKGROUND)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("ascii"))


def _write_gzip(path: Path, text: str) -> None:
    """Without a time or a name in the header, so that equal text is equal bytes."""
    packed = gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed)
