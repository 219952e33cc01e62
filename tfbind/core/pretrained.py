"""Networks and tokenizers of Hugging Face's transformers, from a local folder or from the hub.

No code of a repository is run, and no pickle loaded but by torch's `weights_only`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfbind.core.errors import InputError
from tfbind.core.optional import load_optional, missing_package

# What is no part of a model: notes, and the same weights in other frameworks.
_NO_PART = (".md", ".h5", ".msgpack", ".onnx", ".part", ".incomplete")
_PARTS = {"AutoConfig": "configuration", "AutoTokenizer": "tokenizer"}


def from_pretrained(kind: str, source: str | Path, *, key: str, mend: str, instead: str, **settings: Any) -> Any:
    """`from_pretrained` of a class of transformers.

    Parameters
    ----------
    kind
        The class, such as `AutoTokenizer`.
    source
        A folder on this machine, as a path, or a name on the hub.
    key
        The configuration's key that asks for it.
    mend, instead
        What to do where it cannot be had, and which setting needs none of it.
    settings
        More arguments of `from_pretrained`, such as `revision`.

    Raises
    ------
    InputError
        A package is missing, or what is asked for cannot be fetched or loaded.
    """
    transformers = load_optional("transformers", package="transformers", key=key, instead=instead)
    folder = source if isinstance(source, Path) else None
    try:
        with _no_conversion_asked():
            return getattr(transformers, kind).from_pretrained(
                str(source), **settings, local_files_only=folder is not None, trust_remote_code=False
            )
    except ImportError as error:  # e.g. sentencepiece, which the tokenizers of T5 need
        package = "sentencepiece" if "sentencepiece" in str(error).lower() else "transformers"
        raise missing_package(package, key, error, instead) from error
    except Exception as error:  # OSError, ValueError, KeyError, RuntimeError, safetensors' own: each for the same
        name = source if folder is None else folder.resolve().name
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the {_PARTS.get(kind, 'weights')} of {name} could not be fetched or loaded ({reason})",
            file=folder,
            key=key,
            mend=f"{mend}, or {instead}",
        ) from error


def model_files(folder: Path) -> list[Path]:
    """The files of a local folder that a model and its tokenizer are read from, sorted."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix not in _NO_PART
    )


@contextmanager
def _no_conversion_asked() -> Iterator[None]:
    """transformers would ask the hub, in the background, to convert weights that are no safetensors."""
    variable = "DISABLE_SAFETENSORS_CONVERSION"
    before = os.environ.get(variable)
    os.environ[variable] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
