"""Snakemake's report of a run, made by Snakemake itself, with what lets its pages open files beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.report.html import STATIC, escape
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path

SNAKEFILE = Path(__file__).parents[2] / "workflow/Snakefile"
_END = "</body>"


def assemble(config: Path, first: Path, output: Path) -> None:
    """Write the report of all that a page is made from.

    It is made within a run that has the lock, of results that are whole; so the lock is not asked for. The
    configuration is the one in effect, whatever files and options it was put together from.

    Parameters
    ----------
    config
        The configuration in effect.
    first
        The page that is shown first.
    output
        The report, in the folder that the page's links are given from.

    Raises
    ------
    InputError
        Snakemake failed; its messages stand before.
    """
    with atomic_path(output) as temporary:
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--configfile", str(config)),
            *("--nolock", "--report", str(temporary), "--", str(first)),
        ]
        # A profile of the user's is for the run around this.
        environment = {name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"}
        if subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode:
            raise InputError(
                "Snakemake made no report", file=output, mend="read its messages above; the results are whole"
            )
        text = temporary.read_text(encoding="utf-8")
        temporary.write_text(with_bridge(text, first.relative_to(output.parent).as_posix()), encoding="utf-8")


def with_bridge(text: str, first: str) -> str:
    """Snakemake's report with the script that opens files beside it, and shows the page `first`."""
    if text.count(_END) < 1:
        raise InputError(
            "Snakemake's report is of another form than is known", mend="install the version of constraints.txt"
        )
    before, _, after = text.rpartition(_END)
    script = (STATIC / "bridge.js").read_text(encoding="utf-8")
    before = before.replace("<title>Snakemake Report</title>", "<title>tfbind report</title>", 1)
    return f'{before}<script data-first="{escape(first)}">\n{script}</script>\n{_END}{after}'
