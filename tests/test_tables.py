"""The three tables: what they give, and errors that name file, row, column and mend."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbind.config import Source, parse_config
from tfbind.core.errors import InputError
from tfbind.tables import (
    CellTypeRow,
    ExperimentRow,
    FactorRow,
    accessions_to_fetch,
    check_files,
    read_cell_types,
    read_experiments,
    read_factors,
    read_tables,
    sources,
    table_schema,
)

SHA, OTHER = "0" * 64, "1" * 64
URL = "https://example.org/peaks.bed"
FACTORS = "factor\tuniprot\tmotif\nREB1\tP21538\tMA0363.3\nGAL4\tP04386\t\n"
CELLS = "cell_type\tdescription\taliases\nyeast\tbudding yeast, YPD\tYPD; S288C\nheat\tat 37 C\t\n"
EXPERIMENTS = "factor\tcell_type\tpeaks\nREB1\tyeast\treb1.bed\nGAL4\theat\tgal4.bed\n"


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def tables(tmp_path):
    return {
        "factors": write(tmp_path, "factors.tsv", FACTORS),
        "cell_types": write(tmp_path, "cell_types.tsv", CELLS),
        "experiments": write(tmp_path, "experiments.tsv", EXPERIMENTS),
    }


def config_of(tables, **changes):
    return parse_config(
        {
            "name": "small",
            "tables": {key: str(path) for key, path in tables.items()},
            "reference": {"fasta": str(tables["factors"].parent / "genome.fa")},
            "splits": {"validation": ["chr2"], "test": ["chr3"]},
            **changes,
        }
    )


def error_of(action, path, *words):
    with pytest.raises(InputError) as error:
        action()
    text = str(error.value)
    for word in [*([str(path)] if path else []), "mend: ", *words]:
        assert word in text, text
    assert "Value error" not in text and "Input should" not in text
    return text


# --- what is read ------------------------------------------------------------------------------------------


def test_rows_are_what_the_tables_say(tables):
    data = read_tables(config_of(tables))
    assert data.factors[0] == FactorRow(row=2, factor="REB1", uniprot="P21538", motif="MA0363.3")
    assert data.factors[1].motif is None
    assert data.cell_types[0].aliases == ("YPD", "S288C") and data.cell_types[0].accessibility is None
    assert [row.name for row in data.experiments] == ["REB1.yeast", "GAL4.heat"]
    assert data.experiments[0].peaks == Source(source="reb1.bed")


def test_comments_blank_lines_bom_quotes_and_windows_line_ends_are_read(tmp_path):
    text = '# about "this\r\n\r\nfactor\tmotif\r\n#x\t"y\r\nREB1\t"MA0363.3"\r\n\t\r\nGAL4\tMA0299.1 \r\n'
    rows = read_factors(write(tmp_path, "f.tsv", b"\xef\xbb\xbf" + text.encode()))
    assert [(row.factor, row.motif, row.row) for row in rows] == [
        ("REB1", "MA0363.3", 5),
        ("GAL4", "MA0299.1", 7),
    ]


def test_sources_take_their_checksum_from_the_column_beside(tmp_path):
    path = write(tmp_path, "c.tsv", f"cell_type\taccessibility\tsha256\na\t{URL}\t{SHA}\nb\tb.bw\t\nc\t\t\n")
    a, b, c = read_cell_types(path)
    assert a.accessibility == Source(source=URL, sha256=SHA)
    assert b.accessibility == Source(source="b.bw") and c.accessibility is None


def test_a_sequence_is_given_in_upper_case_and_checked(tmp_path):
    sha256 = hashlib.sha256(b"MKVLAW").hexdigest()
    path = write(tmp_path, "f.tsv", f"factor\tsequence\tsequence_sha256\nX\tmkvlaw\t{sha256}\n")
    assert read_factors(path)[0].sequence == "MKVLAW"


def test_accessions_of_proteins_of_ones_own_are_free(tmp_path):
    path = write(tmp_path, "f.tsv", "factor\tuniprot\nX\tSIM01\n")
    assert read_factors(path, at_uniprot=False)[0].uniprot == "SIM01"


def read_measured(tmp_path, *rows, header="factor\tcell_type\tpeaks\tassay\ttreatment"):
    factors = [FactorRow(factor=name, motif="M") for name in ("STAT1", "CTCF")]
    cells = [CellTypeRow(cell_type="K562", aliases=("k-562",)), CellTypeRow(cell_type="HeLa-S3")]
    path = write(tmp_path, "experiments.tsv", "\n".join([header, *rows]) + "\n")
    return read_experiments(path, factors, cells)


def test_experiments_are_named_apart_by_what_differs(tmp_path):
    rows = read_measured(
        tmp_path,
        "CTCF\tK562\ta.bed\tChIP-seq\t",
        "STAT1\tK562\tb.bed\tChIP-seq\t",
        "STAT1\tK562\tc.bed\tChIP-seq\tIFNa 6h",
        "STAT1\tHeLa-S3\td.bed\tChIP-seq\t",
        "STAT1\tHeLa-S3\te.bed\tCUT&RUN\t",
    )
    assert [row.name for row in rows] == [
        "CTCF.K562",
        "STAT1.K562",
        "STAT1.K562.IFNa_6h",
        "STAT1.HeLa-S3.ChIP-seq",
        "STAT1.HeLa-S3.CUT_RUN",
    ]


def test_names_that_end_in_letters_of_an_ending_stay_whole(tmp_path):
    factors = [FactorRow(factor=name, motif="M") for name in ("TSV", "AFAF.fa", "SNOB", "x.bed")]
    cells = [CellTypeRow(cell_type=name) for name in ("narrowPeak", "HeLa.a", "bw", "K562.tsv")]
    rows = [f"{factor.factor}\t{cell.cell_type}\tp.bed" for factor, cell in zip(factors, cells, strict=True)]
    path = write(tmp_path, "experiments.tsv", "\n".join(["factor\tcell_type\tpeaks", *rows]) + "\n")
    found = read_experiments(path, factors, cells)
    assert [row.name for row in found] == ["TSV.narrowPeak", "AFAF.fa.HeLa.a", "SNOB.bw", "x.bed.K562.tsv"]


def test_an_alias_in_the_experiments_stands_for_its_cell_type(tmp_path):
    assert read_measured(tmp_path, "CTCF\tk-562\ta.bed\t\t")[0].name == "CTCF.K562"


@given(st.lists(st.tuples(*[st.sampled_from(["", "a", "b", "a b"])] * 2), min_size=1, max_size=6, unique=True))
def test_names_of_experiments_are_unique_and_fit_for_files(tmp_path_factory, kinds):
    folder = tmp_path_factory.mktemp("names")
    rows = [f"CTCF\tK562\tp.bed\t{assay}\t{treatment}" for assay, treatment in kinds]
    try:
        names = [row.name for row in read_measured(folder, *rows)]
    except InputError as error:
        assert "stands twice" in str(error)  # e.g. `a` as assay of one, and as treatment of the other
    else:
        assert len(set(names)) == len(names) == len(kinds)
        assert all(name == Path(name).name and " " not in name for name in names)


# --- bad tables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uniprot\nP21538\n", ["row 1", "column 'factor' is missing"]),
        ("factor\tuniprto\nREB1\tP21538\n", ["row 1", "unknown column 'uniprto'", "did you mean 'uniprot'?"]),
        ("factor\tcolour\nREB1\tred\n", ["unknown column 'colour'", "known columns: factor, uniprot"]),
        ("factor,uniprot\nREB1,P21538\n", ["unknown column", "separate the columns by tabs"]),
        ("factor\tmotif\tmotif\nREB1\ta\tb\n", ["column 'motif' stands twice"]),
        ("factor\tmotif\nREB1\tM\nGAL4\tM\nREB1\tM\n", ["row 4", "'factor'", "'REB1' stands twice", "row 2"]),
        ("factor\tmotif\nREB1\tM\n\tM\n", ["row 3", "column 'factor'", "is empty"]),
        ("factor\tmotif\nA/B\tM\n", ["row 2", "column 'factor'", "'A/B' is unfit for a name"]),
        ("factor\tmotif\n../up\tM\n", ["'../up' is unfit for a name"]),
        ("factor\tmotif\nREB1\tM\textra\n", ["row 2", "has 3 cells, and the header 2"]),
        ("factor\tmotif\n# note\nREB1\n", ["row 3", "has 1 cells, and the header 2"]),
        ("factor\tmotif\nREB1\t\n", ["row 2", "REB1 has neither protein nor motif", "`uniprot`"]),
        (
            "factor\tuniprot\nREB1\tYBR049C\n",
            ["row 2", "column 'uniprot'", "'YBR049C' is no UniProt accession"],
        ),
        ("factor\tuniprot\nREB1\tp21538\n", ["'p21538' is no UniProt accession"]),
        ("factor\tsequence\nREB1\tMKV1AW\n", ["row 2", "column 'sequence'", "'1' at position 4"]),
        ("factor\tsequence\nREB1\tMK VL\n", []),
        (f"factor\tsequence\tsequence_sha256\nREB1\tMKV\t{SHA}\n", ["row 2", "expected", SHA, "got"]),
        (
            "factor\tuniprot\tsequence_sha256\nREB1\tP21538\tabc\n",
            ["column 'sequence_sha256'", "64 lower-case"],
        ),
        ("factor\tmotif\n", ["has a header and no rows"]),
        ("", ["column 'factor' is missing"]),
        ('factor\tmotif\nREB1\t"M\n', ["is not tab-separated text"]),
        ("factor\tmotif\nREB1\tMé\n".encode("latin-1"), ["UTF-8"]),
    ],
)
def test_bad_tables_of_factors(tmp_path, text, words):
    path = write(tmp_path, "factors.tsv", text)
    if not words:  # white space within a sequence is no error
        assert read_factors(path)[0].sequence == "MKVL"
        return
    error_of(lambda: read_factors(path), path, *words)


def test_a_missing_table_is_an_error(tmp_path):
    error_of(lambda: read_factors(tmp_path / "absent.tsv"), tmp_path / "absent.tsv", "no such table")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cell_type\taccessibility\na\t" + URL + "\n", ["row 2", "column 'sha256'", URL, "checksum"]),
        (f"cell_type\taccessibility\tsha256\na\t{URL}\tabc\n", ["row 2", "column 'sha256'", "64 lower-case"]),
        (f"cell_type\taccessibility\tsha256\na\t\t{SHA}\n", ["row 2", "column 'accessibility'", "no 'acc"]),
        (
            "cell_type\taliases\nA\tB\nB\t\n",
            ["row 2", "column 'aliases'", "'B' of A also stands for B (row 3)"],
        ),
        ("cell_type\taliases\nA\tx\nB\ty; x\n", ["row 3", "column 'aliases'", "also stands for A (row 2)"]),
        ("cell_type\nHeLa S3\n", ["row 2", "column 'cell_type'", "'HeLa S3' is unfit for a name"]),
        ("cell_type\nA\nA\n", ["row 3", "column 'cell_type'", "stands twice"]),
    ],
)
def test_bad_tables_of_cell_types(tmp_path, text, words):
    path = write(tmp_path, "cell_types.tsv", text)
    error_of(lambda: read_cell_types(path), path, *words)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("CTFC\tK562\ta.bed\t\t", ["row 2", "column 'factor'", "'CTFC' is defined nowhere", "'CTCF'"]),
        ("ctcf\tK562\ta.bed\t\t", ["column 'factor'", "did you mean 'CTCF'"]),
        ("CTCF\tHeLa\ta.bed\t\t", ["row 2", "column 'cell_type'", "'HeLa' is defined nowhere", "'HeLa-S3'"]),
        ("CTCF\tK562\t\t\t", ["row 2", "column 'peaks'", "is empty"]),
        (f"CTCF\tK562\t{URL}\t\t", ["row 2", "column 'sha256'", URL]),
        ("CTCF\tK562\ta.bed\tx\t\nCTCF\tk-562\tb.bed\tx\t", ["row 3", "CTCF.K562 stands twice", "row 2"]),
    ],
)
def test_bad_tables_of_experiments(tmp_path, row, words):
    error_of(lambda: read_measured(tmp_path, row), tmp_path / "experiments.tsv", *words)


def test_a_signal_must_be_local(tmp_path):
    header = "factor\tcell_type\tpeaks\tsignal"
    row = "CTCF\tK562\ta.bed\thttps://e.org/x.bw"
    error_of(lambda: read_measured(tmp_path, row, header=header), None, "row 2", "column 'signal'", "is a URL")


@pytest.mark.parametrize("reads", ["0", "-5", "1e6", "1,000", "12.5", "1_000", "many", "007"])
def test_read_depth_is_a_whole_number(tmp_path, reads):
    header = "factor\tcell_type\tpeaks\treads"
    error_of(
        lambda: read_measured(tmp_path, f"CTCF\tK562\ta.bed\t{reads}", header=header),
        tmp_path / "experiments.tsv",
        *("row 2", "column 'reads'", reads, "number of mapped reads"),
    )


def test_read_depth_may_be_left_out(tmp_path):
    header = "factor\tcell_type\tassay\tpeaks\treads"
    rows = read_measured(tmp_path, "CTCF\tK562\tx\ta.bed\t23456789\nCTCF\tK562\ty\tb.bed\t", header=header)
    assert [row.reads for row in rows] == [23456789, None]


def test_a_loss_of_tracks_needs_a_signal_to_train_on(tables):
    config = config_of(tables, training={"losses": {"track": 0.5}})
    words = ("column 'signal'", "no experiment to train on has a signal", "training.losses.track")
    error_of(lambda: read_tables(config), config.tables.experiments, *words)


@pytest.mark.parametrize(
    ("section", "key", "name", "words"),
    [
        ("splits", "held_out_factors", "REB2", ["factors.tsv", "'REB1'"]),
        ("splits", "held_out_cell_types", "Yeast", ["cell_types.tsv", "'yeast'"]),
        ("prediction", "cell_types", "YPD", ["write 'yeast', of which this is an alias"]),
        ("prediction", "factors", "REB2", ["'REB1'"]),
        ("prediction", "cell_types", "sporulation", ["the table has heat, yeast"]),
    ],
)
def test_what_the_configuration_names_must_be_in_the_tables(tables, section, key, name, words):
    given = {"splits": {"validation": ["chr2"], "test": ["chr3"]}}
    given.setdefault(section, {})[key] = [name]
    config = config_of(tables, **given)
    error_of(lambda: read_tables(config), None, f"key '{section}.{key}'", f"'{name}'", *words)


# --- files -------------------------------------------------------------------------------------------------


def test_missing_files_are_named_with_row_and_column(tables, tmp_path):
    write(tmp_path, "experiments.tsv", f"factor\tcell_type\tpeaks\nREB1\tyeast\t{tmp_path}/reb1.bed\n")
    write(tmp_path, "cell_types.tsv", f"cell_type\taccessibility\nyeast\t{tmp_path}/atac.bed\n")
    config = config_of(tables)
    data = read_tables(config)
    for name, words in (
        ("genome.fa", ["key 'reference.fasta'"]),
        ("atac.bed", ["cell_types.tsv, row 2, column 'accessibility'"]),
        ("reb1.bed", ["experiments.tsv, row 2, column 'peaks'"]),
    ):
        error_of(lambda: check_files(data, config), None, f"{tmp_path}/{name} is not there", *words)
        write(tmp_path, name, "")
    check_files(data, config)


def test_urls_and_simulated_files_need_not_be_there(tables, tmp_path):
    write(
        tmp_path,
        "experiments.tsv",
        f"factor\tcell_type\tpeaks\tsha256\nREB1\tyeast\t{URL}\t{SHA}\nGAL4\tyeast\t{tmp_path}/made/g.bed\t\n",
    )
    config = config_of(
        tables,
        reference={"fasta": f"{tmp_path}/made/genome.fa"},
        simulation={"folder": f"{tmp_path}/elsewhere/../made"},
    )
    check_files(read_tables(config), config)
    config = config.model_copy(update={"simulation": None})
    error_of(lambda: check_files(read_tables(config), config), None, "made/genome.fa is not there")


def test_sources_are_listed_once(tables, tmp_path):
    write(
        tmp_path,
        "experiments.tsv",
        f"factor\tcell_type\tpeaks\tsha256\nREB1\tyeast\t{URL}\t{SHA}\nGAL4\tyeast\t{URL}\t{SHA}\n"
        f"GAL4\theat\tb.bed\t\nREB1\theat\tb.bed\t{OTHER}\n",
    )
    config = config_of(tables, reference={"fasta": "genome.fa", "blacklist": "b.bed"})
    assert sources(config, read_tables(config)) == [
        Source(source="b.bed", sha256=OTHER),
        Source(source="genome.fa"),
        Source(source=URL, sha256=SHA),
    ]


def test_one_source_with_two_checksums_is_an_error(tables, tmp_path):
    text = f"factor\tcell_type\tpeaks\tsha256\nREB1\tyeast\t{URL}\t{SHA}\nGAL4\tyeast\t{URL}\t{OTHER}\n"
    path = write(tmp_path, "experiments.tsv", text)
    config = config_of(tables)
    error_of(lambda: sources(config, read_tables(config)), path, "row 3", URL, SHA, OTHER)


def test_accessions_are_fetched_where_nothing_else_gives_the_protein(tables, tmp_path):
    write(
        tmp_path,
        "factors.tsv",
        "factor\tuniprot\tsequence\tmotif\nREB1\tP21538\t\t\nGAL4\tP04386\tMKLL\t\nX\t\t\tM\n",
    )
    config = config_of(tables)
    assert accessions_to_fetch(config, read_tables(config)) == ["P21538"]
    config = config_of(tables, factors={"proteins": ["p.fa"]})
    assert accessions_to_fetch(config, read_tables(config)) == []


# --- schemas -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "row", "wrong"),
    [
        (FactorRow, {"factor": "REB1", "uniprot": "", "sequence_sha256": ""}, {"factor": "A/B"}),
        (
            CellTypeRow,
            {"cell_type": "K562", "accessibility": URL, "sha256": SHA},
            {"cell_type": "a", "sha256": "x"},
        ),
        (
            ExperimentRow,
            {"factor": "A", "cell_type": "B", "peaks": "c.bed"},
            {"factor": "A", "cell_type": "B"},
        ),
    ],
)
def test_schemas_of_rows_take_cells(model, row, wrong):
    schema = table_schema(model)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(row, schema)
    for bad in (wrong, {**row, "extra": ""}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
    assert all(column["description"] for column in schema["properties"].values())
