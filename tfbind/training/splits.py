"""What a run trains on, stops by, and is tested on: made once, and kept in a file that every later step reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfbind.config import FoldSettings, SplitSettings, WindowSettings
from tfbind.core.errors import InputError
from tfbind.core.files import read_json, sha256_json, write_json
from tfbind.factors.relatives import Relatives, closed
from tfbind.genome.names import ChromosomeNames
from tfbind.genome.regions import Region, grown, in_whole_bins, overlap, parse_place, without

__all__ = ["Region", "Split", "make_split"]

FORMAT = 1
# Of factors and blocks, where the configuration says nothing.
FOLDS = 5
KINDS = ("seen", "unseen cell type", "unseen factor", "unseen factor and cell type")


@dataclass(frozen=True, kw_only=True)
class Split:
    """The parts of a genome, and the experiments that are trained on and scored.

    Attributes
    ----------
    genome, bin
        Checksum of the genome, and bp of a bin.
    train, validation, test
        Regions, in the genome's order; their edges are those of bins.
    experiments, tested
        Names of the experiments that are trained on, and of those that are scored.
    kinds
        Experiment -> what of it was never trained on, one of `KINDS`. A factor counts as seen where a relative of
        it is trained on.
    identity
        Factor -> `nearest`, the training factor most like it, and their `identity`; None and 0 where none is
        alike or its protein is not known; of a training factor itself and 1. `other` is the most alike training
        factor but itself.
    held_out_factors, held_out_cell_types
        What is never trained on; factors with all their relatives.
    fold
        Which of the folds is held out, None: none is.
    left_out_factors
        What could be trained on and was not drawn, where the configuration limits `training_factors`.
    """

    genome: str
    bin: int
    train: tuple[Region, ...]
    validation: tuple[Region, ...]
    test: tuple[Region, ...]
    experiments: tuple[str, ...]
    tested: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    held_out_factors: tuple[str, ...] = ()
    held_out_cell_types: tuple[str, ...] = ()
    fold: int | None = None
    left_out_factors: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path) -> Split:
        """Read the file of a split.

        Raises
        ------
        InputError
            It is not there, no split, of another format, or not as it was written.
        """
        path, mend = Path(path), "run `tfbind split` again"
        try:
            content = read_json(path)
            found, checksum = content["split"], content["checksum"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"is no split ({error})", file=path, mend=mend) from error
        if content.get("format") != FORMAT:
            told = f"holds a split of format {content.get('format')}, this version reads {FORMAT}"
            raise InputError(told, file=path, mend=mend)
        if sha256_json(found) != checksum:
            raise InputError("was changed after it was written: its checksum differs", file=path, mend=mend)
        regions = {name: tuple(Region(*each) for each in found[name]) for name in ("train", "validation", "test")}
        lists = ("experiments", "tested", "held_out_factors", "held_out_cell_types", "left_out_factors")
        return cls(**{**found, **regions, **{name: tuple(found[name]) for name in lists if name in found}})

    def write(self, path: str | Path) -> None:
        """Write the file, with its checksum."""
        write_json(path, {"format": FORMAT, "checksum": self.checksum, "split": self._content})

    @cached_property
    def _content(self) -> dict[str, Any]:
        regions = {
            name: [[each.chrom, each.start, each.end] for each in getattr(self, name)]
            for name in ("train", "validation", "test")
        }
        content = {**asdict(self), **regions}
        # Where nothing is left out, a split is what it was before this could be said.
        if not self.left_out_factors:
            del content["left_out_factors"]
        return content

    @property
    def trained_factors(self) -> tuple[str, ...]:
        """The factors that are trained on."""
        return tuple(factor for factor, each in self.identity.items() if each["nearest"] == factor)

    @property
    def checksum(self) -> str:
        """SHA-256 of all that it says."""
        return sha256_json(self._content)

    def columns(self, names: Sequence[str]) -> list[int]:
        """Where the experiments that are trained on stand among the names of all, in their order."""
        if missing := sorted(set(self.experiments) - set(names)):
            raise InputError(
                f"the split is of other experiments than the targets, which have no {missing[0]}",
                mend="run `tfbind split` again",
            )
        return [column for column, name in enumerate(names) if name in set(self.experiments)]

    def require_fitting(self, genome: str, bin: int) -> None:
        """Refuse a split of another genome or resolution."""
        if (self.genome, self.bin) != (genome, bin):
            raise InputError(
                f"the split is of genome {self.genome} and bins of {self.bin} bp, not of {genome} and {bin} bp",
                mend="run `tfbind split` again",
            )


def describe(split: Split) -> str:
    """What a split says, in a few lines."""

    def part(regions: Sequence[Region]) -> str:
        length = sum(region.end - region.start for region in regions)
        return f"{length / 1e6:.2f} Mb in {len(regions)} regions"

    counts = {kind: sum(split.kinds[name] == kind for name in split.tested) for kind in KINDS}
    lines = [f"{name}: {part(getattr(split, name))}" for name in ("train", "validation", "test")]
    lines.append(f"experiments: {len(split.experiments)} trained on, {len(split.tested)} scored")
    lines.append("scored: " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count))
    for what, names in (("factors", split.held_out_factors), ("cell types", split.held_out_cell_types)):
        lines.append(f"held out {what}: {', '.join(names) or 'none'}")
    if split.left_out_factors:
        lines.append(f"left out factors, by splits.training_factors: {', '.join(split.left_out_factors)}")
    return "\n".join(lines)


class Genome(Protocol):
    """What a split needs of a `Reference`."""

    names: ChromosomeNames
    sizes: Mapping[str, int]
    checksum: str


def make_split(
    settings: SplitSettings,
    genome: Genome,
    experiments: Sequence[Mapping[str, str]],
    relatives: Relatives,
    *,
    windows: WindowSettings,
    cell_types: Mapping[str, str],
    seed: int,
    fold: int | None = None,
) -> Split:
    """Split genome and experiments by the configuration.

    Parts of a chromosome lie at least `settings.gap` apart: `test` stays as it is given, `validation` keeps away
    from it, and `train` from both.

    Parameters
    ----------
    experiments
        With keys `name`, `factor` and `cell_type`.
    relatives
        All factors of the table.
    cell_types
        Names and aliases of cell types -> their names.
    seed
        Of what stands in which fold.
    fold
        The fold to hold out.

    Raises
    ------
    InputError
        A region that is none, parts that overlap, a fold that there is not, or nothing left to train on, to stop
        by or to score.
    """
    folds = _folds_of(settings, fold)
    over = None if folds is None else folds.over
    clusters = relatives.clusters(settings.identity)
    factors = closed(settings.held_out_factors, clusters)
    cells = {cell_types[name] for name in settings.held_out_cell_types}
    left = [each for each in experiments if each["factor"] not in factors and each["cell_type"] not in cells]
    if over == "factors":
        held = [cluster for cluster in clusters if not factors.intersection(cluster)]
        scored = [each for each in experiments if not cells or each["cell_type"] in cells]
        groups = _groups(held, "factor", scored, experiments, folds.count or FOLDS, seed)
        factors |= set(groups[_number(fold, groups)])
    if over == "cell_types":
        measured = {each["cell_type"] for each in experiments}
        held = [(name,) for name in cell_types_in_folds(settings, measured, cell_types)]
        scored = [each for each in experiments if not factors or each["factor"] in factors]
        groups = _groups(held, "cell_type", scored, experiments, folds.count, seed)
        cells |= set(groups[_number(fold, groups)])
    used = [each for each in left if each["factor"] not in factors and each["cell_type"] not in cells]
    if not used:
        raise InputError(
            "every experiment is held out",
            key="splits.held_out_factors",
            mend="hold out fewer factors or cell types, mind relatives (splits.identity), or take another fold",
        )
    used, left_out = _drawn(used, settings.training_factors, seed)
    train, validation, test = _parts(settings, genome, windows, folds, fold)
    trained = list(dict.fromkeys(each["factor"] for each in used))
    return Split(
        genome=genome.checksum,
        bin=windows.bin,
        train=tuple(train),
        validation=tuple(validation),
        test=tuple(test),
        experiments=tuple(each["name"] for each in used),
        tested=tuple(_tested(settings, experiments, factors, cells, in_fold=fold is not None)),
        kinds=_kinds(experiments, closed(trained, clusters), {each["cell_type"] for each in used}),
        identity={factor: _nearest(relatives, factor, trained) for factor in relatives.residues},
        held_out_factors=tuple(sorted(factors)),
        held_out_cell_types=tuple(sorted(cells)),
        fold=fold,
        left_out_factors=left_out,
    )


def cell_types_in_folds(
    settings: SplitSettings, measured: Collection[str], cell_types: Mapping[str, str]
) -> list[str]:
    """The cell types that folds over cell types hold out: those that were measured and are not held out anyway.

    Parameters
    ----------
    measured
        Cell types of all experiments.
    cell_types
        Names and aliases of cell types -> their names.
    """
    held = {cell_types[name] for name in settings.held_out_cell_types}
    return [name for name in dict.fromkeys(cell_types.values()) if name in measured and name not in held]


def _drawn(
    experiments: Sequence[Mapping[str, str]], count: int | None, seed: int
) -> tuple[list[Mapping[str, str]], tuple[str, ...]]:
    """Experiments of so many of the factors, and the other factors."""
    factors = sorted({each["factor"] for each in experiments})
    if count is None:
        return list(experiments), ()
    if count > len(factors):
        raise InputError(
            f"{count} factors are to be learnt from, and {len(factors)} are measured and not held out",
            key="splits.training_factors",
            mend=f"set it to at most {len(factors)}, or take it out",
        )
    # The order does not depend on how many are drawn, so fewer are some of more.
    drawn = set(np.random.default_rng([seed, 11]).permutation(factors)[:count].tolist())
    left_out = tuple(name for name in factors if name not in drawn)
    return [each for each in experiments if each["factor"] in drawn], left_out


def _nearest(relatives: Relatives, factor: str, trained: Collection[str]) -> dict[str, Any]:
    nearest, identity = relatives.nearest(factor, trained)
    other, _ = relatives.nearest(factor, [each for each in trained if each != factor])
    return {"nearest": nearest, "identity": identity, "other": other}


def _folds_of(settings: SplitSettings, fold: int | None) -> FoldSettings | None:
    if fold is None:
        return None
    if settings.folds is None:
        raise InputError(
            f"fold {fold} is asked for, and the configuration has none",
            key="splits.folds",
            mend="say what the folds are over, or leave --fold out",
        )
    return settings.folds


def _number(fold: int, folds: Sequence[Any]) -> int:
    if not 0 <= fold < len(folds):
        raise InputError(
            f"there is no fold {fold}: there are {len(folds)}, from 0",
            key="splits.folds",
            mend="give one of these, or set splits.folds.count",
        )
    return fold


# --- factors and cell types --------------------------------------------------------------------------------


def _groups(
    held: Sequence[tuple[str, ...]],
    kind: str,
    scored: Sequence[Mapping[str, str]],
    experiments: Sequence[Mapping[str, str]],
    count: int | None,
    seed: int,
) -> list[list[str]]:
    """Names in folds, what belongs together in one, with about equally many experiments to score in each.

    The largest goes first, each into the fold that has least (Graham 1969, longest processing time first).
    """
    weights = [
        tuple(sum(each[kind] in names for each in some) for some in (scored, experiments)) for names in held
    ]
    measured = [index for index, weight in enumerate(weights) if weight[1]]
    count = count or len(measured)
    if count > len(measured):
        what = "clusters of factors" if kind == "factor" else "cell types"
        raise InputError(
            f"{count} folds of {len(measured)} {what} that are measured and not held out",
            key="splits.folds.count",
            mend=f"set it to at most {len(measured)}",
        )
    shuffled = np.random.default_rng([seed, 7]).permutation(measured).tolist()
    folds: list[list[str]] = [[] for _ in range(count)]
    loads = [(0, 0)] * count
    for index in sorted(shuffled, key=lambda each: weights[each], reverse=True):
        lightest = min(range(count), key=lambda each: loads[each])
        folds[lightest] += held[index]
        loads[lightest] = tuple(map(sum, zip(loads[lightest], weights[index], strict=True)))
    return folds


def _tested(
    settings: SplitSettings,
    experiments: Sequence[Mapping[str, str]],
    factors: Collection[str],
    cells: Collection[str],
    *,
    in_fold: bool,
) -> list[str]:
    scored = settings.scored or ("held_out" if in_fold else "all")
    names = [
        each["name"]
        for each in experiments
        if scored == "all"
        or ((not factors or each["factor"] in factors) and (not cells or each["cell_type"] in cells))
    ]
    if not names:
        raise InputError(
            "no experiment is of what is held out: nothing would be scored",
            key="splits.scored",
            mend="hold out what was measured, make fewer folds, or set it to all",
        )
    return names


def _kinds(
    experiments: Iterable[Mapping[str, str]], factors: Collection[str], cells: Collection[str]
) -> dict[str, str]:
    return {
        each["name"]: KINDS[2 * (each["factor"] not in factors) + (each["cell_type"] not in cells)]
        for each in experiments
    }


# --- the genome --------------------------------------------------------------------------------------------


def _parts(
    settings: SplitSettings,
    genome: Genome,
    windows: WindowSettings,
    folds: FoldSettings | None,
    fold: int | None,
) -> tuple[list[Region], list[Region], list[Region]]:
    sizes, bin = genome.sizes, windows.bin
    gap = windows.length if settings.gap is None else settings.gap

    def given(key: str) -> list[Region]:
        texts = getattr(settings, key)
        if texts is None:
            return [Region(chrom, 0, size) for chrom, size in sizes.items()]
        return [parse_place(text, genome.names, sizes, key=f"splits.{key}") for text in texts]

    def apart(regions: Iterable[Region], others: Iterable[Region]) -> list[Region]:
        return without(regions, [grown(other, gap, sizes, bin) for other in others])

    if both := overlap(given("validation"), given("test")):
        problem = f"validation and test overlap: {both[0]}"
        raise InputError(problem, key="splits.validation", mend="move one of the two")
    train, validation, test = (in_whole_bins(given(key), sizes, bin) for key in ("train", "validation", "test"))
    if folds is not None and folds.over == "blocks":
        whole = without(in_whole_bins([*train, *test], sizes, bin), validation)
        blocks = _blocks(whole, folds.count or FOLDS, bin)
        test = blocks[_number(fold, blocks)]
    validation = apart(validation, test)
    train = apart(apart(train, test), validation)
    for part, what, key in ((train, "train on", "splits"), (validation, "validate on", "splits.validation")):
        if not part:
            raise InputError(
                f"nothing is left to {what}, {gap} bp from what is held out",
                key=key,
                mend="hold out less of the genome, or set a smaller splits.gap",
            )
    return train, validation, test


def _blocks(regions: Sequence[Region], count: int, bin: int) -> list[list[Region]]:
    """Regions cut into consecutive parts of equally many bins, as far as their number allows."""
    total = sum(len(region.bins(bin)) for region in regions)
    if total < count:
        raise InputError(
            f"{count} folds of {total} bins", key="splits.folds.count", mend=f"set it to at most {total}"
        )
    edges = [total * index // count for index in range(count + 1)]
    blocks: list[list[Region]] = [[] for _ in range(count)]
    done = 0
    for region in regions:
        bins = region.bins(bin)
        for index, block in enumerate(blocks):
            low, high = max(edges[index] - done, 0), min(edges[index + 1] - done, len(bins))
            if low < high:
                start, end = (bins.start + low) * bin, (bins.start + high) * bin
                block.append(Region(region.chrom, start, min(end, region.end)))
        done += len(bins)
    return blocks
