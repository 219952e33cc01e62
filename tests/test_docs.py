"""What docs/model.md shows runs as it stands there, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tfbind.model.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/model.md").read_text()
BLOCKS = re.findall(r"(<!-- slow[^\n]*-->\n)?```python\n(.*?)```", PAGE, re.DOTALL)


def run(blocks: list[str]) -> dict:
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/model.md", "exec"), names)
    return names


def test_what_the_page_shows_runs(tiny_run, bert, tmp_path, monkeypatch):
    """One block after the other, as a reader would, beside a run of the workflow and an encoder."""
    (tmp_path / "results/demo").mkdir(parents=True)
    (tmp_path / "results/demo/model").symlink_to(tiny_run.results / "model")
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders/bert").symlink_to(bert)
    monkeypatch.chdir(tmp_path)
    blocks = [block for slow, block in BLOCKS if not slow]
    assert len(blocks) == 9
    names = run(blocks)
    assert names["trained"].primary == "binding"
    assert names["trained"].network.shape == load_checkpoint(tiny_run.results / "model").model.shape


SMALL = {
    "dim=1536": "dim=384",
    "target_length=256": "target_length=8",
    "196_608 // 2": "2048",
    "1, 256)  ": "1, 8)",
}


@pytest.mark.parametrize("smaller", [SMALL, pytest.param({}, marks=pytest.mark.slow)], ids=["small", "full size"])
def test_the_snippet_runs(smaller):
    (block,) = [block for slow, block in BLOCKS if slow]
    for size, other in smaller.items():
        assert block.count(size) == 1
        block = block.replace(size, other)
    names = run([block])
    assert names["loss"].shape == () and names["corr"].shape == (1,)
    assert names["model"].target_length == names["target"].shape[1]


def test_tests_that_the_page_names_are_there():
    named = set(re.findall(r"`((?:\w+/)?test_\w+\.py)`", PAGE))
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / "tests" / name).is_file()]


@pytest.mark.parametrize("page", ["README.md", "docs/design.md", "docs/model.md"])
def test_links_lead_somewhere(page):
    path = ROOT / page
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}, link
