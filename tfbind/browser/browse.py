"""`tfbind browse`: serves a run until it is interrupted, and opens its page where there is a screen."""

from __future__ import annotations

import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

from tfbind.browser.server import Respond, RunServer


def has_desktop() -> bool:
    """Whether a web browser could show its window to who sits before this machine."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def browse(
    run: Path,
    say: Callable[[str], None],
    *,
    host: str,
    port: int,
    open_page: bool,
    respond: Respond | None = None,
) -> None:
    """Serve a run until SIGINT or SIGTERM.

    Parameters
    ----------
    say
        Is told what the user should know, a line at a time.
    open_page
        Whether to open the page, where there is a desktop.
    respond
        Answers `/render`; see `RunServer`.

    Raises
    ------
    InputError
        As `RunServer`.
    """
    with RunServer(run, respond=respond, host=host, port=port) as server:
        say(f"{run} is served at  {server.url}")
        if open_page and has_desktop():
            webbrowser.open(server.url)
        elif not has_desktop():
            number = server.server_address[1]
            say(f"From another machine: ssh -N -L {number}:{host}:{number} HERE, then open the same address.")
        say("Ctrl-C ends it.")
        ended = threading.Event()
        former = {
            number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)
        }
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            ended.wait()
        finally:
            server.shutdown()
            thread.join()
            for number, handler in former.items():
                signal.signal(number, handler)
