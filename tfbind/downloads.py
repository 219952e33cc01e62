"""What a run downloads, in batches: few jobs, whatever the number of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tfbind.config import Config, Source
from tfbind.core.errors import InputError
from tfbind.core.progress import Progress
from tfbind.core.sources import fetch, keep_as_part, local_path, uniprot_url
from tfbind.tables import DataSet, accessions_to_fetch, sources

# Files in a batch, and most batches of a kind: larger data sets have larger batches. A job that runs again, for a
# file that was added to its batch, makes all that follows from the others run again, too. Of peaks and proteins
# that runs again anyway; accessibility files have a job each as long as can be, since a further cell type is to
# train nothing.
SMALL_FILES, MOST_OF_SMALL = 25, 32
LARGE_FILES, MOST_OF_LARGE = 1, 128


@dataclass(frozen=True)
class Download:
    """A file to download.

    Attributes
    ----------
    url, path
        Where it comes from, and where it goes.
    sha256
        What it must have. None for what comes from UniProt: `tfbind factors` verifies the sequence in it.
    """

    url: str
    path: Path
    sha256: str | None


def download_batches(config: Config, dataset: DataSet) -> dict[str, list[Download]]:
    """Everything that a run downloads, each file once, in batches by name, such as `peaks_3`.

    Batches follow the order of the tables, so that a row added at the end leaves the earlier batches alone, but
    for the few times at which all batches of a kind double in size.
    """
    left = {download.path: download for download in _downloads(config, dataset)}
    batches = {}
    for name, paths in _groups(config, dataset):
        # One file may be given twice, as two experiments' peaks.
        batch = [left.pop(path) for path in paths if path in left]
        if batch:
            batches[name] = batch
    return batches


def chosen_downloads(
    config: Config, dataset: DataSet, *, batch: str | None = None, paths: Iterable[Path] = ()
) -> list[Download]:
    """The downloads of a batch, or those that go to some paths; all if neither is given.

    Raises
    ------
    InputError
        There is no such batch, or a path is not where a URL is kept.
    """
    batches = download_batches(config, dataset)
    if batch is not None:
        if batch not in batches:
            raise InputError(f"there is no batch '{batch}' of downloads", mend=f"give one of: {_some(batches)}")
        return batches[batch]
    known = {download.path: download for downloads in batches.values() for download in downloads}
    for path in paths:
        if path not in known:
            raise InputError(
                "is not where any URL of the configuration is kept",
                file=path,
                mend=f"give one of: {_some(map(str, sorted(known)))}",
            )
    return [known[path] for path in paths] or list(known.values())


def download(chosen: Sequence[Download], *, mirror: str | None) -> None:
    """Bring files to where they are kept, one after the other; see `tfbind.core.sources.fetch`.

    If one fails, Snakemake deletes all files of the batch that are new. So those that came whole are kept as
    parts, and the next run takes them from there.
    """
    new: list[Path] = []
    with Progress("downloading", len(chosen), unit="files") as progress:
        try:
            for each in chosen:
                was_there = each.path.exists()
                fetch(
                    each.url,
                    each.path,
                    sha256=each.sha256,
                    mirror=mirror,
                    progress=partial(_tell_bytes, progress, each.path.name),
                )
                if each.sha256 is not None and not was_there:
                    new.append(each.path)
                progress.advance(note=each.path.name)
        except BaseException:  # an interruption, too
            for path in new:
                keep_as_part(path)
            raise


def _tell_bytes(progress: Progress, name: str, here: int, total: int | None) -> None:
    """What has come of a file."""
    of_total = "" if total is None else f" of {total / 1e6:,.1f}"
    progress.advance(0, note=f"{name}: {here / 1e6:,.1f}{of_total} MB")


def _downloads(config: Config, dataset: DataSet) -> list[Download]:
    given = [
        Download(source.source, source.local_path, source.sha256)
        for source in sources(config, dataset)
        if source.is_url
    ]
    urls = map(uniprot_url, accessions_to_fetch(config, dataset))
    return [Download(url, local_path(url), None) for url in urls] + given


def _groups(config: Config, dataset: DataSet) -> list[tuple[str, list[Path]]]:
    """Name and paths of each batch; paths of the user's own files are among them."""
    tracks = _paths(row.accessibility for row in dataset.cell_types)
    peaks = _paths(row.peaks for row in dataset.experiments)
    proteins = _paths([*config.factors.proteins, *config.factors.motifs, config.factors.domains])
    proteins += [local_path(uniprot_url(accession)) for accession in accessions_to_fetch(config, dataset)]
    structures = _paths(structure for row in dataset.factors for structure in row.structure)
    return [
        ("reference", _paths([config.reference.fasta, config.reference.blacklist])),
        *_numbered("accessibility", tracks, LARGE_FILES, MOST_OF_LARGE),
        *_numbered("peaks", peaks, SMALL_FILES, MOST_OF_SMALL),
        *_numbered("proteins", proteins, SMALL_FILES, MOST_OF_SMALL),
        *_numbered("structures", structures, SMALL_FILES, MOST_OF_SMALL),
        ("genes", _paths([config.evaluation.promoters])),
    ]


def _paths(given: Iterable[Source | None]) -> list[Path]:
    return [source.local_path for source in given if source is not None]


def _numbered(kind: str, paths: Sequence[Path], size: int, most: int) -> list[tuple[str, list[Path]]]:
    """Paths in batches of `size`; doubled as often as it takes for at most `most` batches."""
    while len(paths) > size * most:
        size *= 2
    return [
        (f"{kind}_{number}", list(paths[start : start + size]))
        for number, start in enumerate(range(0, len(paths), size), 1)
    ]


def _some(names: Iterable[str], most: int = 20) -> str:
    """The first of many names."""
    given = list(names)
    more = f" and {len(given) - most} more" if len(given) > most else ""
    return f"{', '.join(given[:most])}{more}" if given else "none, there are no URLs"
