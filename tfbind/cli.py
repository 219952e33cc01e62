"""The command line: `tfbind VERB`. Each verb is one step of the workflow, and runs without it, too."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import tfbind
from tfbind.core.errors import InputError
from tfbind.core.progress import close_bars

if TYPE_CHECKING:
    import numpy as np
    import torch

    from tfbind.browser.on_demand import OnDemand
    from tfbind.config import Config
    from tfbind.contexts.contextset import ContextSet
    from tfbind.factors.factorset import FactorSet
    from tfbind.genome.reference import Reference
    from tfbind.genome.regions import Region
    from tfbind.model.checkpoint import Checkpoint
    from tfbind.prediction.known_binding import KnownPlaces
    from tfbind.tables import CellTypeRow, DataSet, SignalRow
    from tfbind.training.targets import Targets

PROTEIN_CACHE = Path("resources/protein_embeddings")
TEXT_CACHE = Path("resources/text_embeddings")

FILE = click.Path(path_type=Path)


class Verbs(click.Group):
    """Verbs in the order of the workflow; what a user gave wrong ends in a message, not a traceback."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Verbs as they are defined below."""
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        """Run a verb."""
        try:
            return self._invoke(context)
        except InputError as error:
            _tell(error)
            sys.exit(1)
        except OSError as error:
            if error.filename is None:
                raise
            problem = InputError(
                f"cannot be read or written: {error.strerror}",
                file=error.filename,
                mend="check the path, its permissions and the space that is left",
            )
            _tell(problem)
            sys.exit(1)

    def _invoke(self, context: click.Context) -> Any:
        """Run a verb; whatever ends it, a message of why comes after the last bar."""
        try:
            return super().invoke(context)
        finally:
            close_bars()


def _tell(error: InputError) -> None:
    """An error, on standard error; of a training's processes each has its own."""
    rank = os.environ.get("RANK", "0")
    click.echo(f"tfbind: error: {'' if rank == '0' else f'(process {rank}) '}{error}", err=True)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tfbind.__version__, prog_name="tfbind")
def main() -> None:
    """Where does this transcription factor bind, in this cell type?

    From DNA, a factor (its protein and, where known, its motif) and a cell type (its accessibility), tfbind
    predicts binding over a whole genome: a bigWig and a peak file for each factor in each cell type, also
    for factors and cell types that were never measured.

    The verbs are the steps of the workflow, in order. `snakemake` runs them all; each one also runs by itself.
    """


config_option = click.option(
    "--config",
    "configs",
    type=FILE,
    multiple=True,
    required=True,
    help="Configuration of the data set (config.yaml). Given several times, later files override earlier ones.",
)
reference_option = click.option(
    "--reference", type=FILE, required=True, help="Folder that `tfbind reference` made."
)
factors_option = click.option("--factors", type=FILE, required=True, help="Folder that `tfbind factors` made.")
contexts_option = click.option(
    "--contexts",
    type=FILE,
    help="Folder that `tfbind contexts` made, or a folder of such, by cell type; left out where "
    "the model reads no descriptions.",
)
targets_option = click.option("--targets", type=FILE, required=True, help="Folder that `tfbind targets` made.")
split_option = click.option("--split", type=FILE, required=True, help="File that `tfbind split` made.")
model_option = click.option(
    "--model", type=FILE, required=True, help="Folder that `tfbind train` or `tfbind ensemble` made."
)
embedding_option = click.option(
    "--embedding", type=FILE, required=True, help="Folder that `tfbind assemble` made."
)
tracks_option = click.option(
    "--accessibility",
    type=FILE,
    required=True,
    help="Folder with the accessibility of each cell type, CELL_TYPE.bw, made by `tfbind accessibility`.",
)
signals_option = click.option(
    "--signals",
    type=FILE,
    help="Folder with the signals of tables.signals, SIGNAL/CELL_TYPE.bw, made by `tfbind signal`; left out "
    "where there is no such table.",
)
threads_option = click.option("--threads", type=click.IntRange(min=1), help="CPU threads; all if not given.")
gpus_option = click.option(
    "--gpus",
    type=click.IntRange(min=0),
    default=0,
    help="GPUs that this job was given, on each node. If fewer are seen it fails, unless the config says `cpu`.",
)


def output_option(what: str) -> Callable[[Any], Any]:
    """The option that says where results go."""
    return click.option("--output", type=FILE, required=True, help=what)


@main.command()
@config_option
def check(configs: tuple[Path, ...]) -> None:
    """Check a configuration, its tables and its files before anything runs.

    Proteins and motifs are read, too, if their files are there; genome, peaks and accessibility are looked for,
    and read by the steps that need them.
    """
    from tfbind.config import member_configs
    from tfbind.inputs import check_factors, source_file
    from tfbind.tables import accessions_to_fetch, check_files, factor_sources, sources

    config, dataset = _read(configs)
    check_files(dataset, config)
    member_configs(config)
    found = sources(config, dataset)
    fetched = accessions_to_fetch(config, dataset)
    for source in found:
        if not source.is_url and source.local_path.is_file():
            source_file(source)
    made_by_run = config.simulation is not None or fetched
    there = all(source.local_path.is_file() for source in factor_sources(config, dataset))
    check_factors(config, dataset, proteins=there and not made_by_run)
    click.echo(
        f"{config.name}: {len(dataset.factors)} factors, {len(dataset.cell_types)} cell types, "
        f"{len(dataset.experiments)} experiments, {len(found) + len(fetched)} sources "
        f"({sum(source.is_url for source in found) + len(fetched)} to download). Nothing is wrong with them."
    )


@main.command()
@output_option("Folder of the JSON schemas, workflow/schemas in the project.")
@click.option("--reference", type=FILE, help="Also write the reference of all keys (config/README.md) here.")
def schema(output: Path, reference: Path | None) -> None:
    """Export the JSON schemas of configuration and tables (for developers)."""
    from tfbind.schemas import export_reference, export_schemas

    export_schemas(output)
    if reference is not None:
        export_reference(reference)


@main.command()
@config_option
def simulate(configs: tuple[Path, ...]) -> None:
    """Make the simulated world of the demo: genome, proteins, accessibility and calls, from a seed."""
    from tfbind.simulation.world import simulate_world

    simulate_world(*_read(configs))


@main.command()
@config_option
@click.option("--batch", help="A batch of the workflow, such as `peaks_1`, in place of PATHS.")
@click.argument("paths", type=FILE, nargs=-1)
def download(configs: tuple[Path, ...], batch: str | None, paths: tuple[Path, ...]) -> None:
    """Download files of the configuration or its tables: PATHS are where they are kept (resources/downloads).

    With neither PATHS nor a batch, all are downloaded. A download that was interrupted goes on where it stopped;
    checksums are verified; nothing half-downloaded gets its final name.
    """
    from tfbind.downloads import chosen_downloads
    from tfbind.downloads import download as fetch_all

    if batch is not None and paths:
        raise click.UsageError("give PATHS or --batch, not both")
    config, dataset = _read(configs)
    fetch_all(chosen_downloads(config, dataset, batch=batch, paths=paths), mirror=config.mirror)


@main.command()
@config_option
@output_option("Folder to make.")
def reference(configs: tuple[Path, ...], output: Path) -> None:
    """Turn the genome's FASTA into arrays, with its N runs, blacklist and chromosome names."""
    from tfbind.genome.reference import build_reference
    from tfbind.inputs import source_file

    settings = _config(configs).reference
    build_reference(
        source_file(settings.fasta, key="reference.fasta"),
        output,
        include=settings.include,
        exclude=settings.exclude,
        blacklist=None
        if settings.blacklist is None
        else source_file(settings.blacklist, key="reference.blacklist"),
        aliases=settings.aliases,
    )


@main.command()
@config_option
@click.option("--cell-type", required=True, help="A cell type of the table.")
@reference_option
@output_option("bigWig to make.")
def accessibility(configs: tuple[Path, ...], cell_type: str, reference: Path, output: Path) -> None:
    """Turn a cell type's ATAC or DNase file into a normalised accessibility bigWig (genome mean 1)."""
    from tfbind.contexts.accessibility import build_accessibility
    from tfbind.core.files import write_json
    from tfbind.genome.reference import Reference
    from tfbind.inputs import source_file

    config, dataset = _read(configs)
    row = _cell_type(dataset, cell_type, config)
    if row.accessibility is None:
        raise InputError(
            f"cell type {cell_type} has no accessibility",
            file=config.tables.cell_types,
            row=row.row,
            column="accessibility",
            mend="give it a file, or leave this step out: the model has a token for cell types without one",
        )
    summary = build_accessibility(
        source_file(row.accessibility, file=config.tables.cell_types, row=row.row, column="accessibility"),
        Reference.open(reference),
        output,
        smoothing=config.accessibility.smoothing,
        resolution=config.accessibility.resolution,
    )
    write_json(output.with_name(f"{output.name}.json"), summary)


@main.command()
@config_option
@click.option("--signal", required=True, help="A signal of the table of signals.")
@click.option("--cell-type", help="A cell type that it is known of; left out if the file is for every one (`*`).")
@reference_option
@output_option("bigWig to make, SIGNAL/CELL_TYPE.bw in the folder of signals, or SIGNAL/_all.bw.")
def signal(configs: tuple[Path, ...], signal: str, cell_type: str | None, reference: Path, output: Path) -> None:
    """Turn the file of a further signal of a cell type into a normalised bigWig, as of accessibility."""
    from tfbind.contexts.accessibility import ENDS, build_accessibility
    from tfbind.core.files import write_json
    from tfbind.genome.reference import Reference
    from tfbind.inputs import source_file

    config, dataset = _read(configs)
    row = _signal(dataset, signal, cell_type, config)
    summary = build_accessibility(
        source_file(row.source, file=config.tables.signals, row=row.row, column="source"),
        Reference.open(reference),
        output,
        kind=row.kind,
        smoothing=config.accessibility.smoothing,
        resolution=config.accessibility.resolution,
        shortest=row.shortest,
        longest=row.longest,
        count=row.count or ENDS,
    )
    write_json(output.with_name(f"{output.name}.json"), summary)


@main.command()
@config_option
@output_option("Folder to make.")
@gpus_option
def factors(configs: tuple[Path, ...], output: Path, gpus: int) -> None:
    """Embed the factors' proteins, and look up their motifs and structures."""
    from tfbind.factors.factorset import write_factor_set
    from tfbind.inputs import factor_embedder, factor_inputs, factor_region, factor_structure

    config, dataset = _read(configs)
    # Scales and arrays from files need no device, not even that it is looked for.
    device = str(_device(config, gpus)) if config.factors.runs_a_model else "cpu"
    write_factor_set(
        output,
        factor_inputs(config, dataset),
        factor_embedder(config, device),
        PROTEIN_CACHE,
        structure=factor_structure(config),
        region=factor_region(config),
    )


@main.command()
@config_option
@click.option("--cell-type", help="A cell type of the table; all of them if not given.")
@output_option("Folder to make; of one cell type, in a folder of all, by its name.")
@gpus_option
def contexts(configs: tuple[Path, ...], cell_type: str | None, output: Path, gpus: int) -> None:
    """Read the descriptions of the cell types, by the text encoder of the configuration, if it names one."""
    from tfbind.contexts.contextset import write_context_set
    from tfbind.contexts.text import TextEncoder

    config, dataset = _read(configs)
    settings = config.contexts.text
    if settings is not None and not any(row.description.strip() for row in dataset.cell_types):
        raise InputError(
            "no cell type has a description, which contexts.text would read",
            file=config.tables.cell_types,
            column="description",
            mend="describe the cell types, or set contexts.text to null",
        )
    encoder = None
    if settings is not None:
        encoder = TextEncoder(**settings.model_dump(), device=str(_device(config, gpus)))
    rows = dataset.cell_types if cell_type is None else [_cell_type(dataset, cell_type, config)]
    write_context_set(output, {row.cell_type: row.description for row in rows}, encoder, TEXT_CACHE)


@main.command()
@config_option
@reference_option
@output_option("Folder to make.")
def targets(configs: tuple[Path, ...], reference: Path, output: Path) -> None:
    """Turn measured peaks into labels per bin: bound, unbound, ambiguous.

    Where a loss of training.losses needs them, signal (coverage) and peak scores per bin are written, too.
    """
    from tfbind.genome.reference import Reference
    from tfbind.inputs import source_file
    from tfbind.training.targets import Experiment, build_targets

    config, dataset = _read(configs)
    experiments = [
        Experiment(
            row.name,
            row.factor,
            row.cell_type,
            source_file(row.peaks, file=config.tables.experiments, row=row.row, column="peaks"),
            row.signal,
            row.reads,
        )
        for row in dataset.experiments
    ]
    build_targets(
        experiments,
        Reference.open(reference),
        output,
        bin=config.windows.bin,
        half_width=config.targets.half_width,
        bound_fraction=config.targets.bound_fraction,
        arrays=config.training.losses.arrays,
    )


@main.command()
@config_option
@reference_option
@factors_option
@targets_option
@click.option("--fold", type=click.IntRange(min=0), help="Which of splits.folds to hold out, too, from 0.")
@output_option("File (.json) to make.")
def split(
    configs: tuple[Path, ...], reference: Path, factors: Path, targets: Path, fold: int | None, output: Path
) -> None:
    """Split genome and experiments into what is trained on, what stops the training, and what is tested.

    Factors are held out with their relatives, cell types with all experiments in them. It is done once, and every
    later step reads the file.
    """
    from tfbind.factors.factorset import FactorSet
    from tfbind.factors.relatives import Relatives, without_domains
    from tfbind.genome.reference import Reference
    from tfbind.inputs import factor_domains
    from tfbind.tables import names_of_cell_types
    from tfbind.training.splits import describe, make_split

    config, dataset = _read(configs)
    genome, factor_set = Reference.open(reference), FactorSet.open(factors)
    proteins = {name: factor_set.proteins(name) for name in factor_set.names}
    region = factor_domains(config)
    whole = without_domains(proteins, region)
    found = make_split(
        config.splits,
        genome,
        _targets(targets, genome, dataset, config).experiments,
        Relatives.of(proteins, region),
        windows=config.windows,
        cell_types=names_of_cell_types(dataset.cell_types),
        seed=config.seed,
        fold=fold,
    )
    found.write(output)
    click.echo(describe(found))
    if whole:
        click.echo(f"compared by whole proteins, without a domain in the table: {', '.join(whole)}")


@main.command()
@config_option
@reference_option
@targets_option
@split_option
@output_option("TSV to write.")
def homology(configs: tuple[Path, ...], reference: Path, targets: Path, split: Path, output: Path) -> None:
    """Tell how much of the test's sequence, and of what is bound in it, stands in the training regions, too.

    The test regions are cut into stretches of about 1 kb. One is homologous if at least half of its 31-mers, on
    either strand, stand in a training region.
    """
    from tfbind.genome.reference import Reference
    from tfbind.training.homology import compare, write_homology
    from tfbind.training.splits import Split

    config, dataset = _read(configs)
    genome, parts = Reference.open(reference), Split.read(split)
    parts.require_fitting(genome.checksum, config.windows.bin)
    labels = _targets(targets, genome, dataset, config)
    columns = {each["name"]: column for column, each in enumerate(labels.experiments)}
    scored = {name: column for name, column in columns.items() if name in parts.tested}
    found = compare(parts, genome.fetch)
    row = write_homology(output, found, labels.labels, scored, parts.bin)[0]
    click.echo(
        f"homologous to training regions: {float(row['homologous_bp'] or 0):.1%} of the test's bp, "
        f"{float(row['homologous_bound_bins'] or 0):.1%} of its bound bins"
    )


@main.command()
@config_option
@reference_option
@factors_option
@contexts_option
@targets_option
@split_option
@tracks_option
@signals_option
@click.option("--state", type=FILE, required=True, help="Folder that keeps the state of an unfinished training.")
@click.option("--history", type=FILE, required=True, help="TSV of losses and validation scores to write.")
@output_option("Folder of the model to make.")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of the training; that of the configuration if not given."
)
@click.option(
    "--member",
    type=click.IntRange(min=0),
    default=0,
    help="Which of training.ensemble models, from 0: its seed and, with training.variants, its configuration.",
)
@threads_option
@gpus_option
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Processes that train together (on each node), started by torchrun; by default one for each GPU given.",
)
def train(
    configs: tuple[Path, ...],
    reference: Path,
    factors: Path,
    contexts: Path | None,
    targets: Path,
    split: Path,
    accessibility: Path,
    signals: Path | None,
    state: Path,
    history: Path,
    output: Path,
    seed: int | None,
    member: int,
    threads: int | None,
    gpus: int,
    processes: int | None,
) -> None:
    """Train the model on the experiments and regions that are not held out.

    Stopped and started again, it goes on exactly where it was. SIGTERM, SIGUSR1 or Ctrl-C stop it after the step
    that it is in, with exit status 128 + the signal's number; killed, it goes on from its last validation.
    """
    from tfbind.config import member_configs
    from tfbind.factors.factorset import FactorSet
    from tfbind.genome.reference import Reference
    from tfbind.model.device import reported
    from tfbind.training.ensemble import member_seed
    from tfbind.training.launch import is_worker, launch, node_count
    from tfbind.training.run import train_model
    from tfbind.training.splits import Split
    from tfbind.training.stopping import Stopped, StopSignals
    from tfbind.training.targets import Targets

    config, dataset = _read(configs)
    _require_member(member, config)
    config = member_configs(config)[member]
    config = config.model_copy(update={"seed": member_seed(config.seed if seed is None else seed, member)})
    device = _device(config, gpus)
    processes = processes or (max(1, gpus) if device.type == "cuda" else 1)
    threads = None if threads is None else max(1, threads // processes)
    if processes * node_count() > 1 and not is_worker():
        sys.exit(launch(sys.argv[1:], processes, threads=threads))
    _use_threads(threads)
    cell_types = [row.cell_type for row in dataset.cell_types]
    # From here on: reading the data may take minutes.
    stop_signals = StopSignals(patient=is_worker())
    try:
        with stop_signals, reported(device, config.training.precision):
            train_model(
                config,
                Reference.open(reference),
                FactorSet.open(factors),
                Targets.open(targets),
                Split.read(split),
                cell_types,
                [_track(row, accessibility) for row in dataset.cell_types],
                state=state,
                history=history,
                output=output,
                device=device,
                context_set=_context_set(contexts, _trained(dataset, config)),
                signals=stop_signals,
                aliases={row.cell_type: row.aliases for row in dataset.cell_types},
                further=_further(dataset.cell_types, signals, dataset, config),
            )
    except Stopped as stopped:
        click.echo(f"tfbind: {stopped}; the same command goes on from there (state: {state})", err=True)
        sys.exit(128 + stopped.signal)


@main.command()
@config_option
@reference_option
@factors_option
@contexts_option
@targets_option
@tracks_option
@signals_option
@output_option("Folder of the ensemble to make.")
@click.argument("models", type=FILE, nargs=-1, required=True)
@threads_option
@gpus_option
def ensemble(
    configs: tuple[Path, ...],
    reference: Path,
    factors: Path,
    contexts: Path | None,
    targets: Path,
    accessibility: Path,
    signals: Path | None,
    output: Path,
    models: tuple[Path, ...],
    threads: int | None,
    gpus: int,
) -> None:
    """Join the MODELS, folders that `tfbind train` made, to an ensemble, which renders as one model.

    Where all members were validated in the same regions, it is calibrated there, and finds its thresholds there.
    """
    from tfbind.genome.reference import Reference
    from tfbind.model.checkpoint import load_checkpoint
    from tfbind.model.ensemble import member_folders, save_ensemble
    from tfbind.training.ensemble import calibrated, join

    _use_threads(threads)
    config, dataset = _read(configs)
    folders = [folder for model in models for folder in member_folders(model)]
    joined = join(folders, [load_checkpoint(folder) for folder in folders])
    genome = Reference.open(reference)
    _require_bin(joined, config)
    _require_genome(joined, genome, reference)
    measured = joined.about["manifest"]["cell_types"]
    rows = [row for row in dataset.cell_types if row.cell_type in measured]
    with _on_device(joined, config, gpus):
        joined = calibrated(
            joined,
            config,
            genome,
            _factor_set(factors, joined),
            _targets(targets, genome, dataset, config),
            [row.cell_type for row in rows],
            [_track(row, accessibility) for row in rows],
            context_set=_models_context_set(contexts, rows, joined),
            further=_further(rows, signals, dataset, config, joined),
        )
    save_ensemble(output, folders, joined)


@main.command()
@config_option
@reference_option
@model_option
@click.option("--shard", type=click.IntRange(min=0), required=True, help="Which of the shards, from 0.")
@output_option("Array (.npy) to make.")
@threads_option
@gpus_option
def embed(
    configs: tuple[Path, ...],
    reference: Path,
    model: Path,
    shard: int,
    output: Path,
    threads: int | None,
    gpus: int,
) -> None:
    """Run the trunk over one shard of the genome, and store its DNA tokens."""
    from tfbind.prediction.embed import embed_shard, shard_stretches

    _use_threads(threads)
    config = _config(configs)
    genome, checkpoint = _open(reference, model, config)
    shards = shard_stretches(genome, config.windows, config.prediction.shards)
    if shard >= len(shards):
        raise InputError(
            f"there is no shard {shard}: this genome has {len(shards)} (from 0)",
            key="prediction.shards",
            mend=f"set it to at most {len(shards)}",
        )
    with _on_device(checkpoint, config, gpus, config.prediction.precision):
        embed_shard(
            checkpoint,
            genome,
            shards[shard],
            output,
            batch_size=config.prediction.batch_size,
            precision=config.prediction.precision,
        )


@main.command()
@config_option
@reference_option
@model_option
@output_option("Folder of the genome embedding to make.")
@click.argument("shards", type=FILE, nargs=-1, required=True)
def assemble(
    configs: tuple[Path, ...], reference: Path, model: Path, output: Path, shards: tuple[Path, ...]
) -> None:
    """Lay the SHARDS, in order, together to the genome embedding."""
    from tfbind.prediction.embed import assemble as lay_together

    config = _config(configs)
    genome, checkpoint = _open(reference, model, config)
    lay_together(checkpoint, genome, config.windows, shards, output)


@main.command()
@config_option
@click.option(
    "--cell-type",
    "cell_types",
    multiple=True,
    required=True,
    help="A cell type of the table. Given several times, many are rendered together; each once.",
)
@reference_option
@factors_option
@contexts_option
@model_option
@embedding_option
@click.option(
    "--accessibility",
    type=FILE,
    help="Its accessibility bigWig; left out if it has none. Of several cell types: the folder of CELL_TYPE.bw.",
)
@signals_option
@click.option(
    "--batch",
    type=click.IntRange(min=0),
    help="Which of the batches of prediction.factors_per_job factors, from 0; all factors if not given.",
)
@click.option("--factor", "wanted", multiple=True, help="A factor to render, in place of all; may be repeated.")
@click.option(
    "--targets",
    type=FILE,
    help="Folder that `tfbind targets` made, for prediction.known_binding: that of the model's training.",
)
@click.option(
    "--region",
    help="Where to render, such as chr7:1-2000000 (first and last base); all of the genome if not given.",
)
@output_option(
    "Folder of the tracks to make; of several cell types, of a folder for each. A folder of tracks that is there "
    "already is replaced as a whole, also with --factor, --batch and --region."
)
@threads_option
@gpus_option
def render(
    configs: tuple[Path, ...],
    cell_types: tuple[str, ...],
    reference: Path,
    factors: Path,
    contexts: Path | None,
    model: Path,
    embedding: Path,
    accessibility: Path | None,
    signals: Path | None,
    batch: int | None,
    wanted: tuple[str, ...],
    targets: Path | None,
    region: str | None,
    output: Path,
    threads: int | None,
    gpus: int,
) -> None:
    """Make the tracks of a cell type: FACTOR.bw, FACTOR.narrowPeak and FACTOR.json for every factor.

    Many factors can be rendered in batches, side by side; `tfbind gather` lays them together. With --region, only
    a part of the genome is rendered, in seconds.
    """
    from tfbind.model.data import open_genome_data
    from tfbind.prediction.embed import GenomeEmbedding, reach_of
    from tfbind.prediction.region import parse_region
    from tfbind.prediction.render import CellTypeTracks, render_cell_types

    if batch is not None and wanted:
        raise click.UsageError("give --factor or --batch, not both")
    _use_threads(threads)
    config, dataset = _read(configs)
    names = _some_factors(wanted, config, dataset) if wanted else _factors_of(batch, config, dataset)
    rows = [_cell_type(dataset, name, config) for name in _each_once(cell_types)]
    tracks = _tracks_of(rows, accessibility, config)
    genome, checkpoint = _open(reference, model, config)
    where = None if region is None else parse_region(region, genome, config.windows.bin)
    only = None
    if where is not None:
        around = reach_of(checkpoint)
        only = {where.chrom: range(where.first - around, where.first + where.count + around)}
    context_set = _models_context_set(contexts, rows, checkpoint)
    learnt = checkpoint.about["contexts"]["learnt"]
    known = _known_places(targets, genome, dataset, config, checkpoint)
    further = _further(rows, signals, dataset, config, checkpoint)
    data = open_genome_data(genome, tracks, bin=config.windows.bin, only=only, further=further)
    with _on_device(checkpoint, config, gpus):
        render_cell_types(
            checkpoint,
            GenomeEmbedding.open(embedding, checkpoint, genome),
            genome,
            data.knowing([row.cell_type for row in rows], context_set, learnt),
            _factor_set(factors, checkpoint),
            names,
            [
                CellTypeTracks(
                    row.cell_type,
                    output if len(rows) == 1 else output / row.cell_type,
                    _context(row, track, context_set, learnt) | _signals_told(row, column, further, dataset),
                )
                for column, (row, track) in enumerate(zip(rows, tracks, strict=True))
            ],
            region=where,
            uncertainty=config.prediction.uncertainty,
            unseen_factors=config.prediction.unseen_factors,
            known=known,
        )


@main.command()
@config_option
@output_option("Folder of the tracks to make.")
@click.argument("batches", type=FILE, nargs=-1, required=True)
def gather(configs: tuple[Path, ...], output: Path, batches: tuple[Path, ...]) -> None:
    """Lay the BATCHES of a cell type's tracks together to one folder; they stay as they are.

    It refuses batches that are not whole, or not of the same model, genome and cell type.
    """
    from tfbind.prediction.gather import gather as lay_together
    from tfbind.tables import factors_to_render

    config, dataset = _read(configs)
    names, uncertainty = factors_to_render(config, dataset), config.prediction.uncertainty
    lay_together(batches, names, output, uncertainty=uncertainty)


@main.command("factor-cnn")
@config_option
@reference_option
@targets_option
@split_option
@tracks_option
@signals_option
@click.option("--steps", type=click.IntRange(min=1), help="Steps a factor; those of the training if not given.")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of the trainings; that of the configuration if not given."
)
@output_option("File of predictions to make (.npz), for `tfbind evaluate --predictions`.")
@threads_option
def factor_cnn(
    configs: tuple[Path, ...],
    reference: Path,
    targets: Path,
    split: Path,
    accessibility: Path,
    signals: Path | None,
    steps: int | None,
    seed: int | None,
    output: Path,
    threads: int | None,
) -> None:
    """Train a small network of each tested factor on its own peaks alone, and predict the test: a baseline."""
    from tfbind.evaluation.factor_cnn import NAME, Schedule, predict_alone, seen
    from tfbind.evaluation.predictions import write_predictions
    from tfbind.genome.reference import Reference
    from tfbind.model.data import open_genome_data
    from tfbind.training.splits import Split

    _use_threads(threads)
    config, dataset = _read(configs)
    genome = Reference.open(reference)
    labels = _targets(targets, genome, dataset, config)
    parts = Split.read(split)
    parts.require_fitting(genome.checksum, config.windows.bin)
    rows = _measured(dataset, labels)
    tracks = [_track(row, accessibility) for row in rows]
    further = _further(rows, signals, dataset, config)
    found = predict_alone(
        open_genome_data(genome, tracks, bin=config.windows.bin, labels=labels.labels, further=further),
        labels.experiments,
        [row.cell_type for row in rows],
        parts,
        seed=config.seed if seed is None else seed,
        schedule=Schedule(steps or config.training.steps),
    )
    rule = config.evaluation.dream_rule
    write_predictions(output, parts, found, name=NAME, sees=seen(list(further)), probabilities=True, rule=rule)


@main.command()
@config_option
@reference_option
@factors_option
@contexts_option
@targets_option
@split_option
@model_option
@click.option(
    "--embedding",
    type=FILE,
    help="Folder that `tfbind assemble` made; without it, the regions of the test are embedded first.",
)
@tracks_option
@signals_option
@click.option(
    "--predictions",
    type=FILE,
    multiple=True,
    help="Scores of the same test by something else (.npz), to stand beside the baselines; may be repeated.",
)
@output_option("Folder of tables and plot to make.")
@threads_option
@gpus_option
def evaluate(
    configs: tuple[Path, ...],
    reference: Path,
    factors: Path,
    contexts: Path | None,
    targets: Path,
    split: Path,
    model: Path,
    embedding: Path | None,
    accessibility: Path,
    signals: Path | None,
    predictions: tuple[Path, ...],
    output: Path,
    threads: int | None,
    gpus: int,
) -> None:
    """Score the predictions in the test regions, beside baselines that know less."""
    from tfbind.evaluation.report import test_of, write_evaluation
    from tfbind.evaluation.tables import print_summary
    from tfbind.training.splits import Split

    _use_threads(threads)
    config, dataset = _read(configs)
    genome, checkpoint = _open(reference, model, config)
    labels = _targets(targets, genome, dataset, config)
    parts = Split.read(split)
    parts.require_fitting(genome.checksum, config.windows.bin)
    tested = {each["cell_type"] for each in labels.experiments if each["name"] in parts.tested}
    rows = [row for row in dataset.cell_types if row.cell_type in tested]
    context_set = _models_context_set(contexts, rows, checkpoint)
    scene = test_of(
        checkpoint,
        parts,
        labels,
        genome,
        _factor_set(factors, checkpoint),
        {row.cell_type: _track(row, accessibility) for row in rows},
        context_set,
        _further(rows, signals, dataset, config, checkpoint),
    )
    with _on_device(checkpoint, config, gpus):
        scores = write_evaluation(config, scene, checkpoint, output, embedding=embedding, predictions=predictions)
    print_summary(scores.rows)


@main.command("gather-folds")
@output_option("Folder of tables to make.")
@click.argument("evaluations", type=FILE, nargs=-1, required=True)
def gather_folds(output: Path, evaluations: tuple[Path, ...]) -> None:
    """Lay the EVALUATIONS of folds and seeds together, and say what they come to."""
    from tfbind.evaluation.crossvalidation import gather_folds as lay_together
    from tfbind.evaluation.crossvalidation import print_folds

    print_folds(lay_together(evaluations, output))


@main.command()
@config_option
@click.option(
    "--variants",
    type=FILE,
    required=True,
    help="YAML: names of variants, and below each the keys of `model`, `training` and `contexts` that differ.",
)
@reference_option
@factors_option
@contexts_option
@targets_option
@split_option
@tracks_option
@signals_option
@click.option("--work", type=FILE, required=True, help="Folder that keeps models and scores of what is done.")
@output_option("TSV to write.")
@threads_option
@gpus_option
def ablate(
    configs: tuple[Path, ...],
    variants: Path,
    reference: Path,
    factors: Path,
    contexts: Path | None,
    targets: Path,
    split: Path,
    accessibility: Path,
    signals: Path | None,
    work: Path,
    output: Path,
    threads: int | None,
    gpus: int,
) -> None:
    """Train variants of the configuration on the same data, and score them side by side, in one table."""
    from tfbind.evaluation.ablation import DataFolders, ablate, read_variants, write_table
    from tfbind.factors.factorset import FactorSet
    from tfbind.genome.reference import Reference
    from tfbind.training.splits import Split
    from tfbind.training.stopping import Stopped

    _use_threads(threads)
    config, dataset = _read(configs)
    genome = Reference.open(reference)
    labels = _targets(targets, genome, dataset, config)
    rows = _measured(dataset, labels)
    folders = DataFolders(
        genome,
        FactorSet.open(factors),
        labels,
        Split.read(split),
        [row.cell_type for row in rows],
        [_track(row, accessibility) for row in rows],
        _context_set(contexts, rows),
        _further(rows, signals, dataset, config),
    )
    try:
        table = ablate(read_variants(variants, config), folders, work, device=_device(config, gpus))
    except Stopped as stopped:
        click.echo(f"tfbind: {stopped}; the same command goes on from there (work: {work})", err=True)
        sys.exit(128 + stopped.signal)
    write_table(output, table)
    click.echo(output.read_text(encoding="utf-8"), nl=False)


@main.command()
@targets_option
@split_option
@click.option(
    "--count", type=click.IntRange(min=1), default=10, show_default=True, help="Sites a track, at most."
)
@output_option("Folder of tables to make: sites.tsv and tracks.tsv.")
@click.argument("tracks", type=FILE)
def sites(targets: Path, split: Path, count: int, output: Path, tracks: Path) -> None:
    """List the most probable sites of each track in TRACKS, the folder of a cell type, and what was called."""
    from tfbind.core.files import atomic_dir
    from tfbind.evaluation.sites import SITE_COLUMNS, TRACK_COLUMNS, describe_tracks, top_sites
    from tfbind.evaluation.tables import write_table
    from tfbind.training.splits import Split
    from tfbind.training.targets import Targets

    with atomic_dir(output) as folder:
        found = top_sites(tracks, Targets.open(targets), Split.read(split), count=count)
        write_table(folder / "sites.tsv", SITE_COLUMNS, found)
        write_table(folder / "tracks.tsv", TRACK_COLUMNS, describe_tracks(tracks))


@main.command()
@reference_option
@targets_option
@split_option
@output_option("TSV to write.")
@click.argument("tracks", type=FILE)
def profiles(reference: Path, targets: Path, split: Path, output: Path, tracks: Path) -> None:
    """Average what is predicted around measured calls of the test; TRACKS holds CELL_TYPE/FACTOR.bw."""
    from tfbind.evaluation.profiles import COLUMNS, profiles
    from tfbind.evaluation.tables import write_table
    from tfbind.genome.reference import Reference
    from tfbind.training.splits import Split
    from tfbind.training.targets import Targets

    found = profiles(tracks, Targets.open(targets), Split.read(split), Reference.open(reference))
    write_table(output, COLUMNS, found)


@main.command("plot-history")
@click.argument("history", type=FILE)
@click.option("--targets", type=FILE, help="Folder that `tfbind targets` made: what chance gives is drawn, too.")
@click.option("--split", type=FILE, help="File that `tfbind split` made; with --targets.")
@output_option("Path of the plot without its ending: .svg and .png are written.")
def plot_history(history: Path, targets: Path | None, split: Path | None, output: Path) -> None:
    """Plot the loss and the validation score of a training HISTORY."""
    from tfbind.evaluation.plots import plot_history as plot
    from tfbind.training.splits import Split
    from tfbind.training.targets import Targets, mean_prevalence

    if (targets is None) != (split is None):
        raise click.UsageError("give --targets and --split, or neither")
    chance = None
    if targets is not None and split is not None:
        parts = Split.read(split)
        chance = mean_prevalence(Targets.open(targets), parts.experiments, parts.validation)
    plot(history, output, chance=chance)


@main.command()
@click.option("--run", type=FILE, required=True, help="Folder of a run's results, such as results/demo.")
@click.option("--region", required=True, help="What to show, such as chr7:1-20000 (first and last base).")
@click.option(
    "--factor", "wanted", multiple=True, required=True, help="A factor of the table; may be repeated, in order."
)
@click.option(
    "--cell-type",
    "cell_types",
    multiple=True,
    required=True,
    help="A cell type of the table; may be repeated, in order.",
)
@click.option(
    "--genes",
    type=FILE,
    help="GTF, or BED with strands, plain or gzip; by default that of evaluation.promoters, if there is one.",
)
@click.option(
    "--width", type=float, default=180.0, show_default=True, help="mm: about 88 for a journal's column."
)
@output_option("Figure to make: .svg, .png or .pdf.")
@threads_option
def plot(
    run: Path,
    region: str,
    wanted: tuple[str, ...],
    cell_types: tuple[str, ...],
    genes: Path | None,
    width: float,
    output: Path,
    threads: int | None,
) -> None:
    """Draw a region for a paper: accessibility, predictions, measured calls, motif sites and genes.

    Tracks are those of the run; what was never rendered is rendered here, for the region alone.
    """
    from tfbind.browser.on_demand import OnDemand
    from tfbind.evaluation.promoters import KEY as PROMOTERS
    from tfbind.figures.region import plot_region
    from tfbind.figures.view import read_view, require_run
    from tfbind.inputs import source_file

    _use_threads(threads)
    config, dataset = _read((require_run(run),))
    _some_factors(wanted, config, dataset)
    rows = [_cell_type(dataset, name, config) for name in _each_once(cell_types)]
    key, promoters = "--genes", config.evaluation.promoters
    if genes is None and promoters is not None:
        key, genes = PROMOTERS, source_file(promoters, key=PROMOTERS)
    with closing(OnDemand(run, ahead=False)) as on_demand:
        view = read_view(
            run,
            config,
            region,
            list(dict.fromkeys(wanted)),
            [row.cell_type for row in rows],
            genes=genes,
            genes_key=key,
            render=partial(_rendered, on_demand),
        )
    plot_region(view, output, width=width)


def _rendered(on_demand: OnDemand, factor: str, cell_type: str, region: Region) -> tuple[int, np.ndarray]:
    """First bin and probabilities of what no track of a run holds."""
    found = on_demand.render(factor, cell_type, str(region))
    return found.start // found.bin, found.values


@main.command()
@config_option
@reference_option
@targets_option
@split_option
@click.option(
    "--tracks",
    type=FILE,
    required=True,
    help="Folder with the tracks of each cell type, made by `tfbind gather`.",
)
@tracks_option
@click.option(
    "--evaluation", type=FILE, help="Folder that `tfbind evaluate` made; left out if nothing is tested."
)
@click.option("--genes", type=FILE, help="GTF, or BED with strands, to show beside the tracks.")
@output_option("Folder of the page to make, beside those of the tracks: results/NAME/browser.")
def browser(
    configs: tuple[Path, ...],
    reference: Path,
    targets: Path,
    split: Path,
    tracks: Path,
    accessibility: Path,
    evaluation: Path | None,
    genes: Path | None,
    output: Path,
) -> None:
    """Make the page with the genome browser, and the track hub.

    They show the predictions of a run beside measured calls and accessibility. `tfbind browse` serves the page,
    and so does any web server with range requests.
    """
    from tfbind.browser.page import write_page
    from tfbind.browser.run import Run
    from tfbind.genome.reference import Reference
    from tfbind.training.splits import Split

    config, dataset = _read(configs)
    genome, parts = Reference.open(reference), Split.read(split)
    parts.require_fitting(genome.checksum, config.windows.bin)
    labels = _targets(targets, genome, dataset, config)
    write_page(Run(config, dataset, genome, labels, parts, tracks, accessibility, evaluation, genes), output)


@main.command()
@click.argument("run", type=FILE)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve at; others let others in.")
@click.option("--port", type=int, default=0, help="Port to serve at; one that is free if not given.")
@click.option(
    "--open/--no-open", "open_page", default=True, help="Whether to open the page, if there is a desktop."
)
def browse(run: Path, host: str, port: int, open_page: bool) -> None:
    """Show the tracks of a RUN, such as results/demo, in the web browser.

    The run is served on this machine alone until Ctrl-C, and the address is printed.
    """
    from tfbind.browser.browse import browse as serve

    serve(run, click.echo, host=host, port=port, open_page=open_page)


def _config(configs: tuple[Path, ...]) -> Config:
    from tfbind.config import load_config

    return load_config(configs)


def _read(configs: tuple[Path, ...]) -> tuple[Config, DataSet]:
    from tfbind.tables import read_tables

    config = _config(configs)
    return config, read_tables(config)


def _cell_type(dataset: DataSet, name: str, config: Config) -> CellTypeRow:
    for row in dataset.cell_types:
        if row.cell_type == name:
            return row
    known = ", ".join(row.cell_type for row in dataset.cell_types)
    raise InputError(
        f"there is no cell type '{name}'", file=config.tables.cell_types, mend=f"take one of {known}"
    )


def _signal(dataset: DataSet, name: str, cell_type: str | None, config: Config) -> SignalRow:
    """The row of a signal that is known of a cell type, or of every one."""
    from tfbind.tables import EVERY

    rows = [row for row in dataset.signals if row.signal == name]
    for row in rows:
        if row.cell_type == (EVERY if cell_type is None else cell_type):
            return row
    if rows and rows[0].cell_type == EVERY:
        raise InputError(
            f"the signal {name} is one of every cell type", key="--cell-type", mend="leave --cell-type out"
        )
    known = rows or dataset.signals
    raise InputError(
        f"there is no signal {name} of {'every cell type' if cell_type is None else cell_type}",
        key="tables.signals",
        file=config.tables.signals,
        mend=f"take one of {', '.join(f'{row.signal} of {row.cell_type}' for row in known)}"
        if known
        else "name a table of signals",
    )


def _further(
    rows: Iterable[CellTypeRow],
    folder: Path | None,
    dataset: DataSet,
    config: Config,
    checkpoint: Checkpoint | None = None,
) -> dict[str, list[Path | None]]:
    """The signals of cell types beside accessibility: those that a model reads, or all of the table."""
    from tfbind.inputs import further_signals

    if folder is not None and not dataset.signals:
        raise InputError(
            "signals are given, and the configuration has no table of them",
            file=folder,
            key="tables.signals",
            mend="name the table, or leave --signals out",
        )
    names = [row.cell_type for row in rows]
    return further_signals(dataset, names, folder, None if checkpoint is None else checkpoint.signals)


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Cell types, as given. One given twice would be one, whose tracks go elsewhere than those of two."""
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{repeated[0]} stands twice", key="--cell-type", mend="give each cell type once")
    return names


def _measured(dataset: DataSet, targets: Targets) -> list[CellTypeRow]:
    """The cell types in which something was measured."""
    names = {experiment["cell_type"] for experiment in targets.experiments}
    return [row for row in dataset.cell_types if row.cell_type in names]


def _trained(dataset: DataSet, config: Config) -> list[CellTypeRow]:
    """The cell types that are trained on."""
    from tfbind.tables import trained_cell_types

    names = trained_cell_types(config, dataset)
    return [row for row in dataset.cell_types if row.cell_type in names]


def _factors_of(batch: int | None, config: Config, dataset: DataSet) -> list[str]:
    """The factors of a batch; all that are to be rendered if it is None."""
    from tfbind.prediction.gather import factor_batches
    from tfbind.tables import factors_to_render

    names = factors_to_render(config, dataset)
    if batch is None:
        return names
    batches = factor_batches(names, config.prediction.factors_per_job)
    if batch >= len(batches):
        raise InputError(
            f"there is no batch {batch}: {len(names)} factors are {len(batches)} batches (from 0)",
            key="prediction.factors_per_job",
            mend=f"give one of 0 to {len(batches) - 1}, or set it to fewer factors a job",
        )
    return batches[batch]


def _require_member(member: int, config: Config) -> None:
    if member >= config.training.ensemble:
        raise InputError(
            f"there is no member {member}: {config.training.ensemble} are trained (from 0)",
            key="training.ensemble",
            mend=f"set it to {member + 1} or more",
        )


def _some_factors(wanted: tuple[str, ...], config: Config, dataset: DataSet) -> list[str]:
    """Factors by name, in the order of the table."""
    from tfbind.genome.names import listed

    known = [row.factor for row in dataset.factors]
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(
            f"there is no factor '{unknown[0]}'",
            file=config.tables.factors,
            mend=f"give one of the table with --factor: {listed(known)}",
        )
    return [name for name in known if name in wanted]


def _tracks_of(rows: list[CellTypeRow], accessibility: Path | None, config: Config) -> list[Path | None]:
    """The accessibility of the cell types that are rendered: a bigWig, or bigWigs by name in a folder."""
    if accessibility is not None and accessibility.is_dir():
        return [_track(row, accessibility) for row in rows]
    if len(rows) > 1 and accessibility is not None:
        raise InputError(
            "is no folder, and several cell types are to be rendered",
            file=accessibility,
            mend="give the folder that has CELL_TYPE.bw of each",
        )
    for row in rows:
        _require_same_track(row, accessibility, config)
    return [accessibility] * len(rows)


def _track(row: CellTypeRow, folder: Path) -> Path | None:
    return None if row.accessibility is None else folder / f"{row.cell_type}.bw"


def _require_same_track(row: CellTypeRow, accessibility: Path | None, config: Config) -> None:
    """A track that is forgotten, or comes from elsewhere, would make other predictions than the table says."""
    if (row.accessibility is None) != (accessibility is None):
        has, mend = "has accessibility", "give its bigWig with --accessibility"
        if row.accessibility is None:
            has, mend = "has no accessibility", "fill in the cell, or leave --accessibility out"
        raise InputError(
            f"cell type {row.cell_type} {has}",
            file=config.tables.cell_types,
            row=row.row,
            column="accessibility",
            mend=mend,
        )


def _context(
    row: CellTypeRow, accessibility: Path | None, context_set: ContextSet | None, learnt: list[str]
) -> dict[str, Any]:
    """What the provenance of a track says of its cell type; no paths, which differ between machines."""
    from tfbind.core.files import sha256_file

    source = row.accessibility
    name = None if source is None else source.source if source.is_url else source.local_path.name
    return {
        "description": row.description,
        "text": None if context_set is None else context_set.text_key(row.cell_type),
        "learnt": row.cell_type in learnt,
        "accessibility": name,
        "accessibility_sha256": None if accessibility is None else sha256_file(accessibility),
    }


def _signals_told(
    row: CellTypeRow, column: int, further: Mapping[str, Sequence[Path | None]], dataset: DataSet
) -> dict[str, Any]:
    """What the provenance of a track says of the signals that were read, file and bigWig; nothing without any."""
    from tfbind.core.files import sha256_file

    told = {}
    for name, tracks in further.items():
        found = dataset.signal(name, row.cell_type)
        told[name] = None
        if found is not None:
            source = found.source
            file = source.source if source.is_url else source.local_path.name
            told[name] = {"source": file, "sha256": sha256_file(tracks[column])}
    return {"signals": told} if told else {}


def _open(reference: Path, model: Path, config: Config) -> tuple[Reference, Checkpoint]:
    from tfbind.prediction.opening import open_model

    return open_model(reference, model, config)


def _require_genome(checkpoint: Checkpoint, genome: Reference, folder: Path) -> None:
    if checkpoint.about["manifest"]["genome"] != genome.checksum:
        raise InputError(
            "is another genome than the one that the models were trained on",
            file=folder,
            mend="give the reference of the training",
        )


def _require_bin(checkpoint: Checkpoint, config: Config) -> None:
    from tfbind.prediction.opening import require_bin

    require_bin(checkpoint, config)


@contextmanager
def _on_device(checkpoint: Checkpoint, config: Config, gpus: int, precision: str = "fp32") -> Iterator[None]:
    """The model on its device, of which the log tells."""
    from tfbind.model.device import reported

    device = _device(config, gpus)
    checkpoint.model.to(device)
    with reported(device, precision):
        yield


def _device(config: Config, gpus: int) -> torch.device:
    """Where the model runs; of several GPUs of a machine that is no cluster's, those that no other job has."""
    from tfbind.model.device import choose_device, claim_gpus, own_gpu, visible_gpus
    from tfbind.training.launch import is_worker

    device = choose_device(config.device, gpus=gpus)
    if device.type == "cuda" and is_worker():
        return own_gpu()
    if device.type == "cuda" and gpus and "SLURM_JOB_ID" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(claim_gpus(visible_gpus(), gpus))
    return device


def _targets(folder: Path, genome: Reference, dataset: DataSet, config: Config) -> Targets:
    """The targets; those of another genome, bin or table are refused."""
    from tfbind.training.targets import Targets

    found = Targets.open(folder)
    fits = {
        "genome": found.about["genome"] == genome.checksum,
        "bin": found.about["bin"] == config.windows.bin,
        "table of cell types": {each["cell_type"] for each in found.experiments}
        <= {row.cell_type for row in dataset.cell_types},
    }
    if not all(fits.values()):
        others = " and ".join(f"another {what}" for what, same in fits.items() if not same)
        raise InputError(f"made for {others}", file=folder, mend="run `tfbind targets` again")
    return found


def _known_places(
    targets: Path | None, genome: Reference, dataset: DataSet, config: Config, checkpoint: Checkpoint
) -> KnownPlaces | None:
    """What is known of binding, if it is to count."""
    from tfbind.prediction.known_binding import KEY, KnownPlaces

    wanted = config.prediction.known_binding
    if wanted and targets is None:
        raise InputError("binding is known from targets, and none are given", key=KEY, mend="give --targets")
    if targets is not None and not wanted:
        raise InputError(
            "targets are given, and known binding is not to count",
            key=KEY,
            mend="set it to true, or leave --targets out",
        )
    return KnownPlaces(checkpoint, _targets(targets, genome, dataset, config)) if wanted else None


def _factor_set(folder: Path, checkpoint: Checkpoint) -> FactorSet:
    from tfbind.prediction.opening import open_factor_set

    return open_factor_set(folder, checkpoint)


def _context_set(folder: Path | None, rows: Iterable[CellTypeRow]) -> ContextSet | None:
    from tfbind.prediction.opening import open_context_set

    return open_context_set(folder, rows)


def _models_context_set(
    folder: Path | None, rows: Iterable[CellTypeRow], checkpoint: Checkpoint
) -> ContextSet | None:
    from tfbind.prediction.opening import open_models_context_set

    return open_models_context_set(folder, rows, checkpoint)


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
