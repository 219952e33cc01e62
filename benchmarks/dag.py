"""How large a plan is at the scale of hg38: jobs, seconds and memory of `snakemake --dry-run`, beside yeast's.

The tables of the human data set are made up, at the size and in the look of ENCODE's: 1,000 factors by UniProt
accession, 100 cell types with an accessibility track each, 10,000 experiments, all by URL. What they name is not
there, and nothing is downloaded: a dry run only plans. It is planned once more with every file by path.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FACTORS, CELL_TYPES, EXPERIMENTS = 1000, 100, 10_000
ROUNDS = 3
HG38 = "https://hgdownload.soe.ucsc.edu/goldenPath/hg38/bigZips/hg38.fa.gz"
BLACKLIST = "https://raw.githubusercontent.com/Boyle-Lab/Blacklist/master/lists/hg38-blacklist.v2.bed.gz"
YEAST = Path("config/yeast/config.yaml")


@dataclass(frozen=True)
class Plan:
    """What a dry run found, and what it took.

    Attributes
    ----------
    jobs
        Number of jobs by rule.
    seconds
        From the start of the command to its end.
    cpu_seconds
        Of a processor, whatever else the machine does.
    megabytes
        Peak memory of the process.
    """

    jobs: dict[str, int]
    seconds: float
    cpu_seconds: float
    megabytes: float

    @property
    def total(self) -> int:
        """Number of all jobs."""
        return sum(self.jobs.values())


def run(full: bool = False) -> dict[str, Any]:
    """Plan the data sets in turn, print the table, and return what the JSON line says; sizes are always real."""
    plans: dict[str, list[Plan]] = {}
    with tempfile.TemporaryDirectory() as folder:
        configs = data_sets(Path(folder))
        for number in range(ROUNDS):
            for name, config in configs.items():
                print(f"round {number + 1} of {ROUNDS}: {name}", file=sys.stderr)
                plans.setdefault(name, []).append(dry_run(Path(folder), config))
    print_table(plans)

    def medians(what: str) -> dict[str, float]:
        return {name: statistics.median(getattr(plan, what) for plan in found) for name, found in plans.items()}

    seconds, cpu = medians("seconds"), medians("cpu_seconds")
    return {
        "ratio": {
            "seconds": round(seconds["human"] / seconds["yeast"], 2),
            "cpu_seconds": round(cpu["human"] / cpu["yeast"], 2),
            "jobs": round(plans["human"][0].total / plans["yeast"][0].total, 2),
        },
        "sizes": {"factors": FACTORS, "cell_types": CELL_TYPES, "experiments": EXPERIMENTS},
        "jobs": {name: found[0].total for name, found in plans.items()},
        "seconds": {name: round(median, 2) for name, median in seconds.items()},
        "cpu_seconds": {name: round(median, 2) for name, median in cpu.items()},
        "megabytes": {name: round(max(plan.megabytes for plan in found)) for name, found in plans.items()},
        "device": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
    }


def data_sets(folder: Path) -> dict[str, Path]:
    """Lay yeast and the made-up human data sets into a folder; their configurations by name."""
    shutil.copytree(ROOT / YEAST.parent, folder / YEAST.parent)
    return {
        "yeast": YEAST,
        "human": write_human(folder),
        "human, by path": write_human(folder, by_url=False),
    }


def dry_run(folder: Path, config: Path) -> Plan:
    """Plan a data set in a process of its own, with all that a user of `snakemake -n` would be shown."""
    with (folder / "plan.txt").open("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "snakemake", "--dry-run"),
                *("--snakefile", ROOT / "workflow/Snakefile", "--configfile", config),
            ],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"the dry run of {config} failed:\n{text[-4000:]}")
    # Bytes on macOS, kilobytes elsewhere.
    megabytes = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Plan(jobs_of(text), seconds, usage.ru_utime + usage.ru_stime, megabytes)


def jobs_of(text: str) -> dict[str, int]:
    """Number of jobs by rule, from the table that Snakemake prints; batches of downloads are one rule."""
    found = re.search(r"^job +count\n-+ +-+\n(.*?)^total ", text, re.DOTALL | re.MULTILINE)
    jobs: dict[str, int] = {}
    for row in found[1].splitlines() if found else ():
        rule, count = row.split()
        rule = re.sub(r"^(download_[a-z]+)_\d+$", r"\1", rule)
        jobs[rule] = jobs.get(rule, 0) + int(count)
    return jobs


def print_table(plans: dict[str, list[Plan]]) -> None:
    """Jobs by rule, and what each data set takes, side by side."""
    first = {name: found[0] for name, found in plans.items()}
    rows: list[list[Any]] = [["", *first]]
    for rule in sorted(set().union(*(plan.jobs for plan in first.values()))):
        rows.append([rule, *(plan.jobs.get(rule, 0) for plan in first.values())])
    rows.append(["jobs", *(plan.total for plan in first.values())])
    for what in ("seconds", "cpu_seconds", "megabytes"):
        values = [[getattr(plan, what) for plan in found] for found in plans.values()]
        medians = [f"{statistics.median(each):.1f}" for each in values]
        ranges = [f"{min(each):.1f}-{max(each):.1f}" for each in values]
        rows += [[f"{what}, median".replace("_", " "), *medians], [f"  of {ROUNDS} runs", *ranges]]
    for row in rows:
        print(f"{row[0]:<24}" + "".join(f"{cell:>18}" for cell in row[1:]))


# --- the made-up data set ---------------------------------------------------------------------------------------


def write_human(folder: Path, *, by_url: bool = True) -> Path:
    """Write configuration and tables of a made-up human data set.

    Parameters
    ----------
    folder
        The folder in which the workflow will be started.
    by_url
        Whether the files are given by URL; if not, by path, and an empty file stands at each.

    Returns
    -------
    Path of the configuration, from `folder`.
    """
    name = "human" if by_url else "human_by_path"
    where = Path("config", name)
    (folder / where).mkdir(parents=True)
    factors = [[f"TF{n:04}", _accession(n), f"MA{n:04}.1"] for n in range(FACTORS)]
    tracks = [_file(f"ENCFF{n:03}ATC", "bigWig", by_url) for n in range(CELL_TYPES)]
    cells = [[f"cell-{n:03}", f"made-up biosample {n}", *track] for n, track in enumerate(tracks)]
    peaks = [_file(f"ENCFF{n:06}", "bed.gz", by_url) for n in range(EXPERIMENTS)]
    experiments = [
        [factors[factor][0], cells[cell][0], "TF ChIP-seq", *file]
        for (factor, cell), file in zip(_pairs(), peaks, strict=True)
    ]
    genome = _url(HG38) if by_url else ["data/hg38.fa.gz", ""]
    blacklist = _url(BLACKLIST) if by_url else ["data/hg38-blacklist.v2.bed.gz", ""]
    proteins = [] if by_url else ["data/proteins.fa"]
    if not by_url:
        _touch(folder, [*proteins, *(path for path, _ in (genome, blacklist, *tracks, *peaks))])
    _write_table(folder / where / "factors.tsv", "factor uniprot motif", factors)
    _write_table(folder / where / "cell_types.tsv", "cell_type description accessibility sha256", cells)
    _write_table(folder / where / "experiments.tsv", "factor cell_type assay peaks sha256", experiments)
    values = {
        "name": name,
        "tables": {table: f"{where}/{table}.tsv" for table in ("factors", "cell_types", "experiments")},
        "reference": {
            "fasta": _source(genome),
            "blacklist": _source(blacklist),
            "include": ["chr[0-9]", "chr[0-9][0-9]", "chrX"],
        },
        "factors": {"proteins": proteins},
        "windows": {"bin": 128, "length": 196_608, "core": 114_688},
        "splits": {"validation": ["chr9"], "test": ["chr8", "chr21"]},
    }
    (folder / where / "config.yaml").write_text(yaml.safe_dump(values))
    return where / "config.yaml"


def _pairs() -> list[tuple[int, int]]:
    """A factor and a cell type of each experiment: as in ENCODE, a few cell types have most of them."""
    pairs = [(factor, cell) for cell in range(CELL_TYPES) for factor in range(FACTORS)]

    def rank(pair: tuple[int, int]) -> tuple[int, int, int]:
        # A fixed shuffle of the factors; all of them in the first cell types, and ever fewer further on.
        factor, cell = pair
        return factor * 7919 % FACTORS * (1 + cell // 2) // FACTORS, cell, factor

    return sorted(pairs, key=rank)[:EXPERIMENTS]


def _accession(number: int) -> str:
    """A well-formed UniProt accession."""
    return f"Q{number % 10}{number // 10 % 10}A{chr(ord('A') + number // 100)}7"


def _file(accession: str, ending: str, by_url: bool) -> list[str]:
    """The cells of a file of ENCODE: where it is, and its checksum."""
    url = f"https://www.encodeproject.org/files/{accession}/@@download/{accession}.{ending}"
    return _url(url) if by_url else [f"data/{accession}.{ending}", ""]


def _url(url: str) -> list[str]:
    """A URL, and a checksum that is none of any file."""
    return [url, hashlib.sha256(url.encode()).hexdigest()]


def _source(cells: Sequence[str]) -> Any:
    source, sha256 = cells
    return {"source": source, "sha256": sha256} if sha256 else source


def _touch(folder: Path, paths: Iterable[str]) -> None:
    (folder / "data").mkdir()
    for path in paths:
        (folder / path).touch()


def _write_table(path: Path, header: str, rows: Iterable[Sequence[str]]) -> None:
    path.write_text("".join("\t".join(cells) + "\n" for cells in [header.split(), *rows]))
