"""Enformer as a trunk: any enformer-pytorch `Enformer`, without its heads and its crop."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tfbind.config import TrunkSettings
from tfbind.core.errors import InputError
from tfbind.model.fast_enformer import FastEnformer
from tfbind.model.inference_trunk import InferenceTrunk
from tfbind.model.positions import Gamma, RelativeAttention
from tfbind.model.trunk_interface import Trunk

if TYPE_CHECKING:
    from enformer_pytorch import Enformer
    from enformer_pytorch.config_enformer import EnformerConfig

# Places in enformer-pytorch's `Enformer.trunk`.
STEM, TOWER, TRANSFORMER, CROP, POINTWISE = 1, 2, 4, 5, 6


class EnformerTrunk(Trunk):
    """An enformer-pytorch `Enformer` without its heads.

    Weights are shared with the Enformer that it is made of; its layers are not, so that what is changed here
    changes nothing there. Whatever its `target_length`, nothing is cropped.

    Parameters
    ----------
    enformer
        With heads or without.
    gamma
        Gamma features of positions (`positional_features`). None: `tensorflow` for an Enformer that says so, or
        that was read by `from_pretrained`; `pytorch`, which it computes itself, for any other.
    source
        Where its weights came from; None: its `name_or_path`, if it was read by `from_pretrained`.

    Raises
    ------
    InputError
        If its width has no positional features.
    """

    def __init__(
        self, enformer: Enformer, *, gamma: Gamma | None = None, source: dict[str, Any] | None = None
    ) -> None:
        if source is None and enformer.name_or_path:
            source = {"name": str(enformer.name_or_path)}
        settings = settings_of(enformer.config, gamma or _gamma_of(enformer, source))
        check_sizes(settings)
        super().__init__(settings, bin=2**enformer.config.num_downsamples, width=2 * settings.dim, source=source)
        self.layers = _own_layers(enformer.trunk)
        self.layers[CROP] = nn.Identity()
        _replace_attention(self.layers, settings.gamma)

    def stages(self) -> list[nn.Module]:
        """Stem, each layer of the conv tower, each transformer block, the last pointwise layers."""
        layers = self.layers
        first = nn.Sequential(layers[0], layers[STEM])
        return [first, *layers[TOWER], layers[TOWER + 1], *layers[TRANSFORMER], layers[POINTWISE]]

    def blocks(self) -> list[nn.Module]:
        """The transformer blocks."""
        return list(self.layers[TRANSFORMER])

    def parts(self) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
        """Stem, conv tower, transformer blocks, and the last pointwise layers before their activation."""
        layers = self.layers
        return layers[STEM], layers[TOWER], layers[TRANSFORMER], layers[POINTWISE][1]

    def for_inference(self, dtype: torch.dtype = torch.float32) -> InferenceTrunk:
        """See `Trunk.for_inference`."""
        return FastEnformer(self, dtype)

    def adaptable(self) -> list[str]:
        """The linear layers of attention and feed-forward, but for the projection of positions."""
        return [
            name
            for name, module in self.named_modules()
            if isinstance(module, nn.Linear) and not name.endswith("to_rel_k")
        ]


def new_enformer(settings: TrunkSettings, bin: int) -> EnformerTrunk:
    """An Enformer with weights drawn anew.

    Raises
    ------
    InputError
        If sizes do not fit each other.
    """
    from enformer_pytorch import Enformer

    check_sizes(settings)
    enformer = Enformer.from_hparams(
        dim=settings.dim,
        depth=settings.depth,
        heads=settings.heads,
        attn_dim_key=settings.key_dim,
        output_heads={},
        target_length=-1,
        dropout_rate=settings.dropout,
        attn_dropout=settings.attention_dropout,
        pos_dropout=settings.position_dropout,
        num_downsamples=bin.bit_length() - 1,
        dim_divisible_by=settings.dim_divisible_by,
    )
    return EnformerTrunk(enformer, gamma=settings.gamma or "pytorch")


def check_sizes(settings: TrunkSettings) -> None:
    """Refuse sizes that do not fit each other.

    Raises
    ------
    InputError
        Naming the key, and a size that fits.
    """
    per_head, rest = divmod(settings.dim, settings.heads)
    if rest or per_head % 6:
        raise InputError(
            f"dim / heads must be a multiple of 6 (Enformer's positional features), "
            f"not {settings.dim} / {settings.heads}",
            key="model.trunk.dim",
            mend=f"for {settings.heads} heads take e.g. {6 * settings.heads * max(1, round(per_head / 6))}",
        )
    # The tower's widths are rounded to multiples: its last one must be dim, and its first one must not be 0.
    if settings.dim % settings.dim_divisible_by or settings.dim == settings.dim_divisible_by:
        raise InputError(
            f"dim ({settings.dim}) must be a larger multiple of dim_divisible_by ({settings.dim_divisible_by})",
            key="model.trunk.dim_divisible_by",
            mend="take a divisor of dim / 2",
        )


def _gamma_of(enformer: Enformer, source: dict[str, Any] | None) -> Gamma:
    told = any(getattr(module, "use_tf_gamma", False) for module in enformer.modules())
    return "tensorflow" if told or source is not None else "pytorch"


def settings_of(config: EnformerConfig, gamma: Gamma) -> TrunkSettings:
    """Whole settings of a trunk, from those of an Enformer."""
    return TrunkSettings(
        kind="enformer",
        dim=config.dim,
        depth=config.depth,
        heads=config.heads,
        key_dim=config.attn_dim_key,
        dim_divisible_by=config.dim_divisible_by,
        dropout=config.dropout_rate,
        attention_dropout=config.attn_dropout,
        position_dropout=config.pos_dropout,
        gamma=gamma,
    )


def _own_layers(layers: nn.Sequential) -> nn.Sequential:
    """A copy of modules that shares all weights and running statistics."""
    shared: dict[int, Tensor] = {id(tensor): tensor for tensor in (*layers.parameters(), *layers.buffers())}
    return copy.deepcopy(layers, shared)


def _replace_attention(layers: nn.Module, gamma: Gamma) -> None:
    from enformer_pytorch.modeling_enformer import Attention

    for parent in list(layers.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Attention):
                setattr(parent, name, RelativeAttention(child, gamma))
