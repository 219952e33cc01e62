# How good the predictions are on held-out chromosomes, beside baselines; and, where it is asked for, of variants of
# the model: `snakemake ... results/NAME/ablation/table.tsv`.


rule factor_cnn:
    input:
        reference=rules.reference.output,
        targets=rules.targets.output,
        split=rules.split.output,
        accessibility=ACCESSIBILITY_TRACKS,
        signals=SIGNAL_TRACKS,
    output:
        f"{RESULTS}/factor_cnn.npz",
    log:
        f"{LOGS}/factor_cnn.log",
    benchmark:
        f"{LOGS}/factor_cnn.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    threads: 4
    params:
        config=EFFECTIVE_CONFIG,
        accessibility=accessibility_folder,
        signals=signals_option,
        settings=settings_of("factor_cnn"),
        steps=CONFIG.evaluation.factor_cnn,
        seed=[],
    shell:
        "tfbind factor-cnn --config {params.config:q} --reference {input.reference:q} --targets {input.targets:q}"
        " --split {input.split:q} --accessibility {params.accessibility:q} {params.signals:q} --steps {params.steps} {params.seed:q}"
        " --output {output:q} --threads {threads} > {log:q} 2>&1"


rule evaluate:
    input:
        reference=rules.reference.output,
        factors=rules.factors.output,
        targets=rules.targets.output,
        split=rules.split.output,
        model=MODEL,
        embedding=rules.assemble.output,
        accessibility=ACCESSIBILITY_TRACKS,
        signals=SIGNAL_TRACKS,
        contexts=contexts_of(MEASURED_CELL_TYPES),
        predictions=rules.factor_cnn.output if CONFIG.evaluation.factor_cnn else [],
        promoters=paths_of([CONFIG.evaluation.promoters]),
    output:
        report(
            directory(f"{RESULTS}/evaluation"),
            patterns=[r"{file,.+\.(svg|tsv)}"],
            **listed(GOOD, "evaluate", "{file}"),
        ),
    log:
        f"{LOGS}/evaluate.log",
    benchmark:
        f"{LOGS}/evaluate.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    threads: 4
    params:
        config=EFFECTIVE_CONFIG,
        accessibility=accessibility_folder,
        signals=signals_option,
        contexts=contexts_option,
        embedding=embedding_option,
        predictions=predictions_option,
        settings=settings_of("evaluate"),
        gpus=gpus,
    shell:
        "tfbind evaluate --config {params.config:q} --reference {input.reference:q} --factors {input.factors:q}"
        " --targets {input.targets:q} --split {input.split:q} --model {input.model:q} {params.embedding:q}"
        " --accessibility {params.accessibility:q} {params.signals:q} {params.contexts:q} {params.predictions:q} --output {output:q}"
        " --threads {threads} --gpus {params.gpus} > {log:q} 2>&1"


rule ablate:
    input:
        reference=rules.reference.output,
        factors=rules.factors.output,
        targets=rules.targets.output,
        split=rules.split.output,
        accessibility=ACCESSIBILITY_TRACKS,
        signals=SIGNAL_TRACKS,
        contexts=contexts_of(MEASURED_CELL_TYPES),
        variants="config/ablation.yaml",
        trunk=trunk_files,
    output:
        report(f"{RESULTS}/ablation/table.tsv", **listed(GOOD, "ablate", "table.tsv")),
    log:
        f"{LOGS}/ablate.log",
    benchmark:
        f"{LOGS}/ablate.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    threads: 16
    params:
        config=EFFECTIVE_CONFIG,
        accessibility=accessibility_folder,
        signals=signals_option,
        contexts=contexts_option,
        work=f"{RESULTS}/ablation/variants",
        settings=settings_of("train"),
        gpus=gpus,
    shell:
        "tfbind ablate --config {params.config:q} --variants {input.variants:q} --reference {input.reference:q}"
        " --factors {input.factors:q} --targets {input.targets:q} --split {input.split:q} --accessibility {params.accessibility:q} {params.signals:q}"
        " {params.contexts:q} --work {params.work:q} --output {output:q} --threads {threads}"
        " --gpus {params.gpus} > {log:q} 2>&1"
