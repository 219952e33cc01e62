"""An ablation: variants of a configuration, trained on the same data and scored on the same bins."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tfbind
from tfbind.config import Config, merge_values, parse_config, read_yaml
from tfbind.contexts.contextset import ContextSet
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path, read_json, sha256_file, write_json
from tfbind.evaluation.held_out import require_held_out
from tfbind.evaluation.tables import KINDS, score_experiment
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference
from tfbind.model.batching import factor_batch
from tfbind.model.checkpoint import Checkpoint, load_checkpoint
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData, SignalTracks, open_genome_data
from tfbind.model.factors import FactorBatch
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.render import predict_tracks
from tfbind.training.run import train_model
from tfbind.training.splits import Split
from tfbind.training.targets import Targets

# Sections of the configuration in which variants may differ: what is made before training is the same for all.
SECTIONS = ("model", "training", "contexts")
# What a prediction is told of a factor.
INPUTS = ("protein and motif", "protein", "motif")
COLUMNS = (
    "variant",
    "told",
    "experiments",
    *(f"auprc, {kind}" for kind in KINDS),
    "auprc, protein and motif known",
    "weights",
    "training_s",
    "render_s_per_mb_and_track",
)


@dataclass(frozen=True)
class DataFolders:
    """What the steps before training made, opened.

    Attributes
    ----------
    cell_types, tracks
        Names, and accessibility bigWigs; None for a cell type without one.
    further
        Signals beside accessibility, of each cell type.
    """

    reference: Reference
    factor_set: FactorSet
    targets: Targets
    split: Split
    cell_types: Sequence[str]
    tracks: Sequence[Path | None]
    context_set: ContextSet | None
    further: SignalTracks


def read_variants(path: Path, config: Config) -> dict[str, Config]:
    """The variants of a configuration.

    Parameters
    ----------
    path
        YAML: a name for each variant, and below it the keys in which it differs, as in a configuration; none of
        them (`{}`) is the configuration itself. Only `model`, `training` and `contexts` may differ, and of
        `contexts.text` only whether there is any. A variant
        whose trunk is of another source (`model.trunk.pretrained`) has nothing of the configuration's trunk.

    Raises
    ------
    InputError
        Naming the variant and the key that is wrong.
    """
    base = config.model_dump(mode="json", exclude_unset=True)
    variants = {}
    for name, changes in read_yaml(path).items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise InputError(
                f"'{name}' is unfit for a name: it becomes a folder's",
                file=path,
                mend="use letters, digits, . _ -",
            )
        if not isinstance(changes or {}, Mapping):
            raise InputError(f"variant '{name}' is {changes!r}", file=path, mend="give keys below it, or {}")
        wrong = sorted(set(changes or {}) - set(SECTIONS))
        if wrong:
            raise InputError(
                f"variant '{name}' changes {', '.join(wrong)}, which is made before training",
                file=path,
                key=f"{name}.{wrong[0]}",
                mend=f"change only {', '.join(SECTIONS)}; another data set is another run",
            )
        own = _without_other_trunk(base, changes or {})
        variants[name] = parse_config(merge_values(own, changes or {}), file=f"{path}, variant {name}")
        _require_same_texts(name, variants[name], config, path)
    return variants


def _require_same_texts(name: str, variant: Config, config: Config, path: Path) -> None:
    """Texts are read before training: a variant may leave them out, and not read them otherwise."""
    if variant.contexts.text not in (None, config.contexts.text):
        raise InputError(
            f"variant '{name}' changes contexts.text, and texts are read before training",
            file=path,
            key=f"{name}.contexts.text",
            mend="take it out, or set it to null for a variant without texts; another encoder is another run",
        )


def _without_other_trunk(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration, without its trunk where the variant names another source of its weights.

    The keys of one trunk would be wrong for the other, and a variant cannot take them out.
    """
    of_base, of_variant = _trunk(base), _trunk(changes)
    if "pretrained" not in of_variant or of_variant["pretrained"] == of_base.get("pretrained"):
        return base
    return {**base, "model": {name: value for name, value in base.get("model", {}).items() if name != "trunk"}}


def _trunk(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`model.trunk` of values that may be wrong: an empty one where it is none."""
    for key in ("model", "trunk"):
        values = values.get(key)
        if not isinstance(values, Mapping):
            return {}
    return values


def ablate(
    variants: Mapping[str, Config], folders: DataFolders, work: Path, *, device: torch.device
) -> list[dict[str, Any]]:
    """Train and score each variant.

    What is done is kept in `work`, a folder a variant, and is not done again; a stopped training goes on.

    Returns
    -------
    Rows of the table: one a variant and kind of what it is told of a factor.
    """
    rows = []
    for name, config in variants.items():
        rows += _variant_rows(name, config, folders, work / name, device)
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The table as TSV; an empty field where nothing was measured."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        print(*COLUMNS, sep="\t", file=handle)
        for row in rows:
            print(*(_cell(row[column]) for column in COLUMNS), sep="\t", file=handle)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _variant_rows(
    name: str, config: Config, folders: DataFolders, work: Path, device: torch.device
) -> list[dict[str, Any]]:
    done, identity = work / "scores.json", _identity(config, folders)
    if done.is_file() and (found := read_json(done))["of"] == identity:
        return found["rows"]
    seconds = _train(config, folders, work, device)
    checkpoint = load_checkpoint(work / "model")
    checkpoint.model.to(device)
    rows = _scores(config, folders, checkpoint)
    weights = sum(weight.numel() for weight in checkpoint.model.parameters())
    rows = [{"variant": name, **row, "weights": weights, "training_s": seconds} for row in rows]
    write_json(done, {"of": identity, "rows": rows})
    return rows


def _identity(config: Config, folders: DataFolders) -> dict[str, Any]:
    """What the scores of a variant belong to."""
    return {
        "tfbind": tfbind.__version__,
        # Of one network, whatever else an ensemble is of.
        "config": config.model_dump(mode="json", exclude={"training": {"variants"}}),
        "genome": folders.reference.checksum,
        "factors": folders.factor_set.checksum,
        "targets": folders.targets.about["checksum"],
        "split": folders.split.checksum,
        "accessibility": [None if track is None else sha256_file(track) for track in folders.tracks],
        "contexts": folders.context_set and [folders.context_set.text_key(name) for name in folders.cell_types],
        "signals": {
            name: [None if track is None else sha256_file(track) for track in tracks]
            for name, tracks in folders.further.items()
        },
    }


def _train(config: Config, folders: DataFolders, work: Path, device: torch.device) -> float | None:
    """Train a variant; seconds it took, None if it was not from the start."""
    fresh = not (work / "state").is_dir()
    start = time.perf_counter()
    train_model(
        config,
        folders.reference,
        folders.factor_set,
        folders.targets,
        folders.split,
        folders.cell_types,
        folders.tracks,
        state=work / "state",
        history=work / "history.tsv",
        output=work / "model",
        device=device,
        context_set=folders.context_set if config.contexts.text is not None else None,
        further=folders.further,
    )
    return time.perf_counter() - start if fresh else None


def _scores(config: Config, folders: DataFolders, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    embedding = GenomeEmbedding.of_regions(
        checkpoint,
        folders.reference,
        config.windows,
        folders.split.test,
        batch_size=config.prediction.batch_size,
        precision=config.prediction.precision,
    )
    require_held_out(checkpoint.about["manifest"], embedding, folders.split, folders.targets.experiments)
    data = open_genome_data(
        folders.reference,
        list(folders.tracks),
        bin=config.windows.bin,
        labels=folders.targets.labels,
        further={name: folders.further[name] for name in checkpoint.signals},
    )
    contexts = checkpoint.about["contexts"]
    texts = None if contexts["encoder"] is None else folders.context_set
    data = data.knowing(list(folders.cell_types), texts, contexts["learnt"])
    return [_scores_told(told, checkpoint, embedding, data, folders) for told in INPUTS]


def _scores_told(
    told: str,
    checkpoint: Checkpoint,
    embedding: GenomeEmbedding,
    data: GenomeData,
    folders: DataFolders,
) -> dict[str, Any]:
    """Mean AUPRC by kind of experiment, over those scored whose factor has what is told; seconds of rendering."""
    split = folders.split
    where = [(region.chrom, region.bins(data.bin)) for region in split.test]
    labels = np.concatenate([data.labels[chrom][bins.start : bins.stop] for chrom, bins in where])
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    both_known: list[float] = []
    seconds, tracks = 0.0, 0
    for cell, cell_type in enumerate(folders.cell_types):
        columns = [
            column
            for column, each in enumerate(folders.targets.experiments)
            if each["cell_type"] == cell_type and each["name"] in split.tested
        ]
        named = list(dict.fromkeys(folders.targets.experiments[column]["factor"] for column in columns))
        if not named:
            continue
        known = factor_batch(folders.factor_set, named)
        with_both = known.has_protein & known.has_motif
        factors, kept = _told(known, told)
        if not len(kept):
            continue
        start = time.perf_counter()
        logits = np.concatenate(
            [track for _, track in predict_tracks(checkpoint, embedding, data, factors, cell, split.test)]
        )
        seconds, tracks = seconds + time.perf_counter() - start, tracks + len(kept)
        place = {named[row]: column for column, row in enumerate(kept.tolist())}
        for column in columns:
            experiment = folders.targets.experiments[column]
            keep, bound = labels[:, column] != LEFT_OUT, labels[:, column] == BOUND
            if experiment["factor"] in place and bound.any():
                track = logits[:, place[experiment["factor"]]]
                score = score_experiment(bound, keep, track)["auprc"]
                found[split.kinds[experiment["name"]]].append(score)
                if with_both[named.index(experiment["factor"])]:
                    both_known.append(score)
    megabases = len(labels) * data.bin / 1e6
    return {
        "told": told,
        "experiments": sum(map(len, found.values())),
        **{f"auprc, {kind}": _mean(values) for kind, values in found.items()},
        # The same experiments, whatever is told.
        "auprc, protein and motif known": _mean(both_known),
        "render_s_per_mb_and_track": seconds / megabases / tracks if tracks else None,
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _told(factors: FactorBatch, told: str) -> tuple[FactorBatch, torch.Tensor]:
    """The factors that have what is told, with nothing else; and which they are."""
    if told == "protein":
        factors = replace(factors, has_motif=torch.zeros_like(factors.has_motif))
    if told == "motif":
        factors = replace(factors, residue_mask=torch.zeros_like(factors.residue_mask))
    kept = (factors.has_protein | factors.has_motif).nonzero().squeeze(1)
    return (factors.select(kept) if len(kept) else factors), kept
