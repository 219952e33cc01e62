"""A finished run with its page: the tiny run, one of its tracks not rendered."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfbind.browser.server import RunServer

NOT_RENDERED = ("SIMB", "CT3")
GENES = """\
chr1\tx\tgene\t2001\t4000\t.\t+\t.\tgene_id "G1"; gene_name "ONE";
chr1\tx\texon\t2001\t2400\t.\t+\t.\tgene_id "G1"; gene_name "ONE"; transcript_id "T1";
chr1\tx\texon\t3501\t4000\t.\t+\t.\tgene_id "G1"; gene_name "ONE"; transcript_id "T1";
chr1\tx\texon\t2301\t2500\t.\t+\t.\tgene_id "G1"; gene_name "ONE"; transcript_id "T2";
chr3\tx\tgene\t101\t900\t.\t-\t.\tgene_id "G2";
chrUn\tx\tgene\t101\t900\t.\t-\t.\tgene_id "G3";
"""


def make_page(tiny_run, folder: Path, **options) -> Path:
    """Make the page of the tiny run in a copy of its folder of results, and give that folder."""
    results = folder / "results"
    shutil.copytree(tiny_run.results, results, copy_function=link)
    shutil.copy(tiny_run.config, results / "config.yaml")
    factor, cell_type = NOT_RENDERED
    for path in (results / "tracks" / cell_type).glob(f"{factor}.*"):
        path.unlink()
    page_of(tiny_run, results, **options)
    return results


def link(source: str, target: str) -> None:
    """The tiny run is not to be changed: what is written anew is renamed into place."""
    Path(target).hardlink_to(source)


def page_of(tiny_run, results: Path, **options):
    """Run `tfbind browser`; `options` replace what it is told."""
    told = {
        "config": tiny_run.config,
        **{name: results / name for name in ("reference", "targets", "tracks", "accessibility", "evaluation")},
        "split": results / "split.json",
        "output": results / "browser",
        **options,
    }
    result = tiny_run.tfbind(
        "browser", *(part for name, value in told.items() if value for part in (f"--{name}", value))
    )
    return result


@pytest.fixture(scope="session")
def run(tiny_run, tmp_path_factory) -> Path:
    """The folder of results, page and all. Tests look at it, and leave it as it is."""
    folder = tmp_path_factory.mktemp("browser")
    genes = folder / "genes.gtf"
    genes.write_text(GENES)
    results = make_page(tiny_run, folder, genes=genes)
    assert (results / "browser/index.html").is_file()
    return results


def served(server: RunServer) -> Iterator[RunServer]:
    """Serve in the background."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(run) -> Iterator[RunServer]:
    """A server of the run, which renders nothing."""
    yield from served(RunServer(run))
