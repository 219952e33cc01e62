"""Batches of factors: a cell type is rendered in jobs of so many factors, and their tracks are laid together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, link_or_copy, read_json

# Before the ending of what is said of a track's uncertainty.
UNCERTAINTY = ".uncertainty"
# What rendering makes of each factor; and where it is asked for its uncertainty, too.
ENDINGS = (".bw", ".json", ".narrowPeak")
OF_UNCERTAINTY = (f"{UNCERTAINTY}.bw", f"{UNCERTAINTY}.json")
# What the tracks of one cell type have in common, as their provenance says.
SHARED = ("cell_type", "context", "model", "genome", "genome_embedding", "bin", "region", "known_binding")
# Of these, what a track lacks that an earlier version made.
_LATER = ("region", "known_binding")

_AGAIN = "render this batch again: `tfbind render --batch`"


def factor_batches(names: Sequence[str], size: int) -> list[list[str]]:
    """Factors in batches of at most `size`, in order."""
    return [list(names[start : start + size]) for start in range(0, len(names), size)]


def gather(
    batches: Sequence[str | Path], names: Sequence[str], output: str | Path, *, uncertainty: bool = False
) -> None:
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
    uncertainty
        Whether the tracks have files of their uncertainty.

    Raises
    ------
    InputError
        A batch that is not there, a factor that is missing, stands twice or is none of `names`, a file of
        its own that is missing, or tracks of another cell type, context, model, genome or region than the first.
    """
    endings = ENDINGS + OF_UNCERTAINTY if uncertainty else ENDINGS
    wanted = {f"{name}{ending}": name for name in names for ending in endings}
    found = _tracks(batches, wanted)
    _check_whole(found, wanted)
    _check_alike([found[file] for file in wanted if file.endswith(".json")])
    with atomic_dir(output) as folder:
        for name, path in sorted(found.items()):
            link_or_copy(path, folder / name)


def _tracks(batches: Sequence[str | Path], wanted: Mapping[str, str]) -> dict[str, Path]:
    """The files of all batches by name, all of which are `wanted`. Hidden ones are Snakemake's."""
    found: dict[str, Path] = {}
    for batch in map(Path, batches):
        if not batch.is_dir():
            raise InputError("there is no such batch of tracks", file=batch, mend=_AGAIN)
        for path in sorted(batch.glob("[!.]*")):
            if path.name not in wanted:
                raise InputError(
                    "is of none of the factors that are rendered",
                    file=path,
                    key="prediction.factors",
                    mend="render the batches again, with this configuration",
                )
            if path.name in found:
                raise InputError(
                    f"factor {wanted[path.name]} stands twice; first in {found[path.name].parent}",
                    file=path,
                    key="prediction.factors_per_job",
                    mend="give each batch once, all rendered with this configuration",
                )
            found[path.name] = path
    return found


def _check_whole(found: Mapping[str, Path], wanted: Mapping[str, str]) -> None:
    there = {wanted[file]: path for file, path in found.items()}
    for file, name in wanted.items():
        if name not in there:
            raise InputError(
                f"factor {name} is in none of the batches",
                key="prediction.factors_per_job",
                mend="give all batches, rendered with this configuration",
            )
        if file not in found:
            raise InputError("is missing", file=there[name].with_name(file), mend=_AGAIN)


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
        # Without a region, a track is of all the genome.
        found = {key: content.get(key) if key in _LATER else content[key] for key in SHARED}
        # Which experiments count is the factor's own.
        return found | {"known_binding": found["known_binding"] and found["known_binding"]["regions"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"is no provenance of a track ({error})", file=path, mend=_AGAIN) from error
