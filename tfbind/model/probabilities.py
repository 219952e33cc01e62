"""Calibrated probabilities of binding along a genome: of a model, or of an ensemble's members together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tfbind.core.errors import InputError
from tfbind.model.binding import BindingModel
from tfbind.model.calibration import Calibration, read_calibration
from tfbind.model.checkpoint import Checkpoint
from tfbind.model.contexts import UNKNOWN
from tfbind.model.data import GenomeData
from tfbind.model.factors import FactorBatch
from tfbind.model.head import FactorCode, joined_codes
from tfbind.model.inference import Predictor
from tfbind.model.rendering import PIECE

# Bins whose members are averaged at once: enough pieces for many threads.
AT_ONCE = 64 * PIECE

Take = Callable[[int, Tensor, Tensor | None], None]
"""Takes a part's first bin, its probabilities (pairs, bins), and their spread, None of a single model."""


@dataclass(frozen=True)
class Member:
    """A model that predicts factors in cell types, and what makes probabilities of its logits."""

    predictor: Predictor
    calibration: Calibration


class Probabilities:
    """Probabilities of binding of factors in cell types, along a genome, from its DNA tokens.

    A model's are its calibrated ones. An ensemble's are the mean of its members' calibrated probabilities, after
    a calibration of the mean; their spread is the standard deviation of the members' (over all of them: divided
    by their number). Probabilities are averaged and not logits: so the mean is that of a draw of one member, and
    no member is worth more for being surer.

    Parameters
    ----------
    members
        One is a model, several are an ensemble, in the order of its tokens.
    calibration
        Of the mean; None: it stays as it is.
    """

    def __init__(self, members: Sequence[Member], calibration: Calibration | None = None) -> None:
        self.members, self.calibration = members, calibration or Calibration()
        self.bin = members[0].predictor.model.bin

    @classmethod
    def of(cls, checkpoint: Checkpoint, factors: FactorBatch, data: GenomeData) -> Probabilities:
        """Of a model or an ensemble.

        Parameters
        ----------
        data
            Knows, as `GenomeData.knowing`, the cell types that `checkpoint` has learnt.
        """
        return cls.of_encoded(checkpoint, encoded_by_each(checkpoint, factors), data)

    @classmethod
    def of_encoded(cls, checkpoint: Checkpoint, codes: Sequence[FactorCode], data: GenomeData) -> Probabilities:
        """As `of`, of factors that `encoded_by_each` has encoded."""
        if not checkpoint.members:
            (code,) = codes
            return cls([Member(Predictor(checkpoint.model, code, data), read_calibration(checkpoint.about))])
        learnt = checkpoint.about["contexts"]["learnt"]
        members = []
        for each, code in zip(checkpoint.members, codes, strict=True):
            own = as_learnt_by(each.about["contexts"]["learnt"], learnt, data)
            members.append(Member(Predictor(each.model, code, own), read_calibration(each.about)))
        return cls(members, read_calibration(checkpoint.about))

    def each(self, take: Take, chrom: str, tokens: np.ndarray, first: int, count: int, pairs: Tensor) -> None:
        """Call a function with the probabilities of each part of a stretch, maybe in several threads.

        What it takes is its own to change. The other parameters are those of `Predictor.each`.

        Raises
        ------
        InputError
            If a model gives values that are not finite.
        """
        if len(self.members) == 1:
            (member,) = self.members

            def alone(low: int, logits: Tensor) -> None:
                take(low, _probabilities(member.calibration, logits, chrom), None)

            member.predictor.each(alone, chrom, tokens, first, count, pairs)
            return
        low, end = first, first + count
        while low < end:
            # Counted from the chromosome's start, so that no piece is computed twice.
            high = min(end, (low // AT_ONCE + 1) * AT_ONCE)
            mean, spread = self._together(chrom, tokens, low, high - low, pairs)
            take(low, self._calibrated(mean), spread)
            low = high

    def _together(
        self, chrom: str, tokens: np.ndarray, first: int, count: int, pairs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the members, float32 (pairs, count) each."""
        mean, squares = torch.zeros(len(pairs), count), torch.zeros(len(pairs), count)
        start = 0
        for number, member in enumerate(self.members, 1):
            own = slice(start, start + member.predictor.model.rank)
            start = own.stop
            add = partial(_add, member.calibration, chrom, number, first, mean, squares)
            member.predictor.each(add, chrom, tokens[:, own], first, count, pairs)
        return mean, squares.div_(len(self.members)).sqrt_()

    def _calibrated(self, mean: Tensor) -> Tensor:
        if self.calibration.method == "none":
            return mean
        return self.calibration(mean.logit()).sigmoid()


def encoded_by_each(checkpoint: Checkpoint, factors: FactorBatch) -> list[FactorCode]:
    """Factors as the model has them after its towers, or as each member of an ensemble has."""
    return [encoded(each.model, factors) for each in checkpoint.members or (checkpoint,)]


def encoded(model: BindingModel, factors: FactorBatch) -> FactorCode:
    """Factors after their towers, each by itself: so its track does not depend on the others.

    Factors that are `seen_twice` stand there twice, told their protein and not.
    """
    device = next(model.parameters()).device
    codes, numbers = [], []
    with torch.inference_mode():
        for row, twice in enumerate(factors.seen_twice.tolist()):
            alone = factors.select(torch.tensor([row])).to(device)
            views = [alone, alone.without_protein()] if twice else [alone]
            codes += [model.head.encode_factors(each) for each in views]
            numbers += [row] * len(views)
        return replace(joined_codes(codes), number=torch.tensor(numbers, device=device))


def _add(
    calibration: Calibration,
    chrom: str,
    number: int,
    first: int,
    mean: Tensor,
    squares: Tensor,
    low: int,
    logits: Tensor,
) -> None:
    """Add a part of a member to the running mean and sum of squared distances (Welford 1962)."""
    found = _probabilities(calibration, logits, chrom)
    bins = slice(low - first, low - first + found.shape[1])
    distance = found - mean[:, bins]
    mean[:, bins] += distance / number
    squares[:, bins] += distance * (found - mean[:, bins])


def _probabilities(calibration: Calibration, logits: Tensor, chrom: str) -> Tensor:
    if not torch.isfinite(logits).all():
        raise InputError(
            f"the model gives values that are not finite on {chrom}",
            mend="train the model again, with a lower training.learning_rate",
        )
    return calibration(logits).sigmoid()


def as_learnt_by(own: Sequence[str], learnt: Sequence[str], data: GenomeData) -> GenomeData:
    """Data that knows the rows of the cell types `learnt`, with the rows of those that a member has learnt."""
    if data.known is None or list(own) == list(learnt):
        return data
    rows = torch.tensor([own.index(name) if name in own else UNKNOWN for name in learnt] + [UNKNOWN])
    # UNKNOWN is -1, the last of them.
    return replace(data, known=replace(data.known, identity=rows[data.known.identity]))


def logits_of(probabilities: Tensor) -> Tensor:
    """Finite, also of probabilities that are 0 or 1 in 32 bits."""
    limits = torch.finfo(torch.float32)
    return probabilities.clamp(limits.tiny, 1 - limits.eps / 2).logit()
