"""What a frozen trunk says of training windows, kept on disk: each window runs through the trunk once.

A window is known by its bases. Each is one file, renamed when whole: a
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
from tfbind.model.inference_trunk import InferenceTrunk, Stretch, WindowByWindow
from tfbind.model.precision import DTYPES
from tfbind.model.trunk_interface import Trunk
from tfbind.training import processes

KEY = "training.fine_tuning.cache"
ABOUT = "about.json"


class TrunkCache:
    """Embeddings of windows by a trunk that does not change.

    Parameters
    ----------
    folder
        Where they are kept, below a name that follows from trunk, precision and sizes; those of another trunk are
        never read.
    trunk
        Frozen.
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
        *,
        bins: int,
        settings: EmbeddingCacheSettings,
        precision: str,
        device: torch.device,
        windows_at_once: int,
    ) -> None:
        self.trunk, self.bins = trunk, bins
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
        self._inference: InferenceTrunk | None = None
        self.left = (int(settings.gigabytes * 1e9) - _bytes_of(self.folder)) // processes.count()

    @property
    def window_bytes(self) -> int:
        """Of one window."""
        return self.bins * self.trunk.width * self.dtype.itemsize

    def of(self, codes: np.ndarray) -> Tensor:
        """Embeddings, float32 (windows, bins, width), on the device, of base codes uint8 (windows, bp)."""
        return self.completed(codes, self.read(codes))

    def of_stretches(self, codes: Tensor, stretch: Stretch) -> Tensor:
        """Embeddings of cores, as an `InferenceTrunk` gives them."""
        windows = codes.unfold(1, stretch.length, stretch.core)
        found = self.of(windows.flatten(0, 1).cpu().numpy()).unflatten(0, windows.shape[:2])
        return found[:, :, stretch.first_bin : stretch.first_bin + stretch.core_bins]

    def read(self, codes: np.ndarray) -> list[np.ndarray | None]:
        """What is kept of windows, (bins, width) each, 16 or 32 bit; None of those that are not kept."""
        return [self._read(self._path(window)) for window in codes]

    def completed(self, codes: np.ndarray, found: Sequence[np.ndarray | None]) -> Tensor:
        """As `of`, of what `read` found: the rest runs through the trunk, and is kept while there is room."""
        paths = [self._path(window) for window in codes]
        # What was read ahead may have been kept since, by the step before.
        whole = [self._read(path) if each is None else each for path, each in zip(paths, found, strict=True)]
        missing = {path: window for path, window, each in zip(paths, codes, whole, strict=True) if each is None}
        made: dict[Path, np.ndarray] = {}
        for low in range(0, len(missing), self.windows_at_once):
            some = list(missing.items())[low : low + self.windows_at_once]
            embedded = self._embed(np.stack([window for _, window in some]))
            made |= zip((path for path, _ in some), embedded, strict=True)
        for path, embedding in made.items():
            if self.left >= self.window_bytes:
                self._write(path, embedding)
                self.left -= self.window_bytes
        whole = [made[path] if each is None else each for path, each in zip(paths, whole, strict=True)]
        return torch.as_tensor(np.stack(whole)).to(self.device).float()

    def _embed(self, codes: np.ndarray) -> np.ndarray:
        """By the trunk, as it is kept: what is read back later is the same."""
        if self._inference is None:
            # In 16 bits the trunk for inference rounds elsewhere than a training step does.
            exact = self.compute == torch.float32
            self._inference = self.trunk.for_inference() if exact else WindowByWindow(self.trunk, self.compute)
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

    # Files.

    def _path(self, codes: np.ndarray) -> Path:
        digest = hashlib.sha256(np.ascontiguousarray(codes).data).hexdigest()
        # File systems are slow with very many files in a folder.
        return self.folder / digest[:2] / f"{digest[2:]}.npy"

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
    return sum(path.stat().st_size for path in folder.glob("*/[!.]*.npy"))


def _damaged(path: Path, found: str) -> InputError:
    return InputError(f"is no embedding of this trunk ({found})", file=path, mend="delete it: it is made anew")
