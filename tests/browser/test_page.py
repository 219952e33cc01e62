"""The page's folder: it says what the run has, and holds what the run's folders do not."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyBigWig
import pytest

from tests.browser.conftest import NOT_RENDERED, page_of
from tfbind.evaluation.tables import read_metrics
from tfbind.genome.reference import Reference
from tfbind.training.targets import Targets

ROOT = Path(__file__).parents[2]


@pytest.fixture
def about(run):
    return json.loads((run / "browser/tracks.json").read_text())


def entries(path: Path) -> list[tuple]:
    """All rows of a bigBed."""
    with pyBigWig.open(str(path)) as handle:
        assert handle.isBigBed()
        return [
            (chrom, *row) for chrom, size in handle.chroms().items() for row in handle.entries(chrom, 0, size)
        ]


def test_every_address_leads_to_a_file_of_the_run(run, about):
    page = run / "browser"
    addresses = [about["genome"]["sequence"], about["genome"]["sizes"], about["genes"]]
    addresses += [each["accessibility"] for each in about["cell_types"] if each["accessibility"]]
    addresses += [each["file"] for each in about["experiments"] if each["calls"]]
    for cell_type in about["cell_types"]:
        for factor, calls in zip(about["factors"], cell_type["predicted_calls"], strict=True):
            names = {"cell_type": cell_type["name"], "factor": factor["name"]}
            if calls is not None:
                addresses.append(about["predicted"].format(**names))
            if calls:
                addresses.append(about["predicted_calls"].format(**names))
    assert len(addresses) > 20
    for address in addresses:
        path = (page / address).resolve()
        assert path.is_file() and path.is_relative_to(run.resolve()), address
    shown = re.findall(r'(?:src|href)="([^"#:]+)"', (page / "index.html").read_text())
    assert {name for name in shown if "/" not in name} <= {path.name for path in page.iterdir()}


def test_all_factors_and_cell_types_of_the_tables_are_there_rendered_or_not(about):
    assert [each["name"] for each in about["factors"]] == ["SIM01", "SIM02", "SIM03", "SIMA", "SIMB"]
    assert [each["name"] for each in about["factors"] if each["held_out"]] == ["SIMA"]
    cells = {each["name"]: each for each in about["cell_types"]}
    assert [name for name, each in cells.items() if each["held_out"]] == ["CT2"]
    assert cells["CT3"]["accessibility"] is None
    missing = {
        (about["factors"][index]["name"], name)
        for name, each in cells.items()
        for index, calls in enumerate(each["predicted_calls"])
        if calls is None
    }
    assert missing == {NOT_RENDERED}


def test_scores_are_those_of_the_table(run, about):
    rows = read_metrics(run / "evaluation/metrics.tsv")
    wanted = {
        row["experiment"]: row["auprc"]
        for row in rows
        if (row["predictor"], row["bins"]) == ("tfbind", "dream") and not np.isnan(row["auprc"])
    }
    assert wanted == {each["name"]: each["auprc"] for each in about["experiments"] if each["auprc"] is not None}
    # The best of a cell type is shown first; of one that was never measured, any.
    first = {each["cell_type"]: each["factor"] for each in about["start"]["tracks"]}
    assert list(first) == ["CT1", "CT2", "CT3"]
    of_cell = {each["factor"]: each["auprc"] or 0 for each in about["experiments"] if each["cell_type"] == "CT1"}
    assert of_cell[first["CT1"]] == max(of_cell.values())


def test_calls_are_those_of_the_narrowpeaks_and_of_the_targets(run, about):
    calls = run / "browser/calls"
    counts = Counter()
    for path in sorted((calls / "predicted").rglob("*.bb")):
        lines = (run / "tracks" / path.parent.name / f"{path.stem}.narrowPeak").read_text().splitlines()
        wanted = [line.split("\t")[:5] for line in lines]
        found = [[chrom, str(start), str(end), *rest.split("\t")] for chrom, start, end, rest in entries(path)]
        assert sorted(found) == sorted(wanted)
        counts["predicted"] += len(found)
    targets = Targets.open(run / "targets")
    for column, each in enumerate(targets.experiments):
        wanted = {
            (chrom, *row[1:])
            for chrom, peaks in targets.peaks.items()
            for row in peaks.tolist()
            if row[0] == column
        }
        assert {row[:3] for row in entries(calls / "measured" / f"{each['name']}.bb")} == wanted
    assert counts["predicted"] > 100


def test_genes_have_the_exons_of_all_their_transcripts(run):
    one, other = entries(run / "browser/genes.bb")
    assert one == ("chr1", 2000, 4000, "ONE\t0\t+\t2000\t4000\t0\t2\t500,500\t0,1500")
    assert other == ("chr3", 100, 900, "G2\t0\t-\t100\t900\t0\t1\t800\t0")


def read_two_bit(path: Path) -> dict[str, np.ndarray]:
    """The bases of a .2bit by its specification: T 0, C 1, A 2, G 3, and 4 where no base is known."""
    data = path.read_bytes()
    magic, version, count, _ = struct.unpack_from("<4I", data)
    assert (magic, version) == (0x1A412743, 0)
    at, offsets = 16, {}
    for _ in range(count):
        name = data[at + 1 : at + 1 + data[at]].decode()
        (offsets[name],) = struct.unpack_from("<I", data, at + 1 + data[at])
        at += 5 + data[at]
    found = {}
    for name, start in offsets.items():
        size, runs = struct.unpack_from("<2I", data, start)
        blocks = np.frombuffer(data, "<u4", 2 * runs, start + 8).reshape(2, runs)
        masks, _ = struct.unpack_from("<2I", data, start + 8 + 8 * runs)
        assert masks == 0
        packed = np.frombuffer(data, np.uint8, -(-size // 4), start + 16 + 8 * runs)
        bases = np.stack([packed >> shift & 3 for shift in (6, 4, 2, 0)], axis=1).ravel()[:size]
        for first, length in blocks.T:
            bases[first : first + length] = 4
        found[name] = bases
    return found


def test_the_sequence_is_the_reference(run):
    reference = Reference.open(run / "reference")
    found = read_two_bit(run / "browser/genome.2bit")
    assert list(found) == list(reference.sizes)
    order = np.array([2, 1, 3, 0, 4], dtype=np.uint8)  # A, C, G, T, else
    for chrom, bases in found.items():
        np.testing.assert_array_equal(bases, order[reference.codes(chrom)])


def test_the_page_holds_its_list_and_reads_nothing_from_elsewhere(run, about):
    text = (run / "browser/index.html").read_text()
    (listed,) = re.findall(r'<script type="application/json" id="run">(.*?)</script>', text, re.DOTALL)
    assert json.loads(listed) == about
    for name in ("index.html", "page.js", "page.css"):
        addresses = re.findall(r"https?://[^\s'\"]+", (run / "browser" / name).read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, name


def test_igv_is_the_version_that_is_said():
    static = files("tfbind.browser") / "static"
    for line in (static / "igv.sha256").read_text().splitlines():
        checksum, name = line.split()
        assert hashlib.sha256((static / name).read_bytes()).hexdigest() == checksum, f"{name}: make igv"
    version = re.search(r"^IGV := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert f'"{version}"' in (static / "igv.min.js").read_text()
    assert "MIT License" in (static / "igv.LICENSE.txt").read_text()


def test_a_description_ends_no_script(tiny_run, run, tmp_path):
    nasty = "</script><script>alert(1)</script>&<!--"
    table = (tiny_run.folder / "cell_types.tsv").read_text().replace("simulated", nasty, 1)
    (tmp_path / "cell_types.tsv").write_text(table)
    config = tmp_path / "config.yaml"
    config.write_text(
        tiny_run.config.read_text().replace(f"{tiny_run.folder}/cell_types.tsv", f"{tmp_path}/cell_types.tsv")
    )
    result = page_of(tiny_run, run, config=config, output=run / "nasty")
    assert result.exit_code == 0, result.output
    text = (run / "nasty/index.html").read_text()
    assert nasty not in text
    listed = text.split('id="run">')[1].split("</script>")[0]
    assert json.loads(listed)["cell_types"][0]["description"] == nasty


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"output": "elsewhere"}, "the page could not reach"),
        ({"genes": "chr1\t0\t30000\tlong\t0\t+\n"}, "ends at 30000, and chr1 has 20100 bp"),
        ({"genes": "chrX\t0\t300\tfar\t0\t+\n"}, "has no gene on the chromosomes"),
    ],
)
def test_what_is_wrong_is_told(tiny_run, run, tmp_path, options, fragment):
    if "genes" in options:
        (tmp_path / "genes.bed").write_text(options["genes"])
        options = {"genes": tmp_path / "genes.bed", "output": run / "never"}
    else:
        options = {"output": tmp_path / "elsewhere/browser"}
    result = page_of(tiny_run, run, **options)
    assert result.exit_code == 1 and fragment in result.stderr and "mend: " in result.stderr
    assert not Path(options["output"]).exists()
