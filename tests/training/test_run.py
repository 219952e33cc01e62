from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tfbind.config import WindowSettings, parse_config
from tfbind.contexts.accessibility import build_accessibility
from tfbind.core.errors import InputError
from tfbind.factors.factorset import FactorInput, FactorSet, write_factor_set
from tfbind.factors.motifs import Motif
from tfbind.factors.physicochemical import PhysicochemicalEmbedder
from tfbind.factors.relatives import Relatives
from tfbind.genome.reference import Reference, build_reference
from tfbind.model.checkpoint import load_checkpoint
from tfbind.training.run import train_model
from tfbind.training.splits import make_split
from tfbind.training.targets import Experiment, Targets, build_targets

VALUES = {
    "name": "tiny",
    "seed": 3,
    "tables": {"factors": "f.tsv", "cell_types": "c.tsv", "experiments": "e.tsv"},
    "reference": {"fasta": "genome.fa"},
    "windows": {"bin": 16, "length": 256, "core": 128},
    "splits": {
        "validation": ["chr2"],
        "test": ["chr3"],
        "held_out_factors": ["NEW"],
        "held_out_cell_types": ["fresh"],
    },
    "model": {
        "trunk": {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6},
        **{"rank": 8, "heads": 4, "factor_tokens": 2, "hidden": 8, "motif_width": 6},
    },
    "training": {"steps": 4, "batch_size": 2, "validate_every": 2, "warmup_steps": 1},
}
MEASURED = [("ONE", "known"), ("TWO", "known"), ("NEW", "known"), ("ONE", "fresh"), ("TWO", "blind")]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """What the steps before training write."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    genome = folder / "genome.fa"
    genome.write_text("".join(f">chr{i}\n{''.join(rng.choice(list('ACGT'), 3000))}\n" for i in (1, 2, 3)))
    build_reference(genome, folder / "reference")
    reference = Reference.open(folder / "reference")
    experiments = []
    for factor, cell in MEASURED:
        path = folder / f"{factor}.{cell}.bed"
        starts = np.sort(rng.permutation(90)[:20]) * 32
        path.write_text("".join(f"chr{i}\t{s}\t{s + 20}\n" for i in (1, 2, 3) for s in starts))
        experiments.append(Experiment(f"{factor}.{cell}", factor, cell, path))
    build_targets(experiments, reference, folder / "targets", bin=16, half_width=None, bound_fraction=0.5)
    build_accessibility(folder / "ONE.known.bed", reference, folder / "known.bw", kind="peaks")
    motif = Motif("M1", "ONE", np.full((4, 4), 0.1) + 0.6 * np.eye(4))
    factors = [
        FactorInput("NEW", None, "MKVLAWRRKK", None),
        FactorInput("ONE", None, "MKVLWHHEE", motif),
        FactorInput("TWO", None, "MAARNDCQ", None),
    ]
    write_factor_set(folder / "factors", factors, PhysicochemicalEmbedder(), folder / "cache")
    write_factor_set(folder / "proteins", factors[::2], PhysicochemicalEmbedder(), folder / "cache")
    return SimpleNamespace(folder=folder, reference=reference, track=folder / "known.bw")


def train(
    made: SimpleNamespace,
    out: Path,
    *,
    cells=("fresh", "known", "blind"),
    factors="factors",
    genome=None,
    **changes,
):
    config = parse_config({**VALUES, **changes})
    targets = Targets.open(made.folder / "targets")
    split = make_split(
        config.splits,
        made.reference,
        targets.experiments,
        Relatives({"ONE": (), "TWO": (), "NEW": ()}),
        windows=WindowSettings(**VALUES["windows"]),
        cell_types={cell: cell for cell in ("known", "fresh", "blind")},
        seed=0,
    )
    train_model(
        config,
        made.reference,
        FactorSet.open(made.folder / factors),
        targets,
        replace(split, genome=genome or split.genome),
        list(cells),
        [made.track if cell != "blind" else None for cell in cells],
        state=out / "state",
        history=out / "history.tsv",
        output=out / "model",
        device=torch.device("cpu"),
    )


def test_a_model_tells_what_it_was_trained_on(made, tmp_path):
    train(made, tmp_path)
    checkpoint = load_checkpoint(tmp_path / "model")
    manifest = checkpoint.about["manifest"]
    assert manifest["regions"] == [["chr1", 0, 3000]]
    assert manifest["validation_regions"] == [["chr2", 0, 3000]]
    assert len(manifest["split"]) == 64
    assert manifest["factors"] == ["ONE", "TWO"]
    assert manifest["cell_types"] == ["blind", "known"]
    assert manifest["experiments"] == ["ONE.known", "TWO.blind", "TWO.known"]
    assert manifest["genome"] == made.reference.checksum
    assert checkpoint.about["embedder"]["name"] == PhysicochemicalEmbedder().name
    assert "pooled" in checkpoint.about["thresholds"]
    assert set(checkpoint.about["thresholds"]) <= {"pooled", "ONE.known", "TWO.blind", "TWO.known"}
    assert checkpoint.about["fdr"] == 0.1
    rows = list(csv.DictReader((tmp_path / "history.tsv").open(), delimiter="\t"))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    best = max(float(row["validation_auprc"]) for row in rows if row["validation_auprc"])
    assert checkpoint.about["validation_auprc"] == pytest.approx(best, rel=1e-4)


def test_equal_data_and_seed_give_equal_bytes(made, tmp_path):
    for name in ("one", "two"):
        train(made, tmp_path / name)
    for name in ("model/model.safetensors", "model/model.json", "history.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_frozen_trunk_that_is_kept_gives_the_model_of_one_that_runs(made, tmp_path):
    for name, cache in (("runs", None), ("kept", {})):
        frozen = {"window_spacing": 16, "fine_tuning": {"mode": "frozen", "cache": cache}}
        train(made, tmp_path / name, training={**VALUES["training"], **frozen})
    assert list((tmp_path / "kept/state/embeddings").rglob("*.npy"))
    ours, theirs = (load_checkpoint(tmp_path / name / "model") for name in ("kept", "runs"))
    assert ours.about["thresholds"] == pytest.approx(theirs.about["thresholds"], abs=1e-5)
    for one, other in zip(ours.model.state_dict().values(), theirs.model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_further_cell_type_that_is_only_to_be_predicted_changes_nothing(made, tmp_path):
    train(made, tmp_path / "one")
    train(made, tmp_path / "two", cells=("further", "fresh", "known", "blind"))
    for name in ("model/model.safetensors", "model/model.json", "history.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"windows": {"bin": 32, "length": 256, "core": 128}}, "bin is 16, not 32"),
        ({"cells": ("known", "blind")}, "no cell type of the table is fresh"),
    ],
)
def test_targets_that_do_not_fit_are_refused(made, tmp_path, changes, problem):
    with pytest.raises(InputError, match=problem) as caught:
        train(made, tmp_path, **changes)
    assert "tfbind targets" in caught.value.mend
    assert not (tmp_path / "model").exists()


def test_targets_of_another_genome_are_refused(made, tmp_path):
    fasta = tmp_path / "other.fa"
    fasta.write_text("".join(f">chr{i}\n{'ACGT' * 750}\n" for i in (1, 2, 3)))
    build_reference(fasta, tmp_path / "reference")
    other = SimpleNamespace(**{**vars(made), "reference": Reference.open(tmp_path / "reference")})
    with pytest.raises(InputError, match="genome is"):
        train(other, tmp_path)


def test_a_split_of_another_genome_is_refused(made, tmp_path):
    with pytest.raises(InputError, match="the split is of genome"):
        train(made, tmp_path, genome="0" * 64)


def test_a_motif_panel_without_motifs_is_an_error(made, tmp_path):
    model = {**VALUES["model"], "motif_panel": 4}
    splits = {**VALUES["splits"], "held_out_factors": ["ONE"]}
    with pytest.raises(InputError, match="motif panel") as caught:
        train(made, tmp_path, model=model, splits=splits)
    assert caught.value.key == "model.motif_panel"


def test_a_factor_that_is_not_in_the_factor_set_is_told(made, tmp_path):
    with pytest.raises(InputError, match="no factor 'ONE'"):
        train(made, tmp_path, factors="proteins")
