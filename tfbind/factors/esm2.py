"""Residue embeddings by ESM-2 (Lin et al., Science 379:1123, 2023), through fair-esm.

torch and fair-esm are imported, and weights loaded, when the first protein is embedded.
"""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version as package_version
from pathlib import Path

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import sha256_file
from tfbind.core.pieces import blend_pieces, piece_spans, token_batches
from tfbind.factors.proteins import check_sequence

_WITHOUT_WEIGHTS = "give factors.esm2.checkpoint, a local .pt file of fair-esm, or use embedder: physicochemical"


class Esm2Embedder:
    """Embeds proteins by an ESM-2 model.

    Parameters
    ----------
    model
        A fair-esm model name; its weights come from the hub (torch.hub's cache, else the network) if no
        checkpoint is given.
    checkpoint
        A local file of fair-esm, `esm2*.pt`, with `<stem>-contact-regression.pt` beside it, which fair-esm's
        loader wants.
    device
        A torch device.
    layer
        Whose output is taken, 0 (the input embedding) to the number of layers; None is the last.
    max_length
        The longest piece, in residues, that goes through the model at once; ESM-2 was trained on 1022.
    overlap
        Residues that neighbouring pieces of a longer protein share at least; there they are blended linearly.
    tokens_per_batch
        Tokens (residues, two ends a piece, padding) that go through the model at once.

    Raises
    ------
    InputError
        The checkpoint or the file beside it is missing or misnamed, or the lengths make no sense.
    """

    dtype = "float16"

    def __init__(
        self,
        model: str = "esm2_t33_650M_UR50D",
        checkpoint: str | Path | None = None,
        device: str = "cpu",
        layer: int | None = None,
        max_length: int = 1022,
        overlap: int = 256,
        tokens_per_batch: int = 4096,
    ) -> None:
        if not 0 <= overlap < max_length:
            raise InputError(
                f"overlap {overlap} does not fit max_length {max_length}",
                key="factors.esm2.overlap",
                mend="make it shorter than max_length",
            )
        self.checkpoint = _check_checkpoint(Path(checkpoint)) if checkpoint is not None else None
        self.name = self.checkpoint.stem if self.checkpoint else model
        self.device, self.layer = device, layer
        self.max_length, self.overlap, self.tokens_per_batch = max_length, overlap, tokens_per_batch

    @cached_property
    def version(self) -> str:
        """All that changes the numbers: the weights (checksum or fair-esm release), the layer, the pieces."""
        if self.checkpoint:
            weights = f"sha256:{sha256_file(self.checkpoint)}"
        else:
            weights = f"{self.name}/fair-esm-{package_version('fair-esm')}"
        layer = "last" if self.layer is None else self.layer
        return f"{weights} layer={layer} pieces={self.max_length}/{self.overlap}"

    @property
    def dim(self) -> int:
        """Numbers a residue; loads the weights."""
        return self._loaded[0].embed_dim

    def embed(self, sequences: Sequence[str]) -> list[np.ndarray]:
        """Embed proteins.

        Returns
        -------
        list of numpy.ndarray
            One (L, dim) float32 array a sequence: every residue of it, however long it is.

        Raises
        ------
        InputError
            A sequence is empty or has a letter that is no amino acid, or the weights cannot be had.
        """
        sequences = [check_sequence(sequence) for sequence in sequences]
        spans = [piece_spans(len(sequence), self.max_length, self.overlap) for sequence in sequences]
        pieces = [(i, j) for i, its in enumerate(spans) for j in range(len(its))]
        texts = [sequences[i][slice(*spans[i][j])] for i, j in pieces]
        embedded: dict[tuple[int, int], np.ndarray] = {}
        for batch in token_batches([len(text) for text in texts], self.tokens_per_batch):
            for at, values in zip(batch, self._embed_batch([texts[at] for at in batch]), strict=True):
                embedded[pieces[at]] = values
        return [
            blend_pieces([embedded[i, j] for j in range(len(its))], its, self.overlap)
            for i, its in enumerate(spans)
        ]

    @cached_property
    def _loaded(self):
        model, alphabet = _load_local(self.checkpoint) if self.checkpoint else _load_hub(self.name)
        if self.layer is not None and not 0 <= self.layer <= model.num_layers:
            raise InputError(
                f"layer {self.layer}, but {self.name} has {model.num_layers}",
                key="factors.esm2.layer",
                mend=f"give 0 to {model.num_layers}, or nothing for the last",
            )
        return _on_device(model.eval().requires_grad_(False), self.device), alphabet

    def _embed_batch(self, texts: list[str]) -> list[np.ndarray]:
        import torch

        model, alphabet = self._loaded
        layer = model.num_layers if self.layer is None else self.layer
        # ESM-2 has no letter for "I or L"; fair-esm's converter fails on it.
        _, _, tokens = alphabet.get_batch_converter()([("", text.replace("J", "X")) for text in texts])
        with torch.inference_mode():
            output = model(tokens.to(self.device), repr_layers=[layer])["representations"][layer]
        output = output.float().cpu().numpy()
        # Token 0 is the start; the end and the padding follow the residues.
        return [output[i, 1 : len(text) + 1] for i, text in enumerate(texts)]


def _check_checkpoint(path: Path) -> Path:
    key = "factors.esm2.checkpoint"
    if not path.is_file():
        raise InputError("there is no such ESM-2 checkpoint", file=path, key=key, mend="check the path")
    if not path.name.startswith("esm2") or path.suffix != ".pt":
        raise InputError(
            "fair-esm tells models by file name: an ESM-2 checkpoint is called esm2*.pt",
            file=path,
            key=key,
            mend="give the file its published name, such as esm2_t33_650M_UR50D.pt",
        )
    regression = path.with_name(f"{path.stem}-contact-regression.pt")
    if not regression.is_file():
        raise InputError(
            f"{regression.name} must stand beside the checkpoint: fair-esm loads the two together",
            file=path,
            key=key,
            mend=f"put it there as {regression}",
        )
    return path


@contextmanager
def _weights_only() -> Iterator[None]:
    """Let torch.load build nothing but tensors and the settings that fair-esm keeps beside them.

    fair-esm and torch.hub do not ask for this themselves, and a pickle from the network could run anything.
    """
    import torch

    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _load_local(checkpoint: Path):
    import esm.pretrained

    try:
        with _weights_only():
            return esm.pretrained.load_model_and_alphabet_local(str(checkpoint))
    except (
        pickle.UnpicklingError,
        OSError,
        EOFError,
        KeyError,
        AttributeError,
        RuntimeError,
        TypeError,
    ) as error:
        raise InputError(
            f"this is no whole ESM-2 checkpoint of fair-esm ({_first_line(error)})",
            file=checkpoint,
            key="factors.esm2.checkpoint",
            mend="fetch it, and its contact-regression file, again",
        ) from error


def _load_hub(name: str):
    import esm.pretrained

    known = sorted(entry for entry in vars(esm.pretrained) if entry.startswith("esm2_"))
    if name not in known:
        raise InputError(
            f"unknown ESM-2 model '{name}'", key="factors.esm2.model", mend=f"use one of {', '.join(known)}"
        )
    try:
        with _weights_only():
            return esm.pretrained.load_model_and_alphabet_hub(name)
    except Exception as error:  # fair-esm itself raises a bare Exception where the server refuses.
        raise InputError(
            f"the weights of {name} could not be fetched or loaded ({_first_line(error)})",
            key="factors.esm2.model",
            mend=_WITHOUT_WEIGHTS,
        ) from error


def _on_device(model, device: str):
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise InputError(
            f"ESM-2 cannot run on the device '{device}' ({_first_line(error)})",
            key="factors.esm2.device",
            mend="give cpu, or a device of this machine that this build of torch can use, such as cuda",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
