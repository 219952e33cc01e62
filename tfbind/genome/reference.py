"""The reference genome: one memory-mapped array of base codes a chromosome.

A reference is a folder: `reference.json` (order, sizes, checksums, aliases, excluded names), `CHROM.npy`
(uint8 codes), `n_runs/CHROM.npy` and `blacklist/CHROM.npy` (int64 (n, 2), sorted and disjoint, 0-based
half-open, bp). CHROM is the chromosome's name, percent-encoded where it is no file name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from tfbind.core.errors import InputError
from tfbind.core.files import atomic_dir, read_json, sha256_bytes, sha256_json, write_json
from tfbind.core.progress import told
from tfbind.genome.compressed import is_gzip, read_blocks
from tfbind.genome.intervals import bin_edges, cut, depth_per_bin, merge, read_intervals
from tfbind.genome.names import ChromosomeNames, listed, read_aliases

FORMAT, VERSION = "tfbind-reference", 1
N = 4
AMBIGUOUS = "NRYSWKMBDHV"
NOT_A_BASE = 255


def _code_table() -> bytes:
    table = bytearray([NOT_A_BASE]) * 256
    for code, letter in [*enumerate("ACGT"), *((N, letter) for letter in AMBIGUOUS)]:
        table[ord(letter)] = table[ord(letter.lower())] = code
    return bytes(table)


CODES = _code_table()


class Reference:
    """A reference genome, opened from the folder that `build_reference` wrote.

    Attributes
    ----------
    sizes
        Chromosome -> size in bp, in the FASTA's order, without the excluded.
    names
        Resolves what other files call the chromosomes, the excluded ones too.
    excluded
        Sequences of the FASTA that are left out.
    checksum
        SHA-256 over names, sizes and codes.
    """

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.folder = folder
        self.sizes: dict[str, int] = {each["name"]: each["size"] for each in description["chromosomes"]}
        self.excluded: tuple[str, ...] = tuple(description["excluded"])
        self.names = ChromosomeNames(description["names"], description["aliases"])
        self.checksum: str = description["checksum"]
        self._codes: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, folder: str | Path) -> Reference:
        """Open a reference; an InputError where the folder is none, or one of another version."""
        folder = Path(folder)
        path = folder / "reference.json"
        if not path.is_file():
            raise InputError("no reference is here", file=folder, mend="build it with `tfbind reference`")
        description = read_json(path)
        if (description.get("format"), description.get("version")) != (FORMAT, VERSION):
            problem = f"not a {FORMAT} of version {VERSION}"
            raise InputError(problem, file=path, mend="build the reference again with `tfbind reference`")
        return cls(folder, description)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled memory map would carry the whole genome to a worker process.
        return Reference.open, (self.folder,)

    def codes(self, chrom: str) -> np.ndarray:
        """A chromosome's base codes, memory-mapped: uint8 (size,), A 0, C 1, G 2, T 3, all else 4."""
        if chrom not in self._codes:
            self._require(chrom)
            self._codes[chrom] = np.load(self.folder / _file_name(chrom), mmap_mode="r")
        return self._codes[chrom]

    def fetch(self, chrom: str, start: int, end: int) -> np.ndarray:
        """Base codes of [start, end) as uint8 (end - start,); 4 where that lies outside the chromosome.

        What lies inside is a view of the memory map, which nobody may write into: nothing is read from disk
        before it is used.
        """
        if end < start:
            raise ValueError(f"end {end} is before start {start}")
        return cut(self.codes(chrom), start, end - start, N)

    def n_runs(self, chrom: str) -> np.ndarray:
        """Runs of code 4: int64 (n, 2), sorted and disjoint."""
        self._require(chrom)
        return np.load(self.folder / "n_runs" / _file_name(chrom))

    def blacklist(self, chrom: str) -> np.ndarray:
        """Blacklisted intervals: int64 (n, 2), sorted and disjoint."""
        self._require(chrom)
        return np.load(self.folder / "blacklist" / _file_name(chrom))

    def usable_bins(self, chrom: str, bin: int) -> np.ndarray:
        """Bool (ceil(size / bin),): False where a bin is more than half N, or overlaps the blacklist."""
        size = self.sizes[chrom]
        unknown, black = (
            depth_per_bin(runs[:, 0], runs[:, 1], size, bin)
            for runs in (self.n_runs(chrom), self.blacklist(chrom))
        )
        return (2 * unknown <= np.diff(bin_edges(size, bin))) & (black == 0)

    def _require(self, chrom: str) -> None:
        if chrom not in self.sizes:
            raise KeyError(f"'{chrom}' is no chromosome of the reference, which has {listed(self.sizes)}")


def build_reference(
    fasta: Path,
    out: Path,
    *,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    blacklist: Path | None = None,
    aliases: Path | None = None,
) -> None:
    """Turn a FASTA into a reference folder.

    Parameters
    ----------
    fasta
        FASTA, plain, gzip or bgzip; its folder may be read-only.
    out
        The folder to write; it appears when it is whole.
    include, exclude
        Shell patterns of sequence names (`chr*`, `*_random`); what is included and not excluded is kept, in
        the FASTA's order.
    blacklist
        BED of regions that are left out of training and evaluation.
    aliases
        TSV (alias, name) of further chromosome names.

    Raises
    ------
    InputError
        No FASTA, truncated gzip, a duplicate or empty sequence, letters that are no nucleotide's, a pattern
        that matches nothing, or anything wrong with the blacklist or the aliases.
    """
    fasta, out = Path(fasta), Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    # The index and the decompressed FASTA are large: they lie beside the output, not in a system folder.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent) as scratch:
        sequences = _open_fasta(fasta, Path(scratch))
        try:
            lengths = _lengths(fasta, sequences)
            kept = _select(fasta, list(lengths), include, exclude)
            names = _names(list(lengths), aliases)
            sizes = {name: lengths[name] for name in kept}
            excluded = [name for name in lengths if name not in sizes]
            with atomic_dir(out) as folder:
                _write_blacklist(folder, blacklist, names, sizes, excluded)
                _write_codes(folder, fasta, sequences, names, sizes, excluded)
        finally:
            sequences.close()


def _file_name(chrom: str) -> str:
    return quote(chrom, safe="+=@,:;()[] ") + ".npy"


def _open_fasta(fasta: Path, scratch: Path) -> Any:
    """Open by pyfaidx, which reads plain FASTA or bgzip and would write its index beside the file."""
    import pyfaidx

    plain = fasta
    if is_gzip(fasta):
        plain = scratch / "genome.fa"
        with plain.open("wb") as handle:
            for block in read_blocks(fasta):
                handle.write(block)
    mend = "give a FASTA whose sequences have names of their own and lines of one length"
    try:
        return pyfaidx.Fasta(str(plain), indexname=str(scratch / "genome.fai"), as_raw=True)
    except UnicodeDecodeError as error:
        raise InputError("the content is not text", file=fasta, mend=mend) from error
    except (ValueError, pyfaidx.FastaIndexingError) as error:
        text = str(error).replace(str(plain), fasta.name)
        if "Duplicate key" in text:
            text = f"duplicate sequence name ({text})"
        raise InputError(text, file=fasta, mend=mend) from error


def _lengths(fasta: Path, sequences: Any) -> dict[str, int]:
    lengths = {record.name: len(record) for record in sequences}
    empty = [name for name, length in lengths.items() if length == 0]
    if empty:
        raise InputError(f"empty sequences: {listed(empty)}", file=fasta, mend="take them out of the FASTA")
    return lengths


def _select(fasta: Path, names: list[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    for key, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                problem = f"pattern '{pattern}' matches no sequence; there are: {listed(names)}"
                raise InputError(
                    problem, file=fasta, key=f"reference.{key}", mend="correct or remove the pattern"
                )
    included = [name for name in names if any(fnmatchcase(name, pattern) for pattern in include)]
    kept = [name for name in included if not any(fnmatchcase(name, pattern) for pattern in exclude)]
    if not kept:
        problem = f"no sequence is left; there are: {listed(names)}"
        raise InputError(problem, file=fasta, key="reference.exclude", mend="include more or exclude less")
    return kept


def _names(names: list[str], aliases: Path | None) -> ChromosomeNames:
    if aliases is None:
        return ChromosomeNames(names)
    try:
        return ChromosomeNames(names, read_aliases(aliases))
    except InputError as error:
        if error.file is not None:
            raise
        raise InputError(error.problem, file=aliases, mend=error.mend) from error


def _write_blacklist(
    folder: Path, path: Path | None, names: ChromosomeNames, sizes: dict[str, int], excluded: list[str]
) -> None:
    (folder / "blacklist").mkdir()
    none = np.zeros((0, 2), dtype=np.int64)
    regions = read_intervals(path, names, sizes, half_width=0, excluded=excluded) if path is not None else None
    for name in sizes:
        np.save(folder / "blacklist" / _file_name(name), none if regions is None else merge(regions[name].spans))


def _write_codes(
    folder: Path,
    fasta: Path,
    sequences: Any,
    names: ChromosomeNames,
    sizes: dict[str, int],
    excluded: list[str],
) -> None:
    (folder / "n_runs").mkdir()
    chromosomes = []
    encoded = _encoded(fasta, sequences, list(sizes))
    for name, codes in told(encoded, "reading the genome", sum(sizes.values()), unit="bp", amount=_length):
        np.save(folder / _file_name(name), codes)
        np.save(folder / "n_runs" / _file_name(name), _runs(codes == N))
        chromosomes.append({"name": name, "size": len(codes), "sha256": sha256_bytes(codes.data)})
    description = {
        "format": FORMAT,
        "version": VERSION,
        "chromosomes": chromosomes,
        "names": list(names.names),
        "excluded": excluded,
        "aliases": names.aliases,
        "checksum": sha256_json([[each["name"], each["size"], each["sha256"]] for each in chromosomes]),
    }
    write_json(folder / "reference.json", description)


def _length(sequence: tuple[str, np.ndarray]) -> int:
    return len(sequence[1])


def _encoded(fasta: Path, sequences: Any, names: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    for name in names:
        letters = str(sequences[name][:]).encode("latin-1", "replace")
        codes = np.frombuffer(letters.translate(CODES), dtype=np.uint8)
        wrong = np.flatnonzero(codes == NOT_A_BASE)
        if len(wrong):
            found = "".join(sorted({chr(letters[i]) for i in wrong[:10_000].tolist()}))
            problem = f"sequence '{name}' has letters that are no nucleotide's: {found!r}"
            problem += f", first at base {wrong[0] + 1}"
            mend = "give DNA: A, C, G, T, N and the IUPAC codes of ambiguous bases"
            raise InputError(problem, file=fasta, mend=mend)
        yield name, codes


def _runs(mask: np.ndarray) -> np.ndarray:
    """Where a mask is True, as int64 (n, 2)."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).view(np.int8)))
    return changes.reshape(-1, 2).astype(np.int64)
