"""What a frozen trunk says of training windows, kept on disk: each window runs through the trunk once.

A window is known by where it starts and on which strand it is read. Each is one file, renamed when whole: a
training that was killed goes on from those that are there, and several processes or trainings may share a folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import tfbind
from tfbind.config import EmbeddingCacheSettings
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path, read_json, sha256_json, write_json
from tfbind.model.data import GenomeData, reverse_complement
from tfbind.model.inference_trunk import InferenceTrunk, Stretch
from tfbind.model.precision import DTYPES
from tfbind.model.trunk_interface import Trunk
from tfbind.training import processes

KEY = "training.fine_tuning.cache"
ABOUT = "about.json"
# Windows of one folder: file systems are slow with very many.
STARTS_PER_FOLDER = 4096

Place = tuple[str, int, bool]
"""Chromosome, first bin, and whether the other strand is read: one window."""


class TrunkCache:
    """Embeddings of windows by a trunk that does not change.

    Parameters
    ----------
    folder
        Where they are kept, below a name that follows from trunk, precision and sizes; those of another trunk are
        never read.
    trunk
        Frozen.
    data
        The genome.
    bins
        Of a window.
    precision
        Arithmetic of the trunk.
    windows_at_once
        Windows through the trunk at once.

    Raises
    ------
    InputError
        The folder holds what another trunk made.
    """

    def __init__(
        self,
        folder: Path,
        trunk: Trunk,
        data: GenomeData,
        *,
        bins: int,
        settings: EmbeddingCacheSettings,
        precision: str,
        device: torch.device,
        windows_at_once: int,
    ) -> None:
        self.trunk, self.data, self.bins = trunk, data, bins
        self.dtype = np.dtype(np.float16 if settings.precision == "fp16" else np.float32)
        self.compute, self.device, self.windows_at_once = DTYPES[precision], device, windows_at_once
        identity = {
            "tfbind": tfbind.__version__,
            "trunk": trunk.settings.model_dump(mode="json"),
            "weights": weights_sha256(trunk),
            "bins": bins,
            "bin": trunk.bin,
            "computed": precision,
            "stored": self.dtype.name,
        }
        self.folder = folder / sha256_json(identity)[:16]
        _require_own(self.folder / ABOUT, identity)
        self._chromosomes: dict[str, str] = {}
        self._inference: InferenceTrunk | None = None
        self.left = (int(settings.gigabytes * 1e9) - _bytes_of(self.folder)) // processes.count()

    @property
    def window_bytes(self) -> int:
        """Of one window."""
        return self.bins * self.trunk.width * self.dtype.itemsize

    def of(self, places: Sequence[Place]) -> Tensor:
        """Embeddings, float32 (windows, bins, width), on the device."""
        return self.completed(places, self.read(places))

    def read(self, places: Sequence[Place]) -> list[np.ndarray | None]:
        """What is kept of windows, (bins, width) each, 16 or 32 bit; None of those that are not kept."""
        return [self._read(self._path(place)) for place in places]

    def completed(self, places: Sequence[Place], found: Sequence[np.ndarray | None]) -> Tensor:
        """As `of`, of what `read` found: the rest runs through the trunk, and is kept while there is room."""
        # What was read ahead may have been kept since, by the step before.
        found = [
            self._read(self._path(place)) if each is None else each
            for place, each in zip(places, found, strict=True)
        ]
        missing = list(dict.fromkeys(place for place, each in zip(places, found, strict=True) if each is None))
        made: dict[Place, np.ndarray] = {}
        for low in range(0, len(missing), self.windows_at_once):
            some = missing[low : low + self.windows_at_once]
            made |= zip(some, self._embed(some), strict=True)
        for place, embedding in made.items():
            if self.left >= self.window_bytes:
                self._write(self._path(place), embedding)
                self.left -= self.window_bytes
        whole = [made[place] if each is None else each for place, each in zip(places, found, strict=True)]
        return torch.as_tensor(np.stack(whole)).to(self.device).float()

    def _embed(self, places: Sequence[Place]) -> np.ndarray:
        """By the trunk, as they are kept: what is read back later is the same."""
        codes = np.stack([self._codes(place) for place in places])
        if self._inference is None:
            self._inference = self.trunk.for_inference(self.compute)
        length = self.bins * self.trunk.bin
        stretch = Stretch(1, length, length, self.trunk.bin)
        embedding = self._inference(torch.as_tensor(codes).to(self.device), stretch)[:, 0].cpu().numpy()
        with np.errstate(over="ignore"):  # told here
            kept = embedding.astype(self.dtype)
        if not np.isfinite(kept).all():
            raise InputError(
                f"the trunk gave numbers not finite in {self.dtype}",
                key=f"{KEY}.precision",
                mend="set it to fp32" if np.isfinite(embedding).all() else "use another trunk",
            )
        return kept

    def _codes(self, place: Place) -> np.ndarray:
        chrom, first, flipped = place
        codes = self.data.window_codes(chrom, first, self.bins)
        return reverse_complement(codes) if flipped else codes

    # Files.

    def _path(self, place: Place) -> Path:
        chrom, first, flipped = place
        if chrom not in self._chromosomes:
            # By what the chromosome is, whatever it is called.
            digest = hashlib.sha256(np.ascontiguousarray(self.data.codes[chrom]).data)
            self._chromosomes[chrom] = digest.hexdigest()[:16]
        strand = "minus" if flipped else "plus"
        return self.folder / self._chromosomes[chrom] / f"{first // STARTS_PER_FOLDER}" / f"{first}.{strand}.npy"

    def _read(self, path: Path) -> np.ndarray | None:
        try:
            found = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError) as error:
            raise _damaged(path, str(error)) from error
        if found.shape != (self.bins, self.trunk.width) or found.dtype != self.dtype:
            raise _damaged(path, f"{found.dtype} {found.shape}")
        return found

    @staticmethod
    def _write(path: Path, embedding: np.ndarray) -> None:
        with atomic_path(path) as temporary:
            np.save(temporary, embedding)


def weights_sha256(module: torch.nn.Module) -> str:
    """SHA-256 of weights and running statistics, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _require_own(path: Path, identity: dict[str, object]) -> None:
    if path.is_file() and read_json(path) != identity:
        raise InputError(
            "these embeddings were made by another trunk", file=path.parent, mend="delete this folder"
        )
    write_json(path, identity)


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*/[!.]*.npy"))


def _damaged(path: Path, found: str) -> InputError:
    return InputError(f"is no embedding of this trunk ({found})", file=path, mend="delete it: it is made anew")
