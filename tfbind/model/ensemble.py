"""Ensembles: several trained models that embed and render as one.

An ensemble is a folder of `ensemble.json` and one checkpoint a member, `0/`, `1/`, ... Its DNA tokens are those
of its members side by side, so a genome is embedded once for all of them, and members whose trunks have equal
weights share one run of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, link_or_copy, read_json, sha256_json, write_json
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import Checkpoint, load_checkpoint
from tfbind.model.checkpoint_files import ENSEMBLE_FILE
from tfbind.model.inference_trunk import InferenceTrunk, Stretch

FORMAT = 1


class EnsembleModel(nn.Module):
    """The DNA side of several models as one: what `embed_stretches` takes.

    Parameters
    ----------
    members
        Of one bin and one length of windows.
    """

    def __init__(self, members: Sequence[BindingModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.bin, self.rank = members[0].bin, sum(member.rank for member in members)
        self.trunk = SharedTrunks([member.trunk for member in members])

    def stretch_tokens(self, codes: Tensor, stretch: Stretch, trunk: RunningTrunks) -> Tensor:
        """DNA tokens of all members, one beside the other, as `BindingModel.stretch_tokens` gives them.

        Parameters
        ----------
        trunk
            What `self.trunk.for_inference` gave.

        Returns
        -------
        float32 (stretches, windows, core bins, sum of ranks).
        """
        once = trunk.once()
        parts = [
            member.stretch_tokens(codes, stretch, partial(once, number))
            for number, member in enumerate(self.members)
        ]
        return torch.cat(parts, -1)


class SharedTrunks:
    """The trunks of an ensemble; those of equal weights are one.

    Attributes
    ----------
    which : list of int
        Of each member, the trunk in `distinct` that is its own.
    """

    def __init__(self, trunks: Sequence[nn.Module]) -> None:
        self.distinct: list[nn.Module] = []
        self.which: list[int] = []
        for trunk in trunks:
            found = (index for index, other in enumerate(self.distinct) if _equal(trunk, other))
            index = next(found, len(self.distinct))
            if index == len(self.distinct):
                self.distinct.append(trunk)
            self.which.append(index)

    def for_inference(self, dtype: torch.dtype = torch.float32) -> RunningTrunks:
        """See `Trunk.for_inference`."""
        return RunningTrunks([trunk.for_inference(dtype) for trunk in self.distinct], self.which)


class RunningTrunks:
    """Trunks that embed the same stretches; each runs once for all members that share it."""

    def __init__(self, trunks: Sequence[InferenceTrunk], which: Sequence[int]) -> None:
        self.trunks, self.which = trunks, which

    def once(self) -> Callable[[int, Tensor, Stretch], Tensor]:
        """For the stretches of one batch: (member, codes, stretch) -> what its `InferenceTrunk` gives.

        Members may ask for the windows of the batch (below a tower) or for cores alone; what was asked for
        before, of the same trunk, is not made again.
        """
        made: dict[Any, Tensor] = {}

        def run(member: int, codes: Tensor, stretch: Stretch) -> Tensor:
            key = (self.which[member], codes.shape, stretch)
            if key not in made:
                made[key] = self.trunks[self.which[member]](codes, stretch)
            return made[key]

        return run


def _equal(one: nn.Module, other: nn.Module) -> bool:
    if type(one) is not type(other):
        return False
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def open_checkpoint(folder: str | Path) -> Checkpoint:
    """A model or an ensemble, from its folder.

    Raises
    ------
    InputError
        As `load_checkpoint`; an ensemble of another format, or whose members are not those that were joined.
    """
    folder = Path(folder)
    path = folder / ENSEMBLE_FILE
    if not path.is_file():
        return load_checkpoint(folder)
    mend = "join the models again: `tfbind ensemble`"
    try:
        about = read_json(path)
        format, told = about.get("format"), about["members"]
        if format != FORMAT:
            raise InputError(
                f"is an ensemble of format {format}, this version reads {FORMAT}", file=path, mend=mend
            )
        members = [load_checkpoint(folder / each["folder"]) for each in told]
        wrong = [
            each["folder"]
            for each, member in zip(told, members, strict=True)
            if each["sha256"] != member.checksum
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"is no description of an ensemble ({error})", file=path, mend=mend) from error
    if wrong:
        raise InputError(f"member {wrong[0]} is not the model that was joined", file=path, mend=mend)
    return joined(members, about)


def joined(members: Sequence[Checkpoint], about: Mapping[str, Any]) -> Checkpoint:
    """Models as one, in memory. `about` is what is known of the ensemble, as `Checkpoint.about`."""
    model = EnsembleModel([member.model for member in members]).eval()
    checksum = sha256_json([member.checksum for member in members])
    return Checkpoint(model, dict(about), checksum, tuple(members))


def save_ensemble(folder: str | Path, members: Sequence[Path], ensemble: Checkpoint) -> None:
    """Write an ensemble whole; the members' files are hard links, or copies where the file system has none.

    Parameters
    ----------
    members
        Folders of its members, in their order.
    ensemble
        What `joined` gave.
    """
    with atomic_dir(folder) as temporary:
        told = []
        for index, (source, member) in enumerate(zip(members, ensemble.members, strict=True)):
            target = temporary / str(index)
            target.mkdir()
            for name in ("model.safetensors", "model.json"):
                link_or_copy(Path(source) / name, target / name)
            told.append({"folder": target.name, "sha256": member.checksum})
        write_json(
            temporary / ENSEMBLE_FILE,
            {**ensemble.about, "format": FORMAT, "members": told, "sha256": ensemble.checksum},
        )


def member_folders(folder: str | Path) -> list[Path]:
    """The folder of a model, or those of an ensemble's members."""
    path = Path(folder) / ENSEMBLE_FILE
    if not path.is_file():
        return [Path(folder)]
    open_checkpoint(folder)
    return [Path(folder) / each["folder"] for each in read_json(path)["members"]]
