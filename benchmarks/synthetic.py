"""Made-up genomes, factors and models for benchmarks: random, of any size, and on disk as a run has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.windows import CHROM, write_genome
from tfbind.config import ModelSettings, WindowSettings
from tfbind.factors.embeddings import make_embedder
from tfbind.factors.factorset import FactorInput, FactorSet, write_factor_set
from tfbind.factors.motifs import Motif
from tfbind.genome.bigwig import write_bigwig
from tfbind.genome.reference import Reference
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tfbind.model.shape import ModelShape

AMINO_ACIDS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
RESIDUES, COLUMNS = 300, 12


@dataclass(frozen=True)
class World:
    """A genome, factors, cell types, and an untrained model of them."""

    folder: Path
    windows: WindowSettings
    reference: Reference
    checkpoint: Checkpoint
    factor_set: FactorSet
    tracks: dict[str, Path]


def make_world(
    folder: Path,
    model: ModelSettings,
    windows: WindowSettings,
    *,
    bases: int,
    factors: int = 1,
    cell_types: int = 1,
    seed: int = 0,
) -> World:
    """Make a random chromosome, factors with a protein and a motif each, and cell types with a track."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    reference, _ = write_genome(folder, bases)
    embedder = make_embedder("physicochemical")
    write_factor_set(folder / "factors", make_factors(factors, rng), embedder, folder / "proteins")
    torch.manual_seed(seed)
    shape = ModelShape(windows.bin, embedder.dim, window_bins=windows.length // windows.bin)
    about = {
        "thresholds": {"pooled": 0.5},
        "fdr": 0.1,
        "manifest": {"factors": [], "cell_types": []},
        "contexts": {"encoder": None, "learnt": []},
        "embedder": FactorSet.open(folder / "factors").embedder,
    }
    panel = torch.randn(8, COLUMNS, 4) if model.motif_panel else None
    save_checkpoint(folder / "model", BindingModel(model, shape, panel=panel), about)
    tracks = {f"CT{index}": folder / f"CT{index}.bw" for index in range(cell_types)}
    for path in tracks.values():
        values = rng.exponential(size=-(-bases // windows.bin)).astype(np.float32)
        write_bigwig(path, reference.sizes, {CHROM: values}.items(), windows.bin)
    return World(
        folder,
        windows,
        reference,
        load_checkpoint(folder / "model"),
        FactorSet.open(folder / "factors"),
        tracks,
    )


def make_factors(count: int, rng: np.random.Generator) -> list[FactorInput]:
    """Factors with random proteins and motifs."""
    return [
        FactorInput(
            f"TF{index:04}",
            sequence="".join(AMINO_ACIDS[rng.integers(20, size=RESIDUES)]),
            motif=Motif(f"M{index:04}", f"TF{index:04}", rng.dirichlet(np.full(4, 0.3), COLUMNS)),
        )
        for index in range(count)
    ]
