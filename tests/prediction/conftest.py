"""An untrained model on a genome full of holes, and the tiny run opened for rendering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tfbind.config import ModelSettings, WindowSettings
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference, build_reference
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tfbind.model.data import open_genome_data
from tfbind.model.shape import ModelShape
from tfbind.prediction.embed import GenomeEmbedding, assemble, embed_shard, shard_stretches
from tfbind.prediction.render import CellTypeTracks, render_cell_types

WINDOWS = WindowSettings(bin=64, length=2048, core=512)
MODEL = {
    "trunk": {"dim": 24, "depth": 1, "heads": 4, "dim_divisible_by": 4},
    "rank": 16,
    "heads": 4,
    "factor_tokens": 4,
    "hidden": 16,
}


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    torch.set_num_threads(1)


def untrained(folder: Path, seed: int = 0) -> Checkpoint:
    torch.manual_seed(seed)
    model = BindingModel(ModelSettings.model_validate(MODEL), ModelShape(bin=64, residue_dim=5))
    save_checkpoint(folder, model, {})
    return load_checkpoint(folder)


def write_genome(folder: Path, seed: int = 0) -> Reference:
    """chrA with 2 kb of N, chrB shorter than a core, chrC of whole cores; 8 windows in 4 stretches."""
    rng = np.random.default_rng(seed)
    fasta = folder / "genome.fa"
    with fasta.open("w") as handle:
        for name, size, holes in (("chrA", 4500, [(1000, 3100)]), ("chrB", 300, []), ("chrC", 1024, [])):
            bases = rng.choice(list("ACGT"), size)
            for start, end in holes:
                bases[start:end] = "N"
            handle.write(f">{name}\n{''.join(bases)}\n")
    build_reference(fasta, folder / "reference")
    return Reference.open(folder / "reference")


@dataclass(frozen=True)
class Genome:
    """A model, a genome, and how to embed the one by the other."""

    checkpoint: Checkpoint
    reference: Reference

    def embed(self, folder: Path, count: int, **settings: Any) -> list[Path]:
        shards = shard_stretches(self.reference, WINDOWS, count)
        paths = [folder / f"{index}.npy" for index in range(len(shards))]
        for stretches, path in zip(shards, paths, strict=True):
            embed_shard(self.checkpoint, self.reference, stretches, path, **{"precision": "fp32"} | settings)
        return paths

    def assemble(self, shards: Sequence[Path], output: Path, windows: WindowSettings = WINDOWS) -> Path:
        assemble(self.checkpoint, self.reference, windows, shards, output)
        return output


@pytest.fixture(scope="session")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    folder = tmp_path_factory.mktemp("holes")
    return Genome(untrained(folder / "model"), write_genome(folder))


@pytest.fixture
def other_model(tmp_path: Path, genome: Genome) -> Genome:
    return replace(genome, checkpoint=untrained(tmp_path / "other_model", seed=1))


@pytest.fixture
def other_genome(tmp_path: Path, genome: Genome) -> Genome:
    (tmp_path / "other").mkdir()
    return replace(genome, reference=write_genome(tmp_path / "other", seed=1))


@dataclass(frozen=True)
class Opened:
    """What rendering takes, of the tiny run; its thresholds are set so that there are peaks."""

    results: Path
    checkpoint: Checkpoint
    reference: Reference
    embedding: GenomeEmbedding
    factor_set: FactorSet

    def data(self, cell_type: str) -> Any:
        track = self.results / f"accessibility/{cell_type}.bw"
        return open_genome_data(self.reference, [track if track.exists() else None], bin=64)

    def with_thresholds(self, **thresholds: float | None) -> Opened:
        about = {**self.checkpoint.about, "thresholds": thresholds}
        return replace(self, checkpoint=replace(self.checkpoint, about=about))

    def render(self, output: Path, names: Sequence[str] | None = None, cell_type: str = "CT1") -> Path:
        render_cell_types(
            self.checkpoint,
            self.embedding,
            self.reference,
            self.data(cell_type),
            self.factor_set,
            names or self.factor_set.names,
            [CellTypeTracks(cell_type, output, {"description": "tiny"})],
        )
        return output


@pytest.fixture(scope="session")
def opened(tiny_run: Any) -> Opened:
    results = tiny_run.results
    checkpoint, reference = load_checkpoint(results / "model"), Reference.open(results / "reference")
    embedding = GenomeEmbedding.open(results / "genome_embedding/tokens", checkpoint, reference)
    return Opened(results, checkpoint, reference, embedding, FactorSet.open(results / "factors"))


@pytest.fixture(scope="session")
def rendered(opened: Opened, tmp_path_factory: pytest.TempPathFactory) -> tuple[Opened, Path]:
    """All factors in CT1, with a threshold that some bins of each reach, and another one for SIM01."""
    probabilities = np.concatenate([found for _, found in tracks(opened)])
    own, pooled = np.quantile(probabilities[:, 0], 0.8), np.quantile(probabilities, 0.9, axis=0).min()
    changed = opened.with_thresholds(pooled=float(pooled), **{"SIM01.CT1": float(own)})
    return changed, changed.render(tmp_path_factory.mktemp("rendered") / "CT1")


def tracks(opened: Opened, cell_type: str = "CT1") -> Any:
    from tfbind.genome.regions import Region
    from tfbind.model.batching import factor_batch
    from tfbind.prediction.render import predict_tracks

    batch = factor_batch(opened.factor_set, opened.factor_set.names)
    whole = [Region(chrom, 0, size) for chrom, size in opened.reference.sizes.items()]
    found = predict_tracks(opened.checkpoint, opened.embedding, opened.data(cell_type), batch, 0, whole)
    return ((region.chrom, values) for region, values in found)


@pytest.fixture(scope="session")
def predicted() -> Callable[..., Any]:
    """Chromosome and probabilities (bins, factors), of all factors in a cell type."""
    return tracks
