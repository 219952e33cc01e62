# Prediction: the genome embedding in shards, and from it all tracks of a cell type in one job. The number of jobs
# grows with shards and cell types, not with factors x cell types.


rule embed:
    input:
        reference=rules.reference.output,
        model=rules.train.output.model,
    output:
        tokens=f"{RESULTS}/genome_embedding/shards/{{shard}}.npy",
        about=f"{RESULTS}/genome_embedding/shards/{{shard}}.npy.json",
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
        model=rules.train.output.model,
        shards=expand(rules.embed.output.tokens, shard=SHARDS),
        about=expand(rules.embed.output.about, shard=SHARDS),
    output:
        directory(f"{RESULTS}/genome_embedding/tokens"),
    log:
        f"{LOGS}/assemble.log",
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
        model=rules.train.output.model,
        embedding=rules.assemble.output,
        accessibility=accessibility_track,
    output:
        directory(f"{RESULTS}/tracks/{{cell_type}}"),
    log:
        f"{LOGS}/render/{{cell_type}}.log",
    benchmark:
        f"{LOGS}/render/{{cell_type}}.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    threads: 4
    params:
        config=EFFECTIVE_CONFIG,
        accessibility=accessibility_option,
        settings=settings_of("render"),
        cell_type=described_cell_type,
    shell:
        "tfbind render --config {params.config:q} --cell-type {wildcards.cell_type:q}"
        " --reference {input.reference:q} --factors {input.factors:q} --model {input.model:q}"
        " --embedding {input.embedding:q} {params.accessibility:q} --output {output:q} --threads {threads}"
        " > {log:q} 2>&1"
