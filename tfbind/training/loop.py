"""The training loop: any step can be resumed exactly, and what a step does depends on seed and step alone."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import tfbind
from tfbind.config import ContextDropout, TrainingSettings, WindowSettings
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path, sha256_json
from tfbind.core.progress import Progress
from tfbind.genome.regions import Region
from tfbind.model.binding import BindingModel
from tfbind.model.context_encoder import ACCESSIBILITY_REACH
from tfbind.model.contexts import ContextBatch
from tfbind.model.data import BOUND, GenomeData
from tfbind.model.depth import depth_covariate
from tfbind.model.factors import FactorBatch
from tfbind.model.finetuning import fine_tune, merge_adapters
from tfbind.model.inference import bins_around
from tfbind.model.losses import experiment_weights
from tfbind.model.precision import loss_scaler
from tfbind.model.site_scan import SiteScan, scan_windows
from tfbind.model.whole_batch import window_keys
from tfbind.training import processes
from tfbind.training.ahead import Ahead
from tfbind.training.objective import Objective, Reading, StepPart
from tfbind.training.optimization import learning_rate, make_optimizer, parameter_groups, set_rates
from tfbind.training.sampling import Batch, WindowSampler
from tfbind.training.splits import Split
from tfbind.training.stopping import Stopped, StopSignals
from tfbind.training.trunkcache import TrunkCache
from tfbind.training.validation import Validator

if TYPE_CHECKING:
    from accelerate import Accelerator

STATE = "training.safetensors"
# Of a frozen trunk, beside the state.
EMBEDDINGS = "embeddings"
Kept = tuple[np.ndarray, list[np.ndarray | None]]
"""Base codes of windows, and what is kept of them."""
# Factors that one step of motif reading looks at, and the learning rate before any DNA is seen.
READING_BATCH = 16
READING_RATE = 3e-3
# Bins that are looked at for anything measured.
ROWS_AT_ONCE = 1 << 16


@dataclass
class TrainingState:
    """All that a resumed run needs beside weights and optimizer; random streams follow from the step."""

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    waited: int = 0
    history: list[dict[str, float | None]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """Of the steps since the last row of the history."""
    parts: list[list[float]] = field(default_factory=list)
    """What they are made of, where several losses count."""
    scaling: dict[str, float] = field(default_factory=dict)
    """Of the loss, in float16."""


class Trainer:
    """Train a model on one data set.

    Parameters
    ----------
    model
        Freshly made, or about to be overwritten by the saved state.
    data
        Genome with labels; `pairs[e]` says which factor and cell type column e of the labels measures.
    factors
        All factors that `pairs` speaks of.
    pairs
        int64 (experiments, 2).
    split
        Regions and experiments to train on.
    state_folder
        Where the state of an unfinished run is kept.
    names
        Of the experiments, for messages.
    reads
        Read depth of each experiment, None where not known; none: of none of them.
    context_dropout
        How often what is known of a cell type is hidden; none: as often as a configuration says by default.
    signals
        What notes signals already, if something does.

    Raises
    ------
    InputError
        Too few bound bins to train on, none to validate on, or a loss without anything to learn it from.
    """

    def __init__(
        self,
        model: BindingModel,
        data: GenomeData,
        factors: FactorBatch,
        pairs: Tensor,
        split: Split,
        *,
        settings: TrainingSettings,
        windows: WindowSettings,
        seed: int,
        state_folder: Path,
        device: torch.device,
        names: Sequence[str],
        reads: Sequence[int | None] | None = None,
        context_dropout: ContextDropout | None = None,
        signals: StopSignals | None = None,
    ) -> None:
        fine_tune(model, settings.fine_tuning)
        model.trunk.gradient_checkpointing = settings.gradient_checkpointing
        self.model = model.to(device)
        self.data, self.factors, self.pairs, self.split = data, factors, pairs, split
        self.settings, self.seed, self.device, self.folder = settings, seed, device, state_folder
        self.windows = windows
        self.context_dropout = context_dropout or ContextDropout()
        self.columns = columns = split.columns(names)
        _require_positives(data, split, columns, settings.min_bound_bins, names)
        bound = _bound_bins(data, split.train)[columns]
        self.experiment_weights = np.zeros(len(names), dtype=np.float32)
        self.experiment_weights[columns] = experiment_weights(bound, settings.balance)
        self.depth = depth_covariate(reads or [None] * len(names), columns)
        self.readable = self._readable()
        _require_readable(settings, self.readable)
        _require_measured(data, split, columns, settings)
        self.sampler = WindowSampler(
            data,
            split.train,
            columns,
            bins=windows.length // windows.bin,
            peak_fraction=settings.peak_fraction,
            peak_draw=settings.peak_draw,
            open_fraction=settings.open_fraction,
            seed=seed,
            # As in prediction: the edges of a window are not where accessibility ends.
            context_bins=ACCESSIBILITY_REACH,
            crop=settings.crop,
            spacing=settings.window_spacing,
        )
        self.objective = Objective(self.model, settings, len(columns)).to(device)
        self.optimizer = make_optimizer(self.objective, model.trunk, settings)
        self.scaler = loss_scaler(device, settings.precision)
        # Several losses are told apart in the history.
        self.counted = settings.losses.counted if len(settings.losses.counted) > 1 else []
        self.accelerator = _accelerator(device)
        processes.meet()
        _require_enough_windows(settings)
        self.wrapped = self.accelerator.prepare_model(self.objective)
        at_once = max(1, settings.batch_size // (processes.count() * settings.gradient_accumulation))
        self.cache = self._cache(at_once)
        self.validator = Validator(
            data,
            split.validation,
            columns,
            windows,
            around=bins_around(self.model),
            precision=settings.precision,
            cache=self.cache,
        )
        # What the data of steps was waited for, and all that steps took, in seconds.
        self.ahead, self.spent = Ahead(self._own_windows, settings.steps), 0.0
        self.signals, self.stop_signal = signals or StopSignals(), 0
        self.state = TrainingState()
        self.signature = self._signature()
        self.best_weights: dict[str, Tensor] = {}

    def run(self) -> None:
        """Train until the last step or until validation no longer improves; the model keeps its best weights.

        Raises
        ------
        Stopped
            A signal asked for it; the state is kept, and another run goes on from it exactly.
        """
        with self.signals:
            restored = self._restore()
            if received := max(processes.gathered(self.signals.received)):
                raise Stopped(received, self.state.step)
            if not restored:
                self._read_motifs()
                self._save()
            title = "training"
            with (
                self.ahead,
                Progress(title, self.settings.steps, unit="steps", start=self.state.step) as progress,
            ):
                while not self._finished():
                    if not self._validation_is_due():
                        self._train_until_validation(progress)
                    self._validate()
                    self._save()
        self.model.load_state_dict(self.best_weights)
        merge_adapters(self.model)
        self.model.eval()

    def _finished(self) -> bool:
        at_the_end = self.state.step >= self.settings.steps or self.state.waited >= self.settings.patience
        return at_the_end and not self._validation_is_due()

    def _validation_is_due(self) -> bool:
        """Whether all steps up to the next validation are done, and it is not."""
        return self._validation_is_reached() and self.state.history[-1]["validation_auprc"] is None

    def _validation_is_reached(self) -> bool:
        """Whether the step is one after which there is a validation, done or not."""
        step = self.state.step
        return step > 0 and (step % self.settings.validate_every == 0 or step == self.settings.steps)

    def _train_until_validation(self, progress: Progress) -> None:
        every = max(1, self.settings.validate_every // 5)
        while not self._validation_is_due():
            step = self.state.step
            self.state.losses.append(self._step(step))
            if self.counted:
                self.state.parts.append(self.parts)
            self.state.step += 1
            if self.state.step % every == 0 or self._validation_is_reached():
                self.state.history.append(
                    {
                        "step": self.state.step,
                        "loss": float(np.mean(self.state.losses)),
                        "learning_rate": learning_rate(step, self.settings),
                        "validation_auprc": None,
                        **self._mean_parts(),
                    }
                )
                self.state.losses, self.state.parts = [], []
            recent = self.state.losses[-1] if self.state.losses else self.state.history[-1]["loss"]
            best = max(self.state.best, 0)
            waited = self.ahead.waited / max(self.spent, 1e-9)
            progress.advance(
                note=f"loss {recent:.4f}, best validation AUPRC {best:.4f}, waited for data {waited:.1%}"
            )
            if self.stop_signal:
                self._save()
                raise Stopped(self.stop_signal, self.state.step)
        # Validation may take longer than a time limit leaves.
        self._save()

    def _mean_parts(self) -> dict[str, float]:
        """Means of the losses since the last row of the history, by column of the history."""
        means = np.mean(self.state.parts, axis=0) if self.counted else []
        return {f"loss_{name}": float(mean) for name, mean in zip(self.counted, means, strict=True)}

    def _step(self, step: int) -> float:
        began = time.perf_counter()
        self.wrapped.train()
        set_rates(self.optimizer, step, self.settings)
        reading = self._draw_reading(step, 2) if self.settings.motif_loss else None
        windows = self._embedded(*self.ahead.of(step))
        loss = self._update(self.optimizer, windows, step, reading)
        self.spent += time.perf_counter() - began
        return loss

    def _cache(self, windows_at_once: int) -> TrunkCache | None:
        """Where the trunk's embeddings are kept, if they are."""
        settings = self.settings.fine_tuning.cache
        if settings is None:
            return None
        return TrunkCache(
            settings.folder or self.folder / EMBEDDINGS,
            self.model.trunk,
            bins=self.sampler.bins,
            settings=settings,
            precision=self.settings.precision,
            device=self.device,
            windows_at_once=windows_at_once,
        )

    def _own_windows(self, step: int) -> tuple[StepPart, Kept | None]:
        """This process's windows of a step, and what is kept of them; read ahead, so the trunk does not run."""
        own = processes.share(self.settings.batch_size)
        batch = self.sampler.batch(step, self.settings.batch_size, own)
        kept = None if self.cache is None else (batch.codes, self.cache.read(batch.codes))
        columns = self._draw_experiments(step)
        numbers, pairs = self._factors_of(columns)
        known = None
        # A GPU scans them faster than a CPU does for it.
        if self.device.type == "cpu":
            scan = SiteScan(self.factors.motifs[numbers], self.factors.has_motif[numbers])
            known = scan_windows(scan, torch.as_tensor(batch.codes), self.data.bin).clone()
        labels, signal, score = (
            None if array is None else torch.as_tensor(np.ascontiguousarray(array[:, :, columns])).to(self.device)
            for array in (batch.labels, batch.signal, batch.score)
        )
        codes, weights = (torch.as_tensor(array).to(self.device) for array in (batch.codes, batch.weights))
        return StepPart(
            codes,
            self._contexts(batch, step),
            labels,
            weights,
            self.factors.select(numbers).to(self.device),
            pairs,
            experiment_weights=torch.as_tensor(self.experiment_weights[columns]).to(self.device),
            depth=torch.as_tensor(self.depth[columns]).to(self.device),
            signal=signal,
            score=score,
            known=known,
        ), kept

    def _embedded(self, windows: StepPart, kept: Kept | None) -> StepPart:
        """Windows with what the trunk says of them, where that is kept."""
        return windows if kept is None else replace(windows, embedding=self.cache.completed(*kept))

    def _contexts(self, batch: Batch, step: int) -> ContextBatch:
        """What a step is told of the cell types: the same in all processes and parts."""
        accessibility, further = (
            None if array is None else torch.as_tensor(array).to(self.device)
            for array in (batch.accessibility, batch.further)
        )
        known = self.data.contexts(accessibility, further)
        return known.hidden(self.context_dropout, np.random.default_rng([self.seed, step, 5]))

    def _update(
        self, optimizer: torch.optim.Optimizer, windows: StepPart | None, step: int, reading: Reading | None
    ) -> float:
        """One step of an optimizer; the loss of the windows, or of reading where there are none."""
        optimizer.zero_grad(set_to_none=True)
        parts = self.settings.gradient_accumulation if windows is not None else 1
        # Loss of the windows, loss of reading, and what the first is made of.
        told = torch.zeros(2 + (len(self.counted) if windows is not None else 0), dtype=torch.float64)
        for index in range(parts):
            last = index == parts - 1
            # DDP sums gradients over processes with the last part.
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                found, read, made_of = self._backward(windows, step, index, parts, reading if last else None)
            told[0] += found
            told[2:] += torch.as_tensor(made_of[: len(told) - 2], dtype=torch.float64)
        told[1] = read / processes.count()
        (found, read, *self.parts), stop = self._agreed(told)
        loss = found + self.settings.motif_loss * read if windows is not None else read
        if not math.isfinite(loss):
            raise InputError(
                f"training diverged: the loss of step {step} is {loss}",
                key="training.learning_rate",
                mend="lower training.learning_rate or training.clip_norm, or raise training.warmup_steps",
            )
        self.scaler.unscale_(optimizer)
        self.accelerator.clip_grad_norm_(self.objective.parameters(), self.settings.clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
        self.stop_signal = stop
        return read if windows is None else found

    def _backward(
        self, windows: StepPart | None, step: int, index: int, parts: int, reading: Reading | None
    ) -> tuple[float, float, list[float]]:
        """Gradients of one part of a step; its losses, and what the first is made of."""
        own = processes.share(self.settings.batch_size)
        inner = processes.part(len(own), index, parts)
        seeded(self.seed, step)
        numbers = [own[window] for window in inner]
        with window_keys(self.model, self.seed, step, numbers):
            found, read, made_of = self.wrapped(None if windows is None else windows.of(inner), reading)
        # DDP takes the mean over processes. The windows' losses of all processes add up; the reading is the same
        # in all.
        weight = 1.0 if windows is None else self.settings.motif_loss
        self.accelerator.backward(self.scaler.scale(found * processes.count() + weight * read))
        return float(found.detach()), float(read.detach()), made_of.tolist()

    def _agreed(self, losses: Tensor) -> tuple[list[float], int]:
        """Losses summed over processes, and the signal that one of them was sent, the same for all."""
        mine = torch.cat([losses, torch.tensor([float(self.signals.received)], dtype=torch.float64)])
        *found, stop = processes.summed(mine.to(self.device)).tolist()
        received = max(processes.gathered(self.signals.received)) if stop else 0
        return found, received

    def _draw_experiments(self, step: int) -> np.ndarray:
        used = np.asarray(self.columns)
        count = self.settings.experiments_per_step
        if count >= len(used):
            return used
        rng = np.random.default_rng([self.seed, step, 1])
        return used[np.sort(rng.choice(len(used), count, replace=False))]

    def _factors_of(self, columns: np.ndarray) -> tuple[Tensor, Tensor]:
        """Numbers of the factors that these experiments need, and the pairs renumbered to them."""
        pairs = self.pairs[torch.as_tensor(columns)]
        unique, renumbered = pairs[:, 0].unique(return_inverse=True)
        return unique, torch.stack([renumbered, pairs[:, 1]], 1).to(self.device)

    # Reading motifs off proteins.

    def _readable(self) -> Tensor:
        """Training factors whose protein is known, and whose motif is known and says something."""
        used = self.pairs[torch.as_tensor(self.columns), 0].unique()
        informative = self.factors.has_motif & (self.factors.motifs != 0).flatten(1).any(1)
        return used[(self.factors.has_protein & informative)[used]]

    def _draw_reading(self, step: int, stream: int) -> Reading:
        """Some of the training factors, and what they are to spell."""
        rng = np.random.default_rng([self.seed, step, stream])
        drawn = rng.choice(len(self.readable), min(READING_BATCH, len(self.readable)), replace=False)
        batch = self.factors.select(self.readable[torch.as_tensor(np.sort(drawn))]).to(self.device)
        return Reading(batch, *draw_motif_bases(batch, rng))

    def _read_motifs(self) -> None:
        """Learn to read motifs off proteins, before any DNA is seen. After a kill it starts anew: it is short."""
        steps = self.settings.motif_pretraining_steps
        if not steps:
            return
        self.wrapped.train()
        # An optimizer of its own: what it remembers means nothing for the loss that follows.
        groups = parameter_groups(self.model.head.encoder, self.settings.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=READING_RATE)
        with Progress("reading motifs off proteins", steps, unit="steps") as progress:
            for step in range(steps):
                loss = self._update(optimizer, None, step, self._draw_reading(step, 3))
                progress.advance(note=f"loss {loss:.3f} nats/base")
                if self.stop_signal:
                    raise Stopped(self.stop_signal, 0)

    # Validation and state.

    def _validate(self) -> None:
        value = self.validator.mean_auprc(self.model, self.factors, self.pairs)
        self.state.history[-1]["validation_auprc"] = value
        if value > self.state.best:
            self.state.best, self.state.best_step, self.state.waited = value, self.state.step, 0
            self.best_weights = {
                name: weight.detach().cpu().clone() for name, weight in self.model.state_dict().items()
            }
        else:
            self.state.waited += 1

    def _signature(self) -> str:
        """What a state belongs to: another configuration, data set or version does not resume it."""
        digest = hashlib.sha256()
        for array in self._contents():
            digest.update(np.ascontiguousarray(array).data)
        return sha256_json(
            {
                "tfbind": tfbind.__version__,
                "settings": self.settings.model_dump(mode="json", exclude=_CHANGES_NOTHING),
                "windows": self.windows.model_dump(mode="json"),
                "model": self.model.settings.model_dump(mode="json"),
                "trunk": [self.model.trunk.settings.model_dump(mode="json"), self.model.trunk.source],
                "shape": self.model.shape.as_json(),
                "context_dropout": self.context_dropout.model_dump(mode="json"),
                "seed": self.seed,
                "pairs": self.pairs.tolist(),
                "split": self.split.checksum,
                "data": digest.hexdigest(),
            }
        )

    def _contents(self) -> Iterator[np.ndarray]:
        """Every number that training reads."""
        factors = self.factors
        for tensor in (factors.embeddings, factors.residue_mask, factors.motifs, factors.has_motif):
            yield tensor.cpu().numpy()
        yield self.data.has_track
        if self.data.has_further is not None:
            yield self.data.has_further
        if self.data.known is not None:
            for tensor in (self.data.known.text, self.data.known.has_text, self.data.known.identity):
                yield tensor.numpy()
        # Whole chromosomes: what lies beside a region is looked at, too.
        chromosomes = dict.fromkeys(region.chrom for region in (*self.split.train, *self.split.validation))
        for chrom in chromosomes:
            yield self.data.codes[chrom]
            yield self.data.accessibility[chrom]
            if self.data.further is not None:
                yield self.data.further[chrom]
        for region in (*self.split.train, *self.split.validation):
            yield _of_region(self.data.labels, region, self.data.bin)
        for array in self._further_arrays():
            yield from (_of_region(array, region, self.data.bin) for region in self.split.train)
        if self.objective.depth is not None:
            yield self.depth

    def _further_arrays(self) -> list[Mapping[str, np.ndarray]]:
        return [array for array in (self.data.signal, self.data.score) if array is not None]

    def _save(self) -> None:
        if processes.is_main():
            self._write_state()
        # None goes on, and perhaps ends, while it is written.
        processes.wait_for_all()

    def _write_state(self) -> None:
        tensors = {f"model/{name}": weight for name, weight in self.model.state_dict().items()}
        tensors |= {f"best/{name}": weight for name, weight in self.best_weights.items()}
        if self.objective.depth is not None:
            tensors |= {f"depth/{name}": weight for name, weight in self.objective.depth.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        self.state.scaling = self.scaler.state_dict()
        about = json.dumps({"signature": self.signature, **vars(self.state)}, sort_keys=True)
        # One file, renamed when whole: a kill leaves the former state or this one, never none.
        with atomic_path(self.folder / STATE) as temporary:
            save_file(plain, temporary, metadata={"state": about})

    def _restore(self) -> bool:
        found = self._load_state()
        if len(set(processes.gathered(found and found[0].step))) > 1:
            raise InputError(
                "the processes of this training see different states of it",
                file=self.folder / STATE,
                mend="keep results/ on a file system that all nodes share; then start again",
            )
        if found is None:
            return False
        self.state, tensors = found
        self.scaler.load_state_dict(self.state.scaling)
        self.model.load_state_dict(_part(tensors, "model/"))
        if self.cache is not None:
            # It was opened for the weights that the model was made with.
            self.cache.open()
        self.best_weights = _part(tensors, "best/")
        if self.objective.depth is not None:
            self.objective.depth.load_state_dict(_part(tensors, "depth/"))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer/").items():
            index, moment = name.split("/")
            moments.setdefault(int(index), {})[moment] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        return True

    def _load_state(self) -> tuple[TrainingState, dict[str, Tensor]] | None:
        """The kept state and its tensors; None if there is none of this training."""
        path = self.folder / STATE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as saved:
                about = json.loads(saved.metadata()["state"])
                if about.pop("signature") != self.signature:
                    return None
                tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"is no state of a training ({error})", file=path, mend="delete it: training then starts anew"
            ) from error
        return TrainingState(**about), tensors


def draw_motif_bases(factors: FactorBatch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw one sequence from each known motif; columns of zeros (padding) are left out.

    Returns
    -------
    bases int64 (factors, W), left-aligned, and widths int64 (factors,)
    """
    bases = torch.zeros(factors.motifs.shape[:2], dtype=torch.int64)
    widths = torch.zeros(len(factors), dtype=torch.int64)
    for row, motif in enumerate(factors.motifs.cpu()):
        columns = motif[motif.abs().sum(1) > 0].softmax(-1).double().numpy()
        drawn = [rng.choice(4, p=column / column.sum()) for column in columns]
        bases[row, : len(drawn)] = torch.as_tensor(drawn)
        widths[row] = len(drawn)
    return bases.to(factors.motifs.device), widths.to(factors.motifs.device)


def seeded(*seed: int) -> None:
    """Set torch's random stream from e.g. a seed and a step, so that no state of it need be saved."""
    torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))


def _accelerator(device: torch.device) -> Accelerator:
    """What joins the processes that torchrun started, by DDP; with one process, nothing is joined."""
    from accelerate import Accelerator, DistributedDataParallelKwargs

    # What no factor of a step needs has no gradient in it. Statistics are equal in all processes.
    how = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    return Accelerator(cpu=device.type == "cpu", kwargs_handlers=[how])


def _require_enough_windows(settings: TrainingSettings) -> None:
    parts = processes.count() * settings.gradient_accumulation
    if settings.batch_size < parts:
        raise InputError(
            f"{settings.batch_size} windows a step cannot be divided among {processes.count()} processes, in "
            f"{settings.gradient_accumulation} parts each",
            key="training.batch_size",
            mend=f"set it to at least {parts}, or train with fewer GPUs or less training.gradient_accumulation",
        )


# Where embeddings are kept, and how many; and what further models there are.
_CHANGES_NOTHING = {"ensemble": True, "variants": True, "fine_tuning": {"cache": {"folder", "gigabytes"}}}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _require_positives(
    data: GenomeData, split: Split, columns: Sequence[int], least: int, names: Sequence[str]
) -> None:
    bound = _bound_bins(data, split.train)
    few = [f"{names[column]} ({bound[column]})" for column in columns if bound[column] < least]
    if few:
        raise InputError(
            f"too few bound bins in the training regions to train on: {', '.join(few)}; "
            f"at least {least} are needed",
            key="training.min_bound_bins",
            mend="take these experiments out of experiments.tsv, hold out less of the genome, "
            "or lower training.min_bound_bins",
        )
    if not _bound_bins(data, split.validation)[columns].any():
        raise InputError(
            "no experiment has a bound bin in the validation regions: nothing says when to stop",
            key="splits.validation",
            mend="choose regions with peaks",
        )


def _of_region(arrays: Mapping[str, np.ndarray], region: Region, bin: int) -> np.ndarray:
    bins = region.bins(bin)
    return arrays[region.chrom][bins.start : bins.stop]


def _bound_bins(data: GenomeData, regions: Sequence[Region]) -> np.ndarray:
    labels = (_of_region(data.labels, region, data.bin) for region in regions)
    return np.sum([(each == BOUND).sum(0) for each in labels], axis=0)


def _require_measured(data: GenomeData, split: Split, columns: Sequence[int], settings: TrainingSettings) -> None:
    """What the losses learn from is there, for at least one of the training experiments."""
    held = {"signal": data.signal, "score": data.score}
    for name, key, column in (("signal", "track", "signal"), ("score", "peak_score", "peaks")):
        if name not in settings.losses.arrays:
            continue
        if (array := held[name]) is None:
            raise InputError(
                f"has a weight, and the targets hold no {name}",
                key=f"training.losses.{key}",
                mend="run `tfbind targets` again",
            )
        if not any(_says_something(name, _of_region(array, each, data.bin), columns) for each in split.train):
            raise InputError(
                f"has a weight, and no experiment to train on has a {name}",
                key=f"training.losses.{key}",
                mend=f"give them in the column '{column}' of experiments.tsv, or set the weight to 0",
            )


def _says_something(name: str, array: np.ndarray, columns: Sequence[int]) -> bool:
    """Whether a signal was measured anywhere, or a score is above 0; looked for piece by piece."""
    least = 0 if name == "score" else -np.inf
    pieces = (array[first : first + ROWS_AT_ONCE][:, columns] for first in range(0, len(array), ROWS_AT_ONCE))
    return any(bool((piece > least).any()) for piece in pieces)


def _require_readable(settings: TrainingSettings, readable: Tensor) -> None:
    if settings.motif_pretraining_steps and not settings.motif_loss:
        raise InputError(
            "motif_pretraining_steps needs a motif_loss above 0",
            key="training.motif_pretraining_steps",
            mend="set training.motif_loss, e.g. 0.1, or motif_pretraining_steps to 0",
        )
    if settings.motif_loss and not len(readable):
        raise InputError(
            "no factor to train on has both a protein and a motif, which a motif_loss learns from",
            key="training.motif_loss",
            mend="give motifs in factors.tsv, or set training.motif_loss and motif_pretraining_steps to 0",
        )
