"""The yeast data set as it is configured: whole, and in agreement with the published files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfbind.config import load_config
from tfbind.core.files import sha256_file
from tfbind.core.sources import fetch
from tfbind.factors.proteins import read_proteins, sequence_sha256
from tfbind.tables import accessions_to_fetch, check_files, read_tables, sources

YEAST = Path("config/yeast")
DATA = Path("../shared/data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real data (../shared/data) are not here")


def test_the_yeast_set_is_all_urls_with_checksums():
    config = load_config(YEAST / "config.yaml")
    data = read_tables(config)
    check_files(data, config)
    assert len(data.factors) == len(data.experiments) == len(accessions_to_fetch(config, data)) == 70
    assert all(row.sequence is None and row.sequence_sha256 and row.motif for row in data.factors)
    assert [row.cell_type for row in data.cell_types] == ["yeast_YPD"]
    assert data.experiments[0].name == "ABF1.yeast_YPD"
    found = sources(config, data)
    assert len(found) == 72 and all(source.is_url and source.sha256 for source in found)
    assert len({source.local_path for source in found}) == 72


@needs_data
def test_the_mirror_has_every_source_and_protein(tmp_path):
    config = load_config([YEAST / "config.yaml", YEAST / "mirror.yaml"])
    data = read_tables(config)
    check_files(data, config)
    for source in sources(config, data):
        if source.is_url:
            fetch(source.source, tmp_path / source.local_path, sha256=source.sha256, mirror=config.mirror)
            assert sha256_file(tmp_path / source.local_path) == source.sha256
    proteins = read_proteins([source.source for source in config.factors.proteins])
    for row in data.factors:
        assert sequence_sha256(proteins[row.uniprot].sequence) == row.sequence_sha256


@needs_data
def test_the_motifs_are_in_jaspar():
    known = (DATA / "yeast_sacCer3" / "motifs" / "jaspar2024_yeast.meme").read_text()
    for row in read_tables(load_config(YEAST / "config.yaml")).factors:
        assert f"MOTIF {row.motif} " in known
