"""The three tables of a data set: what a row may say, reading them, and what they make the workflow need.

A table is tab-separated text in UTF-8 with a header; lines that begin with `#` are comments. Columns are
known by their names; optional ones may be left out or left empty.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from tfbind.config import Config, Section, Source
from tfbind.contexts.text import TextEncoder
from tfbind.core.errors import InputError
from tfbind.core.pretrained import model_files
from tfbind.core.sources import is_url
from tfbind.factors.proteins import check_sequence, listed, protein_names, sequence_sha256

_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_NAME_RULE = "a letter or digit, and then letters, digits, '.', '_', '+', '-': it becomes a file's name"
# https://www.uniprot.org/help/accession_numbers, with an isoform's number
_UNIPROT = r"([OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9]([A-Z][A-Z0-9]{2}[0-9]){1,2})(-[0-9]+)?"


def _file_name(value: str) -> str:
    if not re.fullmatch(_NAME, value):
        raise ValueError(f"'{value}' is unfit for a name, which is {_NAME_RULE}")
    return value


def _no_url(value: Any) -> Any:
    if isinstance(value, str) and is_url(value):
        raise ValueError("is a URL, and must be a file on this machine")
    return value


def _sha256_each(value: str | None) -> str | None:
    if value is None:
        return None
    if not all(re.fullmatch(r"[0-9a-f]{64}", item) for item in listed(value)):
        raise ValueError("a sha256 is 64 lower-case hexadecimal digits")
    return ";".join(listed(value))


Checksums = Annotated[
    str | None,
    AfterValidator(_sha256_each),
    Field(json_schema_extra={"pattern": r"^[0-9a-f]{64}( *; *[0-9a-f]{64})*$"}),
]


def _whole_number(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch("[1-9][0-9]*", value):
        raise ValueError(f"'{value}' is no whole number above 0, in digits alone")
    return value


Name = Annotated[str, AfterValidator(_file_name), Field(json_schema_extra={"pattern": f"^{_NAME}$"})]


class TableRow(Section):
    """A row of a table. Fields that are no columns are set by the reader."""

    not_columns: ClassVar[frozenset[str]] = frozenset({"row", "name"})

    row: int = Field(0, description="Its place in the file, as an editor counts lines.", exclude=True)


class FactorRow(TableRow):
    """A transcription factor: at least a protein (`uniprot` or `sequence`) or a motif."""

    factor: Name = Field(description="Name of the factor, such as its gene symbol; unique.")
    uniprot: str | None = Field(
        None,
        description="UniProt accession of its protein, such as `P21538`, or `P21538-2` for an isoform; with "
        "protein FASTA files of your own (`factors.proteins`), the accession in their headers. A complex lists "
        "those of its proteins, separated by `;`.",
    )
    sequence: str | None = Field(
        None,
        description="Protein sequence, in one-letter amino acids; of a complex, all of them, separated by `;`.",
    )
    sequence_sha256: Checksums = Field(
        None,
        description="SHA-256 of the protein sequence (upper case, without line breaks): what is read or "
        "fetched must have it. Of a complex, one for each protein, separated by `;`.",
    )
    motif: str | None = Field(
        None,
        description="Id of its motif in the MEME files (`factors.motifs`) or in JASPAR, such as `MA0363.3`.",
    )
    structure: tuple[Source, ...] = Field(
        (),
        description="Its protein's structure, read with `factors.structure`: mmCIF or PDB, a path or URL, such "
        "as the AlphaFold Database's. Of a complex, one that has all proteins, or one for each, separated by `;` "
        "(and so their `sha256`). Empty: the one in `factors.structure.folder`.",
    )

    @property
    def accessions(self) -> tuple[str, ...]:
        """The accessions of its proteins, in order."""
        return listed(self.uniprot) if self.uniprot is not None else ()

    @property
    def protein_names(self) -> tuple[str, ...]:
        """What its proteins are looked up by, in folders and tables; see `tfbind.factors.proteins`."""
        count = len(listed(self.sequence)) if self.sequence is not None else 1
        return protein_names(self.factor, self.uniprot, count)


class CellTypeRow(TableRow):
    """A cell type, and what is known of it."""

    cell_type: Name = Field(description="Name of the cell type; unique.")
    description: str = Field("", description="Free text about the biosample: species, tissue, condition.")
    accessibility: Source | None = Field(
        None,
        description="ATAC or DNase signal: fragments (10x format), BED, bedGraph or bigWig; a path or URL. "
        "Empty: not known.",
    )
    aliases: tuple[str, ...] = Field(
        (), description="Further names of the same cell type, separated by `;`; experiments may use them."
    )


class ExperimentRow(TableRow):
    """A measured binding set: factor x cell type x assay."""

    factor: Name = Field(description="A factor of the table of factors.")
    cell_type: Name = Field(description="A cell type of the table of cell types, or one of its aliases.")
    assay: str | None = Field(None, description="How it was measured, such as `ChIP-seq` or `ChIP-exo`.")
    peaks: Source = Field(description="Its peaks: narrowPeak, BED, or calls of 1 bp; a path or URL.")
    signal: Annotated[Path | None, BeforeValidator(_no_url)] = Field(
        None, description="Its coverage: path of a bigWig."
    )
    reads: Annotated[int | None, BeforeValidator(_whole_number)] = Field(
        None,
        description="Its read depth: how many reads (or fragments) were mapped. A covariate of peak scores "
        "(`training.losses.peak_score`).",
        ge=1,
        json_schema_extra={"pattern": "^[1-9][0-9]*$"},
    )
    treatment: str | None = Field(
        None, description="What the cells were treated with, such as `IFNg 30min`; empty: untreated."
    )
    name: str = Field("", description="`factor.cell_type`, and the assay and treatment where they differ.")


@dataclass(frozen=True)
class Column:
    """A column of a table, and the JSON schema of its cells."""

    name: str
    required: bool
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """The three tables of a configuration."""

    factors: list[FactorRow]
    cell_types: list[CellTypeRow]
    experiments: list[ExperimentRow]


RowModel = TypeVar("RowModel", bound=TableRow)


def columns(model: type[TableRow]) -> list[Column]:
    """The columns of a table; a source has two, the file and its `sha256`."""
    properties = model.model_json_schema()["properties"]
    found = []
    for name, field in model.model_fields.items():
        if name in model.not_columns:
            continue
        description, required = field.description or "", field.is_required()
        found.append(_column(name, required, description, properties[name].get("pattern")))
        if _is_source(model, name):
            text = f"SHA-256 of the file in `{name}`; required if that is a URL, verified if given."
            several = "( *; *([0-9a-f]{64})?)*" if _is_list_of_sources(model, name) else ""
            found.append(_column("sha256", False, text, f"^[0-9a-f]{{64}}{several}$"))
    return found


def _column(name: str, required: bool, description: str, pattern: str | None) -> Column:
    schema = {"type": "string", "description": description}
    if required:
        schema["minLength"] = 1
    if pattern:
        schema["pattern"] = pattern if required else f"^$|{pattern}"
    return Column(name, required, description, schema)


def table_schema(model: type[TableRow]) -> dict[str, Any]:
    """The JSON schema of a table's row, as text cells by column."""
    described = columns(model)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": model.__name__,
        "description": model.__doc__,
        "type": "object",
        "properties": {column.name: column.schema for column in described},
        "required": [column.name for column in described if column.required],
        "additionalProperties": False,
    }


def _is_source(model: type[TableRow], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return annotation is Source or Source in getattr(annotation, "__args__", ())


def _is_list_of_sources(model: type[TableRow], name: str) -> bool:
    return get_origin(model.model_fields[name].annotation) is tuple and _is_source(model, name)


# --- reading -----------------------------------------------------------------------------------------------


def read_factors(path: str | Path, *, at_uniprot: bool = True) -> list[FactorRow]:
    """Read the table of factors.

    Parameters
    ----------
    path
        The TSV.
    at_uniprot
        Whether the column `uniprot` must hold real accessions, since they will be looked up at UniProt;
        otherwise they are names in FASTA files of the user's.

    Raises
    ------
    InputError
        Naming file, row and column: no such file, unknown or missing columns, a row with the wrong number of
        cells, an empty required cell, a name unfit for a file, a factor that stands twice, one with neither
        protein nor motif, a malformed accession, a sequence that is no protein or has another checksum.
    """
    path = Path(path)
    rows = _read(path, FactorRow)
    _unique(path, rows, "factor")
    return [_checked_factor(path, row, at_uniprot) for row in rows]


def read_cell_types(path: str | Path) -> list[CellTypeRow]:
    """Read the table of cell types.

    Raises
    ------
    InputError
        As `read_factors`; also an alias that is another cell type's name or alias, and a URL without
        checksum.
    """
    path = Path(path)
    rows = _read(path, CellTypeRow)
    _unique(path, rows, "cell_type")
    names = {row.cell_type: row for row in rows}
    for row in rows:
        for alias in row.aliases:
            other = names.setdefault(alias, row)
            if other is not row:
                raise InputError(
                    f"alias '{alias}' of {row.cell_type} also stands for {other.cell_type} (row {other.row})",
                    file=path,
                    row=row.row,
                    column="aliases",
                    mend="take the alias out of one of the two, or join the rows if they are one cell type",
                )
    return rows


def read_experiments(
    path: str | Path, factors: Sequence[FactorRow], cell_types: Sequence[CellTypeRow]
) -> list[ExperimentRow]:
    """Read the table of experiments; aliases of cell types are replaced by their names.

    Raises
    ------
    InputError
        As `read_factors`; also a factor or cell type that the other tables do not have (near names are
        listed), two experiments alike, and a URL without checksum.
    """
    path = Path(path)
    known_factors = {row.factor: row.factor for row in factors}
    known_cells = names_of_cell_types(cell_types)
    rows = []
    for row in _read(path, ExperimentRow):
        _defined(path, row, "factor", row.factor, known_factors)
        _defined(path, row, "cell_type", row.cell_type, known_cells)
        rows.append(row.model_copy(update={"cell_type": known_cells[row.cell_type]}))
    return _named(path, rows)


def read_tables(config: Config) -> DataSet:
    """Read the tables of a configuration, and check what it says of factors and cell types against them.

    Raises
    ------
    InputError
        As the readers; also a factor or cell type under `splits` or `prediction` that is in no table, and a loss
        of tracks without a signal to learn from.
    """
    factors = read_factors(config.tables.factors, at_uniprot=not config.factors.proteins)
    cell_types = read_cell_types(config.tables.cell_types)
    experiments = read_experiments(config.tables.experiments, factors, cell_types)
    factor_names = {row.factor: row.factor for row in factors}
    cell_names = names_of_cell_types(cell_types)
    for key, given, known, table in (
        ("splits.held_out_factors", config.splits.held_out_factors, factor_names, config.tables.factors),
        (
            "splits.held_out_cell_types",
            config.splits.held_out_cell_types,
            cell_names,
            config.tables.cell_types,
        ),
        ("prediction.factors", config.prediction.factors, factor_names, config.tables.factors),
        ("prediction.cell_types", config.prediction.cell_types, cell_names, config.tables.cell_types),
    ):
        for name in given or ():
            # What is held out may go by any of its names.
            if known.get(name) != name and (key != "splits.held_out_cell_types" or name not in known):
                raise InputError(f"'{name}' is not in {table}", key=key, mend=suggestion(name, known))
    dataset = DataSet(factors, cell_types, experiments)
    _signal_to_learn_from(config, dataset)
    return dataset


def names_of_cell_types(cell_types: Sequence[CellTypeRow]) -> dict[str, str]:
    """Names and aliases of cell types -> their names."""
    return {alias: row.cell_type for row in cell_types for alias in (row.cell_type, *row.aliases)}


def _not_held_out(config: Config, dataset: DataSet) -> list[ExperimentRow]:
    """The experiments that may be trained on; a fold, and relatives of factors, may hold out more."""
    names = names_of_cell_types(dataset.cell_types)
    cells = {names[name] for name in config.splits.held_out_cell_types}
    factors = config.splits.held_out_factors
    return [row for row in dataset.experiments if row.factor not in factors and row.cell_type not in cells]


def _signal_to_learn_from(config: Config, dataset: DataSet) -> None:
    trained = _not_held_out(config, dataset)
    if config.training.losses.track and all(row.signal is None for row in trained):
        raise InputError(
            "has a weight, and no experiment to train on has a signal",
            file=config.tables.experiments,
            column="signal",
            key="training.losses.track",
            mend="give bigWigs in the column 'signal', or set training.losses.track to 0",
        )


def _read(path: Path, model: type[RowModel]) -> list[RowModel]:
    lines = _cells(path)
    header_row, header = next(lines, (1, []))
    _check_header(path, header_row, header, columns(model))
    rows = []
    for number, cells in lines:
        if len(cells) != len(header):
            raise InputError(
                f"has {len(cells)} cells, and the header {len(header)}",
                file=path,
                row=number,
                mend="separate cells by one tab each, and keep the tabs of empty cells",
            )
        rows.append(_row(path, number, dict(zip(header, cells, strict=True)), model))
    if not rows:
        raise InputError("has a header and no rows", file=path, mend="add a row for each item")
    return rows


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, stripped cells) of each line that is neither blank nor a comment."""
    if not path.is_file():
        raise InputError("no such table", file=path, mend="correct its path under `tables` in the configuration")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            # Comments become blank lines, so that lines still count as an editor counts them.
            lines = ("\n" if line.startswith("#") else line for line in handle)
            reader = csv.reader(lines, dialect="excel-tab", strict=True)
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped):
                    yield reader.line_num, stripped
    except UnicodeDecodeError as error:
        raise InputError(f"is not text in UTF-8: {error}", file=path, mend="save it as UTF-8 text") from None
    except csv.Error as error:
        raise InputError(
            f"is not tab-separated text: {error}",
            file=path,
            row=reader.line_num,
            mend="correct the quotes there",
        ) from None


def _check_header(path: Path, row: int, header: Sequence[str], known: Sequence[Column]) -> None:
    names = [column.name for column in known]
    for name in header:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            mend = f"did you mean '{near[0]}'?" if near else f"known columns: {', '.join(names)}"
            if len(header) == 1 and ("," in name or ";" in name or " " in name):
                mend = "separate the columns by tabs"
            raise InputError(f"unknown column '{name}'", file=path, row=row, column=name, mend=mend)
        if header.count(name) > 1:
            raise InputError(f"column '{name}' stands twice", file=path, row=row, mend="keep one of the two")
    for column in known:
        if column.required and column.name not in header:
            raise InputError(
                f"column '{column.name}' is missing",
                file=path,
                row=row,
                mend=f"add it to the header: {column.description}",
            )


def _row(path: Path, number: int, cells: Mapping[str, str], model: type[RowModel]) -> RowModel:
    values: dict[str, Any] = {name: cell for name, cell in cells.items() if cell}
    sha256 = values.pop("sha256", None)
    for name in model.model_fields:
        if _is_list_of_sources(model, name) and name in values:
            values[name] = _sources_of(path, number, name, values[name], sha256)
        elif _is_source(model, name) and name in values:
            values[name] = {"source": values[name], "sha256": sha256}
        elif _is_source(model, name) and sha256 is not None:
            raise InputError(
                f"has a sha256 and no '{name}'", file=path, row=number, column=name, mend=f"give the {name}"
            )
    if "aliases" in values:
        values["aliases"] = tuple(alias for part in values["aliases"].split(";") if (alias := part.strip()))
    try:
        return model(row=number, **values)
    except ValidationError as error:
        raise _cell_error(path, number, error, model) from None


def _sources_of(path: Path, row: int, column: str, cell: str, sha256: str | None) -> tuple[dict[str, Any], ...]:
    """Several sources of a cell, and their checksums of the cell beside."""
    files = listed(cell)
    checksums = listed(sha256) if sha256 is not None else ("",) * len(files)
    if not all(files):
        raise InputError(
            "names a file that has no name", file=path, row=row, column=column, mend="take the spare `;` out"
        )
    if len(checksums) != len(files):
        raise InputError(
            f"has {len(checksums)} checksums for {len(files)} files in '{column}'",
            file=path,
            row=row,
            column="sha256",
            mend="list one for each file, in their order, separated by `;`; it may be left empty for a path",
        )
    return tuple(
        {"source": file, "sha256": checksum or None} for file, checksum in zip(files, checksums, strict=True)
    )


def _cell_error(path: Path, row: int, error: ValidationError, model: type[TableRow]) -> InputError:
    item = error.errors()[0]
    column = str(item["loc"][0])
    if item["type"] == "missing":
        description = model.model_fields[column].description
        return InputError(
            "is empty",
            file=path,
            row=row,
            column=column,
            mend=f"fill it in, or remove the row: {description}",
        )
    if _is_source(model, column):
        column = "sha256"  # all that can be wrong with a source that is not empty
    message = item["msg"].removeprefix("Value error, ")
    mend = {
        "sha256": "give what `sha256sum FILE` prints",
        "signal": "download the bigWig, and give its path",
        "reads": "give the number of mapped reads, such as 23456789, or leave the cell empty",
        "sequence_sha256": "give the SHA-256 of the sequence, or leave the cell empty",
    }.get(column, "rename it, in every table")
    return InputError(message, file=path, row=row, column=column, mend=mend)


def _unique(path: Path, rows: Iterable[TableRow], column: str) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        name = getattr(row, column)
        if name in seen:
            raise InputError(
                f"'{name}' stands twice; first in row {seen[name]}",
                file=path,
                row=row.row,
                column=column,
                mend="keep one of the two rows, or rename one",
            )
        seen[name] = row.row


def _checked_factor(path: Path, row: FactorRow, at_uniprot: bool) -> FactorRow:
    where: dict[str, Any] = {"file": path, "row": row.row}
    if row.uniprot is None and row.sequence is None and row.motif is None:
        raise InputError(
            f"factor {row.factor} has neither protein nor motif",
            **where,
            mend="fill in `uniprot`, `sequence` or `motif`",
        )
    for accession in row.accessions:
        if not accession or (at_uniprot and not re.fullmatch(_UNIPROT, accession)):
            raise InputError(
                f"'{accession}' is no UniProt accession",
                **where,
                column="uniprot",
                mend="give one such as P21538; for proteins of your own, set `factors.proteins` to their FASTA",
            )
    _check_counts(row, where)
    if row.sequence is None:
        return row
    try:
        sequences = [check_sequence(sequence, name=row.factor) for sequence in listed(row.sequence)]
    except InputError as error:
        raise InputError(error.problem, **where, column="sequence", mend=error.mend) from None
    got = ";".join(map(sequence_sha256, sequences))
    if row.sequence_sha256 not in (None, got):
        raise InputError(
            f"expected the sequence with sha256 {row.sequence_sha256}, got {got}",
            **where,
            column="sequence",
            mend="correct the sequence, or its sequence_sha256",
        )
    return row.model_copy(update={"sequence": ";".join(sequences)})


def _check_counts(row: FactorRow, where: Mapping[str, Any]) -> None:
    """What lists the proteins of a complex lists as many of them."""
    counts = {
        "uniprot": len(row.accessions),
        "sequence": len(listed(row.sequence)) if row.sequence is not None else 0,
        "sequence_sha256": len(listed(row.sequence_sha256)) if row.sequence_sha256 is not None else 0,
        # One structure may hold the whole complex.
        "structure": len(row.structure) if len(row.structure) > 1 else 0,
    }
    given = {column: count for column, count in counts.items() if count}
    (first, proteins), *others = given.items() if given else [("", 0)]
    for column, count in others:
        if count != proteins:
            raise InputError(
                f"lists {count}, and '{first}' {proteins} of factor {row.factor}",
                **where,
                column=column,
                mend="list one for each protein of the complex, in one order, separated by `;`",
            )


def _defined(path: Path, row: TableRow, column: str, name: str, known: Mapping[str, str]) -> None:
    if name not in known:
        kind = column.replace("_", " ")
        raise InputError(
            f"{kind} '{name}' is defined nowhere",
            file=path,
            row=row.row,
            column=column,
            mend=f"{suggestion(name, known)}, or add it to the table of {kind}s",
        )


def suggestion(name: str, known: Mapping[str, str]) -> str:
    """Near names, upper and lower case aside; for an alias the name that it stands for."""
    if name in known:
        return f"write '{known[name]}', of which this is an alias"
    folded = {other.casefold(): other for other in known}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3)]
    if near:
        return "did you mean " + " or ".join(f"'{other}'" for other in near) + "?"
    return f"the table has {', '.join(sorted(set(known.values()))[:10])}"


def _named(path: Path, rows: Sequence[ExperimentRow]) -> list[ExperimentRow]:
    """Give each experiment its name: factor and cell type, and the assay and treatment where they differ."""
    groups: dict[tuple[str, str], list[ExperimentRow]] = {}
    for row in rows:
        groups.setdefault((row.factor, row.cell_type), []).append(row)
    seen: dict[str, int] = {}
    named = []
    for row in rows:
        alike = groups[row.factor, row.cell_type]
        parts = [row.factor, row.cell_type]
        for column in ("assay", "treatment"):
            value = getattr(row, column)
            if value and len({getattr(other, column) for other in alike}) > 1:
                parts.append(re.sub(r"[^A-Za-z0-9._+-]+", "_", value).strip("_"))
        name = ".".join(parts)
        if name in seen:
            raise InputError(
                f"experiment {name} stands twice; first in row {seen[name]}",
                file=path,
                row=row.row,
                mend="keep one of the two rows, or tell them apart by `assay` or `treatment`",
            )
        seen[name] = row.row
        named.append(row.model_copy(update={"name": name}))
    return named


# --- what the tables need ----------------------------------------------------------------------------------


def sources(config: Config, dataset: DataSet) -> list[Source]:
    """All files that a run reads from configuration and tables, each once, sorted; see `Source.local_path`.

    Raises
    ------
    InputError
        One source is given with two different checksums.
    """
    found: dict[str, Source] = {}
    for source, where in _placed_sources(config, dataset):
        first = found.setdefault(source.source, source)
        if None not in (first.sha256, source.sha256) and first.sha256 != source.sha256:
            raise InputError(
                f"{source.source} has two checksums: {first.sha256} and, here, {source.sha256}",
                **where,
                mend="correct one of the two",
            )
        if first.sha256 is None:
            found[source.source] = source
    return [found[location] for location in sorted(found)]


def accessions_to_fetch(config: Config, dataset: DataSet) -> list[str]:
    """UniProt accessions whose sequences neither the table nor a FASTA of the configuration gives, sorted."""
    if config.factors.proteins:
        return []
    return sorted({each for row in dataset.factors if row.sequence is None for each in row.accessions})


def factors_to_render(config: Config, dataset: DataSet) -> list[str]:
    """The factors that tracks are made of, each once: those of `prediction.factors`, or all of the table."""
    names = config.prediction.factors or [row.factor for row in dataset.factors]
    return list(dict.fromkeys(names))


def trained_cell_types(config: Config, dataset: DataSet) -> set[str]:
    """The cell types of the experiments that the configuration does not hold out in every fold."""
    return {row.cell_type for row in _not_held_out(config, dataset)}


def check_files(dataset: DataSet, config: Config) -> None:
    """Check that every local file is there. Files below `simulation.folder` are made by the run itself.

    Raises
    ------
    InputError
        Naming the configuration's key, or the table, row and column.
    """
    for source, where in _placed_sources(config, dataset):
        if not source.is_url:
            _there(Path(source.source), config, where)
    for row in dataset.experiments:
        if row.signal is not None:
            _there(row.signal, config, _place(config.tables.experiments, row, "signal"))
    if config.reference.aliases is not None:
        _there(config.reference.aliases, config, {"key": "reference.aliases"})
    for key, path in embedder_files(config):
        _there(path, config, {"key": key})
    for key, folder in _factor_folders(config):
        if not folder.is_dir():
            raise InputError(f"the folder {folder} is not there", key=key, mend="correct the path")
    if config.contexts.text is not None:
        TextEncoder(**config.contexts.text.model_dump())


def factor_sources(config: Config, dataset: DataSet) -> list[Source]:
    """The sources that what is known of the factors is read from."""
    settings = config.factors
    found = [*settings.proteins, *settings.motifs]
    if settings.region != "whole" and settings.domains is not None:
        found.append(settings.domains)
    if settings.structure is not None:
        found += [source for row in dataset.factors for source in row.structure]
    return found


def embedder_files(config: Config) -> list[tuple[str, Path]]:
    """(key, path) of the local files of weights that the chosen embedder reads."""
    settings, kind = config.factors, config.factors.embedder
    found: list[tuple[str, Path | None]] = []
    if kind == "esm2":
        found = [(f"esm2.{name}", getattr(settings.esm2, name)) for name in ("checkpoint", "finetuned")]
    elif kind == "esm1b":
        found = [("esm1b.checkpoint", settings.esm1b.checkpoint)]
    elif kind == "huggingface" and settings.huggingface.folder is not None:
        folder = settings.huggingface.folder
        # Without its configuration it is no model; an absent folder is told in the same way.
        inside = model_files(folder) if folder.is_dir() else []
        found = [("huggingface.folder", path) for path in {folder / "config.json": None, **dict.fromkeys(inside)}]
    return [(f"factors.{key}", path) for key, path in found if path is not None]


def _factor_folders(config: Config) -> Iterator[tuple[str, Path]]:
    """(key, path) of the folders in which files are looked up by a protein's accession."""
    settings = config.factors
    if settings.embedder == "alphafold" and settings.alphafold.folder is not None:
        yield "factors.alphafold.folder", settings.alphafold.folder
    if settings.structure is not None and settings.structure.folder is not None:
        yield "factors.structure.folder", settings.structure.folder


def _place(file: Path, row: TableRow, column: str) -> dict[str, Any]:
    return {"file": file, "row": row.row, "column": column}


def _placed_sources(config: Config, dataset: DataSet) -> Iterator[tuple[Source, dict[str, Any]]]:
    """Each source, and where it is given, as arguments of `InputError`."""
    yield config.reference.fasta, {"key": "reference.fasta"}
    if config.reference.blacklist is not None:
        yield config.reference.blacklist, {"key": "reference.blacklist"}
    for key in ("proteins", "motifs"):
        for number, source in enumerate(getattr(config.factors, key), 1):
            yield source, {"key": f"factors.{key}[{number}]"}
    if config.factors.domains is not None:
        yield config.factors.domains, {"key": "factors.domains"}
    if config.evaluation.promoters is not None:
        yield config.evaluation.promoters, {"key": "evaluation.promoters"}
    if config.factors.structure is not None:
        for factor in dataset.factors:
            for structure in factor.structure:
                yield structure, _place(config.tables.factors, factor, "structure")
    for cell_type in dataset.cell_types:
        if cell_type.accessibility is not None:
            yield cell_type.accessibility, _place(config.tables.cell_types, cell_type, "accessibility")
    for experiment in dataset.experiments:
        yield experiment.peaks, _place(config.tables.experiments, experiment, "peaks")


def _there(path: Path, config: Config, where: Mapping[str, Any]) -> None:
    simulated = config.simulation
    made = simulated is not None and path.resolve().is_relative_to(simulated.folder.resolve())
    if not made and not path.is_file():
        raise InputError(
            f"the file {path} is not there",
            **where,
            mend="correct the path; paths are relative to the folder in which the run is started",
        )
