"""What a run trains on, stops by, and is tested on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfbind.config import SplitSettings
from tfbind.core.errors import InputError


@dataclass(frozen=True)
class Split:
    """Chromosomes of each part, and the experiments (columns of the targets) that are trained on."""

    train: list[str]
    validation: list[str]
    test: list[str]
    experiments: list[int]


def make_split(
    settings: SplitSettings,
    chromosomes: Iterable[str],
    experiments: Sequence[Mapping[str, str]],
) -> Split:
    """Split by chromosome, and leave out experiments of held-out factors and cell types.

    Parameters
    ----------
    chromosomes
        Names of the reference, in its order.
    experiments
        With keys `factor` and `cell_type`.

    Raises
    ------
    InputError
        If a chromosome is not in the reference, or nothing is left to train on.
    """
    names = list(chromosomes)
    parts = {
        "validation_chromosomes": settings.validation_chromosomes,
        "test_chromosomes": settings.test_chromosomes,
    }
    for key, chosen in parts.items():
        missing = sorted(set(chosen) - set(names))
        if missing:
            raise InputError(
                f"no such chromosome in the reference: {', '.join(missing)}; it has {', '.join(names)}",
                key=f"splits.{key}",
                mend="use the reference's names",
            )
    held_out = {*settings.validation_chromosomes, *settings.test_chromosomes}
    train = [name for name in names if name not in held_out]
    if not train:
        raise InputError("no chromosome is left to train on", key="splits", mend="hold out fewer chromosomes")
    used = [
        column
        for column, experiment in enumerate(experiments)
        if experiment["factor"] not in settings.held_out_factors
        and experiment["cell_type"] not in settings.held_out_cell_types
    ]
    if not used:
        raise InputError(
            "every experiment is held out",
            key="splits.held_out_factors",
            mend="hold out fewer factors or cell types",
        )
    in_order = [[name for name in names if name in chosen] for chosen in parts.values()]
    return Split(train, in_order[0], in_order[1], used)
