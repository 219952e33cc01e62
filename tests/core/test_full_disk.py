"""A disk that is full: every way of writing says so, names the file, and leaves nothing."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tfbind.core.files import atomic_dir, atomic_path, new_array, write_json
from tfbind.core.tensors import save_tensors
from tfbind.genome.bigwig import write_bigwig

ROOM = 1 << 18


def array_in_folder(path):
    with atomic_dir(path) as folder:
        np.save(folder / "a.npy", np.ones(ROOM))


def mapped(path):
    with atomic_path(path) as temporary:
        new_array(temporary, np.float16, (ROOM, 8))[:] = 1


def track(path):
    rng = np.random.default_rng(1)
    sizes = {"chr1": 10_000, "chr2": 10 * ROOM}
    write_bigwig(path, sizes, ((chrom, rng.random(size // 10)) for chrom, size in sizes.items()), 10)


def weights(path):
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        save_file({"a": torch.ones(ROOM)}, temporary)


WRITERS = {
    "json": lambda path: write_json(path, "x" * 2 * ROOM),
    "folder": array_in_folder,
    "mapped.npy": mapped,
    "track.bw": track,
    "weights.safetensors": weights,
    "embedding.safetensors": lambda path: save_tensors(path, {"a": np.ones(ROOM)}, {}),
}


@pytest.fixture
def small_disk(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs a small disk, and may not mount one: {mounted.stderr.decode().strip()}")
    yield disk
    # Lazily: what a failed test holds open keeps it busy.
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_and_nothing_is_left(small_disk, name):
    with pytest.raises(OSError) as caught:
        WRITERS[name](small_disk / name)
    assert caught.value.errno == errno.ENOSPC
    assert Path(caught.value.filename).name.strip(".").startswith(name.partition(".")[0])
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_where_there_is_room_it_is_written(tmp_path, name):
    WRITERS[name](tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "x"):
        1 / 0  # noqa: B018
