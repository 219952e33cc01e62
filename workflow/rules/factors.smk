# Proteins, motifs and structures of all factors of the table, measured or not.


rule factors:
    input:
        files_of_factors(),
    output:
        report(
            directory(f"{RESULTS}/factors"),
            patterns=[r"{file,.+\.(json|meme)}"],
            **listed(FILES, "factors", "{file}"),
        ),
    log:
        f"{LOGS}/factors.log",
    benchmark:
        f"{LOGS}/factors.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        settings=settings_of("factors"),
        factors=cells(TABLES.factors),
        gpus=gpus,
    shell:
        "tfbind factors --config {params.config:q} --output {output:q} --gpus {params.gpus} > {log:q} 2>&1"
