"""The genome embedding: DNA tokens of a whole genome, made in shards, stored once in 16 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.config import WindowSettings
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, atomic_path, read_json, sha256_bytes, write_json
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
    """Run the trunk over the windows of a shard: float16 (bins, rank), one core after the other, as .npy."""
    model = checkpoint.model
    bins = sum(_core_bins(window, model.bin) for window in windows)
    with atomic_path(output) as temporary:
        tokens = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.float16, shape=(bins, model.settings.rank)
        )
        done = 0
        bases = sum(window.core_end - window.core_start for window in windows)
        with Progress("embedding the genome", bases, unit="bp") as progress:
            embedded = embed_windows(model, reference.fetch, windows, batch_size=batch_size, precision=precision)
            for window, found in embedded:
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


def assemble(
    checkpoint: Checkpoint,
    reference: Reference,
    windows: WindowSettings,
    shards: Sequence[Path],
    output: str | Path,
) -> None:
    """Lay the shards together: one array a chromosome, `<index>.npy` float16 (bins, rank), and JSON.

    Bins of windows that are all N were not embedded; they are zeros.
    """
    plan = shard_windows(reference, windows, len(shards))
    if len(plan) != len(shards):
        raise InputError(
            f"{len(shards)} shards were given, the genome is cut into {len(plan)}",
            key="prediction.shards",
            mend="embed with the number of shards that you assemble",
        )
    model = checkpoint.model
    with atomic_dir(output) as folder:
        arrays = {
            chrom: np.lib.format.open_memmap(
                folder / f"{index}.npy",
                mode="w+",
                dtype=np.float16,
                shape=(bin_count(size, model.bin), model.settings.rank),
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
            if done != len(tokens):
                raise InputError(
                    f"has {len(tokens)} bins, expected {done}", file=path, mend="embed this shard again"
                )
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
        """Open a genome embedding, and refuse one of another model or genome."""
        folder = Path(folder)
        if not (folder / "embedding.json").is_file():
            raise InputError(
                "holds no genome embedding (embedding.json)",
                file=folder,
                mend="run `tfbind embed` and `tfbind assemble` first",
            )
        about = read_json(folder / "embedding.json")
        for what, expected in (("model", checkpoint.checksum), ("genome", reference.checksum)):
            if about[what] != expected:
                raise InputError(
                    f"was made with another {what}: {about[what]}, not {expected}",
                    file=folder / "embedding.json",
                    mend="embed the genome again",
                )
        tokens = {
            chromosome["name"]: np.load(folder / f"{index}.npy", mmap_mode="r")
            for index, chromosome in enumerate(about["chromosomes"])
        }
        return cls(about, tokens)


def _core_bins(window: Window, bin: int) -> int:
    return bin_count(window.core_end - window.core_start, bin)
