"""The first page: what was made, how good it is, why to believe it; and the facts of the run, as a table."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tfbind
from scripts.report.evaluation import means, picture_of
from scripts.report.html import Column, Place, digits, escape, listed, table, whole, write_page
from scripts.report.pages import EVALUATION, FACTORS, OVERVIEW, SPLIT, Pages
from tfbind.config import Config, config_text
from tfbind.core.files import read_json, sha256_bytes, sha256_file
from tfbind.evaluation.sites import TRACK_COLUMNS
from tfbind.evaluation.tables import write_table
from tfbind.evaluation.tsv import read_rows
from tfbind.model.checkpoint_files import ENSEMBLE_FILE
from tfbind.prediction.gather import factor_batches
from tfbind.tables import sources
from tfbind.training.splits import KINDS, Split

RUN_COLUMNS = ("section", "item", "value")
TIME_COLUMNS = ("step", "jobs", "seconds", "longest_seconds", "max_rss_mb")
LIBRARIES = ("torch", "snakemake", "numpy", "pyBigWig")
_MEND = "run the workflow again"

Fact = tuple[str, str, Any]


def write_overview(config: Config, logs: Path) -> None:
    """Write the tables run.tsv and times.tsv, and the page that is made from them.

    Parameters
    ----------
    logs
        Folder of the run's logs, where Snakemake's benchmarks stand.
    """
    pages = Pages(config)
    run, times = pages.tables / "run.tsv", pages.tables / "times.tsv"
    write_table(run, RUN_COLUMNS, (dict(zip(RUN_COLUMNS, fact, strict=True)) for fact in facts(pages)))
    write_table(times, TIME_COLUMNS, durations(logs, pages))
    write_page(
        Place(pages.root, OVERVIEW),
        f"Transcription factor binding, predicted: {config.name}",
        _body(pages, run, times),
        pages=pages.names,
    )


def facts(pages: Pages) -> Iterator[Fact]:
    """What is told of a run: section, item and value."""
    config, dataset, root = pages.config, pages.dataset, pages.root
    reference, targets = read_json(root / "reference/reference.json"), read_json(root / "targets/targets.json")
    model, split = about_model(root / "model"), Split.read(root / "split.json")
    entries = {entry["factor"]: entry for entry in read_json(root / "factors/factors.json")["factors"]}
    rendered = [entries[name] for name in pages.factors]
    tracks = [
        cells
        for cell_type in pages.cell_types
        for _, cells in read_rows(pages.tables / "sites" / cell_type / "tracks.tsv", TRACK_COLUMNS, mend=_MEND)
    ]
    made = "what was made"
    yield made, "data set", config.name
    yield (
        made,
        "data",
        "simulated: nothing in it is measured" if config.simulation else "as configuration and tables name it",
    )
    yield made, "tracks (factor x cell type)", len(tracks)
    yield made, "called peaks in all tracks", sum(int(cells["peaks"]) for cells in tracks)
    yield made, "bin, bp", targets["bin"]
    yield made, "genome, chromosomes", len(reference["chromosomes"])
    yield made, "genome, Mb", sum(each["size"] for each in reference["chromosomes"]) / 1e6
    yield made, "factors", len(rendered)
    yield made, "factors with a protein", sum(bool(entry["proteins"]) for entry in rendered)
    yield made, "factors with a motif", sum(entry["motif"] is not None for entry in rendered)
    yield (
        made,
        "factors never trained on",
        len({each["factor"] for each in tracks if each["seen_factor"] == "no"}),
    )
    yield made, "cell types", len(pages.cell_types)
    yield made, "cell types: which", _some(pages.cell_types)
    tracked = {row.cell_type for row in dataset.cell_types if row.accessibility is not None}
    yield made, "cell types with accessibility", sum(name in tracked for name in pages.cell_types)
    yield (
        made,
        "cell types never trained on",
        len({each["cell_type"] for each in tracks if each["seen_cell_type"] == "no"}),
    )
    yield made, "experiments", len(targets["experiments"])

    held = "what was held out"
    yield held, "experiments trained on", len(split.experiments)
    for part in ("train", "validation", "test"):
        yield held, f"{part}, Mb", sum(region.end - region.start for region in getattr(split, part)) / 1e6
    yield held, "test: where", _some(map(str, split.test)) or "nowhere: nothing is scored"
    for kind in KINDS:
        if count := sum(split.kinds[name] == kind for name in split.tested):
            yield held, f"experiments tested: {kind}", count
    yield held, "factors held out", _some(split.held_out_factors) or "none"
    yield held, "cell types held out", _some(split.held_out_cell_types) or "none"

    trained = "model"
    yield trained, "members", config.training.ensemble
    yield trained, "validation AUPRC", model["validation_auprc"]
    # Of an ensemble, each member has its own.
    if "best_step" in model:
        yield trained, "step of the weights taken", model["best_step"]
    yield trained, "false discovery rate of calls, stated", model["fdr"]
    yield trained, "seed", _some(map(str, seed)) if isinstance(seed := model["manifest"]["seed"], list) else seed

    yield "version", "tfbind", tfbind.__version__
    yield "version", "python", platform.python_version()
    for library in LIBRARIES:
        yield "version", library, version(library)

    yield "sha256", "configuration (results/.../config.yaml)", sha256_bytes(config_text(config).encode())
    for path in config.training.variants:
        yield "sha256", f"variant ({path})", sha256_file(path)
    yield "sha256", "genome", reference["checksum"]
    yield "sha256", "targets", targets["checksum"]
    yield "sha256", "split", split.checksum
    yield "sha256", "weights of the model", model["sha256"]
    for source in sources(config, dataset):
        if source.sha256 is not None:
            yield "sha256", source.source, source.sha256


def about_model(folder: Path) -> dict[str, Any]:
    """What a model's file says of it, or an ensemble's of all members together."""
    ensemble = folder / ENSEMBLE_FILE
    return read_json(ensemble if ensemble.is_file() else folder / "model.json")


def _some(names: Any, most: int = 12) -> str:
    """Names, the first of them if they are many."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def durations(logs: Path, pages: Pages) -> list[dict[str, Any]]:
    """Wall time and memory of each step, over its jobs, from Snakemake's benchmarks: each job's last run.

    Parameters
    ----------
    logs
        Folder of the run's logs; those of cross-validations are left out.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for path in sorted(logs.rglob("*.benchmark.tsv")):
        parts = path.relative_to(logs).as_posix().removesuffix(".benchmark.tsv").split("/")
        if parts[0] != "cross_validation" and _is_of_run(parts, pages):
            step = parts[2] if parts[0] == "members" else parts[0]
            found.setdefault(step, []).extend(cells for _, cells in read_rows(path, ("s", "max_rss"), mend=_MEND))
    rows = [
        {
            **{"step": step, "jobs": len(jobs), "seconds": sum(float(job["s"]) for job in jobs)},
            "longest_seconds": max(float(job["s"]) for job in jobs),
            # Of a job that ended at once, none is known.
            "max_rss_mb": max(
                (float(job["max_rss"]) for job in jobs if _is_number(job["max_rss"])), default=None
            ),
        }
        for step, jobs in found.items()
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


def _is_of_run(parts: list[str], pages: Pages) -> bool:
    """Whether a benchmark is of a job that the run still has: settings may have been others before."""
    prediction, members = pages.config.prediction, pages.config.training.ensemble
    step, *wildcards = parts
    if step == "embed":
        return int(wildcards[0]) < prediction.shards
    if step == "render":
        batches = factor_batches(pages.factors, prediction.factors_per_job)
        return wildcards[0] in pages.cell_types and int(wildcards[1]) < len(batches)
    if step in ("sites", "accessibility", "contexts"):
        return wildcards[0] in {row.cell_type for row in pages.dataset.cell_types}
    if step == "members":
        return members > 1 and int(wildcards[0]) < members
    return step != "train" or members == 1


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[\d.]+", text) is not None


def _body(pages: Pages, run: Path, times: Path) -> str:
    place = Place(pages.root, OVERVIEW)
    rows = read_rows(run, RUN_COLUMNS, mend=_MEND)
    columns = [Column("item", "item"), Column("value", "value")]

    def section(name: str, identifier: str) -> str:
        own = [row for row in rows if row[1]["section"] == name]
        return table(place, run, own, columns, identifier=identifier, filtered=len(own) > 30, sortable=False)

    parts = []
    if pages.config.simulation:
        parts.append(
            '<p class="warning"><b>This world is simulated, and nothing in it is data.</b> That it is '
            "predicted well says that the parts work together, and nothing of real biology.</p>"
        )
    parts += ["<h2>What was made</h2>", section("what was made", "made"), _to_open(place, pages)]
    if pages.is_tested:
        parts.append(
            "<h2>How good it is</h2><p>In regions of the genome that no training saw, at the true "
            "prevalence, beside "
            f"simpler predictions on the same bins. {place.link(EVALUATION, 'Scores beside baselines')} has each "
            "experiment.</p>"
        )
        summary = pages.root / "evaluation/summary.tsv"
        parts += [text.replace("h2>", "h3>") for text in means(place, summary)]
        parts.append(
            picture_of(
                pages.root / "evaluation/evaluation",
                "AUPRC of each predictor, a point an experiment; dotted: the mean prevalence, what chance gives.",
            )
        )
        parts.append("<h2>Why to believe it</h2>" + _why(place))
    parts += [section("what was held out", "held")]
    parts += ["<h2>Model and versions</h2>", section("model", "model"), section("version", "versions")]
    parts += [
        "<h2>Time of each step</h2><p>Wall time of the last run of each job, added up over the jobs of a "
        "step, which may have "
        "run side by side.</p>",
        table(
            place, times, read_rows(times, TIME_COLUMNS, mend=_MEND), _TIMES, identifier="times", filtered=False
        ),
        "<h2>Checksums</h2>",
        section("sha256", "checksums"),
        "<h2>Configuration</h2><p>As it was in effect, with all defaults.</p>",
        f"<pre>{escape(config_text(pages.config))}</pre>",
    ]
    return "\n".join(parts)


_TIMES = [
    Column("step", "step"),
    whole("jobs", "jobs"),
    digits("seconds", "all jobs, s", 1),
    digits("longest_seconds", "longest job, s", 1),
    whole("max_rss_mb", "most memory, MB"),
]


def _to_open(place: Place, pages: Pages) -> str:
    root = pages.root.as_posix()
    return (
        "<p>The tracks are bigWigs of the probability of binding in each bin, and narrowPeak files of calls:</p>"
        + listed(
            [
                f"{place.link('tracks', f'{root}/tracks')}: a folder a cell type, in it a bigWig, calls "
                "and provenance of each factor",
                f"{place.link('browser/index.html', 'the genome browser')}, which <code>tfbind browse "
                f"{escape(root)}</code> serves, with "
                "this report, on this machine alone",
                f"{place.link(FACTORS, 'factor by factor')}: motif, most probable sites, and what is "
                "predicted around measured calls",
            ]
        )
    )


def _why(place: Place) -> str:
    return listed(
        [
            "Test regions overlap with no training or validation region; unseen cell types are held out "
            "under all their names, "
            "unseen factors with all their relatives. The model carries what it was trained on, with "
            "checksums, and an evaluation "
            "that contradicts it is refused.",
            "Every score stands beside those of simpler predictions on the same bins; with the residues "
            "of the proteins shuffled, "
            "what is left is not read off the protein.",
            f"{place.link(SPLIT, 'Split, training and calibration')}: whether probabilities are "
            "frequencies, and what the stated false "
            "discovery rate comes to.",
        ]
    )
