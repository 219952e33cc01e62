"""`tfbind browse`: serves a run until it is interrupted, and opens its page where there is a screen."""

from __future__ import annotations

import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tfbind.browser import on_demand
from tfbind.browser.server import Respond, RunServer

EMBEDDING = "genome_embedding/tokens"
"""What tracks are rendered from, in a run's folder."""


def has_desktop() -> bool:
    """Whether a web browser could show its window to who sits before this machine."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def browse(run: Path, say: Callable[[str], None], *, host: str, port: int, open_page: bool) -> None:
    """Serve a run until SIGINT or SIGTERM; what was not rendered is rendered on demand.

    Parameters
    ----------
    say
        Is told what the user should know, a line at a time.
    open_page
        Whether to open the page, where there is a desktop.

    Raises
    ------
    InputError
        As `RunServer`.
    """
    ended = threading.Event()
    with _renderer(run) as respond, RunServer(run, respond=respond, host=host, port=port) as server:
        say(f"{run} is served at  {server.url}")
        if respond is None:
            say(f"Nothing is rendered on demand: there is no {run / EMBEDDING}.")
        if not has_desktop():
            number = server.server_address[1]
            say(f"From another machine: ssh -N -L {number}:{host}:{number} HERE, then open the same address.")
        elif open_page:
            webbrowser.open(server.url)
        say("Ctrl-C ends it.")
        former = {each: signal.signal(each, lambda *_: ended.set()) for each in (signal.SIGINT, signal.SIGTERM)}
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            ended.wait()
        finally:
            server.shutdown()
            thread.join()
            for number, handler in former.items():
                signal.signal(number, handler)


@contextmanager
def _renderer(run: Path) -> Iterator[Respond | None]:
    """What answers `/render`; None where there is nothing to render from."""
    if not (run / EMBEDDING).is_dir():
        yield None
        return
    rendering = on_demand.OnDemand(run)
    try:
        yield partial(on_demand.respond, rendering)
    finally:
        rendering.close()
