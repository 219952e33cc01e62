"""What a track must beat: predictors that know one thing, on the same bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tfbind.factors.motifs import Motif
from tfbind.model.batching import motif_scores
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData
from tfbind.model.inference import MARGIN
from tfbind.model.motif_scan import pad_motifs, scan_motifs

ACCESSIBILITY = "accessibility"
MOTIF = "motif max"
MOTIF_ACCESSIBILITY = "motif x accessibility"
OTHER_FACTORS = "other factors"
SHUFFLED = "protein shuffled"
# Bins scanned at once.
STRETCH = 8192


def scan_chromosome(data: GenomeData, chrom: str, motifs: Sequence[Motif]) -> np.ndarray:
    """Best site of each motif in each bin: z-score and log-odds, float32 (bins, motifs, 2)."""
    stacked, _ = pad_motifs([motif_scores(motif) for motif in motifs])
    total = data.bins(chrom)
    parts = []
    for first in range(0, total, STRETCH):
        count = min(STRETCH, total - first)
        codes = data.window_codes(chrom, first - MARGIN, count + 2 * MARGIN)
        with torch.inference_mode():
            found = scan_motifs(torch.as_tensor(np.stack([codes])), stacked, data.bin)[0]
        parts.append(found[MARGIN : MARGIN + count, :, :2].numpy())
    return np.concatenate(parts)


def motif_accessibility(z: np.ndarray, accessibility: np.ndarray) -> np.ndarray:
    """exp(z) log(1 + A): high only where a good site lies in open chromatin.

    Of the products that were tried on the yeast data, with softplus(z), powers of z and log-odds, this one is the
    hardest to beat.
    """
    return np.exp(z) * np.log1p(accessibility)


def other_factors(labels: np.ndarray, column: int, experiments: Sequence[Mapping[str, str]]) -> np.ndarray | None:
    """Share of the other factors that were measured in this cell type and are bound, (bins,).

    It looks at measurements on the test chromosomes themselves, which no model may; None where nothing else
    was measured.
    """
    own = experiments[column]
    others = [
        index
        for index, experiment in enumerate(experiments)
        if experiment["cell_type"] == own["cell_type"] and experiment["factor"] != own["factor"]
    ]
    if not others:
        return None
    chosen = labels[:, others]
    known = np.maximum((chosen != LEFT_OUT).sum(1), 1)
    return (chosen == BOUND).sum(1) / known
