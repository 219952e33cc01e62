"""What the steps take, from what configuration and tables name: files that are there, proteins and motifs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.config import Config, Source
from tfbind.core.errors import InputError
from tfbind.core.files import sha256_file
from tfbind.core.optional import load_optional
from tfbind.core.sources import local_path, uniprot_url
from tfbind.factors.alphafold import ENDINGS
from tfbind.factors.embeddings import AnyEmbedder, ByAccession, make_embedder
from tfbind.factors.factorset import FactorInput
from tfbind.factors.motifs import Motif, read_meme, resolve_motif
from tfbind.factors.proteins import read_proteins, sequence_sha256
from tfbind.factors.regions import Region, read_domains
from tfbind.factors.structure import StructureFeatures, structure_names
from tfbind.tables import DataSet, FactorRow, accessions_to_fetch, embedder_files, factor_sources


def source_file(source: Source, **where: Any) -> Path:
    """Where a source lies; it is there, and a file of the user's has the checksum that was stated.

    Downloads were verified as they came.

    Parameters
    ----------
    where
        What names it: `key`, or `file`, `row` and `column`.

    Raises
    ------
    InputError
        It is not there, or has another checksum.
    """
    path = source.local_path
    if not path.is_file():
        mend = "correct the path; paths are relative to the folder in which the run is started"
        if source.is_url:
            mend = f"run `tfbind download` with {path} first"
        raise InputError(f"the file {path} is not there", **where, mend=mend)
    if source.sha256 is not None and not source.is_url and (found := sha256_file(path)) != source.sha256:
        raise InputError(
            f"checksum differs: expected sha256 {source.sha256}, got {found}",
            file=path,
            mend="take the file that was meant, or correct its sha256",
        )
    return path


def factor_inputs(config: Config, dataset: DataSet) -> list[FactorInput]:
    """Proteins, motif and structures of each factor of the table.

    Raises
    ------
    InputError
        A protein or motif that is in no file, or in several, has another checksum, or is damaged.
    """
    fastas = [source_file(source, key="factors.proteins") for source in config.factors.proteins]
    fastas += [local_path(uniprot_url(accession)) for accession in accessions_to_fetch(config, dataset)]
    proteins = read_proteins(fastas) if fastas else {}
    known = {accession: protein.sequence for accession, protein in proteins.items()}
    meme = _motifs(config)
    return [
        FactorInput(
            row.factor,
            row.uniprot,
            _sequence(row, known, config),
            _motif(row, meme, config),
            _structures(row, config),
        )
        for row in dataset.factors
    ]


def factor_embedder(config: Config, device: str = "cpu") -> AnyEmbedder:
    """The embedder of a configuration; no weights are loaded yet.

    Raises
    ------
    InputError
        Its files are not there, or its settings make no sense.
    """
    kind = config.factors.embedder
    settings = {} if kind == "physicochemical" else getattr(config.factors, kind).model_dump()
    if config.factors.runs_a_model:
        settings["device"] = device
    return make_embedder(kind, **settings)


def factor_region(config: Config) -> Region:
    """Which residues of proteins are kept.

    Raises
    ------
    InputError
        The table of domains is not there, or damaged.
    """
    settings = config.factors
    if settings.region == "whole" or settings.domains is None:
        return Region()
    domains = read_domains(source_file(settings.domains, key="factors.domains"))
    return Region(settings.region, settings.flank, domains, settings.without_domain)


def factor_domains(config: Config) -> Region:
    """The rule that cuts DNA-binding domains out of proteins, to compare them; without a domain, all is compared.

    Raises
    ------
    InputError
        The table of domains is not there, or damaged.
    """
    source = config.factors.domains
    if source is None:
        return Region()
    return Region(
        "domain", domains=read_domains(source_file(source, key="factors.domains")), without_domain="whole"
    )


def factor_structure(config: Config) -> StructureFeatures | None:
    """Where structures are and how their features are made; None where they are not wanted.

    Raises
    ------
    InputError
        biotite, which reads them, is not installed.
    """
    settings = config.factors.structure
    if settings is None:
        return None
    load_optional("biotite.structure", package="biotite", key="factors.structure")
    return StructureFeatures(**settings.model_dump())


def factor_files(config: Config, dataset: DataSet) -> list[Path]:
    """All files that `tfbind factors` reads, each once: those of folders only as far as they are there."""
    settings = config.factors
    found = [source.local_path for source in factor_sources(config, dataset)]
    found += [local_path(uniprot_url(accession)) for accession in accessions_to_fetch(config, dataset)]
    found += [path for _, path in embedder_files(config)]
    names = [name for row in dataset.factors for name in row.protein_names]
    if settings.embedder == "alphafold" and settings.alphafold.folder is not None:
        found += _there(settings.alphafold.folder, [f"{name}{ending}" for name in names for ending in ENDINGS])
    if settings.structure is not None and settings.structure.folder is not None:
        version = settings.structure.model_version
        structures = [each for name in names for each in structure_names(name, version)]
        found += _there(settings.structure.folder, structures)
    return list(dict.fromkeys(found))


def check_factors(config: Config, dataset: DataSet, *, proteins: bool = True) -> None:
    """Check what `tfbind factors` reads, but for the weights and the structures' content.

    Parameters
    ----------
    proteins
        Whether the files of proteins, motifs, domains and structures are there already, to be checked, too.

    Raises
    ------
    InputError
        As `factor_inputs`, `factor_embedder`, `factor_region` and `factor_structure`; also a protein without
        its array, its domain or its structure.
    """
    embedder, structure = factor_embedder(config), factor_structure(config)
    if not proteins:
        return
    region = factor_region(config)
    for factor in factor_inputs(config, dataset):
        for number, protein in enumerate(factor.proteins):
            region.spans(protein)
            if isinstance(embedder, ByAccession):
                embedder.given(protein)
            if structure is not None:
                structure.path(protein, factor.structure_of(number))


def further_signals(
    dataset: DataSet,
    cell_types: Sequence[str],
    folder: Path | None,
    wanted: Sequence[str] | None = None,
) -> dict[str, list[Path | None]]:
    """The signals beside accessibility, by name: a bigWig for each of some cell types, None where it has none.

    Parameters
    ----------
    folder
        Where they lie, as `tfbind signal` makes them; None: nowhere.
    wanted
        The signals that a model reads, in its order: others of the table are not used, and those that the table
        does not have are taken as not known; standard error tells of both. None: all of the table.

    Raises
    ------
    InputError
        A signal is known of one of the cell types, and no folder is given.
    """
    names = dataset.signal_names
    if wanted is not None:
        for name in names:
            if name not in wanted:
                _warn(f"the model was trained without the signal {name}, which is not used")
        for name in wanted:
            if name not in names:
                _warn(f"the model reads the signal {name}, which is in no table: it is taken as not known")
    found: dict[str, list[Path | None]] = {}
    for name in names if wanted is None else wanted:
        rows = [dataset.signal(name, cell_type) for cell_type in cell_types]
        if folder is None and any(rows):
            known = [cell_type for cell_type, row in zip(cell_types, rows, strict=True) if row is not None]
            raise InputError(
                f"the signal {name} is known of {', '.join(known)}, and not given",
                key="tables.signals",
                mend="give the folder of signals by --signals",
            )
        found[name] = [None if row is None else folder / row.track for row in rows]
    return found


def _warn(what: str) -> None:
    print(f"tfbind: warning: {what}", file=sys.stderr, flush=True)


def _there(folder: Path, names: Sequence[str]) -> list[Path]:
    return [path for name in names if (path := folder / name).is_file()]


def _structures(row: FactorRow, config: Config) -> tuple[Path, ...]:
    if config.factors.structure is None:
        return ()
    where = {"file": config.tables.factors, "row": row.row, "column": "structure"}
    return tuple(source_file(source, **where) for source in row.structure)


def _sequence(row: FactorRow, known: Mapping[str, str], config: Config) -> str | None:
    """A factor's proteins: from the table, or by their accessions; None where only its motif is given."""
    where: dict[str, Any] = {"file": config.tables.factors, "row": row.row}
    if row.sequence is not None:
        return row.sequence
    if row.uniprot is None and row.factor not in known:
        return None
    sequences = []
    for accession in row.accessions or (row.factor,):
        # An isoform is the one whose accession is given, and never another of its gene.
        if accession not in known:
            raise InputError(
                f"the protein {accession} of {row.factor} is in no FASTA",
                **where,
                column="uniprot",
                mend="add it to a FASTA of factors.proteins, or correct the accession",
            )
        sequences.append(known[accession])
    found = ";".join(map(sequence_sha256, sequences))
    if row.sequence_sha256 not in (None, found):
        raise InputError(
            f"the sequence of {row.factor} has sha256 {found}, expected {row.sequence_sha256}",
            **where,
            column="sequence_sha256",
            mend="the protein was revised: look at it, then take its new checksum into the table",
        )
    return ";".join(sequences)


def _motifs(config: Config) -> dict[str, Motif]:
    """The motifs of all MEME files; an id of two files must mean one motif."""
    motifs: dict[str, Motif] = {}
    for source in config.factors.motifs:
        path = source_file(source, key="factors.motifs")
        for identifier, motif in read_meme(path).items():
            first = motifs.setdefault(identifier, motif)
            if not np.array_equal(first.probabilities, motif.probabilities):
                raise InputError(
                    f"motif {identifier} is another one in a file before it",
                    file=path,
                    key="factors.motifs",
                    mend="take it out of one of the files, or give it another id",
                )
    return motifs


def _motif(row: FactorRow, meme: Mapping[str, Motif], config: Config) -> Motif | None:
    if row.motif is None:
        return None
    try:
        return resolve_motif(row.motif, meme, config.factors.jaspar)
    except InputError as error:
        if error.key is not None:
            raise
        raise InputError(
            error.problem, file=config.tables.factors, row=row.row, column="motif", mend=error.mend
        ) from error
