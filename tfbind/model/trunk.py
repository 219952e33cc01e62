"""The trunk: the DNA network, from a window to one embedding per bin."""

from __future__ import annotations

from tfbind.config import TrunkSettings
from tfbind.model.dilated import DilatedTrunk
from tfbind.model.enformer import EnformerTrunk, new_enformer
from tfbind.model.motif_trunk import MotifTrunk
from tfbind.model.trunk_interface import Trunk, as_one_hot, one_hot

__all__ = [
    "KINDS",
    "DilatedTrunk",
    "EnformerTrunk",
    "MotifTrunk",
    "Trunk",
    "as_one_hot",
    "make_trunk",
    "new_trunk",
    "one_hot",
]

# What builds a trunk with weights drawn anew, by `model.trunk.kind`.
KINDS = {"enformer": new_enformer, "dilated": DilatedTrunk, "motifs": MotifTrunk}


def make_trunk(settings: TrunkSettings, bin: int) -> Trunk:
    """Build a trunk: new, or with the weights that `settings.pretrained` names.

    What it gets for settings (`.settings`) is whole: sizes and choices as they are, and no source of weights, so
    that a checkpoint of ours builds the same network again from them alone.

    Parameters
    ----------
    bin
        Resolution in bp, a power of two.

    Raises
    ------
    InputError
        If sizes do not fit each other, or the weights are not there, not whole, or of another bin or size.
    """
    if settings.pretrained is None:
        return new_trunk(settings, bin)
    from tfbind.model.pretrained import read_pretrained

    found = read_pretrained(settings, bin)
    trunk = new_trunk(found.settings, bin)
    trunk.load_state_dict(found.weights)
    trunk.source = found.source
    return trunk


def new_trunk(settings: TrunkSettings, bin: int) -> Trunk:
    """Build a trunk with weights drawn anew. Errors as `make_trunk`."""
    return KINDS[settings.kind](settings, bin)
