"""The table of signals: what it gives, and errors that name file, row, column and mend."""

from __future__ import annotations

import jsonschema
import pytest

from tfbind.config import parse_config
from tfbind.core.errors import InputError
from tfbind.downloads import download_batches
from tfbind.inputs import further_signals
from tfbind.tables import CellTypeRow, DataSet, SignalRow, check_files, read_signals, sources, table_schema

CELLS = [CellTypeRow(cell_type="K562", aliases=("K-562",)), CellTypeRow(cell_type="HUVEC")]
SHA, URL = "0" * 64, "https://example.org/genes.gtf.gz"
COLUMNS = ("signal", "cell_type", "source", "sha256", "kind", "shortest", "longest", "count")


@pytest.fixture
def read(tmp_path):
    def of(*rows, header=COLUMNS):
        lines = ["\t".join(header), *("\t".join([*row, *[""] * (len(header) - len(row))]) for row in rows)]
        (tmp_path / "signals.tsv").write_text("\n".join(lines) + "\n")
        return read_signals(tmp_path / "signals.tsv", CELLS)

    return of


def test_signals_of_cell_types_and_of_every_one(read):
    rows = read(
        ("FAIRE-seq", "K-562", "a.narrowPeak"),
        ("nucleosomes", "K562", "a.frag.gz", "", "", "140", "260", "middle"),
        ("promoters", "*", URL, SHA, "promoters"),
    )
    table = DataSet([], CELLS, [], rows)
    assert table.signal_names == ["FAIRE-seq", "nucleosomes", "promoters"]
    assert [row.track for row in rows] == ["FAIRE-seq/K562.bw", "nucleosomes/K562.bw", "promoters/_all.bw"]
    assert (rows[1].shortest, rows[1].longest, rows[1].count) == (140, 260, "middle")
    assert table.signal("promoters", "HUVEC") is rows[2] and table.signal("FAIRE-seq", "HUVEC") is None


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("a/b", "K562", "x.bed")], "row 2, column 'signal': 'a/b' is unfit for a name"),
        ([("a", "K563", "x.bed")], "row 2, column 'cell_type': cell type 'K563' is defined nowhere"),
        ([("a", "K562", "")], "row 2, column 'source': is empty"),
        ([("a", "K562", URL, "", "genes")], "column 'sha256'"),
        ([("a", "K562", "x.txt")], "row 2, column 'kind': the name does not tell"),
        ([("a", "K562", "x.gtf")], "column 'kind': a GTF may say where promoters are, or genes"),
        ([("a", "K562", "x.bed", "", "fragment")], "column 'kind': 'fragment' is none of fragments, peaks"),
        (
            [("a", "K562", "x.bed", "", "", "140")],
            "column 'shortest': is of fragments, and this file holds peaks",
        ),
        ([("a", "K562", "x.bed", "", "", "", "", "middle")], "column 'count': is of fragments"),
        ([("a", "K562", "x.frag", "", "", "-3")], "column 'shortest': '-3' is no whole number above 0"),
        ([("a", "K562", "x.frag", "", "", "140", "140")], "column 'longest': no fragment is of 140 bp or more"),
        (
            [("a", "K562", "x.frag", "", "", "", "", "middles")],
            "column 'count': 'middles' is none of ends, middle",
        ),
        ([("a", "K562", "x.bed"), ("a", "K-562", "y.bed")], "row 3: 'a' of K562 is given already, by row 2"),
        ([("a", "*", "x.bed"), ("a", "K562", "y.bed")], "row 3: 'a' of K562 is given already, by row 2 (of *)"),
        ([("a", "K562", "x.bed"), ("a", "*", "y.bed")], "row 3: 'a' of * is given already, by row 2 (of K562)"),
    ],
)
def test_what_is_wrong_is_told_with_row_and_mend(read, rows, told):
    with pytest.raises(InputError) as error:
        read(*rows)
    assert told in str(error.value) and "signals.tsv" in str(error.value) and "\n  mend: " in str(error.value)


def test_the_schema_takes_what_the_reader_takes():
    schema = table_schema(SignalRow)
    row = dict.fromkeys(COLUMNS, "") | {"signal": "a", "cell_type": "*", "source": "x.frag", "count": "middle"}
    jsonschema.validate(row, schema)
    for wrong in ({"cell_type": "a/b"}, {"count": "all"}, {"shortest": "0"}, {"kind": "gtf"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(row | wrong, schema)


def test_files_of_signals_are_looked_for_and_downloaded(read, tmp_path):
    rows = read(
        ("a", "K562", f"{tmp_path}/x.bed"), ("p", "*", URL, SHA, "promoters"), ("g", "*", URL, SHA, "genes")
    )
    (tmp_path / "genome.fa").write_text(">a\nA\n")
    tables = {name: f"{tmp_path}/{name}.tsv" for name in ("factors", "cell_types", "experiments", "signals")}
    fasta = {"fasta": f"{tmp_path}/genome.fa"}
    splits = {"validation": ["a"], "test": ["b"]}
    config = parse_config({"name": "x", "tables": tables, "reference": fasta, "splits": splits})
    dataset = DataSet([], CELLS, [], rows)
    assert [each.source for each in sources(config, dataset)].count(URL) == 1
    assert list(download_batches(config, dataset)) == ["signals_2"]
    with pytest.raises(InputError, match=r"signals.tsv, row 2, column 'source': the file .*x.bed is not there"):
        check_files(dataset, config)


def test_what_a_model_reads_of_them(read, tmp_path, capsys):
    dataset = DataSet([], CELLS, [], read(("a", "K562", "x.bed"), ("b", "*", "x.bed"), ("c", "HUVEC", "x.bed")))
    names = ["HUVEC", "K562"]
    found = further_signals(dataset, names, tmp_path)
    assert found == {
        "a": [None, tmp_path / "a/K562.bw"],
        "b": [tmp_path / "b/_all.bw"] * 2,
        "c": [tmp_path / "c/HUVEC.bw", None],
    }
    assert capsys.readouterr().err == ""
    assert list(further_signals(dataset, names, tmp_path, ["c", "d"])) == ["c", "d"]
    said = capsys.readouterr().err
    assert (
        "trained without the signal a, which is not used" in said and "reads the signal d, which is in no" in said
    )
    assert further_signals(dataset, names, None, ["d"]) == {"d": [None, None]}
    with pytest.raises(InputError, match="the signal a is known of K562, and not given"):
        further_signals(dataset, names, None)
