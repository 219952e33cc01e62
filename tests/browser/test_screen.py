"""What the tests in Chromium go by: that what goes wrong on a page is noticed."""

from __future__ import annotations

# Without an icon of the page's own, Chromium asks the server for /favicon.ico.
HEAD = "<!doctype html><link rel=icon href=data:,>"


def test_what_goes_wrong_on_a_page_is_noticed(range_server, screen):
    (range_server.folder / "good.html").write_text(f"{HEAD}good")
    (range_server.folder / "bad.html").write_text(
        f"{HEAD}<img src=nowhere.png><img src=http://192.0.2.1/far.png>"
        "<script>console.error('said'); throw new Error('thrown')</script>"
    )
    screen.page.goto(f"{range_server.url}/good.html")
    assert screen.shot("screen/good").startswith(b"\x89PNG")
    assert not screen.errors
    screen.page.goto(f"{range_server.url}/bad.html", wait_until="commit")
    screen.page.wait_for_function("document.images.length == 2 && document.images[0].complete")
    for part in ("said", "thrown", "nowhere.png", "leaves the machine: http://192.0.2.1"):
        assert any(part in error for error in screen.errors), screen.errors
