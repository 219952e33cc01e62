"""The same tracks as a track hub, for the UCSC Genome Browser and IGV.

The genome comes with it (an assembly hub), since the run's own reference need not be one that a browser has. The
tracks of a cell type stand together; those that the page shows first are on, all others are there to be chosen.

The format: https://genome.ucsc.edu/goldenPath/help/hgTrackHubHelp.html and hubQuickStartAssembly.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

Stanza = Mapping[str, Any]

# As on the page: page.css and page.js.
BLUE, ORANGE, GREY = "0,114,178", "213,94,0", "100,100,100"
_KINDS = {"predicted": "predicted binding", "predicted_calls": "predicted calls", "measured": "measured calls"}
# So long may UCSC's names be.
_SHORT, _LONG = 17, 76


def write_hub(about: Mapping[str, Any], folder: Path) -> None:
    """Write `hub.txt`, `genomes.txt` and `trackDb.txt`.

    Parameters
    ----------
    about
        What there is to see, as `tracks.json` says it.
    """
    run = about["run"]
    hub = {
        "hub": _name(run),
        "shortLabel": f"{run}"[:_SHORT],
        "longLabel": f"Transcription factor binding in {run}, predicted by tfbind"[:_LONG],
        "genomesFile": "genomes.txt",
        # The format asks for one. This address goes nowhere, by RFC 2606.
        "email": "nobody@example.invalid",
    }
    genome = {
        "genome": _name(run),
        "trackDb": "trackDb.txt",
        "twoBitPath": about["genome"]["sequence"],
        "chromSizes": about["genome"]["sizes"],
        "organism": run,
        "description": f"the reference of {run}",
        "scientificName": run,
        "defaultPos": about["start"]["locus"],
        "orderKey": 1,
    }
    _write(folder / "hub.txt", [hub])
    _write(folder / "genomes.txt", [genome])
    _write(folder / "trackDb.txt", list(_tracks(about)))


def _write(path: Path, stanzas: list[Stanza]) -> None:
    blocks = ["".join(f"{key} {value}\n" for key, value in stanza.items()) for stanza in stanzas]
    path.write_text("\n".join(blocks), encoding="utf-8")


def _tracks(about: Mapping[str, Any]) -> Iterator[Stanza]:
    """Of each cell type a group (superTrack): its accessibility, and a composite of each kind of track."""
    names = _Names()
    first = {(each["factor"], each["cell_type"]) for each in about["start"]["tracks"]}
    if about["genes"]:
        yield {
            "track": names.of("genes"),
            "type": "bigBed 12",
            "bigDataUrl": about["genes"],
            "shortLabel": "genes",
            "longLabel": "Genes, the exons of all transcripts laid together",
            "visibility": "pack",
        }
    for cell_type in about["cell_types"]:
        name = cell_type["name"]
        shown = any(name == other for _, other in first)
        group = names.of(name)
        yield {
            "track": group,
            "superTrack": "on show" if shown else "on",
            "shortLabel": name[:_SHORT],
            "longLabel": f"{name}: {cell_type['description']}"[:_LONG].rstrip(": "),
        }
        if cell_type["accessibility"]:
            yield {
                "track": names.of(f"{name} accessibility"),
                "parent": group,
                "type": "bigWig",
                "bigDataUrl": cell_type["accessibility"],
                "shortLabel": "accessibility",
                "longLabel": f"Accessibility in {name} (genome mean 1)"[:_LONG],
                "visibility": "full" if shown else "hide",
                "color": GREY,
                "autoScale": "group",
                "maxHeightPixels": "100:40:8",
            }
        for kind in _KINDS:
            yield from _composite(about, cell_type, kind, group, names, first)


def _composite(
    about: Mapping[str, Any],
    cell_type: Mapping[str, Any],
    kind: str,
    group: str,
    names: _Names,
    first: set[tuple[str, str]],
) -> Iterator[Stanza]:
    """The tracks of a cell type of one kind; nothing if there are none."""
    files = list(_files(about, cell_type, kind))
    if not files:
        return
    name, what = cell_type["name"], _KINDS[kind]
    looks = {
        "predicted": {"type": "bigWig 0 1", "visibility": "full"},
        "predicted_calls": {"type": "bigBed 5", "visibility": "dense"},
        "measured": {"type": "bigBed 4", "visibility": "dense"},
    }[kind]
    composite = names.of(f"{name} {what}")
    shown = any(name == other for _, other in first)
    yield {
        "track": composite,
        "compositeTrack": "on",
        "parent": group,
        "shortLabel": what[:_SHORT],
        "longLabel": f"{what.capitalize()} in {name}"[:_LONG],
        "type": looks["type"],
        "visibility": looks["visibility"] if shown else "hide",
        "color": ORANGE if kind == "measured" else BLUE,
    }
    for factor, label, file in files:
        stanza = {
            "track": names.of(f"{name} {label} {what}"),
            "parent": f"{composite} {'on' if (factor, name) in first else 'off'}",
            "type": looks["type"],
            "bigDataUrl": file,
            "shortLabel": label[:_SHORT],
            "longLabel": f"{label}: {what} in {name}"[:_LONG],
            "color": ORANGE if kind == "measured" else BLUE,
        }
        if kind == "predicted":
            # Probabilities: one scale for all.
            stanza |= {"viewLimits": "0:1", "maxHeightPixels": "100:50:8"}
        yield stanza


def _files(about: Mapping[str, Any], cell_type: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str, str]]:
    """Factor, label and address of the files of a cell type."""
    if kind == "measured":
        for each in about["experiments"]:
            if each["cell_type"] == cell_type["name"]:
                yield each["factor"], each["name"].replace(f".{cell_type['name']}", "", 1), each["file"]
        return
    for factor, calls in zip(about["factors"], cell_type["predicted_calls"], strict=True):
        if calls or (calls == 0 and kind == "predicted"):
            name = factor["name"]
            yield name, name, about[kind].format(cell_type=cell_type["name"], factor=name)


class _Names:
    """Names of tracks: letters, digits and underscores, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, text: str) -> str:
        """A name for a track that none has yet."""
        base = _name(text)
        further = (f"{base}_{number}" for number in count(2))
        name = next(each for each in chain([base], further) if each not in self._taken)
        self._taken.add(name)
        return name


def _name(text: str) -> str:
    """A name that UCSC takes: it begins with a letter."""
    plain = re.sub(r"\W+", "_", text, flags=re.ASCII)
    return plain if plain[:1].isalpha() else f"t_{plain}"
