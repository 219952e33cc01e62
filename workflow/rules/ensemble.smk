# Trainings that differ in their seed, and maybe in their network, joined to one model: all of a fold of a
# cross-validation; and, where training.ensemble is more than 1, those of a run, and those of each seed of a fold.

# Beside the models: what they are calibrated by, as one.
JOINED_BY = {
    "reference": rules.reference.output,
    "factors": rules.factors.output,
    "targets": rules.targets.output,
    "accessibility": TRAINED_TRACKS,
    "signals": TRAINED_SIGNALS,
    "contexts": contexts_of(TRAINED_CELL_TYPES),
}


rule ensemble_fold:
    input:
        **JOINED_BY,
        models=expand(
            MODEL_OF_FOLD,
            seed=CONFIG.evaluation.seeds,
            allow_missing=True,
        ),
    output:
        report(
            directory(f"{CROSS_VALIDATION}/{{fold}}/ensemble/model"),
            patterns=[r"{file,.+\.json}"],
            **listed(FILES, "ensemble", "fold {fold}, all seeds: {file}"),
        ),
    log:
        f"{LOGS}/cross_validation/{{fold}}/ensemble/ensemble.log",
    benchmark:
        f"{LOGS}/cross_validation/{{fold}}/ensemble/ensemble.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    threads: 4
    params:
        config=EFFECTIVE_CONFIG,
        accessibility=accessibility_folder,
        signals=signals_option,
        contexts=contexts_option,
        settings=settings_of("ensemble"),
        gpus=gpus,
    shell:
        "tfbind ensemble --config {params.config:q} --reference {input.reference:q} --factors {input.factors:q}"
        " --targets {input.targets:q} --accessibility {params.accessibility:q} {params.signals:q} {params.contexts:q}"
        " --output {output:q} --threads {threads} --gpus {params.gpus} {input.models:q} > {log:q} 2>&1"


if MEMBER:

    use rule ensemble_fold as ensemble with:
        input:
            **JOINED_BY,
            models=expand(rules.train.output.model, member=MEMBERS),
        output:
            report(
                directory(MODEL),
                patterns=[r"{file,.+\.json}"],
                **listed(FILES, "ensemble", "model/{file}"),
            ),
        log:
            f"{LOGS}/ensemble.log",
        benchmark:
            f"{LOGS}/ensemble.benchmark.tsv"

    use rule ensemble_fold as ensemble_seed with:
        input:
            **JOINED_BY,
            models=expand(
                rules.train_fold.output.model, member=MEMBERS, allow_missing=True
            ),
        output:
            report(
                directory(MODEL_OF_FOLD),
                patterns=[r"{file,.+\.json}"],
                **listed(FILES, "ensemble", "fold {fold}, seed {seed}: {file}"),
            ),
        log:
            f"{LOGS_OF_FOLD}/ensemble.log",
        benchmark:
            f"{LOGS_OF_FOLD}/ensemble.benchmark.tsv"


use rule evaluate_fold as evaluate_ensemble_fold with:
    input:
        reference=rules.reference.output,
        factors=rules.factors.output,
        targets=rules.targets.output,
        split=rules.split_fold.output,
        model=rules.ensemble_fold.output,
        accessibility=ACCESSIBILITY_TRACKS,
        signals=SIGNAL_TRACKS,
        contexts=contexts_of(MEASURED_CELL_TYPES),
        promoters=paths_of([CONFIG.evaluation.promoters]),
        predictions=PREDICTIONS_OF_FOLD,
    output:
        report(
            directory(f"{CROSS_VALIDATION}/{{fold}}/ensemble/evaluation"),
            patterns=[r"{file,.+\.svg}"],
            **listed(GOOD, "evaluate_fold", "fold {fold}, all seeds: {file}"),
        ),
    log:
        f"{LOGS}/cross_validation/{{fold}}/ensemble/evaluate.log",
    benchmark:
        f"{LOGS}/cross_validation/{{fold}}/ensemble/evaluate.benchmark.tsv"


# Scores of all folds, laid together: those of each seed and, where there are several, of all together.
rule gather_folds:
    input:
        expand(
            rules.evaluate_fold.output,
            fold=FOLDS,
            seed=CONFIG.evaluation.seeds,
        ),
        expand(
            rules.evaluate_ensemble_fold.output,
            fold=FOLDS if len(CONFIG.evaluation.seeds) > 1 else [],
        ),
        something_to_test,
    output:
        metrics=report(
            f"{CROSS_VALIDATION}/metrics.tsv",
            **listed(GOOD, "gather_folds", "metrics.tsv"),
        ),
        breakdown=report(
            f"{CROSS_VALIDATION}/breakdown.tsv",
            **listed(GOOD, "gather_folds", "breakdown.tsv"),
        ),
        summary=report(
            f"{CROSS_VALIDATION}/summary.tsv",
            **listed(GOOD, "gather_folds", "summary.tsv"),
        ),
        groups=report(
            f"{CROSS_VALIDATION}/groups.tsv",
            **listed(GOOD, "gather_folds", "groups.tsv"),
        ),
    log:
        f"{LOGS}/cross_validation/gather.log",
    localrule: True
    conda:
        "../envs/tfbind.yaml"
    params:
        folder=subpath(output.metrics, parent=True),
    shell:
        "tfbind gather-folds --output {params.folder:q} {input:q} 2>&1 | tee {log:q}"


rule cross_validation:
    input:
        rules.gather_folds.output.metrics,
        report=f"{CROSS_VALIDATION}/report.html",
