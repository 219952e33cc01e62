"""Batches of factors: every factor is in one, and laid together they are the folder that one job would make."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import chain

import pytest

from tfbind.core.errors import InputError
from tfbind.prediction.gather import ENDINGS, SHARED, factor_batches, gather

NAMES = ["TF1", "TF.2", "TF3"]
ABOUT = {
    "cell_type": "CT1",
    "context": {"description": "tiny"},
    "model": "m",
    "genome": "g",
    "genome_embedding": "e",
    "bin": 64,
}


def write_track(folder, factor, **changes):
    folder.mkdir(exist_ok=True)
    (folder / f"{factor}.bw").write_bytes(f"values of {factor}".encode())
    (folder / f"{factor}.narrowPeak").write_text("")
    (folder / f"{factor}.json").write_text(json.dumps({**ABOUT, **changes, "factor": factor}))


@pytest.fixture
def batches(tmp_path):
    """TF1 and TF.2 in one batch, TF3 in another, as Snakemake leaves them."""
    folders = [tmp_path / "batches/0", tmp_path / "batches/1"]
    folders[0].parent.mkdir()
    for folder, names in zip(folders, (NAMES[:2], NAMES[2:]), strict=True):
        for name in names:
            write_track(folder, name)
        (folder / ".snakemake_timestamp").touch()
    return folders


def files(*folders):
    return {path.name: path.read_bytes() for folder in folders for path in sorted(folder.glob("[!.]*"))}


def refused(batches, tmp_path, *said, names=NAMES):
    before = files(*(batch for batch in batches if batch.is_dir()))
    with pytest.raises(InputError) as caught:
        gather(batches, names, tmp_path / "CT1")
    for fragment in said:
        assert fragment in str(caught.value)
    assert caught.value.mend
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batches"]
    assert files(*(batch for batch in batches if batch.is_dir())) == before


@pytest.mark.parametrize(("count", "size"), [(1, 1), (5, 2), (6, 2), (1000, 256), (3, 100)])
def test_every_factor_is_in_one_batch_in_order(count, size):
    names = [f"TF{number}" for number in range(count)]
    made = factor_batches(names, size)
    assert list(chain(*made)) == names
    assert {len(batch) for batch in made[:-1]} <= {size} and 0 < len(made[-1]) <= size


def test_batches_are_laid_together_by_links_and_stay(batches, tmp_path):
    before = files(*batches)
    gather(batches, NAMES, tmp_path / "CT1")
    assert files(tmp_path / "CT1") == files(*batches) == before
    assert set(before) == {f"{name}{ending}" for name in NAMES for ending in ENDINGS}
    for batch in batches:
        for path in batch.glob("[!.]*"):
            assert path.samefile(tmp_path / "CT1" / path.name)
    assert not (tmp_path / "CT1/.snakemake_timestamp").exists()


def test_names_that_end_in_letters_of_an_ending_stay_whole(tmp_path):
    """Of `SNOB.bw`, stripping the letters of `.bw` from the right would leave `SNO`."""
    names = ["SNOB", "snob", "w.b", "JSON", "son.json", "nark.narrowPeak", "narrowPeak"]
    for name in names:
        write_track(tmp_path / "batch", name)
    gather([tmp_path / "batch"], names, tmp_path / "CT1")
    assert files(tmp_path / "CT1") == files(tmp_path / "batch")
    assert len(files(tmp_path / "CT1")) == 3 * len(names)


def test_the_links_outlive_the_batches(batches, tmp_path):
    before = files(*batches)
    gather(batches, NAMES, tmp_path / "CT1")
    for batch in batches:
        for path in batch.iterdir():
            path.unlink()
    assert files(tmp_path / "CT1") == before


def test_where_there_are_no_hard_links_files_are_copied(batches, tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    gather(batches, NAMES, tmp_path / "CT1")
    assert files(tmp_path / "CT1") == files(*batches)
    assert not (tmp_path / "CT1/TF1.bw").samefile(batches[0] / "TF1.bw")


def test_a_folder_that_was_there_is_replaced(batches, tmp_path):
    write_track(tmp_path / "CT1", "FORMER")
    gather(batches, NAMES, tmp_path / "CT1")
    assert files(tmp_path / "CT1") == files(*batches)


def test_killed_in_the_middle_it_leaves_the_batches_whole_and_works_again(batches, tmp_path):
    before = files(*batches)
    code = (
        "import os, signal, sys\n"
        "from tfbind.prediction import gather\n"
        "link, done = os.link, []\n"
        "def slow(*paths):\n"
        "    if len(done) == 4:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    done.append(link(*paths))\n"
        "os.link = slow\n"
        f"gather.gather(sys.argv[2:], {NAMES!r}, sys.argv[1])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "CT1", *batches])
    assert killed.returncode == -signal.SIGKILL
    (half,) = tmp_path.glob(".CT1.*.tmp")
    assert len(list(half.iterdir())) == 4 and not (tmp_path / "CT1").exists()
    assert files(*batches) == before

    gather(batches, NAMES, tmp_path / "CT1")
    assert files(tmp_path / "CT1") == before
    assert not list(tmp_path.glob(".CT1.*"))


# --- refused --------------------------------------------------------------------------------------------------


def test_a_batch_that_is_not_there_is_refused(batches, tmp_path):
    nowhere = batches[0].with_name("2")
    refused([*batches, nowhere], tmp_path, f"{nowhere}: there is no such batch")


def test_a_factor_that_is_missing_is_refused(batches, tmp_path):
    refused(batches[:1], tmp_path, "'prediction.factors_per_job': factor TF3 is in none of the batches")


def test_a_factor_that_stands_twice_is_refused(batches, tmp_path):
    write_track(batches[1], "TF.2")
    refused(
        batches, tmp_path, f"{batches[1]}/TF.2.bw, key", "factor TF.2 stands twice; first in", str(batches[0])
    )


def test_a_batch_that_is_given_twice_is_refused(batches, tmp_path):
    refused([*batches, batches[0]], tmp_path, f"factor TF.2 stands twice; first in {batches[0]}")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_is_missing_is_refused(batches, tmp_path, ending):
    (batches[0] / f"TF.2{ending}").unlink()
    refused(batches, tmp_path, f"{batches[0]}/TF.2{ending}: is missing", "tfbind render")


def test_a_factor_that_is_not_rendered_is_refused(batches, tmp_path):
    refused(batches, tmp_path, f"{batches[1]}/TF3.bw", "none of the factors", names=NAMES[:2])


def test_a_file_that_is_no_track_is_refused(batches, tmp_path):
    (batches[0] / "TF1.bed").write_text("")
    refused(batches, tmp_path, f"{batches[0]}/TF1.bed", "none of the factors")


@pytest.mark.parametrize("key", SHARED)
def test_tracks_made_with_something_else_are_refused(batches, tmp_path, key):
    other = {"regions": [["chr1", 0, 640]], "factor": []} if key == "known_binding" else "other"
    write_track(batches[1], "TF3", **{key: other})
    refused(batches, tmp_path, f"{batches[1]}/TF3.json: was made with another {key} than {batches[0]}/TF1.json")


def test_tracks_of_a_region_do_not_go_with_those_of_the_whole_genome(batches, tmp_path):
    write_track(batches[0], "TF1", region=None)
    write_track(batches[1], "TF3", region="chr2:1-640")
    refused(
        batches, tmp_path, f"{batches[1]}/TF3.json: was made with another region than", "chr2:1-640", "region"
    )


def test_tracks_of_one_region_are_laid_together(batches, tmp_path):
    for folder, name in ((batches[0], "TF1"), (batches[0], "TF.2"), (batches[1], "TF3")):
        write_track(folder, name, region="chr2:1-640")
    gather(batches, NAMES, tmp_path / "CT1")


def test_tracks_that_count_other_experiments_in_the_same_regions_are_laid_together(batches, tmp_path):
    for folder, name in ((batches[0], "TF1"), (batches[0], "TF.2"), (batches[1], "TF3")):
        write_track(folder, name, known_binding={"regions": [["chr1", 0, 640]], "factor": [f"{name}.A"]})
    gather(batches, NAMES, tmp_path / "CT1")


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_provenance_is_refused(batches, tmp_path, text):
    (batches[1] / "TF3.json").write_text(text)
    refused(batches, tmp_path, f"{batches[1]}/TF3.json: is no provenance of a track")


# --- rendered -------------------------------------------------------------------------------------------------


def test_tracks_say_of_themselves_what_is_compared(rendered):
    _, folder = rendered
    for path in folder.glob("*.json"):
        assert set(SHARED) <= set(json.loads(path.read_text()))


def test_batches_of_the_groups_that_are_rendered_at_once_give_the_same_bytes(rendered, tmp_path, monkeypatch):
    from tfbind.prediction import render

    opened, _ = rendered
    monkeypatch.setattr(render, "TRACKS_AT_ONCE", 2)
    whole = opened.render(tmp_path / "whole")
    names = opened.factor_set.names
    made = [
        opened.render(tmp_path / f"batch{number}", batch) for number, batch in enumerate(factor_batches(names, 4))
    ]
    gather(made, names, tmp_path / "CT1")
    assert len(made) == 2 and files(tmp_path / "CT1") == files(whole)
