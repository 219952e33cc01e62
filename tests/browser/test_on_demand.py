"""On demand: a request is answered by what the workflow's bigWig holds; anything else is told, and why."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pyBigWig
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.browser import opened_run
from tfbind.browser.errors import RegionTooLargeError, RunError
from tfbind.browser.kept import Kept
from tfbind.browser.on_demand import OnDemand, respond
from tfbind.config import config_text, load_config
from tfbind.core.errors import InputError, UnknownNameError

BIN, SIZE = 64, 20_100
BINS = math.ceil(SIZE / BIN)
# Tiles as small as this make several of the tiny chromosomes.
TILE = 100
CHROMOSOMES = ("chr1", "chr2", "chr3")
PAIRS = [("SIM01", "CT1"), ("SIMA", "CT2"), ("SIMB", "CT3")]


@pytest.fixture(scope="module", autouse=True)
def small_tiles():
    patch = pytest.MonkeyPatch()
    patch.setattr(opened_run, "TILE", TILE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    patch.undo()


def make_run(tiny_run, folder: Path) -> Path:
    """The tiny run as the workflow leaves it: `results/NAME` with its effective configuration, relative paths."""
    run = folder / "results/tiny"
    run.mkdir(parents=True)
    for path in tiny_run.results.iterdir():
        (run / path.name).symlink_to(path)
    config = load_config(tiny_run.config)
    tables = {}
    for name in ("factors", "cell_types", "experiments"):
        shutil.copy(getattr(config.tables, name), folder / f"{name}.tsv")
        tables[name] = Path(f"{name}.tsv")
    config = config.model_copy(update={"tables": config.tables.model_copy(update=tables)})
    (run / "config.yaml").write_text(config_text(config))
    return run


def own(run: Path, name: str) -> Path:
    """A copy of a part of the run that was a link, to be changed."""
    path = run / name
    source = path.resolve()
    path.unlink()
    shutil.copytree(source, path)
    return path


@pytest.fixture(scope="module")
def shared(tiny_run, tmp_path_factory) -> Path:
    return make_run(tiny_run, tmp_path_factory.mktemp("on_demand"))


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    """One to be changed."""
    return make_run(tiny_run, tmp_path)


@pytest.fixture(scope="module")
def on_demand(shared):
    found = OnDemand(shared, ahead=False)
    yield found
    found.close()


@pytest.fixture
def opening():
    """Open a run on demand; closed at the end."""
    opened = []

    def open_run(run: Path, **settings) -> OnDemand:
        opened.append(OnDemand(run, **{"ahead": False} | settings))
        return opened[-1]

    yield open_run
    for each in opened:
        each.close()


@pytest.fixture
def renders(monkeypatch):
    """What is rendered from now on: (factor, first tile) of each time."""
    seen, render = [], opened_run.OpenedRun._render

    def counted(self, wanted, tiles):
        seen.append((wanted.factor, *tiles))
        return render(self, wanted, tiles)

    monkeypatch.setattr(opened_run.OpenedRun, "_render", counted)
    return seen


def ask(on_demand: OnDemand, text: str) -> tuple[int, dict]:
    """What comes of the query of an address, as the page reads it."""
    status, body = respond(on_demand, parse_qs(text))
    return status, json.loads(json.dumps(body, allow_nan=False))


def in_bigwig(run: Path, factor: str, cell_type: str, chrom: str, bins: slice) -> np.ndarray:
    with pyBigWig.open(str(run / f"tracks/{cell_type}/{factor}.bw")) as handle:
        return handle.values(chrom, 0, handle.chroms()[chrom], numpy=True)[::BIN][bins].astype(np.float32)


# --- what is rendered ---


@pytest.mark.parametrize(("factor", "cell_type"), PAIRS)
def test_values_are_those_of_the_bigwig(on_demand, shared, factor, cell_type):
    """Of a factor and a cell type that were trained on, that were held out, and that were never measured."""
    for chrom in CHROMOSOMES:
        found = on_demand.render(factor, cell_type, chrom)
        assert (found.chrom, found.start, found.bin, found.values.dtype) == (chrom, 0, BIN, np.float32)
        np.testing.assert_array_equal(found.values, in_bigwig(shared, factor, cell_type, chrom, slice(None)))
        assert found.values.max() > 0


def test_a_region_is_the_bins_that_it_touches(on_demand, shared):
    found = on_demand.render("SIM02", "CT1", "2:6,465-6,529")
    assert (found.chrom, found.start, len(found.values)) == ("chr2", 6464, 2)
    np.testing.assert_array_equal(found.values, in_bigwig(shared, "SIM02", "CT1", "chr2", slice(101, 103)))


@settings(max_examples=25)
@given(chrom=st.sampled_from(CHROMOSOMES), ends=st.tuples(st.integers(1, SIZE), st.integers(1, SIZE)))
def test_a_part_is_a_part_of_the_whole(on_demand, shared, chrom, ends):
    first, last = sorted(ends)
    found = on_demand.render("SIM03", "CT2", f"{chrom}:{first}-{last}")
    bins = slice((first - 1) // BIN, -(-last // BIN))
    assert found.start == bins.start * BIN
    np.testing.assert_array_equal(found.values, in_bigwig(shared, "SIM03", "CT2", chrom, bins))


@settings(max_examples=15)
@given(ends=st.lists(st.tuples(st.integers(1, SIZE), st.integers(1, SIZE)), min_size=1, max_size=4))
def test_values_do_not_depend_on_what_was_asked_before(on_demand, shared, ends):
    opened = on_demand._opened
    if opened is not None:
        opened.kept = Kept(3 * TILE * 2)
    for first, last in map(sorted, ends):
        found = on_demand.render("SIMA", "CT1", f"chr3:{first}-{last}").values
        bins = slice((first - 1) // BIN, -(-last // BIN))
        np.testing.assert_array_equal(found, in_bigwig(shared, "SIMA", "CT1", "chr3", bins))


def test_values_are_those_of_the_verb(on_demand, tiny_run, tmp_path):
    arguments = tiny_run.arguments("render", factor="SIMB", region="chr1:3000-9000", output=tmp_path / "CT1")
    assert tiny_run.tfbind(*arguments).exit_code == 0
    with pyBigWig.open(str(tmp_path / "CT1/SIMB.bw")) as handle:
        expected = handle.values("chr1", 46 * BIN, 141 * BIN, numpy=True)[::BIN]
    np.testing.assert_array_equal(on_demand.render("SIMB", "CT1", "chr1:3000-9000").values, expected)


def count_known_binding(run: Path) -> None:
    config = run / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["prediction"]["known_binding"] = True
    config.write_text(yaml.safe_dump(settings))


def test_what_is_known_of_binding_must_be_there_where_it_counts(run, opening):
    (run / "targets").unlink()
    assert opening(run).render("SIMA", "CT1", "chr1").values.max() > 0
    count_known_binding(run)
    with pytest.raises(RunError, match=r"targets.json.*is not there") as caught:
        opening(run).render("SIMA", "CT1", "chr1")
    assert "run the workflow to its end" in caught.value.mend


def test_values_that_count_known_binding_are_those_of_the_verb(tiny_run, run, opening, tmp_path):
    count_known_binding(run)
    told = tmp_path / "known.yaml"
    told.write_text("prediction:\n  known_binding: true\n")
    targets = tiny_run.results / "targets"
    arguments = tiny_run.arguments("render", factor="SIMA", targets=targets, output=tmp_path / "CT1")
    assert tiny_run.tfbind(*arguments, "--config", told).exit_code == 0
    on_demand = opening(run)
    for chrom, same in (("chr1", False), ("chr3", True)):
        with pyBigWig.open(str(tmp_path / "CT1/SIMA.bw")) as handle:
            expected = handle.values(chrom, 0, SIZE, numpy=True)[::BIN].astype(np.float32)
        found = on_demand.render("SIMA", "CT1", chrom).values
        np.testing.assert_array_equal(found, expected)
        assert np.array_equal(found, in_bigwig(run, "SIMA", "CT1", chrom, slice(None))) == same


# --- the answer ---


def test_an_answer_is_whole_and_small(on_demand, shared):
    status, body = ask(on_demand, "factor=SIM01&cell_type=CT1&region=chr3")
    assert status == 200 and list(body) == ["chrom", "start", "bin", "values"]
    assert (body["chrom"], body["start"], body["bin"], len(body["values"])) == ("chr3", 0, BIN, BINS)
    expected = in_bigwig(shared, "SIM01", "CT1", "chr3", slice(None))
    np.testing.assert_array_equal(np.round(np.array(body["values"]) * 2**15), expected * 2**15)
    assert max(len(str(value)) for value in body["values"]) <= len("0.12345")


@pytest.mark.parametrize(
    ("query", "status", "told", "mend"),
    [
        ("", 400, "the parameter factor is missing", "give factor, cell_type, region, each once"),
        ("factor=SIM01&cell_type=CT1", 400, "the parameter region is missing", "give factor"),
        ("factor=SIM01&cell_type=%20&region=chr1", 400, "the parameter cell_type is missing", "give"),
        ("factor=SIM01&factor=SIM01&cell_type=CT1&region=chr1", 400, "factor is there twice", "once"),
        ("factor=SIM01&cell_type=CT1&region=chr1&strand=1", 400, "there is no parameter 'strand'", "give"),
        (f"factor={'x' * 301}&cell_type=CT1&region=chr1", 400, "factor has 301 characters", "300"),
        ("factor=SIM1&cell_type=CT1&region=chr1", 404, "there is no factor 'SIM1'", "did you mean 'SIM01'"),
        ("factor=sima&cell_type=CT1&region=chr1", 404, "there is no factor 'sima'", "did you mean 'SIMA'"),
        ("factor=quite%20else&cell_type=CT1&region=chr1", 404, "'quite else'", "the table has SIM01, SIM02"),
        ("factor=SIM01&cell_type=ct3&region=chr1", 404, "there is no cell type 'ct3'", "did you mean 'CT3'"),
        ("factor=SIM01&cell_type=CT1&region=chr9", 404, "'chr9' is no chromosome", "give it as"),
        ("factor=SIM01&cell_type=CT1&region=chr1:5", 400, "'chr1:5' is no region", "give it as"),
        ("factor=SIM01&cell_type=CT1&region=chr1:9-5", 400, "9-5 is no part of chr1", "give a first"),
        ("factor=SIM01&cell_type=CT1&region=chr1:0-5", 400, "0-5 is no part of chr1", "give a first"),
        ("factor=SIM01&cell_type=CT1&region=chr1:1-20101", 400, "whose bases are 1-20100", "give a first"),
        ("factor=..%2F..%2Fetc%2Fpasswd&cell_type=CT1&region=chr1", 404, "there is no factor", "table has"),
    ],
)
def test_what_is_wrong_with_a_request_is_told(on_demand, query, status, told, mend):
    found, body = ask(on_demand, query)
    assert (found, set(body)) == (status, {"error", "mend"})
    assert told in body["error"] and mend in body["mend"]


def test_a_region_that_is_too_large_is_refused(on_demand, monkeypatch):
    monkeypatch.setattr(opened_run, "LARGEST_REGION", 10_000)
    status, body = ask(on_demand, "factor=SIM01&cell_type=CT1&region=chr2")
    assert status == 413
    assert body["error"] == "chr2:1-20100 has 20,100 bp, and at most 10,000 are rendered at once"
    assert body["mend"].startswith("go nearer")
    assert ask(on_demand, "factor=SIM01&cell_type=CT1&region=chr2:1-10000")[0] == 200
    with pytest.raises(RegionTooLargeError):
        on_demand.render("SIM01", "CT1", "chr2:1-10001")


TEXT = st.one_of(st.text(max_size=400), st.sampled_from(["SIM01", "CT1", "chr1", "chr1:1-100", "chr1:-"]))


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(["factor", "cell_type", "region"]), st.text(max_size=5)),
        st.lists(TEXT, max_size=3),
        max_size=5,
    )
)
def test_any_query_is_answered(on_demand, query):
    status, body = respond(on_demand, query)
    assert status in (200, 400, 404)
    assert set(body) == ({"chrom", "start", "bin", "values"} if status == 200 else {"error", "mend"})
    json.dumps(body, allow_nan=False)
    if status != 200:
        assert body["error"] and body["mend"] and len(body["error"]) < 700


@settings(max_examples=60)
@given(st.one_of(st.text(max_size=50), st.from_regex(r"chr[1-9]?:[\d,]{0,40}-[\d,]{0,40}", fullmatch=True)))
def test_any_region_is_rendered_or_refused(on_demand, text):
    try:
        found = on_demand.render("SIM01", "CT1", text)
    except InputError as error:
        assert type(error) in (InputError, UnknownNameError) and error.mend
    else:
        assert found.start % BIN == 0 and 0 < len(found.values) <= BINS


# --- what is kept ---


def test_what_was_rendered_is_not_rendered_again(opening, shared, renders):
    on_demand = opening(shared)
    first = on_demand.render("SIM01", "CT1", "chr1:1-10000")
    assert renders == [("SIM01", 0, 1)]
    inner = on_demand.render("SIM01", "CT1", "chr1:2000-9000")
    assert len(renders) == 1
    np.testing.assert_array_equal(inner.values, first.values[31:141])
    # Of what lies beside it, that alone.
    on_demand.render("SIM01", "CT1", "chr1:9000-15000")
    assert renders[1:] == [("SIM01", 2)]
    on_demand.render("SIM01", "CT3", "chr1:1-100")
    on_demand.render("SIM02", "CT1", "chr1:1-100")
    assert len(renders) == 4


def test_both_sides_of_what_is_kept_are_rendered_together(opening, shared, renders):
    on_demand = opening(shared)
    on_demand.render("SIM01", "CT1", f"chr1:{TILE * BIN + 1}-{2 * TILE * BIN}")
    found = on_demand.render("SIM01", "CT1", "chr1")
    assert renders == [("SIM01", 1), ("SIM01", 0, 2, 3)]
    np.testing.assert_array_equal(found.values, in_bigwig(shared, "SIM01", "CT1", "chr1", slice(None)))


def test_same_requests_at_once_are_rendered_once(opening, shared, renders):
    on_demand, start = opening(shared), threading.Barrier(8)

    def request(_: int):
        start.wait()
        return on_demand.render("SIMA", "CT2", "chr2").values

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(request, range(8)))
    assert renders == [("SIMA", 0, 1, 2, 3)]
    for values in found:
        np.testing.assert_array_equal(values, found[0])


def test_requests_at_once_do_not_mix(opening, shared):
    on_demand = opening(shared, kept_bytes=4000)
    wanted = [(*pair, chrom) for pair in PAIRS for chrom in CHROMOSOMES] * 2
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda each: on_demand.render(*each).values, wanted))
    for (factor, cell_type, chrom), values in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(values, in_bigwig(shared, factor, cell_type, chrom, slice(None)))


def test_what_is_kept_is_returned_while_something_is_rendered(opening, shared, monkeypatch):
    on_demand = opening(shared)
    on_demand.render("SIM01", "CT1", "chr1:1-100")
    begun, go_on, render = threading.Event(), threading.Event(), opened_run.OpenedRun._render

    def held(self, wanted, tiles):
        begun.set()
        assert go_on.wait(60)
        return render(self, wanted, tiles)

    monkeypatch.setattr(opened_run.OpenedRun, "_render", held)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(on_demand.render, "SIM02", "CT1", "chr1:1-100")
        assert begun.wait(60)
        assert len(on_demand.render("SIM01", "CT1", "chr1:1-100").values) == 2
        go_on.set()
        assert len(running.result().values) == 2


@settings(max_examples=60)
@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 25))), max_size=30),
)
def test_no_more_is_kept_than_there_is_room_for(limit, steps):
    """Against a plain list, the latest last."""
    kept, expected = Kept(limit), []
    for key, size in steps:
        there = [each for each in expected if each[0] == key]
        rest = [each for each in expected if each[0] != key]
        if size is None:
            assert kept.get(key) == (there[0][1] if there else None)
            expected = rest + there
        else:
            kept.put(key, size, size)
            expected = [*rest, (key, size)] if size <= limit else rest
            while sum(each[1] for each in expected) > limit:
                del expected[0]
        assert kept.bytes == sum(each[1] for each in expected) <= limit
        assert len(kept) == len(expected)


# --- the run ---


def test_torch_is_not_loaded_with_the_module():
    code = "import sys, tfbind.browser.on_demand; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_run_is_opened_ahead(opening, shared, renders):
    on_demand = opening(shared, ahead=True)
    on_demand._worker.submit(int).result()
    assert on_demand._opened is not None and renders == [("SIM01", 0)]


def test_where_the_server_is_started_does_not_matter(opening, shared, tmp_path, monkeypatch):
    monkeypatch.chdir(shared)
    for path in (".", Path("../../results/tiny"), Path(os.path.relpath(shared))):
        assert opening(Path(path)).render("SIM01", "CT1", "chr1:1-64").values.shape == (1,)
    monkeypatch.chdir(tmp_path)
    assert opening(shared).render("SIM01", "CT1", "chr1:1-64").values.shape == (1,)


def test_results_may_be_a_link_to_another_disk(opening, run):
    elsewhere = run.parents[1] / "scratch"
    run.parent.rename(elsewhere)
    run.parent.symlink_to(elsewhere)
    assert opening(run).render("SIM01", "CT1", "chr1:1-64").values.shape == (1,)


@pytest.mark.parametrize(
    "lost",
    ["config.yaml", "reference", "model", "factors", "genome_embedding"],
)
def test_what_a_run_lacks_is_told(opening, run, lost):
    (run / lost).rename(run / "aside")
    on_demand = opening(run)
    status, body = ask(on_demand, "factor=SIM01&cell_type=CT1&region=chr1:1-64")
    assert status == 503 and f"{run / lost}" in body["error"] and "is not there" in body["error"]
    assert body["mend"] == f"in {run.parents[1]}, run the workflow to its end"
    # Once it is there, the next request is answered.
    (run / "aside").rename(run / lost)
    assert ask(on_demand, "factor=SIM01&cell_type=CT1&region=chr1:1-64")[0] == 200


def test_no_run_is_told(opening, tmp_path):
    status, body = ask(opening(tmp_path / "results/none"), "factor=SIM01&cell_type=CT1&region=chr1:1-64")
    assert status == 503 and "there is no such folder" in body["error"]


def test_tables_that_lie_elsewhere_are_told(opening, run, tmp_path):
    moved = tmp_path / "moved"
    run.rename(moved)
    status, body = ask(opening(moved), "factor=SIM01&cell_type=CT1&region=chr1:1-64")
    assert status == 503 and "there is no such table of factors" in body["error"]
    assert "'factors.tsv', from where snakemake ran" in body["error"] and "beside the tables" in body["mend"]


def test_an_embedding_of_another_model_is_refused(opening, run):
    about = own(run, "genome_embedding") / "tokens/embedding.json"
    values = json.loads(about.read_text())
    about.write_text(json.dumps(values | {"model": "0" * 64}))
    status, body = ask(opening(run), "factor=SIM01&cell_type=CT1&region=chr1:1-64")
    assert status == 503 and "was made with another model" in body["error"] and "embed" in body["mend"]


def test_factors_and_cell_types_that_were_added_are_told_from_unknown_ones(opening, run):
    folder = run.parents[1]
    with (folder / "factors.tsv").open("a") as table:
        table.write("SIMX\tSIMA\t\n")
    with (folder / "cell_types.tsv").open("a") as table:
        table.write("CT4\tsimulated\tCT4.bw\n")
    on_demand = opening(run)
    status, body = ask(on_demand, "factor=SIMX&cell_type=CT1&region=chr1:1-64")
    assert status == 503 and "factor SIMX is in the table" in body["error"] and body["mend"]
    status, body = ask(on_demand, "factor=SIMA&cell_type=CT4&region=chr1:1-64")
    assert status == 503 and "cell type CT4 is rendered from it" in body["error"]
    assert "results/tiny/accessibility/CT4.bw" in body["mend"]


def test_a_cell_type_without_accessibility_that_was_added_is_rendered(opening, run):
    on_demand = opening(run)
    before = on_demand.render("SIMA", "CT3", "chr1").values
    with (run.parents[1] / "cell_types.tsv").open("a") as table:
        table.write("CT4\tsimulated\t\n")
    np.testing.assert_array_equal(on_demand.render("SIMA", "CT4", "chr1").values, before)


def test_a_track_that_was_made_again_is_read_again(opening, run):
    folder = own(run, "accessibility")
    on_demand = opening(run)
    before = on_demand.render("SIM01", "CT1", "chr1").values
    shutil.copy(folder / "CT2.bw", folder / "CT1.bw")
    after = on_demand.render("SIM01", "CT1", "chr1").values
    np.testing.assert_array_equal(after, on_demand.render("SIM01", "CT2", "chr1").values)
    assert not np.array_equal(before, after)


def test_accessibility_that_is_damaged_is_told(opening, run):
    path = own(run, "accessibility") / "CT1.bw"
    path.write_bytes(path.read_bytes()[:-10])
    status, body = ask(opening(run), "factor=SIM01&cell_type=CT1&region=chr1:1-64")
    assert status == 503 and body["error"].startswith(f"{path}: truncated bigWig")


def test_texts_that_are_missing_are_told(opening, run):
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["contexts"]["text"] = {"model": "nowhere/bert", "revision": "main"}
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    status, body = ask(opening(run), "factor=SIM01&cell_type=CT1&region=chr1:1-64")
    assert status == 503 and "contexts/CT1" in body["error"] and "results/tiny/contexts/CT1" in body["mend"]


def test_a_run_error_is_an_input_error(opening, tmp_path):
    with pytest.raises(RunError) as caught:
        opening(tmp_path).render("SIM01", "CT1", "chr1")
    assert isinstance(caught.value, InputError) and caught.value.file == tmp_path / "config.yaml"
