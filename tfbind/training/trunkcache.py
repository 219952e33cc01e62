"""What a frozen trunk says of training windows, kept on disk: each window runs through the trunk once.

A window is known by its bases. Each is one file, renamed when whole: a killed training goes on from those
that are there, and several processes or trainings may share a folder.
"""

from __future__ import annotations

import errno
import hashlib
import sys
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
from tfbind.model.precision import DTYPES, precision_on
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
        The folder holds what another trunk made, or cannot be a folder.
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
        # Not that which was asked for: machines of several kinds may share the folder.
        self._precision = precision_on(device, precision)
        self.compute, self.device, self.windows_at_once = DTYPES[self._precision], device, windows_at_once
        self._above, self._most = folder, int(settings.gigabytes * 1e9)
        self.open()

    def open(self) -> None:
        """Find the trunk's folder, by its weights; again where other weights were loaded into it."""
        identity = {
            "tfbind": tfbind.__version__,
            "trunk": self.trunk.settings.model_dump(mode="json"),
            "weights": weights_sha256(self.trunk),
            "bins": self.bins,
            "bin": self.trunk.bin,
            "computed": self._precision,
            "stored": self.dtype.name,
        }
        self.folder = self._above / sha256_json(identity)[:16]
        _require_own(self.folder, identity)
        self._inference: InferenceTrunk | None = None
        self.left = (self._most - _bytes_of(self.folder)) // processes.count()

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
                self._keep(path, embedding)
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
            told = f"the trunk gave numbers not finite in {self.dtype}"
            if np.isfinite(embedding).all():
                raise InputError(told, key=f"{KEY}.precision", mend="set it to fp32")
            raise InputError(told, key="model.trunk", mend="use another trunk")
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

    def _keep(self, path: Path, embedding: np.ndarray) -> None:
        try:
            with atomic_path(path) as temporary:
                np.save(temporary, embedding)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # Training needs no more of them: the trunk runs instead.
            self.left = 0
            print(f"{self.folder}: the disk is full; no more embeddings are kept", file=sys.stderr, flush=True)
        else:
            self.left -= self.window_bytes


def weights_sha256(module: torch.nn.Module) -> str:
    """SHA-256 of weights and running statistics, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _require_own(folder: Path, identity: dict[str, object]) -> None:
    """Make a folder that says whose embeddings it holds, or see that it says so."""
    path, key = folder / ABOUT, f"{KEY}.folder"
    try:
        if not path.exists():
            write_json(path, identity)
        found = read_json(path)
    except (FileExistsError, NotADirectoryError) as error:
        mend = "give a folder, or a path where one can be made"
        raise InputError(
            f"no folder can be made there ({error.strerror})", file=folder, key=key, mend=mend
        ) from error
    except ValueError as error:
        told = f"{ABOUT} does not say which trunk made these embeddings ({error})"
        raise InputError(told, file=folder, key=key, mend="delete this folder") from error
    if found != identity:
        told = "these embeddings were made by another trunk"
        raise InputError(told, file=folder, key=key, mend="delete this folder")


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/[!.]*.npy"))


def _damaged(path: Path, found: str) -> InputError:
    return InputError(f"is no embedding of this trunk ({found})", file=path, mend="delete it: it is made anew")
