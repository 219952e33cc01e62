"""Validation during training: the model's predictions over whole regions, as rendering makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tfbind.config import WindowSettings
from tfbind.core.metrics import average_precision
from tfbind.genome.regions import Region
from tfbind.genome.windows import stretches_near, tile
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData
from tfbind.model.embedding import embed_stretches, tokens_in_place
from tfbind.model.ensemble import EnsembleModel
from tfbind.model.factors import FactorBatch
from tfbind.model.inference import STRETCH, Predictor
from tfbind.model.probabilities import Probabilities, logits_of
from tfbind.training import processes
from tfbind.training.calibration import Judged, calibrate, halves, mapped
from tfbind.training.known_binding import fit_known_binding
from tfbind.training.thresholds import find_thresholds
from tfbind.training.trunkcache import TrunkCache


class Validator:
    """Predict the training experiments in the validation regions.

    Parameters
    ----------
    columns
        Of the labels: the training experiments.
    around
        Bins on either side of a region whose DNA tokens count, too (`bins_around`).
    cache
        What a frozen trunk says of windows; none: the trunk runs.
    """

    def __init__(
        self,
        data: GenomeData,
        regions: Sequence[Region],
        columns: Sequence[int],
        windows: WindowSettings,
        *,
        around: int,
        precision: str,
        cache: TrunkCache | None = None,
    ) -> None:
        self.cache = cache
        self.data, self.columns, self.precision = data, list(columns), precision
        self.regions = [(region.chrom, region.bins(data.bin)) for region in regions]
        # Tiled as the whole genome is, so that a validation chromosome may be shorter than a window.
        self.sizes = {chrom: len(codes) for chrom, codes in data.codes.items()}
        tiled = tile(self.sizes, length=windows.length, core=windows.core, bin=windows.bin)
        self.stretches = stretches_near(tiled, regions, around * data.bin)

    def predict(self, model: BindingModel, factors: FactorBatch, pairs: Tensor) -> np.ndarray | None:
        """Logits of all validation bins, float32 (bins, training experiments), each bin predicted by one process.

        Of several processes, the main one gets them; the others get None.
        """
        device = next(model.parameters()).device
        model.eval()
        chosen = pairs[torch.as_tensor(self.columns)].to(device)
        with torch.inference_mode():
            code = model.head.encode_factors(factors.to(device))
        tokens = self._tokens(model)
        pieces = [
            (chrom, first, min(STRETCH, bins.stop - first))
            for chrom, bins in self.regions
            for first in range(bins.start, bins.stop, STRETCH)
        ]
        predictor = Predictor(model, code, self.data)
        own = [
            predictor.stretch(chrom, tokens[chrom], first, count, chosen)
            for chrom, first, count in (pieces[index] for index in processes.share(len(pieces)))
        ]
        parts = processes.gathered_by_main(own)
        return None if parts is None else np.concatenate([found for part in parts for found in part])

    def predict_together(self, ensemble: Checkpoint, factors: FactorBatch, pairs: Tensor) -> np.ndarray:
        """Logits of an ensemble's probabilities, otherwise as `predict`; by one process."""
        probabilities = Probabilities.of(ensemble, factors, self.data)
        tokens, chosen = self._tokens(ensemble.model), pairs[torch.as_tensor(self.columns)]
        found = []
        for chrom, bins in self.regions:
            values = torch.empty(len(chosen), len(bins))

            def keep(
                low: int, part: Tensor, _: Tensor | None, first: int = bins.start, values: Tensor = values
            ) -> None:
                values[:, low - first : low - first + part.shape[1]] = logits_of(part)

            probabilities.each(keep, chrom, tokens[chrom], bins.start, len(bins), chosen)
            found.append(values.T.numpy())
        return np.concatenate(found)

    def _tokens(self, model: BindingModel | EnsembleModel) -> dict[str, np.ndarray]:
        """DNA tokens of the chromosomes, on every process; each window is embedded by one of them.

        Far from the validation regions they are 0, and are not looked at.
        """
        own = [self.stretches[index] for index in processes.share(len(self.stretches))]
        trunk = None if self.cache is None else self.cache.of_stretches
        embedded = embed_stretches(model, self._fetch, own, precision=self.precision, trunk=trunk)
        parts = processes.gathered([found for _, found in embedded])
        found = zip(self.stretches, (found for part in parts for found in part), strict=True)
        return tokens_in_place(found, self.sizes, self.data.bin)

    def truth(self) -> np.ndarray:
        """Labels of all validation bins, uint8 (bins, training experiments)."""
        labels = [self.data.labels[chrom][bins.start : bins.stop] for chrom, bins in self.regions]
        return np.concatenate(labels)[:, self.columns]

    def mean_auprc(self, model: BindingModel, factors: FactorBatch, pairs: Tensor) -> float:
        """Mean average precision over the experiments that have bound and unbound bins there."""
        logits = self.predict(model, factors, pairs)
        return processes.of_main(None if logits is None else self.auprc(logits))

    def auprc(self, logits: np.ndarray) -> float:
        """See `mean_auprc`; of logits (bins, training experiments)."""
        truth = self.truth()
        scores = []
        for column in range(truth.shape[1]):
            kept = truth[:, column] != LEFT_OUT
            bound = truth[kept, column] == BOUND
            if bound.any() and not bound.all():
                scores.append(average_precision(bound, logits[kept, column]))
        return float(np.mean(scores)) if scores else 0.0

    def conclude(
        self,
        model: BindingModel,
        factors: FactorBatch,
        pairs: Tensor,
        *,
        method: str,
        fdr: float,
        experiments: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """What a checkpoint keeps of the validation: `calibration`, `thresholds` of calibrated probabilities, and
        `known_binding`.

        Parameters
        ----------
        method
            As of `calibrate`.
        fdr
            As of `find_thresholds`.
        experiments
            All, trained on or not: name, factor and cell type.
        """
        logits = self.predict(model, factors, pairs)
        return processes.of_main(None if logits is None else self.concluded(logits, method, fdr, experiments))

    def concluded(
        self, logits: np.ndarray, method: str, fdr: float, experiments: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """See `conclude`; of logits (bins, training experiments)."""
        truth = self.truth()
        kept = truth != LEFT_OUT
        half = halves([len(bins) for _, bins in self.regions], self.data.bin)
        half = np.broadcast_to(half[:, None], truth.shape)
        judged = Judged(logits[kept].astype(np.float64), truth[kept] == BOUND, half[kept])
        calibration, told = calibrate(judged, method)
        own = [experiments[column] for column in self.columns]
        names = [each["name"] for each in own]
        measured = [(each["factor"], each["cell_type"]) for each in own]
        logits = mapped(calibration, logits)
        return {
            "calibration": told,
            "thresholds": find_thresholds(truth, logits, fdr, names),
            "known_binding": fit_known_binding(logits, truth, measured, fdr, names).as_json(),
        }

    def _fetch(self, chrom: str, start: int, end: int) -> np.ndarray:
        first = start // self.data.bin
        return self.data.window_codes(chrom, first, (end - start) // self.data.bin)
