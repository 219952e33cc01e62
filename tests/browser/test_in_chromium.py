"""The page as a user has it: in Chromium, from a server on loopback, and from a disk."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import threading
from collections.abc import Iterator

import pytest

from tests.browser.conftest import NOT_RENDERED, served
from tfbind.browser.server import RunServer

DRAWN = "body[data-drawn]"
# For a machine that has much else to do; nothing waits so long where all is well.
PATIENCE = 60_000
# The axis of probabilities to what is in view: those of a model that has learnt so little are small.
STILL = "#locus=chr3:2001-18000&tracks=SIM01|CT1&scale=view"


@pytest.fixture
def rendering(run) -> Iterator[tuple[RunServer, list[dict]]]:
    """A server that renders on demand: a step of 0.5 on the first half of what is asked for."""
    asked = []

    def respond(query):
        asked.append({key: value[0] for key, value in query.items()})
        chrom, start, end = re.fullmatch(r"(.+):(\d+)-(\d+)", asked[-1]["region"]).groups()
        bins = -(-(int(end) - int(start) + 1) // 64)
        return 200, {
            "chrom": chrom,
            "start": int(start) - 1,
            "bin": 64,
            "values": [0.5] * (bins // 2) + [0.0] * bins,
        }

    for server in served(RunServer(run, respond=respond)):
        yield server, asked


def open_page(screen, url: str, place: str = "") -> None:
    """Open the page, and wait until its tracks are drawn."""
    screen.page.set_default_timeout(PATIENCE)
    screen.page.goto(f"{url}{place}")
    wait_for_tracks(screen)


def wait_for_tracks(screen, *names: str) -> None:
    """Wait until igv.js has read what it draws, and until tracks of these names are there."""
    for name in names:
        screen.page.locator(f"{DRAWN.removesuffix(']')}*='{name}']").wait_for()
    screen.page.locator(DRAWN).wait_for()
    still = """() => browser.trackViews.every((view) => view.viewports.every((each) =>
        !each.loading && (each.canvas || !view.track.config?.kind || view.track.config.kind === "heading")))"""
    for _ in range(600):
        if screen.page.evaluate(still):
            return
        screen.page.wait_for_timeout(50)
    raise AssertionError("igv.js goes on reading")


def labels(screen) -> list[str]:
    """What the tracks are called on the page, from top to bottom."""
    return screen.page.locator("#igv .igv-track-label").all_inner_texts()


def painted(screen, name: str) -> list[int]:
    """Of a track's picture, how many pixels of each column are neither white nor clear."""
    script = """(name) => {
        const view = browser.trackViews.find((each) => each.track.name === name);
        const canvas = view.viewports[0].canvas;
        const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const columns = new Array(width).fill(0);
        for (let at = 0; at < data.length; at += 4) {
            const white = data[at] > 250 && data[at + 1] > 250 && data[at + 2] > 250;
            if (data[at + 3] > 0 && !white) columns[(at / 4) % width] += 1;
        }
        return columns;
    }"""
    return screen.page.evaluate(script, name)


def colours(screen, name: str) -> set[tuple[int, int, int]]:
    """The colours of a track's picture that are no mixture: those with many pixels."""
    script = """(name) => {
        const view = browser.trackViews.find((each) => each.track.name === name);
        const canvas = view.viewports[0].canvas;
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const counts = {};
        for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] === 255) counts[data.slice(at, at + 3)] = (counts[data.slice(at, at + 3)] || 0) + 1;
        }
        return Object.entries(counts).filter((each) => each[1] > 20).map((each) => each[0]);
    }"""
    return {tuple(map(int, each.split(","))) for each in screen.page.evaluate(script, name)}


def test_tracks_are_drawn_the_picker_adds_one_and_a_locus_moves_them(server, screen):
    open_page(screen, server.url, STILL)
    page = screen.page
    assert labels(screen) == [
        "genes",
        "CT1: simulated",
        "accessibility",
        "SIM01 predicted",
        "SIM01 predicted calls",
        "SIM01 measured calls",
    ]
    assert (0, 114, 178) in colours(screen, "SIM01 predicted")
    assert (213, 94, 0) in colours(screen, "SIM01 measured calls")
    assert (100, 100, 100) in colours(screen, "accessibility")
    screen.shot("browser/first")

    # A click in the picker, found by its filter.
    page.get_by_label("Factor", exact=True).fill("simA")
    page.get_by_label("Cell type", exact=True).fill("ct2")
    page.locator("#groups input[value='SIMA|CT2']").check()
    wait_for_tracks(screen, "CT2 predicted SIMA predicted")
    # It has no predicted calls, and so no track of them.
    assert labels(screen)[6:] == ["CT2: simulated", "accessibility", "SIMA predicted", "SIMA measured calls"]
    assert page.url.endswith("&tracks=SIM01|CT1,SIMA|CT2&scale=view")
    assert any(painted(screen, "SIMA predicted"))
    screen.shot("browser/picked")

    # Another place, by igv.js's own field: other pixels, and the address says it.
    before = painted(screen, "SIM01 predicted")
    field = page.locator("#igv .igv-search-input")
    field.fill("chr3:9,001-12,000")
    field.press("Enter")
    page.wait_for_url("**#locus=chr3:9001-12000&**")
    wait_for_tracks(screen)
    assert painted(screen, "SIM01 predicted") != before
    screen.shot("browser/moved")
    assert not screen.errors


def test_the_address_is_followed_when_it_is_changed(server, screen):
    open_page(screen, server.url, STILL)
    before = painted(screen, "SIM01 predicted")
    screen.page.evaluate(
        "location.hash = '#locus=chr2:5001-9000&tracks=SIM02|CT1,SIM01|CT1&hide=accessibility,measured'"
    )
    wait_for_tracks(screen, "SIM02 predicted")
    screen.page.wait_for_url("**#locus=chr2:5001-9000&**")
    assert [name for name in labels(screen) if "calls" not in name] == [
        "genes",
        "CT1: simulated",
        "SIM01 predicted",
        "SIM02 predicted",
    ]
    assert not [name for name in labels(screen) if "measured" in name]
    wait_for_tracks(screen)
    assert painted(screen, "SIM01 predicted") != before
    assert screen.page.get_by_label("accessibility").is_checked() is False
    # What the run does not have is told, and the rest is shown.
    screen.page.evaluate("location.hash = '#locus=chr2:5001-9000&tracks=NONE|CT1,SIM02|CT2'")
    screen.page.get_by_text("The run has no NONE in CT1.").wait_for()
    wait_for_tracks(screen)
    assert not screen.errors


def test_only_what_is_chosen_is_read(server, screen):
    asked = []
    screen.page.on("request", lambda request: asked.append(request.url))
    open_page(screen, server.url, "#locus=chr3:2001-8000&tracks=SIM02|CT1")
    tracks = {url.split("/", 3)[3] for url in asked if url.endswith((".bw", ".bb"))}
    assert tracks == {
        "tracks/CT1/SIM02.bw",
        "accessibility/CT1.bw",
        "browser/genes.bb",
        "browser/calls/predicted/CT1/SIM02.bb",
        "browser/calls/measured/SIM02.CT1.bb",
    }
    assert not screen.errors


def test_what_was_not_rendered_is_drawn_on_demand(rendering, screen):
    server, asked = rendering
    factor, cell_type = NOT_RENDERED
    open_page(screen, server.url, "#locus=chr2:2001-18000&tracks=SIM01|CT1")
    screen.page.get_by_label("Factor", exact=True).fill(factor)
    row = screen.page.locator(f"#groups input[value='{factor}|{cell_type}']")
    row.check()
    name = f"{factor} predicted, on demand"
    wait_for_tracks(screen, f"{cell_type} predicted {factor} predicted")
    assert asked and asked[0] == {"factor": factor, "cell_type": cell_type, "region": "chr2:1-20100"}
    heights = painted(screen, name)
    assert max(heights) > 20 and (0, 114, 178) in colours(screen, name)
    screen.shot("browser/on_demand")
    # What was rendered is kept.
    count = len(asked)
    screen.page.evaluate("location.hash = location.hash.replace('2001-18000', '4001-9000')")
    screen.page.wait_for_url("**#locus=chr2:4001-9000&**")
    wait_for_tracks(screen)
    assert len(asked) == count
    assert not screen.errors


def test_without_rendering_it_is_said_what_cannot_be_chosen(server, screen):
    factor, cell_type = NOT_RENDERED
    open_page(screen, server.url, f"#locus=chr2:2001-18000&tracks={factor}|{cell_type}")
    screen.page.get_by_text("`tfbind browse` renders it on demand").wait_for()
    screen.page.get_by_label("Factor", exact=True).fill(factor)
    assert screen.page.locator(f"#groups input[value='{factor}|{cell_type}']").is_disabled()
    assert not screen.errors


@contextlib.contextmanager
def plain_server(folder) -> Iterator[str]:
    """Python's own web server, which sends whole files alone."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/browser/index.html"
        server.shutdown()


def test_a_server_without_pieces_of_files_is_told(run, screen):
    with plain_server(run) as url:
        screen.page.goto(url)
        screen.page.get_by_role("alert").get_by_text("sends no pieces of files").wait_for()
        screen.page.get_by_role("alert").get_by_text("tfbind browse").wait_for()


def test_from_a_disk_it_says_what_to_do_and_draws_the_folder_that_it_is_given(run, screen):
    page = screen.page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{(run / 'browser/index.html').as_uri()}{STILL}")
    page.get_by_role("alert").get_by_text("tfbind browse results/tiny").wait_for()
    assert page.locator("#groups input").count() > 0
    screen.shot("browser/from_disk")
    page.get_by_label("Or hand this page the folder").set_input_files(run)
    page.get_by_role("alert").wait_for(state="hidden")
    wait_for_tracks(screen, "SIM01 predicted")
    assert any(painted(screen, "SIM01 predicted")) and any(painted(screen, "SIM01 measured calls"))
    assert not screen.errors


def test_it_can_be_used_by_keyboard_and_on_a_narrow_screen(server, screen):
    page = screen.page
    page.set_viewport_size({"width": 420, "height": 900})
    open_page(screen, server.url, STILL)
    picker = page.get_by_role("button", name="Choose tracks")
    assert picker.get_attribute("aria-expanded") == "false"
    assert not page.get_by_label("Factor", exact=True).is_visible()
    picker.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("SIM02")
    page.locator("#groups summary").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    wait_for_tracks(screen, "SIM02 predicted")
    page.get_by_role("button", name="Take out SIM01 in CT1").click()
    page.wait_for_url("**&tracks=SIM02|CT1&*")
    wait_for_tracks(screen)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the screen"
    screen.shot("browser/narrow", full_page=True)
    # Whatever can be used has a name for those who do not see it.
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, button')]"
        ".filter((each) => !each.labels?.length && !each.textContent.trim() && !each.ariaLabel)"
        ".map((each) => each.id)"
    )
    assert unnamed == []
    assert not screen.errors
