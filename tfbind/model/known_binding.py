"""Known binding: what was measured at a place counts for what else binds there.

A network of DNA and accessibility is not told that a factor was found at the very same bin in another cell type,
or other factors in this one; where that was measured, it says much. Of a factor in a cell type,

    logit' = slope * logit + offset + sum over kinds of evidence of w_kind * log(1 + 50 s_kind)

where s is the share of experiments that are bound at the bin: of the factor in other cell types (`factor`), and
of other factors in the cell type (`cell_type`). Weights are those of a logistic regression on the validation
(`tfbind.training.known_binding`), one for each set of kinds that there is evidence of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tfbind.core.errors import InputError
from tfbind.model.data import BOUND, LEFT_OUT

KINDS = ("factor", "cell_type")
"""Of evidence: the factor in other cell types; other factors in the cell type."""
SCALE = 50.0
KEY = "known_binding"

Pair = tuple[str, str]
"""Factor and cell type."""


@dataclass(frozen=True)
class Weights:
    """What a logit becomes by evidence of some kinds.

    Attributes
    ----------
    slope
        Of the logit; above 0.
    offset
        Of all.
    evidence
        Kind -> its weight; above 0.
    """

    slope: float
    offset: float
    evidence: Mapping[str, float]

    def __call__(self, logits: Tensor, evidence: Tensor) -> Tensor:
        """Logits (..., bins) by evidence (kinds, ..., bins), of all `KINDS`."""
        found = logits * self.slope + self.offset
        for kind, weight in self.evidence.items():
            found += evidence[KINDS.index(kind)] * weight
        return found

    def as_json(self) -> dict[str, Any]:
        """Numbers, for a checkpoint's JSON."""
        return {"slope": self.slope, "offset": self.offset, "evidence": dict(self.evidence)}


class Experiments:
    """Experiments whose binding is known, and what they say of factors in cell types.

    Parameters
    ----------
    measured
        Factor and cell type of each.
    columns
        Where they stand among labels; None: these are labels of no others.
    """

    def __init__(self, measured: Sequence[Pair], columns: Sequence[int] | None = None) -> None:
        self.measured = list(measured)
        self.columns = np.arange(len(self.measured)) if columns is None else np.array(columns, dtype=np.int64)

    @classmethod
    def named(cls, experiments: Sequence[Mapping[str, Any]], names: Collection[str]) -> Experiments:
        """Some of experiments whose labels stand side by side: those of these names."""
        columns = [column for column, each in enumerate(experiments) if each["name"] in names]
        return cls([(experiments[each]["factor"], experiments[each]["cell_type"]) for each in columns], columns)

    def about(self, pairs: Sequence[Pair]) -> Tensor:
        """Which experiments are evidence of which kind: bool (kinds, pairs, experiments).

        Never those of the factor in that cell type: what is to be predicted is not evidence of itself.
        """
        own, measured = (np.array(each, dtype=str).reshape(-1, 2) for each in (pairs, self.measured))
        factor, cell = (own[:, None, part] == measured[None, :, part] for part in (0, 1))
        return torch.from_numpy(np.stack([factor & ~cell, ~factor & cell]))

    def evidence(self, labels: np.ndarray, pairs: Sequence[Pair]) -> Tensor:
        """log(1 + 50 s) of each kind, float32 (kinds, pairs, bins); 0 where nothing is known.

        Parameters
        ----------
        labels
            uint8 (bins, all experiments): 0 unbound, 1 bound, 2 not known. What is no evidence is not laid out.
        """
        chosen = np.flatnonzero(self.about(pairs).any(0).any(0))
        told = torch.from_numpy(labels[:, self.columns[chosen]]).T
        groups = _Groups([self.measured[each] for each in chosen], pairs)
        bound, known = (groups.sums(part.float()) for part in (told == BOUND, told != LEFT_OUT))
        return bound.div_(known.clamp_(min=1)).mul_(SCALE).log1p_()


class _Groups:
    """Experiments by factor, by cell type, and by both.

    What a pair is told is a sum over one group less that over another: one pass over the experiments serves
    however many pairs there are.
    """

    def __init__(self, measured: Sequence[Pair], pairs: Sequence[Pair]) -> None:
        self.parts = []
        for of in (lambda pair: pair[0], lambda pair: pair[1], lambda pair: pair):
            numbers = {each: number for number, each in enumerate(dict.fromkeys(map(of, measured)))}
            # One more, of nothing.
            places = [numbers.get(of(pair), len(numbers)) for pair in pairs]
            self.parts.append((len(numbers) + 1, [numbers[of(each)] for each in measured], places))

    def sums(self, values: Tensor) -> Tensor:
        """Sums (kinds, pairs, bins) of zeros and ones (experiments, bins): exact, in whatever order."""
        factor, cell, both = (
            values.new_zeros(count, values.shape[1])
            .index_add_(0, torch.tensor(numbers, dtype=torch.int64), values)
            .index_select(0, torch.tensor(places, dtype=torch.int64))
            for count, numbers, places in self.parts
        )
        return torch.stack([factor - both, cell - both])


@dataclass(frozen=True)
class KnownBinding:
    """How known binding counts, as a checkpoint tells.

    Attributes
    ----------
    weights
        Kinds that there is evidence of, in the order of `KINDS` -> weights. Sets that could not be fitted are
        not there.
    thresholds
        Of probabilities, as those of the checkpoint, for places where binding is known.
    """

    weights: Mapping[tuple[str, ...], Weights]
    thresholds: Mapping[str, float | None]

    def of(self, there: Sequence[bool]) -> Weights | None:
        """The weights by which a pair is predicted that has evidence of these of `KINDS`; None: none counts.

        Where the set was not fitted, a smaller one serves: the factor in other cell types first.
        """
        kinds = tuple(kind for kind, has in zip(KINDS, there, strict=True) if has)
        sets = [kinds, *((kind,) for kind in kinds)]
        return next((self.weights[each] for each in sets if each in self.weights), None)

    def of_each(self, experiments: Experiments, pairs: Sequence[Pair]) -> list[Weights | None]:
        """As `of`, of pairs."""
        return [self.of(there) for there in experiments.about(pairs).any(-1).T.tolist()]

    def changes(
        self,
        logits: Callable[[int], Tensor],
        labels: np.ndarray,
        experiments: Experiments,
        pairs: Sequence[Pair],
    ) -> Iterator[tuple[int, Tensor]]:
        """Pairs that there is evidence of that counts, and their logits by it.

        Each by itself: how a value is rounded may depend on where it stands.

        Parameters
        ----------
        logits
            Number of a pair -> logits of its calibrated probabilities, float32 (bins,).
        labels
            As of `Experiments.evidence`.

        Yields
        ------
        Number of a pair, and float32 (bins,).
        """
        chosen = self.of_each(experiments, pairs)
        rows = [row for row, weights in enumerate(chosen) if weights is not None]
        if not rows:
            return
        evidence = experiments.evidence(labels, [pairs[row] for row in rows])
        for place, row in enumerate(rows):
            yield row, chosen[row](logits(row), evidence[:, place])

    def counted(
        self, logits: Tensor, labels: np.ndarray, experiments: Experiments, pairs: Sequence[Pair]
    ) -> Tensor:
        """Logits where binding is known.

        Parameters
        ----------
        logits
            Of calibrated probabilities, float32 (pairs, bins).
        labels
            As of `Experiments.evidence`.

        Returns
        -------
        float32 (pairs, bins); rows without evidence that counts are as they were.
        """
        out = logits.clone()
        for row, changed in self.changes(logits.__getitem__, labels, experiments, pairs):
            out[row] = changed
        return out

    def as_json(self) -> dict[str, Any]:
        """All of it, for a checkpoint's JSON."""
        weights = {" and ".join(kinds): each.as_json() for kinds, each in self.weights.items()}
        return {"weights": weights, "thresholds": dict(self.thresholds)}


def read_known_binding(about: Mapping[str, Any]) -> KnownBinding | None:
    """What a checkpoint's JSON tells of known binding; None where it tells nothing.

    Raises
    ------
    InputError
        It cannot be read.
    """
    told = about.get(KEY)
    if told is None:
        return None
    try:
        weights = {
            tuple(name.split(" and ")): Weights(
                float(each["slope"]),
                float(each["offset"]),
                {kind: float(each["evidence"][kind]) for kind in name.split(" and ")},
            )
            for name, each in told["weights"].items()
        }
        if "pooled" not in told["thresholds"]:
            raise KeyError("pooled")
        if unknown := {kind for kinds in weights for kind in kinds} - set(KINDS):
            raise ValueError(f"there is no evidence of the kind '{min(unknown)}'")
        return KnownBinding(weights, dict(told["thresholds"]))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f"what the model tells of known binding cannot be read ({error})",
            key=KEY,
            mend="train again, or use the tfbind that wrote the model",
        ) from error
