"""Make browser.png and report.png of a run: `python -m scripts.screenshots results/demo docs`."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tfbind.browser.server import PAGE, RunServer
from tfbind.core.errors import InputError

SIZE = {"width": 1280, "height": 860}
# ms, for a machine that has much else to do.
PATIENCE = 120_000
REPORT = "report.html"


def shoot(run: Path, output: Path) -> list[Path]:
    """Write a picture of each page that the run has.

    Raises
    ------
    InputError
        There is no Chromium, or no page.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise InputError("Chromium is not installed", mend="apt-get install chromium")
    made = []
    with RunServer(run) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--no-sandbox", "--no-proxy-server", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE)
        page.goto(server.url)
        page.locator("body[data-drawn]").wait_for()
        made.append(_picture(page, output / "browser.png"))
        if (run / REPORT).is_file():
            page.goto(server.url.replace(PAGE, REPORT))
            page.wait_for_load_state("networkidle")
            made.append(_picture(page, output / "report.png"))
        browser.close()
        server.shutdown()
    return made


def _picture(page: Page, path: Path) -> Path:
    """A picture of what is seen, once it stands still."""
    before = b""
    while (now := page.screenshot(path=path)) != before:
        before = now
        page.wait_for_timeout(1000)
    return path


if __name__ == "__main__":
    try:
        for path in shoot(Path(sys.argv[1]), Path(sys.argv[2])):
            print(path)
    except (InputError, IndexError) as error:
        sys.exit(f"screenshots: {error}" if isinstance(error, InputError) else __doc__)
