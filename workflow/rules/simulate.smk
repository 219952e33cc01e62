# The demo's world. Only with `simulation` in the configuration.

if CONFIG.simulation is not None:

    rule simulate:
        output:
            simulated_files(),
            truth=report(
                f"{CONFIG.simulation.folder.as_posix()}/truth.json",
                **listed(FILES, "simulate", "truth.json"),
            ),
        log:
            f"{LOGS}/simulate.log",
        benchmark:
            f"{LOGS}/simulate.benchmark.tsv"
        conda:
            "../envs/tfbind.yaml"
        params:
            config=EFFECTIVE_CONFIG,
            settings=settings_of("simulate"),
            factors=cells(TABLES.factors),
            cell_types=cells(TABLES.cell_types, "cell_type", "accessibility"),
            experiments=cells(TABLES.experiments, "name", "peaks"),
        shell:
            "tfbind simulate --config {params.config:q} > {log:q} 2>&1"
