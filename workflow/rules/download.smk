# From URLs to resources/downloads. Snakemake deletes the new output of a job that fails; what had come of a file, all
# of it or not, is kept beside it (`.part`), and the next run goes on from there.

for name, batch in download_batches(CONFIG, TABLES).items():

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
            batch=name,
            checksums=[each.sha256 for each in batch],
        shell:
            "tfbind download --config {params.config:q} --batch {params.batch:q} > {log:q} 2>&1"
