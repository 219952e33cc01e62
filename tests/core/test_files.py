from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfbind.core.files import (
    atomic_dir,
    atomic_path,
    new_rows,
    read_json,
    rows_of,
    sha256_bytes,
    sha256_file,
    sha256_json,
    write_json,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["track.bw", "table.tsv.gz", "plain", "a b.txt"])
def test_a_file_appears_when_it_is_whole(tmp_path, name):
    final = tmp_path / "deep" / "folder" / name
    with atomic_path(final) as temporary:
        assert temporary.parent == final.parent
        assert temporary.name.endswith(final.suffix), "some writers choose a format by it"
        temporary.write_text("half")
        assert not final.exists()
        temporary.write_text("whole")
    assert final.read_text() == "whole"
    assert names(final.parent) == [name]


def test_an_error_leaves_the_former_file_and_nothing_else(tmp_path):
    final = tmp_path / "file.txt"
    for former in (None, "former"):
        if former:
            final.write_text(former)
        with pytest.raises(RuntimeError, match="no"), atomic_path(final) as temporary:
            temporary.write_text("half")
            raise RuntimeError("no")
        assert names(tmp_path) == (["file.txt"] if former else [])
    assert final.read_text() == "former"
    with pytest.raises(KeyboardInterrupt), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert final.read_text() == "former"
    assert names(tmp_path) == ["file.txt"]


def test_a_file_is_replaced_whole(tmp_path):
    final = tmp_path / "file.txt"
    final.write_text("a long former content")
    with atomic_path(final) as temporary:
        temporary.write_text("new")
        assert final.read_text() == "a long former content"
    assert final.read_text() == "new"
    assert names(tmp_path) == ["file.txt"]


def test_a_folder_appears_when_it_is_whole_and_replaces_the_former_one(tmp_path):
    final = tmp_path / "deep" / "out"
    with atomic_dir(final) as temporary:
        (temporary / "one").write_text("1")
        (temporary / "old").write_text("old")
        assert not final.exists()
    assert names(final) == ["old", "one"]
    with atomic_dir(final) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "two").write_text("2")
        assert names(final) == ["old", "one"]
    assert names(final) == ["sub"], "nothing of the former folder stays"
    assert names(final.parent) == ["out"]


def test_an_error_leaves_the_former_folder_and_nothing_else(tmp_path):
    final = tmp_path / "out"
    for former in (False, True):
        if former:
            final.mkdir()
            (final / "former").write_text("1")
        with pytest.raises(RuntimeError), atomic_dir(final) as temporary:
            (temporary / "half").write_text("half")
            raise RuntimeError
        assert names(tmp_path) == (["out"] if former else [])
    assert names(final) == ["former"]


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path):
    script = (
        "import sys, time\n"
        "from tfbind.core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); print('written', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    final = tmp_path / "file.txt"
    with subprocess.Popen(
        [sys.executable, "-c", script, final], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert not final.exists() and len(names(tmp_path)) == 1
    with atomic_path(final) as temporary:
        temporary.write_text("whole")
    assert final.read_text() == "whole"
    assert names(tmp_path) == ["file.txt"], "the next writer clears away what the killed one left"


def test_what_a_killed_writer_left_of_a_folder_is_cleared_away(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from tfbind.core.files import atomic_dir\n"
        "with atomic_dir(sys.argv[1]) as temporary:\n"
        "    (temporary / 'half').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run([sys.executable, "-c", script, tmp_path / "out"], env=environment, check=False)
    assert len(names(tmp_path)) == 1 and not (tmp_path / "out").exists()
    with atomic_dir(tmp_path / "out") as first, atomic_path(tmp_path / "out.txt") as other:
        other.write_text("1")
        (first / "whole").write_text("whole")
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == ["out", "out.txt"]


def test_what_a_living_writer_writes_stays(tmp_path):
    script = (
        "import sys\n"
        "from tfbind.core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('theirs'); print('written', flush=True); sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    final = tmp_path / "file.txt"
    command = [sys.executable, "-c", script, final]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout.readline() == b"written\n"
        with atomic_path(final) as temporary:
            temporary.write_text("ours")
        assert final.read_text() == "ours"
        process.stdin.close()
    assert process.returncode == 0 and final.read_text() == "theirs"


def test_json_comes_back_and_equal_values_are_equal_bytes(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"y": "ü", "x": True}}
    write_json(tmp_path / "one.json", value)
    assert read_json(tmp_path / "one.json") == value
    time.sleep(0.01)
    write_json(tmp_path / "two.json", {"a": {"x": True, "y": "ü"}, "b": [1, 2.5, None]})
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert sha256_json(value) == sha256_json(json.loads(json.dumps(value)))
    assert sha256_json(value) != sha256_json({**value, "c": 1})
    assert names(tmp_path) == ["one.json", "two.json"]


def test_checksums_are_those_of_sha256sum(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "data").write_bytes(data)
    assert sha256_file(tmp_path / "data") == sha256_bytes(data) == hashlib.sha256(data).hexdigest()
    assert sha256_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("shape", [(5, 3), (0, 3), (4,)])
def test_rows_make_the_file_that_numpy_would_write(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.float16).reshape(shape)
    np.save(tmp_path / "whole.npy", array)
    with new_rows(tmp_path / "rows.npy", np.float16, shape) as rows:
        rows.write(array[:2])
        rows.write(np.asfortranarray(array[2:]))
        assert rows.rows == len(array)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert rows.sha256 == sha256_bytes(array.tobytes())
    counts = [len(array[:2]), 0, len(array[2:])]
    found = list(rows_of(tmp_path / "rows.npy", counts))
    assert list(map(len, found)) == counts
    np.testing.assert_array_equal(np.concatenate(found), array)


def test_room_for_all_rows_is_taken_at_once(tmp_path):
    with new_rows(tmp_path / "a.npy", np.float16, (1000, 8)) as rows:
        assert (tmp_path / "a.npy").stat().st_size >= 16_000
        rows.write(np.zeros((1000, 8), np.float16))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (np.zeros((2, 2), np.float16), "2 rows were written, of 3"),
        (np.zeros((3, 1), np.float16), "rows are float16"),
        (np.zeros((3, 2)), "rows are float64"),
    ],
)
def test_rows_that_are_missing_or_of_another_kind_are_refused(tmp_path, rows, told):
    path = tmp_path / "a.npy"
    with pytest.raises(ValueError, match=told), new_rows(path, np.float16, (3, 2)) as written:
        written.write(rows)
