"""Profiles: what a site's settings make of the plan. Nothing is run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "workflow/profiles"
YEAST = "config/yeast/config.yaml"


@pytest.fixture
def clone(project) -> Any:
    """A folder with what a clone has in its root, and nothing run yet."""
    for name in ("workflow", "slurm"):
        (project.path / name).symlink_to(ROOT / name)
    return project


def literally(folder: Path, command: str) -> str:
    """What a command of the README prints, as it is typed."""
    program, *arguments = command.split()
    path = str(Path(sys.executable).with_name(program))
    done = subprocess.run([path, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def edited(folder: Path, name: str, **settings: Any) -> list[str]:
    """A profile with other settings of the site; how Snakemake is told of it."""
    text = (PROFILES / name / "config.yaml").read_text()
    for key, value in settings.items():
        text, count = re.subn(rf"^  {key}: .*$", f"  {key}: {value}", text, flags=re.MULTILINE)
        assert count == 1, key
    (folder / "profile").mkdir()
    (folder / "profile/config.yaml").write_text(text)
    return ["--profile", "profile"]


def resources(output: str) -> dict[str, dict[str, str]]:
    """Resources of each rule that the plan names, of its first job."""
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"^\[.*\]$", output, flags=re.MULTILINE):
        rule = re.search(r"^(?:local)?rule (\w+):$", block, re.MULTILINE)
        given = re.search(r"^ +resources: (.*)$", block, re.MULTILINE)
        threads = re.search(r"^ +threads: (\d+)$", block, re.MULTILINE)
        if rule and given and rule[1] not in found:
            found[rule[1]] = dict(pair.split("=", 1) for pair in given[1].split(", "))
            found[rule[1]]["threads"] = threads[1] if threads else "1"
    return found


def keys(text: str) -> set[str]:
    """Keys of a profile, those behind conditions, too."""
    found = set()
    for key, value in yaml.safe_load(text).items():
        found |= set(value) if key.startswith("?") else {key}
    return found


@pytest.mark.parametrize("name", ["slurm", "workstation"])
def test_no_key_stands_in_two_profiles(name):
    # Snakemake would let the default's value win, silently.
    default, other = (keys((PROFILES / each / "config.yaml").read_text()) for each in ("default", name))
    assert default and other and not default & other


def test_slurm_in_the_root_is_the_profile_itself():
    assert (ROOT / "slurm").resolve() == PROFILES / "slurm"


def test_the_literal_command_plans_the_workflow_for_slurm(clone):
    output = literally(clone.path, f"snakemake --profile slurm --configfile {YEAST} --dry-run")
    given = resources(output)
    assert given["train"]["slurm_partition"] == given["embed"]["slurm_partition"] == "gpu"
    assert {given[rule]["slurm_partition"] for rule in ("reference", "targets", "render", "evaluate")} == {"cpu"}
    # Of profiles/default, too.
    assert "workflow specific profile workflow/profiles/default" in output


def test_slurm_and_one_machine_have_the_same_plan(clone):
    def plan(output: str) -> list[tuple[str, str]]:
        return re.findall(r"^(?:local)?rule (\w+):\n(?:    input: .*\n)?    output: (.*)$", output, re.MULTILINE)

    local = clone.dry_run("--cores", "2", config=[YEAST])
    slurm = clone.dry_run("--profile", "slurm", config=[YEAST])
    assert local.jobs == slurm.jobs
    assert sorted(plan(local.output)) == sorted(plan(slurm.output)) and len(plan(local.output)) > 15


def test_a_profile_reruns_nothing_that_was_made_without_it(finished):
    assert finished.dry_run("--profile", str(PROFILES / "slurm")).nothing_to_do
    assert finished.dry_run("--profile", str(PROFILES / "workstation")).nothing_to_do


def test_a_site_may_have_an_account_other_partitions_and_gpu_models(clone):
    profile = edited(
        clone.path,
        "slurm",
        account="lab7",
        cpu_partition="short",
        gpu_partition="accel",
        gpu_model="h100",
    )
    given = resources(clone.dry_run(*profile, config=[YEAST]).output)
    assert {each["slurm_account"] for each in given.values()} == {"lab7"}
    assert given["targets"]["slurm_partition"] == "short"
    embed = given["embed"]
    assert (embed["slurm_partition"], embed["gpu"], embed["gpu_model"]) == ("accel", "1", "h100")
    assert embed["cpus_per_gpu"] == "8"


def test_a_site_without_gpus_runs_all_on_cpus(clone):
    given = resources(clone.dry_run(*edited(clone.path, "slurm", gpus=0), config=[YEAST]).output)
    assert {each["slurm_partition"] for each in given.values()} == {"cpu"}
    assert not any("gpu" in each for each in given.values())


def test_training_may_have_several_gpus_on_one_node(clone):
    given = resources(clone.dry_run(*edited(clone.path, "slurm", training_gpus=4), config=[YEAST]).output)
    assert (given["train"]["gpu"], given["train"]["nodes"], given["embed"]["gpu"]) == ("4", "1", "1")
    assert "mpi" not in given["train"] and given["train"]["slurm_extra"] == "--signal=TERM@120"


def test_training_may_have_gpus_on_several_nodes(clone):
    profile = edited(clone.path, "slurm", training_nodes=2, training_gpus=4, gpu_model="a100")
    train = resources(clone.dry_run(*profile, config=[YEAST]).output)["train"]
    # `gpu` would count the job's, and might put them unevenly.
    assert "gpu" not in train and train["slurm_extra"] == "--signal=TERM@120 --gpus-per-node=a100:4"
    assert (train["nodes"], train["tasks"], train["gpus_per_node"]) == ("2", "2", "4")
    # The number of threads is one machine's in a dry run.
    assert re.fullmatch(r"srun --kill-on-bad-exit=1 --cpus-per-task=\d+", train["mpi"])


def test_rules_are_moved_to_gpus_by_their_names(clone):
    profile = edited(clone.path, "slurm", gpu_rules="[train, embed, render]")
    given = resources(clone.dry_run(*profile, config=[YEAST]).output)
    assert given["render"]["gpu"] == "1" and given["render"]["slurm_partition"] == "gpu"


def test_one_machine_counts_its_gpus(clone):
    profile = edited(clone.path, "workstation", gpus=3)
    given = resources(clone.dry_run(*profile, config=[YEAST]).output)
    assert (given["train"]["gpu"], given["embed"]["gpu"]) == ("3", "1")
    assert given["render"]["gpu"] == "1" and "gpu" not in given["targets"]


@pytest.mark.parametrize("rule", sorted((ROOT / "workflow/rules").glob("*.smk")), ids=lambda path: path.name)
def test_no_rule_speaks_of_a_site(rule):
    text = "\n".join(line.partition("#")[0] for line in rule.read_text().splitlines())
    for word in ("partition", "account", "mem_mb", "runtime", "retries", "slurm_"):
        assert not re.search(rf"\b{word}\w* *[=:]", text), word
