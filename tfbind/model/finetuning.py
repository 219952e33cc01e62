"""Which weights of the trunk train, and how what does not train behaves.

What does not train runs as in prediction: it hides nothing, and its running statistics stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tfbind.config import FineTuningSettings
from tfbind.core.errors import InputError
from tfbind.model.trunk_interface import Trunk
from tfbind.model.whole_batch import whole_batch

KEY = "training.fine_tuning"
ADAPTER = "default"


def fine_tune(model: nn.Module, settings: FineTuningSettings) -> None:
    """Make the trunk of a model (`model.trunk`) train as the settings say; all else of the model trains.

    Mode `lora` puts adapters into the trunk; `merge_adapters` ends them.

    Raises
    ------
    InputError
        If the trunk has nothing of what is to train.
    """
    trunk: Trunk = model.trunk
    trunk.requires_grad_(False)
    trunk.live = _MODES[settings.mode](trunk, settings)
    trunk.batch_norm_follows = settings.mode == "all" and _batch_norm_trains(trunk, settings)
    # The adapters' dropout, too, hides the same wherever a window is.
    whole_batch(model)
    trunk.train(model.training)


def trained_names(trunk: Trunk) -> list[str]:
    """Names of the trunk's weights that train."""
    return [name for name, weight in trunk.named_parameters() if weight.requires_grad]


def _batch_norm_trains(trunk: Trunk, settings: FineTuningSettings) -> bool:
    # The windows of a step are few: their statistics are far from those that pretrained weights expect.
    return not trunk.pretrained if settings.batch_norm is None else settings.batch_norm == "train"


def _all(trunk: Trunk, settings: FineTuningSettings) -> tuple[str, ...]:
    trunk.requires_grad_(True)
    return ("",)


def _frozen(trunk: Trunk, settings: FineTuningSettings) -> tuple[str, ...]:
    return ()


def _norms(trunk: Trunk, settings: FineTuningSettings) -> tuple[str, ...]:
    norms = [module for module in trunk.modules() if isinstance(module, nn.LayerNorm)]
    if not norms:
        raise InputError("the trunk has no LayerNorm to train", key=f"{KEY}.mode", mend="choose another mode")
    for norm in norms:
        norm.requires_grad_(True)
    return ()


def _last(trunk: Trunk, settings: FineTuningSettings) -> tuple[str, ...]:
    blocks = trunk.blocks()
    if settings.last > len(blocks):
        raise InputError(
            f"the last {settings.last} blocks are to train, and the trunk has {len(blocks)}",
            key=f"{KEY}.last",
            mend=f"set it to at most {len(blocks)}" if blocks else "choose another mode",
        )
    chosen = blocks[len(blocks) - settings.last :]
    for block in chosen:
        block.requires_grad_(True)
    return tuple(name for name, module in trunk.named_modules() if any(module is block for block in chosen))


def _lora(trunk: Trunk, settings: FineTuningSettings) -> tuple[str, ...]:
    """Low-rank adapters beside the weights of chosen layers (Hu et al. 2021, arXiv:2106.09685), by peft."""
    names = list(trunk.adaptable())
    if not names:
        raise InputError("the trunk has no layer that LoRA adapts", key=f"{KEY}.mode", mend="choose another mode")
    from peft import LoraConfig, inject_adapter_in_model

    chosen = settings.lora_settings
    if not any(True for _ in _adapters(trunk)):
        how = LoraConfig(
            r=chosen.rank, lora_alpha=chosen.alpha, lora_dropout=chosen.dropout, target_modules=names
        )
        inject_adapter_in_model(how, trunk, adapter_name=ADAPTER)
    trunk.requires_grad_(False)
    for name, weight in trunk.named_parameters():
        weight.requires_grad_(".lora_" in name)
    return tuple(name for name, _ in trunk.named_modules() if name.endswith(".lora_dropout"))


_MODES: dict[str, Callable[[Trunk, FineTuningSettings], tuple[str, ...]]] = {
    "all": _all,
    "frozen": _frozen,
    "norms": _norms,
    "last": _last,
    "lora": _lora,
}


# Adapters.


def _adapters(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    """Name of each adapted layer, and its parent, its name there, itself; known without a heavy import."""
    for path, parent in model.named_modules():
        for name, child in parent.named_children():
            if hasattr(child, "lora_A") and hasattr(child, "base_layer"):
                yield f"{path}.{name}" if path else name, parent, name, child


@torch.no_grad()
def merged_weight(layer: nn.Module) -> Tensor:
    """Weight of a layer, with that of LoRA's adapter if it has one."""
    if not hasattr(layer, "base_layer"):
        return layer.weight
    return layer.base_layer.weight + layer.get_delta_weight(ADAPTER).to(layer.base_layer.weight.dtype)


def merge_adapters(model: nn.Module) -> None:
    """Add LoRA's adapters to the weights that they adapt, and take them out: the layers are plain again."""
    for _, parent, name, layer in list(_adapters(model)):
        layer.base_layer.weight.data.copy_(merged_weight(layer))
        setattr(parent, name, layer.base_layer)


def merged_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Weights and running statistics as after `merge_adapters`; the model stays as it is."""
    state = model.state_dict()
    for path, _, _, layer in _adapters(model):
        state[f"{path}.base_layer.weight"] = merged_weight(layer)
    return {name.replace(".base_layer.", "."): value for name, value in state.items() if ".lora_" not in name}
