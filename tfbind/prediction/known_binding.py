"""Tracks that count known binding, where a model's experiments were measured and trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, from_numpy

from tfbind.core.errors import InputError
from tfbind.genome.regions import Region
from tfbind.model.checkpoint import Checkpoint
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
        trained = set(manifest["experiments"])
        own = [(column, each) for column, each in enumerate(targets.experiments) if each["name"] in trained]
        self.columns = [column for column, _ in own]
        self.names = [each["name"] for _, each in own]
        self.experiments = Experiments([(each["factor"], each["cell_type"]) for _, each in own])
        self.regions = [Region(*each) for name in ("regions", "validation_regions") for each in manifest[name]]

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

    def labels_of(self, chrom: str, bins: range) -> Tensor:
        """Labels of the known experiments, uint8 (bins, experiments)."""
        return from_numpy(self.labels[chrom][bins.start : bins.stop, self.columns])

    def counts(self, pair: Pair) -> bool:
        """Whether anything known counts for a factor in a cell type."""
        return self.known.of(self.experiments.about([pair]).any(-1)[:, 0].tolist()) is not None

    def threshold(self, experiment: str) -> tuple[str, float | None]:
        """Name and value of the threshold of bins where binding is known: the experiment's own, or `pooled`."""
        source = experiment if experiment in self.known.thresholds else "pooled"
        return source, self.known.thresholds[source]

    def told(self, pair: Pair) -> dict[str, Any] | None:
        """What the provenance of a track says: from which experiments, and where; None where nothing counts."""
        if not self.counts(pair):
            return None
        about = self.experiments.about([pair])[:, 0]
        weights = self.known.of(about.any(-1).tolist())
        return {
            "regions": [str(region) for region in self.regions],
            **{
                kind: [name for name, chosen in zip(self.names, own.tolist(), strict=True) if chosen]
                for kind, own in zip(KINDS, about, strict=True)
                if kind in weights.evidence
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
        named = [(self.factors[factor], self.cell_types[cell]) for factor, cell in pairs.tolist()]
        about = self.places.experiments.about(named)

        def counted(low: int, found: Tensor, spread: Tensor | None) -> None:
            for part in self.places.within(chrom, range(low, low + found.shape[1])):
                own = found[:, part.start - low : part.stop - low]
                labels = self.places.labels_of(chrom, part)
                own.copy_(self.places.known.counted(logits_of(own), labels, about).sigmoid_())
            take(low, found, spread)

        self.probabilities.each(counted, chrom, tokens, first, count, pairs)
