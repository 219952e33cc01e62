"""Variants of a configuration, trained and scored side by side, by the command line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from tfbind.config import load_config
from tfbind.core.errors import InputError
from tfbind.evaluation.ablation import INPUTS, read_variants
from tfbind.evaluation.tables import KINDS, MODEL, read_metrics

VARIANTS = {"factored": {}, "joint": {"model": {"interaction": "joint"}}}


@pytest.fixture(scope="module")
def ablate(tiny_run, tmp_path_factory):
    """Run `tfbind ablate` on the tiny run's data, always with one folder of work; the table's rows."""
    folder = tmp_path_factory.mktemp("ablation")

    def run(variants: dict) -> list[dict[str, str]]:
        (folder / "variants.yaml").write_text(yaml.safe_dump(variants, sort_keys=False))
        options = {"--config": tiny_run.config, "--variants": folder / "variants.yaml", "--work": folder / "work"}
        for name in ("reference", "factors", "targets", "accessibility"):
            options[f"--{name}"] = tiny_run.results / name
        options["--split"] = tiny_run.results / "split.json"
        options |= {"--output": folder / "table.tsv", "--threads": 1}
        result = tiny_run.tfbind("ablate", *(each for pair in options.items() for each in pair))
        assert result.exit_code == 0, result.output
        with (folder / "table.tsv").open() as handle:
            return list(csv.DictReader(handle, delimiter="\t"))

    run.work = folder / "work"
    return run


@pytest.fixture(scope="module")
def table(ablate) -> list[dict[str, str]]:
    return ablate(VARIANTS)


def model_rows(tiny_run) -> list[dict]:
    rows = read_metrics(tiny_run.results / "evaluation/metrics.tsv")
    return [row for row in rows if (row["predictor"], row["bins"]) == (MODEL, "model")]


def test_each_variant_has_a_row_for_whatever_it_is_told(table):
    assert [(row["variant"], row["told"]) for row in table] == [
        (name, told) for name in VARIANTS for told in INPUTS
    ]
    assert all(float(row["render_s_per_mb_and_track"]) > 0 and int(row["weights"]) > 1000 for row in table)
    assert int(table[3]["weights"]) > int(table[0]["weights"]), "attention has weights of its own"


def test_the_configuration_itself_scores_as_its_run_does(tiny_run, table):
    metrics = model_rows(tiny_run)
    for kind in KINDS:
        expected = [row["auprc"] for row in metrics if row["kind"] == kind]
        found = table[0][f"auprc, {kind}"]
        if expected:
            assert float(found) == pytest.approx(np.mean(expected), rel=1e-3)
        else:
            assert found == ""


def test_a_factor_without_what_is_told_is_not_scored(tiny_run, table):
    metrics = model_rows(tiny_run)
    measured = [row["factor"] for row in metrics]
    assert int(table[0]["experiments"]) == int(table[1]["experiments"]) == len(measured)
    with_motif = [row for row in metrics if row["factor"] in ("SIM01", "SIM02")]
    assert int(table[2]["experiments"]) == sum(factor in ("SIM01", "SIM02", "SIMB") for factor in measured)
    expected = np.mean([row["auprc"] for row in with_motif])
    assert float(table[0]["auprc, protein and motif known"]) == pytest.approx(expected, rel=1e-3)


def test_what_is_done_is_not_done_again(ablate, table):
    weights = ablate.work / "factored" / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert ablate(VARIANTS) == table
    assert weights.stat().st_mtime_ns == before
    changed = ablate({"factored": {"training": {"steps": 3}}})
    assert weights.stat().st_mtime_ns != before
    assert changed[0] != table[0]


def test_variants_differ_in_what_is_after_the_data(tiny_run, tmp_path):
    config = load_config(tiny_run.config)
    file = tmp_path / "variants.yaml"

    def refused(variants: dict) -> InputError:
        file.write_text(yaml.safe_dump(variants))
        with pytest.raises(InputError) as caught:
            read_variants(file, config)
        return caught.value

    assert "unfit" in str(refused({"../out": {}}))
    assert "give keys below it" in refused({"three": 3}).mend
    assert refused({"fine": {"windows": {"bin": 32}}}).key == "fine.windows"
    assert refused({"told": {"contexts": {"text": {"model": "some/encoder"}}}}).key == "told.contexts.text"
    assert "variant jiont" in str(refused({"jiont": {"model": {"interaction": "jiont"}}}))
    assert refused({"jiont": {"model": {"interaction": "jiont"}}}).mend == "did you mean 'joint'?"


def test_the_variants_of_the_project_are_of_its_configurations():
    for name in ("demo", "yeast"):
        variants = read_variants(Path("config/ablation.yaml"), load_config(Path(f"config/{name}/config.yaml")))
        assert list(variants)[:2] == ["factored", "joint"]
