# From URLs to resources/downloads. Snakemake deletes the output of a job that fails; what had come of a file is
# kept beside it (`.part`), and the next run goes on from there.

for name, batch in download_batches().items():

    rule:
        name:
            f"download_{name}"
        output:
            verified(batch),
        log:
            f"{LOGS}/download_{name}.log",
        localrule: True
        conda:
            "../envs/tfbind.yaml"
        params:
            config=EFFECTIVE_CONFIG,
            checksums=list(batch.values()),
        shell:
            "tfbind download --config {params.config:q} {output:q} > {log:q} 2>&1"
