"""Sources come whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.core.files import sha256_file
from tfbind.core.sources import DOWNLOADS, fetch, is_url, local_path, uniprot_url

CONTENT = random.Random(0).randbytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
MIRROR = Path("../shared/data/mirror")


@pytest.fixture
def served(range_server):
    (range_server.folder / "data").mkdir()
    (range_server.folder / "data" / "genome.fa.gz").write_bytes(CONTENT)
    return range_server


@pytest.fixture
def destination(tmp_path):
    return tmp_path / "got" / "genome.fa.gz"


def get(server, destination, sha256=SHA, **options):
    fetch(f"{server.url}/data/genome.fa.gz", destination, sha256=sha256, backoff=0.001, **options)


def leave_part(server, destination, content=CONTENT, size=100_000):
    """Leave the first bytes of a download: the connection breaks, and then the server is down."""
    server.content["data/genome.fa.gz"] = content
    server.drop_after, server.down_after_drop = size, True
    with pytest.raises(InputError, match=f"first {size} bytes are kept"):
        get(server, destination, attempts=2)
    server.drop_after, server.down_after_drop, server.sent = None, False, 0
    for list_ in (server.content, server.refusals, server.requests):
        list_.clear()


def part(destination):
    return destination.with_name(destination.name + ".part")


def only_file_is(destination):
    return [path.name for path in destination.parent.iterdir()] == [destination.name]


def nothing_kept(destination):
    return not destination.parent.exists() or not list(destination.parent.iterdir())


# --- names -------------------------------------------------------------------------------------------------


def test_a_path_stands_for_itself_and_a_url_lies_below_downloads():
    assert local_path("data/peaks.bed") == Path("data/peaks.bed")
    assert local_path("https://Example.org/a/b.bed") == DOWNLOADS / "example.org" / "a" / "b.bed"
    assert local_path("https://e.org/f?x=1&y=a/b") == DOWNLOADS / "e.org" / "f%3Fx=1%26y=a%2Fb"
    assert local_path("https://e.org/f?x=1") != local_path("https://e.org/f?x=2")
    assert local_path("https://user:secret@e.org:8000/f") == DOWNLOADS / "e.org%3A8000" / "f"
    assert is_url("http://e.org/f") and not is_url("results/http/f")
    assert uniprot_url("P03069") == "https://rest.uniprot.org/uniprotkb/P03069.fasta"


@given(st.text(alphabet="ab./%2eF?#&=: ", max_size=30))
def test_no_url_leaves_the_folder_of_downloads(path):
    location = local_path("https://host/" + path)
    assert ".." not in location.parts
    assert (Path("/root") / location).resolve().is_relative_to(Path("/root") / DOWNLOADS / "host")


# --- downloads ---------------------------------------------------------------------------------------------


def test_download_is_whole_and_leaves_nothing_else(served, destination):
    seen = []
    get(served, destination, progress=lambda done, total: seen.append((done, total)))
    assert destination.read_bytes() == CONTENT
    assert only_file_is(destination)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_is_there_already_is_not_downloaded_again(served, destination):
    get(served, destination)
    get(served, destination)
    assert len(served.requests) == 1


def test_dropped_connections_go_on_where_they_broke(served, destination):
    served.drop_after = 90_000
    get(served, destination, attempts=2)  # more drops than attempts, but each brings it forward
    assert destination.read_bytes() == CONTENT
    assert [range_ for _, range_, _ in served.requests] == [
        None,
        "bytes=90000-",
        "bytes=180000-",
        "bytes=270000-",
    ]
    assert served.sent == len(CONTENT)
    assert only_file_is(destination)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(served, destination, status):
    served.refusals = [status, status]
    get(served, destination)
    assert destination.read_bytes() == CONTENT
    assert [status for _, _, status in served.requests] == [status, status, 200]


def test_back_off_doubles(served, destination, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    served.refusals = [503] * 9
    with pytest.raises(InputError, match="503"):
        fetch(f"{served.url}/data/genome.fa.gz", destination, sha256=SHA, attempts=4, backoff=3)
    assert waits == [3, 6, 12]
    assert nothing_kept(destination)


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_an_error_at_once(served, destination, status):
    served.refusals = [status]
    with pytest.raises(InputError) as error:
        get(served, destination)
    assert str(status) in str(error.value) and f"{served.url}/data/genome.fa.gz" in str(error.value)
    assert len(served.requests) == 1
    assert nothing_kept(destination)


def test_an_unreachable_server_is_an_error_with_its_mend(destination):
    with pytest.raises(InputError, match=r"2 attempts[\s\S]*mirror"):
        fetch("http://127.0.0.1:9/f", destination, sha256=SHA, attempts=2, backoff=0.001)


def test_a_wrong_checksum_says_what_was_expected_and_what_came(served, destination):
    served.content["data/genome.fa.gz"] = b"<html>sorry</html>"
    with pytest.raises(InputError) as error:
        get(served, destination)
    got = hashlib.sha256(b"<html>sorry</html>").hexdigest()
    for word in (f"{served.url}/data/genome.fa.gz", SHA, got, "18 bytes"):
        assert word in str(error.value)
    assert nothing_kept(destination)
    assert len(served.requests) == 1


def test_a_wrong_checksum_leaves_an_older_file_alone(served, destination):
    destination.parent.mkdir()
    destination.write_bytes(b"older")
    served.content["data/genome.fa.gz"] = b"wrong"
    with pytest.raises(InputError, match="checksum"):
        get(served, destination)
    assert destination.read_bytes() == b"older" and only_file_is(destination)


@pytest.mark.parametrize("sha256", [SHA, None])
def test_a_truncated_file_is_an_error_and_nothing_is_kept(served, destination, sha256):
    served.drop_after, served.ranges = 1000, False
    with pytest.raises(InputError) as error:
        get(served, destination, sha256=sha256, attempts=3)
    for word in ("truncated", "genome.fa.gz", str(len(CONTENT)), "got 1000"):
        assert word in str(error.value)
    assert nothing_kept(destination)
    assert len(served.requests) == 3


def test_without_a_checksum_the_length_is_verified(served, destination):
    get(served, destination, sha256=None)
    assert destination.read_bytes() == CONTENT


def test_an_answer_in_gzip_is_kept_as_it_lies_on_the_server(served, destination):
    # What ends in .gz stays packed: its checksum is that of the packed bytes.
    import gzip

    packed = gzip.compress(b"ACGT" * 1000, mtime=0)
    served.content["data/genome.fa.gz"] = packed
    get(served, destination, sha256=hashlib.sha256(packed).hexdigest())
    assert destination.read_bytes() == packed


# --- going on with an old part -----------------------------------------------------------------------------


def test_a_part_is_gone_on_with(served, destination):
    leave_part(served, destination)
    get(served, destination)
    assert destination.read_bytes() == CONTENT and only_file_is(destination)
    assert served.requests == [("/data/genome.fa.gz", "bytes=100000-", 206)]
    assert served.sent == len(CONTENT) - 100_000


def test_a_server_without_ranges_starts_over(served, destination):
    leave_part(served, destination)
    served.ranges = False
    get(served, destination)
    assert destination.read_bytes() == CONTENT and only_file_is(destination)
    assert served.requests == [("/data/genome.fa.gz", "bytes=100000-", 200)]


@pytest.mark.parametrize("sha256", [SHA, None])
def test_a_file_that_changed_is_not_spliced(served, destination, sha256):
    leave_part(served, destination, content=b"x" * len(CONTENT))
    get(served, destination, sha256=sha256)
    assert destination.read_bytes() == CONTENT


def test_without_an_etag_the_checksum_finds_the_splice(served, destination):
    served.etags = False
    leave_part(served, destination, content=b"x" * len(CONTENT))
    get(served, destination)
    assert destination.read_bytes() == CONTENT
    assert [range_ for _, range_, _ in served.requests] == ["bytes=100000-", None]


def test_without_etag_and_checksum_it_starts_over(served, destination):
    served.etags = False
    leave_part(served, destination, content=b"x" * len(CONTENT))
    get(served, destination, sha256=None)
    assert destination.read_bytes() == CONTENT
    assert [range_ for _, range_, _ in served.requests] == [None]


def test_a_part_that_is_whole_already_is_renamed(served, destination):
    leave_part(served, destination, size=len(CONTENT) - 1)
    part(destination).write_bytes(CONTENT)
    get(served, destination)
    assert destination.read_bytes() == CONTENT and only_file_is(destination)
    assert served.sent == 0


def test_a_part_longer_than_the_file_starts_over(served, destination):
    leave_part(served, destination)
    part(destination).write_bytes(CONTENT + b"more")
    get(served, destination)
    assert destination.read_bytes() == CONTENT and only_file_is(destination)


def test_a_part_of_another_server_starts_over(served, destination):
    leave_part(served, destination)
    served.content["other.gz"] = b"other"
    fetch(f"{served.url}/other.gz", destination, sha256=None)
    assert destination.read_bytes() == b"other"


def test_killed_in_the_middle_it_resumes_to_the_same_bytes(served, destination):
    served.bytes_per_second = 200_000
    url = f"{served.url}/data/genome.fa.gz"
    code = (
        "import sys; from pathlib import Path; from tfbind.core.sources import fetch;"
        f"fetch({url!r}, Path({str(destination)!r}), sha256={SHA!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    deadline = time.monotonic() + 20
    while not (part(destination).exists() and part(destination).stat().st_size > 60_000):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not destination.exists()
    kept = part(destination).stat().st_size
    assert 0 < kept < len(CONTENT)

    served.bytes_per_second = None
    served.requests.clear()
    get(served, destination)
    assert destination.read_bytes() == CONTENT and only_file_is(destination)
    assert served.requests == [("/data/genome.fa.gz", f"bytes={kept}-", 206)]


# --- mirrors -----------------------------------------------------------------------------------------------

URL = "https://example.org/data/genome.fa.gz"


@pytest.fixture
def mirror(tmp_path):
    file = tmp_path / "mirror" / "example.org" / "data" / "genome.fa.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    return file


def test_a_folder_mirror_is_copied_and_verified(mirror, tmp_path, destination):
    fetch(URL, destination, sha256=SHA, mirror=str(tmp_path / "mirror"))
    assert destination.read_bytes() == CONTENT and only_file_is(destination)


def test_a_truncated_file_in_a_folder_mirror_is_an_error(mirror, tmp_path, destination):
    mirror.write_bytes(CONTENT[:1000])
    with pytest.raises(InputError) as error:
        fetch(URL, destination, sha256=SHA, mirror=str(tmp_path / "mirror"))
    for word in (str(mirror), URL, SHA, hashlib.sha256(CONTENT[:1000]).hexdigest(), "1000 bytes"):
        assert word in str(error.value)
    assert nothing_kept(destination)


def test_a_file_missing_in_a_folder_mirror_names_url_and_place(mirror, tmp_path, destination):
    mirror.unlink()
    with pytest.raises(InputError) as error:
        fetch(URL, destination, sha256=SHA, mirror=str(tmp_path / "mirror"))
    assert URL in str(error.value) and str(mirror) in str(error.value) and "mend" in str(error.value)


def test_a_mirror_that_is_no_folder_names_its_key(tmp_path, destination):
    with pytest.raises(InputError, match=r"key 'mirror'"):
        fetch(URL, destination, sha256=SHA, mirror=str(tmp_path / "absent"))


def test_a_url_mirror_serves_host_and_path(served, mirror, tmp_path, destination):
    served.folder = tmp_path / "mirror"
    fetch(URL, destination, sha256=SHA, mirror=served.url + "/")
    assert destination.read_bytes() == CONTENT
    assert served.requests[0][0] == "/example.org/data/genome.fa.gz"


def test_a_file_missing_in_a_url_mirror_names_both(served, destination):
    with pytest.raises(InputError) as error:
        fetch(URL, destination, sha256=SHA, mirror=served.url)
    assert URL in str(error.value) and f"{served.url}/example.org/data/genome.fa.gz" in str(error.value)


def test_a_local_file_is_copied_and_a_missing_one_named(mirror, tmp_path, destination):
    fetch(str(mirror), destination, sha256=SHA)
    assert destination.read_bytes() == CONTENT
    with pytest.raises(InputError, match=r"absent\.bed"):
        fetch(str(tmp_path / "absent.bed"), destination, sha256=None)


@pytest.mark.skipif(not MIRROR.is_dir(), reason="the real data's mirror (../shared/data/mirror) is not here")
def test_the_real_mirror_over_http_resumes_and_verifies(range_server, destination):
    rows = [line.split("\t") for line in (MIRROR / "SOURCES.tsv").read_text().splitlines()[1:]]
    url, sha256, size = next(row[:3] for row in rows if row[0].endswith("Reb1_CX.bed"))
    range_server.folder, range_server.drop_after = MIRROR, 20_000
    fetch(url, destination, sha256=sha256, mirror=range_server.url, backoff=0.001)
    assert sha256_file(destination) == sha256 and destination.stat().st_size == int(size)
    assert range_server.sent == int(size)
