# The page of results, docs/results.md, from what the cross-validations of its protocols came to:
#
#     snakemake --cores 1 --snakefile workflow/results.smk
#
# copies the results of the protocols that were run here to docs/results, and makes figures and page from the copies.
# The trainings are runs of their own: `make results` does all of it.

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

# The scripts are no installed package, and Snakemake may run in another folder.
ROOT = Path(workflow.basedir).parent.as_posix()
sys.path.insert(0, ROOT)
known = os.environ.get("PYTHONPATH")
os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, known] if known else [ROOT])

from scripts.results.copies import TABLES, evaluations_of, is_copied, splits_of
from scripts.results.figures import figures
from scripts.results.learning import CURVES
from scripts.results.learning import was_run as curve_was_run
from scripts.results.protocols import EVERY
from scripts.results.steps import read_steps_in, was_run

min_version("9.3")

COPIES = "docs/results"
RUN = {each.name: Path(f"results/{each.name}/cross_validation") for each in EVERY}
# What was run here; and, with it, what was copied before.
HERE = [name for name, run in RUN.items() if (run / "summary.tsv").is_file()]
TOLD = [name for name in RUN if name in HERE or is_copied(Path(COPIES), name)]

# A learning curve is made anew where all of its trainings were run.
CURVES_HERE = [
    name for name, curve in CURVES.items() if curve_was_run(curve, Path("results"))
]
LEARNING = {name: Path(COPIES, f"learning.{name}.tsv") for name in CURVES}

# The steps of the work are configurations of their own; the table is of those that were run here.
STEP_CONFIGS = Path("config/human/steps")
STEPS = [step for step in read_steps_in(STEP_CONFIGS) if was_run(step, Path("results"))]
STEPS_TABLE = Path(COPIES, "steps.tsv")
EXTRA = {"learning": bool(CURVES_HERE), "steps": bool(STEPS)}


def files_of_run(wildcards):
    """The tables of a cross-validation, and of its evaluations, which fill folders of their own."""
    run = RUN[wildcards.name]
    tables = [run / f"{table}.tsv" for table in ("metrics", "summary", "groups")]
    return [
        path.as_posix() for path in [*tables, *splits_of(run), *evaluations_of(run)]
    ]


def files_of_curve(wildcards):
    """The scores that a learning curve is made of."""
    runs = CURVES[wildcards.curve].runs
    return [f"results/{name}/cross_validation/metrics.tsv" for name in runs]


rule page:
    input:
        expand(f"{COPIES}/{{name}}.{{table}}.tsv", name=TOLD, table=TABLES),
        [
            path.as_posix()
            for name, path in LEARNING.items()
            if name in CURVES_HERE or path.is_file()
        ],
        [STEPS_TABLE.as_posix()] if STEPS or STEPS_TABLE.is_file() else [],
    output:
        update("docs/results.md"),
        expand(
            f"{COPIES}/{{figure}}.{{suffix}}",
            figure=figures(
                Path(COPIES), TOLD, [name for name in EXTRA if EXTRA[name]]
            ),
            suffix=["svg", "png"],
        ),
    log:
        "logs/results/page.log",
    params:
        copies=COPIES,
    shell:
        "python -m scripts.results page --copies {params.copies:q} --page {output[0]:q} > {log:q} 2>&1"


if HERE:

    rule copies:
        input:
            files_of_run,
        output:
            expand(f"{COPIES}/{{name}}.{{table}}.tsv", table=TABLES, allow_missing=True),
        log:
            "logs/results/{name}.log",
        wildcard_constraints:
            name="|".join(HERE),
        params:
            run=lambda wildcards: RUN[wildcards.name],
            copies=COPIES,
        shell:
            "python -m scripts.results copy --name {wildcards.name:q} --run {params.run:q}"
            " --logs logs/{wildcards.name:q}/cross_validation --output {params.copies:q} > {log:q} 2>&1"


if CURVES_HERE:

    rule learning:
        input:
            files_of_curve,
        output:
            f"{COPIES}/learning.{{curve}}.tsv",
        log:
            "logs/results/learning.{curve}.log",
        wildcard_constraints:
            curve="|".join(CURVES_HERE),
        shell:
            "python -m scripts.results learning --curve {wildcards.curve:q} --results results"
            " --output {output:q} > {log:q} 2>&1"


def files_of_steps(wildcards):
    """Configurations, settings and scores of the steps, and the times of their trainings."""
    runs = [Path("results", step.run) for step in STEPS]
    found = [
        path
        for run in runs
        for path in (run / "config.yaml", run / "cross_validation/metrics.tsv")
    ]
    found += [
        path
        for step in STEPS
        for path in Path("logs", step.run, "cross_validation").glob(
            "*/*/train.benchmark.tsv"
        )
    ]
    return [path.as_posix() for path in [*STEP_CONFIGS.glob("*.yaml"), *found]]


if STEPS:

    rule steps:
        input:
            files_of_steps,
        output:
            STEPS_TABLE.as_posix(),
        log:
            "logs/results/steps.log",
        params:
            configs=STEP_CONFIGS.as_posix(),
        shell:
            "python -m scripts.results steps --configs {params.configs:q} --results results --logs logs"
            " --output {output:q} > {log:q} 2>&1"
