"""Residue embeddings by ESM-2 (Lin et al., Science 379:1123, 2023) and ESM-1b (Rives et al., PNAS
118:e2016239118, 2021), through fair-esm.

torch and fair-esm are imported, and weights loaded, when the first protein is embedded.
"""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfbind.core.devices import on_device
from tfbind.core.errors import InputError
from tfbind.core.files import sha256_file
from tfbind.core.optional import load_optional, missing_package
from tfbind.factors.pieces import PiecewiseEmbedder

if TYPE_CHECKING:
    import torch

# Layers, width and attention heads of the published ESM-2 models (Lin et al., table S1).
ESM2_SIZES = {
    "esm2_t6_8M_UR50D": (6, 320, 20),
    "esm2_t12_35M_UR50D": (12, 480, 20),
    "esm2_t30_150M_UR50D": (30, 640, 20),
    "esm2_t33_650M_UR50D": (33, 1280, 20),
    "esm2_t36_3B_UR50D": (36, 2560, 40),
    "esm2_t48_15B_UR50D": (48, 5120, 40),
}
# What training code puts before the names of ESM-2's weights.
_PREFIXES = ("module.", "model.", "esm2.", "esm.", "encoder.sentence_encoder.", "encoder.")
# Where files keep the weights, if not at the top.
_WRAPPERS = ("model", "state_dict", "model_state_dict")
# Heads come after the representations, which do not depend on them.
_HEADS = ("contact_head.", "lm_head.")
_BROKEN = (
    pickle.UnpicklingError,
    OSError,
    EOFError,
    KeyError,
    AttributeError,
    RuntimeError,
    TypeError,
    ValueError,
)


class FairEsmEmbedder(PiecewiseEmbedder):
    """Embeds proteins by a model of fair-esm; see `Esm2Embedder` and `Esm1bEmbedder`.

    Parameters
    ----------
    model
        A fair-esm model name; its weights come from the hub (torch.hub's cache, else the network) if no
        checkpoint is given.
    checkpoint
        A local file of fair-esm under its published name (fair-esm tells models by it), with
        `<stem>-contact-regression.pt` beside it, which fair-esm's loader wants.
    device
        A torch device.
    layer
        Whose output is taken, 0 (the input embedding) to the number of layers; None is the last.
    max_length, overlap, tokens_per_batch
        See `PiecewiseEmbedder`; both models were trained on 1022 residues, and ESM-1b takes no more.

    Raises
    ------
    InputError
        The checkpoint or the file beside it is missing or misnamed, or the lengths make no sense.
    """

    title: str
    """What errors call the model."""
    kind: str
    """The embedder's name in the configuration; models and checkpoints have names that begin so."""
    dtype = "float16"

    def __init__(
        self,
        model: str,
        checkpoint: str | Path | None = None,
        device: str = "cpu",
        layer: int | None = None,
        max_length: int = 1022,
        overlap: int = 256,
        tokens_per_batch: int = 4096,
    ) -> None:
        super().__init__(max_length, overlap, tokens_per_batch)
        self.checkpoint = self._checked(Path(checkpoint)) if checkpoint is not None else None
        self.name = self.checkpoint.stem if self.checkpoint else model
        self.device, self.layer = device, layer

    @property
    def section(self) -> str:
        """The configuration's section with these settings."""
        return f"factors.{self.kind}"

    @property
    def version(self) -> str:
        """All that changes the numbers: the weights (checksum or fair-esm release), the layer, the pieces."""
        layer = "last" if self.layer is None else self.layer
        return f"{self._weights} layer={layer} pieces={self.max_length}/{self.overlap}"

    @property
    def dim(self) -> int:
        """Numbers a residue; loads the weights."""
        model, _ = self._loaded
        return model.embed_tokens.embedding_dim

    @cached_property
    def _weights(self) -> str:
        if self.checkpoint:
            return f"sha256:{sha256_file(self.checkpoint)}"
        try:
            return f"{self.name}/fair-esm-{package_version('fair-esm')}"
        except PackageNotFoundError as error:
            raise missing_package("fair-esm", self.section, error) from error

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, Any]:
        import torch

        model, alphabet = self._load()
        layers = len(model.layers)
        if self.layer is not None and not 0 <= self.layer <= layers:
            raise InputError(
                f"layer {self.layer}, but {self.name} has {layers}",
                key=f"{self.section}.layer",
                mend=f"give 0 to {layers}, or nothing for the last",
            )
        positions = getattr(getattr(model, "embed_positions", None), "max_positions", None)
        ends = alphabet.prepend_bos + alphabet.append_eos
        if isinstance(positions, int) and self.max_length + ends > positions:
            raise InputError(
                f"pieces of {self.max_length} residues, but {self.name} takes {positions - ends}",
                key=f"{self.section}.max_length",
                mend=f"give at most {positions - ends}",
            )
        model = model.eval().requires_grad_(False)
        # What predicts residues comes after the representations.
        model.lm_head = torch.nn.Identity()
        return on_device(model, self.device, self.title), alphabet

    def _load(self) -> tuple[torch.nn.Module, Any]:
        return self._load_local(self.checkpoint) if self.checkpoint else self._load_hub()

    def _embed_batch(self, texts: list[str]) -> list[np.ndarray]:
        import torch

        model, alphabet = self._loaded
        layer = len(model.layers) if self.layer is None else self.layer
        # fair-esm has no letter for "I or L"; its converter fails on it.
        _, _, tokens = alphabet.get_batch_converter()([("", text.replace("J", "X")) for text in texts])
        with torch.inference_mode():
            found = self._run(model, tokens.to(self.device), layer)
        # The end, where the alphabet has one, and the padding follow the residues.
        first = int(alphabet.prepend_bos)
        return [
            output[first : first + len(text)].float().cpu().numpy()
            for output, text in zip(found, texts, strict=True)
        ]

    def _run(self, model: torch.nn.Module, tokens: torch.Tensor, layer: int) -> Iterable[torch.Tensor]:
        """A layer's output, (tokens, width) a piece, of padded tokens (pieces, tokens)."""
        return model(tokens, repr_layers=[layer])["representations"][layer]

    def _checked(self, path: Path) -> Path:
        key = f"{self.section}.checkpoint"
        if not path.is_file():
            raise InputError(
                f"there is no such {self.title} checkpoint", file=path, key=key, mend="check the path"
            )
        if not path.name.startswith(self.kind) or path.suffix != ".pt":
            raise InputError(
                f"fair-esm tells models by file name: an {self.title} checkpoint is called {self.kind}*.pt",
                file=path,
                key=key,
                mend="give the file its published name, such as esm2_t33_650M_UR50D.pt or "
                "esm1b_t33_650M_UR50S.pt",
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

    def _load_local(self, checkpoint: Path) -> tuple[torch.nn.Module, Any]:
        pretrained = self._fair_esm()
        try:
            with _weights_only():
                return pretrained.load_model_and_alphabet_local(str(checkpoint))
        except _BROKEN as error:
            raise InputError(
                f"this is no whole {self.title} checkpoint of fair-esm ({_first_line(error)})",
                file=checkpoint,
                key=f"{self.section}.checkpoint",
                mend="fetch it, and its contact-regression file, again",
            ) from error

    def _load_hub(self) -> tuple[torch.nn.Module, Any]:
        pretrained = self._fair_esm()
        known = sorted(entry for entry in vars(pretrained) if entry.startswith(f"{self.kind}_"))
        if self.name not in known:
            raise InputError(
                f"unknown {self.title} model '{self.name}'",
                key=f"{self.section}.model",
                mend=f"use one of {', '.join(known)}",
            )
        try:
            with _weights_only():
                return pretrained.load_model_and_alphabet_hub(self.name)
        except Exception as error:  # fair-esm itself raises a bare Exception where the server refuses.
            raise InputError(
                f"the weights of {self.name} could not be fetched or loaded ({_first_line(error)})",
                key=f"{self.section}.model",
                mend=f"give {self.section}.checkpoint, a local .pt file of fair-esm, "
                "or use embedder: physicochemical",
            ) from error

    def _fair_esm(self) -> Any:
        return load_optional("esm.pretrained", package="fair-esm", key=self.section)


class Esm1bEmbedder(FairEsmEmbedder):
    """Embeds proteins by ESM-1b; see `FairEsmEmbedder`."""

    title, kind = "ESM-1b", "esm1b"

    def __init__(self, model: str = "esm1b_t33_650M_UR50S", checkpoint: str | Path | None = None, **others: Any):
        super().__init__(model, checkpoint, **others)


class Esm2Embedder(FairEsmEmbedder):
    """Embeds proteins by an ESM-2 model, of any size, as published or fine-tuned; see `FairEsmEmbedder`.

    Parameters
    ----------
    finetuned
        Weights to lay over the model, such as ESM-DBP's (Zeng et al., Nat. Commun. 15:7838, 2024): what
        `torch.save(model.state_dict())` wrote, also below `model` or `state_dict`, also with prefixes such as
        `module.`. They must be all of the model's but its heads', which representations do not depend on. Of
        a published size, named by `model`, only the architecture is taken then, and nothing is fetched.

    Raises
    ------
    InputError
        As `FairEsmEmbedder`; also no such file.
    """

    title, kind = "ESM-2", "esm2"

    def __init__(
        self,
        model: str = "esm2_t33_650M_UR50D",
        checkpoint: str | Path | None = None,
        finetuned: str | Path | None = None,
        **others: Any,
    ):
        super().__init__(model, checkpoint, **others)
        self.finetuned = Path(finetuned) if finetuned is not None else None
        if self.finetuned is not None:
            if not self.finetuned.is_file():
                raise InputError(
                    "there are no such fine-tuned weights",
                    file=self.finetuned,
                    key="factors.esm2.finetuned",
                    mend="check the path",
                )
            self.name = f"{self.name}+{self.finetuned.stem}"
        self._model = model

    @cached_property
    def _weights(self) -> str:
        if self.finetuned is None:
            return super()._weights
        # All weights that matter come from this one file; of the model below, its shape alone.
        return f"finetuned-sha256:{sha256_file(self.finetuned)}"

    def _load(self) -> tuple[torch.nn.Module, Any]:
        if self.finetuned is None:
            return super()._load()
        model, alphabet = self._load_local(self.checkpoint) if self.checkpoint else self._new()
        lay_over(model, self.finetuned, key="factors.esm2.finetuned")
        return model, alphabet

    def _run(self, model: torch.nn.Module, tokens: torch.Tensor, layer: int) -> Iterable[torch.Tensor]:
        from tfbind.factors.packed_esm2 import packed_representations

        return packed_representations(model, [row[row != model.padding_idx] for row in tokens], layer)

    def _new(self) -> tuple[torch.nn.Module, Any]:
        """A model of a published size, whose weights are still to come."""
        if self._model not in ESM2_SIZES:
            raise InputError(
                f"unknown ESM-2 model '{self._model}'",
                key="factors.esm2.model",
                mend=f"use one of {', '.join(ESM2_SIZES)}, or give factors.esm2.checkpoint",
            )
        esm2 = load_optional("esm.model.esm2", package="fair-esm", key=self.section)
        layers, width, heads = ESM2_SIZES[self._model]
        model = esm2.ESM2(num_layers=layers, embed_dim=width, attention_heads=heads)
        return model, model.alphabet


def lay_over(model: torch.nn.Module, path: Path, *, key: str) -> None:
    """Give an ESM-2 model the weights of a plain state dict.

    Raises
    ------
    InputError
        No state dict; names that the model does not have, or of other shapes, or that are missing beyond the
        heads'; each error names them.
    """
    given = _plain_names(_state_dict(path, key), model.state_dict())
    own = model.state_dict()
    # Buffers follow from the architecture; some versions of fair-esm store them, some do not.
    needed = {name for name, _ in model.named_parameters() if not name.startswith(_HEADS)}
    problems = {
        "not in the model": sorted(given.keys() - own.keys()),
        "missing": sorted(needed - given.keys()),
        "of another shape": sorted(
            name for name in given.keys() & own.keys() if given[name].shape != own[name].shape
        ),
    }
    wrong = [f"{what}: {_some(names)}" for what, names in problems.items() if names]
    if wrong:
        raise InputError(
            f"the weights do not fit the model ({'; '.join(wrong)})",
            file=path,
            key=key,
            mend="give weights of an ESM-2, and as `model` or `checkpoint` the one that they were tuned from",
        )
    model.load_state_dict(given, strict=False)


def _state_dict(path: Path, key: str) -> Mapping[str, torch.Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        raise InputError(
            f"this is no file of plain weights ({_first_line(error)})",
            file=path,
            key=key,
            mend="write it by torch.save(model.state_dict(), PATH), or fetch it again",
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not (
        isinstance(content, Mapping)
        and content
        and all(isinstance(value, torch.Tensor) for value in content.values())
    ):
        raise InputError(
            "this is no state dict: not only tensors by name",
            file=path,
            key=key,
            mend="write it by torch.save(model.state_dict(), PATH)",
        )
    return content


def _plain_names(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The weights under the model's own names, where taking off a known prefix leads there."""
    named: dict[str, Any] = {}
    for name, value in given.items():
        plain = name
        while plain not in own and (prefix := next((p for p in _PREFIXES if plain.startswith(p)), None)):
            plain = plain[len(prefix) :]
        # A name that leads nowhere is told as it stands in the file.
        named[plain if plain in own and plain not in named else name] = value
    return named


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
