# What is trained on, what stops the training, and what is tested: split once, and read by every later step.


rule split:
    input:
        reference=rules.reference.output,
        factors=rules.factors.output,
        targets=rules.targets.output,
        domains=paths_of([CONFIG.factors.domains]),
    output:
        report(f"{RESULTS}/split.json", **listed(WHY, "split", "split.json")),
    log:
        f"{LOGS}/split.log",
    benchmark:
        f"{LOGS}/split.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        settings=settings_of("split"),
        cell_types=cells(measured_cell_types(), "cell_type", "aliases"),
        fold=[],
    shell:
        "tfbind split --config {params.config:q} --reference {input.reference:q} --factors {input.factors:q}"
        " --targets {input.targets:q} {params.fold:q} --output {output:q} > {log:q} 2>&1"


rule homology:
    input:
        reference=rules.reference.output,
        targets=rules.targets.output,
        split=rules.split.output,
    output:
        report(f"{RESULTS}/homology.tsv", **listed(WHY, "homology", "homology.tsv")),
    log:
        f"{LOGS}/homology.log",
    benchmark:
        f"{LOGS}/homology.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
    shell:
        "tfbind homology --config {params.config:q} --reference {input.reference:q} --targets {input.targets:q}"
        " --split {input.split:q} --output {output:q} > {log:q} 2>&1"
