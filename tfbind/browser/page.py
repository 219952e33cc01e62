"""The page with the genome browser: a folder beside the tracks, for any web server with range requests.

It holds what the tracks' folders do not: the genome (`genome.2bit`), the calls (`calls/`, bigBed), the list of
what there is to see (`tracks.json`), igv.js, and the track hub. The tracks themselves stay where they are.
"""

from __future__ import annotations

import json
import os
import shutil
from html import escape
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from tfbind.browser.hub import write_hub
from tfbind.browser.run import Run
from tfbind.browser.start import first_place, first_tracks
from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir
from tfbind.genome.bigbed import write_bigbed
from tfbind.genome.genes import all_genes
from tfbind.genome.twobit import write_two_bit

STATIC = ("page.js", "page.css", "igv.min.js", "igv.LICENSE.txt")
PREDICTED, MEASURED, GENES = "calls/predicted", "calls/measured", "genes.bb"


def write_page(run: Run, output: Path) -> dict[str, Any]:
    """Write the page's folder.

    Parameters
    ----------
    output
        Beside the folders of tracks and accessibility, or deeper: what serves the one serves the others.

    Returns
    -------
    What there is to see, as `tracks.json` says it. Addresses in it are relative to the folder.

    Raises
    ------
    InputError
        Tracks elsewhere than beside the page; a file of the run that is missing or damaged.
    """
    for folder in (run.tracks, run.accessibility):
        if not folder.resolve().is_relative_to(output.parent.resolve()):
            raise InputError(
                f"the page could not reach {folder}, which is not below {output.parent}",
                file=output,
                mend="make the page beside the tracks, such as results/NAME/browser",
            )
    with atomic_dir(output) as folder:
        write_two_bit(folder / "genome.2bit", run.reference)
        sizes = "".join(f"{chrom}\t{size}\n" for chrom, size in run.reference.sizes.items())
        (folder / "genome.sizes").write_text(sizes)
        _write_genes(run, folder / GENES)
        predicted, measured = _write_calls(run, folder)
        about = describe(run, output, predicted, measured)
        text = json.dumps(about, separators=(",", ":"))
        (folder / "tracks.json").write_text(text + "\n")
        for name in STATIC:
            with as_file(files("tfbind.browser") / "static" / name) as path:
                shutil.copyfile(path, folder / name)
        template = (files("tfbind.browser") / "static/index.html").read_text(encoding="utf-8")
        # A page that was opened from a disk may read no file beside it, so that the list stands in it, too.
        filled = template.replace("RUN_NAME", escape(about["run"])).replace(
            "TRACKS_JSON", text.replace("<", "\\u003c")
        )
        (folder / "index.html").write_text(filled, encoding="utf-8")
        write_hub(about, folder)
    return about


def _write_genes(run: Run, path: Path) -> None:
    """Write the genes, if there are any, as a bigBed of 12 columns: exons of all transcripts laid together."""
    if run.genes is None:
        return
    rows = []
    for chrom, gene in all_genes(run.genes, run.reference.names, run.reference.sizes, key="--genes"):
        start, end = int(gene.exons.min()), int(gene.exons.max())
        blocks = [
            ",".join(map(str, values))
            for values in (gene.exons[:, 1] - gene.exons[:, 0], gene.exons[:, 0] - start)
        ]
        cells = [gene.name, 0, gene.strand, start, end, 0, len(gene.exons), *blocks]
        rows.append((chrom, start, end, "\t".join(map(str, cells))))
    write_bigbed(path, run.reference.sizes, rows, columns=12, about="Genes")


def _write_calls(run: Run, folder: Path) -> tuple[dict[str, list[int | None]], dict[str, int]]:
    """Write all calls as bigBed; how many are predicted (by cell type and factor) and measured (by experiment).

    None is a track that is not rendered. Where there are no calls, there is no file.
    """
    sizes = run.reference.sizes
    predicted: dict[str, list[int | None]] = {}
    for cell_type, there in run.rendered.items():
        predicted[cell_type] = [
            write_bigbed(
                folder / PREDICTED / cell_type / f"{factor}.bb",
                sizes,
                (
                    (chrom, start, end, f"{name}\t{score}")
                    for chrom, start, end, name, score in run.predicted(factor, cell_type)
                ),
                columns=5,
                about=f"Predicted calls of {factor} in {cell_type}",
            )
            if factor in there
            else None
            for factor in run.factors
        ]
    measured = {
        each.name: write_bigbed(
            folder / MEASURED / f"{each.name}.bb",
            sizes,
            ((chrom, start, end, each.name) for chrom, start, end in run.measured(each.name)),
            columns=4,
            about=f"Measured calls of {each.factor} in {each.cell_type}",
        )
        for each in run.experiments
    }
    return predicted, measured


def describe(
    run: Run, output: Path, predicted: dict[str, list[int | None]], measured: dict[str, int]
) -> dict[str, Any]:
    """What there is to see, for the page; see docs/browser.md.

    Factors and cell types are all of the tables, in their order. The prediction of a pair lies at the address
    `predicted`, with the names filled in, if its number of calls is not None.
    """

    def address(path: Path) -> str:
        return Path(os.path.relpath(path, output)).as_posix()

    start = first_tracks(run)
    held_out = {"factors": set(run.split.held_out_factors), "cell_types": set(run.split.held_out_cell_types)}
    cell_types = []
    for name, text in run.cell_types.items():
        track = run.open_chromatin(name)
        cell_types.append(
            {
                "name": name,
                "description": text,
                "held_out": name in held_out["cell_types"],
                "accessibility": None if track is None else address(track),
                "predicted_calls": predicted[name],
            }
        )
    return {
        "run": run.config.name,
        "bin": run.config.windows.bin,
        "fdr": run.config.prediction.fdr,
        "genome": {
            "chromosomes": len(run.reference.sizes),
            "bases": sum(run.reference.sizes.values()),
            "sequence": "genome.2bit",
            "sizes": "genome.sizes",
        },
        "genes": None if run.genes is None else GENES,
        "predicted": address(run.tracks / "{cell_type}" / "{factor}.bw"),
        "predicted_calls": f"{PREDICTED}/{{cell_type}}/{{factor}}.bb",
        "factors": [{"name": name, "held_out": name in held_out["factors"]} for name in run.factors],
        "cell_types": cell_types,
        "experiments": [
            {
                "name": each.name,
                "factor": each.factor,
                "cell_type": each.cell_type,
                "calls": measured[each.name],
                "file": f"{MEASURED}/{each.name}.bb",
                "auprc": each.auprc,
                "kind": each.kind,
            }
            for each in run.experiments
        ],
        "start": {
            "locus": str(first_place(run, start)),
            "tracks": [{"factor": factor, "cell_type": cell_type} for factor, cell_type in start],
        },
    }
