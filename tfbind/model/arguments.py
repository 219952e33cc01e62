"""From the arguments of `Model` to what the network takes, with errors that name the argument."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from tfbind.config import FineTuningSettings, ModelSettings
from tfbind.core.errors import InputError
from tfbind.model.binding import BindingModel
from tfbind.model.contexts import ContextBatch
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND
from tfbind.model.factors import FactorBatch
from tfbind.model.outputs import Outputs
from tfbind.model.trunk_interface import Trunk

Pairs = Tensor | Literal["all"] | None


# --- of the constructor ------------------------------------------------------------------------------------


def loss_weights(loss: str | Mapping[str, float], known: Mapping[str, str]) -> dict[str, float]:
    """Weights by name of loss, all above 0."""
    weights = {loss: 1.0} if isinstance(loss, str) else dict(loss)
    for name, weight in weights.items():
        if name not in known:
            raise InputError(f"there is no loss '{name}'", key="loss", mend=_nearest(name, list(known)))
        if not weight > 0:
            raise InputError(f"the loss {name} has the weight {weight}", key="loss", mend="leave it out")
    if not weights:
        raise InputError("there is no loss", key="loss", mend=f"give one of {', '.join(known)}")
    return weights


def model_settings(values: Mapping[str, Any], trunk: Trunk) -> ModelSettings:
    """Settings of the head, and the trunk's own.

    Raises
    ------
    TypeError
        A name that is none of them.
    """
    names = [name for name in ModelSettings.model_fields if name not in ("trunk", "motif_panel")]
    for name in values:
        if name not in names:
            raise TypeError(f"Model() has no argument '{name}': {_nearest(name, names)}")
    return _validated(ModelSettings, {**values, "trunk": trunk.settings}, "Model()")


def fine_tuning_settings(value: str | Mapping[str, Any] | FineTuningSettings) -> FineTuningSettings:
    """Settings of a mode."""
    if not isinstance(value, FineTuningSettings):
        values = {"mode": value} if isinstance(value, str) else value
        value = _validated(FineTuningSettings, values, "fine_tuning")
    if value.cache is not None:
        problem = "cache is for the workflow's training, which knows windows by their place in the genome"
        raise InputError(problem, key="fine_tuning.cache", mend="take it out")
    return value


def _validated(kind: type[BaseModel], values: Mapping[str, Any], key: str) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc'])) or key}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        ]
        mend = "see config/README.md, `model` and `training`"
        raise InputError("; ".join(problems), key=key, mend=mend) from None


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"


# --- of a call ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What a call asks for.

    Attributes
    ----------
    bases : (B, bp) or (B, bp, 4)
    factors : FactorBatch of T
    contexts : ContextBatch
        Of C cell types; where each sequence has its own pair, with its accessibility and signals in every column.
    pairs : int64 (P, 2); or (B, 2), where each sequence has its own
    own : bool
        Whether each sequence has its own pair.
    grid : (T, C), or None
        If all factors in all cell types are asked for.
    """

    bases: Tensor
    factors: FactorBatch
    contexts: ContextBatch
    pairs: Tensor
    own: bool
    grid: tuple[int, int] | None

    def runs(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Sequences that go through the head together, the factors that they meet, and pairs of these."""
        if not self.own:
            yield slice(None), torch.arange(len(self.factors), device=self.pairs.device), self.pairs
            return
        for row in range(len(self.bases)):
            factor, cell = self.pairs[row]
            # The one factor of this sequence is the first of those that it meets.
            yield slice(row, row + 1), factor[None], torch.stack([torch.zeros_like(factor), cell])[None]

    def shaped(self, found: Tensor) -> Tensor:
        """As it is returned: the last axis, of pairs, is left out or unfolded."""
        if self.own:
            return found.squeeze(-1)
        return found if self.grid is None else found.unflatten(-1, self.grid)

    def flat_mask(self, given: Tensor, key: str, found: Outputs) -> Tensor:
        """As `flat`, of truth values."""
        given = torch.as_tensor(given)
        if given.dtype != torch.bool:
            raise InputError(
                f"is of {str(given.dtype).removeprefix('torch.')}", key=key, mend="give truth values (bool)"
            )
        return self.flat(given, key, found)

    def flat(self, given: Tensor, key: str, found: Outputs) -> Tensor:
        """An argument of the shape of what is returned, as (B, bins, pairs)."""
        like = next(value for value in vars(found).values() if value is not None)
        expected = self.shaped(like).shape
        given = torch.as_tensor(given).to(like.device)
        if given.shape != expected:
            raise InputError(
                f"is of shape {tuple(given.shape)}, and predictions of {tuple(expected)}",
                key=key,
                mend="give one value for each bin that is predicted",
            )
        return given.reshape(like.shape)


def ask(
    network: BindingModel,
    bases: Tensor,
    *,
    proteins: tuple[Tensor | None, Tensor | None],
    motif: Tensor | None,
    cell_types: tuple[Tensor | None, Tensor | None],
    accessibility: Tensor | None,
    signals: tuple[Tensor | None, Tensor | None],
    pairs: Pairs,
) -> Asked:
    """Put together what a call asks for; see `Model.forward`."""
    factors = _factors(network, *proteins, motif).to(bases.device)
    text, has_text = _texts(network, *cell_types)
    own = pairs is None
    bins = network.trunk.bins(bases.shape[1])
    count = _cell_type_count(text, accessibility, signals[0], own)
    signal = _signal(accessibility, len(bases), bins, count, own)
    further, has_further = _further(*signals, network.shape.signals, (len(bases), bins, count), own)
    contexts = ContextBatch(
        torch.zeros(len(bases), bins, count) if signal is None else signal,
        torch.full((count,), signal is not None),
        torch.zeros(count, network.shape.text_dim) if text is None else text,
        torch.zeros(count, dtype=torch.bool) if has_text is None else has_text,
        torch.full((count,), -1),
        further,
        has_further,
    ).to(bases.device)
    if own:
        rows = [_row_of_each(len(bases), len(factors), "factors"), _row_of_each(len(bases), count, "cell types")]
        return Asked(bases, factors, contexts, torch.stack(rows, 1).to(bases.device), True, None)
    if isinstance(pairs, str):
        if pairs != "all":
            raise InputError(f"is '{pairs}'", key="pairs", mend="give 'all', or pairs of numbers, (P, 2)")
        grid = (len(factors), count)
        every = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1]))
        return Asked(bases, factors, contexts, every.to(bases.device), False, grid)
    return Asked(
        bases, factors, contexts, _checked_pairs(pairs, len(factors), count).to(bases.device), False, None
    )


def _factors(
    network: BindingModel, embed: Tensor | None, mask: Tensor | None, motif: Tensor | None
) -> FactorBatch:
    dim = network.shape.residue_dim
    if embed is None and motif is None:
        raise InputError(
            "neither a protein nor a motif is given", key="aa_embed", mend="give one of them, or both"
        )
    if embed is None:
        embed, mask = torch.zeros(len(motif), 1, dim), torch.zeros(len(motif), 1, dtype=torch.bool)
    elif embed.ndim != 3 or embed.shape[2] != dim:
        raise InputError(
            f"is of shape {tuple(embed.shape)}, and must be (factors, residues, {dim})",
            key="aa_embed",
            mend="give embeddings of the model's aa_embed_dim",
        )
    mask = torch.ones(embed.shape[:2], dtype=torch.bool) if mask is None else mask
    if mask.shape != embed.shape[:2] or mask.dtype != torch.bool:
        raise InputError(
            f"is {str(mask.dtype).removeprefix('torch.')} {tuple(mask.shape)}, and must be bool "
            f"{tuple(embed.shape[:2])}",
            key="aa_mask",
            mend="say of each residue of aa_embed whether it is real",
        )
    if motif is None:
        motif = torch.zeros(len(embed), 1, 4)
    if motif.ndim != 3 or motif.shape[2] != 4 or len(motif) != len(embed):
        raise InputError(
            f"is of shape {tuple(motif.shape)}, and must be ({len(embed)}, columns, 4)",
            key="motif",
            mend="give log-odds of A, C, G, T, and zeros for a factor without a motif",
        )
    device = embed.device
    motif = motif.float().to(device)
    return FactorBatch(embed.float(), mask.to(device), motif, motif.flatten(1).any(1))


def _texts(
    network: BindingModel, embed: Tensor | None, mask: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    dim = network.shape.text_dim
    if embed is None:
        if mask is not None:
            raise InputError("says of what is not given", key="contextual_mask", mend="give contextual_embed")
        return None, None
    if not dim:
        raise InputError(
            "is given, and the model takes none", key="contextual_embed", mend="make it with contextual_embed_dim"
        )
    if embed.ndim != 2 or embed.shape[1] != dim:
        raise InputError(
            f"is of shape {tuple(embed.shape)}, and must be (cell types, {dim})",
            key="contextual_embed",
            mend="give embeddings of the model's contextual_embed_dim",
        )
    mask = torch.ones(len(embed), dtype=torch.bool, device=embed.device) if mask is None else mask
    if mask.shape != embed.shape[:1] or mask.dtype != torch.bool:
        raise InputError(
            f"must be bool ({len(embed)},)", key="contextual_mask", mend="give one truth value a cell type"
        )
    return embed.float() * mask[:, None].to(embed.device), mask.to(embed.device)


def _cell_type_count(text: Tensor | None, accessibility: Tensor | None, signals: Tensor | None, own: bool) -> int:
    if text is not None:
        return len(text)
    if accessibility is not None and not own and accessibility.ndim == 3:
        return accessibility.shape[-1]
    return signals.shape[2] if signals is not None and not own and signals.ndim == 4 else 1


def _signal(accessibility: Tensor | None, sequences: int, bins: int, cells: int, own: bool) -> Tensor | None:
    if accessibility is None:
        return None
    expected = (sequences, bins) if own else (sequences, bins, cells)
    if accessibility.shape != expected or bool((accessibility < 0).any()):
        raise InputError(
            f"is of shape {tuple(accessibility.shape)}, and must be {expected}, 0 or more",
            key="accessibility",
            mend="give the mean of each bin of the whole sequence, of genome mean 1",
        )
    # Each sequence has its own cell type: its accessibility stands in the column of whichever it is.
    return accessibility.float() if not own else accessibility.float()[..., None].expand(-1, -1, cells)


def _further(
    given: Tensor | None, mask: Tensor | None, names: tuple[str, ...], sizes: tuple[int, int, int], own: bool
) -> tuple[Tensor, Tensor]:
    """Signals beside accessibility, (sequences, bins, cells, signals), and which of them are known."""
    sequences, bins, cells = sizes
    if given is None:
        if mask is not None:
            raise InputError("says of what is not given", key="signals_mask", mend="give signals")
        empty = torch.zeros(sequences, bins, cells, len(names))
        return empty, torch.zeros(cells, len(names), dtype=torch.bool)
    if not names:
        raise InputError("is given, and the model takes none", key="signals", mend="make it with signals=[NAME]")
    expected = (sequences, bins, len(names)) if own else (sequences, bins, cells, len(names))
    if given.shape != expected or bool((given < 0).any()):
        raise InputError(
            f"is of shape {tuple(given.shape)}, and must be {expected}, 0 or more",
            key="signals",
            mend=f"give the mean of each bin of the whole sequence, of {', '.join(names)} in this order",
        )
    mask = torch.ones(len(names), dtype=torch.bool) if mask is None else mask
    if mask.dtype != torch.bool or mask.shape not in ((len(names),), (cells, len(names))):
        raise InputError(
            f"must be bool ({len(names)},) or ({cells}, {len(names)})",
            key="signals_mask",
            mend="give one truth value a signal, or a cell type and signal",
        )
    mask = mask.to(given.device).expand(cells, -1)
    found = given.float() if not own else given.float()[:, :, None].expand(-1, -1, cells, -1)
    return found.masked_fill(~mask, 0.0), mask


def _row_of_each(sequences: int, found: int, what: str) -> Tensor:
    if found not in (1, sequences):
        raise InputError(
            f"there are {sequences} sequences and {found} {what}, and nothing says which go together",
            key="pairs",
            mend="give pairs (P, 2) or 'all', or as many as there are sequences",
        )
    return torch.arange(sequences) if found == sequences else torch.zeros(sequences, dtype=torch.int64)


def _checked_pairs(pairs: Tensor, factors: int, cells: int) -> Tensor:
    pairs = torch.as_tensor(pairs)
    fits = pairs.ndim == 2 and pairs.shape[1] == 2 and len(pairs) and not pairs.is_floating_point()
    if not fits or int(pairs.min()) < 0 or int(pairs[:, 0].max()) >= factors or int(pairs[:, 1].max()) >= cells:
        raise InputError(
            f"must be integers (P, 2): of {factors} factors and {cells} cell types, counted from 0",
            key="pairs",
            mend="correct them, or give 'all'",
        )
    return pairs.long()


def targets_of(
    target: Tensor | Mapping[str, Tensor], primary: str, asked: Asked, found: Outputs
) -> dict[str, Tensor]:
    """Targets by output, (B, bins, pairs)."""
    given = target if isinstance(target, Mapping) else {primary: target}
    outputs = [name for name, value in vars(found).items() if value is not None]
    for name in given:
        if name not in outputs:
            raise InputError(f"there is no output '{name}'", key="target", mend=_nearest(str(name), outputs))
    return {name: asked.flat(value, f"target['{name}']", found) for name, value in given.items()}


def labels_of(target: Tensor, mask: Tensor | None) -> Tensor:
    """Labels, uint8, of 1 (bound), 0 (unbound) and NaN; what is masked is left out."""
    left_out = target.isnan() if target.is_floating_point() else torch.zeros_like(target, dtype=torch.bool)
    known = torch.where(left_out, torch.zeros_like(target), target)
    if not bool(((known == 0) | (known == 1)).all()):
        raise InputError("labels are 1 (bound) or 0 (unbound)", key="target", mend="mask what is neither")
    labels = torch.where(known == 1, BOUND, UNBOUND).to(torch.uint8)
    return torch.where(left_out if mask is None else left_out | ~mask, LEFT_OUT, labels).to(torch.uint8)
