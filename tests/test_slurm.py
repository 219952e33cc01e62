"""What needs no Slurm; tests/workflow/test_slurm.py has the rest, on a real cluster."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tfbind.core.errors import InputError
from tfbind.slurm import cancel_leftovers, forget_run, lock_hint, record_run, run_id


def write_locks(folder: Path, *outputs: str) -> Path:
    locks = folder / "locks"
    locks.mkdir()
    (locks / "0.input.lock").write_text("results/mine/reference\n")
    (locks / "0.output.lock").write_text("\n".join(outputs) + "\n")
    return locks


def test_the_id_of_a_run_is_in_its_log(tmp_path):
    other, log = tmp_path / "other.log", tmp_path / "run.log"
    other.write_text("Using shell: /bin/bash\n")
    log.write_text("Building DAG of jobs...\nSLURM run ID: 3f2a-77\nUsing shell: /bin/bash\n")
    assert run_id([other, log]) == "3f2a-77"
    assert run_id([other]) is None and run_id([]) is None


def test_without_a_record_there_is_nothing_left(tmp_path):
    cancel_leftovers(tmp_path / "none.json")
    forget_run(tmp_path / "none.json")


def test_a_run_of_a_living_snakemake_is_left_alone(tmp_path):
    record = tmp_path / "run.json"
    code = "import sys; print('here', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, "snakemake"], **pipes) as other:
        assert other.stdout.readline() == b"here\n"
        record.write_text(json.dumps({"run": "x", "host": socket.gethostname(), "process": other.pid}))
        with pytest.raises(InputError, match=f"as process {other.pid}"):
            cancel_leftovers(record)
        other.stdin.close()


def fake_squeue(folder: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's answer, where there is no Slurm."""
    (folder / "bin").mkdir()
    script = folder / "bin/squeue"
    script.write_text(f"#!/bin/sh\necho '{output}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def test_jobs_of_a_run_that_may_be_alive_elsewhere_are_left_alone(tmp_path, monkeypatch):
    record = tmp_path / "run.json"
    record.write_text(json.dumps({"run": "3f2a-77", "host": "login1", "process": 12}))
    fake_squeue(tmp_path, "41|RUNNING|rule_train", monkeypatch)
    with pytest.raises(InputError, match="started on login1") as caught:
        cancel_leftovers(record)
    assert "41 (rule_train, running)" in str(caught.value) and "scancel --name 3f2a-77" in caught.value.mend
    assert record.is_file()


def test_a_run_elsewhere_that_has_no_jobs_left_is_forgotten(tmp_path, monkeypatch):
    record = tmp_path / "run.json"
    record.write_text(json.dumps({"run": "3f2a-77", "host": "login1", "process": 12}))
    fake_squeue(tmp_path, "", monkeypatch)
    cancel_leftovers(record)
    assert not record.exists()


def test_where_slurm_cannot_be_asked_a_recorded_run_is_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    record_run(tmp_path / "run.json", "3f2a-77")
    with pytest.raises(InputError, match="without squeue") as caught:
        cancel_leftovers(tmp_path / "run.json")
    assert caught.value.file == tmp_path / "run.json"


def test_a_record_says_who_runs(tmp_path):
    record_run(tmp_path / "run.json", "3f2a-77")
    expected = {"run": "3f2a-77", "host": socket.gethostname(), "process": os.getpid()}
    assert json.loads((tmp_path / "run.json").read_text()) == expected
    forget_run(tmp_path / "run.json")
    assert not list(tmp_path.iterdir())


def test_a_lock_is_told_with_what_to_type(tmp_path):
    locks = write_locks(tmp_path, "results/mine/model", "results/mine/evaluation")
    typed = "snakemake --config 'name=a b'"
    hint = lock_hint(locks, "results/mine", ["snakemake", "--config", "name=a b"])
    assert hint.startswith("results/mine is locked")
    assert hint.splitlines()[-2:] == [f"    {typed} --unlock", f"    {typed}"]


def test_the_lock_of_another_run_is_none_of_ours(tmp_path):
    locks = write_locks(tmp_path, "results/mine2/model", "resources/downloads/x")
    assert lock_hint(locks, "results/mine", ["snakemake"]) is None
    assert lock_hint(tmp_path / "none", "results/mine", ["snakemake"]) is None
