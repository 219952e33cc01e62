"""Parts of the pages of a report: tables stay small, links lead to the genome browser, logos add up."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from scripts.report.assemble import with_bridge
from scripts.report.crossvalidation import write_cross_validation_page
from scripts.report.drawing import logo, profile
from scripts.report.html import LARGEST_TABLE, Column, Place, digits, locus_link, quoted, table
from scripts.report.overview import about_model
from tests.scripts.test_results import NAME, make_run
from tfbind.config import load_config
from tfbind.core.errors import InputError
from tfbind.factors.motifs import Motif

PLACE = Place(Path("results/x"), "report/factors/A.html")


def test_a_table_shows_as_many_rows_as_a_page_has_room_for_and_says_so():
    rows = [(line, {"name": "x" * 900, "score": f"{line / 7:.6g}"}) for line in range(2, 1002)]
    text = table(
        PLACE, "results/x/t.tsv", rows, [Column("name", "name"), digits("score", "score")], identifier="t"
    )
    shown = text.count("<tr data-line")
    assert 300 < shown < 1000 and len(text) < LARGEST_TABLE * 1.02
    assert f"the first {shown} of 1,000 rows" in text


def test_cells_are_text_and_keep_their_exact_numbers():
    rows = [(2, {"name": '<b>&"', "score": "0.123456"}), (3, {"name": "", "score": ""})]
    text = table(
        PLACE, "results/x/t.tsv", rows, [Column("name", "name"), digits("score", "score")], identifier="t"
    )
    assert "<td>&lt;b&gt;&amp;&quot;</td>" in text and 'data-v="0.123456">0.123</td>' in text
    assert '<tr data-line="3"><td></td><td class="number"></td></tr>' in text


def test_a_link_to_the_genome_browser_has_first_and_last_base_and_tracks():
    link = locus_link("chr1", 99, 2000, [("NKX2-5", "T cell")])
    assert link == "browser/index.html#locus=chr1:100-2000&tracks=NKX2-5|T cell"
    assert quoted(link) == "browser/index.html#locus=chr1:100-2000&tracks=NKX2-5%7CT%20cell"
    assert 'href="../../browser/index.html#locus=chr1:100-2000&amp;' in PLACE.link(link, "chr1")
    assert "locus=chr1:1-5&" in locus_link("chr1", -300, 5, [("A", "C")])


def test_letters_of_a_logo_are_as_high_as_their_information():
    certain, even = [1.0, 0.0, 0.0, 0.0], [0.25] * 4
    svg = logo(Motif("M", "M", np.array([certain, even, [0.5, 0.5, 0.0, 0.0]])))
    heights = [(base, float(tall)) for base, tall in re.findall(r'#base-(.)" transform="[^"]* ([\d.]+)\)"', svg)]
    # 2 bits are 110 high; nothing is told by even frequencies; half of one bit each.
    assert sorted(heights) == [("A", 27.5), ("A", 110.0), ("C", 27.5)]


def test_a_profile_names_its_lines_and_has_a_background_for_each():
    svg = profile({"A & B (n = 3 calls)": [(-100, 0.1), (0, 0.9), (100, 0.1)]}, {"A & B (n = 3 calls)": 0.05})
    assert "A &amp; B (n = 3 calls)" in svg and svg.count('stroke-dasharray="2 4"') == 1 and ">1</text>" in svg


def test_a_report_of_another_form_is_refused():
    with pytest.raises(InputError, match="another form"):
        with_bridge("<html>", "report/index.html")


def test_the_page_of_a_cross_validation(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = load_config(Path(__file__).parents[2] / "config/demo/config.yaml").model_copy(update={"name": NAME})
    from tfbind.evaluation.crossvalidation import gather_folds

    gather_folds(sorted(run.glob("*/*/evaluation")), run)
    write_cross_validation_page(config, Path(f"logs/{NAME}/cross_validation"))
    text = (run / "report/index.html").read_text()
    assert "Cross-validation: human-h3" in text and 'data-source="report/tables/folds.tsv"' in text
    assert sorted(path.name for path in (run / "report/tables").iterdir()) == [
        *("experiments.tsv", "fdr.tsv", "folds.tsv", "reliability.tsv")
    ]
    assert (run / "report/figures/baselines.svg").is_file()


def test_what_is_said_of_an_ensemble_is_found(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"fdr": 0.1}))
    assert about_model(tmp_path) == {"fdr": 0.1}
    (tmp_path / "model.json").unlink()
    (tmp_path / "ensemble.json").write_text(json.dumps({"fdr": 0.2}))
    assert about_model(tmp_path) == {"fdr": 0.2}
