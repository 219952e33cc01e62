# Proteins, motifs and structures of all factors of the table, measured or not.


rule factors:
    input:
        files_of_factors(),
    output:
        directory(f"{RESULTS}/factors"),
    log:
        f"{LOGS}/factors.log",
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        settings=settings_of("factors"),
        factors=cells(TABLES.factors),
        gpus=gpus,
    shell:
        "tfbind factors --config {params.config:q} --output {output:q} --gpus {params.gpus} > {log:q} 2>&1"
