"""What several test folders share: a real HTTP server on loopback, a tiny run of all verbs, and Chromium."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import settings

from tfbind.cli import main
from tfbind.genome.reference import Reference, build_reference

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

# How long a test takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

MIRROR = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "mirror"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: towards the end workers then wait for each other's short tests, not for long ones."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")


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


# --- a tiny data set, and every verb run on it ---

# SIM01 to SIM03 in CT1 are trained on; SIMA and CT2 are held out; SIMB and CT3 were never measured. SIM02 was
# measured in one cell type only; SIM03 and SIMA have no motif; CT3 has no accessibility.
FACTORS = {"SIM01": "SIM01", "SIM02": "SIM02", "SIM03": "", "SIMA": "", "SIMB": "SIMB"}
CELL_TYPES = ("CT1", "CT2", "CT3")
EXPERIMENTS = [
    (factor, cell_type)
    for factor in ("SIM01", "SIM02", "SIM03", "SIMA")
    for cell_type in ("CT1", "CT2")
    if (factor, cell_type) != ("SIM02", "CT2")
]


@dataclass(frozen=True)
class TinyRun:
    """A folder in which all verbs were run, in the workflow's order, and what they said."""

    folder: Path
    said: dict[str, Result] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def tfbind(self, *arguments: Any) -> Result:
        """Run a verb, in the run's folder and in this process."""
        with contextlib.chdir(self.folder):
            return CliRunner().invoke(main, [str(argument) for argument in arguments])

    def arguments(self, verb: str, **others: Any) -> list[Any]:
        """The arguments of a verb as the workflow gives them; `others` replace options, None takes one out."""
        r = self.results
        made = {name: r / name for name in ("reference", "factors", "targets", "model")} | {
            "split": r / "split.json"
        }
        embedding = r / "genome_embedding"
        of_verb: dict[str, dict[str, Any]] = {
            "check": {},
            "simulate": {},
            "reference": {"output": r / "reference"},
            "accessibility": {"cell-type": "CT1", "output": r / "accessibility/CT1.bw"},
            "factors": {"output": r / "factors"},
            "contexts": {"output": r / "contexts"},
            "targets": {"output": r / "targets"},
            "split": {"output": r / "split.json"},
            "homology": {"output": r / "homology.tsv"},
            "train": {
                "state": r / "training/state",
                "history": r / "training/history.tsv",
                "accessibility": r / "accessibility",
                "output": r / "model",
                "threads": 1,
            },
            "embed": {"shard": 0, "output": embedding / "shards/0.npy", "threads": 1},
            "assemble": {"output": embedding / "tokens"},
            "render": {
                "cell-type": "CT1",
                "accessibility": r / "accessibility/CT1.bw",
                "embedding": embedding / "tokens",
                "output": r / "tracks/CT1",
                "threads": 1,
            },
            "gather": {"output": r / "tracks/CT1"},
            "factor-cnn": {
                "accessibility": r / "accessibility",
                "output": r / "factor_cnn.npz",
                "threads": 1,
            },
            "evaluate": {
                "accessibility": r / "accessibility",
                "predictions": r / "factor_cnn.npz",
                "embedding": embedding / "tokens",
                "output": r / "evaluation",
                "threads": 1,
            },
        }
        reads = {
            "accessibility": ["reference"],
            "targets": ["reference"],
            "split": ["reference", "factors", "targets"],
            "homology": ["reference", "targets", "split"],
            "train": ["reference", "factors", "targets", "split"],
            "embed": ["reference", "model"],
            "assemble": ["reference", "model"],
            "render": ["reference", "factors", "model"],
            "factor-cnn": ["reference", "targets", "split"],
            "evaluate": ["reference", "factors", "targets", "split", "model"],
        }
        options = {"config": self.config, **{name: made[name] for name in reads.get(verb, [])}, **of_verb[verb]}
        options |= {name.replace("_", "-"): value for name, value in others.items()}
        return [
            verb,
            *(part for key, value in options.items() if value is not None for part in (f"--{key}", value)),
        ]


def _write_tiny_config(folder: Path) -> None:
    world = folder / "world"
    tables = {
        "factors": ["factor uniprot motif", *(f"{name} {name} {motif}" for name, motif in FACTORS.items())],
        "cell_types": [
            "cell_type description accessibility",
            *(f"{name} simulated {world}/{name}.fragments.tsv.gz" for name in CELL_TYPES[:2]),
            "CT3 simulated ",
        ],
        "experiments": [
            "factor cell_type peaks",
            *(f"{factor} {cell} {world}/{factor}.{cell}.narrowPeak" for factor, cell in EXPERIMENTS),
        ],
    }
    for name, lines in tables.items():
        (folder / f"{name}.tsv").write_text("".join(line.replace(" ", "\t") + "\n" for line in lines))
    config = {
        "name": "tiny",
        "seed": 2,
        "device": "cpu",
        "tables": {name: f"{folder}/{name}.tsv" for name in tables},
        "reference": {"fasta": f"{world}/genome.fa.gz"},
        "windows": {"bin": 64, "length": 2048, "core": 1024},
        "factors": {"proteins": [f"{world}/proteins.fa"], "motifs": [f"{world}/motifs.meme"]},
        "splits": {
            "validation": ["chr2"],
            "test": ["chr3"],
            "held_out_factors": ["SIMA"],
            "held_out_cell_types": ["CT2"],
            "identity": 1.0,
        },
        "model": {
            "trunk": {"dim": 24, "depth": 1, "heads": 4, "dim_divisible_by": 4},
            "rank": 16,
            "heads": 4,
            "factor_tokens": 4,
            "hidden": 16,
            "motif_panel": 4,
        },
        "training": {
            "steps": 4,
            "batch_size": 4,
            "warmup_steps": 1,
            "validate_every": 2,
            "min_bound_bins": 1,
        },
        "prediction": {"shards": 2, "batch_size": 4, "fdr": 0.9},
        "simulation": {
            "folder": str(world),
            "chromosomes": 3,
            "chromosome_length": 20_100,
            "open_fraction": 0.3,
            "fragments": 4000,
            "sites_per_factor": 150,
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Every verb run once on a tiny simulated data set; tests look at the results, and leave them as they are."""
    run = TinyRun(tmp_path_factory.mktemp("tiny"))
    _write_tiny_config(run.folder)
    r = run.results
    shards = [r / f"genome_embedding/shards/{shard}.npy" for shard in (0, 1)]
    tracks = {name: r / f"accessibility/{name}.bw" for name in CELL_TYPES[:2]}
    steps = {
        "simulate": run.arguments("simulate"),
        "check": run.arguments("check"),
        "reference": run.arguments("reference"),
        **{
            f"accessibility {name}": run.arguments("accessibility", cell_type=name, output=path)
            for name, path in tracks.items()
        },
        "factors": run.arguments("factors"),
        "contexts": run.arguments("contexts"),
        "targets": run.arguments("targets"),
        "split": run.arguments("split"),
        "homology": run.arguments("homology"),
        "train": run.arguments("train"),
        **{f"embed {i}": run.arguments("embed", shard=i, output=path) for i, path in enumerate(shards)},
        "assemble": [*run.arguments("assemble"), *shards],
        **{
            f"render {name}": run.arguments(
                "render", cell_type=name, accessibility=tracks.get(name), output=r / f"tracks/{name}"
            )
            for name in CELL_TYPES
        },
        "factor-cnn": run.arguments("factor-cnn"),
        "evaluate": run.arguments("evaluate"),
        "plot-history": [
            *("plot-history", r / "training/history.tsv", "--output", r / "training/history"),
            *("--targets", r / "targets", "--split", r / "split.json"),
        ],
    }
    for step, arguments in steps.items():
        result = run.said[step] = run.tfbind(*arguments)
        assert result.exit_code == 0, f"{step}: {result.output}\n{result.exc_info}"
    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text file into the test's folder."""

    def writer(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return writer


@pytest.fixture(scope="session")
def mirrored() -> Callable[[str], Path]:
    """The file of the mirror with a name; skips where there is none."""

    def find(name: str) -> Path:
        found = sorted(MIRROR.rglob(name))
        if not found:
            pytest.skip(f"{name} is not in ../shared/data/mirror")
        return found[0]

    return find


@pytest.fixture(scope="session")
def yeast(mirrored: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The yeast genome, built from its published gzip."""
    folder = tmp_path_factory.mktemp("yeast") / "reference"
    build_reference(mirrored("sacCer3.fa.gz"), folder)
    return Reference.open(folder)


# --- a tiny text encoder ---

BERT_WORDS = ["liver", "lung", "cells", "of", "human", "mouse", "adult", "treated", "with", "interferon", "gamma"]
BERT_WORDS += ["for", "30", "minutes", "k562", "a", ",", "-"]
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_bert(folder: Path, seed: int = 0, positions: int = 20) -> Path:
    """A BERT with a WordPiece vocabulary, as PubMedBERT is published."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    pieces = [f"##{letter}" for letter in "abcdefgs"]
    (folder / "vocab.txt").write_text("\n".join([*BERT_SPECIAL, *BERT_WORDS, *pieces]))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    settings = BertConfig(
        vocab_size=len(BERT_SPECIAL) + len(BERT_WORDS) + len(pieces),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=positions,
        initializer_range=0.5,
    )
    torch.manual_seed(seed)
    BertModel(settings).save_pretrained(folder)
    return folder


@pytest.fixture
def make_bert(tmp_path: Path) -> Callable[..., Path]:
    """Write a further encoder into the test's folder."""
    return lambda name="bert", **options: write_bert(tmp_path / name, **options)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that takes 20 tokens; tests leave it as it is."""
    return write_bert(tmp_path_factory.mktemp("encoders") / "bert")


# --- a browser without a screen ---

SCREENSHOTS = os.environ.get("TFBIND_SCREENSHOTS")
"""A folder: what the tests see is written there, for people to look at."""


@dataclass
class Screen:
    """A page in Chromium, and all that went wrong on it."""

    page: Page
    folder: Path
    errors: list[str] = field(default_factory=list)
    """Console errors, uncaught exceptions, and requests that failed or that left the machine."""

    def watch(self) -> None:
        """Note what goes wrong from here on."""
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", lambda answer: answer.status >= 400 and self.errors.append(answer.url))
        self.page.on("request", self._note_request)

    def _note_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws") and address.hostname != "127.0.0.1":
            self.errors.append(f"leaves the machine: {request.url}")

    def shot(self, name: str, **options: Any) -> bytes:
        """A PNG of what is seen; NAME.png in the folder TFBIND_SCREENSHOTS, if there is one."""
        path = self.folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        return self.page.screenshot(path=path, **options)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, driven by playwright; skips where there is none.

    No longer than a module: as long as playwright runs, this thread is taken to be in an event loop.
    """
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    # Root has no sandbox; and a machine's proxy is not to stand between the browser and loopback.
    options = ["--no-sandbox", "--no-proxy-server", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, headless=True, args=options)
        yield browser
        browser.close()


@pytest.fixture
def screen(chromium: Browser, tmp_path: Path) -> Iterator[Screen]:
    """A blank page of 1280 x 900 pixels, in a profile of its own."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    screen = Screen(context.new_page(), Path(SCREENSHOTS) if SCREENSHOTS else tmp_path / "screenshots")
    screen.watch()
    yield screen
    context.close()
