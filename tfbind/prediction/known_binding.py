"""Tracks that count known binding, where a model's experiments were measured and trained on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from tfbind.core.errors import InputError
from tfbind.genome.regions import Region, apart
from tfbind.model.checkpoint import Checkpoint, trained_cell_type
from tfbind.model.known_binding import KINDS, Experiments, Pair, read_known_binding
from tfbind.model.probabilities import Probabilities, Take, logits_of

if TYPE_CHECKING:
    from tfbind.training.targets import Targets

KEY = "prediction.known_binding"


class KnownPlaces:
    """What is known of binding, and where: of the experiments that a model was trained on, in its regions of
    training and validation. What is held out is not known.

    Parameters
    ----------
    checkpoint
        A model, or an ensemble, that `tfbind train` or `tfbind ensemble` made.
    targets
        What it was trained on.

    Raises
    ------
    InputError
        The model does not tell how known binding counts, or was trained on other targets.
    """

    def __init__(self, checkpoint: Checkpoint, targets: Targets) -> None:
        known = read_known_binding(checkpoint.about)
        if known is None:
            raise InputError(
                "the model does not tell how known binding counts: an earlier version trained it, or the members "
                "of the ensemble were validated in no region in common",
                key=KEY,
                mend="train again, or set it to false",
            )
        manifest = checkpoint.about["manifest"]
        if targets.about["checksum"] not in np.atleast_1d(manifest["targets"]):
            raise InputError(
                "the model was trained on other targets than those that binding is to be known from",
                key=KEY,
                mend="give those that it was trained on, or train again",
            )
        self.known, self.labels, self.bin = known, targets.labels, checkpoint.model.bin
        if not known.weights:
            print(
                "known binding counts nowhere: the validation of the model tells no weights for it",
                file=sys.stderr,
            )
        self.manifest = manifest
        self.experiments = Experiments.named(targets.experiments, set(manifest["experiments"]))
        self.names = [targets.experiments[column]["name"] for column in self.experiments.columns]
        # Of an ensemble, what one member was validated in, another may have been trained in.
        self.regions = apart(
            Region(*each) for name in ("regions", "validation_regions") for each in manifest[name]
        )

    def counting(
        self, probabilities: Probabilities, factors: Sequence[str], cell_types: Sequence[str]
    ) -> CountingKnownBinding:
        """Probabilities that count what is known.

        Parameters
        ----------
        factors, cell_types
            Names of what `probabilities` knows by number.
        """
        return CountingKnownBinding(probabilities, self, factors, cell_types)

    def within(self, chrom: str, bins: range) -> list[range]:
        """The parts of some bins of a chromosome where binding is known."""
        found = []
        for region in self.regions:
            own = region.bins(self.bin)
            part = range(max(bins.start, own.start), min(bins.stop, own.stop))
            if region.chrom == chrom and len(part):
                found.append(part)
        return found

    def pair(self, factor: str, cell_type: str) -> Pair:
        """A factor in a cell type, by the name that the model was trained on it by."""
        return factor, trained_cell_type(self.manifest, cell_type) or cell_type

    def told(self, factor: str, cell_type: str) -> dict[str, Any]:
        """What the provenance of a track says: the experiments that count, by kind, and where.

        Regions are 0-based half-open, bp.
        """
        pair = self.pair(factor, cell_type)
        (weights,) = self.known.of_each(self.experiments, [pair])
        counted = () if weights is None else weights.evidence
        about = zip(KINDS, self.experiments.about([pair])[:, 0].tolist(), strict=True)
        return {
            "regions": [[region.chrom, region.start, region.end] for region in self.regions],
            **{
                kind: [name for name, chosen in zip(self.names, own, strict=True) if chosen and kind in counted]
                for kind, own in about
            },
        }


class CountingKnownBinding:
    """As `Probabilities`, of which it makes those that count known binding; their spread stays as it is."""

    def __init__(
        self, probabilities: Probabilities, places: KnownPlaces, factors: Sequence[str], cell_types: Sequence[str]
    ) -> None:
        self.probabilities, self.places = probabilities, places
        self.factors, self.cell_types = factors, cell_types
        self.bin = probabilities.bin

    def each(self, take: Take, chrom: str, tokens: np.ndarray, first: int, count: int, pairs: Tensor) -> None:
        """See `Probabilities.each`."""
        places = self.places
        named = [places.pair(self.factors[factor], self.cell_types[cell]) for factor, cell in pairs.tolist()]

        def counted(low: int, found: Tensor, spread: Tensor | None) -> None:
            bins = range(low, low + found.shape[1])
            parts = places.within(chrom, bins)
            if parts:
                labels = places.labels[chrom][bins.start : bins.stop]
                changes = places.known.changes(
                    lambda row: logits_of(found[row]), labels, places.experiments, named
                )
                for row, changed in changes:
                    changed.sigmoid_()
                    for part in parts:
                        inside = slice(part.start - low, part.stop - low)
                        found[row, inside] = changed[inside]
            take(low, found, spread)

        self.probabilities.each(counted, chrom, tokens, first, count, pairs)
