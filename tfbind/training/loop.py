"""The training loop: any step can be resumed exactly, and what a step does depends on seed and step alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import tfbind
from tfbind.config import TrainingSettings, WindowSettings
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path, sha256_json
from tfbind.core.progress import Progress
from tfbind.model.binding import BindingModel
from tfbind.model.data import BOUND, GenomeData
from tfbind.model.factor_encoder import motif_reading_loss
from tfbind.model.head import ACCESSIBILITY_REACH, FactorBatch
from tfbind.training.losses import binding_loss, experiment_weights
from tfbind.training.sampling import WindowSampler
from tfbind.training.splits import Split
from tfbind.training.validation import Validator

STATE = "training.safetensors"
# Factors that one step of motif reading looks at, and the learning rate before any DNA is seen.
READING_BATCH = 16
READING_RATE = 3e-3


@dataclass
class TrainingState:
    """All that a resumed run needs beside weights and optimizer; random streams follow from the step."""

    step: int = 0
    best: float = -1.0
    best_step: int = 0
    waited: int = 0
    history: list[dict[str, float | None]] = field(default_factory=list)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine from the peak to 1 % of it at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - 1 - settings.warmup_steps)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels, none on norms and biases."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        # Enformer's attention has biases of four dimensions.
        matrix = parameter.ndim > 1 and not name.endswith("bias")
        (decayed if matrix else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


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
        Chromosomes and experiments to train on.
    state_folder
        Where the state of an unfinished run is kept.
    names
        Of the experiments, for messages.

    Raises
    ------
    InputError
        Too few bound bins to train on, none to validate on, or a motif loss without factors to learn it from.
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
    ) -> None:
        self.model = model.to(device)
        self.data, self.factors, self.pairs, self.split = data, factors, pairs, split
        self.settings, self.seed, self.device, self.folder = settings, seed, device, state_folder
        self.windows = windows
        _require_positives(data, split, settings.min_bound_bins, names)
        bound = _bound_bins(data, split.train)[split.experiments]
        self.experiment_weights = np.zeros(len(names), dtype=np.float32)
        self.experiment_weights[split.experiments] = experiment_weights(bound, settings.balance)
        self.readable = self._readable()
        _require_readable(settings, self.readable)
        self.sampler = WindowSampler(
            data,
            split.train,
            split.experiments,
            bins=windows.length // windows.bin,
            peak_fraction=settings.peak_fraction,
            seed=seed,
            # As in prediction: the edges of a window are not where accessibility ends.
            context_bins=ACCESSIBILITY_REACH,
        )
        self.validator = Validator(data, split, windows, precision=settings.precision)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, settings.weight_decay), lr=settings.learning_rate
        )
        self.state = TrainingState()
        self.signature = self._signature()
        self.best_weights: dict[str, Tensor] = {}

    def run(self) -> None:
        """Train until the last step or until validation no longer improves; the model keeps its best weights."""
        if not self._restore():
            self._read_motifs()
            self._save()
        with Progress("training", self.settings.steps, unit="steps", start=self.state.step) as progress:
            while self.state.step < self.settings.steps and self.state.waited < self.settings.patience:
                self._train_until_validation(progress)
                self._validate()
                self._save()
        self.model.load_state_dict(self.best_weights)
        self.model.eval()

    def _train_until_validation(self, progress: Progress) -> None:
        stop = min(self.state.step + self.settings.validate_every, self.settings.steps)
        every = max(1, self.settings.validate_every // 5)
        losses: list[float] = []
        while self.state.step < stop:
            step = self.state.step
            losses.append(self._step(step))
            self.state.step += 1
            if self.state.step % every == 0 or self.state.step == stop:
                self.state.history.append(
                    {
                        "step": self.state.step,
                        "loss": float(np.mean(losses)),
                        "learning_rate": learning_rate(step, self.settings),
                        "validation_auprc": None,
                    }
                )
                losses = []
            recent = self.state.history[-1]["loss"] if self.state.history else losses[-1]
            progress.advance(note=f"loss {recent:.4f}, best validation AUPRC {max(self.state.best, 0):.4f}")

    def _step(self, step: int) -> float:
        self.model.train()
        rate = learning_rate(step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = self.sampler.batch(step, self.settings.batch_size)
        columns = self._draw_experiments(step)
        factors, pairs = self._factors_of(columns)
        with seeded(self.seed, step):
            logits = self.model(
                torch.as_tensor(batch.codes).to(self.device),
                factors,
                torch.as_tensor(batch.accessibility).to(self.device),
                torch.as_tensor(self.data.has_track).to(self.device),
                pairs,
                trunk_dtype=torch.bfloat16 if self.settings.precision == "bf16" else torch.float32,
            )
            labels = torch.as_tensor(batch.labels[:, :, columns]).to(self.device)
            loss = binding_loss(
                logits,
                labels,
                torch.as_tensor(batch.weights).to(self.device),
                torch.as_tensor(self.experiment_weights[columns]).to(self.device),
            )
            # All experiments' worth, however many were drawn.
            loss = loss * (len(self.split.experiments) / len(columns))
            total = loss
            if self.settings.motif_loss:
                total = loss + self.settings.motif_loss * self._reading_loss(step, 2)
            self._update(self.optimizer, total)
        return float(loss.detach())

    def _update(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise InputError(
                f"training diverged: the loss of step {self.state.step} is {float(loss.detach())}",
                key="training.learning_rate",
                mend="lower training.learning_rate or training.clip_norm, or raise training.warmup_steps",
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        optimizer.step()

    def _draw_experiments(self, step: int) -> np.ndarray:
        used = np.asarray(self.split.experiments)
        count = self.settings.experiments_per_step
        if count >= len(used):
            return used
        rng = np.random.default_rng([self.seed, step, 1])
        return used[np.sort(rng.choice(len(used), count, replace=False))]

    def _factors_of(self, columns: np.ndarray) -> tuple[FactorBatch, Tensor]:
        """Only the factors that these experiments need, and the pairs renumbered to them."""
        pairs = self.pairs[torch.as_tensor(columns)]
        unique, renumbered = pairs[:, 0].unique(return_inverse=True)
        chosen = self.factors.select(unique).to(self.device)
        return chosen, torch.stack([renumbered, pairs[:, 1]], 1).to(self.device)

    # Reading motifs off proteins.

    def _readable(self) -> Tensor:
        """Training factors whose protein is known, and whose motif is known and says something."""
        used = self.pairs[torch.as_tensor(self.split.experiments), 0].unique()
        informative = self.factors.has_motif & (self.factors.motifs != 0).flatten(1).any(1)
        return used[(self.factors.has_protein & informative)[used]]

    def _reading_loss(self, step: int, stream: int) -> Tensor:
        """How badly some of the training factors spell their motifs, in nats per base."""
        rng = np.random.default_rng([self.seed, step, stream])
        drawn = rng.choice(len(self.readable), min(READING_BATCH, len(self.readable)), replace=False)
        batch = self.factors.select(self.readable[torch.as_tensor(np.sort(drawn))]).to(self.device)
        bases, widths = draw_motif_bases(batch, rng)
        encoder = self.model.head.encoder
        residues = encoder.residues(batch.embeddings, batch.residue_mask.unsqueeze(-1).float())
        contact, base = encoder.motif.logits(residues)
        return motif_reading_loss(contact, base, batch.residue_mask, bases, widths)

    def _read_motifs(self) -> None:
        """Learn to read motifs off proteins, before any DNA is seen. After a kill it starts anew: it is short."""
        steps = self.settings.motif_pretraining_steps
        if not steps:
            return
        self.model.train()
        # An optimizer of its own: what it remembers means nothing for the loss that follows.
        groups = parameter_groups(self.model.head.encoder, self.settings.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=READING_RATE)
        with Progress("reading motifs off proteins", steps, unit="steps") as progress:
            for step in range(steps):
                loss = self._reading_loss(step, 3)
                self._update(optimizer, loss)
                progress.advance(note=f"loss {float(loss.detach()):.3f} nats/base")

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
                "settings": self.settings.model_dump(mode="json"),
                "windows": self.windows.model_dump(mode="json"),
                "model": self.model.settings.model_dump(mode="json"),
                "seed": self.seed,
                "pairs": self.pairs.tolist(),
                "split": vars(self.split),
                "data": digest.hexdigest(),
            }
        )

    def _contents(self) -> Iterator[np.ndarray]:
        """Every number that training reads."""
        factors = self.factors
        for tensor in (factors.embeddings, factors.residue_mask, factors.motifs, factors.has_motif):
            yield tensor.cpu().numpy()
        yield self.data.has_track
        for chrom in (*self.split.train, *self.split.validation):
            yield self.data.codes[chrom]
            yield self.data.accessibility[chrom]
            yield self.data.labels[chrom]

    def _save(self) -> None:
        tensors = {f"model/{name}": weight for name, weight in self.model.state_dict().items()}
        tensors |= {f"best/{name}": weight for name, weight in self.best_weights.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        about = json.dumps({"signature": self.signature, **vars(self.state)}, sort_keys=True)
        # One file, renamed when whole: a kill leaves the former state or this one, never none.
        with atomic_path(self.folder / STATE) as temporary:
            save_file(plain, temporary, metadata={"state": about})

    def _restore(self) -> bool:
        path = self.folder / STATE
        for half_written in self.folder.glob(".*.tmp.*"):  # by a run that was killed
            half_written.unlink()
        if not path.is_file():
            return False
        try:
            with safe_open(path, framework="pt") as saved:
                about = json.loads(saved.metadata()["state"])
                if about.pop("signature") != self.signature:
                    return False
                tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"is no state of a training ({error})", file=path, mend="delete it: training then starts anew"
            ) from error
        self.state = TrainingState(**about)
        self.model.load_state_dict(_part(tensors, "model/"))
        self.best_weights = _part(tensors, "best/")
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer/").items():
            index, moment = name.split("/")
            moments.setdefault(int(index), {})[moment] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        return True


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


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Torch's random stream (dropout) set from a step, so that no state of it need be saved."""
    torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
    yield


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _require_positives(data: GenomeData, split: Split, least: int, names: Sequence[str]) -> None:
    bound = _bound_bins(data, split.train)
    few = [f"{names[column]} ({bound[column]})" for column in split.experiments if bound[column] < least]
    if few:
        raise InputError(
            f"too few bound bins on the training chromosomes to train on: {', '.join(few)}; "
            f"at least {least} are needed",
            key="training.min_bound_bins",
            mend="take these experiments out of experiments.tsv, hold out fewer chromosomes, "
            "or lower training.min_bound_bins",
        )
    if not _bound_bins(data, split.validation)[split.experiments].any():
        raise InputError(
            "no experiment has a bound bin on the validation chromosomes: nothing says when to stop",
            key="splits.validation_chromosomes",
            mend="choose chromosomes with peaks",
        )


def _bound_bins(data: GenomeData, chromosomes: Sequence[str]) -> np.ndarray:
    return np.sum([(np.asarray(data.labels[chrom]) == BOUND).sum(0) for chrom in chromosomes], axis=0)


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
