"""Bad input, end to end: the message names the place and the mend, and nothing half-made stays."""

from __future__ import annotations

import ast
import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyBigWig
import pytest
import yaml

ROOT = Path(__file__).parents[1]
# What a case gives: verb, values that override the configuration, and what the message must say.
Case = tuple[str, dict[str, Any], list[str]]
CASES: dict[str, Callable[[Any, Path], Case]] = {}


def case(function: Callable[[Any, Path], Case]) -> Callable[[Any, Path], Case]:
    CASES[function.__name__] = function
    return function


@pytest.mark.parametrize("name", CASES, ids=lambda name: name)
def test_bad_input_is_told(name, tiny_run, tmp_path):
    verb, values, said = CASES[name](tiny_run, tmp_path)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(values))
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    out = {"output": tmp_path / "out", "state": tmp_path / "state", "history": tmp_path / "history.tsv"}
    taken = set(map(str, tiny_run.arguments(verb))) if verb != "download" else set()
    out = {key: path for key, path in out.items() if f"--{key}" in taken}
    arguments = [verb, "--config", tiny_run.config] if verb == "download" else tiny_run.arguments(verb, **out)
    paths = ["resources/downloads/example.org/genome.fa.gz"] if verb == "download" else []
    result = tiny_run.tfbind(*arguments, "--config", overlay, *paths)
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == 1 and result.stdout == ""
    message = result.stderr[result.stderr.index("tfbind: error: ") :]
    assert "\n  mend: " in message and not message.rstrip().endswith("mend:")
    for fragment in said:
        assert str(fragment) in message, message
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == before
    assert not (tiny_run.folder / "resources/downloads/example.org/genome.fa.gz").exists()


# --- the configuration and its tables ---


@case
def unknown_key(run, tmp):
    return "check", {"windows": {"lenght": 2048}}, [run.config, "unknown key 'windows.lenght'", "'length'"]


@case
def missing_table(run, tmp):
    return "check", {"tables": {"factors": f"{tmp}/no.tsv"}}, [f"{tmp}/no.tsv: no such table", "tables"]


def edited(run, tmp: Path, table: str, edit: Callable[[list[list[str]]], Any]) -> tuple[str, dict[str, Any]]:
    """A copy of a table, changed row by row; its path, and the configuration that names it."""
    rows = [line.split("\t") for line in (run.folder / f"{table}.tsv").read_text().splitlines()]
    edit(rows)
    path = tmp / f"{table}.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return str(path), {"tables": {table: str(path)}}


def put(row: int, column: int, value: Any) -> Callable[[list[list[str]]], None]:
    def edit(rows: list[list[str]]) -> None:
        rows[row - 1][column] = str(value)

    return edit


@case
def missing_file(run, tmp):
    path, values = edited(run, tmp, "experiments", put(3, 2, f"{tmp}/no.bed"))
    return "check", values, [f"{path}, row 3, column 'peaks': the file {tmp}/no.bed is not there"]


@case
def missing_file_when_it_is_read(run, tmp):
    path, values = edited(run, tmp, "experiments", put(3, 2, f"{tmp}/no.bed"))
    return "targets", values, [f"{path}, row 3, column 'peaks': the file {tmp}/no.bed is not there"]


@case
def missing_download(run, tmp):
    source = {"source": "https://example.org/genome.fa.gz", "sha256": "0" * 64}
    return "reference", {"reference": {"fasta": source}}, ["key 'reference.fasta'", "tfbind download"]


@case
def missing_column(run, tmp):
    path, values = edited(run, tmp, "experiments", put(1, 2, "assay"))
    return "check", values, [f"{path}, row 1: column 'peaks' is missing"]


@case
def duplicate_factor(run, tmp):
    path, values = edited(run, tmp, "factors", put(3, 0, "SIM01"))
    return "check", values, [f"{path}, row 3, column 'factor': 'SIM01' stands twice; first in row 2"]


@case
def duplicate_cell_type(run, tmp):
    path, values = edited(run, tmp, "cell_types", put(3, 0, "CT1"))
    return "check", values, [f"{path}, row 3, column 'cell_type': 'CT1' stands twice"]


@case
def duplicate_experiment(run, tmp):
    path, values = edited(run, tmp, "experiments", lambda rows: rows.append(rows[1]))
    return "check", values, [f"{path}, row 9: experiment SIM01.CT1 stands twice; first in row 2"]


@case
def undefined_factor(run, tmp):
    path, values = edited(run, tmp, "experiments", put(2, 0, "SIM10"))
    return "check", values, [f"{path}, row 2, column 'factor': factor 'SIM10' is defined nowhere", "'SIM01'"]


@case
def undefined_cell_type(run, tmp):
    path, values = edited(run, tmp, "experiments", put(2, 1, "HeLa"))
    return "check", values, [f"{path}, row 2, column 'cell_type': cell type 'HeLa' is defined nowhere"]


@case
def undefined_held_out_factor(run, tmp):
    values = {"splits": {"held_out_factors": ["SIMX"]}}
    return "check", values, ["key 'splits.held_out_factors'", "'SIMX' is not in", "factors.tsv"]


@case
def region_that_is_none(run, tmp):
    values = {"splits": {"test": ["chr3:5000-4000"]}}
    return "check", values, ["key 'splits.test': 'chr3:5000-4000' is no region", "first and last base"]


@case
def unknown_motif(run, tmp):
    path, values = edited(run, tmp, "factors", put(3, 2, "SIM2"))
    return "factors", values, [f"{path}, row 3, column 'motif': no motif 'SIM2'", "SIM02"]


@case
def unknown_jaspar_motif(run, tmp):
    path, values = edited(run, tmp, "factors", put(3, 2, "MA9999.1"))
    return "factors", values, [f"{path}, row 3, column 'motif': no motif 'MA9999.1' in JASPAR2024"]


@case
def unknown_jaspar_release(run, tmp):
    _, values = edited(run, tmp, "factors", put(3, 2, "MA0363.3"))
    values["factors"] = {"jaspar": "JASPAR1999"}
    return "factors", values, ["key 'factors.jaspar': unknown JASPAR release 'JASPAR1999'", "JASPAR2024"]


@case
def protein_with_another_checksum(run, tmp):
    def edit(rows: list[list[str]]) -> None:
        for row in rows:
            row.append("sequence_sha256" if row is rows[0] else "0" * 64 if row is rows[2] else "")

    path, values = edited(run, tmp, "factors", edit)
    return "factors", values, [f"{path}, row 3, column 'sequence_sha256': the sequence of SIM02 has sha256"]


@case
def motif_that_two_files_give_differently(run, tmp):
    lines = (run.folder / "world/motifs.meme").read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith("letter-probability"))
    (tmp / "other.meme").write_text("".join([*lines[: at + 1], "1.0 0.0 0.0 0.0\n", *lines[at + 2 :]]))
    values = {"factors": {"motifs": [f"{run.folder}/world/motifs.meme", f"{tmp}/other.meme"]}}
    return "factors", values, [f"{tmp}/other.meme, key 'factors.motifs': motif SIM01"]


@case
def protein_that_is_in_no_fasta(run, tmp):
    path, values = edited(run, tmp, "factors", put(2, 1, "NONE"))
    return "factors", values, [f"{path}, row 2, column 'uniprot': the protein NONE of SIM01 is in no FASTA"]


# --- checksums and damaged files ---


@case
def download_with_another_checksum(run, tmp):
    (tmp / "mirror/example.org").mkdir(parents=True)
    (tmp / "mirror/example.org/genome.fa.gz").write_bytes(b"something else")
    source = {"source": "https://example.org/genome.fa.gz", "sha256": "0" * 64}
    said = [f"{tmp}/mirror/example.org/genome.fa.gz: wrong checksum", f"expected sha256 {'0' * 64}, got "]
    said.append(hashlib.sha256(b"something else").hexdigest())
    return "download", {"mirror": f"{tmp}/mirror", "reference": {"fasta": source}}, said


def wrong_checksum(run) -> tuple[str, dict[str, Any], list[str]]:
    path = run.folder / "world/genome.fa.gz"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    said = [f"{path}: checksum differs: expected sha256 {'0' * 64}, got {found}"]
    return "check", {"reference": {"fasta": {"source": str(path), "sha256": "0" * 64}}}, said


@case
def local_file_with_another_checksum(run, tmp):
    return wrong_checksum(run)


@case
def local_file_with_another_checksum_when_it_is_read(run, tmp):
    return ("reference", *wrong_checksum(run)[1:])


def truncated(path: Path, content: bytes) -> Path:
    packed = gzip.compress(content, mtime=0)
    path.write_bytes(packed[: len(packed) // 2])
    return path


@case
def truncated_genome(run, tmp):
    path = truncated(tmp / "genome.fa.gz", gzip.decompress((run.folder / "world/genome.fa.gz").read_bytes()))
    return "reference", {"reference": {"fasta": str(path)}}, [f"{path}: truncated or damaged gzip"]


@case
def truncated_proteins(run, tmp):
    path = truncated(tmp / "proteins.fa.gz", (run.folder / "world/proteins.fa").read_bytes())
    return "factors", {"factors": {"proteins": [str(path)]}}, [f"{path}, row ", "truncated or damaged"]


@case
def truncated_peaks(run, tmp):
    path = truncated(tmp / "peaks.bed.gz", "".join(f"chr1\t{i}\t{i + 200}\n" for i in range(9000)).encode())
    _, values = edited(run, tmp, "experiments", put(2, 2, path))
    return "targets", values, [f"{path}: truncated or damaged gzip"]


@case
def truncated_fragments(run, tmp):
    content = gzip.decompress((run.folder / "world/CT1.fragments.tsv.gz").read_bytes())
    path = truncated(tmp / "CT1.fragments.tsv.gz", content)
    _, values = edited(run, tmp, "cell_types", put(2, 2, path))
    return "accessibility", values, [f"{path}: truncated or damaged gzip"]


# --- peaks ---


def with_peaks(run, tmp: Path, content: str, name: str = "peaks.bed") -> tuple[Path, dict[str, Any]]:
    path = tmp / name
    path.write_text(content)
    _, values = edited(run, tmp, "experiments", put(2, 2, path))
    return path, values


@case
def chromosome_names_that_do_not_resolve(run, tmp):
    path, values = with_peaks(run, tmp, "chr1\t10\t200\nscaffold_7\t10\t200\n")
    return (
        "targets",
        values,
        [f"{path}: ", "do not resolve: scaffold_7", "genome has: chr1, chr2, chr3", "aliases"],
    )


@case
def peak_past_the_chromosomes_end(run, tmp):
    path, values = with_peaks(run, tmp, "chr1\t10\t200\nchr2\t20000\t20101\n")
    return "targets", values, [f"{path}, row 2: end 20101 is past the end of chr2, which has 20100 bp"]


@case
def start_not_before_end(run, tmp):
    path, values = with_peaks(run, tmp, "# calls\nchr1\t10\t200\nchr1\t300\t300\n")
    return "targets", values, [f"{path}, row 3: start 300 is not before end 300"]


@case
def start_before_the_chromosome(run, tmp):
    path, values = with_peaks(run, tmp, "chr1\t-10\t200\n")
    return "targets", values, [f"{path}, row 1: start -10 is before the chromosome's beginning"]


@case
def call_of_one_base_without_a_half_width(run, tmp):
    path, values = with_peaks(run, tmp, "chr1\t10\t11\n")
    return "targets", values, [f"{path}, row 1: a call of 1 bp", "targets.half_width"]


@case
def coordinate_that_is_no_number(run, tmp):
    path, values = with_peaks(run, tmp, "chr1\tten\t200\n")
    return "targets", values, [f"{path}, row 1, column 'start': 'ten' is not a whole number"]


@case
def empty_peak_file(run, tmp):
    path, values = with_peaks(run, tmp, "")
    return "targets", values, [f"{path}: the file has no intervals"]


@case
def peak_file_of_comments(run, tmp):
    path, values = with_peaks(run, tmp, "# nothing was found\n\n")
    return "targets", values, [f"{path}: the file has no intervals"]


# --- sequences ---


def genome(tmp: Path, content: str) -> tuple[Path, dict[str, Any]]:
    path = tmp / "genome.fa"
    path.write_text(content)
    return path, {"reference": {"fasta": str(path)}}


@case
def genome_with_a_duplicate_sequence(run, tmp):
    path, values = genome(tmp, ">chr1\nACGT\n>chr2\nAACC\n>chr1\nGGTT\n")
    return "reference", values, [f"{path}: duplicate sequence name", "chr1"]


@case
def genome_with_an_empty_sequence(run, tmp):
    path, values = genome(tmp, ">chr1\nACGT\n>chr2\n>chr3\nACGT\n")
    return "reference", values, [f"{path}: empty sequences: chr2"]


@case
def genome_with_letters_of_no_nucleotide(run, tmp):
    path, values = genome(tmp, ">chr1\nACGTACPLACGT\n")
    return "reference", values, [f"{path}: sequence 'chr1' has letters that are no nucleotide's: 'LP'", "base 7"]


def proteins(run, tmp: Path, edit: Callable[[str], str]) -> tuple[Path, dict[str, Any]]:
    path = tmp / "proteins.fa"
    path.write_text(edit((run.folder / "world/proteins.fa").read_text()))
    return path, {"factors": {"proteins": [str(path)]}}


@case
def protein_with_letters_of_no_amino_acid(run, tmp):
    path, values = proteins(run, tmp, lambda text: ">SIM00|SIM00\nMKV1L\n" + text)
    return "factors", values, [f"{path}, row 1: protein SIM00 has '1' at position 4, which is no amino acid"]


@case
def proteins_with_a_duplicate(run, tmp):
    path, values = proteins(run, tmp, lambda text: ">SIM01|SIM01\nMKVL\n" + text)
    return "factors", values, [f"{path}, row 3: protein SIM01 is there twice; first in {path}, row 1"]


@case
def proteins_with_an_empty_sequence(run, tmp):
    path, values = proteins(run, tmp, lambda text: ">SIM00|SIM00\n" + text)
    return "factors", values, [f"{path}, row 1: protein SIM00 has an empty sequence"]


# --- accessibility ---


def bigwig(run, tmp: Path, sizes: dict[str, int], value: float) -> tuple[Path, dict[str, Any]]:
    path = tmp / "CT1.bw"
    with pyBigWig.open(str(path), "w") as handle:
        handle.addHeader(list(sizes.items()))
        first = next(iter(sizes))
        handle.addEntries([first, first], [0, 100], ends=[100, 200], values=[1.0, value])
    _, values = edited(run, tmp, "cell_types", put(2, 2, path))
    return path, values


@case
def nan_in_a_bigwig(run, tmp):
    path, values = bigwig(run, tmp, {"chr1": 20_100}, float("nan"))
    return "accessibility", values, [f"{path}: value nan at chr1:100 is not a finite number"]


@case
def bigwig_of_another_genome(run, tmp):
    path, values = bigwig(run, tmp, {"scaffold_1": 20_100}, 2.0)
    return "accessibility", values, [f"{path}: ", "scaffold_1", "the genome has: chr1, chr2, chr3"]


@case
def bigwig_of_another_assembly(run, tmp):
    path, values = bigwig(run, tmp, {"chr1": 20_200}, 2.0)
    return "accessibility", values, [f"{path}: chr1 has 20200 bp in the file and 20100 bp in the genome"]


# --- training ---


@case
def window_longer_than_every_chromosome(run, tmp):
    values = {"windows": {"length": 32_768, "core": 16_384}}
    return (
        "train",
        values,
        ["key 'windows.length': a window of 32768 bp is longer than every chromosome", "20100"],
    )


@case
def window_longer_than_every_chromosome_in_prediction(run, tmp):
    values = {"windows": {"length": 32_768, "core": 16_384}}
    return (
        "embed",
        values,
        ["key 'windows.length': a window of 32768 bp is longer than every chromosome", "20100"],
    )


@case
def too_few_positives(run, tmp):
    values = {"training": {"min_bound_bins": 5000}}
    return (
        "train",
        values,
        ["key 'training.min_bound_bins': too few bound bins", "SIM01.CT1 (", "5000 are needed"],
    )


@case
def chromosome_to_hold_out_that_is_not_there(run, tmp):
    values = {"splits": {"validation": ["chr9"]}}
    return (
        "split",
        values,
        ["key 'splits.validation': 'chr9' is no chromosome", "chr1, chr2, chr3"],
    )


# --- all of them ---


def test_every_input_error_of_the_package_says_how_to_mend_it():
    """Each place that raises one; what passes on another's problem passes on its mend, too."""
    without = []
    for path in sorted((ROOT / "tfbind").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "InputError":
                mend = [keyword.value for keyword in node.keywords if keyword.arg == "mend"]
                unpacked = any(keyword.arg is None for keyword in node.keywords)
                empty = any(isinstance(value, ast.Constant) and not value.value for value in mend)
                if empty or not (mend or unpacked):
                    without.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not without
