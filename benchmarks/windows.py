"""Windows of bases a second on one core, at random places of a chromosome of random bases, beside other readers.

Each row says what it includes. A view touches no base: what is read of it, is read by who uses it. For a batch,
bases are copied, as in training and embedding; a reused one is memory that the system has given already. pyfaidx
gives text; enformer-pytorch's FastaInterval reads by pyfaidx, and gives int64 or one-hot of float32. All files
are in the system's cache.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyfaidx
import torch
from enformer_pytorch.data import FastaInterval
from torch import Tensor

from benchmarks import machine
from tfbind.genome.reference import CODES, Reference, build_reference
from tfbind.model.data import GenomeData, reverse_complement
from tfbind.model.trunk_interface import one_hot

LENGTH, BIN, BATCH = 196_608, 128, 8
# bp of the chromosome: about hg38's chr1, or about yeast's whole genome.
SIZES = {False: 12_000_000, True: 249_000_000}
LINE = 60
ROUNDS = 5
SECONDS = 0.5
CHROM = "chr1"
VIEW, COPY, REUSED, TRAINED, OURS = (
    "tfbind: view of the codes",
    "tfbind: codes, copied into a new batch",
    "tfbind: codes, copied into a reused batch",
    "tfbind: as training draws them, half turned",
    "tfbind: codes copied, one-hot float32 on the CPU",
)
PYFAIDX, INDICES, INTERVAL = "pyfaidx: text", "FastaInterval: int64 indices", "FastaInterval: one-hot float32"

# Reads windows from a list of starts.
Reader = Callable[[list[int]], Any]


def run(full: bool = False) -> dict[str, Any]:
    """Read windows by each in turn, print the table, and return what the JSON line says.

    `full` reads from a chromosome of 249 Mb, the default one has 12 Mb.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            reference, fasta = write_genome(Path(folder), SIZES[full])
            readers = make_readers(reference, fasta)
            most = SIZES[full] // BIN - LENGTH // BIN
            starts = (np.random.default_rng(1).integers(0, most, 50_000) * BIN).tolist()
            different = compare(readers, starts[:20])
            found = measure(readers, starts)
            device = machine.describe()
    finally:
        torch.set_num_threads(threads)
    print(f"{'windows of ' + format(LENGTH, ',') + ' bp':<52}{'a second':>12}{'GB/s of bases':>16}")
    for name, rate in found.items():
        print(f"{name:<52}{rate:12,.0f}{rate * LENGTH / 1e9:16.2f}")
    return {
        "ratio": {
            "view to pyfaidx": round(found[VIEW] / found[PYFAIDX], 1),
            "batch of codes to pyfaidx": round(found[REUSED] / found[PYFAIDX], 1),
            "one-hot to FastaInterval": round(found[OURS] / found[INTERVAL], 1),
        },
        "max_abs_diff": different,
        "windows_per_second": {name: round(rate) for name, rate in found.items()},
        "sizes": {"window": LENGTH, "batch": BATCH, "chromosome": SIZES[full]},
        "rounds": ROUNDS,
        "device": device,
    }


def write_genome(folder: Path, size: int) -> tuple[Reference, Path]:
    """A chromosome of random bases, as FASTA and as a reference."""
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[
        np.random.default_rng(0).integers(0, 4, size, dtype=np.uint8)
    ]
    fasta = folder / "genome.fa"
    with fasta.open("wb") as handle:
        handle.write(f">{CHROM}\n".encode())
        whole = size // LINE * LINE
        lines = np.full((whole // LINE, LINE + 1), ord("\n"), dtype=np.uint8)
        lines[:, :LINE] = letters[:whole].reshape(-1, LINE)
        handle.write(lines.tobytes())
        if whole < size:
            handle.write(letters[whole:].tobytes() + b"\n")
    build_reference(fasta, folder / "reference")
    return Reference.open(folder / "reference"), fasta


def make_readers(reference: Reference, fasta: Path) -> dict[str, Reader]:
    """What is measured; each returns what it read last."""
    data = GenomeData(BIN, {CHROM: reference.codes(CHROM)}, {}, np.zeros(0, dtype=bool))
    text = pyfaidx.Fasta(str(fasta), as_raw=True)[CHROM]
    indices, interval = (FastaInterval(fasta_file=fasta, return_seq_indices=each) for each in (True, False))
    reused = np.zeros((BATCH, LENGTH), dtype=np.uint8)

    def fetch(start: int) -> np.ndarray:
        return reference.fetch(CHROM, start, start + LENGTH)

    def into_reused(batch: list[int]) -> np.ndarray:
        for row, start in enumerate(batch):
            reused[row] = fetch(start)
        return reused

    def drawn(start: int) -> np.ndarray:
        codes = data.window_codes(CHROM, start // BIN, LENGTH // BIN)
        return reverse_complement(codes) if start // BIN % 2 else codes

    def batches(read: Callable[[list[int]], Any]) -> Reader:
        def all_of(starts: list[int]) -> Any:
            last = None
            for low in range(0, len(starts), BATCH):
                last = read(starts[low : low + BATCH])
            return last

        return all_of

    def each(read: Callable[[int], Any]) -> Reader:
        def all_of(starts: list[int]) -> Any:
            last = None
            for start in starts:
                last = read(start)
            return last

        return all_of

    return {
        VIEW: each(fetch),
        REUSED: batches(into_reused),
        COPY: batches(lambda batch: np.stack([fetch(start) for start in batch])),
        TRAINED: batches(lambda batch: np.stack([drawn(start) for start in batch])),
        OURS: batches(lambda batch: one_hot(torch.from_numpy(into_reused(batch)))),
        PYFAIDX: each(lambda start: text[start : start + LENGTH]),
        INDICES: each(lambda start: indices(CHROM, start, start + LENGTH)),
        INTERVAL: each(lambda start: interval(CHROM, start, start + LENGTH)),
    }


def compare(readers: dict[str, Reader], starts: list[int]) -> float:
    """Largest difference between what tfbind and the others read."""
    largest = 0.0
    for start in starts:
        letters = readers[PYFAIDX]([start])
        codes = readers[VIEW]([start])
        wanted = np.frombuffer(letters.encode().translate(CODES), dtype=np.uint8)
        turned = readers[TRAINED]([start])[0]
        hot: Tensor = readers[OURS]([start])[0]
        strand = 3 - wanted[::-1] if start // BIN % 2 else wanted
        pairs = [
            *((codes, wanted), (readers[COPY]([start])[0], wanted), (turned, strand)),
            *((readers[INDICES]([start]).numpy(), wanted), (hot.numpy(), readers[INTERVAL]([start]).numpy())),
        ]
        largest = max(largest, *(float(np.abs(ours.astype(float) - theirs).max()) for ours, theirs in pairs))
    return largest


def measure(readers: dict[str, Reader], starts: list[int]) -> dict[str, float]:
    """Windows a second of each, median of rounds in which they take turns; of CPU time, on one core."""
    counts: dict[str, int] = {}
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for name, read in readers.items():
        count = BATCH
        while (seconds := _seconds(read, starts[:count])) < SECONDS / 4 and count < len(starts):
            count = min(4 * count, len(starts))
        counts[name] = max(BATCH, min(len(starts), int(count * SECONDS / max(seconds, 1e-9)) // BATCH * BATCH))
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        for name, read in readers.items():
            rates[name].append(counts[name] / _seconds(read, starts[: counts[name]]))
    return {name: statistics.median(each) for name, each in rates.items()}


def _seconds(read: Reader, starts: list[int]) -> float:
    start = time.process_time()
    read(starts)
    return time.process_time() - start
