"""What a model is made for: the sizes that follow from data, not from its settings."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    bin: int
    residue_dim: int
    window_bins: int = 0
    text_dim: int = 0
    cell_types: int = 0
    learnt: int = 0
    outputs: tuple[str, ...] = ("binding",)

    @property
    def knows_cell_types(self) -> bool:
        """Whether anything is known of a cell type as a whole."""
        return bool(self.text_dim or (self.cell_types and self.learnt))
