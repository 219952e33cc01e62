"""What Snakemake plans: which jobs a configuration makes, before anything runs, and errors that come up front."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tfbind.config import TrainingSettings, load_config

ROOT = Path(__file__).parents[2]
DEMO = "config/demo/config.yaml"
YEAST = "config/yeast/config.yaml"

SAME_FOR_ALL = {
    "browser": 1,
    "reference": 1,
    "factors": 1,
    "targets": 1,
    "split": 1,
    "homology": 1,
    "train": 1,
    "plot_history": 1,
    "assemble": 1,
}
SAME_FOR_ALL |= {"evaluate": 1, "all": 1}
SAME_FOR_ALL |= dict.fromkeys(("profiles", "factor_pages", "evaluation_pages", "overview", "report"), 1)
MORE_FACTORS_IN_A_JOB = {"prediction": {"factors_per_job": 60}}


def test_the_demo_is_what_runs_without_a_configfile(project):
    run = project.dry_run(config=())
    assert run.jobs == SAME_FOR_ALL | {
        "simulate": 1,
        "accessibility": 3,
        "embed": 2,
        "render": 3,
        "gather": 3,
    } | {"sites": 3}
    assert project.dry_run(config=[DEMO]).jobs == run.jobs


def test_yeast_has_none_of_the_demo_and_few_jobs_for_many_factors(project):
    # 1 genome, 1 accessibility file, 70 files of peaks and 70 proteins are downloaded; 70 tracks are rendered.
    run = project.dry_run(config=[YEAST])
    downloads = {f"download_peaks_{n}": 1 for n in (1, 2, 3)} | {f"download_proteins_{n}": 1 for n in (1, 2, 3)}
    downloads |= {"download_reference": 1, "download_accessibility_1": 1}
    shards = yaml.safe_load((ROOT / YEAST).read_text()).get("prediction", {}).get("shards", 4)
    assert run.jobs == SAME_FOR_ALL | downloads | {
        "accessibility": 1,
        "embed": shards,
        "render": 1,
        "gather": 1,
    } | {"sites": 1}


def test_members_of_an_ensemble_are_trained_and_joined(project, overlay):
    config = {"training": {"ensemble": 3}, "prediction": {"uncertainty": True}}
    run = project.dry_run(config=[DEMO, overlay(config)])
    assert (run.jobs["train"], run.jobs["ensemble"], run.jobs["plot_history"]) == (3, 1, 3)
    assert "results/demo/members/2/model" in run.output


def test_uncertainty_of_one_model_is_refused_before_it_is_trained(mini, overlay):
    config = ["config/mini.yaml", overlay({"prediction": {"uncertainty": True}})]
    told = error_of(mini.dry_run(config=config, fails=True))
    assert "'prediction.uncertainty': is how far the members" in told


def test_all_that_several_files_extend_holds(mini, tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("extends: config/mini.yaml\nname: one\n")
    (tmp_path / "few.yaml").write_text("evaluation: {seeds: [4]}\n")
    two.write_text(f"extends: {tmp_path}/few.yaml\n")
    run = mini.dry_run("cross_validation", config=[one, two])
    assert run.jobs["train_fold"] == 1 and "results/one/cross_validation/all/4/model" in run.output


def test_where_embeddings_are_kept_is_no_reason_to_train_again():
    """And whether they are, and how exactly, is one."""
    text = (ROOT / "workflow/rules/depends.smk").read_text()

    def depends_on(**cache):
        config = load_config([ROOT / DEMO])
        values = config.training.model_dump() | {"window_spacing": config.windows.length // config.windows.bin}
        values["fine_tuning"] = {"mode": "frozen", **cache}
        training = TrainingSettings.model_validate(values)
        rules = {"CONFIG": config.model_copy(update={"training": training})}
        exec(compile(text, "depends.smk", "exec"), rules)
        return rules["settings_of"]("train")

    kept = depends_on(cache={"precision": "fp32"})
    assert depends_on(cache={"folder": "/elsewhere", "gigabytes": 1}) == kept
    assert depends_on(cache={"precision": "fp16"}) != kept != depends_on()


def test_a_dry_run_writes_no_results(project):
    project.dry_run(config=[DEMO])
    assert sorted(path.name for path in project.path.iterdir()) == [".snakemake", "config"]


def test_a_configuration_replaces_the_demo_as_a_whole(mini):
    run = mini.dry_run()
    assert "simulate" not in run.jobs and "demo" not in run.output
    # Below `training` the demo says more than the mini configuration does.
    mini.snakemake("--cores", "1", "results/mini/factors")
    effective = yaml.safe_load((mini.path / "results/mini/config.yaml").read_text())
    assert effective["training"]["motif_loss"] == 0 and effective["simulation"] is None


def test_later_configfiles_override_earlier_ones_key_by_key(mini, overlay):
    run = mini.dry_run(config=["config/mini.yaml", overlay({"prediction": {"shards": 5}})])
    assert run.jobs["embed"] == 5 and run.jobs["reference"] == 1


def test_config_overrides_the_configfile(mini):
    assert "results/other/model" in mini.dry_run("--config", "name=other").output


def test_the_effective_configuration_says_what_ran(mini, overlay):
    small = overlay({"training": {"learning_rate": 1e-5}})
    mini.snakemake("--cores", "1", "results/mini/factors", config=["config/mini.yaml", small])
    effective = mini.path / "results/mini/config.yaml"
    # In a form that `tfbind VERB --config` reads as a number.
    assert load_config(effective).training.learning_rate == 1e-5


def with_factors(mini, count):
    with (mini.path / "config/factors.tsv").open("a") as table:
        for number in range(3, count):
            table.write(f"MORE{number}\tSIM3\t\n")
    return mini


@pytest.mark.parametrize("factors", [3, 60])
def test_jobs_do_not_grow_with_factors(mini, overlay, factors):
    run = with_factors(mini, factors).dry_run(config=["config/mini.yaml", overlay(MORE_FACTORS_IN_A_JOB)])
    # downloads, accessibility, shards, and to render, gather and list the sites of each cell type
    assert sum(run.jobs.values()) == len(SAME_FOR_ALL) + 3 + 1 + 2 + 2 + 2 + 2


def test_a_job_renders_so_many_factors_of_a_cell_type(mini):
    # 11 factors by twos, in two cell types
    run = with_factors(mini, 11).dry_run()
    assert run.jobs["render"] == 6 * 2 and run.jobs["gather"] == 2


# --- errors: short, and in the user's words -----------------------------------------------------------------


def error_of(run):
    assert "Traceback" not in run.output and "WorkflowError" in run.output
    return run.output


def test_an_unknown_key_is_an_error(mini):
    text = error_of(mini.dry_run("--config", 'training={"stepz": 3}', fails=True))
    assert "mini.yaml: unknown key 'training.stepz'\n  mend: did you mean 'steps'?" in text


def test_a_missing_table_is_an_error(mini):
    (mini.path / "config/factors.tsv").unlink()
    assert "config/factors.tsv: no such table" in error_of(mini.dry_run(fails=True))


def test_a_missing_file_is_an_error_before_anything_runs(mini):
    (mini.path / "world/SIM2.CT1.narrowPeak").unlink()
    text = error_of(mini.dry_run(fails=True))
    assert (
        "config/experiments.tsv, row 4, column 'peaks': the file world/SIM2.CT1.narrowPeak is not there" in text
    )


def test_a_factor_that_is_defined_nowhere_is_an_error(mini):
    table = mini.path / "config/experiments.tsv"
    table.write_text(table.read_text().replace("SIM2\tCT2", "SIM9\tCT2"))
    assert "row 5, column 'factor': factor 'SIM9' is defined nowhere" in error_of(mini.dry_run(fails=True))


def test_an_error_of_a_step_is_told_on_the_terminal(mini):
    (mini.path / "world/SIM2.CT1.narrowPeak").write_text("chr1\t90\t80\n")
    run = mini.snakemake("--cores", "1", "results/mini/targets", fails=True)
    assert "tfbind: error: world/SIM2.CT1.narrowPeak, row 1" in run.output


def test_a_wrong_checksum_is_an_error_and_nothing_is_kept(mini):
    (mini.path / "mirror/example.org/genome.fa.gz").write_bytes(b"something else")
    run = mini.snakemake("--cores", "1", "results/mini/reference", fails=True)
    assert "wrong checksum" in run.output
    assert not (mini.path / "resources/downloads/example.org/genome.fa.gz").exists()


# --- style ------------------------------------------------------------------------------------------------------


def test_snakemake_finds_nothing_to_improve(project):
    assert "in a good condition" in project.snakemake("--lint", config=()).output


def test_the_workflow_is_formatted():
    command = [Path(sys.executable).with_name("snakefmt"), "--check", ROOT / "workflow"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


# --- cross-validation ---------------------------------------------------------------------------------------


def test_a_cross_validation_trains_each_fold_by_each_seed(mini, overlay):
    changed = {"splits": {"folds": {"over": "factors", "count": 2}}, "evaluation": {"seeds": [0, 3]}}
    run = mini.dry_run("cross_validation", config=["config/mini.yaml", overlay(changed)])
    own = {"split_fold": 2, "train_fold": 4, "evaluate_fold": 4, "gather_folds": 1, "cross_validation": 1}
    own |= {"ensemble_fold": 2, "evaluate_ensemble_fold": 2}
    own |= {"cross_validation_page": 1, "report_cross_validation": 1}
    assert own.items() <= run.jobs.items()
    assert not {"split", "train", "embed", "evaluate", "render", "factor_cnn_fold"} & run.steps


def test_each_seed_of_a_cross_validation_is_an_ensemble_where_one_is_asked_for(mini, overlay):
    changed = {
        "splits": {"folds": {"over": "factors", "count": 2}},
        "evaluation": {"seeds": [0, 3]},
        "training": {"ensemble": 3},
    }
    run = mini.dry_run("cross_validation", config=["config/mini.yaml", overlay(changed)])
    own = {"train_fold": 12, "ensemble_seed": 4, "evaluate_fold": 4, "ensemble_fold": 2}
    assert own.items() <= run.jobs.items()
    assert not {"train", "ensemble"} & run.steps
    assert "results/mini/cross_validation/1/3/members/2/model" in run.output


def test_a_variant_is_read_before_anything_is_trained(mini, overlay):
    variant = mini.path / "config/variant.yaml"
    variant.write_text("extends: config/mini.yaml\ntraining: {steps: 3}\n")
    changed = {"training": {"ensemble": 2, "variants": ["config/variant.yaml"]}}
    config = ["config/mini.yaml", overlay(changed)]
    assert mini.dry_run(config=config).jobs["train"] == 2
    # What it said when the run began holds until it is run again.
    mini.snakemake("--cores", "1", "results/mini/factors", config=config)
    effective = load_config(mini.path / "results/mini/config.yaml")
    (path,) = effective.training.variants
    assert path.as_posix() == "results/mini/variants/1.yaml"
    assert load_config(mini.path / path).training.steps == 3
    variant.write_text("extends: config/mini.yaml\nwindows: {length: 4096, core: 2048}\n")
    refused = mini.dry_run(config=config, fails=True)
    assert "config/variant.yaml" in refused.output and "other windows" in refused.output


def test_without_folds_a_cross_validation_has_one(mini):
    run = mini.dry_run("results/mini/cross_validation/summary.tsv")
    assert (run.jobs["split_fold"], run.jobs["train_fold"], run.jobs["evaluate_fold"]) == (1, 3, 3)
    assert "results/mini/cross_validation/all/2/evaluation" in run.output


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_a_network_of_each_factor_alone_is_trained_where_it_is_asked_for(mini, overlay, seeds):
    changed = {"evaluation": {"seeds": seeds, "factor_cnn": 20}}
    run = mini.dry_run("cross_validation", config=["config/mini.yaml", overlay(changed)])
    # Once a fold, not by each seed.
    assert run.jobs["factor_cnn_fold"] == 1 and "factor_cnn" not in run.steps
    assert ("ensemble_fold" in run.steps) == (len(seeds) > 1)


@pytest.mark.parametrize(("cores", "threads"), [("2", {"1"}), ("8", {"2"})])
def test_the_trainings_of_an_ensemble_run_side_by_side(mini, overlay, cores, threads):
    config = ["config/mini.yaml", overlay({"training": {"ensemble": 4}})]
    # With a timeout of its own, no thread is set by the test.
    run = mini.snakemake("--dry-run", "--printshellcmds", "--cores", cores, config=config, timeout=60)
    assert set(re.findall(r"tfbind train .*--threads (\d+)", run.output)) == threads


def test_without_a_test_a_cross_validation_is_refused_before_anything_is_trained(mini, overlay):
    changed = {"splits": {"test": []}}
    refused = mini.dry_run("cross_validation", config=["config/mini.yaml", overlay(changed)], fails=True)
    assert "splits.test is empty" in refused.output
