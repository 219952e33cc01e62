"""Sources: where a published file lies on this machine, and how it gets there whole.

A source is a path or an http(s) URL. A URL is downloaded to `resources/downloads/HOST/PATH`; a mirror serves
`https://HOST/PATH` from `<mirror>/HOST/PATH`, where the mirror is a folder or another base URL.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import requests
import urllib3

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_path, read_json, sha256_file, write_json

DOWNLOADS = Path("resources/downloads")

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there, and the whole size in bytes or None where it is not known."""

_CHUNK = 1 << 16
_TIMEOUT = (20, 60)  # seconds to connect, and between two pieces of an answer
_LONGEST_WAIT = 60.0


def is_url(location: str) -> bool:
    """Whether a location must be downloaded (http or https)."""
    return location.lower().startswith(("http://", "https://"))


def local_path(location: str) -> Path:
    """Where a source lies on this machine.

    A path stands for itself. A URL lies at `resources/downloads/HOST/PATH`: what is unfit for a file name,
    the `?query` included, is percent-quoted, and the name can never leave the folder.
    """
    return DOWNLOADS / _host_and_path(location) if is_url(location) else Path(location)


def uniprot_url(accession: str) -> str:
    """URL of a protein's FASTA at UniProt."""
    return f"https://rest.uniprot.org/uniprotkb/{accession}.fasta"


def fetch(
    location: str,
    destination: Path,
    *,
    sha256: str | None,
    mirror: str | None = None,
    attempts: int = 5,
    backoff: float = 1.0,
    progress: Progress | None = None,
) -> None:
    """Bring a source to `destination`, whole and verified, or not at all.

    A download grows in `<destination>.part`, and goes on from there after an interruption (a notice of what
    it is part of lies beside it). Connection errors, answers 5xx and 429 and answers that end too early are
    tried again with exponential back-off; other answers 4xx are errors at once.

    Parameters
    ----------
    location
        Path or URL.
    destination
        The file to write. If it, or its part, is there already with the right checksum, nothing is fetched.
    sha256
        What the file must have; None: the length alone is verified.
    mirror
        Folder or base URL that serves `https://HOST/PATH` as `<mirror>/HOST/PATH`; None: the web.
    attempts
        Failures in a row, none of which brought the download forward, after which it is given up.
    backoff
        Seconds before the second attempt; doubled with each further one, a minute at most.
    progress
        Called now and then with (bytes there, bytes in all or None).

    Raises
    ------
    InputError
        Naming the file, and what was expected and what came, in sha256 and bytes. Of a wrong or truncated
        file nothing is kept; the part of a download that was interrupted is.
    """
    destination = Path(destination)
    part = _part(destination)
    if sha256 is not None and destination.is_file() and sha256_file(destination) == sha256:
        part.unlink(missing_ok=True)
        return
    if sha256 is not None and part.is_file() and sha256_file(part) == sha256:
        part.replace(destination)
        _notice(destination).unlink(missing_ok=True)
        return
    if not is_url(location):
        _copy(location, Path(location), destination, sha256)
    elif mirror is None:
        _Download(location, location, destination, sha256, attempts, backoff, progress).run()
    elif is_url(mirror):
        url = f"{mirror.rstrip('/')}/{_without_scheme(location)}"
        _Download(location, url, destination, sha256, attempts, backoff, progress).run()
    else:
        if not Path(mirror).is_dir():
            raise InputError(
                f"the folder {mirror} is not there",
                key="mirror",
                mend="correct the path of the mirror, or take `mirror` out to download from the web",
            )
        _copy(location, Path(mirror) / _host_and_path(location), destination, sha256)


def keep_as_part(destination: Path) -> None:
    """Let a whole file be found again as its own `.part`, should somebody delete it. It takes no room."""
    # Where there are no hard links, it would be downloaded again; nothing else is lost.
    with contextlib.suppress(OSError):
        os.link(destination, _part(destination))


def _part(destination: Path) -> Path:
    return destination.with_name(f"{destination.name}.part")


def _notice(destination: Path) -> Path:
    return destination.with_name(f"{destination.name}.part.json")


def _host_and_path(url: str) -> Path:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()  # a password must not end up in a file's name
    path = parts.path.strip("/") or "index"
    segments = [segment for segment in path.split("/") if segment]
    if parts.query:
        segments[-1] += "?" + parts.query
    return Path(*(_safe_segment(segment) for segment in [host, *segments]))


def _safe_segment(segment: str) -> str:
    # What the URL has quoted already stays as it is: `%2F` in a name must not become a folder.
    quoted = quote(segment, safe="%+,=@")
    return quoted.replace(".", "%2E") if set(segment) == {"."} else quoted


def _without_scheme(url: str) -> str:
    return urlsplit(url)._replace(scheme="", fragment="").geturl().removeprefix("//")


def _copy(location: str, origin: Path, destination: Path, sha256: str | None) -> None:
    if not origin.is_file():
        if is_url(location):
            raise InputError(
                f"the mirror has no {origin}, which stands for {location}",
                file=origin,
                mend="put the file there, or take `mirror` out of the configuration to download it",
            )
        raise InputError("no such file", file=origin, mend="correct the path")
    with atomic_path(destination) as temporary:
        shutil.copyfile(origin, temporary)
        _verify(temporary, sha256, named=origin, location=location)


def _verify(path: Path, sha256: str | None, *, named: str | Path, location: str) -> None:
    got = sha256_file(path)
    if sha256 is not None and got != sha256:
        of = f" (for {location})" if str(named) != location else ""
        raise InputError(
            f"wrong checksum{of}: expected sha256 {sha256}, got {got} in {path.stat().st_size} bytes",
            file=named,
            mend="it changed or came damaged: try again, or correct the sha256 if the new content is right",
        )


class _TryAgain(Exception):
    """This attempt failed in a way that another may not.

    `truncated`: the answer ended before its stated length.
    """

    def __init__(self, reason: str, *, truncated: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.truncated, self.wait = truncated, wait


@dataclass
class _Download:
    location: str
    url: str
    destination: Path
    sha256: str | None
    attempts: int
    backoff: float
    progress: Progress | None
    total: int | None = None

    @property
    def part(self) -> Path:
        return _part(self.destination)

    @property
    def notice(self) -> Path:
        return _notice(self.destination)

    def run(self) -> None:
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        failures, furthest, restarted = 0, self._size(), False
        while True:
            try:
                resumed = self._attempt()
            except _TryAgain as problem:
                failures = 1 if self._size() > furthest else failures + 1
                furthest = max(furthest, self._size())
                if failures >= self.attempts:
                    raise self._given_up(problem) from None
                time.sleep(max(problem.wait, min(self.backoff * 2 ** (failures - 1), _LONGEST_WAIT)))
                continue
            try:
                _verify(self.part, self.sha256, named=self.url, location=self.location)
            except InputError:
                self._discard()
                if restarted or not resumed:
                    raise
                restarted, furthest = True, 0  # the old part may be to blame: once more, from the first byte
                continue
            self.part.replace(self.destination)
            self.notice.unlink(missing_ok=True)
            return

    def _attempt(self) -> bool:
        """Bring the part to its full length; return whether it went on from bytes of an earlier attempt."""
        start, validator = self._resumable()
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if validator:
                headers["If-Range"] = validator
        try:
            with requests.get(self.url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
                self._refuse(answer)
                if answer.status_code == 416:
                    if _size_after_slash(answer) != start:
                        self._discard()
                        raise _TryAgain("the file is shorter than the part that was there")
                    return True
                start = self._start_of(answer, start, validator)
                self._receive(answer, start)
                return start > 0
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise InputError(f"is not a URL: {error}", file=self.url, mend="correct the URL") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
            raise _TryAgain(f"{type(error).__name__}: {error}") from None

    def _resumable(self) -> tuple[int, str | None]:
        """Bytes that can be gone on from, and the ETag or date that says what they are part of."""
        if not self._size() or not self.notice.is_file():
            return 0, None
        try:
            notice = read_json(self.notice)
        except ValueError:
            return 0, None
        validator = notice.get("validator")
        # With neither a checksum nor a validator nothing would tell if old and new bytes did not fit.
        if notice.get("url") != self.url or (validator is None and self.sha256 is None):
            return 0, None
        return self._size(), validator

    def _refuse(self, answer: requests.Response) -> None:
        status = answer.status_code
        if status == 429 or status >= 500:
            after = answer.headers.get("Retry-After", "")
            wait = min(float(after), _LONGEST_WAIT) if after.isdigit() else 0.0
            raise _TryAgain(f"the server answered {status} {answer.reason}", wait=wait)
        if status >= 400 and status != 416:
            self._discard()
            raise InputError(
                f"the server answered {status} {answer.reason}{self._for_location()}",
                file=self.url,
                mend="correct the URL"
                if self.url == self.location
                else "add the file to the mirror, or take `mirror` out of the configuration",
            )

    def _start_of(self, answer: requests.Response, start: int, validator: str | None) -> int:
        """The byte with which the answer begins; the part is cut or renewed to fit."""
        length = answer.headers.get("Content-Length")
        fresh = _validator(answer)
        if answer.status_code == 206 and start:
            begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
            if begins is None or int(begins[1]) != start or (validator and fresh and fresh != validator):
                self._discard()
                raise _TryAgain("the server sent another piece than was asked for")
            self.total = _size_after_slash(answer)
            if self.total is None and length is not None:
                self.total = start + int(length)
            return start
        self._discard()
        self.total = int(length) if length is not None else None
        write_json(self.notice, {"url": self.url, "validator": fresh})
        return 0

    def _receive(self, answer: requests.Response, start: int) -> None:
        here, broken = start, None
        with self.part.open("ab" if start else "wb") as handle:
            try:
                # The bytes as they lie on the server: a .gz must not be unpacked on the way.
                for piece in answer.raw.stream(_CHUNK, decode_content=False):
                    handle.write(piece)
                    here += len(piece)
                    if self.progress:
                        self.progress(here, self.total)
            except (urllib3.exceptions.HTTPError, ConnectionError) as error:
                broken = error
        if self.total is not None and here != self.total:
            if here > self.total:
                self._discard()
            raise _TryAgain("the connection ended early", truncated=True)
        if broken is not None:
            raise _TryAgain(f"the connection broke: {broken}")

    def _given_up(self, problem: _TryAgain) -> InputError:
        got = self._size()
        if problem.truncated:
            self._discard()
            return InputError(
                f"truncated{self._for_location()}: expected {self.total} bytes, got {got}, "
                f"with no more in {self.attempts} attempts",
                file=self.url,
                mend="the file is broken on the server, or something on the way cuts it: try again later, "
                "or use another mirror",
            )
        kept = f"; the first {got} bytes are kept, and the next run goes on from there" if got else ""
        return InputError(
            f"could not be downloaded{self._for_location()} in {self.attempts} attempts: {problem}{kept}",
            file=self.url,
            mend="look after the network and try again, or set `mirror` to a folder that holds the file",
        )

    def _for_location(self) -> str:
        return f" (the mirror of {self.location})" if self.url != self.location else ""

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.notice.unlink(missing_ok=True)


def _validator(answer: requests.Response) -> str | None:
    """A strong ETag, or else the date of the last change (RFC 9110, 13.1.5: no weak ETag in If-Range)."""
    etag = answer.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return answer.headers.get("Last-Modified")


def _size_after_slash(answer: requests.Response) -> int | None:
    size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(size) if size.isdigit() else None
