"""Residue embeddings by any protein encoder of Hugging Face transformers: ProtT5, ProtBert, ESM, Ankh and such.

transformers and torch are imported, and weights loaded, when the first protein is embedded.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.devices import on_device
from tfbind.core.errors import InputError
from tfbind.core.files import sha256_file, sha256_json
from tfbind.core.pretrained import from_pretrained, model_files
from tfbind.factors.pieces import PiecewiseEmbedder
from tfbind.factors.proteins import STANDARD_AMINO_ACIDS

# What these models were trained on (ProtTrans' own rule); J, "I or L", is in no vocabulary.
_RARE = str.maketrans("UZOBJ", "XXXXX")
_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
# Their positions begin after that of the padding.
_OFFSET_POSITIONS = ("esm", "roberta", "xlm-roberta", "camembert")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Weights that residue vectors do not depend on.
_UNUSED = ("pooler.", "contact_head.", "lm_head.")
_KEY = "factors.huggingface"


class HuggingFaceEmbedder(PiecewiseEmbedder):
    """Embeds proteins by the encoder of a Hugging Face model.

    Residues are written with spaces between them where the tokenizer wants them so (ProtT5, ProtBert); U, Z, O,
    B and J are read as X; the vectors of special tokens (`[CLS]`, `</s>`, padding) are dropped.

    Parameters
    ----------
    model
        A name on the hub, such as `Rostlab/prot_t5_xl_half_uniref50-enc`.
    revision
        Branch, tag or commit there. Embeddings are kept under the commit that it stands for.
    folder
        A local folder, as `save_pretrained` writes model and tokenizer, in place of the hub.
    layer
        Whose hidden state is taken, 0 (the input embedding) to the number of layers; None is the encoder's
        output.
    device
        A torch device.
    max_length, overlap, tokens_per_batch
        See `PiecewiseEmbedder`.

    Raises
    ------
    InputError
        The folder is not there, or the lengths make no sense.
    """

    section = _KEY
    dtype = "float16"

    def __init__(
        self,
        model: str = "Rostlab/prot_t5_xl_half_uniref50-enc",
        revision: str = "main",
        folder: str | Path | None = None,
        layer: int | None = None,
        device: str = "cpu",
        max_length: int = 1022,
        overlap: int = 256,
        tokens_per_batch: int = 4096,
    ) -> None:
        super().__init__(max_length, overlap, tokens_per_batch)
        self.folder = Path(folder) if folder is not None else None
        if self.folder is not None and not (self.folder / "config.json").is_file():
            raise InputError(
                "there is no model of transformers: it has no config.json",
                file=self.folder,
                key=f"{_KEY}.folder",
                mend="give a folder that `save_pretrained` wrote model and tokenizer into",
            )
        self.name = model if self.folder is None else self.folder.name
        self.revision, self.layer, self.device = revision, layer, device

    @cached_property
    def version(self) -> str:
        """All that changes the numbers: the weights (commit, or the folder's checksum), the layer, the pieces."""
        layer = "last" if self.layer is None else self.layer
        return f"{self._weights} layer={layer} pieces={self.max_length}/{self.overlap}"

    @cached_property
    def dim(self) -> int:
        """Numbers a residue."""
        return self._config.hidden_size

    @property
    def _weights(self) -> str:
        if self.folder is not None:
            return f"sha256:{sha256_json({path.name: sha256_file(path) for path in model_files(self.folder)})}"
        return f"commit:{self._commit}"

    @cached_property
    def _commit(self) -> str:
        if _COMMIT.fullmatch(self.revision):
            return self.revision
        commit = getattr(self._config, "_commit_hash", None)
        if commit is None:
            raise InputError(
                f"which commit '{self.revision}' of {self.name} is cannot be found out",
                key=f"{_KEY}.revision",
                mend="give the commit itself: 40 hexadecimal digits",
            )
        return commit

    @cached_property
    def _config(self) -> Any:
        return self._pretrained("AutoConfig")

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Model and tokenizer."""
        settings = self._config
        layers = settings.num_hidden_layers
        if self.layer is not None and not 0 <= self.layer <= layers:
            raise InputError(
                f"layer {self.layer}, but {self.name} has {layers}",
                key=f"{_KEY}.layer",
                mend=f"give 0 to {layers}, or nothing for the encoder's output",
            )
        # Models of proteins know capital letters only.
        tokenizer = self._pretrained("AutoTokenizer", use_fast=False, do_lower_case=False)
        if tokenizer.pad_token_id is None:
            raise self._unfit("its tokenizer has no padding token")
        kind = _ENCODERS.get(settings.model_type, "AutoModel")
        if kind == "AutoModel" and settings.is_encoder_decoder:
            raise self._unfit(f"models of the type {settings.model_type} are not read")
        self._check_positions(settings, tokenizer)
        model, told = self._pretrained(kind, output_loading_info=True)
        # transformers would draw what a file lacks at random, and say so in its log.
        absent = [name for name in told["missing_keys"] if not name.startswith(_UNUSED)]
        if absent or told["mismatched_keys"]:
            some = ", ".join(map(str, [*absent, *told["mismatched_keys"]][:5]))
            raise self._unfit(f"its files lack weights of the encoder ({some})")
        model = model.eval().requires_grad_(False).float()
        return on_device(model, self.device, self.name), tokenizer

    @cached_property
    def _between(self) -> str:
        """What stands between residues, so that each of them becomes one token."""
        _, tokenizer = self._loaded
        for between in (" ", ""):
            tokens = tokenizer(between.join(STANDARD_AMINO_ACIDS), add_special_tokens=False)["input_ids"]
            if len(tokens) == len(STANDARD_AMINO_ACIDS) and tokenizer.unk_token_id not in tokens:
                return between
        raise self._unfit("its tokenizer does not make one token of each residue")

    def _embed_batch(self, texts: list[str]) -> list[np.ndarray]:
        import torch

        model, tokenizer = self._loaded
        texts = [self._between.join(text.translate(_RARE)) for text in texts]
        tokens = tokenizer(texts, padding=True, return_special_tokens_mask=True, return_tensors="pt")
        special = tokens.pop("special_tokens_mask").bool() | ~tokens["attention_mask"].bool()
        given = {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            output = model(**given, output_hidden_states=self.layer is not None)
        values = output.last_hidden_state if self.layer is None else output.hidden_states[self.layer]
        values = values.float().cpu()
        found = [values[i][~special[i]].numpy() for i in range(len(texts))]
        for text, each in zip(texts, found, strict=True):
            residues = len(text.replace(" ", ""))
            if len(each) != residues:
                raise self._unfit(f"it gave {len(each)} vectors for {residues} residues")
        return found

    def _check_positions(self, settings: Any, tokenizer: Any) -> None:
        positions = getattr(settings, "max_position_embeddings", None)
        if positions is None or getattr(settings, "position_embedding_type", "absolute") != "absolute":
            return
        offset = tokenizer.pad_token_id + 1 if settings.model_type in _OFFSET_POSITIONS else 0
        limit = positions - offset - tokenizer.num_special_tokens_to_add()
        if self.max_length > limit:
            raise InputError(
                f"pieces of {self.max_length} residues, but {self.name} takes {limit}",
                key=f"{_KEY}.max_length",
                mend=f"give at most {limit}",
            )

    def _pretrained(self, kind: str, **settings: Any) -> Any:
        if self.folder is None:
            settings["revision"] = self.revision
        return from_pretrained(
            kind,
            self.name if self.folder is None else self.folder,
            key=_KEY,
            mend="give factors.huggingface.folder, a local copy with model and tokenizer",
            instead="use embedder: physicochemical",
            **settings,
        )

    def _unfit(self, why: str) -> InputError:
        return InputError(
            f"{self.name} cannot embed residues: {why}",
            file=self.folder,
            key=_KEY,
            mend="give an encoder of proteins whose tokens are single residues, such as ProtT5 or ProtBert",
        )
