"""A run, opened to render parts of tracks from its genome embedding: what the workflow's bigWigs hold there.

All is found from the run's folder, `FOLDER/results/NAME`. Paths in its `config.yaml` are relative to FOLDER, in
which snakemake ran.

Tracks are made and kept by *tile*, `TILE` bins counted from the chromosome's start. Those are the pieces in which
the renderer computes, so that a tile costs as much as any part of it; and regions that overlap share tiles.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tfbind.browser.errors import RegionTooLargeError, RunError
from tfbind.browser.kept import Kept
from tfbind.config import load_config
from tfbind.contexts.accessibility import binned_accessibility
from tfbind.core.errors import InputError, UnknownNameError
from tfbind.genome.intervals import bin_count
from tfbind.genome.regions import parse_place
from tfbind.inputs import further_signals
from tfbind.model.batching import factor_batch, unfamiliar
from tfbind.model.data import GenomeData
from tfbind.model.head import FactorCode
from tfbind.model.probabilities import Probabilities, encoded_by_each
from tfbind.model.rendering import PIECE
from tfbind.prediction.embed import GenomeEmbedding, reach_of
from tfbind.prediction.known_binding import KnownPlaces
from tfbind.prediction.opening import open_factor_set, open_model, open_models_context_set
from tfbind.prediction.region import Region
from tfbind.prediction.render import as_values, fill_numbers
from tfbind.tables import CellTypeRow, DataSet, read_cell_types, read_factors, read_signals, suggestion
from tfbind.training.targets import Targets

# Bins of a tile.
TILE = PIECE
# bp of the largest region that is rendered at once.
LARGEST_REGION = 2_000_000
# What the files of a run are known by: a file that is made again has another.
Stamp = tuple[int, int, int] | None
# In the folder of a cell type's texts.
TEXTS = "contexts.json"
# What tells whether a run was made again: of a model or an ensemble, and the rest.
_MODEL = ("model/model.json", "model/ensemble.json")
_FILES = (
    "config.yaml",
    "reference/reference.json",
    "factors/factors.json",
    "genome_embedding/tokens/embedding.json",
)


@dataclass(frozen=True)
class Wanted:
    """A part of a track, known to be one that can be asked for.

    Attributes
    ----------
    cell_type
        Its row.
    made_of
        Files of the cell type, and their stamps.
    chrom, bins
        Bins of a chromosome.
    """

    factor: str
    cell_type: CellTypeRow
    made_of: tuple[tuple[Path, Stamp], ...]
    chrom: str
    bins: range

    @property
    def tiles(self) -> range:
        """The tiles that it touches."""
        return range(self.bins.start // TILE, -(-self.bins.stop // TILE))

    def key(self, tile: int) -> tuple:
        """What a tile is kept by."""
        return "track", self.factor, self.cell_type.cell_type, self.made_of, self.chrom, tile


class OpenedRun:
    """Model, genome embedding, factors and cell types of a run.

    `rendered` is for one thread at a time, the rest for any number.

    Parameters
    ----------
    run
        The run's folder.
    kept_bytes
        Of tiles of tracks, encoded factors and tiles of signals, which are kept.

    Raises
    ------
    RunError
        If something is missing, or does not belong together.
    """

    def __init__(self, run: Path, kept_bytes: int) -> None:
        # Not resolved: `results` may be a link to another disk.
        self.run = Path(os.path.abspath(run))  # noqa: PTH100
        self.folder = self.run.parent.parent
        # Before they are read: a file that changes meanwhile is then another one than this.
        self._files = {path: _stamp(path) for path in _made_of(self.run)}
        with self._of_the_run():
            self._require_finished()
            self.config = load_config(self.run / "config.yaml")
            self.bin = self.config.windows.bin
            tables = self.config.tables
            self._factor_table = self._table("factors", tables.factors)
            rows = read_cell_types(self._table("cell types", tables.cell_types))
            signals = [] if tables.signals is None else read_signals(self._table("signals", tables.signals), rows)
            self.cell_types = {row.cell_type: row for row in rows}
            self.names_of_cell_types = {
                alias: name for name, row in self.cell_types.items() for alias in (name, *row.aliases)
            }
            self.reference, self.checkpoint = open_model(self.run / "reference", self.run / "model", self.config)
            self._further = further_signals(
                DataSet([], rows, [], signals),
                list(self.cell_types),
                self.run / "signals",
                self.checkpoint.signals,
            )
            self.factor_set = open_factor_set(self.run / "factors", self.checkpoint)
            self._known = self._known_places()
            self.embedding = GenomeEmbedding.open(
                self.run / "genome_embedding/tokens", self.checkpoint, self.reference
            )
        self.kept = Kept(kept_bytes)

    @property
    def is_current(self) -> bool:
        """Whether its files are those that were opened."""
        return all(_stamp(path) == seen for path, seen in self._files.items())

    def wanted(self, factor: str, cell_type: str, region: str) -> Wanted:
        """What a request asks for.

        Raises
        ------
        UnknownNameError
            There is no such factor, cell type or chromosome.
        RegionTooLargeError
            The region is larger than `LARGEST_REGION`.
        InputError
            The region is none, or not on its chromosome.
        RunError
            The factor or the cell type is in the tables, and the run has not made yet what it needs.
        """
        self._require_factor(factor)
        row = self._cell_type(cell_type)
        place = parse_place(region, self.reference.names, self.reference.sizes, key="region")
        length = place.end - place.start
        if length > LARGEST_REGION:
            raise RegionTooLargeError(
                f"{place} has {length:,} bp, and at most {LARGEST_REGION:,} are rendered at once",
                key="region",
                mend="go nearer, or let the workflow make the whole track (prediction.factors and .cell_types)",
            )
        return Wanted(
            factor,
            row,
            tuple((path, _stamp(path)) for path in self._paths(row)),
            place.chrom,
            place.bins(self.bin),
        )

    def found(self, wanted: Wanted) -> np.ndarray | None:
        """Its probabilities, float32 (bins,), if all of them are kept."""
        tiles = {tile: self.kept.get(wanted.key(tile)) for tile in wanted.tiles}
        return None if any(each is None for each in tiles.values()) else _joined(wanted, tiles)

    def rendered(self, wanted: Wanted) -> np.ndarray:
        """Its probabilities, float32 (bins,): those that are kept, and the others rendered.

        Raises
        ------
        RunError
            If a signal or text of the cell type cannot be read, or values are not finite.
        """
        tiles = {tile: self.kept.get(wanted.key(tile)) for tile in wanted.tiles}
        missing = [tile for tile, numbers in tiles.items() if numbers is None]
        if missing:
            with self._of_the_run():
                made = self._render(wanted, missing)
            for tile, numbers in made.items():
                self.kept.put(wanted.key(tile), numbers, numbers.nbytes)
            tiles |= made
        return _joined(wanted, tiles)

    def _render(self, wanted: Wanted, tiles: Sequence[int]) -> dict[int, np.ndarray]:
        """Numbers of tiles, as `fill_numbers` gives them: uint16 (bins,) each."""
        spans = [self._span(wanted.chrom, run) for run in _runs(tiles)]
        numbers = np.empty((1, 1, sum(span.count for span in spans)), dtype=np.uint16)
        probabilities = Probabilities.of_encoded(
            self.checkpoint, self._encoded(wanted.factor), self._data(wanted, spans)
        )
        if self._known is not None:
            probabilities = self._known.counting(probabilities, [wanted.factor], [wanted.cell_type.cell_type])
        one = torch.zeros(1, 2, dtype=torch.int64)
        fill_numbers(numbers, probabilities, one, self.embedding.tokens, self.reference, spans)
        made, done = {}, 0
        for tile in tiles:
            count = self._span(wanted.chrom, range(tile, tile + 1)).count
            # A copy: a part of a larger array would keep all of it.
            made[tile] = numbers[0, 0, done : done + count].copy()
            done += count
        return made

    def _span(self, chrom: str, tiles: range) -> Region:
        first, bins = tiles.start * TILE, bin_count(self.reference.sizes[chrom], self.bin)
        return Region(chrom, first, min(tiles.stop * TILE, bins) - first)

    def _encoded(self, factor: str) -> list[FactorCode]:
        codes = self.kept.get(("factor", factor))
        if codes is None:
            told = self.config.prediction.unseen_factors
            batch = factor_batch(self.factor_set, [factor])
            batch = unfamiliar(batch, [factor], self.checkpoint.factors, told)
            codes = encoded_by_each(self.checkpoint, batch)
            size = sum(value.nbytes for code in codes for value in vars(code).values())
            self.kept.put(("factor", factor), codes, size)
        return codes

    def _data(self, wanted: Wanted, spans: Iterable[Region]) -> GenomeData:
        """The chromosome, and the cell type's signals as far as spans of it depend on them; elsewhere 0."""
        row, chrom, around = wanted.cell_type, wanted.chrom, reach_of(self.checkpoint)
        bins = bin_count(self.reference.sizes[chrom], self.bin)
        tiles = {
            tile
            for span in spans
            for tile in range(
                max(0, span.first - around) // TILE, -(-min(bins, span.first + span.count + around) // TILE)
            )
        }
        parts = [self._span(chrom, range(tile, tile + 1)) for tile in sorted(tiles)]
        track, further = self._track(row), self._further_of(row)
        columns = np.zeros((bins, 1 + len(further)), dtype=np.float32)
        for column, path in enumerate([track, *further]):
            for part in parts if path is not None else ():
                columns[part.first : part.first + part.count, column] = self._signal(wanted, path, part)
        data = GenomeData(
            self.bin,
            {chrom: self.reference.codes(chrom)},
            {chrom: columns[:, :1]},
            np.array([track is not None]),
            further={chrom: columns[:, None, 1:]} if further else None,
            has_further=np.array([[path is not None for path in further]]) if further else None,
        )
        texts = open_models_context_set(self._texts(), [row], self.checkpoint)
        return data.knowing([row.cell_type], texts, self.checkpoint.about["contexts"]["learnt"])

    def _signal(self, wanted: Wanted, path: Path, part: Region) -> np.ndarray:
        """Accessibility or another signal in a tile, float32 (bins,)."""
        key = ("signal", path, dict(wanted.made_of)[path], part)
        values = self.kept.get(key)
        if values is None:
            bins = range(part.first, part.first + part.count)
            values = binned_accessibility(path, self.reference, part.chrom, self.bin, bins)
            self.kept.put(key, values, values.nbytes)
        return values

    def _known_places(self) -> KnownPlaces | None:
        """What is known of binding, where it is to count."""
        if not self.config.prediction.known_binding:
            return None
        path = self.run / "targets/targets.json"
        self._files[path] = _stamp(path)
        if not path.is_file():
            raise self._missing(path)
        return KnownPlaces(self.checkpoint, Targets.open(path.parent))

    def _missing(self, path: Path) -> InputError:
        mend = f"in {self.folder}, run the workflow to its end"
        return InputError("is not there, and tracks are rendered from it", file=path, mend=mend)

    def _require_finished(self) -> None:
        """Look for its files before any is read: that takes no time, whoever asks again and again."""
        if not self.run.is_dir():
            raise InputError("there is no such folder", file=self.run, mend="give results/NAME of a run")
        model = [self.run / name for name in _MODEL]
        for path in self._files:
            if not path.is_file() and not (path in model and any(each.is_file() for each in model)):
                raise self._missing(path)

    def _require_factor(self, name: str) -> None:
        known = self.factor_set.names
        if name in known:
            return
        with self._of_the_run():
            rows = read_factors(self._factor_table, at_uniprot=not self.config.factors.proteins)
        if name in {row.factor for row in rows}:
            raise RunError(
                f"factor {name} is in the table, and the run has not read it yet",
                file=self.run / "factors",
                mend="run the workflow again",
            )
        raise UnknownNameError(
            f"there is no factor '{name}'", key="factor", mend=suggestion(name, {each: each for each in known})
        )

    def _cell_type(self, name: str) -> CellTypeRow:
        row = self.cell_types.get(name)
        if row is None:
            mend = suggestion(name, self.names_of_cell_types)
            raise UnknownNameError(f"there is no cell type '{name}'", key="cell_type", mend=mend)
        for path in self._paths(row):
            if not path.exists():
                # Texts are made by the folder.
                target = (path.parent if path.name == TEXTS else path).relative_to(self.folder)
                raise RunError(
                    f"is not made yet, and cell type {name} is rendered from it",
                    file=path,
                    mend=f"in {self.folder}, run snakemake with the run's --configfile and the target {target}",
                )
        return row

    def _paths(self, row: CellTypeRow) -> list[Path]:
        """All files of a cell type that its tracks are rendered from."""
        texts = self._texts()
        found = [self._track(row), *self._further_of(row), texts and texts / row.cell_type / TEXTS]
        return [path for path in found if path is not None]

    def _track(self, row: CellTypeRow) -> Path | None:
        return None if row.accessibility is None else self.run / "accessibility" / f"{row.cell_type}.bw"

    def _further_of(self, row: CellTypeRow) -> list[Path | None]:
        """Of the signals that the model reads beside accessibility, in its order; None where one is not known."""
        number = list(self.cell_types).index(row.cell_type)
        return [paths[number] for paths in self._further.values()]

    def _texts(self) -> Path | None:
        return None if self.config.contexts.text is None else self.run / "contexts"

    def _table(self, what: str, path: Path) -> Path:
        found = self.folder / path
        if not found.is_file():
            raise InputError(
                f"there is no such table of {what}: the config of the run has '{path}', from where snakemake ran",
                file=found,
                mend=f"leave {self.run.name} in the folder results that snakemake made, beside the tables",
            )
        self._files[found] = _stamp(found)
        return found

    @contextmanager
    def _of_the_run(self) -> Iterator[None]:
        """What is wrong in here is wrong with the run, not with what was asked."""
        try:
            yield
        except InputError as error:
            raise RunError.of(error) from error
        except OSError as error:
            raise RunError(
                f"cannot be read: {error.strerror}", file=error.filename, mend="check the run's files"
            ) from error


def _made_of(run: Path) -> list[Path]:
    """The files that tell whether a run was made again."""
    return [run / name for name in (*_FILES, *_MODEL)]


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _runs(tiles: Sequence[int]) -> list[range]:
    """Ascending tiles, as runs of consecutive ones."""
    runs: list[range] = []
    for tile in tiles:
        if runs and runs[-1].stop == tile:
            runs[-1] = range(runs[-1].start, tile + 1)
        else:
            runs.append(range(tile, tile + 1))
    return runs


def _joined(wanted: Wanted, tiles: Mapping[int, np.ndarray]) -> np.ndarray:
    """Values of the bins that are wanted, from the tiles that have them."""
    numbers = np.concatenate([tiles[tile] for tile in wanted.tiles])
    start = wanted.tiles.start * TILE
    return as_values(numbers[wanted.bins.start - start : wanted.bins.stop - start])
