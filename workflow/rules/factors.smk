# Proteins and motifs of all factors of the table, measured or not.


rule factors:
    input:
        protein_and_motif_files(),
        checkpoint=CONFIG.factors.esm2.checkpoint or [],
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
    shell:
        "tfbind factors --config {params.config:q} --output {output:q} > {log:q} 2>&1"
