"""Moving a pretrained network to the device that the user asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tfbind.core.errors import InputError

if TYPE_CHECKING:
    import torch

Module = TypeVar("Module", bound="torch.nn.Module")


def on_device(model: Module, device: str, title: str) -> Module:
    """Move a model.

    Raises
    ------
    InputError
        This machine, or this build of torch, does not have the device.
    """
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{title} cannot run on the device '{device}' ({reason})",
            key="device",
            mend="set device: cpu, or auto",
        ) from error
