"""What training minimises: one module of model and losses, so that DDP knows of every use of every weight."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tfbind.config import TrainingSettings
from tfbind.model.binding import BindingModel
from tfbind.model.factor_encoder import motif_reading_loss
from tfbind.model.head import FactorBatch
from tfbind.model.precision import DTYPES
from tfbind.training.losses import binding_loss


@dataclass(frozen=True)
class StepPart:
    """Windows of a step, and what of factors and experiments the step looks at, on the model's device.

    Attributes
    ----------
    codes : uint8 (windows, bp)
    accessibility : float32 (windows, context bins + bins + context bins, cell types)
    labels : uint8 (windows, bins, drawn experiments)
    weights : float32 (windows,)
    factors : FactorBatch
    pairs : int64 (drawn experiments, 2)
        (factor, cell type), factors counted in `factors`.
    experiment_weights : float32 (drawn experiments,)
    has_track : bool (cell types,)
    """

    codes: Tensor
    accessibility: Tensor
    labels: Tensor
    weights: Tensor
    factors: FactorBatch
    pairs: Tensor
    experiment_weights: Tensor
    has_track: Tensor

    def of(self, windows: range) -> StepPart:
        """Some of the windows."""
        rows = slice(windows.start, windows.stop)
        return replace(
            self,
            codes=self.codes[rows],
            accessibility=self.accessibility[rows],
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
        self.dtype = DTYPES[settings.precision]

    def forward(self, part: StepPart | None, reading: Reading | None) -> tuple[Tensor, Tensor]:
        """Binding loss (this part's share of the step's), and loss of reading motifs, nats per base."""
        zero = torch.zeros((), device=next(self.model.parameters()).device)
        return (
            zero if part is None else self._binding_loss(part),
            zero if reading is None else self._reading_loss(reading),
        )

    def _binding_loss(self, part: StepPart) -> Tensor:
        logits = self.model(
            part.codes, part.factors, part.accessibility, part.has_track, part.pairs, trunk_dtype=self.dtype
        )
        loss = binding_loss(logits, part.labels, part.weights, part.experiment_weights, windows=self.batch_size)
        return loss * (self.experiments / len(part.pairs))

    def _reading_loss(self, reading: Reading) -> Tensor:
        encoder, factors = self.model.head.encoder, reading.factors
        residues = encoder.residues(factors.embeddings, factors.residue_mask.unsqueeze(-1).float())
        contact, base = encoder.motif.logits(residues)
        return motif_reading_loss(contact, base, factors.residue_mask, reading.bases, reading.widths)
