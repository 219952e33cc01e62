from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import termios

import pytest

from tfbind.core import progress
from tfbind.core.progress import Progress, close_bars, told


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when they are told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_plain_line_now_and_then_and_a_last_one(clock):
    out = io.StringIO()
    with Progress("training", 1280, unit="steps", stream=out) as bar:
        for step in range(1280):
            clock[0] += 0.0625
            bar.advance(note=f"loss {step}")
    lines = out.getvalue().splitlines()
    assert lines[0] == "training: 160/1,280 steps, 16 steps/s, 70 s left, loss 159"
    assert len(lines) == 9
    assert lines[-1] == "training: 1,280/1,280 steps, 16 steps/s, took 80 s, loss 1279"


@pytest.mark.parametrize(
    ("seconds", "left"), [(599, "599 s"), (600, "10 min"), (3599, "1 h 0 min"), (41_000, "11 h 23 min")]
)
def test_time_left_is_told_in_units_that_can_be_read(clock, seconds, left):
    out = io.StringIO()
    with Progress("embedding the genome", 100 * (seconds + 10), unit="bp", stream=out) as bar:
        clock[0] += 10
        bar.advance(1000)
    assert out.getvalue().splitlines()[0].endswith(f"100 bp/s, {left} left")


def test_short_work_is_told_in_one_line(clock):
    out = io.StringIO()
    with Progress("downloading", 2, unit="files", stream=out) as bar:
        clock[0] += 1
        bar.advance(note="a")
        bar.advance()
    assert out.getvalue() == "downloading: 2/2 files, 2 files/s, took 1 s\n"


def test_what_was_done_before_does_not_count_for_the_rate(clock):
    out = io.StringIO()
    with Progress("training", 200, unit="steps", start=100, stream=out) as bar:
        clock[0] += 20
        bar.advance(50)
        clock[0] += 20
        bar.advance(50)
    first, *_, last = out.getvalue().splitlines()
    assert first == "training: 150/200 steps, 2.5 steps/s, 20 s left"
    assert last == "training: 200/200 steps, 2.5 steps/s, took 40 s"


def test_work_that_ends_early_has_no_time_left(clock):
    out = io.StringIO()
    with Progress("training", 2000, unit="steps", start=600, stream=out):
        pass
    with Progress("training", 2000, unit="steps", stream=out) as bar:
        clock[0] += 5
        bar.advance(10)
    assert "left" not in out.getvalue()
    assert "inf" not in out.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_to_do_is_no_error(stream):
    out = stream()
    with Progress("embedding", 0, unit="bp", stream=out):
        pass
    assert "0/0" in out.getvalue()


def test_an_error_gets_no_last_line():
    out = io.StringIO()
    with pytest.raises(RuntimeError), Progress("training", 5, unit="steps", stream=out):
        raise RuntimeError
    assert out.getvalue() == ""


def test_a_terminal_gets_a_bar_with_count_rate_and_note():
    out = Terminal()
    with Progress("rendering K562 [a]", 30, unit="tracks", stream=out) as bar:
        for _ in range(30):
            bar.advance(note="loss [0.5]")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "rendering K562 [a]" in text
    assert "30/30" in text
    assert "tracks/s" in text
    assert "loss [0.5]" in text, "brackets are text and no markup"


def test_a_bar_is_taken_down_when_work_fails():
    out = Terminal()
    with pytest.raises(RuntimeError), Progress("training", 5, unit="steps", stream=out) as bar:
        bar.advance()
        raise RuntimeError
    with Progress("again", 1, unit="steps", stream=out) as bar:
        bar.advance()
    assert "1/1" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_work_whose_end_is_unknown_is_counted(clock):
    out = io.StringIO()
    with Progress("reading", None, unit="rows", stream=out) as bar:
        clock[0] += 20
        bar.advance(4000)
    assert out.getvalue().splitlines() == [
        "reading: 4,000 rows, 200 rows/s",
        "reading: 4,000 rows, 200 rows/s, took 20 s",
    ]
    terminal = Terminal()
    with Progress("reading", None, unit="rows", stream=terminal) as bar:
        bar.advance(4000)
    assert "4000/?" in plain(terminal.getvalue())


def test_brief_work_leaves_no_trace_in_a_log(clock, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress.sys, "stderr", out)
    assert list(told("abc", "reading", 3, unit="letters")) == ["a", "b", "c"]
    assert out.getvalue() == ""
    for _ in told([10, 30, 60], "reading", 100, unit="bp", amount=int):
        clock[0] += 6
    assert out.getvalue().splitlines() == [
        "reading: 40/100 bp, 3.33 bp/s, 18 s left",
        "reading: 100/100 bp, 5.56 bp/s, took 18 s",
    ]


def test_work_within_work_has_no_bar_of_its_own(clock):
    out, inner = Terminal(), Terminal()
    with Progress("outer", 2, unit="steps", stream=out) as bar:
        with Progress("inner", 2, unit="files", stream=inner) as within:
            clock[0] += 20
            within.advance(2)
        bar.advance(2)
    assert inner.getvalue().splitlines()[0] == "inner: 2/2 files, 0.1 files/s"
    assert "outer" in plain(out.getvalue())


def test_a_bar_that_failed_work_left_behind_is_taken_down():
    out = Terminal()
    left = Progress("left", 2, unit="steps", stream=out)
    left.__enter__()
    close_bars()
    again = Terminal()
    with Progress("again", 1, unit="steps", stream=again) as bar:
        bar.advance()
    assert "1/1" in plain(again.getvalue())


WORK = """
import time
from tfbind.core.progress import told
for number in told(range(1000), "counting", 1000, unit="steps"):
    if number == {fail}:
        raise RuntimeError("broken")
    print("at", number, flush=True) if number == 3 else None
    time.sleep(0 if number < 3 else {seconds})
"""


def in_a_terminal(seconds: float, fail: int = -1, stop: int | None = None) -> tuple[int, str, bool]:
    """Exit status, what a terminal is sent, and whether its settings are as they were."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    work = WORK.format(seconds=seconds, fail=fail)
    process = subprocess.Popen([sys.executable, "-c", work], stdin=slave, stdout=slave, stderr=slave)
    text = b""
    while b"at 3" not in text:
        text += os.read(master, 1 << 16)
    if stop is not None:
        process.send_signal(stop)
    same = False
    while process.poll() is None:
        text += _read(master)
    text += _read(master)
    same = termios.tcgetattr(slave) == before
    os.close(slave)
    os.close(master)
    return process.returncode, text.decode(), same


def _read(master: int) -> bytes:
    import select

    ready, _, _ = select.select([master], [], [], 0.1)
    return os.read(master, 1 << 16) if ready else b""


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"seconds": 0}, 0),
        ({"seconds": 0, "fail": 500}, 1),
        ({"seconds": 0.2, "stop": signal.SIGINT}, -signal.SIGINT),
        ({"seconds": 0.2, "stop": signal.SIGTERM}, -signal.SIGTERM),
    ],
    ids=["done", "failed", "Ctrl-C", "killed"],
)
def test_a_terminal_is_left_as_it_was(options, status):
    """The cursor is seen, whatever ended the work; no settings are changed."""
    code, text, same = in_a_terminal(**options)
    assert code == status and same
    assert "counting" in plain(text) and "at 3" in plain(text)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
