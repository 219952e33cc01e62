"""The Slurm cluster for tests: real daemons and jobs. One cluster serves most of the tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from scripts import test_cluster as module

SCRIPT = Path(__file__).parents[2] / "scripts/test_cluster"
MISSING = sorted(set(module.missing_programs(accounting=True).values()))

# One worker starts the cluster that these tests share.
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: Debian's {', '.join(MISSING)}"),
]

FILL_MEMORY = "import time; data = b'x' * (400 << 20); time.sleep(20)"


@pytest.fixture(scope="module")
def short_folder():
    """A folder whose path leaves room for Unix sockets, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster(short_folder):
    """A cluster with accounting."""
    cluster = module.SlurmCluster(short_folder / "c")
    cluster.start(accounting=True)
    yield cluster
    cluster.stop()


def call(cluster, *argv: str) -> str:
    """Output of one of Slurm's commands, as a user calls it."""
    environ = os.environ | cluster.environment()
    done = subprocess.run(
        argv, env=environ, cwd=cluster.folder, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A call of the script's command line."""
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=120)


def submit(cluster, command: str, *options: str) -> str:
    """Submit a job; its number."""
    return call(cluster, "sbatch", "--parsable", "--output=%j.out", *options, f"--wrap={command}")


def state(cluster, job: str) -> str:
    """State of a job."""
    return call(cluster, "squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")


def await_state(cluster, job: str, *wanted: str, seconds: float = 60) -> str:
    """Wait until a job is in a state."""
    end = time.monotonic() + seconds
    while (found := state(cluster, job)) not in wanted and time.monotonic() < end:
        time.sleep(0.2)
    assert found in wanted, (job, found)
    return found


def await_file(path: Path, seconds: float = 60) -> None:
    """Wait until there is a file."""
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert path.exists(), path


@pytest.fixture(scope="module")
def late_job(cluster):
    """A job whose time is up, which slurmctld looks for twice a minute: it waits while other tests run."""
    job = submit(cluster, "sleep 300", "--time=1")
    await_state(cluster, job, "RUNNING")
    call(cluster, "scontrol", "update", f"JobId={job}", "EndTime=now+1")
    return job


def test_one_worker_has_all_that_need_a_cluster(request):
    """Not all versions of pytest and pytest-xdist heed the group together; each worker would start clusters."""
    assert not request.config.getoption("loadgroup", False) or request.node.nodeid.endswith("@slurm")


def test_jobs_run_on_both_nodes_in_the_default_partition(cluster, late_job):
    shown = call(cluster, "srun", "--nodes=2", "sh", "-c", "echo $SLURMD_NODENAME $SLURM_JOB_PARTITION")
    assert sorted(shown.splitlines()) == ["node1 cpu", "node2 cpu"]


def test_jobs_at_once_have_gpus_of_their_own(cluster):
    command = "echo $SLURM_JOB_PARTITION $CUDA_VISIBLE_DEVICES; while ! test -e {}.out; do sleep 0.1; done"
    options = ("--partition=gpu", "--nodelist=node2", "--gpus=1")
    first = submit(cluster, command.format("wait"), *options)
    second = submit(cluster, command.format(first), *options)
    await_state(cluster, second, "COMPLETED")
    (cluster.folder / "wait.out").touch()
    await_state(cluster, first, "COMPLETED")
    shown = [(cluster.folder / f"{job}.out").read_text().strip() for job in (first, second)]
    assert shown == ["gpu 0", "gpu 1"]
    assert call(cluster, "srun", "--gpus=2", "--nodes=1", "printenv", "CUDA_VISIBLE_DEVICES") == "0,1"
    assert call(cluster, "srun", "sh", "-c", "echo [$CUDA_VISIBLE_DEVICES]") == "[]"


def test_a_job_starts_steps_without_slurm_conf_in_its_environment(cluster):
    job = submit(cluster, "unset SLURM_CONF; srun sh -c 'echo step of $SLURM_JOB_ID'")
    await_state(cluster, job, "COMPLETED")
    assert (cluster.folder / f"{job}.out").read_text() == f"step of {job}\n"


def test_a_job_that_takes_too_much_memory_is_killed(cluster):
    job = submit(cluster, f'{sys.executable} -c "{FILL_MEMORY}"', "--mem=100")
    wanted = "OUT_OF_MEMORY" if module.has_memory_cgroup() else "FAILED"
    await_state(cluster, job, wanted, seconds=15)


def test_sacct_knows_jobs(cluster):
    job = submit(cluster, "true", "--partition=gpu", "--gpus=1", "--comment=said")
    await_state(cluster, job, "COMPLETED")
    wanted = f"{job}|COMPLETED|gpu|said"
    end = time.monotonic() + 30
    while True:
        shown = call(
            cluster, "sacct", "-XnP", f"--jobs={job}", "--format=JobID,State,Partition,Comment,AllocTRES"
        )
        if shown.startswith(wanted) or time.monotonic() > end:
            break
        time.sleep(0.5)
    assert shown.startswith(wanted) and "gres/gpu=1" in shown


def test_the_controller_starts_again_and_jobs_go_on(cluster):
    job = submit(cluster, "sleep 300")
    await_state(cluster, job, "RUNNING")
    former = cluster.status()["pids"]["slurmctld"]
    assert script("restart-controller", "--folder", cluster.folder).returncode == 0
    assert cluster.status()["pids"]["slurmctld"] != former
    assert state(cluster, job) == "RUNNING"
    call(cluster, "scancel", job)
    await_state(cluster, job, "CANCELLED")


def test_a_killed_node_loses_its_jobs_and_comes_back(cluster):
    job = submit(cluster, "setsid sleep 301 & touch begun; srun sleep 300", "--nodelist=node2")
    # Slurm calls a job running before there is a process of it.
    await_file(cluster.folder / "begun")
    killed = cluster.kill_node("node2")
    left, status = cluster._job_processes("node2"), cluster.status()
    # Other tests use this node, whatever came of this one.
    assert cluster.start_node("node2")
    assert not cluster.start_node("node2")
    # Those of slurmd, slurmstepd, the job's shell, and what it detached.
    assert killed >= 4
    assert left == set() and not status["running"]
    assert cluster.status()["running"]
    await_state(cluster, job, "NODE_FAIL")
    assert call(cluster, "srun", "--nodelist=node2", "sh", "-c", "echo $SLURMD_NODENAME") == "node2"


def test_starting_twice_is_fine_and_other_settings_are_refused(cluster):
    again = script("start", "--accounting", "--folder", cluster.folder)
    assert again.returncode == 0 and "runs already" in again.stdout
    other = script("start", "--accounting", "--set", "MinJobAge=30", "--folder", cluster.folder)
    assert other.returncode == 1
    assert "--set MinJobAge=30" in other.stderr and f"stop --folder {cluster.folder}" in other.stderr


def test_two_clusters_run_beside_each_other_and_one_survives_a_crash(cluster, short_folder):
    folder = short_folder / "other"
    other = module.SlurmCluster(folder)
    try:
        assert script("start", "--set", "MinJobAge=30", "KillWait=1", "--folder", folder).returncode == 0
        assert "MinJobAge               = 30 sec" in call(other, "scontrol", "show", "config")
        job = submit(other, "sleep 300")
        await_state(other, job, "RUNNING")
        for pid in json.loads((folder / "cluster.json").read_text())["pids"].values():
            os.kill(pid, signal.SIGKILL)
        assert script("status", "--folder", folder).returncode == 3
        assert script("start", "--folder", folder).returncode == 0
        assert not other._job_processes("node1") | other._job_processes("node2")
        shown = script("env", "--folder", folder).stdout
        shell = subprocess.run(
            ["sh", "-ec", f"{shown}\nsrun hostname >/dev/null; echo $SLURM_CONF"], capture_output=True
        )
        assert shell.stdout.decode().strip() == f"{folder}/slurm.conf"
    finally:
        assert "is stopped" in script("stop", "--folder", folder).stdout
    assert "did not run" in script("stop", "--folder", folder).stdout
    assert cluster.status()["running"]


def test_a_job_ends_with_its_time(cluster, late_job):
    await_state(cluster, late_job, "TIMEOUT")


def test_a_long_path_is_refused(tmp_path):
    with pytest.raises(module.ClusterError, match="Unix sockets"):
        module.SlurmCluster(tmp_path / ("x" * 80)).start()


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "SYSTEM_FOLDERS", ())
    with pytest.raises(module.ClusterError, match=r"munged, slurmctld.*apt-get install .*munge slurm-wlm"):
        module.find_programs(accounting=False)
    with pytest.raises(module.ClusterError, match="mariadb-server slurmdbd"):
        module.find_programs(accounting=True)


def test_a_daemon_that_does_not_come_up_shows_its_log(short_folder):
    cluster = module.SlurmCluster(short_folder / "broken")
    with pytest.raises(module.ClusterError, match=r"slurmctld ended(.|\n)*unrecognized key: nosuchkey"):
        cluster.start(settings={"NoSuchKey": "1"})
    assert cluster.status()["pids"] == {}


def test_the_command_line_says_what_is_wrong(tmp_path):
    for arguments, said in (
        (["start", "--set", "MinJobAge"], "is not KEY=VALUE"),
        (["start", "--set", "NodeName=x"], "NodeName"),
        (["kill-node", "node3"], "node3"),
        (["env"], "no cluster is in"),
        (["start-node", "node1"], "no cluster is in"),
    ):
        done = script(*arguments, "--folder", tmp_path / "none")
        assert done.returncode in (1, 2) and said in done.stderr
