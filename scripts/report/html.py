"""Self-contained pages: text, figures and tables whose every cell is that of a TSV. No page fetches anything."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tfbind.core.files import atomic_path

STATIC = Path(__file__).parent
# Bytes of a table's rows at most; the file that it is made from has all. Within Snakemake's report a page is the
# address of a frame, in base64, and Chromium shows none of more than 2 MiB.
LARGEST_TABLE = 350_000

Cells = Mapping[str, str]
NumberedRow = tuple[int, Cells]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name, label
        In the TSV, and on the page.
    shown
        Number -> text; None: the cell as it is. The exact cell stays in the page, and is what is sorted by.
    number
        Whether it holds numbers.
    link
        Row -> path from the root, for the cell's text.
    """

    name: str
    label: str
    shown: Callable[[float], str] | None = None
    number: bool = False
    link: Callable[[Cells], str] | None = None


def digits(name: str, label: str, count: int = 3) -> Column:
    """A column of numbers with so many decimals."""
    return Column(name, label, lambda value: f"{value:.{count}f}", number=True)


def significant(name: str, label: str) -> Column:
    """A column of numbers of all sizes, with three significant digits."""
    return Column(name, label, lambda value: f"{value:.3g}", number=True)


def percent(name: str, label: str) -> Column:
    """A column of shares, as percentages with three significant digits."""
    return Column(name, label, lambda value: f"{100 * value:.3g} %", number=True)


def whole(name: str, label: str) -> Column:
    """A column of whole numbers."""
    return Column(name, label, lambda value: f"{value:,.0f}", number=True)


@dataclass(frozen=True)
class Place:
    """Where a page lies.

    Attributes
    ----------
    root
        Folder of Snakemake's report: links are given from there.
    path
        Of the page, below it.
    """

    root: Path
    path: str

    def href(self, path: str) -> str:
        """A link of this page to a path from the root."""
        return "../" * self.path.count("/") + quoted(path)

    def link(self, path: str, text: str) -> str:
        """An anchor to a path from the root."""
        return f'<a href="{escape(self.href(path))}" data-run="{escape(quoted(path))}">{escape(text)}</a>'


def escape(text: object) -> str:
    """Text as HTML, in attributes too."""
    return html.escape(str(text), quote=True)


def quoted(path: str) -> str:
    """A path, with what may follow a `#`, as a URL has it."""
    file, mark, fragment = path.partition("#")
    return quote(file) + mark + quote(fragment, safe=":-=&,")


def locus_link(chrom: str, start: int, end: int, tracks: Sequence[tuple[str, str]]) -> str:
    """Path of a place in the genome browser, with tracks (factor, cell type); `start` is 0-based."""
    named = ",".join(f"{factor}|{cell_type}" for factor, cell_type in tracks)
    return f"browser/index.html#locus={chrom}:{max(start, 0) + 1}-{end}&tracks={named}"


def table(
    place: Place,
    source: str | Path,
    rows: Sequence[NumberedRow],
    columns: Sequence[Column],
    *,
    identifier: str,
    own: Callable[[Cells], bool] | None = None,
    filtered: bool = True,
    sortable: bool = True,
) -> str:
    """A table, which a click on a column's head sorts.

    Parameters
    ----------
    source
        The TSV that the rows are of.
    rows
        (line of the file, cell by column), as `read_rows` reads them.
    identifier
        Of the table, once on a page.
    own
        Which rows are the model's: they are set off.
    filtered
        Whether a field for filtering stands above.
    sortable
        False: the order of the rows is part of what they say.
    """
    path = Path(source).relative_to(place.root).as_posix()
    head = "".join(
        f'<th scope="col"{_kind(column)} data-column="{escape(column.name)}">{_head(column, sortable)}</th>'
        for column in columns
    )
    body = _first(_row(place, line, cells, columns, own) for line, cells in rows)
    left_out = f"; the first {len(body):,} of {len(rows):,} rows" if len(body) < len(rows) else ""
    lines = "\n".join(body)
    kind, how = (' class="sortable"', "; a click on a column sorts by it") if sortable else ("", "")
    field = (
        f'<form class="filter" data-table="{identifier}"><label>Show rows with <input type="search" '
        f'autocomplete="off"></label><output></output></form>'
        if filtered
        else ""
    )
    return (
        f'{field}<div class="scroll"><table{kind} id="{identifier}" data-source="{escape(path)}">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{lines}</tbody></table></div>"
        f'<p class="note">From {place.link(path, path)}{left_out}{how}.</p>\n'
    )


def _first(lines: Iterable[str]) -> list[str]:
    """As many lines as a page has room for."""
    room, taken = LARGEST_TABLE, []
    for line in lines:
        room -= len(line)
        if room < 0:
            break
        taken.append(line)
    return taken


def _row(
    place: Place, line: int, cells: Cells, columns: Sequence[Column], own: Callable[[Cells], bool] | None
) -> str:
    content = "".join(_cell(place, column, cells) for column in columns)
    return f'<tr data-line="{line}"{_own(own, cells)}>{content}</tr>'


def _head(column: Column, sortable: bool) -> str:
    label = escape(column.label)
    return f'<button type="button">{label}</button>' if sortable else f"<span>{label}</span>"


def _kind(column: Column) -> str:
    return ' class="number"' if column.number else ""


def _own(own: Callable[[Cells], bool] | None, cells: Cells) -> str:
    return ' class="own"' if own is not None and own(cells) else ""


def _cell(place: Place, column: Column, cells: Cells) -> str:
    exact = cells[column.name]
    text = exact if column.shown is None or not exact else column.shown(float(exact))
    value = "" if text == exact else f' data-v="{escape(exact)}"'
    content = escape(text) if column.link is None else place.link(column.link(cells), text)
    return f"<td{_kind(column)}{value}>{content}</td>"


def figure(svg: str, caption: str) -> str:
    """A figure with what it shows; the SVG is part of the page."""
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>\n"


def picture(path: Path, caption: str) -> str:
    """The figure of a file, as an image: its names cannot meet those of others on the page."""
    kind = {".svg": "svg+xml", ".png": "png"}[path.suffix]
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(re.sub("<[^>]*>", "", caption))}" src="data:image/{kind};base64,{encoded}">'
    return figure(image, caption)


def listed(items: Iterable[str]) -> str:
    """Items as a list."""
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>\n"


def page(place: Place, title: str, body: str, *, pages: Mapping[str, str]) -> str:
    """A whole page.

    Parameters
    ----------
    title
        Of the page, and its first heading.
    body
        HTML.
    pages
        Path from the root -> name, of the pages that this one links to at its top.
    """
    links = "".join(
        f"<b>{escape(name)}</b>" if path == place.path else place.link(path, name) for path, name in pages.items()
    )
    style, script = (STATIC.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body data-root="{escape(place.root.as_posix())}">
<nav>{links}</nav>
<h1>{escape(title)}</h1>
{body}
<p id="elsewhere" hidden>This page was taken out of its report, so that it cannot open the file <code></code></p>
<script>
{script}</script>
</body>
</html>
"""


def write_page(
    place: Place, title: str, body: str, *, pages: Mapping[str, str], output: Path | None = None
) -> None:
    """Write a whole page to its place, or to `output`."""
    text = page(place, title, body, pages=pages)
    with atomic_path(output or place.root / place.path) as temporary:
        temporary.write_text(text, encoding="utf-8")
