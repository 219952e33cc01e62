# Cross-validation: each fold is split, trained by each seed and scored, and the scores are laid together:
#
#     snakemake ... cross_validation
#
# A configuration without splits.folds has one fold, `all`. Where training.ensemble is more than 1, each seed of a fold is
# an ensemble of so many trainings. No job embeds the genome, only the regions of its test.

CROSS_VALIDATION = f"{RESULTS}/cross_validation"
RUN_OF_FOLD = f"{CROSS_VALIDATION}/{{fold}}/{{seed}}"
LOGS_OF_FOLD = f"{LOGS}/cross_validation/{{fold}}/{{seed}}"
FOLDS = fold_names(CONFIG, TABLES)
TRAININGS = len(FOLDS) * len(CONFIG.evaluation.seeds) * len(MEMBERS)
# What is scored: of a training, or of those of the seed's ensemble.
MODEL_OF_FOLD = f"{RUN_OF_FOLD}/model"


use rule split as split_fold with:
    output:
        report(
            f"{CROSS_VALIDATION}/{{fold}}/split.json",
            **listed(WHY, "split", "fold {fold}: split.json"),
        ),
    log:
        f"{LOGS}/cross_validation/{{fold}}/split.log",
    benchmark:
        f"{LOGS}/cross_validation/{{fold}}/split.benchmark.tsv"
    params:
        fold=fold_option,


use rule train as train_fold with:
    input:
        reference=rules.reference.output,
        factors=rules.factors.output,
        targets=rules.targets.output,
        split=rules.split_fold.output,
        accessibility=TRAINED_TRACKS,
        signals=TRAINED_SIGNALS,
        contexts=contexts_of(TRAINED_CELL_TYPES),
        trunk=trunk_files,
    output:
        model=report(
            directory(f"{RUN_OF_FOLD}/{MEMBER}model"),
            patterns=[r"{file,.+\.json}"],
            **listed(
                FILES, "train", f"fold {{fold}}, seed {{seed}}: {MEMBER}{{file}}"
            ),
        ),
        history=report(
            f"{RUN_OF_FOLD}/{MEMBER}history.tsv",
            **listed(
                WHY, "train", f"fold {{fold}}, seed {{seed}}: {MEMBER}history.tsv"
            ),
        ),
    log:
        f"{LOGS_OF_FOLD}/{MEMBER}train.log",
    benchmark:
        f"{LOGS_OF_FOLD}/{MEMBER}train.benchmark.tsv"
    threads: threads_of_each(TRAININGS)
    params:
        state=f"{RUN_OF_FOLD}/{MEMBER}state",
        member=seed_and_member_option,


# Once a fold: other predictors differ between its trainings in nothing, either.
use rule factor_cnn as factor_cnn_fold with:
    input:
        reference=rules.reference.output,
        targets=rules.targets.output,
        split=rules.split_fold.output,
        accessibility=ACCESSIBILITY_TRACKS,
        signals=SIGNAL_TRACKS,
    output:
        f"{CROSS_VALIDATION}/{{fold}}/factor_cnn.npz",
    log:
        f"{LOGS}/cross_validation/{{fold}}/factor_cnn.log",
    benchmark:
        f"{LOGS}/cross_validation/{{fold}}/factor_cnn.benchmark.tsv"


# Of a further predictor, for the evaluations of its fold.
PREDICTIONS_OF_FOLD = (
    rules.factor_cnn_fold.output if CONFIG.evaluation.factor_cnn else []
)


use rule evaluate as evaluate_fold with:
    input:
        reference=rules.reference.output,
        factors=rules.factors.output,
        targets=rules.targets.output,
        split=rules.split_fold.output,
        model=MODEL_OF_FOLD,
        accessibility=ACCESSIBILITY_TRACKS,
        signals=SIGNAL_TRACKS,
        contexts=contexts_of(MEASURED_CELL_TYPES),
        predictions=PREDICTIONS_OF_FOLD,
        promoters=paths_of([CONFIG.evaluation.promoters]),
    output:
        report(
            directory(f"{RUN_OF_FOLD}/evaluation"),
            patterns=[r"{file,.+\.svg}"],
            **listed(GOOD, "evaluate_fold", "fold {fold}, seed {seed}: {file}"),
        ),
    log:
        f"{LOGS_OF_FOLD}/evaluate.log",
    benchmark:
        f"{LOGS_OF_FOLD}/evaluate.benchmark.tsv"
