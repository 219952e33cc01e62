# The page that shows the tracks on the genome, and the track hub: `tfbind browse results/NAME` opens it.


rule browser:
    input:
        reference=rules.reference.output,
        targets=rules.targets.output,
        split=rules.split.output,
        tracks=expand(rules.gather.output, cell_type=RENDERED),
        accessibility=ACCESSIBILITY_TRACKS,
        evaluation=rules.evaluate.output if CONFIG.splits.test else [],
        genes=paths_of([CONFIG.evaluation.promoters]),
    output:
        directory(f"{RESULTS}/browser"),
    log:
        f"{LOGS}/browser.log",
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        tracks=tracks_folder,
        accessibility=accessibility_folder,
        evaluation=evaluation_option,
        genes=genes_option,
        settings=settings_of("browser"),
        tables=shown_rows(),
    shell:
        "tfbind browser --config {params.config:q} --reference {input.reference:q} --targets {input.targets:q}"
        " --split {input.split:q} --tracks {params.tracks:q} --accessibility {params.accessibility:q}"
        " {params.evaluation:q} {params.genes:q} --output {output:q} > {log:q} 2>&1"
