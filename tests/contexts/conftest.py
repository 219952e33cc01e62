"""A small genome, and the real yeast one where the shared data are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tfbind.genome.reference import Reference, build_reference

MIRROR = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "mirror"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text file into the test's folder."""

    def writer(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return writer


@pytest.fixture(scope="session")
def mirrored() -> Callable[[str], Path]:
    """The file of the mirror with a name; skips where there is none."""

    def find(name: str) -> Path:
        found = sorted(MIRROR.rglob(name))
        if not found:
            pytest.skip(f"{name} is not in ../shared/data/mirror")
        return found[0]

    return find


@pytest.fixture(scope="session")
def yeast(mirrored: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The yeast genome, built from its published gzip."""
    folder = tmp_path_factory.mktemp("yeast") / "reference"
    build_reference(mirrored("sacCer3.fa.gz"), folder)
    return Reference.open(folder)
