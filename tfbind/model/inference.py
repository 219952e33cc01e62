"""Running a trained model's head over DNA tokens: predictions by stretch of a chromosome."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tfbind.genome.intervals import cut
from tfbind.model.binding import BindingModel
from tfbind.model.context_encoder import ACCESSIBILITY_REACH
from tfbind.model.data import N_CODE, GenomeData
from tfbind.model.head import FactorCode

# Bins around a stretch that the accessibility tower and the motif scan look at.
MARGIN = 16
# Bins predicted at once: bounds memory whatever the chromosome's length.
STRETCH = 4096
# For heads that are not local: the share 1 / EDGES of a window at either end is not kept; windows at once.
EDGES = 8
WINDOWS_AT_ONCE = 8


def predict_stretch(
    model: BindingModel,
    factors: FactorCode,
    data: GenomeData,
    chrom: str,
    tokens: np.ndarray,
    first: int,
    count: int,
    pairs: Tensor,
) -> np.ndarray:
    """Logits of bins `first` .. `first + count` of a chromosome, float32 (count, pairs).

    Parameters
    ----------
    tokens
        DNA tokens of the whole chromosome, (bins, rank), 16 or 32 bit, may be memory-mapped.
    pairs
        (factor, cell type), int64 (pairs, 2).
    """
    if model.head.local:
        return _decode(model, factors, data, chrom, tokens, [first - MARGIN], count + 2 * MARGIN, pairs)[
            0, MARGIN : MARGIN + count
        ]
    # What looks along all bins it is given is given as many as in training, and its edges are not kept. Windows
    # are counted from the chromosome's start, whichever stretch of it is asked for.
    length = model.shape.window_bins
    edge = length // EDGES
    step = length - 2 * edge
    lowest = first // step * step
    starts = range(lowest - edge, first + count - edge, step)
    parts = [
        _decode(model, factors, data, chrom, tokens, starts[low : low + WINDOWS_AT_ONCE], length, pairs)
        for low in range(0, len(starts), WINDOWS_AT_ONCE)
    ]
    kept = np.concatenate(parts)[:, edge : edge + step]
    return kept.reshape(-1, kept.shape[-1])[first - lowest :][:count]


def empty_token(model: BindingModel) -> np.ndarray:
    """The DNA token of a bin in nothing but N, float32 (rank,): the mean over a window as in training."""
    device = next(model.parameters()).device
    codes = torch.full((1, model.shape.window_bins * model.bin), N_CODE, dtype=torch.uint8, device=device)
    with torch.inference_mode():
        return model.dna_tokens(codes)[0].mean(0).cpu().numpy()


def _decode(
    model: BindingModel,
    factors: FactorCode,
    data: GenomeData,
    chrom: str,
    tokens: np.ndarray,
    starts: Sequence[int],
    length: int,
    pairs: Tensor,
) -> np.ndarray:
    """Logits of runs of `length` bins from each of `starts`, float32 (runs, length, pairs)."""
    device = next(model.parameters()).device
    dna = np.stack([cut(tokens, start, length, 0) for start in starts]).astype(np.float32)
    empty = (dna == 0).all(-1)
    if empty.any() and not model.head.local:
        # Off the chromosome, and in runs of N that were not embedded, training saw tokens of N.
        dna[empty] = empty_token(model)
    codes = np.stack([data.window_codes(chrom, start, length) for start in starts])
    around = ACCESSIBILITY_REACH
    accessibility = np.stack(
        [data.window_accessibility(chrom, start - around, length + 2 * around) for start in starts]
    )
    arrays = [torch.as_tensor(array).to(device) for array in (dna, codes, accessibility)]
    with torch.inference_mode():
        found = model.head.decode(
            arrays[0], arrays[1], factors, data.contexts(arrays[2]), pairs.to(device), model.bin
        )
    return found.binding.cpu().numpy()


def predict_chromosome(
    model: BindingModel,
    factors: FactorCode,
    data: GenomeData,
    chrom: str,
    tokens: np.ndarray,
    pairs: Tensor,
) -> np.ndarray:
    """Logits of a whole chromosome, float32 (bins, pairs)."""
    total = data.bins(chrom)
    parts = [
        predict_stretch(model, factors, data, chrom, tokens, first, min(STRETCH, total - first), pairs)
        for first in range(0, total, STRETCH)
    ]
    return np.concatenate(parts)
