from __future__ import annotations

from pathlib import Path

import pytest

YEAST = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "yeast_sacCer3"


@pytest.fixture(scope="session")
def yeast() -> Path:
    """Real yeast proteins and motifs, where they are at hand."""
    if not YEAST.is_dir():
        pytest.skip(f"the real yeast data are not at {YEAST}")
    return YEAST


@pytest.fixture(scope="session")
def human() -> Path:
    """Real human proteins and their domains, where they are at hand."""
    folder = YEAST.with_name("human_hg19")
    if not folder.is_dir():
        pytest.skip(f"the real human data are not at {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    import torch

    torch.set_num_threads(1)
