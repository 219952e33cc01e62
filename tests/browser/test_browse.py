"""`tfbind browse`, as a user starts and ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfbind.browser import browse
from tfbind.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_the_address_serves_and_ends_quietly(run, ending):
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "tfbind", "browse", str(run)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        address = process.stdout.readline().split()[-1]
        assert address.startswith("http://127.0.0.1:") and address.endswith("/browser/index.html")
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address, timeout=60) as answer:
            assert answer.read() == (run / "browser/index.html").read_bytes()
        process.send_signal(ending)
        _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, "")


def test_what_keeps_it_from_serving_is_told(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["browse", str(run), "--no-open", "--port", port])
    assert result.exit_code == 1 and f"port {port} is taken" in result.stderr and "mend: " in result.stderr
    result = CliRunner().invoke(main, ["browse", str(tmp_path)])
    assert result.exit_code == 1 and "has no browser/index.html" in result.stderr


def test_a_page_is_opened_where_there_is_a_desktop_alone(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not browse.has_desktop()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert browse.has_desktop()
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    assert not browse.has_desktop()
