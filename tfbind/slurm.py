"""What a run of the workflow must know of Slurm: jobs that an earlier run left, and how the site tells of jobs.

Snakemake's Slurm executor names all jobs of a run by the run's ID, and forgets them when it is killed: they go
on, and the next run would submit jobs that write the same files at the same time. So each run's ID is recorded
before its first job is submitted, and the next run cancels what is left of it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfbind.core.errors import InputError
from tfbind.core.files import read_json, write_json

# Snakemake's Slurm executor looks at jobs at most this rarely (s); Slurm must not have forgotten them by then.
RAREST_LOOK = 180
# Longest that cancelled jobs may take to end (s): a training writes its state first.
PATIENCE = 600


@dataclass(frozen=True)
class Job:
    """A job of Slurm's that has not ended."""

    number: str
    state: str
    comment: str

    def __str__(self) -> str:
        return f"{self.number} ({self.comment}, {self.state.lower()})"


def run_id(logs: Iterable[str | Path]) -> str | None:
    """The ID of a run on Slurm, from Snakemake's logs of it; None if it is none."""
    for log in logs:
        if found := re.search(r"SLURM run ID: (\S+)", Path(log).read_text(encoding="utf-8")):
            return found[1]
    return None


def record_run(record: Path, run: str) -> None:
    """Note that this process submits jobs under a run's ID."""
    write_json(record, {"run": run, "host": socket.gethostname(), "process": os.getpid()})


def forget_run(record: Path) -> None:
    """All jobs of the recorded run have ended."""
    record.unlink(missing_ok=True)


def cancel_leftovers(record: Path) -> None:
    """Cancel what is left of the recorded run, and wait until it is gone.

    Raises
    ------
    InputError
        If the recorded run's Snakemake is alive, or may be, since it was started on another machine; if Slurm
        cannot be asked here; or if jobs do not end.
    """
    if not record.is_file():
        return
    former = read_json(record)
    if _is_alive(former):
        raise InputError(
            f"Snakemake already makes these results, as process {former['process']} on this machine",
            mend="wait for it, or stop it first",
        )
    if shutil.which("squeue") is None:
        raise InputError(
            "these results were being made by jobs on Slurm, and without squeue nobody can say here whether they "
            "still run",
            file=record,
            mend="start on the cluster; if all its jobs have ended, delete this file",
        )
    jobs = _jobs(former["run"])
    if jobs and former["host"] != socket.gethostname():
        raise InputError(
            f"jobs of a run that was started on {former['host']} are still there: {', '.join(map(str, jobs))}. "
            f"Whether its Snakemake (process {former['process']}) is alive cannot be seen from here",
            mend=f"if it is, wait for it; if not, start on {former['host']}, which cancels them, or say "
            f"`scancel --name {former['run']}` and start here when they are gone",
        )
    if jobs:
        print(
            f"Jobs of an earlier run that was killed are still there, and would write the same files as this "
            f"run: {', '.join(map(str, jobs))}. They are cancelled; a training goes on from its last state.",
            file=sys.stderr,
        )
        _cancel(jobs, former["run"])
    forget_run(record)


def check_status_command(command: str) -> None:
    """See that Slurm here answers the command by which Snakemake asks after its jobs.

    Parameters
    ----------
    command
        `squeue` or `sacct`.

    Raises
    ------
    InputError
        If Snakemake would wait for ever for jobs that have ended.
    """
    settings = _settings()
    storage = settings.get("AccountingStorageType", "").removeprefix("accounting_storage/")
    # Slurm 23.11 and later say (null).
    accounting = storage not in ("none", "(null)", "")
    remembered = int(re.match(r"\d+", settings.get("MinJobAge", "300"))[0])
    key, file = "status", "slurm/config.yaml"
    if command == "sacct" and not accounting:
        raise InputError(
            "this site keeps no accounting (AccountingStorageType is none): sacct never tells that a job ended",
            file=file,
            key=key,
            mend="set status: squeue",
        )
    if command == "squeue" and remembered <= RAREST_LOOK:
        problem = (
            f"Slurm here forgets a job {remembered} s after its end (MinJobAge), and Snakemake looks every "
            f"{RAREST_LOOK} s at the rarest: it would wait for ever for a job that it missed"
        )
        if accounting:
            raise InputError(problem, file=file, key=key, mend="set status: sacct")
        print(f"warning: {problem}. Ask your site for a MinJobAge of 300.", file=sys.stderr)


def lock_hint(locks: Path, results: str, command: Sequence[str]) -> str | None:
    """What to type where a killed run has left its lock on these results; None if there is none.

    Parameters
    ----------
    locks
        Snakemake's folder of locks.
    results
        Folder of the run's results.
    command
        What the user typed.
    """
    locked = {
        line
        for path in locks.glob("*.output.lock")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"{results}/")
    }
    if not locked:
        return None
    return (
        f"{results} is locked by another run of Snakemake, or by one that was killed. If none runs here any more "
        "(on a cluster: on none of its login nodes), remove the lock, and start again:\n"
        f"    {shlex.join([*command, '--unlock'])}\n"
        f"    {shlex.join(command)}"
    )


def _is_alive(former: dict[str, str | int]) -> bool:
    """Whether the recorded process still runs Snakemake on this machine."""
    if former["host"] != socket.gethostname() or former["process"] == os.getpid():
        return False
    try:
        return b"snakemake" in Path(f"/proc/{former['process']}/cmdline").read_bytes()
    except OSError:
        return False


def _jobs(run: str) -> list[Job]:
    text = _ask(["squeue", "--all", "--noheader", "--format=%i|%T|%k", "--name", run])
    return [Job(*line.strip().split("|", 2)) for line in text.splitlines() if line.strip()]


def _cancel(jobs: Sequence[Job], run: str) -> None:
    _ask(["scancel", *(job.number for job in jobs)])
    end = time.monotonic() + PATIENCE
    while left := _jobs(run):
        if time.monotonic() > end:
            raise InputError(
                f"cancelled jobs have not ended in {PATIENCE} s: {', '.join(map(str, left))}",
                mend="ask your site why (a lost node?); start again when squeue no longer lists them",
            )
        time.sleep(1)


def _settings() -> dict[str, str]:
    """Slurm's configuration."""
    pairs = (line.split("=", 1) for line in _ask(["scontrol", "show", "config"]).splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _ask(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(
            f"`{shlex.join(command)}` failed: {done.stderr.strip()}", mend="try it by hand; is Slurm up?"
        )
    return done.stdout
