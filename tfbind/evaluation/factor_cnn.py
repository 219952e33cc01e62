"""A network of one factor alone, trained on nothing but its own peaks: what knowing other factors must beat.

It sees DNA, and the accessibility (and further signals) of the cell type, and is trained on all training cell
types of its factor, so it predicts further ones. Of proteins, motifs and other factors' peaks it knows nothing,
and a factor that was not measured has none. Windows are drawn around its peaks and around open chromatin, with
weights that keep the loss that of all training regions; weights are kept that rank the validation regions best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from tfbind.config import TrainingSettings, TrunkSettings
from tfbind.core.metrics import average_precision
from tfbind.core.progress import Progress
from tfbind.genome.regions import Region
from tfbind.model.context_encoder import ACCESSIBILITY_REACH, AccessibilityTower
from tfbind.model.contexts import ContextBatch
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND, GenomeData
from tfbind.model.dilated import DilatedTrunk
from tfbind.model.head import INITIAL_BIAS
from tfbind.model.losses import binding_loss
from tfbind.training.optimization import make_optimizer, set_rates
from tfbind.training.sampling import WindowSampler
from tfbind.training.splits import Split

NAME = "CNN of the factor alone"
# bp of a window, and of what is not counted at either side: each counted bin sees as much around it.
WINDOW, AROUND = 4096, 1024
# This share of the training bins is called open, in each cell type.
OPEN = 0.02
# Bins predicted at once.
STRETCH = 1024


def seen(signals: Sequence[str] = ()) -> str:
    """What it knows, with the signals beside accessibility, for tables."""
    return f"{', '.join(['DNA', 'accessibility', *signals])}; the factor's own measurements in training regions"


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    Attributes
    ----------
    steps, windows
        Steps, and windows of each.
    drawn
        Share of windows around peaks and open chromatin, half of them each; the others lie anywhere.
    checks, patience
        Validations, evenly spaced; so many without a better one end the training.
    """

    steps: int = 250
    windows: int = 16
    drawn: float = 0.7
    learning_rate: float = 3e-3
    checks: int = 5
    patience: int = 2

    @property
    def settings(self) -> TrainingSettings:
        """What the optimizer is made of."""
        return TrainingSettings(
            steps=self.steps, warmup_steps=min(20, self.steps // 10), learning_rate=self.learning_rate
        )


class FactorCnn(nn.Module):
    """Convolutions over DNA, joined with the accessibility and further signals around each bin.

    Parameters
    ----------
    bin
        bp of a bin, a power of two.
    signals
        Number of signals beside accessibility.
    """

    def __init__(self, bin: int, signals: int = 0, *, dim: int = 48, depth: int = 3, hidden: int = 16) -> None:
        super().__init__()
        self.bin = bin
        self.trunk = DilatedTrunk(TrunkSettings(kind="dilated", dim=dim, depth=depth), bin)
        self.accessibility = AccessibilityTower(hidden, signals)
        self.of_dna, self.of_cell = nn.Linear(dim, dim), nn.Linear(hidden, dim)
        self.out = nn.Linear(dim, 1)
        nn.init.constant_(self.out.bias, INITIAL_BIAS["binding"])

    def forward(self, codes: Tensor, contexts: ContextBatch) -> Tensor:
        """Logits (windows, bins, cells).

        Parameters
        ----------
        codes
            Base codes (windows, bp).
        contexts
            Of the bins of the windows, and of `ACCESSIBILITY_REACH` more on either side.
        """
        dna = self.of_dna(self.trunk(codes))
        near = self.accessibility(contexts)[:, ACCESSIBILITY_REACH:-ACCESSIBILITY_REACH]
        joined = nn.functional.gelu(dna.unsqueeze(2) + self.of_cell(near))
        return self.out(joined).squeeze(-1)


def predict_alone(
    data: GenomeData,
    experiments: Sequence[Mapping[str, str]],
    cell_types: Sequence[str],
    split: Split,
    *,
    seed: int,
    schedule: Schedule = Schedule(),
) -> dict[str, np.ndarray]:
    """Train a network for each factor of the tested experiments, and predict these.

    Parameters
    ----------
    data
        With labels (columns as `experiments`), and accessibility and further signals (columns as `cell_types`).

    Returns
    -------
    Experiment -> probabilities of the bins of the test's regions, float32 (bins,). Those are missing of whose
    factor nothing was trained on, or nothing is bound in the training regions.
    """
    tested = [each for each in experiments if each["name"] in set(split.tested)]
    factors = list(dict.fromkeys(each["factor"] for each in tested))
    place = {name: cell for cell, name in enumerate(cell_types)}
    found = {}
    with Progress("networks of one factor", len(factors), unit="factors") as progress:
        for factor in factors:
            columns = [
                column
                for column, each in enumerate(experiments)
                if each["factor"] == factor and each["name"] in set(split.experiments)
            ]
            cells = [place[experiments[column]["cell_type"]] for column in columns]
            regions = (split.train, split.validation)
            model = None
            if columns:
                model = train_factor_cnn(data, columns, cells, *regions, seed=seed, schedule=schedule)
            if model is not None:
                own = [each for each in tested if each["factor"] == factor]
                rows = predict_factor(model, data, [place[each["cell_type"]] for each in own], split.test)
                found |= {each["name"]: row for each, row in zip(own, rows, strict=True)}
            progress.advance()
    return found


def train_factor_cnn(
    data: GenomeData,
    columns: Sequence[int],
    cells: Sequence[int],
    train: Sequence[Region],
    validation: Sequence[Region],
    *,
    seed: int,
    schedule: Schedule = Schedule(),
) -> FactorCnn | None:
    """Train the network of a factor.

    Parameters
    ----------
    data
        With labels, and accessibility of the cell types.
    columns, cells
        The factor's training experiments: columns of the labels, and of their cell types in `data`.
    train, validation
        Regions; nothing is read elsewhere but what lies around their bins.
    seed
        Of weights and windows.

    Returns
    -------
    The network, in eval mode; None where nothing is bound in the training regions.
    """
    own = _of_factor(data, columns, cells, train, validation)
    count = len(columns)
    sampler = WindowSampler(
        own,
        train,
        range(own.labels[train[0].chrom].shape[1]),
        bins=WINDOW // data.bin,
        peak_fraction=schedule.drawn,
        seed=seed,
        context_bins=ACCESSIBILITY_REACH,
        crop=AROUND // data.bin,
    )
    if not any((_labels(own, region)[:, :count] == BOUND).any() for region in train):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FactorCnn(data.bin, 0 if data.has_further is None else data.has_further.shape[1])
        return _trained(model, own, sampler, count, validation, schedule)


def _trained(
    model: FactorCnn,
    own: GenomeData,
    sampler: WindowSampler,
    count: int,
    validation: Sequence[Region],
    schedule: Schedule,
) -> FactorCnn:
    settings = schedule.settings
    optimizer = make_optimizer(model, model.trunk, settings)
    best, kept, worse = -1.0, None, 0
    checks = {schedule.steps * number // schedule.checks for number in range(1, schedule.checks + 1)}
    for step in range(schedule.steps):
        model.train()
        set_rates(optimizer, step, settings)
        batch = sampler.batch(step, schedule.windows)
        further = None if batch.further is None else torch.as_tensor(batch.further)
        contexts = own.contexts(torch.as_tensor(batch.accessibility), further)
        logits = model(torch.as_tensor(batch.codes), contexts)
        labels = torch.as_tensor(np.ascontiguousarray(batch.labels[..., :count]))
        counted = logits[:, sampler.crop : sampler.crop + sampler.counted]
        loss = binding_loss(counted, labels, torch.as_tensor(batch.weights))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step + 1 in checks:
            found = _mean_auprc(model, own, count, validation)
            worse = 0 if found > best else worse + 1
            if found > best:
                best, kept = found, deepcopy(model.state_dict())
            if worse == schedule.patience:
                break
    model.load_state_dict(kept)
    return model.eval()


def predict_factor(
    model: FactorCnn, data: GenomeData, cells: Sequence[int], regions: Sequence[Region]
) -> np.ndarray:
    """Probabilities of binding in some cell types of `data`, float32 (cells, bins of all regions)."""
    model.eval()
    columns = torch.as_tensor(list(cells))
    around, near = AROUND // data.bin, ACCESSIBILITY_REACH
    parts = []
    for region in regions:
        bins = region.bins(data.bin)
        for first in range(bins.start, bins.stop, STRETCH):
            count = min(STRETCH, bins.stop - first)
            codes = data.window_codes(region.chrom, first - around, count + 2 * around)
            starts, length = [first - around - near], count + 2 * (around + near)
            contexts = data.window_contexts(region.chrom, starts, length).select(columns)
            with torch.inference_mode():
                logits = model(torch.tensor(codes[None]), contexts)[0]
            parts.append(logits[around : around + count].sigmoid().T.numpy())
    return np.concatenate(parts, axis=1)


def _of_factor(
    data: GenomeData,
    columns: Sequence[int],
    cells: Sequence[int],
    train: Sequence[Region],
    validation: Sequence[Region],
) -> GenomeData:
    """The factor's part of the data: a cell type an experiment, its labels, and after them where it is open.

    Regions alone are looked at; elsewhere nothing is said.
    """
    own = list(cells)
    bounds = [_open_from(data, cell, train) for cell in own]
    labels = {}
    for region in (*train, *validation):
        if region.chrom not in labels:
            shape = (data.bins(region.chrom), 2 * len(own))
            labels[region.chrom] = np.full(shape, LEFT_OUT, dtype=np.uint8)
        found = _labels(data, region)[:, list(columns)]
        part = _bins(region, data.bin)
        is_open = data.accessibility[region.chrom][part][:, own] > bounds
        opened = np.where(found == LEFT_OUT, LEFT_OUT, np.where(is_open, BOUND, UNBOUND))
        labels[region.chrom][part] = np.concatenate([found, opened], axis=1)
    accessibility = {chrom: data.accessibility[chrom][:, own] for chrom in labels}
    codes = {chrom: data.codes[chrom] for chrom in labels}
    return replace(
        data,
        codes=codes,
        accessibility=accessibility,
        has_track=data.has_track[own],
        further=None if data.further is None else {chrom: data.further[chrom][:, own] for chrom in labels},
        has_further=None if data.has_further is None else data.has_further[own],
        labels=labels,
        known=None,
        signal=None,
        score=None,
    )


def _open_from(data: GenomeData, cell: int, train: Sequence[Region]) -> float:
    """Accessibility that few of the training bins exceed."""
    parts = [data.accessibility[region.chrom][_bins(region, data.bin), cell] for region in train]
    return float(np.quantile(np.concatenate(parts), 1 - OPEN))


def _bins(region: Region, bin: int) -> slice:
    bins = region.bins(bin)
    return slice(bins.start, bins.stop)


def _labels(data: GenomeData, region: Region) -> np.ndarray:
    return np.asarray(data.labels[region.chrom][_bins(region, data.bin)])


def _mean_auprc(model: FactorCnn, own: GenomeData, count: int, regions: Sequence[Region]) -> float:
    """Mean average precision over the experiments that have bound and unbound bins there; 0 without any."""
    found = predict_factor(model, own, range(count), regions)
    truth = np.concatenate([_labels(own, region)[:, :count] for region in regions])
    scores = []
    for column in range(count):
        kept = truth[:, column] != LEFT_OUT
        bound = truth[kept, column] == BOUND
        if bound.any() and not bound.all():
            scores.append(average_precision(bound, found[column, kept]))
    return float(np.mean(scores)) if scores else 0.0
