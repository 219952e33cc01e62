"""Batches of factors: a cell type is rendered in jobs of so many factors, and their tracks are laid together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, link_or_copy, read_json

# What rendering makes of each factor.
ENDINGS = (".bw", ".json", ".narrowPeak")
# What the tracks of one cell type have in common, as their provenance says.
SHARED = ("cell_type", "context", "model", "genome", "genome_embedding", "bin", "region")

_AGAIN = "render this batch again: `tfbind render --batch`"


def factor_batches(names: Sequence[str], size: int) -> list[list[str]]:
    """Factors in batches of at most `size`, in order."""
    return [list(names[start : start + size]) for start in range(0, len(names), size)]


def gather(batches: Sequence[str | Path], names: Sequence[str], output: str | Path) -> None:
    """Lay the tracks of a cell type's batches together to one whole folder. The batches stay as they are.

    The files are hard links, which take no time and no room; copies where the file system has none.

    Parameters
    ----------
    batches
        Folders that `render_cell_types` made.
    names
        The factors that they must hold, each once, and no others.
    output
        The folder to make; one that is there already is replaced.

    Raises
    ------
    InputError
        A batch that is not there, a factor that is missing, stands twice or is none of `names`, a file of its
        three that is missing, or tracks of another cell type, context, model, genome or region than the first.
    """
    found = _tracks(batches, set(names))
    _check_whole(found, names)
    _check_alike([found[f"{name}.json"] for name in names])
    with atomic_dir(output) as folder:
        for name, path in sorted(found.items()):
            link_or_copy(path, folder / name)


def _tracks(batches: Sequence[str | Path], names: set[str]) -> dict[str, Path]:
    """The files of all batches by name. Hidden ones are Snakemake's."""
    found: dict[str, Path] = {}
    for batch in map(Path, batches):
        if not batch.is_dir():
            raise InputError("there is no such batch of tracks", file=batch, mend=_AGAIN)
        for path in sorted(batch.glob("[!.]*")):
            if path.suffix not in ENDINGS or path.stem not in names:
                raise InputError(
                    "is of none of the factors that are rendered",
                    file=path,
                    key="prediction.factors",
                    mend="render the batches again, with this configuration",
                )
            if path.name in found:
                raise InputError(
                    f"factor {path.stem} stands twice; first in {found[path.name].parent}",
                    file=path,
                    key="prediction.factors_per_job",
                    mend="give each batch once, all rendered with this configuration",
                )
            found[path.name] = path
    return found


def _check_whole(found: dict[str, Path], names: Sequence[str]) -> None:
    for name in names:
        there = [found[f"{name}{ending}"] for ending in ENDINGS if f"{name}{ending}" in found]
        if not there:
            raise InputError(
                f"factor {name} is in none of the batches",
                key="prediction.factors_per_job",
                mend="give all batches, rendered with this configuration",
            )
        for ending in ENDINGS:
            if f"{name}{ending}" not in found:
                raise InputError("is missing", file=there[0].with_name(f"{name}{ending}"), mend=_AGAIN)


def _check_alike(provenances: Sequence[Path]) -> None:
    first = _about(provenances[0])
    for path in provenances[1:]:
        about = _about(path)
        for key in SHARED:
            if about[key] != first[key]:
                raise InputError(
                    f"was made with another {key} than {provenances[0]}: {about[key]}, not {first[key]}",
                    file=path,
                    mend="render all batches again, with one model, and of one region or of all the genome",
                )


def _about(path: Path) -> dict[str, Any]:
    """What a track says of itself, as far as it shares it with the others."""
    try:
        content = read_json(path)
        # Without one, a track is of all the genome.
        return {key: content[key] for key in SHARED if key != "region"} | {"region": content.get("region")}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"is no provenance of a track ({error})", file=path, mend=_AGAIN) from error
