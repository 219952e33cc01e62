"""Training from what the earlier steps wrote: data set in, model folder and history out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tfbind.config import Config, TextSettings
from tfbind.contexts.contextset import ContextSet
from tfbind.contexts.text import is_commit
from tfbind.core.errors import InputError
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference
from tfbind.model.batching import factor_batch
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import save_checkpoint
from tfbind.model.data import SignalTracks, of_cell_types, open_genome_data
from tfbind.model.shape import ModelShape
from tfbind.training import processes
from tfbind.training.history import write_history
from tfbind.training.loop import Trainer, seeded
from tfbind.training.splits import Split
from tfbind.training.stopping import StopSignals
from tfbind.training.targets import Targets


def train_model(
    config: Config,
    reference: Reference,
    factor_set: FactorSet,
    targets: Targets,
    split: Split,
    cell_types: Sequence[str],
    tracks: Sequence[Path | None],
    *,
    state: Path,
    history: Path,
    output: Path,
    device: torch.device,
    context_set: ContextSet | None = None,
    signals: StopSignals | None = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
    further: SignalTracks | None = None,
) -> None:
    """Train, calibrate, find the thresholds of the peaks, and write model folder and history.

    Parameters
    ----------
    cell_types, tracks
        Names, and accessibility bigWigs; None for a cell type without one.
    state
        Folder that keeps the state of an unfinished training.
    device
        Where the model runs. With several processes, each has a device of this kind; the main one writes.
    context_set
        The cell types' texts, where the configuration wants them.
    signals
        What notes signals already, if something does.
    aliases
        Further names of cell types, for the manifest.
    further
        Signals beside accessibility, of each cell type. Those that no cell type to train on has are left out.

    Raises
    ------
    Stopped
        As `Trainer.run`.
    InputError
        If binding is not trained, the targets are of another genome, resolution or table than the rest, texts are
        missing or there against the configuration, the split is of another genome or other experiments, or a
        motif panel is asked for without motifs; as `Trainer`.
    """
    _require_binding(config)
    _require_fitting(targets, reference, config, cell_types)
    _require_texts_as_configured(config, context_set)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing reads memory before it is written; filling it would take a twentieth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    split.require_fitting(reference.checksum, config.windows.bin)
    names = [experiment["name"] for experiment in targets.experiments]
    columns = split.columns(names)
    # Of the trained cell types alone: a further one, to be predicted, changes nothing here.
    measured = {targets.experiments[column]["cell_type"] for column in columns}
    contexts = {name: track for name, track in zip(cell_types, tracks, strict=True) if name in measured}
    known = of_cell_types(further, [name in measured for name in cell_types])
    # Of a signal that no cell type has, nothing could be learnt.
    known = {name: paths for name, paths in known.items() if any(paths)}
    arrays = config.training.losses.arrays
    data = open_genome_data(
        reference,
        list(contexts.values()),
        bin=config.windows.bin,
        labels=targets.labels,
        signal=targets.signal if "signal" in arrays else None,
        score=targets.score if "score" in arrays else None,
        further=known,
    )
    learnt = list(contexts) if config.contexts.learnt else []
    data = data.knowing(list(contexts), context_set, learnt)
    if config.contexts.text and not data.known.has_text.any():
        raise InputError(
            f"no cell type to train on has a description; there are {', '.join(contexts)}",
            key="contexts.text",
            mend="describe them in the table of cell types, or set contexts.text to null",
        )
    trained = sorted({targets.experiments[column]["factor"] for column in columns})
    factors = factor_batch(factor_set, trained)
    pairs = pairs_of(targets, trained, list(contexts))
    if config.model.motif_panel and not factors.has_motif.any():
        raise InputError(
            "no factor to train on has a motif, of which a motif panel is made",
            key="model.motif_panel",
            mend="give motifs in factors.tsv, or set model.motif_panel to 0",
        )
    seeded(config.seed)
    model = BindingModel(
        config.model,
        ModelShape(
            bin=config.windows.bin,
            residue_dim=factor_set.dim,
            window_bins=config.windows.length // config.windows.bin,
            outputs=tuple(config.training.losses.counted),
            text_dim=0 if context_set is None else context_set.dim,
            cell_types=len(learnt),
            learnt=config.contexts.learnt,
            signals=tuple(known),
        ),
        panel=factors.motifs[factors.has_motif],
    )
    trainer = Trainer(
        model,
        data,
        factors,
        pairs,
        split,
        settings=config.training,
        windows=config.windows,
        seed=config.seed,
        state_folder=state,
        device=device,
        signals=signals,
        names=names,
        reads=[experiment.get("reads") for experiment in targets.experiments],
        context_dropout=config.contexts.dropout,
    )
    trainer.run()
    concluded = trainer.validator.conclude(
        trainer.model,
        factors,
        pairs,
        method=config.prediction.calibration,
        fdr=config.prediction.fdr,
        experiments=targets.experiments,
    )
    about = {
        "embedder": factor_set.embedder,
        "contexts": {"encoder": None if context_set is None else context_set.encoder, "learnt": learnt},
        "manifest": _manifest(config, reference, targets, split, trained, aliases or {})
        | _signals_of(known, contexts),
        **concluded,
        "fdr": config.prediction.fdr,
        "track_loss": config.training.losses.track_loss,
        "best_step": trainer.state.best_step,
        "validation_auprc": trainer.state.best,
    }
    if processes.is_main():
        write_history(history, trainer.state.history)
        save_checkpoint(output, trainer.model, about)
    trainer.accelerator.end_training()


def _require_binding(config: Config) -> None:
    if not config.training.losses.binding:
        raise InputError(
            "binding has no weight: training stops by it, and tracks and peaks show it",
            key="training.losses.binding",
            mend="give it a weight above 0, beside those of track and peak_score",
        )


def _require_fitting(targets: Targets, reference: Reference, config: Config, cell_types: Sequence[str]) -> None:
    unknown = sorted({experiment["cell_type"] for experiment in targets.experiments} - set(cell_types))
    wrong = [
        f"{what} is {found}, not {expected}"
        for what, found, expected in (
            ("genome", targets.about["genome"], reference.checksum),
            ("bin", targets.about["bin"], config.windows.bin),
        )
        if found != expected
    ]
    missing = [name for name in config.training.losses.arrays if getattr(targets, name) is None]
    if missing:
        wrong.append(f"they hold no {' and no '.join(missing)}, which training.losses asks for")
    if unknown:
        wrong.append(f"no cell type of the table is {', '.join(unknown)}")
    if wrong:
        raise InputError(
            f"the targets do not fit what they are trained with: {'; '.join(wrong)}",
            mend="run `tfbind targets` again",
        )


def _require_texts_as_configured(config: Config, context_set: ContextSet | None) -> None:
    wanted, found = config.contexts.text is not None, context_set is not None and context_set.encoder is not None
    if wanted and not found:
        raise InputError(
            "descriptions of cell types are to be read, and no texts are given",
            key="contexts.text",
            mend="run `tfbind contexts` and give its folder by --contexts, or set contexts.text to null",
        )
    if found and not wanted:
        raise InputError(
            "texts are given, and the configuration names nothing that reads descriptions of cell types",
            file=context_set.folder,
            key="contexts.text",
            mend="leave --contexts out, or set contexts.text",
        )
    if found:
        _require_encoder(config.contexts.text, context_set)


def _require_encoder(settings: TextSettings, context_set: ContextSet) -> None:
    """Texts that another encoder read, or the same one otherwise, are refused.

    A branch or tag of the hub is not looked up: it is compared only where it is a commit.
    """
    encoder, path = context_set.encoder, Path(settings.model)
    named = {settings.model, path.resolve().name} if path.is_dir() else {settings.model}
    wrong = [] if encoder["name"] in named else [("model", encoder["name"], settings.model)]
    if encoder["pooling"] != settings.pooling:
        wrong.append(("pooling", encoder["pooling"], settings.pooling))
    if is_commit(settings.revision) and encoder["revision"] != settings.revision:
        wrong.append(("revision", encoder["revision"], settings.revision))
    for key, found, wanted in wrong:
        raise InputError(
            f"the texts given were read with {key} {found}, not {wanted}",
            file=context_set.folder,
            key=f"contexts.text.{key}",
            mend="run `tfbind contexts` again",
        )


def pairs_of(targets: Targets, factors: Sequence[str], cell_types: Sequence[str]) -> torch.Tensor:
    """(factor, cell type) of each experiment; where held out, 0, which nothing reads."""
    row = {factor: index for index, factor in enumerate(factors)}
    column = {cell_type: index for index, cell_type in enumerate(cell_types)}
    pairs = [
        (row.get(experiment["factor"], 0), column.get(experiment["cell_type"], 0))
        for experiment in targets.experiments
    ]
    return torch.tensor(pairs, dtype=torch.int64)


def _manifest(
    config: Config,
    reference: Reference,
    targets: Targets,
    split: Split,
    factors: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """What the model was trained on: evaluation calls held out only what is not here."""
    used = [experiment for experiment in targets.experiments if experiment["name"] in split.experiments]
    return {
        "data_set": config.name,
        "genome": reference.checksum,
        "targets": targets.about["checksum"],
        "split": split.checksum,
        "regions": [[each.chrom, each.start, each.end] for each in split.train],
        "validation_regions": [[each.chrom, each.start, each.end] for each in split.validation],
        "factors": list(factors),
        "cell_types": sorted({experiment["cell_type"] for experiment in used}),
        "aliases": {name: list(aliases.get(name, ())) for name in sorted({each["cell_type"] for each in used})},
        "relatives": _relatives(targets, split, factors),
        "experiments": sorted(experiment["name"] for experiment in used),
        "seed": config.seed,
    }


def _signals_of(known: SignalTracks, cell_types: Iterable[str]) -> dict[str, Any]:
    """Of each signal beside accessibility, the cell types that it was known of; without signals, nothing."""
    names = list(cell_types)
    found = {
        signal: [name for name, path in zip(names, paths, strict=True) if path is not None]
        for signal, paths in known.items()
    }
    return {"signals": found} if found else {}


def _relatives(targets: Targets, split: Split, factors: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The measured factors that are none of those trained on and yet not unseen: nearest one, and identity."""
    seen = {
        each["factor"]
        for each in targets.experiments
        if split.kinds.get(each["name"]) in ("seen", "unseen cell type") and each["factor"] not in factors
    }
    return {name: dict(split.identity[name]) for name in sorted(seen) if name in split.identity}
