"""What a model is made for: the sizes that follow from data, not from its settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

OUTPUTS = ("binding", "track", "peak_score")


@dataclass(frozen=True)
class ModelShape:
    """Sizes of what goes into a model and comes out of it; kept with its weights.

    Attributes
    ----------
    bin
        Resolution in bp, a power of two.
    residue_dim
        Width of the residue embeddings.
    window_bins
        Bins of a training window: what a head that is not local is given at once in prediction, too.
    text_dim
        Width of the text embeddings of cell types; 0: none are read.
    cell_types, learnt
        Cell types with a learnt embedding, and its width; 0: none.
    outputs
        Some of `binding`, `track`, `peak_score`, in this order.
    signals
        Names of the signals that are known of cell types beside accessibility, in the order of their channels.
    """

    bin: int
    residue_dim: int
    window_bins: int = 0
    text_dim: int = 0
    cell_types: int = 0
    learnt: int = 0
    outputs: tuple[str, ...] = ("binding",)
    signals: tuple[str, ...] = ()

    @property
    def knows_cell_types(self) -> bool:
        """Whether anything is known of a cell type as a whole."""
        return bool(self.text_dim or (self.cell_types and self.learnt))

    def as_json(self) -> dict[str, Any]:
        """As it is kept. Without signals nothing tells of them: the same model, the same file, as ever."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return found if self.signals else {name: value for name, value in found.items() if name != "signals"}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> ModelShape:
        """From what `as_json` gave."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})
