"""What is predicted around measured calls where the model was not trained: the mean over calls, by distance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfbind.genome.bigwig import read_chromosome_bins
from tfbind.genome.reference import Reference
from tfbind.training.splits import Split
from tfbind.training.targets import Targets

COLUMNS = ("experiment", "factor", "cell_type", "kind", "n_calls", "offset", "mean_probability", "background")
REACH = 2000
"""bp to either side of a call's middle."""


def profiles(tracks: Path, targets: Targets, split: Split, reference: Reference) -> Iterator[dict[str, Any]]:
    """Mean predicted probability around the measured calls of each tested experiment, in the test's regions.

    Parameters
    ----------
    tracks
        Folder of folders: CELL_TYPE/FACTOR.bw.

    Yields
    ------
    Rows with `COLUMNS`, one an experiment and offset: `n_calls` calls have all of their surroundings, `REACH` bp
    to either side of their middle, in a region of the test; others are left out. `offset` is in bp, from the bin
    of a call's middle to another bin. `background` is the mean over all bins of the test's regions. An experiment
    that has no such call, or whose track was not made, has no rows.

    Raises
    ------
    InputError
        As `read_chromosome_bins`.
    """
    bin = split.bin
    reach = REACH // bin
    offsets = np.arange(-reach, reach + 1)
    for column, experiment in enumerate(targets.experiments):
        path = Path(tracks, experiment["cell_type"], f"{experiment['factor']}.bw")
        if experiment["name"] not in split.tested or not path.is_file():
            continue
        around, everywhere = [], []
        for region in split.test:
            bins = region.bins(bin)
            size = reference.sizes[region.chrom]
            values = read_chromosome_bins(path, reference.names, region.chrom, size, bin, bins)
            everywhere.append(values)
            middles = _middles(targets.peaks[region.chrom], column) // bin - bins.start
            whole = middles[(middles >= reach) & (middles < len(bins) - reach)]
            around.append(values[whole[:, None] + offsets])
        stacked = np.concatenate(around)
        if not len(stacked):
            continue
        background = float(np.concatenate(everywhere).mean(dtype=np.float64))
        for offset, mean in zip(offsets.tolist(), stacked.mean(0, dtype=np.float64).tolist(), strict=True):
            yield {
                **{"experiment": experiment["name"], "factor": experiment["factor"]},
                **{"cell_type": experiment["cell_type"], "kind": split.kinds[experiment["name"]]},
                **{"n_calls": len(stacked), "offset": offset * bin},
                **{"mean_probability": mean, "background": background},
            }


def _middles(peaks: np.ndarray, column: int) -> np.ndarray:
    """Middle base of each peak of an experiment on a chromosome, int64 (peaks,)."""
    own = peaks[peaks[:, 0] == column]
    return (own[:, 1] + own[:, 2] - 1) // 2
