"""`python -m scripts.results`, in the project's root: what the rules of workflow/results.smk call."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from scripts.results.copies import copy_protocol, is_copied
from scripts.results.figures import figures
from scripts.results.learning import CURVES, write_learning
from scripts.results.page import filled
from scripts.results.protocols import EVERY
from scripts.results.steps import read_steps_in, write_steps
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def main() -> None:
    """The page of results."""


@main.command()
@click.option("--name", required=True, help="Of the protocol.")
@click.option("--run", type=FOLDER, required=True, help="Folder of its cross-validation.")
@click.option("--logs", type=FOLDER, required=True, help="Folder of its logs, with the times of trainings.")
@click.option("--output", type=FOLDER, required=True, help="Folder of the copies.")
def copy(name: str, run: Path, logs: Path, output: Path) -> None:
    """Copy what a cross-validation came to."""
    copy_protocol(run, output, name, logs)


@main.command()
@click.option("--curve", type=click.Choice(list(CURVES)), required=True, help="What is learnt more or less of.")
@click.option("--results", type=FOLDER, required=True, help="Folder of all runs.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The table.")
def learning(curve: str, results: Path, output: Path) -> None:
    """Lay cross-validations together to a learning curve."""
    write_learning(CURVES[curve], results, output)


@main.command()
@click.option("--configs", type=FOLDER, required=True, help="Folder of the steps' configurations.")
@click.option("--results", type=FOLDER, required=True, help="Folder of all runs.")
@click.option("--logs", type=FOLDER, required=True, help="Folder of their logs.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The table.")
def steps(configs: Path, results: Path, logs: Path, output: Path) -> None:
    """Lay the steps that were run together: what each bought, and what it costs."""
    write_steps(read_steps_in(configs), results, logs, output)


@main.command()
@click.option("--copies", type=FOLDER, required=True, help="Folder of the copies, where the figures will stand.")
@click.option("--page", type=click.Path(path_type=Path), required=True, help="Whose blocks are written.")
def page(copies: Path, page: Path) -> None:
    """Draw the figures, and write the blocks of the page."""
    names = [protocol.name for protocol in EVERY if is_copied(copies, protocol.name)]
    for name, plot in figures(copies, names).items():
        plot(copies / name)
    text = filled(page.read_text(encoding="utf-8"), copies)
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except InputError as error:
        click.echo(f"scripts.results: {error}", err=True)
        sys.exit(1)
