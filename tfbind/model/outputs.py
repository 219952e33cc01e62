"""What the model says of pairs of factor and cell type."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """Predictions, float32 (windows, bins, pairs) each; None where the model has no such head.

    Attributes
    ----------
    binding
        Logit of binding.
    track
        Rate of the signal, above 0.
    peak_score
        log(1 + score of the peak), at the training experiments' mean read depth.
    """

    binding: Tensor | None = None
    track: Tensor | None = None
    peak_score: Tensor | None = None

    def activated(self) -> Outputs:
        """Rates made of what the head says of them, by softplus; logits and scores are what it says."""
        return self if self.track is None else replace(self, track=F.softplus(self.track))
