"""The genome embedding: DNA tokens of a whole genome, made in shards, stored once in 16 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.config import WindowSettings
from tfbind.core.errors import InputError
from tfbind.core.files import (
    atomic_dir,
    atomic_path,
    new_array,
    read_json,
    sha256_bytes,
    sha256_file,
    sha256_json,
    write_json,
)
from tfbind.core.progress import Progress
from tfbind.genome.intervals import bin_count
from tfbind.genome.reference import Reference
from tfbind.genome.windows import Window, shard, tile
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.inference import embed_windows

FORMAT = 1
# Largest finite number in 16 bits; DNA tokens are normalised and far below it.
LIMIT = float(np.finfo(np.float16).max)


def shard_windows(reference: Reference, windows: WindowSettings, count: int) -> list[list[Window]]:
    """The windows of each shard: consecutive stretches of about equal work."""
    tiled = tile(
        reference.sizes,
        length=windows.length,
        core=windows.core,
        bin=windows.bin,
        n_runs=reference.n_runs,
    )
    return shard(tiled, count)


def embed_shard(
    checkpoint: Checkpoint,
    reference: Reference,
    windows: Sequence[Window],
    output: str | Path,
    *,
    batch_size: int,
    precision: str,
) -> None:
    """Run the trunk over the windows of a shard: float16 (bins, rank), one core after the other, as .npy.

    `<output>.json` beside it says what it was made of, so that `assemble` can refuse what does not belong.

    Raises
    ------
    InputError
        If the model gives values that are not finite.
    """
    model = checkpoint.model
    bins = sum(_core_bins(window, model.bin) for window in windows)
    # The trunk always takes a full batch: the last bits of its values depend on the batch's size, and a genome
    # must come out the same in any number of shards.
    filled = [*windows, *[windows[-1]] * (-len(windows) % batch_size)]
    with atomic_path(output) as temporary:
        tokens = new_array(temporary, np.float16, (bins, model.settings.rank))
        done = 0
        bases = sum(window.core_end - window.core_start for window in windows)
        with Progress("embedding the genome", bases, unit="bp") as progress:
            embedded = embed_windows(model, reference.fetch, filled, batch_size=batch_size, precision=precision)
            for window, (_, found) in zip(windows, embedded, strict=False):
                if not np.isfinite(found).all():
                    raise InputError(
                        f"the model gives values that are not finite at "
                        f"{window.chrom}:{window.core_start}-{window.core_end}",
                        mend="train the model again, with a lower training.learning_rate",
                    )
                tokens[done : done + len(found)] = found.clip(-LIMIT, LIMIT)
                done += len(found)
                progress.advance(window.core_end - window.core_start)
        tokens.flush()
        del tokens
        about = _shard_identity(checkpoint, reference, windows)
        # First: an array under its final name has its description.
        write_json(_about_path(output), {**about, "precision": precision, "sha256": sha256_file(temporary)})


def assemble(
    checkpoint: Checkpoint,
    reference: Reference,
    windows: WindowSettings,
    shards: Sequence[Path],
    output: str | Path,
) -> None:
    """Lay the shards together: one array a chromosome, `<index>.npy` float16 (bins, rank), and JSON.

    Bins of windows that are all N were not embedded; they are zeros.

    Raises
    ------
    InputError
        If the shards are not all there, in order, whole, and of this model, genome and windows.
    """
    plan = shard_windows(reference, windows, len(shards))
    if len(plan) != len(shards):
        raise InputError(
            f"{len(shards)} shards were given, the genome is cut into {len(plan)}",
            key="prediction.shards",
            mend="embed with the number of shards that you assemble",
        )
    model = checkpoint.model
    precisions = [
        _check_shard(path, index, len(shards), _shard_identity(checkpoint, reference, part))
        for index, (part, path) in enumerate(zip(plan, shards, strict=True))
    ]
    for path, precision in zip(shards, precisions, strict=True):
        if precision != precisions[0]:
            raise InputError(
                f"was embedded in {precision}, {shards[0]} in {precisions[0]}",
                file=path,
                key="prediction.precision",
                mend="embed all shards with one precision",
            )
    with atomic_dir(output) as folder:
        arrays = {
            chrom: new_array(
                folder / f"{index}.npy", np.float16, (bin_count(size, model.bin), model.settings.rank)
            )
            for index, (chrom, size) in enumerate(reference.sizes.items())
        }
        for part, path in zip(plan, shards, strict=True):
            tokens = np.load(path, mmap_mode="r")
            done = 0
            for window in part:
                count = _core_bins(window, model.bin)
                first = window.core_start // model.bin
                arrays[window.chrom][first : first + count] = tokens[done : done + count]
                done += count
        checksums = {chrom: sha256_bytes(array.data) for chrom, array in arrays.items()}
        for array in arrays.values():
            array.flush()
        write_json(
            folder / "embedding.json",
            {
                "format": FORMAT,
                "model": checkpoint.checksum,
                "genome": reference.checksum,
                "bin": model.bin,
                "rank": model.settings.rank,
                "window": {"length": windows.length, "core": windows.core},
                "precision": precisions[0],
                "dtype": "float16",
                "chromosomes": [
                    {"name": chrom, "bins": len(arrays[chrom]), "sha256": checksums[chrom]}
                    for chrom in reference.sizes
                ],
            },
        )


@dataclass(frozen=True)
class GenomeEmbedding:
    """A genome embedding on disk.

    Attributes
    ----------
    about : dict, as `embedding.json`
    tokens : float16 (bins, rank), memory-mapped, a chromosome
    """

    about: dict[str, Any]
    tokens: dict[str, np.ndarray]

    @classmethod
    def open(cls, folder: str | Path, checkpoint: Checkpoint, reference: Reference) -> GenomeEmbedding:
        """Open a genome embedding.

        Raises
        ------
        InputError
            If there is none, if it is not whole, or of another model or genome.
        """
        folder = Path(folder)
        if not (folder / "embedding.json").is_file():
            raise InputError(
                "holds no genome embedding (embedding.json)",
                file=folder,
                mend="run `tfbind embed` and `tfbind assemble` first",
            )
        about = read_json(folder / "embedding.json")
        _require_made_with(folder / "embedding.json", about, _identity(checkpoint, reference), _AGAIN)
        tokens = {
            chromosome["name"]: _load_tokens(folder / f"{index}.npy", (chromosome["bins"], about["rank"]))
            for index, chromosome in enumerate(about["chromosomes"])
        }
        return cls(about, tokens)


_AGAIN = "embed the genome again: `tfbind embed`, then `tfbind assemble`"


def _identity(checkpoint: Checkpoint, reference: Reference) -> dict[str, Any]:
    return {"format": FORMAT, "model": checkpoint.checksum, "genome": reference.checksum}


def _shard_identity(checkpoint: Checkpoint, reference: Reference, windows: Sequence[Window]) -> dict[str, Any]:
    """What a shard must say of itself to be taken for the embedding of these windows."""
    first, last = windows[0], windows[-1]
    return {
        **_identity(checkpoint, reference),
        "from": f"{first.chrom}:{first.core_start}",
        "to": f"{last.chrom}:{last.core_end}",
        "windows": sha256_json([[w.chrom, w.start, w.end, w.core_start, w.core_end] for w in windows]),
    }


def _about_path(shard: str | Path) -> Path:
    return Path(shard).with_name(f"{Path(shard).name}.json")


def _check_shard(path: str | Path, index: int, count: int, expected: Mapping[str, Any]) -> str:
    """The precision of a shard; an InputError if it is not what is expected in this place, or not whole."""
    path = Path(path)
    again = "embed this shard again"
    for each in (path, _about_path(path)):
        if not each.is_file():
            raise InputError(
                "there is no such shard", file=each, mend=f"run `tfbind embed --shard {index}` first"
            )
    about = read_json(_about_path(path))
    _require_made_with(path, about, {key: expected[key] for key in ("format", "model", "genome")}, again)
    if about["windows"] != expected["windows"]:
        raise InputError(
            f"holds {about['from']} to {about['to']}; as shard {index} of {count} it should hold "
            f"{expected['from']} to {expected['to']}, in the windows of the configuration",
            file=path,
            key="prediction.shards",
            mend=f"give all shards, in order (0 to {count - 1} if there are {count}), embedded with this "
            "configuration's prediction.shards and windows",
        )
    found = sha256_file(path)
    if found != about["sha256"]:
        raise InputError(f"checksum differs: expected {about['sha256']}, got {found}", file=path, mend=again)
    return about["precision"]


def _require_made_with(path: Path, about: Mapping[str, Any], expected: Mapping[str, Any], mend: str) -> None:
    for what, wanted in expected.items():
        if about.get(what) != wanted:
            raise InputError(
                f"was made with another {what}: {about.get(what)}, not {wanted}", file=path, mend=mend
            )


def _load_tokens(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        tokens = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot be read ({error})", file=path, mend=_AGAIN) from error
    if tokens.shape != shape or tokens.dtype != np.float16:
        raise InputError(f"holds {tokens.dtype} {tokens.shape}, expected float16 {shape}", file=path, mend=_AGAIN)
    return tokens


def _core_bins(window: Window, bin: int) -> int:
    return bin_count(window.core_end - window.core_start, bin)
