"""`tfbind plot` on a run: its own tracks, and what was never rendered."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tfbind.config import load_config
from tfbind.figures.view import read_view, threshold_in
from tfbind.genome.regions import Region

REGION = "chr3:1-20,000"


@pytest.fixture
def run(tiny_run):
    """The tiny run's folder, with the configuration that the workflow leaves there."""
    kept = tiny_run.results / "config.yaml"
    if not kept.exists():
        shutil.copy(tiny_run.config, kept)
    return tiny_run


def plot(run, output: Path, *options: str, factor: str = "SIM01", cell_type: str = "CT1", region: str = REGION):
    chosen = ("--factor", factor, "--cell-type", cell_type, "--region", region)
    return run.tfbind("plot", "--run", run.results, *chosen, "--output", output, *options)


def test_a_run_is_plotted(run, tmp_path, write):
    genes = write("genes.gtf", 'chr3\tx\texon\t5001\t9000\t.\t-\t.\tgene_id "G"; gene_name "ABC";\n')
    result = plot(run, tmp_path / "figure.svg", "--cell-type", "CT3", "--factor", "SIMA", "--genes", str(genes))
    assert result.exit_code == 0, result.output
    svg = (tmp_path / "figure.svg").read_text()
    for text in (
        ">CT1<",
        ">CT3<",
        ">SIM01 predicted<",
        ">SIMA predicted<",
        ">ABC<",
        ">probability; not measured<",
    ):
        assert text in svg
    assert svg.count(">accessibility<") == 1, "CT3 has none"
    assert "chr3:1" in svg and "simulated genome" in svg


@pytest.mark.parametrize(
    ("place", "threshold"),
    [
        (Region("chr1", 0, 640), 0.5),
        (Region("chr1", 1280, 1920), 0.25),
        (Region("chr1", 640, 1920), None),
        (Region("chr2", 0, 640), 0.5),
    ],
)
def test_the_threshold_that_is_drawn_is_that_of_the_place(place, threshold):
    peaks = {"threshold": 0.5, "threshold_where_known": 0.25}
    known = {"regions": [["chr1", 1280, 6400]]}
    assert threshold_in({"peaks": peaks, "known_binding": known}, place) == threshold
    assert threshold_in({"peaks": {"threshold": 0.5}, "known_binding": None}, place) == 0.5


def test_what_was_never_rendered_is_rendered_alike(run):
    config = load_config((run.results / "config.yaml",))
    made = np.arange(313, dtype=np.float32)  # a bin of 64 bp each

    def view(folder: Path):
        found = read_view(
            folder, config, REGION, ["SIM01"], ["CT1"], genes=None, genes_key="", render=lambda *_: (0, made)
        )
        return found.cell_types[0].predicted[0]

    own = view(run.results)
    assert own.threshold is None or 0 < own.threshold <= 1
    assert own.track.values.max() <= 1 and own.calls is not None
    track = run.results / "tracks/CT1/SIM01.bw"
    hidden = track.rename(track.with_suffix(".hidden"))
    try:
        np.testing.assert_array_equal(view(run.results).track.values, made)
    finally:
        hidden.rename(track)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"factor": "NOPE"}, "there is no factor 'NOPE'"),
        ({"cell_type": "CT9"}, "there is no cell type 'CT9'"),
        ({"region": "chr9:1-10"}, "'chr9' is no chromosome"),
        ({"region": "chr3:1-30000"}, "is no part of chr3"),
    ],
)
def test_what_cannot_be_plotted_is_told(run, tmp_path, changed, told):
    result = plot(run, tmp_path / "figure.svg", **changed)
    assert result.exit_code == 1 and told in result.stderr and "mend" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_run_is_told(run, tmp_path):
    result = run.tfbind(
        "plot",
        "--run",
        tmp_path,
        "--factor",
        "SIM01",
        "--cell-type",
        "CT1",
        "--region",
        REGION,
        "--output",
        "x.svg",
    )
    assert result.exit_code == 1 and "holds no run" in result.stderr
