"""Running a trained model over stretches of a genome: DNA tokens by window, then predictions by stretch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tfbind.genome.windows import Window
from tfbind.model.binding import BindingModel
from tfbind.model.data import GenomeData
from tfbind.model.head import FactorCode
from tfbind.model.precision import DTYPES

# Bins around a stretch that the accessibility tower and the motif scan look at.
MARGIN = 16
# Bins predicted at once: bounds memory whatever the chromosome's length.
STRETCH = 4096


def embed_windows(
    model: BindingModel,
    fetch: Callable[[str, int, int], np.ndarray],
    windows: Sequence[Window],
    *,
    batch_size: int,
    precision: str = "fp32",
) -> Iterator[tuple[Window, np.ndarray]]:
    """DNA tokens of the cores of windows.

    Parameters
    ----------
    fetch
        (chromosome, start, end) in bp -> base codes uint8, N off the chromosome.
    windows
        Of one length.
    batch_size
        Windows through the trunk at once.
    precision
        `fp32`, `bf16` or `fp16` (autocast).

    Yields
    ------
    Each window with float32 (bins of its core, rank).
    """
    device = next(model.parameters()).device
    model.eval()
    for low in range(0, len(windows), batch_size):
        batch = windows[low : low + batch_size]
        codes = np.stack([fetch(window.chrom, window.start, window.end) for window in batch])
        with torch.inference_mode():
            found = model.dna_tokens(torch.as_tensor(codes).to(device), trunk_dtype=DTYPES[precision])
        tokens = found.cpu().numpy()
        for window, found in zip(batch, tokens, strict=True):
            first = (window.core_start - window.start) // model.bin
            count = -(-(window.core_end - window.core_start) // model.bin)
            yield window, found[first : first + count]


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
    device = next(model.parameters()).device
    start, length = first - MARGIN, count + 2 * MARGIN
    dna = np.zeros((length, tokens.shape[1]), dtype=np.float32)
    low, high = max(start, 0), min(start + length, len(tokens))
    dna[low - start : high - start] = tokens[low:high]
    codes = torch.as_tensor(data.window_codes(chrom, start, length)[None]).to(device)
    accessibility = torch.as_tensor(data.window_accessibility(chrom, start, length)[None]).to(device)
    has_track = torch.as_tensor(data.has_track).to(device)
    with torch.inference_mode():
        logits = model.head.decode(
            torch.as_tensor(dna[None]).to(device), codes, factors, accessibility, has_track, pairs, model.bin
        )
    return logits[0, MARGIN : MARGIN + count].cpu().numpy()


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
