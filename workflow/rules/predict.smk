# Prediction: the genome embedding in shards, and from it the tracks of each cell type in batches of factors. The
# number of jobs grows with shards, and with cell types x (factors / prediction.factors_per_job).

# What of binding is known, where it is to count.
KNOWN_TARGETS = rules.targets.output if CONFIG.prediction.known_binding else []


rule embed:
    input:
        reference=rules.reference.output,
        model=MODEL,
    output:
        tokens=f"{RESULTS}/genome_embedding/shards/{{shard}}.npy",
        about=report(
            f"{RESULTS}/genome_embedding/shards/{{shard}}.npy.json",
            **listed(FILES, "embed", "shards/{shard}.npy.json"),
        ),
    log:
        f"{LOGS}/embed/{{shard}}.log",
    benchmark:
        f"{LOGS}/embed/{{shard}}.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    threads: 4
    params:
        config=EFFECTIVE_CONFIG,
        settings=settings_of("embed"),
        gpus=gpus,
    shell:
        "tfbind embed --config {params.config:q} --reference {input.reference:q} --model {input.model:q}"
        " --shard {wildcards.shard:q} --output {output.tokens:q} --threads {threads} --gpus {params.gpus}"
        " > {log:q} 2>&1"


rule assemble:
    input:
        reference=rules.reference.output,
        model=MODEL,
        shards=expand(rules.embed.output.tokens, shard=SHARDS),
        about=expand(rules.embed.output.about, shard=SHARDS),
    output:
        report(
            directory(f"{RESULTS}/genome_embedding/tokens"),
            patterns=[r"{file,.+\.json}"],
            **listed(FILES, "assemble", "tokens/{file}"),
        ),
    log:
        f"{LOGS}/assemble.log",
    benchmark:
        f"{LOGS}/assemble.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
    shell:
        "tfbind assemble --config {params.config:q} --reference {input.reference:q} --model {input.model:q}"
        " --output {output:q} {input.shards:q} > {log:q} 2>&1"


rule render:
    input:
        reference=rules.reference.output,
        factors=rules.factors.output,
        model=MODEL,
        embedding=rules.assemble.output,
        accessibility=accessibility_track,
        signals=signals_of,
        contexts=context_of,
        targets=KNOWN_TARGETS,
    output:
        temp(directory(f"{RESULTS}/tracks_in_batches/{{cell_type}}/{{batch}}")),
    log:
        f"{LOGS}/render/{{cell_type}}/{{batch}}.log",
    benchmark:
        f"{LOGS}/render/{{cell_type}}/{{batch}}.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    threads: 4
    params:
        config=EFFECTIVE_CONFIG,
        accessibility=accessibility_option,
        signals=signals_option,
        contexts=contexts_option,
        targets=known_targets_option,
        factors=factors_of_batch,
        uncertainty=CONFIG.prediction.uncertainty,
        unseen_factors=CONFIG.prediction.unseen_factors,
        known_binding=CONFIG.prediction.known_binding,
        cell_type=described_cell_type,
        described_signals=described_signals,
        gpus=gpus,
    shell:
        "tfbind render --config {params.config:q} --cell-type {wildcards.cell_type:q} --batch {wildcards.batch:q}"
        " --reference {input.reference:q} --factors {input.factors:q} --model {input.model:q}"
        " --embedding {input.embedding:q} {params.accessibility:q} {params.signals:q} {params.contexts:q} {params.targets:q}"
        " --output {output:q} --threads {threads} --gpus {params.gpus} > {log:q} 2>&1"


rule gather:
    input:
        expand(rules.render.output, batch=range(len(BATCHES)), allow_missing=True),
    output:
        directory(f"{RESULTS}/tracks/{{cell_type}}"),
    log:
        f"{LOGS}/gather/{{cell_type}}.log",
    localrule: True
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
    shell:
        "tfbind gather --config {params.config:q} --output {output:q} {input:q} > {log:q} 2>&1"
