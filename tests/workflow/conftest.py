"""Whole runs of the workflow, by the command `snakemake`, each in a folder of its own.

The mini data set is a small world of the simulation, put together as a user's own data would be: some files by
path, some by URL (from a mirror), a cell type without accessibility, a factor that was never measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from safetensors import safe_open

from tfbind.config import parse_config
from tfbind.core.files import sha256_file
from tfbind.simulation.world import simulate_world
from tfbind.tables import read_tables

ROOT = Path(__file__).parents[2]
CONFIG = Path("config/mini.yaml")
# Small jobs side by side are quicker than one after the other with two threads each.
ONE_THREAD = ["--set-threads", *(f"{rule}=1" for rule in ("train", "embed", "render", "evaluate"))]
TELL_OF_THE_RUN = ("report.html", "report/index.html", "report/tables/run.tsv", "report/tables/times.tsv")
# Far above what is needed, for a machine that has much else to do.
TIMEOUT = 900


@dataclass(frozen=True)
class Run:
    """What a call of Snakemake ended with."""

    code: int
    output: str

    @property
    def nothing_to_do(self) -> bool:
        """Whether all was there already."""
        return "Nothing to be done" in self.output

    @property
    def jobs(self) -> dict[str, int]:
        """Number of jobs by rule, from the table that Snakemake prints."""
        found = re.search(r"^job +count\n-+ +-+\n(.*?)^total ", self.output, re.DOTALL | re.MULTILINE)
        return (
            {} if found is None else {name: int(n) for name, n in (row.split() for row in found[1].splitlines())}
        )

    @property
    def steps(self) -> set[str]:
        """Rules with a job."""
        return set(self.jobs) - {"all"}


def _heed_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all that tests start from there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Workdir:
    """A folder in which the workflow is run.

    Attributes
    ----------
    path
        The folder.
    environment
        What its environment has beside this process's.
    program
        What Python runs.
    """

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "snakemake")

    def start(self, *arguments: str, output: Any = subprocess.PIPE) -> subprocess.Popen:
        """Start Snakemake as the leader of a process group."""
        snakefile = str(ROOT / "workflow/Snakefile")
        command = [sys.executable, *self.program, "--snakefile", snakefile, *arguments]
        inherited = {**os.environ, **self.environment}
        path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
        python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            command,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**inherited, "PATH": path, "PYTHONPATH": python_path},
            preexec_fn=_heed_ctrl_c,
        )

    def snakemake(
        self,
        *arguments: str,
        config: Sequence[str | Path] = (CONFIG,),
        fails: bool = False,
        timeout: float = TIMEOUT,
    ) -> Run:
        """Run Snakemake to its end; the mini configuration, unless told otherwise. Long runs take all threads."""
        given = ["--configfile", *map(str, config)] if config else []
        if "--cores" in arguments and timeout == TIMEOUT:
            given += ONE_THREAD
        process = self.start(*arguments, *given)
        try:
            text, _ = process.communicate(timeout=timeout)
        finally:
            kill(process)
        assert (process.returncode != 0) == fails, text
        return Run(process.returncode, text)

    def dry_run(self, *arguments: str, **keywords: Any) -> Run:
        """What would be run."""
        return self.snakemake("--dry-run", *arguments, **keywords)

    def kill_when(self, reached: Callable[[Path], bool], *arguments: str) -> None:
        """Run the mini data set, and kill all its processes (SIGKILL) as soon as a point is reached."""
        process = self.start(
            "--cores", "2", *arguments, "--configfile", str(CONFIG), *ONE_THREAD, output=subprocess.DEVNULL
        )
        end = time.monotonic() + TIMEOUT
        try:
            while not reached(self.path):
                assert process.poll() is None, "the run ended before the point where it was to be killed"
                assert time.monotonic() < end, "the point where the run was to be killed was not reached"
                time.sleep(0.001)
        finally:
            kill(process)

    def copy(self, path: Path) -> Workdir:
        """A copy, with the times of the files, so that Snakemake sees the same."""
        shutil.copytree(self.path, path, symlinks=True)
        return replace(self, path=path)

    def results(self, below: str = "") -> dict[str, str]:
        """Checksums of results by path; the state of training is none, nor is what tells how long a run took."""
        root = self.path / "results"
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((root / below).rglob("*"))
            if path.is_file()
            and not path.as_posix().endswith(TELL_OF_THE_RUN)
            and "training/state" not in path.as_posix()
            and ".tmp" not in path.as_posix()
        }

    def steps_trained(self) -> int:
        """Steps of the state that an unfinished training keeps; 0 if there is none."""
        path = self.path / "results/mini/training/state/training.safetensors"
        if not path.exists():
            return 0
        with safe_open(path, "numpy") as state:
            return json.loads(state.metadata()["state"])["step"]


def kill(process: subprocess.Popen) -> None:
    """Kill a process and all that it started; nothing, if it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def write_table(path: Path, header: str, rows: list[str]) -> None:
    """A TSV from lines whose cells are separated by blanks; `-` is an empty cell."""
    lines = ["\t".join("" if cell == "-" else cell for cell in line.split()) for line in [header, *rows]]
    path.write_text("\n".join(lines) + "\n")


def world_config() -> dict[str, Any]:
    """The world that the mini data set is taken from."""
    return {
        "name": "world",
        "seed": 3,
        "tables": {name: f"world/{name}.tsv" for name in ("factors", "cell_types", "experiments")},
        "reference": {"fasta": "world/genome.fa.gz"},
        "factors": {"proteins": ["world/proteins.fa"], "motifs": ["world/motifs.meme"]},
        "splits": {"validation": ["chr2"], "test": ["chr3"]},
        "simulation": {
            "folder": "world",
            "chromosomes": 3,
            "chromosome_length": 24_000,
            "open_fraction": 0.3,
            "fragments": 2000,
            "sites_per_factor": 60,
        },
    }


def mini_config(checksums: dict[str, str]) -> dict[str, Any]:
    """A model as small as can be."""
    world = world_config()
    return {
        "name": "mini",
        "mirror": "mirror",
        "tables": {name: f"config/{name}.tsv" for name in ("factors", "cell_types", "experiments")},
        "reference": {
            "fasta": {"source": "https://example.org/genome.fa.gz", "sha256": checksums["genome.fa.gz"]}
        },
        "factors": world["factors"],
        "splits": world["splits"],
        "windows": {"bin": 64, "length": 1024, "core": 768},
        "model": {
            "trunk": {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 4},
            "rank": 16,
            "heads": 4,
            "factor_tokens": 2,
            "hidden": 8,
        },
        "training": {"steps": 16, "batch_size": 2, "validate_every": 4, "warmup_steps": 2, "min_bound_bins": 1},
        "prediction": {"shards": 2, "batch_size": 1, "factors_per_job": 2, "known_binding": True},
    }


def make_world(folder: Path) -> None:
    """Simulate the world below a folder."""
    (folder / "world").mkdir(parents=True)
    write_table(
        folder / "world/factors.tsv", "factor uniprot motif", ["SIM1 SIM1 SIM1", "SIM2 SIM2 SIM2", "SIM3 SIM3 -"]
    )
    write_table(
        folder / "world/cell_types.tsv",
        "cell_type accessibility",
        [f"{cell} world/{cell}.fragments.tsv.gz" for cell in ("CT1", "CT2")],
    )
    pairs = [(factor, cell) for factor in ("SIM1", "SIM2") for cell in ("CT1", "CT2")]
    write_table(
        folder / "world/experiments.tsv",
        "factor cell_type peaks",
        [f"{factor} {cell} world/{factor}.{cell}.narrowPeak" for factor, cell in pairs],
    )
    before = Path.cwd()
    os.chdir(folder)
    try:
        config = parse_config(world_config())
        simulate_world(config, read_tables(config))
    finally:
        os.chdir(before)


def make_mini(folder: Path) -> Workdir:
    """The mini data set: genome, one cell type and one experiment by URL, the rest by path."""
    make_world(folder)
    by_url = ["genome.fa.gz", "CT1.fragments.tsv.gz", "SIM1.CT1.narrowPeak"]
    mirror = folder / "mirror/example.org"
    mirror.mkdir(parents=True)
    for name in by_url:
        shutil.move(folder / "world" / name, mirror / name)
    checksums = {name: sha256_file(mirror / name) for name in by_url}
    url = {name: f"https://example.org/{name} {checksums[name]}" for name in by_url}

    config = folder / "config"
    config.mkdir()
    shutil.copy(folder / "world/factors.tsv", config / "factors.tsv")
    write_table(
        config / "cell_types.tsv",
        "cell_type accessibility sha256",
        [f"CT1 {url['CT1.fragments.tsv.gz']}", "CT2 - -"],
    )
    write_table(
        config / "experiments.tsv",
        "factor cell_type peaks sha256",
        [
            f"SIM1 CT1 {url['SIM1.CT1.narrowPeak']}",
            "SIM1 CT2 world/SIM1.CT2.narrowPeak -",
            "SIM2 CT1 world/SIM2.CT1.narrowPeak -",
            "SIM2 CT2 world/SIM2.CT2.narrowPeak -",
        ],
    )
    (folder / CONFIG).write_text(yaml.safe_dump(mini_config(checksums)))
    return Workdir(folder)


@pytest.fixture
def project(tmp_path: Path) -> Workdir:
    """A folder with the project's own configurations, and nothing run yet."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "config").symlink_to(ROOT / "config")
    (tmp_path / "shared").symlink_to(ROOT.parent / "shared")
    return Workdir(folder)


@pytest.fixture
def mini(tmp_path: Path) -> Workdir:
    """The mini data set, and nothing run yet."""
    return make_mini(tmp_path / "mini")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workdir:
    """The mini data set after one whole run, made by one worker for all. Not to be changed: take a copy."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    path, output = base / "finished/mini", base / "finished/mini/output.txt"
    with FileLock(base / "finished.lock"):
        if not output.exists():
            shutil.rmtree(path, ignore_errors=True)
            run = make_mini(path).snakemake("--cores", "2")
            output.write_text(run.output)
    return Workdir(path)


@pytest.fixture
def again(finished: Workdir, tmp_path: Path) -> Workdir:
    """A copy of the finished run, to be changed."""
    return finished.copy(tmp_path / "again")


@pytest.fixture
def overlay(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write a further configuration file."""

    def write(values: dict[str, Any]) -> Path:
        path = tmp_path / "overlay.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write
