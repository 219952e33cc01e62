"""What is exported from the models: the JSON schemas, and the page that tells every key and column."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tfbind.config import Config, Section, Source, config_schema, section_of
from tfbind.core.files import atomic_path, write_json
from tfbind.tables import CellTypeRow, ExperimentRow, FactorRow, SignalRow, TableRow, columns, table_schema

SCHEMAS = Path("workflow/schemas")
REFERENCE = Path("config/README.md")

TABLES: dict[str, type[TableRow]] = {
    "factors": FactorRow,
    "cell_types": CellTypeRow,
    "experiments": ExperimentRow,
    "signals": SignalRow,
}


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON schemas by file name: of the configuration, and of a row of each table."""
    tables = {f"{name}.schema.json": table_schema(model) for name, model in TABLES.items()}
    return {"config.schema.json": config_schema(), **tables}


def export_schemas(folder: str | Path = SCHEMAS) -> list[Path]:
    """Write the JSON schemas into a folder; return their paths."""
    paths = []
    for name, schema in schemas().items():
        paths.append(Path(folder) / name)
        write_json(paths[-1], schema)
    return paths


def export_reference(path: str | Path = REFERENCE) -> Path:
    """Write the page that tells every key of the configuration and every column of the tables."""
    with atomic_path(path) as temporary:
        temporary.write_text(config_reference(), encoding="utf-8")
    return Path(path)


def config_reference() -> str:
    """Every key of the configuration and every column of the tables, as a page in Markdown."""
    keys = "\n".join(_section_text(*section) for section in _sections(Config, ""))
    tables = "\n".join(_table_text(name, model) for name, model in TABLES.items())
    return f"{_INTRODUCTION}\n## The tables\n{_ABOUT_TABLES}\n{tables}\n## The keys\n{_ABOUT_KEYS}\n{keys}"


def _sections(model: type[Section], prefix: str) -> Iterator[tuple[str, str, type[Section]]]:
    """(key, description, model) of a section and all below it."""
    yield prefix, (model.__doc__ or "").strip(), model
    for name, field in model.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None and inner is not Source:
            yield from _sections(inner, f"{prefix}.{name}".lstrip("."))


def _section_text(key: str, description: str, model: type[Section]) -> str:
    title = f"`{key}`" if key else "At the top"
    rows = [
        f"\n### {title}\n",
        f"{description}\n",
        "| key | type | default | what it says |",
        "| --- " * 4 + "|",
    ]
    for name, field in model.model_fields.items():
        cells = [
            f"`{name}`",
            _type_text(field),
            _default_text(field, f"{key}.{name}".lstrip(".")),
            field.description,
        ]
        rows.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _table_text(name: str, model: type[TableRow]) -> str:
    rows = [f"### `{name}.tsv`\n", f"{(model.__doc__ or '').strip()}\n"]
    rows += ["| column | needed | what it says |", "| --- " * 3 + "|"]
    for column in columns(model):
        rows.append(f"| `{column.name}` | {'yes' if column.required else ''} | {column.description} |")
    return "\n".join(rows) + "\n"


_TYPE_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
_BOUNDS = {annotated_types.Ge: "≥", annotated_types.Gt: ">", annotated_types.Le: "≤", annotated_types.Lt: "<"}


def _type_text(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(rule, kind.__name__.lower()):g}"
        for kind, sign in _BOUNDS.items()
        for rule in field.metadata
        if isinstance(rule, kind)
    ]
    return ", ".join([_name_of(field.annotation), *bounds])


def _name_of(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _name_of(inner[0])
    if origin in (Union, UnionType):
        return " or ".join(_name_of(part) for part in inner if part is not NoneType)
    if origin is list:
        return f"list of {_name_of(inner[0])}"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if annotation is Source:
        return "source"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "keys"
    return _TYPE_NAMES[annotation]


def _default_text(field: FieldInfo, key: str) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "**needed**"
    if isinstance(default, BaseModel) or (default is None and _name_of(field.annotation) == "keys"):
        anchor = key.replace(".", "")
        return f"{'none; ' if default is None else ''}[below](#{anchor})"
    return "none" if default is None else f"`{json.dumps(default)}`"


_INTRODUCTION = """\
# Configuration

<!-- Written by `python -m tfbind.schemas` from the models in tfbind/config.py and tfbind/tables.py.
     Edit those, or the text in tfbind/schemas.py, and run it again. -->

A data set is a folder here: a `config.yaml`, and three tables that say which factors, cell types and
experiments there are.

| folder | what it holds |
| --- | --- |
| `demo/` | a simulated world, made from a seed: it shows how the program works, and is not data |
| `yeast/` | 70 factors of *S. cerevisiae*: ChIP-exo calls (Rossi et al. 2021) and ATAC-seq, by URL |

    snakemake --configfile config/yeast/config.yaml --cores all

Several files may be given; later ones override earlier ones, key by key (a list replaces a list):

    snakemake --configfile config/yeast/config.yaml config/yeast/mirror.yaml --cores all

## Your own data

1. Make a folder, such as `config/mine/`, with the three tables. `experiments.tsv` needs three columns: the
   factor, the cell type and the file of peaks. `cell_types.tsv` needs one, the name; where there is an
   ATAC-seq or DNase-seq track, give it as `accessibility`. `factors.tsv` needs a name and, for each factor, a
   UniProt accession, a sequence or a motif.
2. Write `config/mine/config.yaml`; this is enough:

       name: mine
       tables:
         factors: config/mine/factors.tsv
         cell_types: config/mine/cell_types.tsv
         experiments: config/mine/experiments.tsv
       reference:
         fasta: /data/genomes/hg38.fa.gz
         include: ["chr[0-9]", "chr[0-9][0-9]", chrX]
       splits:
         validation: [chr9]
         test: [chr8, chr21]

3. Run `snakemake -n --configfile config/mine/config.yaml`. The configuration and the tables are checked
   before anything runs; what is wrong is told with file, row and column, or with its key, and with what mends
   it.

What is known of cell types along the genome beside accessibility, such as FAIRE-seq, histone marks or
conservation, goes into a fourth table, `signals.tsv`, which the configuration names by `tables.signals`.

A factor or cell type need not have an experiment: tracks are predicted for all of the tables.

## Paths and sources

- **Paths**, here and in the tables, are relative to the folder in which the run is started (the project's
  root), not to the file that they stand in.
- **A source** is a file by its path, or by an http(s) URL with its SHA-256 (`sha256sum FILE` prints it). In
  the configuration it is a path alone, or two keys:

      fasta:
        source: https://example.org/genome.fa.gz
        sha256: e3a70396853eff5a012077efbd06cb97d858e12349745d102e316bb8f620f266

  In a table, the column `sha256` stands beside the column of the file. For a path it may be left out.
- **Downloads** lie at `resources/downloads/HOST/PATH`. They resume where they were interrupted, are tried
  again when the network fails, and are verified; a wrong or truncated file is an error, and nothing of it is
  kept.
- **A mirror** (`mirror:`) serves `https://HOST/PATH` as `<mirror>/HOST/PATH`. It is a folder, for a machine
  without internet access, or another base URL. The checksums stay the same.
"""

_ABOUT_TABLES = """
Tab-separated text in UTF-8 with a header. The order of columns is free, and those that are not needed may be
left out or left empty; a column that is not listed here is an error. Lines that begin with `#` are comments.
Names become names of files: a letter or digit, and then letters, digits, `.`, `_`, `+` and `-`.
"""

_ABOUT_KEYS = """
A key that is not listed here is an error. "Keys" means that further keys stand below; "source" is told above.
Numbers are written with a dot and without quotes: `0.001` or `1.0e-3`.
"""


if __name__ == "__main__":
    for written in (*export_schemas(), export_reference()):
        print(written)
