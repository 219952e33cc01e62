"""What is exported from the models: never stale, and what Snakemake accepts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from tfbind.config import Config, _all_keys
from tfbind.schemas import REFERENCE, SCHEMAS, TABLES, config_reference, export_schemas, schemas
from tfbind.tables import columns

STALE = "{} is stale: run `python -m tfbind.schemas` and commit what it writes"


@pytest.mark.parametrize("name", sorted(schemas()))
def test_exported_schemas_are_those_of_the_models(name):
    path = SCHEMAS / name
    assert path.is_file() and json.loads(path.read_text()) == schemas()[name], STALE.format(path)


def test_the_exported_reference_is_that_of_the_models():
    assert REFERENCE.is_file() and REFERENCE.read_text(encoding="utf-8") == config_reference(), STALE.format(
        REFERENCE
    )


def test_export_writes_every_schema(tmp_path):
    paths = export_schemas(tmp_path)
    assert sorted(path.name for path in paths) == sorted(schemas())
    assert all(json.loads(path.read_text()) == schemas()[path.name] for path in paths)


def objects(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for inner in schema.values():
            yield from objects(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects(inner)


def test_no_object_takes_further_keys_and_every_key_is_described():
    for schema in schemas().values():
        found = list(objects(schema))
        assert found
        for each in found:
            assert each["additionalProperties"] is False
            # Where a section's description is that of its model, it stands with the model.
            assert all("description" in value or "$ref" in value for value in each["properties"].values())
            assert each["description"]


def small_config():
    return {
        "name": "small",
        "tables": {"factors": "f.tsv", "cell_types": "c.tsv", "experiments": "e.tsv"},
        "reference": {"fasta": {"source": "https://e.org/g.fa", "sha256": "0" * 64}, "blacklist": "b.bed"},
        "splits": {"validation": ["chr2"], "test": ["chr3"]},
        "factors": {"proteins": ["p.fa"], "motifs": [{"source": "m.meme"}]},
        "training": {"learning_rate": 0.01},
        "mirror": None,
    }


@pytest.fixture
def schema_file(tmp_path):
    return str(next(path for path in export_schemas(tmp_path) if path.name == "config.schema.json"))


def test_snakemake_accepts_a_valid_configuration(schema_file):
    config = small_config()
    validate(config, schema_file, set_default=False)
    assert config == small_config()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (None, "trainign", {}),
        ("training", "step", 3),
        ("reference", "fasta", {"source": "a", "sha": "b"}),
        ("reference", "fasta", {"source": "a", "sha256": "b"}),
        ("training", "steps", "many"),
        ("training", "steps", True),
        ("training", "learning_rate", "1e-3"),
        (None, "name", "a/b"),
    ],
)
def test_snakemake_refuses_what_the_models_refuse(schema_file, section, key, value):
    config = small_config()
    (config[section] if section else config)[key] = value
    with pytest.raises(WorkflowError, match=key if key != "fasta" else "fasta|sha"):
        validate(config, schema_file, set_default=False)


def test_the_reference_tells_every_key_and_column():
    text = config_reference()
    for key in _all_keys(Config):
        section, _, name = key.rpartition(".")
        part = text.split(f"### {f'`{section}`' if section else 'At the top'}\n")[1].split("\n#")[0]
        assert f"| `{name}` |" in part
    for table, model in TABLES.items():
        part = text.split(f"### `{table}.tsv`\n")[1].split("\n#")[0]
        assert all(f"| `{column.name}` |" in part for column in columns(model))
    assert str(Path.cwd()) not in text
