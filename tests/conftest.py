"""What several test folders share: a real HTTP server on loopback."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest


@dataclass
class RangeServer:
    """Serves a folder over HTTP with range requests; the switches make it misbehave."""

    folder: Path
    ranges: bool = True
    etags: bool = True
    drop_after: int | None = None
    """Close the connection after so many bytes of each answer."""
    down_after_drop: bool = False
    """Answer 503 to whatever comes after a dropped connection."""
    refusals: list[int] = field(default_factory=list)
    """Statuses to answer with first, one a request."""
    bytes_per_second: float | None = None
    content: dict[str, bytes] = field(default_factory=dict)
    """What is served under a path in place of the folder's file."""
    requests: list[tuple[str, str | None, int]] = field(default_factory=list)
    """(path, Range header, status) of every answer."""
    sent: int = 0
    url: str = ""

    def read(self, path: str) -> bytes | None:
        if path in self.content:
            return self.content[path]
        file = self.folder / unquote(path)
        return file.read_bytes() if file.is_file() else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: RangeServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        state, path = self.state, urlsplit(self.path).path.lstrip("/")
        body = state.read(path)
        if state.refusals:
            return self._answer(state.refusals.pop(0), b"not now")
        if body is None:
            return self._answer(404, b"no such file")
        headers = {}
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if state.etags:
            headers["ETag"] = etag
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not (state.ranges and asked and self.headers.get("If-Range", etag) == etag):
            return self._answer(200, body, headers)
        start = int(asked[1])
        if start >= len(body):
            return self._answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return self._answer(206, body[start:], headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        state = self.state
        state.requests.append((self.path, self.headers.get("Range"), status))
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        whole = state.drop_after is None or status >= 400
        to_send = body if whole else body[: state.drop_after]
        if len(to_send) < len(body):
            self.close_connection = True
            if state.down_after_drop:
                state.refusals = [503] * 100
        step = 4096
        try:
            for start in range(0, len(to_send), step):
                piece = to_send[start : start + step]
                state.sent += len(piece) if status < 400 else 0  # before the client can look at it
                self.wfile.write(piece)
                if state.bytes_per_second:
                    time.sleep(len(piece) / state.bytes_per_second)
        except ConnectionError:
            pass  # the client was killed


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # a killed client is what some tests are about


@pytest.fixture
def range_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    """A running server of an empty folder (`.folder` may be set to another one)."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    state = RangeServer(folder)
    handler = type("Handler", (_Handler,), {"state": state})
    server = _Server(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
