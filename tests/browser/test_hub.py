"""The track hub: what UCSC's specification asks for is there, and every address in it leads to a file."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pyBigWig
import pytest

from tfbind.browser.hub import write_hub

# https://genome.ucsc.edu/goldenPath/help/trackDb/trackDbHub.html
HUB = {"hub", "shortLabel", "longLabel", "genomesFile", "email"}
ASSEMBLY = {
    "genome",
    "trackDb",
    "twoBitPath",
    "organism",
    "defaultPos",
    "description",
    "scientificName",
    "orderKey",
}
TRACK = {"track", "shortLabel", "longLabel"}
VISIBILITIES = {"hide", "dense", "squish", "pack", "full"}


def stanzas(path: Path) -> list[dict[str, str]]:
    """The stanzas of a file: blocks of lines `key value`, with a blank line between."""
    found = []
    for block in re.split(r"\n\s*\n", path.read_text().strip()):
        pairs = [line.split(" ", 1) for line in block.splitlines()]
        assert all(len(pair) == 2 and pair[1] == pair[1].strip() != "" for pair in pairs), block
        assert len(dict(pairs)) == len(pairs), block
        found.append(dict(pairs))
    return found


@pytest.fixture
def tracks(run):
    return stanzas(run / "browser/trackDb.txt")


def test_the_hub_names_its_genome_and_the_genome_its_files(run):
    folder = run / "browser"
    (hub,) = stanzas(folder / "hub.txt")
    assert set(hub) >= HUB and len(hub["shortLabel"]) <= 17 and len(hub["longLabel"]) <= 80
    (genome,) = stanzas(folder / hub["genomesFile"])
    assert set(genome) >= ASSEMBLY
    for key in ("trackDb", "twoBitPath", "chromSizes"):
        assert (folder / genome[key]).is_file(), key
    sizes = dict(line.split("\t") for line in (folder / genome["chromSizes"]).read_text().splitlines())
    chrom, start, end = re.fullmatch(r"(\w+):(\d+)-(\d+)", genome["defaultPos"]).groups()
    assert 1 <= int(start) < int(end) <= int(sizes[chrom])


def test_every_track_is_whole(run, tracks):
    names = [each["track"] for each in tracks]
    assert len(set(names)) == len(names)
    known: dict[str, dict[str, str]] = {}
    files = 0
    for each in tracks:
        assert set(each) >= TRACK
        assert re.fullmatch(r"[A-Za-z]\w*", each["track"], re.ASCII)
        assert len(each["shortLabel"]) <= 17 and len(each["longLabel"]) <= 80
        assert each.get("visibility", "hide") in VISIBILITIES
        if "parent" in each:
            parent, *state = each["parent"].split()
            assert parent in known, "a group stands before what is in it"
            assert known[parent].get("superTrack") or known[parent]["compositeTrack"] == "on"
            # A composite holds one type, and tracks alone.
            if "compositeTrack" in known[parent]:
                assert each["type"] == known[parent]["type"] and state in (["on"], ["off"])
        if "superTrack" not in each and "compositeTrack" not in each:
            files += 1
            check_file(run / "browser" / each["bigDataUrl"], each["type"])
        known[each["track"]] = each
    assert files == len(list(run.glob("tracks/*/*.bw"))) + len(list(run.glob("accessibility/*.bw"))) + len(
        list((run / "browser").rglob("*.bb"))
    )


def check_file(path: Path, kind: str) -> None:
    assert path.is_file(), path
    with pyBigWig.open(str(path)) as handle:
        assert handle.isBigWig() == kind.startswith("bigWig")
    if kind.startswith("bigBed"):
        columns, defined = struct.unpack_from("<2H", path.read_bytes(), 32)
        assert columns == defined == int(kind.split()[1])


def test_only_what_the_page_shows_first_is_on(run, tracks):
    start = json.loads((run / "browser/tracks.json").read_text())["start"]["tracks"]
    on = {each["longLabel"] for each in tracks if each.get("parent", "").endswith(" on")}
    predicted = {text for text in on if "predicted binding" in text}
    assert predicted == {f"{each['factor']}: predicted binding in {each['cell_type']}" for each in start}


def test_names_that_come_out_alike_stay_apart(run, tmp_path):
    about = json.loads((run / "browser/tracks.json").read_text())
    for cell_type, name in zip(about["cell_types"], ("7-X", "7+X", "7.X"), strict=True):
        cell_type["name"] = name
    for each in about["experiments"]:
        each["cell_type"] = "7-X"
    write_hub(about, tmp_path)
    names = [each["track"] for each in stanzas(tmp_path / "trackDb.txt")]
    assert len(set(names)) == len(names)
    assert {"t_7_X", "t_7_X_2", "t_7_X_3"} <= set(names)
