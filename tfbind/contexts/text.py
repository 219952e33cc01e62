"""Texts about cell types as vectors, by any encoder of Hugging Face's transformers, computed once.

A text is tokenised whole, without truncation. Tokens that only mark its ends ([CLS], [SEP], <s>, </s> ...) are
put around each piece that goes through the network. With h_i the network's last hidden state of token i,

    mean: the mean of h_i over the tokens of the text; neither padding nor the marks of its ends count
    cls: h_i of the mark that stands for the whole text (the tokenizer's cls_token)

A text that is longer than the network takes goes through it in pieces that overlap. For `mean`, the hidden states
of the pieces are blended (`tfbind.core.pieces.blend_pieces`), so that each token counts once; for `cls`, the
pieces' vectors are averaged.

torch and transformers are imported, and weights loaded, when the first text is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.core.devices import on_device
from tfbind.core.errors import InputError
from tfbind.core.files import sha256_bytes, sha256_file, sha256_json
from tfbind.core.pieces import blend_pieces, piece_spans, token_batches
from tfbind.core.pretrained import from_pretrained, model_files
from tfbind.core.progress import told
from tfbind.core.tensors import read_tensor, save_tensors

TENSOR = "embedding"
POOLINGS = ("mean", "cls")
# Tokens that neighbouring pieces of a long text share at least.
OVERLAP = 64
# The longest piece, its marks included, where neither network nor tokenizer names a limit.
UNLIMITED = 512
# Texts that are embedded before their files are written: what a kill can lose.
_GROUP = 256
_KEY = "contexts.text.model"


class TextEncoder:
    """Embeds texts by a pretrained encoder.

    Parameters
    ----------
    model
        A folder that `save_pretrained` wrote, with tokenizer; else a name on the Hugging Face hub (from its cache
        on this machine, else the network).
    revision
        Branch, tag or commit of a model of the hub; None is its main branch.
    pooling
        `mean` or `cls`; the module says what they are.
    tokens_per_batch
        Tokens (with marks and padding) that go through the network at once.
    device
        A torch device.

    Raises
    ------
    InputError
        There is no such folder, a revision is given for a folder, or the pooling is unknown.
    """

    def __init__(
        self,
        model: str | Path,
        revision: str | None = None,
        pooling: str = "mean",
        tokens_per_batch: int = 4096,
        device: str = "cpu",
    ) -> None:
        if pooling not in POOLINGS:
            raise InputError(
                f"unknown pooling '{pooling}'", key="contexts.text.pooling", mend=f"use {' or '.join(POOLINGS)}"
            )
        self.folder = local_encoder(str(model))
        if self.folder is not None and revision is not None:
            raise InputError(
                f"{model} is a folder on this machine, and has no revisions",
                key="contexts.text.revision",
                mend="take the revision out, or give the model's name on the hub",
            )
        self.name = str(model) if self.folder is None else self.folder.resolve().name
        self._asked, self.pooling = revision, pooling
        self.tokens_per_batch, self.device = tokens_per_batch, device

    @cached_property
    def revision(self) -> str:
        """What tells these weights from others of the name: the hub's commit, or a checksum of the folder."""
        if self.folder is not None:
            files = {path.name: sha256_file(path) for path in model_files(self.folder)}
            return f"sha256:{sha256_json(files)}"
        if is_commit(self._asked):
            return self._asked
        config = _from_pretrained("AutoConfig", self.name, self._asked)
        if config._commit_hash is None:
            raise InputError(
                f"the hub does not say which commit of {self.name} this is",
                key="contexts.text.revision",
                mend="give the commit, 40 hexadecimal digits",
            )
        return config._commit_hash

    @property
    def dim(self) -> int:
        """Numbers a text; loads the weights."""
        return self._loaded[0].config.hidden_size

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts.

        Returns
        -------
        numpy.ndarray
            float32 (texts, dim). A text's vector does not depend on the others, to rounding.

        Raises
        ------
        InputError
            A text has no token, or the network cannot be had, or does not fit its tokenizer.
        """
        room = self._room()
        tokens = [self._tokens(text) for text in texts]
        overlap = min(OVERLAP, room // 4)
        spans = [piece_spans(len(text), room, overlap) for text in tokens]
        pieces = [tokens[i][start:end] for i, its in enumerate(spans) for start, end in its]
        found: list[np.ndarray] = [np.empty(0)] * len(pieces)
        ends = len(self._marks[0]) + len(self._marks[1])
        for batch in token_batches([len(piece) for piece in pieces], self.tokens_per_batch, ends=ends):
            for at, value in zip(batch, self._encode_batch([pieces[at] for at in batch]), strict=True):
                found[at] = value
        vectors, first = np.zeros((len(texts), self.dim), dtype=np.float32), 0
        for row, its in zip(vectors, spans, strict=True):
            row[:] = self._joined(found[first : first + len(its)], its, overlap)
            first += len(its)
        return vectors

    def _joined(self, pieces: Sequence[np.ndarray], spans: Sequence[tuple[int, int]], overlap: int) -> np.ndarray:
        if self.pooling == "cls":
            return np.mean(pieces, axis=0, dtype=np.float64)
        return blend_pieces(pieces, spans, overlap).mean(0, dtype=np.float64)

    def _encode_batch(self, pieces: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """For each piece the hidden states of its tokens, (tokens, dim), or, for `cls`, one vector (dim,)."""
        import torch

        model, tokenizer = self._loaded
        before, after = self._marks
        rows = [[*before, *piece, *after] for piece in pieces]
        shape = (len(rows), max(map(len, rows)))
        ids = torch.full(shape, tokenizer.pad_token_id or 0, dtype=torch.int64)
        mask = torch.zeros(shape, dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
        with torch.inference_mode():
            output = model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        hidden = output.last_hidden_state.float().cpu().numpy()
        if self.pooling == "cls":
            return [hidden[i, self._cls(row)] for i, row in enumerate(rows)]
        return [hidden[i, len(before) : len(before) + len(piece)] for i, piece in enumerate(pieces)]

    def _cls(self, row: Sequence[int]) -> int:
        """Where in a piece the token stands that is for the whole of it; in some models it is the last one."""
        before, after = self._marks
        token = self._loaded[1].cls_token_id
        if token not in (*before, *after):
            raise InputError(
                f"{self.name} has no token for the whole of a text",
                key="contexts.text.pooling",
                mend="use mean, or another encoder",
            )
        return before.index(token) if token in before else len(row) - len(after) + after.index(token)

    def _tokens(self, text: str) -> list[int]:
        ids, marks = self._tokenised(text)
        tokens = [token for token, mark in zip(ids, marks, strict=True) if not mark]
        if not tokens:
            raise InputError(
                f"the text {text[:40]!r} has no token that {self.name} knows of",
                column="description",
                mend="describe the cell type in words, or leave the cell empty",
            )
        return tokens

    def _tokenised(self, text: str) -> tuple[list[int], list[int]]:
        found = self._loaded[1](text, truncation=False, return_special_tokens_mask=True, verbose=False)
        return found["input_ids"], found["special_tokens_mask"]

    @cached_property
    def _marks(self) -> tuple[list[int], list[int]]:
        """The tokens before and after every text."""
        ids, marks = self._tokenised("a")
        inside = [i for i, mark in enumerate(marks) if not mark]
        if not inside:
            raise InputError(
                f"the tokenizer of {self.name} finds no token in the text 'a'",
                key=_KEY,
                mend="give an encoder with its tokenizer",
            )
        return ids[: inside[0]], ids[inside[-1] + 1 :]

    def _room(self) -> int:
        """Tokens of a text that go through the network at once."""
        model, tokenizer = self._loaded
        limits = [_positions(model), tokenizer.model_max_length]
        # Tokenizers say 1e30 where they do not know.
        known = [limit for limit in limits if limit is not None and limit < 10**9]
        room = min(known, default=UNLIMITED) - sum(map(len, self._marks))
        if room < 1:
            raise InputError(
                f"{self.name} takes {min(known)} tokens at most, and needs as many to mark the ends of a text",
                key=_KEY,
                mend="give another encoder",
            )
        return room

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Network and tokenizer."""
        where, revision = (self.name, self.revision) if self.folder is None else (self.folder, None)
        tokenizer = _from_pretrained("AutoTokenizer", where, revision)
        kind = _class_of(_from_pretrained("AutoConfig", where, revision))
        model, about = _from_pretrained(kind, where, revision, output_loading_info=True)
        _require_all_weights(model, about["missing_keys"], self.name)
        if len(tokenizer) > model.get_input_embeddings().num_embeddings:
            raise InputError(
                f"the tokenizer knows {len(tokenizer)} tokens, the network "
                f"{model.get_input_embeddings().num_embeddings}: they do not belong together",
                key=_KEY,
                mend="give an encoder with its own tokenizer",
            )
        model = model.float().eval().requires_grad_(False)
        return on_device(model, self.device, f"the text encoder {self.name}"), tokenizer


def is_commit(revision: str | None) -> bool:
    """Whether a revision of the hub is a commit, which stays as it is, and no branch or tag."""
    return revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def local_encoder(model: str) -> Path | None:
    """The folder that `contexts.text.model` names, or None if it is a name on the hub.

    Raises
    ------
    InputError
        It is neither a folder that is there nor a possible name on the hub.
    """
    path = Path(model)
    if path.is_dir():
        if not model_files(path):
            raise InputError(
                "this folder holds no model", file=path, key=_KEY, mend="give one that save_pretrained wrote"
            )
        return path
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", model):
        raise InputError(
            f"there is no folder {model}, and no model of the hub can have this name",
            key=_KEY,
            mend="correct the path, or give a name such as google-bert/bert-base-uncased",
        )
    return None


def text_key(text: str, encoder: str, revision: str, pooling: str) -> str:
    """The cache key of a text's vector: SHA-256 of text, encoder, its revision and pooling, as lower-case hex."""
    return sha256_json(
        {
            "text": sha256_bytes(text.encode()),
            "encoder": encoder,
            "revision": revision,
            "pooling": pooling,
            "overlap": OVERLAP,
        }
    )


def embed_texts(texts: Mapping[str, str], encoder: TextEncoder, cache: str | Path) -> dict[str, str]:
    """Embed the texts that the cache does not have yet. Where it has all, no weights are loaded.

    Parameters
    ----------
    texts
        Any id -> text; equal texts are embedded once.
    cache
        The folder; `<key>.safetensors` holds the tensor `embedding`, float32 (dim,).

    Returns
    -------
    dict
        Id -> key, in the order of `texts`.

    Raises
    ------
    InputError
        As `TextEncoder.encode`; also a cached file that is damaged.
    """
    cache = Path(cache)
    keys = {name: text_key(text, encoder.name, encoder.revision, encoder.pooling) for name, text in texts.items()}
    missing = []
    for key, text in {keys[name]: text for name, text in texts.items()}.items():
        path = _path(cache, key)
        if path.exists():
            read_tensor(path, TENSOR, axes=1)
        else:
            missing.append((key, text))
    missing.sort(key=lambda entry: (-len(entry[1]), entry[0]))
    groups = [missing[start : start + _GROUP] for start in range(0, len(missing), _GROUP)]
    for group in told(groups, "reading descriptions", len(missing), unit="texts", amount=len):
        for (key, text), vector in zip(group, encoder.encode([text for _, text in group]), strict=True):
            _write(_path(cache, key), vector, text, encoder)
    return keys


def load_text(cache: str | Path, key: str) -> np.ndarray:
    """Read one text's vector from the cache, float32 (dim,).

    Raises
    ------
    InputError
        It is not there, or its file is damaged.
    """
    path = _path(Path(cache), key)
    if not path.exists():
        raise InputError("this text is not in the cache", file=path, mend="run `embed_texts` on it first")
    return read_tensor(path, TENSOR, axes=1).astype(np.float32)


def _path(cache: Path, key: str) -> Path:
    return cache / f"{key}.safetensors"


def _write(path: Path, vector: np.ndarray, text: str, encoder: TextEncoder) -> None:
    if not np.isfinite(vector).all():
        raise InputError(
            f"{encoder.name} gave numbers that are not finite for the text {text[:40]!r}",
            key=_KEY,
            mend="fetch its weights again, or use another encoder",
        )
    about = {
        "encoder": encoder.name,
        "revision": encoder.revision,
        "pooling": encoder.pooling,
        "text_sha256": sha256_bytes(text.encode()),
    }
    save_tensors(path, {TENSOR: vector}, about)


def _from_pretrained(kind: str, source: str | Path, revision: str | None, **settings: Any) -> Any:
    if revision is not None:
        settings["revision"] = revision
    return from_pretrained(
        kind,
        source,
        key=_KEY,
        mend="give the folder of a whole model, or a name on the hub that this machine can reach",
        instead="set contexts.text to null: descriptions are then not read",
        **settings,
    )


def _class_of(config: Any) -> str:
    """Of a network that also has a decoder, such as T5, the encoder alone."""
    import transformers

    known = type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING
    return "AutoModelForTextEncoding" if known else "AutoModel"


def _require_all_weights(model: Any, missing: Sequence[str], where: str) -> None:
    """transformers gives weights that are not in the checkpoint random values; only unused ones may be."""
    wanted = sorted(name for name in missing if not re.search(r"(^|\.)pooler\.", name))
    if wanted:
        raise InputError(
            f"the text encoder {where} has no weights for {', '.join(wanted[:3])}"
            f"{f' and {len(wanted) - 3} more' if len(wanted) > 3 else ''} of {type(model).__name__}",
            key=_KEY,
            mend="give a model whose config.json is that of its weights",
        )


def _positions(model: Any) -> int | None:
    """Tokens that the network has positions for, None if it does not say."""
    for name, module in model.named_modules():
        offset = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and offset is not None:
            # RoBERTa and its like number positions from the padding's number on.
            return module.num_embeddings - offset - 1
    return getattr(model.config, "max_position_embeddings", None)
