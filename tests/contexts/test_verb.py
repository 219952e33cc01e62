"""`tfbind contexts`, and what `tfbind check` says of a text encoder before anything runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from tfbind.cli import main
from tfbind.contexts.contextset import ContextSet
from tfbind.contexts.text import TextEncoder

TABLES = {
    "factors": "factor\tsequence\nREB1\tMKRR\n",
    "cell_types": "cell_type\tdescription\nHepG2\tliver cells\nK562\t\n",
    "experiments": "factor\tcell_type\tpeaks\nREB1\tHepG2\treb1.bed\n",
}


@pytest.fixture
def data_set(tmp_path):
    """The folder of a data set, and a function that runs a verb in it."""
    for name, text in TABLES.items():
        (tmp_path / f"{name}.tsv").write_text(text)
    (tmp_path / "genome.fa").write_text(">chr1\nACGT\n")
    (tmp_path / "reb1.bed").write_text("chr1\t0\t2\n")

    def run(verb, *arguments, device="auto", **contexts):
        config = {
            "name": "small",
            "tables": {name: f"{name}.tsv" for name in TABLES},
            "reference": {"fasta": "genome.fa"},
            "splits": {"validation": ["chr2"], "test": ["chr3"]},
            "contexts": contexts,
            "device": device,
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        with contextlib.chdir(tmp_path):
            return CliRunner().invoke(main, [verb, "--config", "config.yaml", *arguments])

    return run


def test_descriptions_are_read_and_kept_in_a_cache(data_set, bert, tmp_path):
    result = data_set("contexts", "--output", "out", text={"model": str(bert), "pooling": "cls"})
    assert result.exit_code == 0, result.output
    contexts = ContextSet.open(tmp_path / "out")
    np.testing.assert_allclose(
        contexts.text("HepG2"), TextEncoder(bert, pooling="cls").encode(["liver cells"])[0], atol=1e-6
    )
    assert contexts.text("K562") is None
    assert len(list((tmp_path / "resources/text_embeddings").iterdir())) == 1


def test_by_default_nothing_is_read(data_set, tmp_path):
    result = data_set("contexts", "--output", "out")
    assert result.exit_code == 0, result.output
    assert ContextSet.open(tmp_path / "out").dim == 0
    assert not (tmp_path / "resources").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_text_encoder_runs_on_the_device_at_the_top(data_set, bert, tmp_path):
    result = data_set("contexts", "--output", "out", device="cuda", text={"model": str(bert)})
    assert result.exit_code == 1 and "key 'device': no GPU is seen" in result.stderr
    assert not (tmp_path / "out").exists()
    # Without an encoder no device is looked for.
    result = data_set("contexts", "--output", "out", device="cuda")
    assert result.exit_code == 0, result.output


def test_one_cell_type_is_read_alone_even_if_nothing_is_said_of_it(data_set, bert, tmp_path):
    result = data_set("contexts", "--cell-type", "K562", "--output", "each/K562", text={"model": str(bert)})
    assert result.exit_code == 0, result.output
    contexts = ContextSet.find(tmp_path / "each", ["K562"])
    assert contexts.names == ["K562"] and contexts.text("K562") is None and contexts.dim == 24


def test_nothing_to_read_is_told(data_set, bert, tmp_path):
    (tmp_path / "cell_types.tsv").write_text("cell_type\tdescription\nHepG2\t\nK562\t \n")
    result = data_set("contexts", "--output", "out", text={"model": str(bert)})
    assert result.exit_code == 1 and "no cell type has a description" in result.stderr
    assert "contexts.text to null" in result.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", [("check",), ("contexts", "--output", "out")])
def test_an_encoder_that_is_not_there_is_told(data_set, tmp_path, verb):
    result = data_set(*verb, text={"model": "./weights/bert"})
    assert result.exit_code == 1
    assert "key 'contexts.text.model': there is no folder ./weights/bert" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_text_needs_a_model(data_set):
    result = data_set("check", text={"pooling": "cls"})
    assert result.exit_code == 1 and "key 'contexts.text.model' is missing" in result.stderr


WITHOUT_TRANSFORMERS = """
import sys
sys.modules["transformers"] = None
from tfbind.cli import main
try:
    main(["contexts", "--config", "config.yaml", "--output", "out"], standalone_mode=False)
except SystemExit as end:
    print("ended with", end.code)
main(["check", "--config", "config.yaml"], standalone_mode=False)
"""


def test_without_transformers_all_else_goes_on(data_set, bert, tmp_path):
    data_set("check", text={"model": str(bert)})
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRANSFORMERS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ended with 1" in done.stdout and "small: 1 factors" in done.stdout
    assert "package transformers is needed" in done.stderr and "Traceback" not in done.stderr
