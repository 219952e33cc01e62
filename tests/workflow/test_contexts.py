"""Descriptions of cell types in the workflow: what is read, trained and rendered again, and what is not."""

from __future__ import annotations

import yaml

from tfbind.contexts.contextset import ContextSet
from tfbind.core.files import read_json

TRACKS = "results/mini/tracks/CT1"
SMALL = {
    "training": {"steps": 2, "validate_every": 2},
    "prediction": {"shards": 1, "factors_per_job": 3},
    "splits": {"held_out_cell_types": ["CT2"]},
}
FROM_TRAINING = {"contexts", "train", "embed", "assemble", "render", "gather"}


def test_what_a_description_changes_is_made_again_and_nothing_else(mini, make_bert, overlay, tmp_path):
    table, text = mini.path / "config/cell_types.tsv", tmp_path / "text.yaml"
    header, first, second = table.read_text().splitlines()
    before = f"description\t{header}\nliver cells\t{first}\n\t{second}\n"
    text.write_text(yaml.safe_dump(SMALL | {"contexts": {"text": {"model": str(make_bert()), "pooling": "cls"}}}))

    def planned(goal=TRACKS, description=before, *overlays):
        table.write_text(description)
        return mini.dry_run(goal, config=["config/mini.yaml", text, *overlays])

    table.write_text(before)
    mini.snakemake("--cores", "2", TRACKS, config=["config/mini.yaml", text])
    contexts = ContextSet.open(mini.path / "results/mini/contexts/CT1")
    assert contexts.encoder["name"] == "bert" and contexts.text("CT1") is not None
    about = read_json(mini.path / "results/mini/model/model.json")
    assert about["contexts"] == {"encoder": contexts.encoder, "learnt": []}
    made_with = read_json(mini.path / TRACKS / "SIM1.json")["context"]
    assert made_with["text"] == contexts.text_key("CT1")

    assert planned().nothing_to_do
    further = before + "lung cells\tCT3\t\t\n"
    assert planned(TRACKS, further).nothing_to_do
    assert planned("results/mini/tracks/CT3", further).jobs == {"contexts": 1, "render": 1, "gather": 1}
    held_out = before.replace("\n\tCT2", "\nhuman lung\tCT2")
    assert planned(TRACKS, held_out).nothing_to_do
    assert planned(TRACKS, before.replace("liver cells", "lung cells")).steps == FROM_TRAINING
    pooled = overlay({"contexts": {"text": {"pooling": "mean"}}})
    assert planned(TRACKS, before, pooled).steps == FROM_TRAINING
    vocabulary = tmp_path / "bert/vocab.txt"
    vocabulary.write_text(vocabulary.read_text() + "spleen\n")
    assert planned().steps == FROM_TRAINING
    # The evaluation needs the descriptions of all that was measured.
    assert planned("results/mini/evaluation").jobs["contexts"] == 2


def test_a_missing_encoder_is_an_error_before_anything_runs(mini, overlay):
    run = mini.dry_run(
        config=["config/mini.yaml", overlay({"contexts": {"text": {"model": "./no"}}})], fails=True
    )
    assert "Traceback" not in run.output and "key 'contexts.text.model': there is no folder ./no" in run.output
