# What each step depends on beside its files.
#
# Snakemake reruns a step whose params changed, and all that follows from it. So each rule names here the keys of
# the configuration that its result depends on, and no others (and, by `cells`, the columns of the tables):
#
#   key changed                                   first step that runs again
#   seed                                          simulate (if any), else split, train and evaluate
#   simulation                                    simulate
#   splits.held_out_...                           simulate (if any; its truth.json says so), split
#   reference                                     reference
#   accessibility                                 accessibility, of each cell type; signal, of each
#   factors                                       factors
#   contexts.text                                 contexts, train
#   contexts.learnt, contexts.dropout             train
#   targets                                       targets
#   training.losses: a track or peak_score that   targets
#     had no weight and now has one, or the reverse
#   windows.bin                                   targets, split, train, embed
#   windows.length                                split, train, embed
#   windows.core                                  train, embed
#   splits                                        split, and what follows where it comes out otherwise
#   model, training                               train
#   training.fine_tuning.cache.folder, .gigabytes none: training is the same wherever they are kept
#   training.ensemble                             ensemble, ensemble_seed; train, train_fold, of members that are new, and
#                                                   of all from 1 to more
#   training.variants                             train, of members that are trained otherwise then
#   evaluation.seeds                              train_fold, of those that are new
#   evaluation.promoters, .bootstrap, .dream_rule evaluate; of promoters, browser
#   prediction.fdr                                train (it sets the thresholds)
#   prediction.calibration                        train
#   prediction.uncertainty                        render
#   prediction.unseen_factors                     render, evaluate
#   prediction.known_binding                      render
#   prediction.shards, .precision                 embed; of precision, ensemble
#   prediction.factors, .factors_per_job          render
#   prediction.cell_types                         render, of those that are new
#   cell_types: a description                     browser (beside contexts, if texts are read)
#   prediction.batch_size                         none: an embedding does not depend on it
#   name, mirror, tables (their paths)            none; another name is another run
#   title, description                            none

DEPENDS_ON = {
    "simulate": [
        "seed",
        "simulation",
        "splits.held_out_factors",
        "splits.held_out_cell_types",
    ],
    "reference": ["reference"],
    "accessibility": ["accessibility"],
    "signal": ["accessibility"],
    "factors": ["factors"],
    "contexts": ["contexts.text"],
    "targets": ["targets", "windows.bin"],
    "split": ["seed", "windows.bin", "windows.length", "splits"],
    "train": [
        "seed",
        "windows",
        "contexts",
        "model",
        "training",
        "prediction.fdr",
        "prediction.calibration",
    ],
    "ensemble": ["windows", "prediction.calibration", "prediction.precision"],
    "embed": [
        "windows",
        "prediction.shards",
        "prediction.precision",
    ],
    "factor_cnn": ["seed", "windows", "evaluation.factor_cnn", "evaluation.dream_rule"],
    "evaluate": [
        "seed",
        # Without a genome embedding, the test's regions are embedded anew.
        "prediction.precision",
        "prediction.unseen_factors",
        "evaluation.promoters",
        "evaluation.bootstrap",
        "evaluation.dream_rule",
    ],
    # What the page says of the tracks.
    "browser": ["windows.bin", "prediction.fdr"],
}
# Of the keys of `train`, those that change nothing.
CHANGES_NOTHING = {
    "training": {
        "ensemble": True,
        "variants": True,
        "fine_tuning": {"cache": {"folder", "gigabytes"}},
    }
}


def settings_of(step, config=CONFIG):
    """The part of the configuration that a step depends on, by key."""
    return {key: setting(key, config) for key in DEPENDS_ON[step]}


def settings_of_member(wildcards):
    """What a training depends on: a member of an ensemble may have a network of its own."""
    return settings_of("train", network_of(wildcards))


def setting(key, config):
    """The value at a key such as `prediction.fdr`."""
    value = config.model_dump(mode="json", exclude=CHANGES_NOTHING)
    for part in key.split("."):
        value = value[part]
    return value


def cells(rows, *columns):
    """Cells of a table that a step depends on; all of a row if no columns are named."""
    return [row.model_dump(mode="json", include=set(columns) or None) for row in rows]


def measured_for_losses():
    """What targets hold beside labels for the losses of training, and the cells that it is made from."""
    arrays = CONFIG.training.losses.arrays
    columns = {"signal": ["signal"], "score": ["reads"]}
    return {name: cells(TABLES.experiments, "name", *columns[name]) for name in arrays}


def measured_cell_types():
    """The rows of cell types that are measured: a further one changes no split."""
    return [row for row in TABLES.cell_types if row.cell_type in MEASURED_CELL_TYPES]


def signal_of_table(wildcards):
    """How a signal is made from its file."""
    row = SIGNALS[wildcards.signal_track]
    return cells([row], "kind", "shortest", "longest", "count")


def factors_of_batch(wildcards):
    """The factors that a job renders."""
    return BATCHES[int(wildcards.batch)]


def description(wildcards):
    """What is said of a cell type."""
    return CELL_TYPES[wildcards.cell_type].description


def described_cell_type(wildcards):
    """What the tracks of a cell type say of it."""
    return cells([CELL_TYPES[wildcards.cell_type]], "description", "accessibility")


def described_signals(wildcards):
    """What the tracks of a cell type say of its further signals."""
    rows = [TABLES.signal(name, wildcards.cell_type) for name in TABLES.signal_names]
    return cells([row for row in rows if row is not None])


def shown_rows():
    """What the page says of factors and cell types: all of the tables are in its picker."""
    factors = [row.factor for row in TABLES.factors]
    return factors, cells(TABLES.cell_types, "cell_type", "description")
