"""Downloads in batches: each file once, few jobs for many files, and nothing that came whole is fetched twice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tfbind.config import load_config, parse_config
from tfbind.core.errors import InputError
from tfbind.downloads import Download, chosen_downloads, download, download_batches
from tfbind.tables import read_tables

SHA = "0" * 64


@pytest.fixture
def many(tmp_path):
    """Configuration and tables with so many files of each kind, all by URL."""

    def make(*, factors=1, cell_types=1, experiments=1, shared=False):
        cells = [f"C{number}" for number in range(cell_types)]
        tables = {
            "factors": ["factor\tuniprot", *(f"TF{n}\tP{n:05}" for n in range(factors))],
            "cell_types": [
                "cell_type\taccessibility\tsha256",
                *(f"{cell}\thttps://example.org/{cell}.bw\t{SHA}" for cell in cells),
            ],
            "experiments": [
                "factor\tcell_type\tassay\tpeaks\tsha256",
                *(
                    f"TF0\tC0\tassay{n}\thttps://example.org/{0 if shared else n}.bed\t{SHA}"
                    for n in range(experiments)
                ),
            ],
        }
        for name, lines in tables.items():
            (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
        config = parse_config(
            {
                "name": "many",
                "tables": {name: f"{tmp_path}/{name}.tsv" for name in tables},
                "reference": {"fasta": {"source": "https://example.org/genome.fa.gz", "sha256": SHA}},
                "splits": {"validation": ["chr2"], "test": ["chr3"]},
                "evaluation": {"promoters": {"source": "https://example.org/genes.gtf.gz", "sha256": SHA}},
            }
        )
        return config, read_tables(config)

    return make


def sizes(batches, kind):
    found = {name: len(batch) for name, batch in batches.items() if name.startswith(f"{kind}_")}
    assert list(found) == [f"{kind}_{number}" for number in range(1, len(found) + 1)]
    return list(found.values())


def test_small_data_sets_have_batches_of_25_and_large_files_one_by_one(many):
    batches = download_batches(*many(factors=60, cell_types=3, experiments=26))
    assert sizes(batches, "peaks") == [25, 1]
    assert sizes(batches, "proteins") == [25, 25, 10]
    assert sizes(batches, "accessibility") == [1, 1, 1]
    assert len(batches["reference"]) == 1


@pytest.mark.parametrize(("count", "size"), [(800, 25), (801, 50), (3200, 100)])
def test_batches_double_where_they_would_be_too_many(many, count, size):
    found = sizes(download_batches(*many(experiments=count)), "peaks")
    assert len(found) <= 32 and set(found[:-1]) == {size} and sum(found) == count


def test_very_many_accessibility_files_share_batches(many):
    assert sizes(download_batches(*many(cell_types=128)), "accessibility") == [1] * 128
    assert sizes(download_batches(*many(cell_types=129)), "accessibility") == [2] * 64 + [1]


def test_a_row_added_at_the_end_leaves_the_earlier_batches_alone(many):
    before = download_batches(*many(experiments=49))
    after = download_batches(*many(experiments=51))
    assert after["peaks_1"] == before["peaks_1"] and after["peaks_2"][:24] == before["peaks_2"]
    assert len(after["peaks_3"]) == 1


def test_a_file_that_is_given_twice_is_downloaded_once(many):
    assert sizes(download_batches(*many(experiments=30, shared=True)), "peaks") == [1]


def test_every_url_is_in_one_batch(many):
    config, dataset = many(factors=40, cell_types=40, experiments=60)
    paths = [each.path for batch in download_batches(config, dataset).values() for each in batch]
    assert len(paths) == len(set(paths)) == 1 + 40 + 40 + 60 + 1
    assert len(download_batches(config, dataset)["genes"]) == 1
    assert [each.path for each in chosen_downloads(config, dataset)] == paths


def test_the_batches_of_yeast():
    config = load_config(Path("config/yeast/config.yaml"))
    found = {name: len(batch) for name, batch in download_batches(config, read_tables(config)).items()}
    peaks = {"peaks_1": 25, "peaks_2": 25, "peaks_3": 20}
    proteins = {name.replace("peaks", "proteins"): count for name, count in peaks.items()}
    assert found == {"reference": 1, "accessibility_1": 1, **peaks, **proteins}


def test_a_batch_or_path_that_is_not_there_is_told(many):
    config, dataset = many(experiments=300)
    with pytest.raises(InputError, match=r"no batch 'peaks_99'(.|\n)*give one of: reference, accessibility_1"):
        chosen_downloads(config, dataset, batch="peaks_99")
    with pytest.raises(InputError, match=r"elsewhere: is not where any URL(.|\n)*and \d+ more") as caught:
        chosen_downloads(config, dataset, paths=[Path("elsewhere")])
    assert len(str(caught.value)) < 2000
    (only,) = chosen_downloads(config, dataset, paths=[Path("resources/downloads/example.org/7.bed")])
    assert only.url == "https://example.org/7.bed"


def test_what_came_whole_before_another_failed_is_not_fetched_again(range_server, tmp_path):
    contents = {"a.bed": b"first", "b.bed": b"second"}
    chosen = [
        Download(f"{range_server.url}/{name}", tmp_path / name, hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    ]
    range_server.content["a.bed"] = contents["a.bed"]
    with pytest.raises(InputError, match="404"):
        download(chosen, mirror=None)
    chosen[0].path.unlink()  # as Snakemake does

    range_server.content["b.bed"] = contents["b.bed"]
    range_server.requests.clear()
    download(chosen, mirror=None)
    assert [path for path, *_ in range_server.requests] == ["/b.bed"]
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*bed*")} == contents


def test_a_file_that_was_there_before_is_left_as_it_is(range_server, tmp_path):
    (tmp_path / "a.bed").write_bytes(b"first")
    chosen = [
        Download(f"{range_server.url}/{name}", tmp_path / name, hashlib.sha256(b"first").hexdigest())
        for name in ("a.bed", "b.bed")
    ]
    with pytest.raises(InputError, match="404"):
        download(chosen, mirror=None)
    assert sorted(path.name for path in tmp_path.glob("*bed*")) == ["a.bed"]
