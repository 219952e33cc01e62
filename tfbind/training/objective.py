"""What training minimises: one module of model and losses, so that DDP knows of every use of every weight."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tfbind.config import TrainingSettings
from tfbind.model.binding import BindingModel
from tfbind.model.contexts import ContextBatch
from tfbind.model.depth import DepthEffect
from tfbind.model.factor_encoder import motif_reading_loss
from tfbind.model.factors import FactorBatch
from tfbind.model.outputs import Measured, total_loss
from tfbind.model.precision import compute_dtype


@dataclass(frozen=True)
class StepPart:
    """Windows of a step, and what of factors and experiments the step looks at, on the model's device.

    Attributes
    ----------
    codes : uint8 (windows, bp)
    contexts : ContextBatch
        Of all cell types, some of it hidden, with accessibility of context bins on either side of the windows.
    labels : uint8 (windows, counted bins, drawn experiments)
    weights : float32 (windows,)
    factors : FactorBatch
    pairs : int64 (drawn experiments, 2)
        (factor, cell type), factors counted in `factors`.
    experiment_weights : float32 (drawn experiments,)
    depth : float32 (drawn experiments, 2)
        As `depth_covariate`.
    signal, score : float32 (windows, counted bins, drawn experiments), or None
    embedding : float32 (windows, bins, width), or None
        What a frozen trunk says of the windows; None: it is to run.
    known : float32 (windows, bins, factors, 4), or None
        What the factors' known motifs say of the windows; None: they are to be scanned.
    """

    codes: Tensor
    contexts: ContextBatch
    labels: Tensor
    weights: Tensor
    factors: FactorBatch
    pairs: Tensor
    experiment_weights: Tensor
    depth: Tensor
    signal: Tensor | None = None
    score: Tensor | None = None
    embedding: Tensor | None = None
    known: Tensor | None = None

    def of(self, windows: range) -> StepPart:
        """Some of the windows."""
        rows = slice(windows.start, windows.stop)
        names = ("codes", "labels", "weights", "signal", "score", "embedding", "known")
        arrays = {name: getattr(self, name) for name in names}
        some = {name: None if x is None else x[rows] for name, x in arrays.items()}
        return replace(self, contexts=self.contexts.of(rows), **some)


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
    model
        On the device that it is trained on.
    experiments
        Number of training experiments: the loss counts for all of them, however many a step draws.
    """

    def __init__(self, model: BindingModel, settings: TrainingSettings, experiments: int) -> None:
        super().__init__()
        self.model, self.batch_size, self.experiments = model, settings.batch_size, experiments
        self.dtype = compute_dtype(next(model.parameters()).device, settings.precision)
        self.losses, self.crop = settings.losses, settings.crop
        self.depth = DepthEffect() if settings.losses.peak_score else None

    def forward(self, part: StepPart | None, reading: Reading | None) -> tuple[Tensor, Tensor, Tensor]:
        """Losses of the windows and of reading.

        Returns
        -------
        Loss of the windows (this part's share of the step's), loss of reading motifs (nats per base), and what
        the first is made of: the losses of `LossSettings.counted`, without weights and gradients, (losses,).
        """
        zero = torch.zeros((), device=next(self.model.parameters()).device)
        windows, parts = (zero, zero.new_zeros(0)) if part is None else self._window_loss(part)
        return windows, zero if reading is None else self._reading_loss(reading), parts

    def _window_loss(self, part: StepPart) -> tuple[Tensor, Tensor]:
        outputs = self.model(
            part.codes,
            part.factors,
            part.contexts,
            part.pairs,
            trunk_dtype=self.dtype,
            embedding=part.embedding,
            known=part.known,
        )
        losses = total_loss(
            outputs.without_edges(self.crop),
            Measured(part.labels, part.signal, part.score),
            self.losses,
            part.weights,
            part.experiment_weights,
            depth_shift=None if self.depth is None else self.depth(part.depth),
            windows=self.batch_size,
        )
        share = self.experiments / len(part.pairs)
        return losses.total * share, torch.stack(list(losses.parts.values())) * share

    def _reading_loss(self, reading: Reading) -> Tensor:
        encoder, factors = self.model.head.encoder, reading.factors
        residues = encoder.residues(factors.embeddings, factors.residue_mask.unsqueeze(-1).float())
        contact, base = encoder.motif.logits(residues)
        return motif_reading_loss(contact, base, factors.residue_mask, reading.bases, reading.widths)
