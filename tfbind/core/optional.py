"""Libraries that only some settings need: where one is missing, the user is told, and nothing else happens."""

from __future__ import annotations

import importlib
from types import ModuleType

from tfbind.core.errors import InputError

_INSTEAD = "choose another setting"


def load_optional(module: str, *, package: str, key: str, instead: str = _INSTEAD) -> ModuleType:
    """Import a module that only some settings need.

    Parameters
    ----------
    module
        Such as `esm.pretrained`.
    package
        What pip calls the package that has it.
    key
        The configuration's key that asks for it.
    instead
        What the user may do that needs no such module.

    Raises
    ------
    InputError
        It, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_package(package, key, error, instead) from error


def missing_package(package: str, key: str, error: ImportError, instead: str = _INSTEAD) -> InputError:
    """The error that tells of a package that is not installed, or not whole."""
    reason = " ".join(str(error).split()).partition(". ")[0]
    return InputError(
        f"the Python package {package} is needed for this, and cannot be imported ({reason})",
        key=key,
        mend=f"install it (pip install {package}), or {instead}",
    )
