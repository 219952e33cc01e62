"""Serves a run's folder, and nothing else, with range requests: what a genome browser reads is parts of files.

Bound to loopback, it answers to names of loopback alone, so that no page from elsewhere can read the run through
a name that it lets point here (DNS rebinding).
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from tfbind.core.errors import InputError

PAGE = "browser/index.html"
RENDER = "/render"
ON_DEMAND = "Tfbind-On-Demand"
"""The header of every answer by which the page knows that `/render` is there."""

Respond = Callable[[dict[str, list[str]]], tuple[int, dict[str, Any]]]
"""What answers `/render`: from the query to an HTTP status and what is sent as JSON."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".narrowPeak": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".sizes": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".tsv": "text/tab-separated-values; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8",
    ".zip": "application/zip",
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class NoSuchPieceError(ValueError):
    """A piece of a file was asked for that lies behind its end."""


def piece_of(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte, and that after the last, that a Range header asks for; RFC 9110, section 14.

    Returns
    -------
    None for the whole file: where no piece is asked for, several are, or it makes no sense.

    Raises
    ------
    NoSuchPieceError
        It lies behind the end of a file of `size` bytes.
    """
    found = _RANGE.fullmatch((header or "").strip())
    if found is None or not any(found.groups()):
        return None
    first, last = (int(number) if number else None for number in found.groups())
    if first is None:
        start, end = max(0, size - last), size
    else:
        start, end = first, size if last is None else min(last + 1, size)
        if last is not None and last < first:
            return None
    if start >= end:
        raise NoSuchPieceError
    return start, end


def file_of(run: Path, address: str) -> Path | None:
    """The file of a run that an address names; None where it names none of the run's, by whatever way.

    Parameters
    ----------
    address
        Path of a URL, percent-encoded. Hidden files are none of the run's: they are half-written, or Snakemake's.
    """
    parts = [part for part in unquote(address).split("/") if part]
    if any(part.startswith(".") or "\\" in part or "\0" in part for part in parts):
        return None
    run = run.resolve()
    try:
        path = run.joinpath(*parts).resolve()
        return path if path.is_relative_to(run) and path.is_file() else None
    except OSError:  # a name that is too long, a link that leads to itself
        return None


class RunServer(ThreadingHTTPServer):
    """A server of one run, listening when it is made.

    Parameters
    ----------
    run
        Folder of the run's results, with the page that `tfbind browser` made.
    respond
        Answers `/render`; without it nothing is rendered on demand.
    host, port
        Where to listen; port 0 is one that is free.

    Raises
    ------
    InputError
        There is no page, the port is taken, or the host is none of this machine's.
    """

    daemon_threads = True

    def __init__(
        self, run: Path, *, respond: Respond | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        if not (run / PAGE).is_file():
            raise InputError(
                f"has no {PAGE}",
                file=run,
                mend="give the folder of a finished run, such as results/demo; `tfbind browser` makes the page",
            )
        self.run, self.respond, self.host = run, respond, host
        self.address_family = AF_INET6 if ":" in host else AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OverflowError:
            raise InputError(f"{port} is no port", key="--port", mend="give 0 to 65535") from None
        except OSError as error:
            raise _no_place(error, host, port) from error

    @property
    def url(self) -> str:
        """The address of the page."""
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        shown = f"[{shown}]" if ":" in shown else shown
        return f"http://{shown}:{self.server_address[1]}/{PAGE}"

    def server_bind(self) -> None:
        """As the base class, which would also look up the host's name, and may wait long for it."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    def answers_to(self, host: str | None) -> bool:
        """Whether a Host header is one that this server goes by."""
        if not _is_loopback(self.host):
            return True
        return host is not None and _is_loopback(urlsplit(f"//{host}").hostname or "")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """As the base class; but a browser that goes elsewhere closes its connections: that is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _no_place(error: OSError, host: str, port: int) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return InputError(
            f"port {port} is taken",
            key="--port",
            mend="give another one, or 0 for any that is free; another `tfbind browse` may be running",
        )
    if error.errno == errno.EACCES:
        return InputError(
            f"port {port} may not be used: {os.strerror(error.errno)}", key="--port", mend="give one above 1023"
        )
    return InputError(
        f"'{host}' is no address of this machine ({error})",
        key="--host",
        mend="give 127.0.0.1, or one of its own",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Handler(BaseHTTPRequestHandler):
    """One connection. It is kept open: a page asks for many small pieces."""

    server: RunServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tfbind", ""
    # A connection on which nothing is asked for any more.
    timeout = 60

    def log_message(self, *_: object) -> None:
        """Nothing: what a page reads is of no interest."""

    def do_HEAD(self) -> None:
        """As GET, without the content."""
        self.do_GET()

    def do_GET(self) -> None:
        """A file of the run, a piece of one, or a rendered region."""
        address = urlsplit(self.path)
        if not self.server.answers_to(self.headers.get("Host")):
            self._say(HTTPStatus.FORBIDDEN, "this server answers to 127.0.0.1 and localhost alone")
        elif address.path == "/":
            self._begin(HTTPStatus.FOUND, {"Location": f"/{PAGE}", "Content-Length": "0"})
        elif address.path == RENDER:
            self._render(address.query)
        elif (path := file_of(self.server.run, address.path)) is None:
            self._say(HTTPStatus.NOT_FOUND, "the run has no such file")
        else:
            self._send_file(path)

    def _render(self, query: str) -> None:
        if self.server.respond is None:
            return self._say(HTTPStatus.NOT_FOUND, "this server renders nothing")
        try:
            status, content = self.server.respond(parse_qs(query, keep_blank_values=True))
        except Exception as error:  # one request that fails ends no server
            traceback.print_exc()
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            content = {"error": f"could not be rendered: {error}", "mend": "see the terminal of `tfbind browse`"}
        return self._send(status, json.dumps(content).encode(), _TYPES[".json"])

    def _send_file(self, path: Path) -> None:
        try:
            handle = path.open("rb")
        except OSError:
            return self._say(HTTPStatus.NOT_FOUND, "the run has no such file")
        with handle:
            state = os.fstat(handle.fileno())
            tag = f'"{state.st_mtime_ns:x}-{state.st_size:x}"'
            headers = {
                "Content-Type": _TYPES.get(path.suffix, "application/octet-stream"),
                "Accept-Ranges": "bytes",
                "ETag": tag,
                "Last-Modified": formatdate(state.st_mtime, usegmt=True),
            }
            # A piece of a file that has changed since would not fit the others. HEAD has no pieces.
            asked = self.headers.get("Range") if self.headers.get("If-Range", tag) == tag else None
            try:
                piece = piece_of(asked if self.command == "GET" else None, state.st_size)
            except NoSuchPieceError:
                headers = {"Content-Range": f"bytes */{state.st_size}"}
                return self._say(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "the file ends before", headers)
            start, end = piece or (0, state.st_size)
            if piece is not None:
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{state.st_size}"
            headers["Content-Length"] = str(end - start)
            self._begin(HTTPStatus.OK if piece is None else HTTPStatus.PARTIAL_CONTENT, headers)
            if self.command == "GET":
                self._copy(handle, start, end)

    def _copy(self, handle: BinaryIO, start: int, end: int) -> None:
        handle.seek(start)
        left = end - start
        while left and (data := handle.read(min(left, 1 << 20))):
            self.wfile.write(data)
            left -= len(data)
        # A file that has shrunk meanwhile: the other side is to notice.
        self.close_connection = self.close_connection or bool(left)

    def _say(self, status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, f"{text}\n".encode(), _TYPES[".txt"], headers)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self._begin(status, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})})
        if self.command == "GET":
            self.wfile.write(body)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-Content-Type-Options", "nosniff")
        # Runs are made again, under the same names.
        self.send_header("Cache-Control", "no-cache")
        if self.server.respond is not None:
            self.send_header(ON_DEMAND, "yes")
        self.end_headers()
