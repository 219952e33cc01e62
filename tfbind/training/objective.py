"""What training minimises: one module of model and losses, so that DDP knows of every use of every weight."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tfbind.config import TrainingSettings
from tfbind.model.binding import BindingModel
from tfbind.model.contexts import ContextBatch
from tfbind.model.factor_encoder import motif_reading_loss
from tfbind.model.factors import FactorBatch
from tfbind.training.losses import binding_loss


@dataclass(frozen=True)
class StepPart:
    """Windows of a step, and what of factors and experiments the step looks at, on the model's device.

    Attributes
    ----------
    codes : uint8 (windows, bp)
    contexts : ContextBatch
        Of all cell types, some of it hidden, with accessibility of context bins on either side of the windows.
    labels : uint8 (windows, bins, drawn experiments)
    weights : float32 (windows,)
    factors : FactorBatch
    pairs : int64 (drawn experiments, 2)
        (factor, cell type), factors counted in `factors`.
    experiment_weights : float32 (drawn experiments,)
    """

    codes: Tensor
    contexts: ContextBatch
    labels: Tensor
    weights: Tensor
    factors: FactorBatch
    pairs: Tensor
    experiment_weights: Tensor

    def of(self, windows: range) -> StepPart:
        """Some of the windows."""
        rows = slice(windows.start, windows.stop)
        return replace(
            self,
            codes=self.codes[rows],
            contexts=self.contexts.of(rows),
            labels=self.labels[rows],
            weights=self.weights[rows],
        )


@dataclass(frozen=True)
class Reading:
    """Proteins, and what of their motifs they are to spell, as `motif_reading_loss` takes them."""

    factors: FactorBatch
    bases: Tensor
    widths: Tensor


class Objective(nn.Module):
    """The model's losses on a part of a step.

    Parameters
    ----------
    experiments
        Number of training experiments: the loss counts for all of them, however many a step draws.
    """

    def __init__(self, model: BindingModel, settings: TrainingSettings, experiments: int) -> None:
        super().__init__()
        self.model, self.batch_size, self.experiments = model, settings.batch_size, experiments
        self.dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32

    def forward(self, part: StepPart | None, reading: Reading | None) -> tuple[Tensor, Tensor]:
        """Binding loss (this part's share of the step's), and loss of reading motifs, nats per base."""
        zero = torch.zeros((), device=next(self.model.parameters()).device)
        return (
            zero if part is None else self._binding_loss(part),
            zero if reading is None else self._reading_loss(reading),
        )

    def _binding_loss(self, part: StepPart) -> Tensor:
        found = self.model(part.codes, part.factors, part.contexts, part.pairs, trunk_dtype=self.dtype)
        loss = binding_loss(
            found.binding, part.labels, part.weights, part.experiment_weights, windows=self.batch_size
        )
        return loss * (self.experiments / len(part.pairs))

    def _reading_loss(self, reading: Reading) -> Tensor:
        encoder, factors = self.model.head.encoder, reading.factors
        residues = encoder.residues(factors.embeddings, factors.residue_mask.unsqueeze(-1).float())
        contact, base = encoder.motif.logits(residues)
        return motif_reading_loss(contact, base, factors.residue_mask, reading.bases, reading.widths)
