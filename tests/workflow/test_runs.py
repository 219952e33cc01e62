"""Whole runs: what comes out, what runs again when something changes, and runs that are killed."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pyBigWig
import pytest
import yaml

from tfbind.config import SEEDS_APART

FACTORS = ("SIM1", "SIM2", "SIM3")
CELL_TYPES = ("CT1", "CT2")
PAGES = dict.fromkeys(("browser", "profiles", "factor_pages", "evaluation_pages", "overview", "report"), 1)
RENDERING = {"render", "gather", "sites", *PAGES}
AFTER_TRAINING = {"embed", "assemble", "evaluate"} | RENDERING
FROM_TRAINING = AFTER_TRAINING | {"train", "plot_history"}
FROM_SPLIT = FROM_TRAINING | {"split", "homology"}


# --- what comes out -----------------------------------------------------------------------------------------


def test_every_factor_has_a_track_in_every_cell_type(finished):
    for cell_type in CELL_TYPES:
        folder = finished.path / "results/mini/tracks" / cell_type
        assert sorted(path.name for path in folder.glob("[!.]*")) == sorted(
            f"{factor}.{ending}" for factor in FACTORS for ending in ("bw", "json", "narrowPeak")
        )
        for factor in FACTORS:
            with pyBigWig.open(str(folder / f"{factor}.bw")) as track:
                assert track.chroms() == dict.fromkeys(("chr1", "chr2", "chr3"), 24_000)
                assert 0 <= track.stats("chr3", type="min")[0] <= track.stats("chr3", type="max")[0] <= 1


def test_the_terminal_says_how_good_it_is_and_what_to_open(finished):
    text = (finished.path / "output.txt").read_text()
    assert "Held-out test: mean AUPRC" in text.split("Open:")[0] and "best other" in text
    for named in ("evaluation/evaluation.svg", "training/history.svg", "tracks"):
        assert f"results/mini/{named}" in text.split("Open:")[1]
        assert (finished.path / "results/mini" / named).exists()


def test_what_the_terminal_shows_is_what_the_log_keeps(finished):
    log = (finished.path / "logs/mini/train.log").read_text()
    assert "training" in log and log.splitlines()[-1] in (finished.path / "output.txt").read_text()


def test_tracks_that_are_gathered_are_not_kept_twice(finished):
    assert not (finished.path / "results/mini/tracks_in_batches").exists()


def test_a_second_run_has_nothing_to_do(again):
    run = again.snakemake("--cores", "2")
    assert run.nothing_to_do


# --- what runs again ----------------------------------------------------------------------------------------


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_changed_peak_file_reruns_what_depends_on_it(again):
    peaks = again.path / "world/SIM2.CT1.narrowPeak"
    peaks.write_text("".join(peaks.read_text().splitlines(keepends=True)[1:]))
    assert again.dry_run().steps == FROM_SPLIT | {"targets"}


def test_a_changed_protein_file_leaves_the_genome_alone(again):
    with (again.path / "world/proteins.fa").open("a") as fasta:
        fasta.write(">OTHER\nMKRRGSSTPPLK\n")
    assert again.dry_run().steps == FROM_SPLIT | {"factors"}


def test_a_changed_row_of_a_factor_trains_again(again):
    changed(again.path / "config/factors.tsv", "SIM2\tSIM2\tSIM2", "SIM2\tSIM2\t")
    assert again.dry_run().steps == FROM_SPLIT | {"factors"}


def test_a_new_description_of_a_cell_type_renders_it_alone(again):
    changed(again.path / "config/cell_types.tsv", "cell_type\t", "description\tcell_type\t")
    changed(again.path / "config/cell_types.tsv", "\nCT1\t", "\n\tCT1\t")
    changed(again.path / "config/cell_types.tsv", "\nCT2\t", "\na new description\tCT2\t")
    assert again.dry_run().jobs == {"render": 2, "gather": 1, "sites": 1, "all": 1} | PAGES


def test_a_further_cell_type_by_url_needs_no_training(again):
    with (again.path / "config/cell_types.tsv").open("a") as table:
        table.write(f"CT3\thttps://example.org/CT3.bw\t{'0' * 64}\n")
    jobs = again.dry_run().jobs
    made = {"download_accessibility_2": 1, "accessibility": 1, "render": 2, "gather": 1, "evaluate": 1, "all": 1}
    assert jobs == made | {"sites": 1} | PAGES


def test_a_further_cell_type_needs_no_training(again):
    with (again.path / "config/cell_types.tsv").open("a") as table:
        table.write("CT3\tworld/CT2.fragments.tsv.gz\t\n")
    run = again.dry_run()
    made = {"accessibility": 1, "render": 2, "gather": 1, "evaluate": 1, "sites": 1, "all": 1}
    assert run.jobs == made | PAGES


@pytest.mark.parametrize(
    ("setting", "steps"),
    [
        ({"reference": {"exclude": ["chrM"]}}, FROM_SPLIT | {"reference", "accessibility", "targets"}),
        ({"accessibility": {"smoothing": 50}}, FROM_TRAINING | {"accessibility"}),
        ({"factors": {"jaspar": "JASPAR2022"}}, FROM_SPLIT | {"factors"}),
        ({"contexts": {"learnt": 4}}, FROM_TRAINING),
        ({"targets": {"bound_fraction": 0.7}}, FROM_SPLIT | {"targets"}),
        ({"windows": {"core": 640}}, FROM_TRAINING),
        ({"splits": {"gap": 640}}, FROM_SPLIT),
        ({"training": {"steps": 20}}, FROM_TRAINING),
        ({"training": {"losses": {"focal_gamma": 2.0}}}, FROM_TRAINING),
        ({"training": {"losses": {"peak_score": 0.1}}}, FROM_SPLIT | {"targets"}),
        ({"seed": 5}, FROM_SPLIT),
        ({"prediction": {"fdr": 0.2}}, FROM_TRAINING),
        ({"prediction": {"shards": 3}}, AFTER_TRAINING),
        ({"prediction": {"known_binding": False}}, RENDERING),
        ({"prediction": {"factors": ["SIM3"]}}, RENDERING),
        ({"prediction": {"factors": ["SIM1", "SIM2"]}}, RENDERING),
        ({"prediction": {"factors_per_job": 1}}, RENDERING),
        ({"prediction": {"factors_per_job": 3}}, RENDERING),
        ({"prediction": {"batch_size": 4}}, set()),
        ({"mirror": "elsewhere"}, set()),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_changed_setting_reruns_what_depends_on_it(finished, overlay, setting, steps):
    run = finished.dry_run(config=["config/mini.yaml", overlay(setting)])
    assert run.steps == steps and run.nothing_to_do == (not steps)


def test_another_checksum_of_an_accessibility_file_reruns_what_depends_on_it(again):
    checksum = hashlib.sha256((again.path / "mirror/example.org/CT1.fragments.tsv.gz").read_bytes()).hexdigest()
    changed(again.path / "config/cell_types.tsv", checksum, "0" * 64)
    assert again.dry_run().steps == FROM_TRAINING | {"download_accessibility_1", "accessibility"}


def test_a_changed_accessibility_gives_another_model(again, overlay):
    # The state that the finished training left must not be taken for a training that is half done.
    model = again.path / "results/mini/model/model.safetensors"
    before = model.read_bytes()
    smooth = overlay({"accessibility": {"smoothing": 20}})
    again.snakemake("--cores", "2", "results/mini/model", config=["config/mini.yaml", smooth])
    assert model.read_bytes() != before


# --- killed -------------------------------------------------------------------------------------------------


def is_embedding(folder: Path) -> bool:
    return any(folder.glob("results/mini/genome_embedding/shards/.*.tmp.npy"))


def is_rendering(folder: Path) -> bool:
    """Whether the third batch is being made: then Snakemake knows that one of the first two is whole."""
    batches = folder / "results/mini/tracks_in_batches"
    made, begun = list(batches.glob("*/[0-9]")), list(batches.glob("*/.*.tmp"))
    return bool(made) and bool(begun) and len(made) + len(begun) >= 3


def test_killed_in_training_embedding_and_rendering_it_ends_in_the_same_bytes(finished, mini):
    mini.kill_when(lambda _: mini.steps_trained() > 0)
    assert 0 < mini.steps_trained() < 16 and not (mini.path / "results/mini/model").exists()

    mini.snakemake("--unlock")
    mini.kill_when(is_embedding)
    assert (mini.path / "results/mini/model").is_dir()
    assert not (mini.path / "results/mini/genome_embedding/shards/1.npy").exists()

    mini.snakemake("--unlock")
    mini.kill_when(is_rendering)
    assert not all((mini.path / "results/mini/tracks" / cell_type).exists() for cell_type in CELL_TYPES)

    mini.snakemake("--unlock")
    # What was whole is not rendered again.
    assert 0 < mini.dry_run().jobs["render"] < 4
    mini.snakemake("--cores", "2")
    assert mini.results() == finished.results()
    assert mini.dry_run().nothing_to_do


def test_killed_in_a_download_it_goes_on_from_there(mini, range_server):
    genome = random.Random(1).randbytes(600_000)
    (mini.path / "mirror/example.org/genome.fa.gz").write_bytes(genome)
    config = mini.path / "config/mini.yaml"
    values = yaml.safe_load(config.read_text()) | {"mirror": range_server.url}
    values["reference"]["fasta"]["sha256"] = hashlib.sha256(genome).hexdigest()
    config.write_text(yaml.safe_dump(values))
    target = "resources/downloads/example.org/genome.fa.gz"
    part = mini.path / f"{target}.part"

    range_server.folder = mini.path / "mirror"
    range_server.bytes_per_second = 200_000
    mini.kill_when(lambda _: part.exists() and part.stat().st_size > 0, target)
    had = part.stat().st_size
    assert 0 < had < len(genome) and not (mini.path / target).exists()

    range_server.bytes_per_second = None
    mini.snakemake("--unlock")
    mini.snakemake("--cores", "1", target)
    assert (mini.path / target).read_bytes() == genome
    assert range_server.requests[-1][1:] == (f"bytes={had}-", 206)


def test_a_file_that_is_there_is_not_downloaded_again(again):
    # One more file in the batch makes Snakemake run the download again; what is whole and verified stays.
    kept = again.path / "resources/downloads/example.org/SIM1.CT1.narrowPeak"
    before = (kept.read_bytes(), kept.stat().st_ino)
    mirror = again.path / "mirror/example.org"
    (mirror / "SIM2.CT1.narrowPeak").write_bytes((again.path / "world/SIM2.CT1.narrowPeak").read_bytes())
    (mirror / "SIM1.CT1.narrowPeak").unlink()
    checksum = hashlib.sha256((mirror / "SIM2.CT1.narrowPeak").read_bytes()).hexdigest()
    changed(
        again.path / "config/experiments.tsv",
        "world/SIM2.CT1.narrowPeak\t",
        f"https://example.org/SIM2.CT1.narrowPeak\t{checksum}",
    )
    added = "resources/downloads/example.org/SIM2.CT1.narrowPeak"
    assert again.snakemake("--cores", "1", added).steps == {"download_peaks_1"}
    assert (again.path / added).is_file()
    assert (kept.read_bytes(), kept.stat().st_ino) == before


def test_a_pretrained_trunk_is_trained_on_and_its_files_are_inputs(mini, overlay):
    from enformer_pytorch import Enformer

    enformer = Enformer.from_hparams(dim=24, depth=1, heads=1, dim_divisible_by=6, num_downsamples=6)
    enformer.save_pretrained(mini.path / "enformer", safe_serialization=False)
    config = yaml.safe_load((mini.path / "config/mini.yaml").read_text())
    config["model"]["trunk"] = {"pretrained": "enformer"}
    config["training"] |= {"steps": 2, "validate_every": 2}
    (mini.path / "config/mini.yaml").write_text(yaml.safe_dump(config))
    model = "results/mini/model"
    mini.snakemake("--cores", "1", model)
    about = json.loads((mini.path / model / "model.json").read_text())
    assert about["trunk_source"]["name"] == "enformer"
    # Those of the folder, which are not the defaults.
    assert (about["settings"]["trunk"]["dim"], about["settings"]["trunk"]["dropout"]) == (24, 0.4)
    assert mini.dry_run(model).nothing_to_do
    weights = mini.path / "enformer/pytorch_model.bin"
    weights.write_bytes(weights.read_bytes() + bytes(1))
    assert mini.dry_run(model).steps == {"train"}


# --- cross-validation ---------------------------------------------------------------------------------------


def test_a_cross_validation_of_two_folds_by_two_seeds(mini, overlay):
    changed = {
        "splits": {"folds": {"over": "cell_types"}},
        "evaluation": {"seeds": [4, 5], "bootstrap": 5},
        # Of each seed, an ensemble.
        "training": {"steps": 4, "ensemble": 2},
    }
    config = ["config/mini.yaml", overlay(changed)]
    threads = [f"{rule}=1" for rule in ("evaluate_fold", "evaluate_ensemble_fold")]
    mini.snakemake("cross_validation", "--cores", "2", "--set-threads", *threads, config=config, timeout=800)
    folder = mini.path / "results/mini/cross_validation"
    header, *rows = (line.split("\t") for line in (folder / "metrics.tsv").read_text().splitlines())
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    runs = {(row["fold"], row["seed"], row["cell_type"]) for row in rows}
    assert sorted(run[:2] for run in runs) == [(fold, seed) for fold in "01" for seed in ("4", "4+5", "5")]
    assert {run[2] for run in runs} == set(CELL_TYPES)
    assert {row["kind"] for row in rows} == {"unseen cell type"}
    assert {"tfbind", "factor mean"} <= {row["predictor"] for row in rows}
    for name in ("summary", "breakdown", "groups"):
        assert (folder / f"{name}.tsv").stat().st_size > 0
    assert "fold 1, all seeds: ensemble.json" in (folder / "report.html").read_text()
    joined = json.loads((folder / "1/ensemble/model/ensemble.json").read_text())
    assert joined["manifest"]["seed"] == [4, 4 + SEEDS_APART, 5, 5 + SEEDS_APART]
    assert mini.dry_run("cross_validation", config=config).nothing_to_do
