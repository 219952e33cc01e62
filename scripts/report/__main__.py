"""`python -m scripts.report`, in the folder of a run: what the rules of workflow/rules/report.smk call."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from scripts.report.assemble import assemble as make_report
from scripts.report.crossvalidation import write_cross_validation_page
from scripts.report.evaluation import write_evaluation_pages
from scripts.report.factors import write_factor_pages
from scripts.report.overview import write_overview
from tfbind.config import load_config
from tfbind.core.errors import InputError

FILE = click.Path(path_type=Path)
config_option = click.option("--config", type=FILE, required=True, help="The configuration in effect.")
logs_option = click.option("--logs", type=FILE, required=True, help="Folder of its logs, with benchmarks.")


@click.group()
def main() -> None:
    """The report of a run."""


@main.command()
@config_option
def evaluation(config: Path) -> None:
    """Make the pages of the evaluation."""
    write_evaluation_pages(load_config(config))


@main.command()
@config_option
def factors(config: Path) -> None:
    """Make the page of all factors, and a page of each."""
    write_factor_pages(load_config(config))


@main.command()
@config_option
@logs_option
def overview(config: Path, logs: Path) -> None:
    """Make the first page."""
    write_overview(load_config(config), logs)


@main.command("cross-validation")
@config_option
@logs_option
def cross_validation(config: Path, logs: Path) -> None:
    """Make the page of the cross-validation."""
    write_cross_validation_page(load_config(config), logs)


@main.command()
@config_option
@click.option("--first", type=FILE, required=True, help="The page that is shown first.")
@click.option("--output", type=FILE, required=True, help="The report: one HTML file.")
def assemble(config: Path, first: Path, output: Path) -> None:
    """Have Snakemake make its report of all that the first page is made from."""
    make_report(config, first, output)


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except InputError as error:
        click.echo(f"scripts.report: {error}", err=True)
        sys.exit(1)
