"""Refuse a test of what the model was trained on, by the model's own manifest.

A split says of its experiments what was never seen of them. Whether that holds of a model, only the model's
manifest knows: it may have been trained by another split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfbind.core.errors import InputError
from tfbind.genome.names import listed
from tfbind.genome.regions import Region, overlap
from tfbind.model.checkpoint import trained_cell_type
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.training.splits import Split

# The kinds that say so.
UNSEEN_FACTOR = ("unseen factor", "unseen factor and cell type")
UNSEEN_CELL_TYPE = ("unseen cell type", "unseen factor and cell type")


def require_held_out(
    manifest: Mapping[str, Any],
    embedding: GenomeEmbedding,
    split: Split,
    experiments: Sequence[Mapping[str, Any]],
) -> None:
    """Refuse a test that a model, or a member of an ensemble, was trained on.

    Parameters
    ----------
    manifest
        Of the model; of an ensemble, what any member was trained on.
    experiments
        All that were measured: name, factor and cell type.

    Raises
    ------
    InputError
        Split, model and embedding are not of one genome. The model was trained, or stopped, in a region of the
        test. An experiment is scored as one of an unseen factor or cell type, and the model was trained on that
        factor, a relative of it, or that cell type under this name or another. All that overlaps is told.
    """
    if not split.test:
        raise InputError(
            "the split has no test: nothing can be scored",
            key="splits.test",
            mend="hold out regions or chromosomes",
        )
    if {manifest["genome"], embedding.about["genome"]} != {split.genome}:
        raise InputError(
            "the split, the model and the genome embedding are not of one genome: nothing says what of it the "
            "model never saw",
            key="splits.test",
            mend="test on the genome of the training, or train on this one",
        )
    scored = [each for each in experiments if each["name"] in split.tested]
    found = [*_regions(manifest, split), *_factors(manifest, split, scored), *_cells(manifest, split, scored)]
    if found:
        raise InputError(
            "; ".join(problem for _, problem in found) + ": that is not held out",
            key=found[0][0],
            mend="score the model by the split that it was trained by, or train one that holds this out",
        )


def _regions(manifest: Mapping[str, Any], split: Split) -> Iterator[tuple[str, str]]:
    for what, name in (("trained", "regions"), ("stopped", "validation_regions")):
        both = overlap(split.test, [Region(*each) for each in manifest[name]])
        if both:
            length = sum(region.end - region.start for region in both)
            yield "splits.test", f"the model was {what} on {length} bp of the test, {listed(map(str, both))}"


def _factors(
    manifest: Mapping[str, Any], split: Split, scored: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    names = _claimed("factor", UNSEEN_FACTOR, split, scored)
    if seen := [name for name in names if name in manifest["factors"]]:
        yield "splits.held_out_factors", f"the model was trained on factors scored as unseen, {listed(seen)}"
    relatives = manifest.get("relatives", {})
    kin = [name for name in names if name in relatives and name not in seen]
    if kin:
        told = [
            f"{name} ({relatives[name]['nearest']}, {relatives[name]['identity']:.0%} identical)" for name in kin
        ]
        yield "splits.identity", f"the model was trained on relatives of factors scored as unseen, {listed(told)}"


def _cells(
    manifest: Mapping[str, Any], split: Split, scored: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    names = _claimed("cell_type", UNSEEN_CELL_TYPE, split, scored)
    known = {name: found for name in names if (found := trained_cell_type(manifest, name)) is not None}
    told = [name if found == name else f"{name} (there {found})" for name, found in known.items()]
    if told:
        yield (
            "splits.held_out_cell_types",
            f"the model was trained on cell types scored as unseen, {listed(told)}",
        )


def _claimed(what: str, unseen: Sequence[str], split: Split, scored: Iterable[Mapping[str, Any]]) -> list[str]:
    """Factors or cell types that the split says were never seen."""
    found = (each[what] for each in scored if split.kinds[each["name"]] in unseen)
    return list(dict.fromkeys(found))
