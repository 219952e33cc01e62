"""A tiny world: three chromosomes of 30 kb, four factors, three cell types."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tfbind.config import Config, parse_config
from tfbind.tables import DataSet, read_tables

TRAINED = ("SIM01", "SIM02", "SIM03")
CELL_TYPES = ("CT1", "CT2", "CT3")

MakeWorld = Callable[..., tuple[Config, DataSet]]


def _table(path: Path, header: str, rows: Iterable[Iterable[str]]) -> str:
    path.write_text("\n".join([header.replace(" ", "\t"), *("\t".join(row) for row in rows), ""]))
    return str(path)


@pytest.fixture
def make_world(tmp_path: Path) -> MakeWorld:
    """Tables and configuration of a tiny world, with what a test wants otherwise."""

    def make(
        folder: str = "world",
        *,
        seed: int = 3,
        trained: Iterable[str] = TRAINED,
        held_out: Iterable[str] = ("SIMA",),
        motif_of_held_out: str = "",
        sequence: str = "",
        fasta: str | None = None,
        peaks: str = "{name}.narrowPeak",
        **simulation: Any,
    ) -> tuple[Config, DataSet]:
        out = tmp_path / folder
        trained, held_out = list(trained), list(held_out)
        factors = [(name, name, sequence, name) for name in trained]
        factors += [(name, name, "", motif_of_held_out) for name in held_out]
        cells = [(name, f"simulated {name}", f"{out}/{name}.fragments.tsv.gz") for name in CELL_TYPES]
        experiments = [
            (factor, cell, f"{out}/{peaks.format(name=f'{factor}.{cell}')}")
            for factor in trained + held_out
            for cell in CELL_TYPES
        ]
        tables = {
            "factors": _table(tmp_path / "factors.tsv", "factor uniprot sequence motif", factors),
            "cell_types": _table(tmp_path / "cells.tsv", "cell_type description accessibility", cells),
            "experiments": _table(tmp_path / "experiments.tsv", "factor cell_type peaks", experiments),
        }
        config = parse_config(
            {
                "name": "tiny",
                "seed": seed,
                "tables": tables,
                "reference": {"fasta": fasta or f"{out}/genome.fa.gz"},
                "factors": {"proteins": [f"{out}/proteins.fa"], "motifs": [f"{out}/motifs.meme"]},
                "splits": {
                    "validation": ["chr2"],
                    "test": ["chr3"],
                    "held_out_factors": held_out,
                    "held_out_cell_types": ["CT3"],
                },
                "simulation": {
                    "folder": str(out),
                    "chromosomes": 3,
                    "chromosome_length": 30_000,
                    "open_fraction": 0.25,
                    "fragments": 6_000,
                    "sites_per_factor": 200,
                }
                | simulation,
            }
        )
        return config, read_tables(config)

    return make
