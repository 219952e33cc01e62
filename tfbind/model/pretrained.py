"""Pretrained trunks: an Enformer in Hugging Face's format, by hub name or folder, or a checkpoint of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tfbind.config import TRUNK_DROPOUTS, TRUNK_SIZES, TrunkSettings
from tfbind.core.errors import InputError
from tfbind.core.files import read_json, sha256_file
from tfbind.factors.motifs import jaspar_library, read_meme
from tfbind.model.checkpoint_files import read_about, read_weights
from tfbind.model.motif_scan import pad_motifs

KEY = "model.trunk.pretrained"
CONFIG, WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")
# Of enformer-pytorch's `Enformer`, which holds each layer under two names.
ALIASES = {"1": "stem", "2": "conv_tower", "4": "transformer", "6": "final_pointwise"}


@dataclass(frozen=True)
class Pretrained:
    """A trunk as it was found.

    Attributes
    ----------
    settings : TrunkSettings, whole, without a source
    weights : of a trunk built from these settings, by name
    source : what is told of where they came from: `name`, `revision`, `sha256`
    """

    settings: TrunkSettings
    weights: dict[str, Tensor]
    source: dict[str, Any]


def read_pretrained(settings: TrunkSettings, bin: int) -> Pretrained:
    """Read what `settings.pretrained` names.

    Raises
    ------
    InputError
        If it is not there, not whole, of another bin, or of other sizes than the settings give.
    """
    folder = Path(settings.pretrained)
    if settings.kind == "motifs" and not folder.is_dir():
        _refuse_revision(settings)
        return _library(settings)
    if (folder / "model.json").is_file():
        _refuse_revision(settings)
        return _ours(settings, folder, bin)
    if folder.is_dir():
        _refuse_revision(settings)
        if not (folder / CONFIG).is_file():
            raise InputError(
                f"holds neither {CONFIG} (an Enformer) nor model.json (a checkpoint of tfbind)",
                file=folder,
                key=KEY,
                mend="give the folder that holds one of them",
            )
        return _enformer(settings, folder, bin, None)
    folder, revision = _from_hub(settings)
    return _enformer(settings, folder, bin, revision)


def _refuse_revision(settings: TrunkSettings) -> None:
    if settings.revision is not None:
        raise InputError(
            f"a revision is of the hub, and {settings.pretrained} is a path",
            key="model.trunk.revision",
            mend="take the key out",
        )


def _from_hub(settings: TrunkSettings) -> tuple[Path, str]:
    """Folder of a snapshot, and the commit that it is of."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name = settings.pretrained
    try:
        folder = Path(snapshot_download(name, revision=settings.revision, allow_patterns=[CONFIG, *WEIGHTS]))
    except HFValidationError as error:
        raise InputError(
            f"there is no folder {name}, and it is no name of a model on the hub either",
            key=KEY,
            mend="give a folder, or a name such as EleutherAI/enformer-official-rough",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"there is no folder {name}, and the hub did not give it: {_first_line(error)}",
            key=KEY,
            mend="correct the name or revision; where there is no way to the web, download it elsewhere and give "
            "its folder",
        ) from error
    if not (folder / CONFIG).is_file():
        raise InputError(f"{name} has no {CONFIG} on the hub", key=KEY, mend="give the name of an Enformer")
    return folder, folder.name


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _ours(settings: TrunkSettings, folder: Path, bin: int) -> Pretrained:
    about = read_about(folder)
    _require_bin(about["shape"]["bin"], bin, folder)
    try:
        own = TrunkSettings.model_validate(about["settings"]["trunk"])
    except (ValidationError, KeyError) as error:
        raise InputError(
            f"has a trunk that this version of tfbind does not know: {error}",
            file=folder / "model.json",
            key=KEY,
            mend="use the tfbind that wrote it",
        ) from error
    state = read_weights(folder, about)
    weights = {name.removeprefix("trunk."): value for name, value in state.items() if name.startswith("trunk.")}
    found = _agreed(settings, own, folder, (*TRUNK_SIZES, "gamma"))
    return Pretrained(found, weights, {"name": settings.pretrained, "sha256": about["sha256"]})


def _library(settings: TrunkSettings) -> Pretrained:
    """The motifs of a MEME file, or those of a group of JASPAR's (`JASPAR2024 Fungi`, `... in vitro`)."""
    name = settings.pretrained
    if named := re.fullmatch(r"(JASPAR\d+) (.+?)( in vitro)?", name):
        release, group, in_vitro = named.groups()
        found, source = jaspar_library(group, release, in_vitro=in_vitro is not None), {"name": name}
    elif Path(name).is_file():
        found = list(read_meme(name).values())
        source = {"name": Path(name).name, "sha256": sha256_file(name)}
    else:
        raise InputError(
            f"the library of motifs {name} is not there",
            key=KEY,
            mend="give the path of a MEME file, or a group of JASPAR's, such as JASPAR2024 Vertebrates",
        )
    # Short ones first: those scanned together are then about as long.
    found.sort(key=lambda motif: (len(motif), motif.identifier))
    motifs, _ = pad_motifs([motif.log_odds() for motif in found])
    own = TrunkSettings(kind="motifs", dim=len(motifs), motif_columns=motifs.shape[1])
    return Pretrained(_agreed(settings, own, Path(name), TRUNK_SIZES), {"motifs": motifs}, source)


def _enformer(settings: TrunkSettings, folder: Path, bin: int, revision: str | None) -> Pretrained:
    from tfbind.model.enformer import settings_of

    config = _enformer_config(folder)
    _require_bin(2**config.num_downsamples, bin, folder)
    try:
        own = settings_of(config, settings.gamma or "tensorflow")
    except ValidationError as error:
        raise InputError(f"describes no Enformer: {error}", file=folder / CONFIG, key=KEY, mend=_OTHER) from error
    path, state = _state(folder)
    found = _agreed(settings, own, folder, TRUNK_SIZES)
    weights = _trunk_weights(state, found, bin, path)
    source = {"name": settings.pretrained, "sha256": sha256_file(path)}
    return Pretrained(found, weights, source | ({"revision": revision} if revision else {}))


def _enformer_config(folder: Path) -> Any:
    from enformer_pytorch.config_enformer import EnformerConfig

    path = folder / CONFIG
    try:
        values = read_json(path)
    except ValueError as error:
        raise InputError(f"is no JSON ({error})", file=path, key=KEY, mend=_OTHER) from error
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != "enformer":
        raise InputError(f"is of a model of type {kind}, not enformer", file=path, key=KEY, mend=_OTHER)
    return EnformerConfig(**values)


def _state(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """The file of the weights, and what it holds."""
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise InputError(
            f"holds no weights ({' or '.join(WEIGHTS)})", file=folder, key=KEY, mend="copy them there, too"
        )
    try:
        if path.suffix == ".safetensors":
            return path, load_file(path)
        return path, torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError, UnpicklingError) as error:
        raise InputError(
            f"cannot be read as weights ({_first_line(error)})", file=path, key=KEY, mend="download it again"
        ) from error


def _trunk_weights(
    state: Mapping[str, Tensor], settings: TrunkSettings, bin: int, path: Path
) -> dict[str, Tensor]:
    """The weights of the trunk, by our names; those of heads are left out.

    A file may hold each of them under both of its names in enformer-pytorch, or under one.
    """
    from tfbind.model.enformer import new_enformer

    with torch.device("meta"):
        expected = new_enformer(settings, bin).state_dict()
    found, missing = {}, []
    for name, like in expected.items():
        value = next((state[alias] for alias in _aliases(name) if alias in state), None)
        # Batches that a running mean has seen: files of other tools may leave them out, and nothing needs them.
        if value is None and name.endswith("num_batches_tracked"):
            value = torch.zeros_like(like, device="cpu")
        if value is None or value.shape != like.shape:
            missing.append(f"{name} {tuple(like.shape)}")
        else:
            found[name] = value
    if missing:
        raise InputError(
            f"lacks, in these shapes, {len(missing)} of {len(expected)} weights of the trunk that {CONFIG} "
            f"describes: {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}",
            file=path,
            key=KEY,
            mend="give the weights and the config.json of one Enformer",
        )
    return found


def _aliases(name: str) -> list[str]:
    """Names that enformer-pytorch has for the weight `layers.<place>.<rest>` of our trunk."""
    _, place, rest = name.split(".", 2)
    both = [f"_trunk.{place}.{rest}", f"{ALIASES[place]}.{rest}"]
    return [*both, *(f"enformer.{each}" for each in both)]


def _require_bin(found: Any, bin: int, folder: Path) -> None:
    if found != bin:
        raise InputError(
            f"the pretrained trunk has bins of {found} bp, the configuration of {bin}",
            file=folder,
            key="windows.bin",
            mend=f"set windows.bin to {found}, or train a new trunk (without {KEY})",
        )


def _agreed(settings: TrunkSettings, own: TrunkSettings, folder: Path, fixed: tuple[str, ...]) -> TrunkSettings:
    """The trunk's own settings, with the dropouts that the configuration gives, if it gives any."""
    for name in fixed:
        wanted, found = getattr(settings, name), getattr(own, name)
        if name in settings.model_fields_set and wanted not in (None, found):
            raise InputError(
                f"the pretrained trunk in {folder} has {name} {found}, not {wanted}",
                key=f"model.trunk.{name}",
                mend="take the key out: the pretrained trunk decides it",
            )
    given = {name: getattr(settings, name) for name in TRUNK_DROPOUTS if name in settings.model_fields_set}
    return own.model_copy(update=given)


_OTHER = "give an Enformer as enformer-pytorch or the hub stores it"
