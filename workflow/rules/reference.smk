# The genome, and what was measured along it: accessibility and further signals of each cell type, and targets.


rule reference:
    input:
        fasta=path_of(CONFIG.reference.fasta),
        blacklist=paths_of([CONFIG.reference.blacklist]),
        aliases=CONFIG.reference.aliases or [],
    output:
        report(
            directory(f"{RESULTS}/reference"),
            patterns=[r"{file,.+\.json}"],
            **listed(FILES, "reference", "{file}"),
        ),
    log:
        f"{LOGS}/reference.log",
    benchmark:
        f"{LOGS}/reference.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        settings=settings_of("reference"),
    shell:
        "tfbind reference --config {params.config:q} --output {output:q} > {log:q} 2>&1"


rule accessibility:
    input:
        accessibility_source,
        reference=rules.reference.output,
    output:
        track=f"{RESULTS}/accessibility/{{cell_type}}.bw",
        about=report(
            f"{RESULTS}/accessibility/{{cell_type}}.bw.json",
            **listed(FILES, "accessibility", "{cell_type}.bw.json"),
        ),
    log:
        f"{LOGS}/accessibility/{{cell_type}}.log",
    benchmark:
        f"{LOGS}/accessibility/{{cell_type}}.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        settings=settings_of("accessibility"),
    shell:
        "tfbind accessibility --config {params.config:q} --cell-type {wildcards.cell_type:q}"
        " --reference {input.reference:q} --output {output.track:q} > {log:q} 2>&1"


# What is known along the genome beside accessibility, of a cell type or of every one.
rule signal:
    input:
        signal_source,
        reference=rules.reference.output,
    output:
        track=f"{RESULTS}/signals/{{signal_track}}",
        about=report(
            f"{RESULTS}/signals/{{signal_track}}.json",
            **listed(FILES, "signal", "{signal_track}.json"),
        ),
    log:
        f"{LOGS}/signals/{{signal_track}}.log",
    benchmark:
        f"{LOGS}/signals/{{signal_track}}.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        options=signal_options,
        settings=settings_of("signal"),
        row=signal_of_table,
    shell:
        "tfbind signal --config {params.config:q} {params.options:q} --reference {input.reference:q}"
        " --output {output.track:q} > {log:q} 2>&1"


rule targets:
    input:
        paths_of(row.peaks for row in TABLES.experiments),
        signal_files(),
        reference=rules.reference.output,
    output:
        report(
            directory(f"{RESULTS}/targets"),
            patterns=[r"{file,.+\.json}"],
            **listed(FILES, "targets", "{file}"),
        ),
    log:
        f"{LOGS}/targets.log",
    benchmark:
        f"{LOGS}/targets.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        settings=settings_of("targets"),
        experiments=cells(TABLES.experiments, "name", "factor", "cell_type"),
        also=measured_for_losses(),
    shell:
        "tfbind targets --config {params.config:q} --reference {input.reference:q} --output {output:q}"
        " > {log:q} 2>&1"
