"""Calibration: from a model's logits to logits that are probabilities, by a map that keeps their order.

Every method is an increasing map of logits. So a track ranks bins as the model does, and what is a threshold of
logits is one of probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from tfbind.core.errors import InputError

Method = Literal["none", "temperature", "platt", "isotonic"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class Calibration:
    """An increasing map of logits.

    Without knots it is `offset + slope * logit`. With knots it is piecewise linear between them, and goes on
    beyond them with `slope`.

    Attributes
    ----------
    method
        How it was fitted; `none`: logits stay as they are, to the bit.
    slope
        Above 0.
    offset
        0 where there are knots.
    knots
        (logit, calibrated logit), both strictly increasing.
    """

    method: Method = "none"
    slope: float = 1.0
    offset: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()

    def __call__(self, logits: Tensor) -> Tensor:
        """Calibrated logits, float32 of the same shape; never in place."""
        if self.method == "none":
            return logits
        if not self.knots:
            return logits * self.slope + self.offset
        at, value, slopes, most = (part.to(logits.device) for part in self._segments)
        segment = torch.bucketize(logits, at, right=True)
        anchor = (segment - 1).clamp_(min=0)
        found = (logits - at[anchor]).mul_(slopes[segment]).add_(value[anchor])
        # Rounding must not lift what lies before a knot above it.
        return torch.minimum(found, most[segment])

    @cached_property
    def _segments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Knots, their values; of the segments before, between and after them: slopes, and the highest values."""
        at, value = torch.tensor(self.knots, dtype=torch.float64).T
        beyond = torch.tensor([self.slope], dtype=torch.float64)
        slopes = torch.cat([beyond, value.diff() / at.diff(), beyond])
        most = torch.cat([value, torch.tensor([torch.inf], dtype=torch.float64)])
        return tuple(part.float().contiguous() for part in (at, value, slopes, most))

    def as_json(self) -> dict[str, Any]:
        """Method and parameters, for a checkpoint's JSON."""
        parameters: dict[str, Any] = {}
        if self.method != "none":
            parameters = {
                "slope": self.slope,
                "offset": self.offset,
                "knots": [list(knot) for knot in self.knots],
            }
        return {"method": self.method, **parameters}


def read_calibration(about: Mapping[str, Any]) -> Calibration:
    """The calibration that a checkpoint's JSON tells of; one that tells of none has none.

    Raises
    ------
    InputError
        It tells of one that this version does not know, or whose parameters are no increasing map.
    """
    told = about.get("calibration")
    if told is None:
        return Calibration()
    problem = None
    try:
        method = told["method"]
        if method == "none":
            return Calibration()
        knots = tuple((float(at), float(value)) for at, value in told["knots"])
        found = Calibration(method, float(told["slope"]), float(told["offset"]), knots)
        rising = all(low < high for one, two in pairwise(knots) for low, high in zip(one, two, strict=True))
        if method not in METHODS:
            problem = f"there is no method '{method}'"
        elif not (found.slope > 0 and rising):
            problem = "it is not increasing"
    except (TypeError, KeyError, ValueError) as error:
        problem = f"it cannot be read ({error})"
    if problem is not None:
        raise InputError(
            f"the model's calibration is none that this version knows: {problem}",
            key="calibration",
            mend="train again, or use the tfbind that wrote the model",
        )
    return found
