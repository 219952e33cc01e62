from __future__ import annotations

import io
import re

import pytest

from tfbind.core import progress
from tfbind.core.progress import Progress


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
