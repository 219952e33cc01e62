"""The server: pieces of files as RFC 9110 has them, and nothing but the run's."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path

import pytest

from tests.browser.conftest import served
from tfbind.browser.server import NoSuchPieceError, RunServer, file_of, piece_of
from tfbind.core.errors import InputError


def ask(server: RunServer, address: str, method: str = "GET", **headers: str):
    """Status, headers and content of an answer; names of headers have `_` for `-`."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, address, skip_host="Host" in given)
    for name, value in given.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


@pytest.mark.parametrize(
    ("header", "piece"),
    [
        (None, None),
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=99-99", (99, 100)),
        # Several pieces, and what is no range of bytes: the whole file, as the specification allows.
        ("bytes=0-1,5-6", None),
        ("bytes=9-2", None),
        ("bytes=-", None),
        ("lines=1-2", None),
    ],
)
def test_pieces(header, piece):
    assert piece_of(header, 100) == piece


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_pieces_behind_the_end(header):
    with pytest.raises(NoSuchPieceError):
        piece_of(header, 100)


def test_a_piece_of_a_track(run, server):
    whole = (run / "tracks/CT1/SIM01.bw").read_bytes()
    status, headers, content = ask(server, "/tracks/CT1/SIM01.bw", Range="bytes=100-199")
    assert (status, content) == (206, whole[100:200])
    assert headers["Content-Range"] == f"bytes 100-199/{len(whole)}" and headers["Content-Length"] == "100"
    assert headers["Content-Type"] == "application/octet-stream"
    status, headers, content = ask(server, "/tracks/CT1/SIM01.bw")
    assert (status, content) == (200, whole) and headers["Accept-Ranges"] == "bytes"
    # A piece of another version of the file is not given.
    assert ask(server, "/tracks/CT1/SIM01.bw", Range="bytes=0-9", If_Range='"other"')[0] == 200
    assert ask(server, "/tracks/CT1/SIM01.bw", Range="bytes=0-9", If_Range=headers["ETag"])[0] == 206
    status, headers, content = ask(server, "/tracks/CT1/SIM01.bw", Range=f"bytes={len(whole)}-")
    assert status == 416 and headers["Content-Range"] == f"bytes */{len(whole)}"


def test_head_has_no_content_and_a_connection_is_kept(run, server):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    connection.request("HEAD", "/tracks/CT1/SIM01.bw", headers={"Range": "bytes=0-9"})
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read() == b""
    assert int(answer.headers["Content-Length"]) == (run / "tracks/CT1/SIM01.bw").stat().st_size
    used = connection.sock
    connection.request("GET", "/browser/genome.sizes")
    assert connection.getresponse().read() == (run / "browser/genome.sizes").read_bytes()
    assert connection.sock is used
    connection.close()


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("/browser/index.html", "text/html; charset=utf-8"),
        ("/browser/page.js", "text/javascript; charset=utf-8"),
        ("/browser/page.css", "text/css; charset=utf-8"),
        ("/browser/tracks.json", "application/json"),
        ("/browser/hub.txt", "text/plain; charset=utf-8"),
        ("/evaluation/metrics.tsv", "text/tab-separated-values; charset=utf-8"),
        ("/evaluation/evaluation.svg", "image/svg+xml"),
    ],
)
def test_kinds(server, address, kind):
    status, headers, _ = ask(server, address)
    assert (status, headers["Content-Type"], headers["X-Content-Type-Options"]) == (200, kind, "nosniff")


def test_the_root_leads_to_the_page(server):
    status, headers, _ = ask(server, "/")
    assert (status, headers["Location"]) == (302, "/browser/index.html")


@pytest.fixture
def guarded(tmp_path):
    """A run with secrets beside it, and links to them in it."""
    run = tmp_path / "run"
    (run / "browser").mkdir(parents=True)
    (run / "browser/index.html").write_text("page")
    (run / "tracks").mkdir()
    (run / "tracks/x.bw").write_text("track")
    (run / ".half.tmp").write_text("half-written")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "run-other").mkdir()
    (tmp_path / "run-other/secret.txt").write_text("secret")
    (run / "link.txt").symlink_to(tmp_path / "secret.txt")
    (run / "out").symlink_to(tmp_path)
    (run / "inside.bw").symlink_to(run / "tracks/x.bw")
    os.mkfifo(run / "pipe")
    return run


@pytest.mark.parametrize(
    "address",
    [
        "/../secret.txt",
        "/tracks/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/tracks/%2e%2e/%2e%2e/secret.txt",
        "/..%5csecret.txt",
        "/../run-other/secret.txt",
        "/link.txt",
        "/out/secret.txt",
        "/out/run-other/secret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/x%00.bw",
        "/.half.tmp",
        "/tracks",
        "/tracks/",
        "/browser/",
        "/pipe",
        "/nothing",
        "/" + "x" * 5000,
    ],
)
def test_what_is_not_the_runs_is_not_served(guarded, address):
    for server in served(RunServer(guarded)):
        status, _, content = ask(server, address)
        assert status == 404 and b"secret" not in content and b"root" not in content
        assert ask(server, "/inside.bw")[2] == b"track"


def test_a_run_that_is_a_link_itself_is_served(guarded, tmp_path):
    (tmp_path / "linked").symlink_to(guarded)
    assert file_of(tmp_path / "linked", "/tracks/x.bw") == guarded.resolve() / "tracks/x.bw"


def test_on_loopback_it_answers_to_names_of_loopback_alone(guarded):
    for server in served(RunServer(guarded)):
        port = server.server_address[1]
        for host in ("127.0.0.1", f"127.0.0.1:{port}", f"localhost:{port}", "[::1]:8000"):
            assert ask(server, "/tracks/x.bw", Host=host)[0] == 200, host
        for host in ("example.org", f"127.0.0.1.example.org:{port}", "localhost.example.org", ""):
            assert ask(server, "/tracks/x.bw", Host=host)[0] == 403, host


def test_rendering(guarded):
    asked = []

    def respond(query):
        asked.append(query)
        if "fails" in query:
            raise RuntimeError("no memory")
        return (200, {"values": [0.5]}) if "factor" in query else (400, {"error": "factor is missing"})

    for server in served(RunServer(guarded, respond=respond)):
        status, headers, content = ask(server, "/render?factor=A%2BB&cell_type=&region=chr1:1-10")
        assert (status, json.loads(content)) == (200, {"values": [0.5]})
        assert asked == [{"factor": ["A+B"], "cell_type": [""], "region": ["chr1:1-10"]}]
        assert headers["Content-Type"] == "application/json" and headers["Tfbind-On-Demand"] == "yes"
        status, _, content = ask(server, "/render")
        assert (status, json.loads(content)) == (400, {"error": "factor is missing"})
        status, _, content = ask(server, "/render?fails")
        assert status == 500 and "no memory" in json.loads(content)["error"]
        assert ask(server, "/tracks/x.bw")[0] == 200


def test_without_rendering_nothing_says_that_there_is(guarded):
    for server in served(RunServer(guarded)):
        assert ask(server, "/render?factor=A")[0] == 404
        assert "Tfbind-On-Demand" not in ask(server, "/tracks/x.bw")[1]


def test_where_it_cannot_listen_is_told(guarded, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is taken"):
            RunServer(guarded, port=port)
    with pytest.raises(InputError, match="70000 is no port"):
        RunServer(guarded, port=70000)
    with pytest.raises(InputError, match=r"'192\.0\.2\.1' is no address of this machine"):
        RunServer(guarded, host="192.0.2.1")
    with pytest.raises(InputError, match=r"has no browser/index\.html"):
        RunServer(Path(tmp_path / "run-other"))
