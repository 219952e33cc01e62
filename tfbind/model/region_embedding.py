"""DNA tokens of some regions alone, in memory: what a test or a validation needs of a genome embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from tfbind.config import WindowSettings
from tfbind.genome.intervals import bin_count
from tfbind.genome.windows import WindowStretch, tile
from tfbind.model.binding import BindingModel
from tfbind.model.embedding import embed_stretches
from tfbind.model.inference import bins_around
from tfbind.model.inference_trunk import Stretch

if TYPE_CHECKING:
    from tfbind.genome.regions import Region


def stretches_over(
    sizes: Mapping[str, int],
    regions: Sequence[Region],
    windows: WindowSettings,
    *,
    around: int = 0,
    n_runs: Callable[[str], np.ndarray] | None = None,
) -> list[WindowStretch]:
    """The stretches of a genome's windows that have bases of regions, or of `around` bp on either side of them.

    They are tiled as the whole genome is, so that the tokens are those of a genome embedding, to the byte.
    """
    tiled = tile(sizes, length=windows.length, core=windows.core, bin=windows.bin, n_runs=n_runs)
    return [
        stretch
        for stretch in tiled
        if any(
            region.chrom == stretch.chrom
            and region.start - around < stretch.core_end
            and stretch.core_start < region.end + around
            for region in regions
        )
    ]


def embed_regions(
    model: BindingModel,
    fetch: Callable[[str, int, int], np.ndarray],
    sizes: Mapping[str, int],
    regions: Sequence[Region],
    windows: WindowSettings,
    *,
    n_runs: Callable[[str], np.ndarray] | None = None,
    batch_size: int | None = None,
    precision: str = "fp32",
    trunk: Callable[[Tensor, Stretch], Tensor] | None = None,
) -> dict[str, np.ndarray]:
    """DNA tokens of the chromosomes that have a region, float16 (bins, rank) each; 0 away from the regions.

    Parameters are those of `embed_stretches` and `stretches_over`.
    """
    around = bins_around(model) * windows.bin if not model.head.local else 0
    stretches = stretches_over(sizes, regions, windows, around=around, n_runs=n_runs)
    rank = model.settings.rank
    # Pages that nothing is written to take no memory.
    tokens = {
        chrom: np.zeros((bin_count(sizes[chrom], windows.bin), rank), dtype=np.float16)
        for chrom in dict.fromkeys(region.chrom for region in regions)
    }
    found = embed_stretches(model, fetch, stretches, batch_size=batch_size, precision=precision, trunk=trunk)
    for stretch, part in found:
        first = stretch.core_start // windows.bin
        tokens[stretch.chrom][first : first + len(part)] = part
    return tokens
