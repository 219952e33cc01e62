"""A context set on disk: what is known of cell types beside their accessibility, which has its own files.

The folder holds

    contexts.json     for each cell type, in order, its description and text vector; and what read the texts
    text.safetensors  one tensor (dim,) for each text, by its key
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.contexts.text import TextEncoder, embed_texts, load_text
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, read_json, write_json
from tfbind.core.tensors import save_tensors

_CONTEXTS, _TEXT = "contexts.json", "text.safetensors"


def write_context_set(
    out: str | Path, descriptions: Mapping[str, str], encoder: TextEncoder | None, cache: str | Path
) -> None:
    """Read the cell types' descriptions (through the cache), and write their folder, whole.

    Equal input gives equal bytes. A cell type whose description is empty has no text, which is not a text of
    zeros.

    Parameters
    ----------
    out
        The folder; one that is there already is replaced.
    descriptions
        Cell type -> what is said of it, maybe nothing.
    encoder
        What reads them; None: nothing does, and no cell type has a text.
    cache
        See `tfbind.contexts.text.embed_texts`.

    Raises
    ------
    InputError
        No cell types.
    """
    if not descriptions:
        raise InputError("no cell types", mend="list at least one in cell_types.tsv")
    texts = {name: text for name, text in descriptions.items() if text.strip()} if encoder else {}
    keys = embed_texts(texts, encoder, cache) if encoder else {}
    vectors = {key: load_text(cache, key) for key in sorted(set(keys.values()))}
    about = None
    if encoder:
        about = {
            "name": encoder.name,
            "revision": encoder.revision,
            "pooling": encoder.pooling,
            "dim": len(next(iter(vectors.values()))) if vectors else encoder.dim,
        }
    entries = [
        {"cell_type": name, "description": text, "text": keys.get(name)} for name, text in descriptions.items()
    ]
    with atomic_dir(out) as folder:
        save_tensors(folder / _TEXT, vectors, about or {})
        write_json(folder / _CONTEXTS, {"encoder": about, "cell_types": entries})


class ContextSet:
    """A context set on disk, or several as one. Made by `ContextSet.open` and `ContextSet.find`.

    Attributes
    ----------
    folder
        Where it lies, or they.
    entries
        What contexts.json says of each cell type: cell_type, description, text (a key, or None).
    encoder
        Name, revision, pooling and dim of what read the texts; None if nothing did.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any], homes: Mapping[str, Path] | None = None) -> None:
        self.folder, self._homes = folder, homes or {}
        self.entries: list[dict[str, Any]] = content["cell_types"]
        self.encoder: dict[str, Any] | None = content["encoder"]
        self._texts = {entry["cell_type"]: entry["text"] for entry in self.entries}

    @classmethod
    def open(cls, folder: str | Path) -> ContextSet:
        """Open a folder that `write_context_set` made.

        Raises
        ------
        InputError
            It is not there, not whole, or something else.
        """
        folder = Path(folder)
        for name in (_CONTEXTS, _TEXT):
            if not (folder / name).is_file():
                raise InputError(
                    "this context set is not whole", file=folder / name, mend="run `tfbind contexts` again"
                )
        try:
            return cls(folder, read_json(folder / _CONTEXTS))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"this is no context set ({error})", file=folder / _CONTEXTS, mend="run `tfbind contexts` again"
            ) from error

    @classmethod
    def find(cls, folder: str | Path, names: Sequence[str]) -> ContextSet:
        """Open a context set, or those that lie below a folder, each in one of a cell type's name, as one.

        Parameters
        ----------
        names
            The cell types that are looked for.

        Raises
        ------
        InputError
            As `open`; one of them does not have its cell type, or they were not all read alike.
        """
        folder = Path(folder)
        if not names or (folder / _CONTEXTS).is_file():
            return cls.open(folder)
        parts = {name: cls.open(folder / name) for name in names}
        first = parts[names[0]]
        for name, part in parts.items():
            part.text_key(name)
            if part.encoder != first.encoder:
                raise InputError(
                    f"{names[0]} was read by {first.encoder}, {name} by {part.encoder}",
                    file=folder,
                    mend="run `tfbind contexts` again for all cell types",
                )
        entries = [entry for name, part in parts.items() for entry in part.entries if entry["cell_type"] == name]
        content = {"encoder": first.encoder, "cell_types": entries}
        return cls(folder, content, {name: part.folder for name, part in parts.items()})

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> list[str]:
        """The cell types, in order."""
        return list(self._texts)

    @property
    def dim(self) -> int:
        """Numbers a text; 0 where nothing reads them."""
        return 0 if self.encoder is None else self.encoder["dim"]

    def require(self, descriptions: Mapping[str, str]) -> None:
        """Refuse to stand for cell types that are described otherwise now.

        Parameters
        ----------
        descriptions
            Cell type -> what is said of it.

        Raises
        ------
        InputError
            There is no such cell type, or another description of it was read.
        """
        read = {entry["cell_type"]: entry["description"] for entry in self.entries}
        for name, description in descriptions.items():
            self.text_key(name)
            if read[name] != description:
                raise InputError(
                    f"cell type {name} is described as {description!r}; this context set has {read[name]!r}",
                    file=self.folder,
                    column="description",
                    mend="run `tfbind contexts` again",
                )

    def text_key(self, name: str) -> str | None:
        """What names a cell type's text: a hash of the text and of what read it; None where it has none.

        Raises
        ------
        InputError
            There is no such cell type.
        """
        if name not in self._texts:
            known = ", ".join(self.names[:10]) + (" ..." if len(self) > 10 else "")
            raise InputError(
                f"no cell type '{name}' in this context set; it has {known}",
                file=self.folder,
                mend="run `tfbind contexts` again, with a table that has it",
            )
        return self._texts[name]

    def text(self, name: str) -> np.ndarray | None:
        """A cell type's text, float32 (dim,), or None where nothing was said of it, or nothing reads it.

        Raises
        ------
        InputError
            There is no such cell type, or the folder is damaged.
        """
        from safetensors import SafetensorError, safe_open

        key = self.text_key(name)
        if key is None:
            return None
        path = self._homes.get(name, self.folder) / _TEXT
        try:
            with safe_open(path, framework="numpy") as tensors:
                return tensors.get_tensor(key).astype(np.float32)
        except SafetensorError as error:
            raise InputError(
                f"{error} (cell type {name})", file=path, mend="run `tfbind contexts` again"
            ) from error
