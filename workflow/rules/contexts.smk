# What is said of a cell type, measured or not, as a vector. One job a cell type: a further one trains and renders
# nothing again.


rule contexts:
    input:
        text_encoder_files(),
    output:
        report(
            directory(f"{RESULTS}/contexts/{{cell_type}}"),
            patterns=[r"{file,.+\.json}"],
            **listed(FILES, "contexts", "{cell_type}: {file}"),
        ),
    log:
        f"{LOGS}/contexts/{{cell_type}}.log",
    benchmark:
        f"{LOGS}/contexts/{{cell_type}}.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        settings=settings_of("contexts"),
        description=description,
        gpus=gpus,
    shell:
        "tfbind contexts --config {params.config:q} --cell-type {wildcards.cell_type:q} --output {output:q}"
        " --gpus {params.gpus} > {log:q} 2>&1"
