"""The bytes of a bigWig with one value a bin: values, index, and summaries at lower resolutions.

The format is that of Kent et al. 2010 (doi:10.1093/bioinformatics/btq351), by the tables of its supplement; all
numbers are little-endian. pyBigWig could write it, too, but the sum of every 1,023rd record of its summaries is
lost, so that `stats()` of what it wrote is wrong; and it takes several times as long (benchmarks/bigwig.py).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import BinaryIO

import numpy as np

MAGIC, TREE_MAGIC, INDEX_MAGIC = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
VERSION = 4
# What readers set aside for a block, uncompressed, and the most bins and summary records that fit into one.
BLOCK_BYTES = 1 << 15
BINS_A_BLOCK, RECORDS_A_BLOCK = 8160, 1024
# Of an index, and of the list of chromosomes, whose nodes count their children in 16 bits.
CHILDREN, CHROMOSOMES = 256, 1 << 15
# At zlib's default, rounded values take five times as long and come out 15 % smaller.
COMPRESSION = 1
# Bins of a record of the finest summary; how many times coarser each next one is; the most there are.
FIRST, COARSER, LEVELS = 64, 4, 10
# Kinds of blocks: runs of equal values with their ends, or a value a bin.
RUNS, STEPS = 1, 3
LARGEST = float(np.finfo(np.float32).max)

HEADER, LEVEL, TOTAL = struct.Struct("<IHHQQQHHQQIQ"), struct.Struct("<IIQQ"), struct.Struct("<Qdddd")
_SPAN = [(name, "<u4") for name in ("first_chrom", "start", "last_chrom", "end")]
LEAF = np.dtype([*_SPAN, ("offset", "<u8"), ("size", "<u8")])
BRANCH = np.dtype([*_SPAN, ("offset", "<u8")])
RUN = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
RECORD = np.dtype(
    [
        *((name, "<u4") for name in ("chrom", "start", "end", "covered")),
        *((name, "<f4") for name in ("least", "most", "sum", "squares")),
    ]
)


def write_values(
    raw: BinaryIO, sizes: Mapping[str, int], values: Iterable[tuple[str, np.ndarray]], bin: int, first: int = 0
) -> None:
    """Write a whole bigWig.

    Parameters
    ----------
    raw
        An empty file; it must be seekable.
    sizes
        All chromosomes, bp.
    values
        (chromosome, float32 (bins,)), finite, in the order of `sizes`; each at most once. A last bin that the
        chromosome's end cuts ends there.
    first
        The bin of a chromosome where its values begin.
    """
    lengths = _levels(max(sizes.values(), default=0), bin)
    total_at = HEADER.size + LEVEL.size * len(lengths)
    raw.write(bytes(total_at + TOTAL.size))
    tree_at = raw.tell()
    raw.write(_chromosome_tree(sizes, tree_at))
    data_at = raw.tell()
    raw.write(bytes(8))
    numbers = {chrom: number for number, chrom in enumerate(sizes)}
    leaves: list[tuple[int, ...]] = []
    spans: dict[str, Span] = {}
    summaries: dict[str, Summary] = {}
    for chrom, array in values:
        start, end = first * bin, min((first + len(array)) * bin, sizes[chrom])
        spans[chrom] = Span(numbers[chrom], start, end)
        leaves += _put(raw, value_blocks(spans[chrom], array, bin))
        summaries[chrom] = summarize(array, end - start, bin)
    index_at = raw.tell()
    raw.write(_index(leaves, index_at))
    total = _total(summaries.values())
    headers = []
    for length in lengths:
        headers.append((length, 0, *_put_summaries(raw, spans, summaries, length)))
        summaries = {chrom: summary.coarser() for chrom, summary in summaries.items()}
    raw.write(struct.pack("<I", MAGIC))
    raw.seek(0)
    raw.write(
        HEADER.pack(
            *(MAGIC, VERSION, len(lengths), tree_at, data_at, index_at, 0, 0, 0, total_at, BLOCK_BYTES, 0),
        )
    )
    for header in headers:
        raw.write(LEVEL.pack(*header))
    raw.write(TOTAL.pack(*total))
    raw.seek(data_at)
    raw.write(struct.pack("<Q", len(leaves)))


# --- values -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """A part of a chromosome: its number, and 0-based half-open bp."""

    chrom: int
    start: int
    end: int


@dataclass(frozen=True)
class Block(Span):
    """A compressed block of one."""

    content: bytes


def value_blocks(span: Span, values: np.ndarray, bin: int) -> Iterator[Block]:
    """Blocks of a span's bins, float32 (bins,).

    A block holds a value a bin or, where that is shorter, runs of equal values: mostly empty tracks are then read
    as few entries. A last bin that ends early, with the chromosome, is a run of its own.
    """
    chrom, start = span.chrom, span.start
    full = (span.end - start) // bin
    for low in range(0, full, BINS_A_BLOCK):
        part = values[low : min(low + BINS_A_BLOCK, full)]
        first = np.flatnonzero(np.concatenate([[True], part[1:] != part[:-1]]))
        if len(first) * RUN.itemsize < part.nbytes:
            yield _runs(chrom, start + np.append(first + low, low + len(part)) * bin, part[first])
        else:
            content = part.astype("<f4", copy=False).tobytes()
            ends = start + low * bin, start + (low + len(part)) * bin
            yield _block(chrom, *ends, bin, STEPS, len(part), content)
    if full < len(values):
        yield _runs(chrom, np.array([start + full * bin, span.end]), values[full:])


def _runs(chrom: int, edges: np.ndarray, values: np.ndarray) -> Block:
    rows = np.empty(len(values), dtype=RUN)
    rows["start"], rows["end"], rows["value"] = edges[:-1], edges[1:], values
    return _block(chrom, int(edges[0]), int(edges[-1]), 0, RUNS, len(rows), rows.tobytes())


def _block(chrom: int, start: int, end: int, step: int, kind: int, count: int, content: bytes) -> Block:
    head = struct.pack("<IIIIIBBH", chrom, start, end, step, step, kind, 0, count)
    return Block(chrom, start, end, zlib.compress(head + content, COMPRESSION))


# --- summaries --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """What values are over consecutive stretches of equal length, of which the last may be shorter.

    Attributes
    ----------
    covered
        int64 (n,): bp.
    least, most, sum, squares
        float64 (n,): of the values; the sums, of values and of squares, go over all bp.
    """

    covered: np.ndarray
    least: np.ndarray
    most: np.ndarray
    sum: np.ndarray
    squares: np.ndarray

    def coarser(self) -> Summary:
        """The same over stretches `COARSER` times as long."""
        first = np.arange(0, len(self.covered), COARSER)
        over = (np.add, np.minimum, np.maximum, np.add, np.add)
        columns = (self.covered, self.least, self.most, self.sum, self.squares)
        return Summary(*(each.reduceat(column, first) for each, column in zip(over, columns, strict=True)))


def summarize(values: np.ndarray, size: int, bin: int) -> Summary:
    """Summary of bins that are `size` bp long, float32 (ceil(size / bin),), over stretches of `FIRST` bins."""
    first = np.arange(0, len(values), FIRST)
    covered = np.minimum((first + FIRST) * bin, size) - first * bin
    # The last bin may end early.
    missing, last = len(values) * bin - size, float(values[-1])
    wide = values.astype(np.float64)
    total, squares = (np.add.reduceat(each, first) * bin for each in (wide, wide * wide))
    total[-1] -= missing * last
    squares[-1] -= missing * last**2
    least, most = (each.reduceat(values, first).astype(np.float64) for each in (np.minimum, np.maximum))
    return Summary(covered, least, most, total, squares)


def _levels(longest: int, bin: int) -> list[int]:
    """How many bp a record of each summary stands for: one at least, none longer than the longest chromosome."""
    lengths = [FIRST * bin * COARSER**level for level in range(LEVELS)]
    return [lengths[0], *(length for length in lengths[1:] if length <= longest)]


def _total(summaries: Iterable[Summary]) -> tuple[int, float, float, float, float]:
    """Covered bp, least, most, sum and sum of squares of all chromosomes."""
    columns = [np.concatenate(column) for column in zip(*map(astuple, summaries), strict=True)]
    if not columns:
        return 0, 0.0, 0.0, 0.0, 0.0
    covered, least, most, total, squares = columns
    return int(covered.sum()), least.min(), most.max(), total.sum(), squares.sum()


def _put_summaries(
    raw: BinaryIO, spans: Mapping[str, Span], summaries: Mapping[str, Summary], length: int
) -> tuple[int, int]:
    """Write a level of summaries; where its records and its index are."""
    data_at = raw.tell()
    raw.write(struct.pack("<I", sum(len(summary.covered) for summary in summaries.values())))
    leaves: list[tuple[int, ...]] = []
    for chrom, summary in summaries.items():
        leaves += _put(raw, _record_blocks(spans[chrom], summary, length))
    index_at = raw.tell()
    raw.write(_index(leaves, index_at))
    return data_at, index_at


def _record_blocks(span: Span, summary: Summary, length: int) -> Iterator[Block]:
    rows = np.empty(len(summary.covered), dtype=RECORD)
    rows["chrom"], rows["covered"] = span.chrom, summary.covered
    rows["start"] = span.start + np.arange(len(rows)) * length
    rows["end"] = np.minimum(span.start + (np.arange(len(rows)) + 1) * length, span.end)
    for name in ("least", "most", "sum", "squares"):
        rows[name] = np.clip(getattr(summary, name), -LARGEST, LARGEST)
    for low in range(0, len(rows), RECORDS_A_BLOCK):
        part = rows[low : low + RECORDS_A_BLOCK]
        start, end = int(part["start"][0]), int(part["end"][-1])
        yield Block(span.chrom, start, end, zlib.compress(part.tobytes(), COMPRESSION))


# --- trees ------------------------------------------------------------------------------------------------------


def _put(raw: BinaryIO, blocks: Iterable[Block]) -> list[tuple[int, ...]]:
    """Write blocks; the leaf of the index that each is."""
    leaves = []
    for block in blocks:
        leaves.append((block.chrom, block.start, block.chrom, block.end, raw.tell(), len(block.content)))
        raw.write(block.content)
    return leaves


def _index(leaves: list[tuple[int, ...]], at: int) -> bytes:
    """The index over blocks that are sorted, to stand at a place in the file: a tree, root first."""
    levels = [np.array(leaves, dtype=LEAF)]
    while len(levels[0]) > CHILDREN:
        levels.insert(0, _parents(levels[0]))
    span = (0, 0, 0, 0)
    if leaves:
        span = (*leaves[0][:2], *leaves[-1][2:4])
    parts = [struct.pack("<IIQIIIIQII", INDEX_MAGIC, CHILDREN, len(leaves), *span, at, 1, 0)]
    below_at = at + len(parts[0])
    for level, below in pairwise([*levels, None]):
        below_at += 4 * max(1, -(-len(level) // CHILDREN)) + level.nbytes
        if below is not None:
            level["offset"] = below_at + np.arange(len(level)) * (4 + CHILDREN * below.itemsize)
        for low in range(0, max(1, len(level)), CHILDREN):
            node = level[low : low + CHILDREN]
            parts += [struct.pack("<BBH", below is None, 0, len(node)), node.tobytes()]
    return b"".join(parts)


def _parents(level: np.ndarray) -> np.ndarray:
    """A row for each node of a level; where the nodes will stand is not known yet."""
    first = np.arange(0, len(level), CHILDREN)
    last = np.append(first[1:], len(level)) - 1
    parents = np.zeros(len(first), dtype=BRANCH)
    for name, rows in (("first_chrom", first), ("start", first), ("last_chrom", last), ("end", last)):
        parents[name] = level[name][rows]
    return parents


def _chromosome_tree(sizes: Mapping[str, int], at: int) -> bytes:
    """Names, numbers and sizes of the chromosomes, sorted by name, since readers search them so."""
    numbered = sorted((name.encode(), number, size) for number, (name, size) in enumerate(sizes.items()))
    width = max((len(name) for name, _, _ in numbered), default=1)
    rows = [name.ljust(width, b"\0") + struct.pack("<II", number, size) for name, number, size in numbered]
    leaves = [rows[low : low + CHROMOSOMES] for low in range(0, len(rows), CHROMOSOMES)] or [[]]
    head = struct.pack("<IIIIQQ", TREE_MAGIC, min(max(len(rows), 1), CHROMOSOMES), width, 8, len(rows), 0)
    if len(leaves) == 1:
        return head + _node(True, rows)
    at += len(head) + len(_node(False, [leaf[0] for leaf in leaves]))
    root = []
    for leaf in leaves:
        root.append(leaf[0][:width] + struct.pack("<Q", at))
        at += len(_node(True, leaf))
    return head + _node(False, root) + b"".join(_node(True, leaf) for leaf in leaves)


def _node(is_leaf: bool, rows: list[bytes]) -> bytes:
    return struct.pack("<BBH", is_leaf, 0, len(rows)) + b"".join(rows)
