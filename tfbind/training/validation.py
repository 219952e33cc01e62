"""Validation during training: the model's predictions over whole chromosomes, as rendering makes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tfbind.config import WindowSettings
from tfbind.core.metrics import average_precision, threshold_at_fdr
from tfbind.genome.windows import tile
from tfbind.model.binding import BindingModel
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData
from tfbind.model.head import FactorBatch
from tfbind.model.inference import embed_windows, predict_chromosome
from tfbind.training.splits import Split

WINDOWS_AT_ONCE = 16
# Fewer bound bins than this on the validation chromosomes say nothing of one experiment's threshold.
LEAST_FOR_THRESHOLD = 20


class Validator:
    """Predict the training experiments on the validation chromosomes."""

    def __init__(self, data: GenomeData, split: Split, windows: WindowSettings, *, precision: str) -> None:
        self.data, self.split, self.precision = data, split, precision
        # Tiled as the whole genome is, so that a validation chromosome may be shorter than a window.
        sizes = {chrom: len(codes) for chrom, codes in data.codes.items()}
        tiled = tile(sizes, length=windows.length, core=windows.core, bin=windows.bin)
        self.windows = [window for window in tiled if window.chrom in split.validation]

    def predict(self, model: BindingModel, factors: FactorBatch, pairs: Tensor) -> np.ndarray:
        """Logits of all validation bins, float32 (bins, training experiments)."""
        device = next(model.parameters()).device
        model.eval()
        chosen = pairs[torch.as_tensor(self.split.experiments)].to(device)
        with torch.inference_mode():
            code = model.head.encode_factors(factors.to(device))
        tokens: dict[str, list[np.ndarray]] = {chrom: [] for chrom in self.split.validation}
        embedded = embed_windows(
            model, self._fetch, self.windows, batch_size=WINDOWS_AT_ONCE, precision=self.precision
        )
        for window, found in embedded:
            tokens[window.chrom].append(found.astype(np.float16))  # as a genome embedding stores them
        return np.concatenate(
            [
                predict_chromosome(model, code, self.data, chrom, np.concatenate(tokens[chrom]), chosen)
                for chrom in self.split.validation
            ]
        )

    def truth(self) -> np.ndarray:
        """Labels of all validation bins, uint8 (bins, training experiments)."""
        labels = [np.asarray(self.data.labels[chrom]) for chrom in self.split.validation]
        return np.concatenate(labels)[:, self.split.experiments]

    def mean_auprc(self, model: BindingModel, factors: FactorBatch, pairs: Tensor) -> float:
        """Mean average precision over the experiments that have bound and unbound bins on these chromosomes."""
        logits, truth = self.predict(model, factors, pairs), self.truth()
        scores = []
        for column in range(truth.shape[1]):
            kept = truth[:, column] != LEFT_OUT
            bound = truth[kept, column] == BOUND
            if bound.any() and not bound.all():
                scores.append(average_precision(bound, logits[kept, column]))
        return float(np.mean(scores)) if scores else 0.0

    def thresholds(
        self, model: BindingModel, factors: FactorBatch, pairs: Tensor, *, fdr: float, names: Sequence[str]
    ) -> dict[str, float | None]:
        """Probability above which a bin is called, at a false discovery rate on these chromosomes.

        Returns
        -------
        One threshold an experiment (its own where at least 20 bins are bound and the rate is reached), and
        `pooled`, over all of them together, which serves every other track. None: no threshold reaches it.
        """
        logits, truth = self.predict(model, factors, pairs), self.truth()
        kept = truth != LEFT_OUT
        bound = truth == BOUND
        found: dict[str, float | None] = {"pooled": _probability(bound[kept], logits[kept], fdr)}
        for column, experiment in enumerate(self.split.experiments):
            use = kept[:, column]
            if bound[use, column].sum() >= LEAST_FOR_THRESHOLD:
                own = _probability(bound[use, column], logits[use, column], fdr)
                if own is not None:
                    found[names[experiment]] = own
        return found

    def _fetch(self, chrom: str, start: int, end: int) -> np.ndarray:
        first = start // self.data.bin
        return self.data.window_codes(chrom, first, (end - start) // self.data.bin)


def _probability(bound: np.ndarray, logits: np.ndarray, fdr: float) -> float | None:
    threshold = threshold_at_fdr(bound, logits, fdr)
    return None if threshold is None else float(1 / (1 + np.exp(-threshold)))
