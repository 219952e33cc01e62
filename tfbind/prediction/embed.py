"""The genome embedding: DNA tokens of a whole genome, made in shards, stored once in 16 bits."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.config import WindowSettings
from tfbind.core.errors import InputError
from tfbind.core.files import (
    RowWriter,
    atomic_dir,
    atomic_path,
    new_rows,
    read_json,
    rows_of,
    sha256_bytes,
    sha256_json,
    write_json,
)
from tfbind.core.progress import Progress, told
from tfbind.core.threads import Behind
from tfbind.genome.intervals import bin_count
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region
from tfbind.genome.windows import WindowStretch, shard, stretches_near, tile
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.embedding import embed_stretches, tokens_in_place
from tfbind.model.inference import bins_around

FORMAT = 1
# Stretches that may wait for the disk while the model goes on.
WRITE_BEHIND = 4
# Rows that are written at a time where nothing was embedded.
ZEROS_AT_ONCE = 2**14
EMBED_AGAIN = "embed this shard again"
ALL_AGAIN = "embed the genome again: `tfbind embed`, then `tfbind assemble`"


def reach_of(checkpoint: Checkpoint) -> int:
    """Bins on either side of a bin that a model's, or an ensemble's, prediction may depend on, at most."""
    return max(bins_around(each.model) for each in checkpoint.members or (checkpoint,))


def shard_stretches(reference: Reference, windows: WindowSettings, count: int) -> list[list[WindowStretch]]:
    """The stretches of each shard: consecutive ones, of about equally many windows."""
    return shard(_tiled(reference, windows), count)


def embed_shard(
    checkpoint: Checkpoint,
    reference: Reference,
    stretches: Sequence[WindowStretch],
    output: str | Path,
    *,
    batch_size: int | None = None,
    precision: str,
) -> None:
    """Run the trunk over the stretches of a shard: float16 (bins, rank), one core after the other, as .npy.

    One thread reads ahead of the model, another one writes behind it, and memory does not grow with the shard.
    `<output>.json` beside it says what it was made of, so that `assemble` can refuse what does not belong.

    Parameters
    ----------
    batch_size
        See `embed_stretches`.

    Raises
    ------
    InputError
        If the model gives values that are not finite, or there is not enough memory for one stretch.
    """
    model = checkpoint.model
    bins = sum(_core_bins(stretch, model.bin) for stretch in stretches)
    bases = sum(map(_core_length, stretches))
    with atomic_path(output) as temporary:
        with (
            new_rows(temporary, np.float16, (bins, model.rank)) as tokens,
            Progress("embedding the genome", bases, unit="bp") as progress,
            Behind(WRITE_BEHIND) as writing,
        ):
            embedded = embed_stretches(
                model, reference.fetch, stretches, batch_size=batch_size, precision=precision
            )
            with closing(embedded):
                for stretch, found in embedded:
                    writing.do(_write, tokens, stretch, found, model.bin)
                    progress.advance(_core_length(stretch))
        about = _shard_identity(checkpoint, reference, stretches)
        # First: an array under its final name has its description.
        write_json(_about_path(output), {**about, "precision": precision, "sha256": tokens.sha256})


def _write(tokens: RowWriter, stretch: WindowStretch, found: np.ndarray, bin: int) -> None:
    finite = np.isfinite(found)
    if not finite.all():
        start = stretch.core_start + int(finite.all(1).argmin()) * bin
        raise InputError(
            f"the model gives values that are not finite, or too large for 16 bits, at "
            f"{stretch.chrom}:{start}-{start + bin}",
            mend="train the model again, with a lower training.learning_rate",
        )
    tokens.write(found)


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
    plan = shard_stretches(reference, windows, len(shards))
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
    for part, path in zip(plan, shards, strict=True):
        bins = sum(_core_bins(stretch, model.bin) for stretch in part)
        _load_tokens(path, (bins, model.rank), EMBED_AGAIN)
    for path, precision in zip(shards, precisions, strict=True):
        if precision != precisions[0]:
            raise InputError(
                f"was embedded in {precision}, {shards[0]} in {precisions[0]}",
                file=path,
                key="prediction.precision",
                mend="embed all shards with one precision",
            )
    total = sum(map(_core_length, itertools.chain.from_iterable(plan)))
    rows = told(_rows_of_shards(plan, shards, model.bin), "assembling", total, unit="bp", amount=_row_length)
    following = next(rows, None)
    with atomic_dir(output) as folder:
        chromosomes = []
        for index, (chrom, size) in enumerate(reference.sizes.items()):
            bins = bin_count(size, model.bin)
            with new_rows(folder / f"{index}.npy", np.float16, (bins, model.rank)) as tokens:
                while following is not None and following[0].chrom == chrom:
                    _write_zeros(tokens, following[0].core_start // model.bin)
                    tokens.write(following[1])
                    following = next(rows, None)
                _write_zeros(tokens, bins)
            chromosomes.append({"name": chrom, "bins": bins, "sha256": tokens.sha256})
        write_json(
            folder / "embedding.json",
            {
                "format": FORMAT,
                "model": checkpoint.checksum,
                "genome": reference.checksum,
                "bin": model.bin,
                "rank": model.rank,
                "window": {"length": windows.length, "core": windows.core},
                "precision": precisions[0],
                "dtype": "float16",
                "chromosomes": chromosomes,
            },
        )


def _rows_of_shards(
    plan: Sequence[Sequence[WindowStretch]], shards: Sequence[Path], bin: int
) -> Iterator[tuple[WindowStretch, np.ndarray]]:
    """Each stretch with its tokens; an InputError at the end of a shard whose checksum differs."""
    for stretches, path in zip(plan, shards, strict=True):
        digest = hashlib.sha256()
        for stretch, found in zip(
            stretches, rows_of(path, [_core_bins(each, bin) for each in stretches]), strict=True
        ):
            digest.update(found)
            yield stretch, found
        expected = read_json(_about_path(path))["sha256"]
        if digest.hexdigest() != expected:
            raise _checksum_differs(path, expected, digest.hexdigest(), EMBED_AGAIN)


def _core_length(stretch: WindowStretch) -> int:
    """bp whose embeddings are kept."""
    return stretch.core_end - stretch.core_start


def _row_length(row: tuple[WindowStretch, np.ndarray]) -> int:
    return _core_length(row[0])


def _write_zeros(tokens: RowWriter, end: int) -> None:
    """Of bins that no stretch holds, up to bin `end`."""
    while tokens.rows < end:
        count = min(end - tokens.rows, ZEROS_AT_ONCE)
        tokens.write(np.zeros((count, *tokens.shape[1:]), tokens.dtype))


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
        _require_made_with(folder / "embedding.json", about, _identity(checkpoint, reference), ALL_AGAIN)
        tokens = {
            each["name"]: _load_tokens(folder / f"{index}.npy", (each["bins"], about["rank"]), ALL_AGAIN)
            for index, each in enumerate(about["chromosomes"])
        }
        return cls(about, tokens)

    @classmethod
    def of_regions(
        cls,
        checkpoint: Checkpoint,
        reference: Reference,
        windows: WindowSettings,
        regions: Sequence[Region],
        *,
        batch_size: int | None = None,
        precision: str,
    ) -> GenomeEmbedding:
        """Embed regions, and what is around them, alone, in memory; elsewhere tokens are 0."""
        stretches = stretches_near(_tiled(reference, windows), regions, reach_of(checkpoint) * windows.bin)
        embedded = embed_stretches(
            checkpoint.model, reference.fetch, stretches, batch_size=batch_size, precision=precision
        )
        total = sum(map(_core_length, stretches))
        found = told(embedded, "embedding regions", total, unit="bp", amount=_row_length)
        tokens = tokens_in_place(found, reference.sizes, windows.bin)
        # A region of nothing but N has no window.
        for region in regions:
            if region.chrom not in tokens:
                shape = (bin_count(reference.sizes[region.chrom], windows.bin), checkpoint.model.rank)
                tokens[region.chrom] = np.zeros(shape, dtype=np.float16)
        return cls({"genome": reference.checksum}, tokens)

    def check(self, folder: str | Path) -> None:
        """Read all of it, where it was opened, and compare with its checksums; `open` looks at shapes alone.

        Raises
        ------
        InputError
            If a chromosome's checksum differs.
        """
        for index, chromosome in enumerate(self.about["chromosomes"]):
            found = sha256_bytes(self.tokens[chromosome["name"]].data)
            if found != chromosome["sha256"]:
                raise _checksum_differs(Path(folder) / f"{index}.npy", chromosome["sha256"], found, ALL_AGAIN)


def _identity(checkpoint: Checkpoint, reference: Reference) -> dict[str, Any]:
    return {"format": FORMAT, "model": checkpoint.checksum, "genome": reference.checksum}


def _shard_identity(
    checkpoint: Checkpoint, reference: Reference, stretches: Sequence[WindowStretch]
) -> dict[str, Any]:
    """What a shard must say of itself to be taken for the embedding of these stretches."""
    first, last = stretches[0], stretches[-1]
    return {
        **_identity(checkpoint, reference),
        "from": f"{first.chrom}:{first.core_start}",
        "to": f"{last.chrom}:{last.core_end}",
        "windows": sha256_json([[s.chrom, s.core_start, s.core_end, s.length, s.core] for s in stretches]),
    }


def _about_path(shard: str | Path) -> Path:
    return Path(shard).with_name(f"{Path(shard).name}.json")


def _check_shard(path: str | Path, index: int, count: int, expected: Mapping[str, Any]) -> str:
    """The precision of a shard; an InputError if it is not what is expected in this place, or not whole."""
    path = Path(path)
    for each in (path, _about_path(path)):
        if not each.is_file():
            raise InputError(
                "there is no such shard", file=each, mend=f"run `tfbind embed --shard {index}` first"
            )
    about = read_json(_about_path(path))
    _require_made_with(path, about, {key: expected[key] for key in ("format", "model", "genome")}, EMBED_AGAIN)
    if about["windows"] != expected["windows"]:
        raise InputError(
            f"holds {about['from']} to {about['to']}; as shard {index} of {count} it should hold "
            f"{expected['from']} to {expected['to']}, in the windows of the configuration",
            file=path,
            key="prediction.shards",
            mend=f"give all shards, in order (0 to {count - 1} if there are {count}), embedded with this "
            "configuration's prediction.shards and windows",
        )
    return about["precision"]


def _checksum_differs(path: Path, expected: str, found: str, mend: str) -> InputError:
    return InputError(f"checksum differs: expected {expected}, got {found}", file=path, mend=mend)


def _require_made_with(path: Path, about: Mapping[str, Any], expected: Mapping[str, Any], mend: str) -> None:
    for what, wanted in expected.items():
        if about.get(what) != wanted:
            raise InputError(
                f"was made with another {what}: {about.get(what)}, not {wanted}", file=path, mend=mend
            )


def _load_tokens(path: Path, shape: tuple[int, int], mend: str) -> np.ndarray:
    try:
        tokens = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot be read ({error})", file=path, mend=mend) from error
    if tokens.shape != shape or tokens.dtype != np.float16:
        raise InputError(f"holds {tokens.dtype} {tokens.shape}, expected float16 {shape}", file=path, mend=mend)
    return tokens


def _core_bins(stretch: WindowStretch, bin: int) -> int:
    return bin_count(stretch.core_end - stretch.core_start, bin)


def _tiled(reference: Reference, windows: WindowSettings) -> list[WindowStretch]:
    return tile(
        reference.sizes, length=windows.length, core=windows.core, bin=windows.bin, n_runs=reference.n_runs
    )
