# What the rules share: the checked configuration and tables, where things lie, and what the tables ask for.

import re
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from tfbind.config import config_text, member_configs, parse_config, with_all_bases
from tfbind.contexts.text import local_encoder
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path
from tfbind.core.pretrained import model_files
from tfbind.core.sources import local_path
from tfbind.downloads import download_batches
from tfbind.evaluation.folds import fold_names
from tfbind.inputs import factor_files
from tfbind.prediction.gather import factor_batches
from tfbind.tables import (
    EVERY,
    check_files,
    factors_to_render,
    read_tables,
    sources,
    trained_cell_types,
)


def require_members(settings):
    """Refuse a model's uncertainty before it is trained: in a run, an ensemble alone has one."""
    if settings.prediction.uncertainty and settings.training.ensemble == 1:
        raise InputError(
            "is how far the members of an ensemble lie apart, and training.ensemble is 1",
            key="prediction.uncertainty",
            mend="set training.ensemble to 2 or more, or uncertainty to false",
        )


def checked_inputs():
    """Configuration and tables, and by what configuration each member of an ensemble is trained.

    What is wrong with them is told in the user's words before anything runs.
    """
    files = workflow.overwrite_configfiles or workflow.configfiles
    try:
        values = with_all_bases(config, [Path(file) for file in files])
        settings = parse_config(values, file=", ".join(map(str, files)))
        tables = read_tables(settings)
        check_files(tables, settings)
        require_members(settings)
        networks = member_configs(settings)
    except InputError as error:
        raise WorkflowError(str(error)) from None
    # Its messages are harder to read than those above, so it comes second: it says that the schema is true.
    effective = yaml.safe_load(config_text(settings))
    validate(effective, "../schemas/config.schema.json", set_default=False)
    return settings, tables, networks


CONFIG, TABLES, NETWORKS = checked_inputs()

# --- where things lie -----------------------------------------------------------------------------------------

RESULTS = CONFIG.results.as_posix()
LOGS = f"logs/{CONFIG.name}"

# The configuration as it is after all --configfile and --config, defaults included, and those of its variants, as they
# were when the run began. They are no inputs of any rule, since every change would then rerun everything; see depends.smk.
EFFECTIVE_CONFIG = f"{RESULTS}/config.yaml"
VARIANTS = [
    Path(f"{RESULTS}/variants/{number}.yaml")
    for number in range(1, 1 + len(CONFIG.training.variants))
]


def write_effective_config():
    """Write the effective configuration, if it changed. When jobs start, so that a dry run writes nothing."""
    for path, network in zip(VARIANTS, NETWORKS[1:]):
        write_config(path, with_training(network, ensemble=1, variants=[]))
    write_config(Path(EFFECTIVE_CONFIG), with_training(CONFIG, variants=VARIANTS))


def with_training(settings, **changes):
    """A configuration whose training differs in some keys."""
    training = settings.training.model_copy(update=changes)
    return settings.model_copy(update={"training": training})


def write_config(path, settings):
    """Write a configuration, if it changed."""
    text = config_text(settings)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


# --- what the tables say --------------------------------------------------------------------------------------

CELL_TYPES = {row.cell_type: row for row in TABLES.cell_types}
WITH_TRACK = [name for name, row in CELL_TYPES.items() if row.accessibility is not None]
ACCESSIBILITY_TRACKS = [f"{RESULTS}/accessibility/{name}.bw" for name in WITH_TRACK]
# A cell type that is only to be predicted changes no model.
TRAINED_CELL_TYPES = trained_cell_types(CONFIG, TABLES)
MEASURED_CELL_TYPES = {row.cell_type for row in TABLES.experiments}
TRAINED_TRACKS = [
    f"{RESULTS}/accessibility/{name}.bw"
    for name in WITH_TRACK
    if name in TRAINED_CELL_TYPES
]
# Further signals, by the path of their bigWig below results/NAME/signals.
SIGNALS = {row.track: row for row in TABLES.signals}
SIGNAL_TRACKS = [f"{RESULTS}/signals/{track}" for track in SIGNALS]
TRAINED_SIGNALS = [
    f"{RESULTS}/signals/{track}"
    for track, row in SIGNALS.items()
    if row.cell_type in {EVERY, *TRAINED_CELL_TYPES}
]
RENDERED = CONFIG.prediction.cell_types or list(CELL_TYPES)
# The model, or the ensemble; and where each member of one has its own folders.
MODEL = f"{RESULTS}/model"
MEMBERS = list(range(CONFIG.training.ensemble))
MEMBER = "" if len(MEMBERS) == 1 else "members/{member}/"
HISTORIES = expand(f"{RESULTS}/{MEMBER}training/history.svg", member=MEMBERS)
SHARDS = list(range(CONFIG.prediction.shards))
# What is told of the test, if anything is held out.
SCORES = (
    [f"{RESULTS}/evaluation", f"{RESULTS}/homology.tsv"] if CONFIG.splits.test else []
)
# The factors of each job that renders a cell type.
BATCHES = factor_batches(
    factors_to_render(CONFIG, TABLES), CONFIG.prediction.factors_per_job
)


def path_of(source):
    """Where a source lies on this machine, as text."""
    return local_path(source.source).as_posix()


def paths_of(given):
    """Where sources lie on this machine; None is left out."""
    return [path_of(source) for source in given if source is not None]


def files_of_factors():
    """The files with proteins, motifs, weights, structures and domains of the factors."""
    return [path.as_posix() for path in factor_files(CONFIG, TABLES)]


def text_encoder_files():
    """The files of the text encoder, if there is one and it is a folder on this machine."""
    text = CONFIG.contexts.text
    folder = None if text is None else local_encoder(text.model)
    return [] if folder is None else [path.as_posix() for path in model_files(folder)]


def network_of(wildcards):
    """By what configuration a model is trained: a member of an ensemble may be of a variant."""
    return NETWORKS[int(wildcards.get("member", 0))]


def trunk_files(wildcards):
    """The files of the pretrained trunk, if there is one and it is on this machine."""
    given = network_of(wildcards).model.trunk.pretrained
    if given is not None and Path(given).is_file():
        return [given]
    local = given is not None and Path(given).is_dir()
    return [path.as_posix() for path in model_files(Path(given))] if local else []


def signal_files():
    """The experiments' signals, if a loss needs them."""
    if "signal" not in CONFIG.training.losses.arrays:
        return []
    return [
        row.signal.as_posix() for row in TABLES.experiments if row.signal is not None
    ]


def simulated_files():
    """The files of configuration and tables that the simulation makes."""
    folder = CONFIG.simulation.folder
    local = [
        Path(source.source) for source in sources(CONFIG, TABLES) if not source.is_url
    ]
    return [
        path.as_posix()
        for path in local
        if path.resolve().is_relative_to(folder.resolve())
    ]


def contexts_of(cell_types):
    """The folders with the texts of cell types, if the model reads any."""
    read = CONFIG.contexts.text is not None
    return [f"{RESULTS}/contexts/{name}" for name in sorted(cell_types) if read]


def context_of(wildcards):
    """The folder with the text of a cell type, if the model reads any."""
    return contexts_of([wildcards.cell_type])


def contexts_option(wildcards, input):
    """How a verb is told where the folders of texts are."""
    return ["--contexts", f"{RESULTS}/contexts"] if input.contexts else []


def accessibility_source(wildcards):
    """The file that the accessibility of a cell type is made from."""
    return path_of(CELL_TYPES[wildcards.cell_type].accessibility)


def accessibility_track(wildcards):
    """The accessibility bigWig of a cell type, if it has one."""
    has_track = wildcards.cell_type in WITH_TRACK
    return [f"{RESULTS}/accessibility/{wildcards.cell_type}.bw"] if has_track else []


def accessibility_option(wildcards, input):
    """How `tfbind render` is told of the accessibility bigWig."""
    return ["--accessibility", *input.accessibility] if input.accessibility else []


def accessibility_folder(wildcards):
    """The folder with the accessibility bigWigs of all cell types."""
    return f"{RESULTS}/accessibility"


def signal_source(wildcards):
    """The file that a signal is made from."""
    return path_of(SIGNALS[wildcards.signal_track].source)


def signal_options(wildcards):
    """How `tfbind signal` is told which row of the table of signals it is to read."""
    row = SIGNALS[wildcards.signal_track]
    of_cell_type = [] if row.cell_type == EVERY else ["--cell-type", row.cell_type]
    return ["--signal", row.signal, *of_cell_type]


def signals_of(wildcards):
    """The bigWigs of the further signals of a cell type."""
    rows = [TABLES.signal(name, wildcards.cell_type) for name in TABLES.signal_names]
    return [f"{RESULTS}/signals/{row.track}" for row in rows if row is not None]


def signals_option(wildcards):
    """How a verb is told of the folder with further signals, if there are any."""
    return ["--signals", f"{RESULTS}/signals"] if SIGNALS else []


def known_targets_option(wildcards, input):
    """How `tfbind render` is told of what is known of binding, where it is to count."""
    return ["--targets", input.targets] if CONFIG.prediction.known_binding else []


def tracks_folder(wildcards):
    """The folder with the tracks of all cell types."""
    return f"{RESULTS}/tracks"


def embedding_option(wildcards, input):
    """How `tfbind evaluate` is told of the genome embedding, where there is one."""
    found = input.get("embedding")
    return ["--embedding", found] if found else []


def evaluation_option(wildcards, input):
    """How `tfbind browser` is told of the scores, if there are any."""
    return ["--evaluation", *input.evaluation] if input.evaluation else []


def genes_option(wildcards, input):
    """How `tfbind browser` is told of genes, if there are any."""
    return ["--genes", *input.genes] if input.genes else []


def fold_option(wildcards):
    """How `tfbind split` is told which fold it holds out."""
    return [] if wildcards.fold == "all" else ["--fold", wildcards.fold]


def predictions_option(wildcards, input):
    """How `tfbind evaluate` is told of a baseline's predictions, if there are any."""
    return ["--predictions", *input.predictions] if input.predictions else []


def something_to_test(wildcards):
    """No file: that there is something to score is told before anything is trained."""
    folds = CONFIG.splits.folds
    if not CONFIG.splits.test and (folds is None or folds.over != "blocks"):
        raise WorkflowError(
            "splits.test is empty: a cross-validation has nothing to score\n"
            "  mend: hold out regions or chromosomes"
        )
    return []


def threads_of_each(trainings):
    """Threads of each of several trainings on this machine: side by side, a core each, two take 0.6 of the time that
    they take one after the other by both cores. A job that a cluster runs is alone on its cores.
    """
    most = 16
    cores = workflow.resource_settings.cores
    if cores is None or workflow.remote_exec:
        return most
    return max(1, min(most, cores // trainings))


def member_option(wildcards):
    """How `tfbind train` is told which member of an ensemble it trains."""
    return ["--member", wildcards.member] if MEMBER else []


def seed_and_member_option(wildcards):
    """The same of a cross-validation, whose ensembles differ in their seed."""
    return ["--seed", wildcards.seed, *member_option(wildcards)]


# --- what a profile gives a job: no rule says anything of a site, and no change of it reruns anything --------------


def gpus(wildcards, resources):
    """GPUs of a job, on each of its nodes."""
    return resources.get("gpu", 0) or resources.get("gpus_per_node", 0)


def launcher(wildcards, resources):
    """What starts a job's program on all its nodes, such as srun; nothing for a job on one node."""
    return resources.get("mpi", "")


# --- downloads ------------------------------------------------------------------------------------------------


def verified(batch):
    """The outputs of a download.

    `update`: a file that is there already with the right checksum is not downloaded again. What is fetched from
    UniProt has no checksum of the file; `tfbind factors` verifies the sequence in it.
    """
    files = [(update(each.path.as_posix()), each.sha256) for each in batch]
    return [ensure(file, sha256=sha256) if sha256 else file for file, sha256 in files]


# --- at the end -----------------------------------------------------------------------------------------------


def show_results():
    """Say how good the tracks are, and what to open."""
    from tfbind.evaluation.overview import overview

    print(f"\n{overview(Path(RESULTS))}\n")
