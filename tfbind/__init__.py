"""tfbind: genome-wide transcription factor binding from DNA, protein and accessibility."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Model", "__version__"]


def __getattr__(name: str) -> Any:
    """Import torch with the first use of `Model`, and not with the package."""
    if name == "Model":
        from tfbind.model.model import Model

        return Model
    raise AttributeError(f"module 'tfbind' has no attribute '{name}'")
