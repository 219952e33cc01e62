# What is said of the cell types of the table, measured or not, as vectors.


rule contexts:
    input:
        text_encoder_files(),
    output:
        directory(f"{RESULTS}/contexts"),
    log:
        f"{LOGS}/contexts.log",
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        settings=settings_of("contexts"),
        cell_types=cells(TABLES.cell_types, "cell_type", "description"),
        gpus=gpus,
    shell:
        "tfbind contexts --config {params.config:q} --output {output:q} --gpus {params.gpus} > {log:q} 2>&1"
