# Training. Its state is no output, so that Snakemake leaves it alone: stopped, training goes on from the step that it
# was in; killed, from its last validation.


rule train:
    input:
        reference=rules.reference.output,
        factors=rules.factors.output,
        targets=rules.targets.output,
        split=rules.split.output,
        accessibility=TRAINED_TRACKS,
        signals=TRAINED_SIGNALS,
        contexts=contexts_of(TRAINED_CELL_TYPES),
        trunk=trunk_files,
    output:
        model=report(
            directory(f"{RESULTS}/{MEMBER}model"),
            patterns=[r"{file,.+\.json}"],
            **listed(FILES, "train", f"{MEMBER}model/{{file}}"),
        ),
        history=report(
            f"{RESULTS}/{MEMBER}training/history.tsv",
            **listed(WHY, "train", f"{MEMBER}history.tsv"),
        ),
    log:
        f"{LOGS}/{MEMBER}train.log",
    benchmark:
        f"{LOGS}/{MEMBER}train.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    threads: threads_of_each(len(MEMBERS))
    params:
        config=EFFECTIVE_CONFIG,
        accessibility=accessibility_folder,
        signals=signals_option,
        contexts=contexts_option,
        state=f"{RESULTS}/{MEMBER}training/state",
        member=member_option,
        settings=settings_of_member,
        launcher=launcher,
        gpus=gpus,
    shell:
        # Signals that ask it to stop are for the training alone, which keeps its state first.
        "trap '' TERM INT USR1; {params.launcher} tfbind train --config {params.config:q} --reference {input.reference:q} --factors {input.factors:q}"
        " --targets {input.targets:q} --split {input.split:q} --accessibility {params.accessibility:q} {params.signals:q} {params.contexts:q} --state {params.state:q}"
        " --history {output.history:q} --output {output.model:q} {params.member:q} --threads {threads}"
        " --gpus {params.gpus} 2>&1 | tee {log:q}"


rule plot_history:
    input:
        history=rules.train.output.history,
        targets=rules.targets.output,
        split=rules.split.output,
    output:
        svg=report(
            f"{RESULTS}/{MEMBER}training/history.svg",
            **listed(WHY, "plot_history", f"{MEMBER}history.svg"),
        ),
        png=f"{RESULTS}/{MEMBER}training/history.png",
    log:
        f"{LOGS}/{MEMBER}plot_history.log",
    localrule: True
    conda:
        "../envs/tfbind.yaml"
    params:
        stem=subpath(output.svg, strip_suffix=".svg"),
    shell:
        "tfbind plot-history {input.history:q} --targets {input.targets:q} --split {input.split:q}"
        " --output {params.stem:q} > {log:q} 2>&1"
