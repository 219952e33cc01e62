"""Descriptions of cell types in the workflow: they are read again when something changes that they depend on."""

from __future__ import annotations

import pytest
import yaml

from tfbind.contexts.contextset import ContextSet

# One worker makes the run that these tests share.
pytestmark = pytest.mark.xdist_group("workflow")

FOLDER = "results/mini/contexts"


@pytest.fixture
def read(mini, make_bert, tmp_path):
    """The mini data set with a description, whose folder of texts is made; and how Snakemake is called for it."""
    table = mini.path / "config/cell_types.tsv"
    header, first, second = table.read_text().splitlines()
    table.write_text(f"description\t{header}\nliver cells\t{first}\n\t{second}\n")
    (tmp_path / "text.yaml").write_text(
        yaml.safe_dump({"contexts": {"text": {"model": str(make_bert()), "pooling": "cls"}}})
    )

    def dry_run(*overlays):
        return mini.dry_run(FOLDER, config=["config/mini.yaml", tmp_path / "text.yaml", *overlays])

    mini.snakemake("--cores", "1", FOLDER, config=["config/mini.yaml", tmp_path / "text.yaml"])
    return mini, dry_run


def test_descriptions_are_read_again_when_they_or_what_reads_them_changed(read, overlay, tmp_path):
    mini, dry_run = read
    contexts = ContextSet.open(mini.path / FOLDER)
    assert contexts.encoder["name"] == "bert" and contexts.text("CT1") is not None
    assert contexts.text("CT2") is None
    assert dry_run().nothing_to_do
    # What other steps depend on.
    assert dry_run(overlay({"training": {"steps": 3}})).nothing_to_do
    assert dry_run(overlay({"contexts": {"text": {"pooling": "mean"}}})).jobs == {"contexts": 1}
    table, before = mini.path / "config/cell_types.tsv", (mini.path / "config/cell_types.tsv").read_text()
    table.write_text(before.replace("liver cells", "lung cells"))
    assert dry_run().jobs == {"contexts": 1}
    table.write_text(before)
    assert dry_run().nothing_to_do
    vocabulary = tmp_path / "bert/vocab.txt"
    vocabulary.write_text(vocabulary.read_text() + "spleen\n")
    assert dry_run().jobs == {"contexts": 1}


def test_a_missing_encoder_is_an_error_before_anything_runs(mini, overlay):
    run = mini.dry_run(
        config=["config/mini.yaml", overlay({"contexts": {"text": {"model": "./no"}}})], fails=True
    )
    assert "Traceback" not in run.output and "key 'contexts.text.model': there is no folder ./no" in run.output
