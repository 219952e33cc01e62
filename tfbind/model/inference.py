"""Running a trained model's head over DNA tokens: predictions by stretch of a chromosome."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tfbind.genome.intervals import cut
from tfbind.model.binding import BindingModel
from tfbind.model.context_encoder import ACCESSIBILITY_REACH
from tfbind.model.data import N_CODE, GenomeData
from tfbind.model.head import FactorCode
from tfbind.model.pieces import single_threads
from tfbind.model.rendering import PIECE, Renderer, can_render

# Bins around a stretch that the accessibility tower and the motif scan look at.
MARGIN = 16
# Bins predicted at once: bounds memory whatever the chromosome's length.
STRETCH = 4096
# For heads that are not local: the share 1 / EDGES of a window at either end is not kept; windows at once.
EDGES = 8
WINDOWS_AT_ONCE = 8


class Predictor:
    """Logits of binding of factors in cell types, along a genome, from its DNA tokens.

    On a CPU, a head that `can_render` takes is rendered, in threads; all else is decoded, as it was trained.

    Parameters
    ----------
    model
        In eval mode.
    factors
        What `Head.encode_factors` made of them. Of a factor that stands there twice, the logits are the mean of
        both: predictions that are wrong in different ways are, together, less wrong.
    data
        Genome, and accessibility of the cell types.
    """

    def __init__(self, model: BindingModel, factors: FactorCode, data: GenomeData) -> None:
        self.model, self.factors, self.data = model, factors, data
        self.device = next(model.parameters()).device
        self.renderer = None
        if self.device.type == "cpu" and can_render(model.head):
            # Many small operations: threads would spend more time waiting for one another than computing.
            with torch.inference_mode(), single_threads():
                self.renderer = Renderer(model.head, factors, model.bin)

    def each(
        self,
        function: Callable[[int, Tensor], None],
        chrom: str,
        tokens: np.ndarray,
        first: int,
        count: int,
        pairs: Tensor,
    ) -> None:
        """Call a function with the logits of each part of a stretch, maybe in several threads.

        Parameters
        ----------
        function
            Takes the part's first bin, and float32 (pairs, bins), which is its own to change.
        tokens
            DNA tokens of the whole chromosome, (bins, rank), 16 or 32 bit, may be memory-mapped.
        first, count
            Bins of the chromosome.
        pairs
            (factor, cell type), int64 (pairs, 2).
        """
        function, pairs = self._of_rows(function, pairs)
        if self.renderer is None:
            for low in range(first, first + count, STRETCH):
                some = min(STRETCH, first + count - low)
                function(low, torch.as_tensor(self._decoded(chrom, tokens, low, some, pairs)).T)
            return

        def render(piece: int) -> None:
            with torch.inference_mode():
                logits = self._rendered(chrom, tokens, piece * PIECE, pairs)
                low, high = max(first, piece * PIECE), min(first + count, (piece + 1) * PIECE)
                function(low, logits[:, low - piece * PIECE : high - piece * PIECE])

        _in_threads(render, range(first // PIECE, -(-(first + count) // PIECE)))

    def _of_rows(
        self, function: Callable[[int, Tensor], None], pairs: Tensor
    ) -> tuple[Callable[[int, Tensor], None], Tensor]:
        """Pairs by the rows of `factors`, and what calls the given function with the logits of pairs."""
        numbers = self.factors.number.cpu()
        first = torch.searchsorted(numbers, pairs[:, 0].contiguous())
        last = torch.searchsorted(numbers, pairs[:, 0].contiguous(), right=True) - 1
        twice = torch.nonzero(first != last).squeeze(1)
        if not len(twice):
            return function, torch.stack([first, pairs[:, 1]], 1)

        def together(low: int, logits: Tensor) -> None:
            found, others = logits[: len(pairs)], logits[len(pairs) :]
            found[twice] = (found[twice] + others) / 2
            function(low, found)

        rows = torch.cat([first, last[twice]])
        return together, torch.stack([rows, torch.cat([pairs[:, 1], pairs[twice, 1]])], 1)

    def stretch(self, chrom: str, tokens: np.ndarray, first: int, count: int, pairs: Tensor) -> np.ndarray:
        """Logits of a stretch, float32 (count, pairs); the parameters are those of `each`."""
        out = np.empty((len(pairs), count), dtype=np.float32)

        def keep(low: int, logits: Tensor) -> None:
            out[:, low - first : low - first + logits.shape[1]] = logits.numpy()

        self.each(keep, chrom, tokens, first, count, pairs)
        return out.T

    def _rendered(self, chrom: str, tokens: np.ndarray, start: int, pairs: Tensor) -> Tensor:
        """Logits of a piece, (pairs, PIECE)."""
        bin, around = self.model.bin, ACCESSIBILITY_REACH
        near, margin = self.renderer.near, self.renderer.margin
        codes = cut(
            self.data.codes[chrom],
            (start - near) * bin - margin,
            (PIECE + 2 * near) * bin + 2 * margin,
            N_CODE,
        )
        # Copies: what is cut may be a read-only view, which torch warns of.
        return self.renderer(
            torch.tensor(cut(tokens, start, PIECE, 0)),
            torch.tensor(codes),
            self.data.window_contexts(chrom, [start - around], PIECE + 2 * around),
            pairs,
        )

    def _decoded(self, chrom: str, tokens: np.ndarray, first: int, count: int, pairs: Tensor) -> np.ndarray:
        """Logits of a stretch as the head decodes them, float32 (count, pairs)."""
        if self.model.head.local:
            found = self._decode(chrom, tokens, [first - MARGIN], count + 2 * MARGIN, pairs)
            return found[0, MARGIN : MARGIN + count]
        # What looks along all bins it is given is given as many as in training, and its edges are not kept.
        # Windows are counted from the chromosome's start, whichever stretch of it is asked for.
        length = self.model.shape.window_bins
        edge = length // EDGES
        step = length - 2 * edge
        lowest = first // step * step
        starts = range(lowest - edge, first + count - edge, step)
        parts = [
            self._decode(chrom, tokens, starts[low : low + WINDOWS_AT_ONCE], length, pairs)
            for low in range(0, len(starts), WINDOWS_AT_ONCE)
        ]
        kept = np.concatenate(parts)[:, edge : edge + step]
        return kept.reshape(-1, kept.shape[-1])[first - lowest :][:count]

    def _decode(
        self, chrom: str, tokens: np.ndarray, starts: Sequence[int], length: int, pairs: Tensor
    ) -> np.ndarray:
        """Logits of runs of `length` bins from each of `starts`, float32 (runs, length, pairs)."""
        model, data, around = self.model, self.data, ACCESSIBILITY_REACH
        dna = np.stack([cut(tokens, start, length, 0) for start in starts]).astype(np.float32)
        empty = (dna == 0).all(-1)
        if empty.any() and not model.head.local:
            # Off the chromosome, and in runs of N that were not embedded, training saw tokens of N.
            dna[empty] = self._empty_token
        codes = np.stack([data.window_codes(chrom, start, length) for start in starts])
        contexts = data.window_contexts(
            chrom, [start - around for start in starts], length + 2 * around, self.device
        )
        dna, codes = (torch.as_tensor(array).to(self.device) for array in (dna, codes))
        with torch.inference_mode():
            found = model.head.decode(dna, codes, self.factors, contexts, pairs.to(self.device), model.bin)
        return found.binding.cpu().numpy()

    @cached_property
    def _empty_token(self) -> np.ndarray:
        return empty_token(self.model)


def bins_around(model: BindingModel) -> int:
    """Bins on either side of a bin that its prediction may depend on, at most."""
    # A window may begin or end almost its length away, and the accessibility tower looks beyond its ends.
    return MARGIN if model.head.local else model.shape.window_bins + ACCESSIBILITY_REACH


def _in_threads(function: Callable[[int], None], items: Iterable[int]) -> None:
    """Call a function with each item, in as many threads as PyTorch has; each runs its operations by itself."""
    with single_threads() as (pool, threads):
        running: deque = deque()
        for item in items:
            if pool is None:
                function(item)
                continue
            if len(running) == 2 * threads:
                running.popleft().result()
            running.append(pool.submit(function, item))
        for each in running:
            each.result()


def empty_token(model: BindingModel) -> np.ndarray:
    """The DNA token of a bin in nothing but N, float32 (rank,): the mean over a window as in training."""
    device = next(model.parameters()).device
    codes = torch.full((1, model.shape.window_bins * model.bin), N_CODE, dtype=torch.uint8, device=device)
    with torch.inference_mode():
        return model.dna_tokens(codes)[0].mean(0).cpu().numpy()
