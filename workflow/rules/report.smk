# What a run came to, for people: tables, pages that are made from them, and Snakemake's report, which holds all of it in
# one file. The pages stand as files beside it, too.

# The scripts are no installed package, and Snakemake may run in another folder.
PROJECT = Path(workflow.basedir).parent.as_posix()

PAGES = f"{RESULTS}/report"
TABLES_OF_PAGES = f"{PAGES}/tables"
# Further factors have their pages beside the report, not in it, which would grow too large for a browser.
PAGES_WITHIN = 500
RENDERED_FACTORS = factors_to_render(CONFIG, TABLES)
# What the default target makes, beside what tells of it.
RESULT_FILES = {
    "tracks": [f"{RESULTS}/tracks/{cell_type}" for cell_type in RENDERED],
    "history": HISTORIES,
    "scores": SCORES,
}


report: "../report/workflow.rst"


rule sites:
    input:
        tracks=rules.gather.output,
        targets=rules.targets.output,
        split=rules.split.output,
    output:
        report(
            directory(f"{TABLES_OF_PAGES}/sites/{{cell_type}}"),
            patterns=[r"{file,.+\.tsv}"],
            **listed(FILES, "sites", "{cell_type}: {file}"),
        ),
    log:
        f"{LOGS}/sites/{{cell_type}}.log",
    benchmark:
        f"{LOGS}/sites/{{cell_type}}.benchmark.tsv"
    conda:
        "../envs/tfbind.yaml"
    shell:
        "tfbind sites --targets {input.targets:q} --split {input.split:q} --output {output:q} {input.tracks:q}"
        " > {log:q} 2>&1"


rule factor_pages:
    input:
        factors=rules.factors.output,
        split=rules.split.output,
        sites=expand(rules.sites.output, cell_type=RENDERED),
        scores=rules.evaluate.output if CONFIG.splits.test else [],
        profiles=f"{TABLES_OF_PAGES}/profiles.tsv" if CONFIG.splits.test else [],
    output:
        table=f"{TABLES_OF_PAGES}/factors.tsv",
        page=report(
            f"{PAGES}/factors.html", **page(EACH, "factors_page", "All factors")
        ),
        pages=(
            report(
                directory(f"{PAGES}/factors"),
                patterns=["{factor}.html"],
                category=EACH,
                labels={"result": "{factor}"},
            )
            if len(RENDERED_FACTORS) <= PAGES_WITHIN
            else directory(f"{PAGES}/factors")
        ),
    log:
        f"{LOGS}/factor_pages.log",
    benchmark:
        f"{LOGS}/factor_pages.benchmark.tsv"
    localrule: True
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        project=PROJECT,
    shell:
        "PYTHONPATH={params.project:q}${{PYTHONPATH:+:$PYTHONPATH}} python -m scripts.report"
        " factors --config {params.config:q} > {log:q} 2>&1"


rule overview:
    input:
        **RESULT_FILES,
        pages=rules.factor_pages.output.page,
        evaluation=f"{PAGES}/evaluation.html" if CONFIG.splits.test else [],
    output:
        run=report(f"{TABLES_OF_PAGES}/run.tsv", **listed(MADE, "overview", "run.tsv")),
        times=report(
            f"{TABLES_OF_PAGES}/times.tsv", **listed(MADE, "overview", "times.tsv")
        ),
        page=report(f"{PAGES}/index.html", **page(MADE, "overview", "This run")),
    log:
        f"{LOGS}/overview.log",
    localrule: True
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        project=PROJECT,
        logs=LOGS,
    shell:
        "PYTHONPATH={params.project:q}${{PYTHONPATH:+:$PYTHONPATH}} python -m scripts.report"
        " overview --config {params.config:q} --logs {params.logs:q} > {log:q} 2>&1"


rule cross_validation_page:
    input:
        rules.gather_folds.output,
    output:
        tables=report(
            directory(f"{CROSS_VALIDATION}/report/tables"),
            patterns=[r"{file,.+\.tsv}"],
            **listed(GOOD, "cross_validation_page", "pooled {file}"),
        ),
        figures=report(
            directory(f"{CROSS_VALIDATION}/report/figures"),
            patterns=[r"{file,.+\.svg}"],
            **listed(GOOD, "cross_validation_page", "{file}"),
        ),
        page=report(
            f"{CROSS_VALIDATION}/report/index.html",
            **page(GOOD, "cross_validation_page", "Cross-validation"),
        ),
    log:
        f"{LOGS}/cross_validation/page.log",
    localrule: True
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        project=PROJECT,
        logs=f"{LOGS}/cross_validation",
    shell:
        "PYTHONPATH={params.project:q}${{PYTHONPATH:+:$PYTHONPATH}} python -m scripts.report"
        " cross-validation --config {params.config:q} --logs {params.logs:q} > {log:q} 2>&1"


# The first page is made from all that there is.
rule report:
    input:
        rules.overview.output.page,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    localrule: True
    conda:
        "../envs/tfbind.yaml"
    params:
        config=EFFECTIVE_CONFIG,
        project=PROJECT,
    shell:
        "PYTHONPATH={params.project:q}${{PYTHONPATH:+:$PYTHONPATH}} python -m scripts.report"
        " assemble --config {params.config:q} --first {input:q} --output {output:q} > {log:q} 2>&1"


use rule report as report_cross_validation with:
    input:
        rules.cross_validation_page.output.page,
    output:
        f"{CROSS_VALIDATION}/report.html",
    log:
        f"{LOGS}/cross_validation/report.log",


if CONFIG.splits.test:

    rule profiles:
        input:
            reference=rules.reference.output,
            targets=rules.targets.output,
            split=rules.split.output,
            tracks=expand(rules.gather.output, cell_type=RENDERED),
        output:
            report(
                f"{TABLES_OF_PAGES}/profiles.tsv",
                **listed(WHY, "profiles", "profiles.tsv"),
            ),
        log:
            f"{LOGS}/profiles.log",
        benchmark:
            f"{LOGS}/profiles.benchmark.tsv"
        conda:
            "../envs/tfbind.yaml"
        params:
            tracks=tracks_folder,
        shell:
            "tfbind profiles --reference {input.reference:q} --targets {input.targets:q} --split {input.split:q}"
            " --output {output:q} {params.tracks:q} > {log:q} 2>&1"

    rule evaluation_pages:
        input:
            scores=rules.evaluate.output,
            split=rules.split.output,
            homology=rules.homology.output,
            profiles=rules.profiles.output,
            histories=HISTORIES,
        output:
            tables=report(
                directory(f"{TABLES_OF_PAGES}/evaluation"),
                patterns=[r"{file,.+\.tsv}"],
                **listed(GOOD, "evaluation_page", "pooled {file}"),
            ),
            figures=report(
                directory(f"{PAGES}/figures"),
                patterns=[r"{file,.+\.svg}"],
                **listed(GOOD, "evaluation_page", "{file}"),
            ),
            evaluation=report(
                f"{PAGES}/evaluation.html",
                **page(GOOD, "evaluation_page", "Scores beside baselines"),
            ),
            calibration=report(
                f"{PAGES}/calibration.html",
                **page(WHY, "calibration_page", "Split, training and calibration"),
            ),
        log:
            f"{LOGS}/evaluation_pages.log",
        localrule: True
        conda:
            "../envs/tfbind.yaml"
        params:
            config=EFFECTIVE_CONFIG,
            project=PROJECT,
        shell:
            "PYTHONPATH={params.project:q}${{PYTHONPATH:+:$PYTHONPATH}} python -m scripts.report"
            " evaluation --config {params.config:q} > {log:q} 2>&1"
