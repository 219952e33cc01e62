"""Region figures: what stands in them, as one reads it in the SVG."""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfbind.core.errors import InputError
from tfbind.figures.region import length_text, nice_below, plot_region
from tfbind.figures.view import CellTypeView, Predicted, Steps, View
from tfbind.genome.genes import Gene
from tfbind.genome.regions import Region

SVG = "{http://www.w3.org/2000/svg}"


def steps(*values: float) -> Steps:
    edges = np.linspace(10_000, 20_000, len(values) + 1).astype(np.int64)
    return Steps(edges, np.array(values, dtype=np.float32))


def spans(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def gene(name: str, start: int, end: int, strand: str = "+") -> Gene:
    return Gene(name, start, end, strand, spans((start, end)))


VIEW = View(
    region=Region("chrVII", 10_000, 20_000),
    genome="sacCer3",
    bin=64,
    fdr=0.1,
    cell_types=(
        CellTypeView(
            "K562",
            steps(0, 3, 7.2),
            (
                Predicted("REB1", steps(0.1, 0.6, 0.0), spans((11_000, 11_101), (15_000, 15_101)), 0.5),
                Predicted("A$B_C", steps(0, 0.2), None),
            ),
        ),
        CellTypeView("liver", None, (Predicted("REB1", steps(0.02, 0.03), spans(), 0.9),)),
    ),
    sites={"REB1": spans((11_040, 11_050), (15_050, 15_060), (19_000, 19_010))},
    genes=(gene("PMA1", 9_000, 12_000), gene("TFC3", 14_000, 14_100, "-"), gene("MET3", 16_000, 18_000, "-")),
)


def drawn(view: View, folder: Path, **options: float) -> tuple[list[str], ElementTree.Element]:
    """Texts and root of the SVG."""
    plot_region(view, folder / "figure.svg", **options)
    root = ElementTree.parse(folder / "figure.svg").getroot()
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")], root


def ids(root: ElementTree.Element, start: str) -> list[str]:
    return [each.get("id") for each in root.iter() if each.get("id", "").startswith(start)]


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    return drawn(VIEW, tmp_path_factory.mktemp("figure"))


def test_what_stands_in_a_figure_is_text(figure):
    texts, _ = figure
    for text in (
        "K562",
        "liver",
        "accessibility",
        "\N{MULTIPLICATION SIGN} genome mean",
        "REB1 predicted",
        "A$B_C predicted",
    ):
        assert text in texts
    assert texts.count("REB1 predicted") == 2 and texts.count("accessibility") == 1
    for text in ("REB1 measured (n = 2)", "REB1 measured (n = 0)", "probability; not measured"):
        assert text in texts
    for text in ("REB1 motif sites (n = 3)", "genes (n = 3)", "position on chrVII (kb)", "2 kb"):
        assert text in texts
    assert "chrVII:10,001\N{EN DASH}20,000 · sacCer3" in texts
    assert {"PMA1", "← TFC3", "MET3"} <= set(texts), "a gene too short for an arrowhead has an arrow at its name"
    assert {"10", "12", "20"} <= set(texts), "kb"


def test_a_glyph_for_each_call_site_gene_and_track(figure):
    _, root = figure
    assert ids(root, "calls.") == ["calls.REB1.K562.0", "calls.REB1.K562.1"]
    assert len(ids(root, "sites.REB1")) == 3
    assert ids(root, "gene.") == ["gene.PMA1", "gene.TFC3", "gene.MET3"]
    assert ids(root, "accessibility.") == ["accessibility.K562"]
    assert ids(root, "predicted.") == ["predicted.REB1.K562", "predicted.A$B_C.K562", "predicted.REB1.liver"]
    assert ids(root, "scale-bar")


def test_a_kind_of_track_has_one_scale(figure):
    texts, _ = figure
    assert texts.count("8") == 1 and texts.count("0.6") == 3
    note = " ".join(texts)
    assert "Each kind of track has one scale" in note and "bins of 64 bp" in note
    assert "Dashed: threshold for 10 % false calls" in note


def test_only_what_is_drawn_is_explained(tmp_path):
    one = CellTypeView("liver", None, (Predicted("X", steps(0.1, 0.2), None),))
    texts, root = drawn(replace(VIEW, cell_types=(one,), sites={}, genes=None), tmp_path)
    note = " ".join(texts)
    for word in ("Dotted", "Dashed", "motif", "genes", "genome mean"):
        assert word not in note
    assert not ids(root, "gene.") and "genome" not in texts


def test_a_threshold_above_the_scale_is_told_and_not_drawn(tmp_path):
    one = CellTypeView("liver", None, (Predicted("X", steps(0.1, 0.2), None, 0.85),))
    texts, _ = drawn(replace(VIEW, cell_types=(one,)), tmp_path)
    assert "10 % false calls (0.85 or more) lie above" in " ".join(texts)


def test_no_track_is_drawn_where_all_is_zero(tmp_path):
    one = CellTypeView("liver", steps(0, 0), (Predicted("X", steps(0, 0), spans()),))
    texts, _ = drawn(replace(VIEW, cell_types=(one,), genes=()), tmp_path)
    assert texts.count("1") == 2 and "no genes here" in texts


def test_a_figure_is_as_wide_as_is_asked(tmp_path, figure):
    assert float(figure[1].get("width").removesuffix("pt")) == pytest.approx(180 * 72 / 25.4, abs=0.01)
    plot_region(VIEW, tmp_path / "figure.png", width=88)
    pixels, _ = struct.unpack(">II", (tmp_path / "figure.png").read_bytes()[16:24])
    assert pixels == pytest.approx(88 / 25.4 * 300, abs=1)


def test_long_regions_count_in_mb(tmp_path):
    view = replace(VIEW, region=Region("chr7", 0, 4_000_000), genes=None)
    texts, _ = drawn(view, tmp_path)
    assert "position on chr7 (Mb)" in texts and "500 kb" in texts


def test_a_pdf_and_the_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        for ending in ("svg", "pdf"):
            plot_region(VIEW, tmp_path / f"{name}.{ending}")
    for ending in ("svg", "pdf"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert re.search(rb"/Subtype /Type0|/Subtype /TrueType", (tmp_path / "a.pdf").read_bytes())


@pytest.mark.parametrize(
    ("name", "width", "told"),
    [
        ("figure.jpg", 180, "'--output': '.jpg' is no format"),
        ("figure", 180, "is no format"),
        ("figure.svg", 5, "'--width': 5 mm is not between"),
        ("figure.svg", float("nan"), "nan mm is not between"),
        ("figure.svg", 60, "no room beside the names"),
    ],
)
def test_figures_that_cannot_be_drawn_are_told(tmp_path, name, width, told):
    long = CellTypeView("a cell type with a name as long as a table's row", None, VIEW.cell_types[0].predicted)
    with pytest.raises(InputError, match=told) as error:
        plot_region(replace(VIEW, cell_types=(long,)), tmp_path / name, width=width)
    assert error.value.mend and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bp", "expected"), [(6000, 5000), (1999, 1000), (20, 20), (0.4, 1), (1_200_000, 1_000_000)]
)
def test_scale_bars_have_lengths_that_read_well(bp, expected):
    assert nice_below(bp) == expected
    assert length_text(nice_below(bp)) in ("5 kb", "1 kb", "20 bp", "1 bp", "1 Mb")
