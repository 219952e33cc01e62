"""The report of a whole run: its numbers are those of the tables, and it reads well with no network."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

RUN = Path("results/mini")
VOID = {"meta", "link", "input", "img", "br", "use", "path"}


class Page(HTMLParser):
    """Tables of a page, and whether its tags are as HTML has them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.identifiers: list[str] = []
        self.tables: list[dict] = []
        self.links: list[str] = []
        self.addresses: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open, f"{path}: {self.open} are never closed"
        assert len(self.identifiers) == len(set(self.identifiers)), path

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in told:
            self.identifiers.append(told["id"])
        self.addresses += [told[name] for name in ("src", "href") if name in told]
        if tag == "table":
            self.tables.append({"source": told["data-source"], "columns": [], "rows": []})
        elif tag == "th":
            self.tables[-1]["columns"].append(told["data-column"])
        elif tag == "tr" and "data-line" in told:
            self.tables[-1]["rows"].append((int(told["data-line"]), []))
        elif tag == "td":
            self.tables[-1]["rows"][-1][1].append([told.get("data-v"), ""])
        elif tag == "a" and "data-run" in told:
            self.links.append(told["href"])

    def handle_startendtag(self, tag, attributes):
        assert tag in VOID, tag

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, text):
        if "td" in self.open:
            self.tables[-1]["rows"][-1][1][-1][1] += text


def pages(run: Path) -> dict[str, Page]:
    return {path.relative_to(run).as_posix(): Page(path) for path in sorted((run / "report").rglob("*.html"))}


def is_rounded(shown: str, exact: float) -> bool:
    """Whether a number is shown as it is, to as many digits as are shown."""
    digits, percent = shown.replace(",", "").removesuffix(" %"), shown.endswith("%")
    step = 10.0 ** -len(digits.partition("e")[0].partition(".")[2]) * 10.0 ** int(digits.partition("e")[2] or 0)
    return abs(float(digits) - exact * (100 if percent else 1)) <= 0.501 * step


def test_every_number_of_a_page_is_that_of_the_file_it_names(finished):
    run = finished.path / RUN
    seen = set()
    for name, page in pages(run).items():
        for table in page.tables:
            lines = [line.split("\t") for line in (run / table["source"]).read_text().splitlines()]
            assert table["columns"] and table["rows"] is not None, name
            seen.add(table["source"])
            for line, cells in table["rows"]:
                row = dict(zip(lines[0], lines[line - 1], strict=True))
                for column, (exact, shown) in zip(table["columns"], cells, strict=True):
                    assert row[column] == (shown if exact is None else exact), (
                        name,
                        table["source"],
                        line,
                        column,
                    )
                    assert exact is None or is_rounded(shown, float(exact)), (shown, exact)
    assert {"evaluation/summary.tsv", "evaluation/fdr.tsv", "homology.tsv", "report/tables/run.tsv"} < seen
    assert {"report/tables/factors.tsv", "report/tables/times.tsv", "evaluation/metrics.tsv"} < seen


def test_pages_fetch_nothing_and_link_to_what_is_there(finished):
    run = finished.path / RUN
    for name, page in pages(run).items():
        assert all(address.startswith(("data:", "../", "#")) for address in page.addresses if "/" in address), (
            name
        )
        for link in page.links:
            path = ((run / name).parent / link.partition("#")[0]).resolve()
            assert path.exists() or path == (run / "browser/index.html").resolve(), (name, link)


def test_pages_fit_into_the_frames_of_the_report(finished):
    # Chromium shows no frame whose address is longer than 2 MiB.
    assert max(path.stat().st_size for path in (finished.path / RUN / "report").rglob("*.html")) * 4 / 3 < 2 << 20


def embedded(report: Path) -> tuple[dict, dict]:
    """Results and categories of Snakemake's report."""
    text = report.read_text(encoding="utf-8")
    return tuple(
        json.loads(re.search(rf"^    var {name} = (.*);$", text, re.MULTILINE)[1])
        for name in ("results", "categories")
    )


def test_the_report_holds_the_results_of_every_rule(finished):
    results, categories = embedded(finished.path / RUN / "report.html")
    rules = {result["job_properties"]["rule"] for result in results.values()}
    made = {
        "reference",
        "accessibility",
        "factors",
        "targets",
        "split",
        "homology",
        "train",
        "plot_history",
        "embed",
    }
    assert rules == made | {
        "assemble",
        "evaluate",
        "sites",
        "profiles",
        "factor_pages",
        "evaluation_pages",
        "overview",
    }
    assert sorted(categories) == [
        "1. What was made",
        "2. How good it is",
        "3. Why to believe it",
        "4. Factor by factor",
        "5. Files",
    ]
    assert f"{RUN}/report/factors/SIM1.html" in results and f"{RUN}/evaluation/metrics.tsv" in results
    assert all(result["labels"] for result in results.values())
    told = [path for path, result in results.items() if not result["caption"] and "/factors/" not in path]
    assert not told and not [path for path, result in results.items() if "System Message" in result["caption"]]


def test_a_report_of_a_run_elsewhere_of_several_configurations_and_without_metadata(again, overlay, tmp_path):
    (again.path / RUN / "report.html").unlink()
    shutil.rmtree(again.path / ".snakemake/metadata")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files = [again.path / "config/mini.yaml", overlay({"prediction": {"batch_size": 4}})]
    # The profile of the run around it is none of the report's.
    profile = {"SNAKEMAKE_PROFILE": str(Path(__file__).parents[2] / "workflow/profiles/workstation")}
    process = ["--directory", str(again.path), "--cores", "1", f"{RUN}/report.html"]
    run = type(again)(elsewhere, profile).snakemake(*process, config=files)
    assert set(run.jobs) == {"report"}
    results, _ = embedded(again.path / RUN / "report.html")
    assert f"{RUN}/evaluation/metrics.tsv" in results


def test_the_report_in_a_browser(finished, screen):
    """From disk: pages, sorting, filtering, and a link to the genome browser."""
    screen.page.goto((finished.path / RUN / "report.html").as_uri())
    frame = screen.page.frame_locator("iframe")
    frame.locator("h1", has_text="mini").wait_for()
    screen.shot("report/overview")

    frame.locator("nav a", has_text="How good it is").click()
    frame.locator("h1", has_text="How good").wait_for()
    screen.shot("report/scores")
    table = frame.locator("#experiments")
    place = table.locator("th").all_inner_texts().index("tfbind")
    table.locator("th button").nth(place).click()
    values = table.locator(f"tbody tr td:nth-child({place + 1})").evaluate_all("all => all.map(e => e.dataset.v)")
    known = [float(value) for value in values if value]
    assert known == sorted(known, reverse=True) and len(values) == 4
    assert table.locator("th").nth(place).get_attribute("aria-sort") == "descending"
    frame.locator("form.filter input").fill("SIM2 ct1")
    assert table.locator("tbody tr:visible").count() == 1

    frame.locator("nav a", has_text="Factor by factor").click()
    frame.locator("td a", has_text="SIM1").click()
    frame.locator("h1", has_text="SIM1").wait_for()
    assert frame.locator("figure svg").count() >= 1
    screen.shot("report/factor")
    # A file beside the report: it opens by itself.
    with screen.page.context.expect_page() as opened:
        frame.locator("a", has_text="what made it").first.click()
    assert opened.value.url.endswith(f"{RUN}/tracks/CT1/SIM1.json")
    assert not screen.errors


def test_a_page_taken_out_of_the_report_says_where_files_are(finished, screen):
    text = (finished.path / RUN / "report/factors.html").read_bytes()
    address = "data:text/html;base64," + base64.b64encode(text).decode()
    screen.page.set_content(f'<iframe src="{address}" width="1200" height="800"></iframe>')
    frame = screen.page.frame_locator("iframe")
    frame.locator("td a", has_text="SIM1").click()
    frame.locator("#elsewhere code", has_text=f"{RUN}/report/factors/SIM1.html").wait_for()
    assert not screen.errors
