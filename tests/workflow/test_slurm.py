"""Runs on a real Slurm cluster, small and on loopback: what jobs are given, and what comes of it when they fail.

The command is the README's, `snakemake --profile slurm`, with the project's own profile. What a test changes in
the profile users would change there, too; only the waiting times of Snakemake are shorter.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts import test_cluster
from tfbind.core.errors import InputError
from tfbind.slurm import check_status_command

ROOT = Path(__file__).parents[2]
FOR_SHORT_JOBS = Path(__file__).with_name("snakemake_for_short_jobs.py")
LONGEST = 600  # s; far above what is needed
# Slurm's daemons may share two cores with all else that is tested.
PATIENT = ["--latency-wait", "20"]
ONE_THREAD = ["--set-threads", *(f"{rule}=1" for rule in ("train", "embed", "render", "evaluate"))]
MODEL = "results/mini/model"
GPU_RULES = {"train", "embed"}


MISSING = sorted(set(test_cluster.missing_programs(accounting=True).values()))

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: Debian's {', '.join(MISSING)}"),
]


# --- clusters and folders ---


@pytest.fixture(scope="module")
def start_cluster() -> Iterator[Callable[..., Any]]:
    """Start a cluster; all are stopped at the end. Their paths are short, for Unix sockets."""
    started = []

    def start(**how: Any) -> Any:
        cluster = test_cluster.SlurmCluster(Path(tempfile.mkdtemp(prefix="slurm")) / "c")
        started.append(cluster)
        cluster.start(**how)
        return cluster

    yield start
    for cluster in started:
        cluster.stop()
        shutil.rmtree(cluster.folder.parent)


@pytest.fixture(scope="module")
def cluster(start_cluster) -> Any:
    """A cluster without accounting."""
    return start_cluster(settings={"SlurmdTimeout": "10"})


def as_cloned(workdir: Any, cluster: Any) -> Any:
    """The folder with what a clone has in its root, and a configuration for GPUs that are only pretended."""
    for name in ("workflow", "slurm"):
        (workdir.path / name).symlink_to(ROOT / name)
    config = workdir.path / "config/mini.yaml"
    config.write_text(f"device: cpu\n{config.read_text()}")
    return replace(workdir, environment=cluster.environment(), program=(str(FOR_SHORT_JOBS),))


@pytest.fixture
def fresh(mini, cluster) -> Any:
    """The mini data set, and nothing run yet."""
    return as_cloned(mini, cluster)


@pytest.fixture
def untrained(again, cluster) -> Any:
    """The mini data set after a run, without the model and all that follows from it."""
    for made in ("model", "training", "genome_embedding", "tracks", "tracks_in_batches", "evaluation"):
        shutil.rmtree(again.path / "results/mini" / made, ignore_errors=True)
    return as_cloned(again, cluster)


def edit_profile(workdir: Any, *changes: tuple[str, str]) -> None:
    """A profile of the folder's own, with lines of it changed as a user would."""
    text = (ROOT / "slurm/config.yaml").read_text()
    for old, new in changes:
        assert len(re.findall(rf"^ +{re.escape(old)}", text, re.MULTILINE)) == 1, old
        text = re.sub(rf"^( +){re.escape(old)}.*$", rf"\g<1>{new}", text, flags=re.MULTILINE)
    (workdir.path / "slurm").unlink()
    (workdir.path / "slurm").mkdir()
    (workdir.path / "slurm/config.yaml").write_text(text)


def in_train(workdir: Any, key: str, value: str) -> None:
    """Change what the profile gives the training."""
    text = (ROOT / "slurm/config.yaml").read_text()
    head, tail = text.split("\n  train:\n    mem_mb")
    tail = re.sub(rf"^    {key}: .*$", f"    {key}: {value}", f"    mem_mb{tail}", count=1, flags=re.MULTILINE)
    assert f"    {key}: {value}\n" in tail
    (workdir.path / "slurm").unlink()
    (workdir.path / "slurm").mkdir()
    (workdir.path / "slurm/config.yaml").write_text(f"{head}\n  train:\n{tail}")


def on_slurm(*more: str) -> list[str]:
    return ["--profile", "slurm", *more, *PATIENT, *ONE_THREAD]


# --- looking at Slurm ---


def ask(workdir: Any, *command: str) -> str:
    """The output of one of Slurm's commands."""
    environment = {**os.environ, **workdir.environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def jobs(workdir: Any, states: str = "all") -> list[dict[str, str]]:
    """Jobs of a folder, from the first to the last."""
    fields = {"id": "%i", "rule": "%k", "partition": "%P", "state": "%T", "node": "%N", "folder": "%Z"}
    text = ask(workdir, "squeue", "--noheader", f"--states={states}", f"--format={'|'.join(fields.values())}")
    rows = [dict(zip(fields, line.split("|"), strict=True)) for line in text.splitlines()]
    mine = [row for row in rows if row["folder"] == str(workdir.path)]
    for row in mine:
        row["rule"] = row["rule"].removeprefix("rule_").partition("_wildcards_")[0]
    return sorted(mine, key=lambda row: int(row["id"]))


def detail(workdir: Any, job: str, key: str) -> str:
    """A field of `scontrol show job`; empty if it has none."""
    found = re.search(rf"\b{key}=(\S*)", ask(workdir, "scontrol", "show", "job", job))
    return found[1] if found else ""


def processes_of(workdir: Any, *words: str) -> list[int]:
    """Processes in a folder whose command line has these words."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            line = (process / "cmdline").read_bytes().decode().split("\0")
            here = (process / "cwd").resolve() == workdir.path
        except (OSError, UnicodeDecodeError):
            continue
        if here and all(word in line for word in words):
            found.append(int(process.name))
    return found


def wait_until(
    reached: Callable[[], Any], process: subprocess.Popen | None = None, longest: float = LONGEST
) -> None:
    end = time.monotonic() + longest
    while not reached():
        assert process is None or process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, "not reached in time"
        time.sleep(0.01)


def run_with_fault(workdir: Any, fault: Callable[[], Any], arguments: Sequence[str]) -> str:
    """Run, do something to it once the training is half done, and wait for its end."""
    process = workdir.start(*arguments, "--configfile", "config/mini.yaml")
    try:
        wait_until(lambda: 0 < workdir.steps_trained() < 16, process)
        fault()
        text, _ = process.communicate(timeout=LONGEST)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, text
    return text


# --- the command, and what jobs are given ---


def test_the_workflow_on_slurm_gives_each_rule_its_partition_and_gpus_and_ends_in_the_same_bytes(fresh, finished):
    fresh.snakemake(*on_slurm(), timeout=LONGEST)
    expected = finished.results()
    found = fresh.results()
    # The effective configuration differs: it says `device: cpu`.
    assert found.pop("mini/config.yaml") != expected.pop("mini/config.yaml")
    assert found == expected
    ran = jobs(fresh)
    assert {job["state"] for job in ran} == {"COMPLETED"}
    assert {job["rule"] for job in ran} == {
        *(
            "reference",
            "accessibility",
            "factors",
            "targets",
            "split",
            "homology",
            "train",
            "embed",
            "assemble",
            "render",
            "evaluate",
            "sites",
            "profiles",
            "browser",
        )
    }
    for job in ran:
        gpus = detail(fresh, job["id"], "TresPerJob")
        asked = ("gpu", "gres:gpu:1") if job["rule"] in GPU_RULES else ("cpu", "")
        assert (job["partition"], gpus) == asked, job
    given = {}
    for log in (fresh.path / "logs/mini").rglob("*.log"):
        if said := re.search(
            r"^device: CPU, 1 threads(?: \(CUDA_VISIBLE_DEVICES: (.*)\))?", log.read_text(), re.M
        ):
            given[log.relative_to(fresh.path / "logs/mini").as_posix()] = said[1]
    assert given.keys() == {"train.log", "embed/0.log", "embed/1.log", "evaluate.log"} | {
        path for path in given if path.startswith("render")
    }
    assert {name for name, devices in given.items() if devices is not None} == {
        *("train.log", "embed/0.log", "embed/1.log")
    }
    assert all(devices in ("0", "1") for devices in given.values() if devices is not None)
    assert fresh.snakemake(*on_slurm()).nothing_to_do
    assert not list((fresh.path / ".snakemake/slurm_runs").iterdir())


@pytest.mark.slow
def test_the_literal_command_runs_the_workflow(fresh, finished):
    command = [
        Path(sys.executable).with_name("snakemake"),
        "--profile",
        "slurm",
        "--configfile",
        "config/mini.yaml",
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{fresh.environment['PATH']}"
    environment = {**os.environ, **fresh.environment, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=fresh.path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found, expected = fresh.results(), finished.results()
    assert found.keys() == expected.keys()  # other numbers of threads give other last digits


def test_a_gpu_job_that_sees_no_gpu_fails_at_once_and_says_what_it_saw(untrained):
    config = untrained.path / "config/mini.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: auto"))
    run = untrained.snakemake(*on_slurm("--retries", "0", MODEL), fails=True)
    assert "no GPU is seen" in run.output and "NVIDIA driver: none" in run.output
    assert re.search(r"CUDA_VISIBLE_DEVICES: [01];", run.output)
    assert not (untrained.path / "results/mini/training/state").exists()


@pytest.mark.slow
def test_training_on_both_nodes_is_the_same_training(untrained, finished):
    edit_profile(untrained, ("training_nodes:", "training_nodes: 2"))
    threads = ["train=2" if word == "train=1" else word for word in on_slurm(MODEL)]
    untrained.snakemake(*threads, timeout=LONGEST)
    (job,) = jobs(untrained)
    assert job["state"] == "COMPLETED" and job["node"] == "node[1-2]" and job["partition"] == "gpu"
    assert "gpu" in detail(untrained, job["id"], "TresPerNode")
    losses = [history(workdir) for workdir in (untrained, finished)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) and len(losses[0]) > 3
    assert (untrained.path / "logs/mini/train.log").read_text().count("device: CPU, 2 threads") == 2


def history(workdir: Any) -> list[float]:
    with (workdir.path / "results/mini/training/history.tsv").open() as handle:
        return [float(row["loss"]) for row in csv.DictReader(handle, delimiter="\t")]


def test_a_site_without_gpus_needs_one_setting(untrained, finished):
    edit_profile(untrained, ("gpus:", "gpus: 0"))
    untrained.snakemake(*on_slurm(MODEL))
    (job,) = jobs(untrained)
    assert (job["partition"], detail(untrained, job["id"], "TresPerJob")) == ("cpu", "")
    assert untrained.results(MODEL.removeprefix("results/")) == finished.results("mini/model")


# --- faults ---


@pytest.mark.slow
def test_a_job_whose_process_is_killed_is_run_again_and_goes_on(untrained, finished):
    def fault() -> None:
        for process in processes_of(untrained, "train"):
            os.kill(process, signal.SIGKILL)

    run_with_fault(untrained, fault, on_slurm(MODEL))
    assert [job["state"] for job in jobs(untrained)] == ["FAILED", "COMPLETED"]
    assert untrained.results("mini/model") == finished.results("mini/model")


def test_a_job_that_is_cancelled_keeps_its_state_and_is_run_again(untrained, finished):
    stopped = []

    def fault() -> None:
        ask(untrained, "scancel", jobs(untrained)[0]["id"])
        wait_until(lambda: "stopped by SIGTERM" in (untrained.path / "logs/mini/train.log").read_text())
        stopped.append(untrained.steps_trained())

    run_with_fault(untrained, fault, on_slurm(MODEL))
    assert [job["state"] for job in jobs(untrained)] == ["CANCELLED", "COMPLETED"]
    assert untrained.results("mini/model") == finished.results("mini/model")


def test_out_of_memory_is_answered_with_more(untrained, finished):
    in_train(untrained, "mem_mb", "350 * attempt")
    untrained.snakemake(*on_slurm(MODEL), timeout=LONGEST)
    ran = jobs(untrained)
    assert [job["state"] for job in ran][-1] == "COMPLETED" and len(ran) > 1
    assert {job["state"] for job in ran[:-1]} <= {"OUT_OF_MEMORY", "FAILED"}
    memory = [detail(untrained, job["id"], "MinMemoryNode") for job in ran]
    assert memory == [f"{350 * (attempt + 1)}M" for attempt in range(len(ran))]
    assert untrained.results("mini/model") == finished.results("mini/model")


@pytest.mark.slow
def test_the_controller_may_restart_under_a_run(untrained, finished, cluster):
    run_with_fault(untrained, cluster.restart_controller, on_slurm(MODEL))
    assert [job["state"] for job in jobs(untrained)] == ["COMPLETED"]
    assert untrained.results("mini/model") == finished.results("mini/model")


def test_a_full_disk_is_told_and_with_room_the_run_goes_on(untrained, finished):
    disk = untrained.path / "results/mini/training"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs a small disk, and may not mount one: {mounted.stderr.decode().strip()}")
    try:
        run = untrained.snakemake(*on_slurm(MODEL, "--retries", "1"), fails=True)
        state = "results/mini/training/state/training.safetensors"
        assert f"{state}: cannot be read or written: No space left on device" in run.output
        assert "the space that is left" in run.output
        assert not list(disk.rglob("*.safetensors")) and not (untrained.path / MODEL).exists()
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        untrained.snakemake(*on_slurm(MODEL), timeout=LONGEST)
        assert untrained.results("mini/model") == finished.results("mini/model")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.slow
def test_a_lost_nodes_job_is_run_on_another(untrained, finished, cluster):
    lost = []

    def fault() -> None:
        lost.append(jobs(untrained)[0]["node"])
        cluster.kill_node(lost[0])

    try:
        run_with_fault(untrained, fault, on_slurm(MODEL))
    finally:
        for node in lost:
            cluster.start_node(node)
    first, second = jobs(untrained)
    assert (first["state"], second["state"]) == ("NODE_FAIL", "COMPLETED")
    assert second["node"] != lost[0]
    assert untrained.results("mini/model") == finished.results("mini/model")


@pytest.mark.slow
def test_at_its_time_limit_training_keeps_its_state_and_the_next_attempt_goes_on(untrained, overlay):
    """The limit is shorter than the training, which ends in the bytes of one that had time."""
    long = overlay({"training": {"steps": 4000, "validate_every": 2000, "patience": 100}})
    config = ["config/mini.yaml", long]
    straight = untrained.copy(untrained.path.with_name("straight"))
    in_train(untrained, "runtime", "2")
    text = (untrained.path / "slurm/config.yaml").read_text()
    (untrained.path / "slurm/config.yaml").write_text(text.replace("TERM@120", "TERM@30"))
    run = untrained.snakemake(*on_slurm("--retries", "9", MODEL), config=config, timeout=3 * LONGEST)
    ran = jobs(untrained)
    assert len(ran) > 1 and ran[-1]["state"] == "COMPLETED", run.output
    assert "stopped by SIGTERM after step" in run.output
    straight.snakemake("--cores", "1", MODEL, config=config, timeout=3 * LONGEST)
    assert untrained.results("mini/model") == straight.results("mini/model")


# --- Snakemake itself is stopped or killed ---


def test_after_a_kill_of_snakemake_its_jobs_are_cancelled_and_none_runs_twice(untrained, finished):
    process = untrained.start(*on_slurm(MODEL), "--configfile", "config/mini.yaml")
    wait_until(lambda: 0 < untrained.steps_trained() < 16, process)
    # So that the job is there when the next run starts.
    (trainer,) = processes_of(untrained, "train", "--state", "results/mini/training/state")
    os.kill(trainer, signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (left,) = jobs(untrained)
    assert left["state"] == "RUNNING"

    refused = untrained.snakemake(*on_slurm(MODEL), fails=True)
    assert "results/mini is locked by another run of Snakemake, or by one that was killed" in refused.output
    typed = re.search(r"^    (snakemake .*--unlock.*)$", refused.output, re.MULTILINE)[1]
    assert [job["id"] for job in jobs(untrained)] == [left["id"]]
    untrained.snakemake(*typed.split()[1:], config=())

    run = untrained.snakemake(*on_slurm(MODEL), timeout=LONGEST)
    assert (
        f"still there, and would write the same files as this run: {left['id']} (rule_train, running)"
        in run.output
    )
    first, second = jobs(untrained)
    assert (first["id"], first["state"]) == (left["id"], "CANCELLED")
    assert second["state"] == "COMPLETED"
    ended, began = (
        ask(untrained, "date", "-d", when, "+%s")
        for when in (detail(untrained, first["id"], "EndTime"), detail(untrained, second["id"], "SubmitTime"))
    )
    assert int(ended) <= int(began)
    assert untrained.results("mini/model") == finished.results("mini/model")


def test_ctrl_c_cancels_the_jobs_and_the_next_run_goes_on(untrained, finished):
    process = untrained.start(*on_slurm(MODEL), "--configfile", "config/mini.yaml")
    wait_until(lambda: 0 < untrained.steps_trained() < 16, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LONGEST)
    assert process.returncode != 0
    untrained.snakemake(*on_slurm(MODEL), timeout=LONGEST)
    assert [job["state"] for job in jobs(untrained)] == ["CANCELLED", "COMPLETED"]
    assert untrained.results("mini/model") == finished.results("mini/model")


def test_a_run_that_is_alive_is_not_cancelled_by_another(untrained):
    process = untrained.start(*on_slurm(MODEL), "--configfile", "config/mini.yaml")
    try:
        wait_until(lambda: untrained.steps_trained() > 0, process)
        # Its lock is gone, as Snakemake removes it when another run in the same folder ends.
        shutil.rmtree(untrained.path / ".snakemake/locks")
        second = untrained.snakemake(*on_slurm(MODEL), fails=True)
        assert "Snakemake already makes these results" in second.output
        text, _ = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, text
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert [job["state"] for job in jobs(untrained)] == ["COMPLETED"]


# --- how Slurm is asked ---


def test_with_accounting_sacct_serves_and_a_report_tells_what_jobs_used(untrained, finished, start_cluster):
    accounting = replace(untrained, environment=start_cluster(accounting=True).environment())
    edit_profile(accounting, ("accounting:", "accounting: true"), ("status:", "status: sacct"))
    accounting.snakemake(*on_slurm(MODEL), timeout=LONGEST)
    assert accounting.results("mini/model") == finished.results("mini/model")
    (report,) = (accounting.path / "logs/slurm").rglob("*efficiency*")
    assert "rule_train" in report.read_text()


def test_sacct_without_accounting_is_refused(untrained):
    edit_profile(untrained, ("status:", "status: sacct"))
    run = untrained.snakemake(*on_slurm(MODEL), fails=True)
    assert "this site keeps no accounting" in run.output and "set status: squeue" in run.output
    assert not jobs(untrained)


def test_a_site_that_forgets_jobs_too_soon_is_told_what_to_do(start_cluster, monkeypatch, capsys):
    for accounting in (False, True):
        cluster = start_cluster(accounting=accounting, settings={"MinJobAge": "60"})
        for name, value in cluster.environment().items():
            monkeypatch.setenv(name, value)
        if accounting:
            with pytest.raises(InputError, match="60 s after its end") as caught:
                check_status_command("squeue")
            assert caught.value.mend == "set status: sacct"
            check_status_command("sacct")
        else:
            check_status_command("squeue")
            assert "60 s after its end" in capsys.readouterr().err
        cluster.stop()


def test_slurm_that_is_down_is_told(untrained):
    nowhere = untrained.path / "slurm.conf"
    nowhere.write_text("ClusterName=none\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\n")
    # Not by the cluster's own commands, which know where it is.
    down = replace(untrained, environment={"SLURM_CONF": str(nowhere)})
    run = down.snakemake(*on_slurm(MODEL), fails=True)
    assert "is Slurm up?" in run.output
