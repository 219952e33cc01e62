"""Tracks that count known binding: as the formula has it where the model was trained, and as ever elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyBigWig
import pytest

from tfbind.core.errors import InputError
from tfbind.genome.bigwig import round_fixed
from tfbind.genome.intervals import read_intervals
from tfbind.model.data import BOUND, LEFT_OUT
from tfbind.model.known_binding import KINDS, KnownBinding, Weights
from tfbind.prediction import render as rendering
from tfbind.prediction.known_binding import KEY, KnownPlaces
from tfbind.prediction.region import Region
from tfbind.prediction.render import CellTypeTracks, render_cell_types
from tfbind.training.targets import Targets

# Experiments of training: SIM01, SIM02 and SIM03 in CT1.
KNOWN = KnownBinding(
    {
        ("factor",): Weights(0.9, -0.1, {"factor": 0.8}),
        ("cell_type",): Weights(0.8, -0.2, {"cell_type": 0.5}),
        KINDS: Weights(0.7, -0.3, {"factor": 0.6, "cell_type": 0.4}),
    },
    {"pooled": 0.02, "SIM01.CT1": 0.09},
)


@pytest.fixture(scope="module")
def targets(opened) -> Targets:
    return Targets.open(opened.results / "targets")


@pytest.fixture(scope="module")
def knowing(opened):
    """The tiny run, whose model tells how known binding counts."""
    about = {**opened.checkpoint.about, "known_binding": KNOWN.as_json()}
    changed = replace(opened, checkpoint=replace(opened.checkpoint, about=about))
    return changed.with_thresholds(pooled=0.0065)


@pytest.fixture(scope="module")
def places(knowing, targets) -> KnownPlaces:
    return KnownPlaces(knowing.checkpoint, targets)


def rendered(opened, places, output, names=None, cell_type="CT1"):
    render_cell_types(
        opened.checkpoint,
        opened.embedding,
        opened.reference,
        opened.data(cell_type),
        opened.factor_set,
        names or opened.factor_set.names,
        [CellTypeTracks(cell_type, output, {})],
        known=places,
    )
    return output


@pytest.fixture(scope="module")
def folders(knowing, places, tmp_path_factory):
    """Tracks of all factors in CT1, and in CT2, which was never trained on."""
    folder = tmp_path_factory.mktemp("known")
    return {cell: rendered(knowing, places, folder / cell, cell_type=cell) for cell in ("CT1", "CT2")}


def read(path, sizes, bin=64):
    with pyBigWig.open(str(path)) as handle:
        return {chrom: handle.values(chrom, 0, size, numpy=True)[::bin] for chrom, size in sizes.items()}


def shares(targets, chrom, names):
    columns = [index for index, each in enumerate(targets.experiments) if each["name"] in names]
    labels = np.asarray(targets.labels[chrom])[:, columns]
    return (labels == BOUND).sum(1) / np.maximum((labels != LEFT_OUT).sum(1), 1)


@pytest.mark.parametrize(
    ("factor", "cell_type", "evidence"),
    [
        ("SIM01", "CT1", {"cell_type": ["SIM02.CT1", "SIM03.CT1"]}),
        ("SIMA", "CT1", {"cell_type": ["SIM01.CT1", "SIM02.CT1", "SIM03.CT1"]}),
        ("SIM03", "CT2", {"factor": ["SIM03.CT1"]}),
        ("SIMA", "CT2", {}),
    ],
)
def test_tracks_are_those_of_the_formula(knowing, folders, targets, predicted, factor, cell_type, evidence):
    reference, path = knowing.reference, folders[cell_type] / f"{factor}.bw"
    about = json.loads(path.with_suffix(".json").read_text())["known_binding"]
    assert {kind: names for kind, names in about.items() if names and kind != "regions"} == evidence
    column = knowing.factor_set.names.index(factor)
    shown = read(path, reference.sizes)
    manifest = knowing.checkpoint.about["manifest"]
    where = {chrom for name in ("regions", "validation_regions") for chrom, _, _ in manifest[name]}
    assert where == {"chr1", "chr2"} == {chrom for chrom, _, _ in about["regions"]}
    for chrom, found in predicted(knowing, cell_type):
        expected = found[:, column].astype(np.float64)
        if evidence and chrom in where:
            ((kind, names),) = evidence.items()
            weights = KNOWN.weights[kind,]
            logits = weights.slope * np.log(expected / (1 - expected)) + weights.offset
            logits += weights.evidence[kind] * np.log1p(50 * shares(targets, chrom, names))
            expected = 1 / (1 + np.exp(-logits))
            assert np.abs(expected - found[:, column]).max() > 0.05
        usable = reference.usable_bins(chrom, 64)
        np.testing.assert_allclose(shown[chrom][usable], expected[usable], atol=2.0**-15)
        if chrom not in where:
            np.testing.assert_array_equal(shown[chrom][usable], round_fixed(found[usable, column], 15))


@pytest.fixture
def parted(knowing, targets):
    """In parts that begin and end within pieces, some of them twice: trained in by one member of an ensemble, and
    validated in by another."""
    manifest = {**knowing.checkpoint.about["manifest"]}
    manifest |= {"regions": [["chr1", 640, 6400], ["chr1", 12_800, 19_200]]}
    manifest |= {"validation_regions": [["chr1", 3200, 9600], ["chr2", 64, 128]]}
    about = {**knowing.checkpoint.about, "manifest": manifest}
    changed = replace(knowing, checkpoint=replace(knowing.checkpoint, about=about))
    return changed, KnownPlaces(changed.checkpoint, targets)


def test_binding_counts_once_and_within_its_regions(parted, knowing, folders, tmp_path):
    opened, places = parted
    sizes = opened.reference.sizes
    found = read(rendered(opened, places, tmp_path / "CT1", ["SIMA"]) / "SIMA.bw", sizes)
    everywhere = read(folders["CT1"] / "SIMA.bw", sizes)
    nowhere = read(knowing.render(tmp_path / "plain", ["SIMA"]) / "SIMA.bw", sizes)
    for chrom, parts in (("chr1", [(10, 150), (200, 300)]), ("chr2", [(1, 2)]), ("chr3", [])):
        known = np.zeros(len(found[chrom]), dtype=bool)
        for first, end in parts:
            known[first:end] = True
        np.testing.assert_array_equal(found[chrom], np.where(known, everywhere[chrom], nowhere[chrom]))
    about = json.loads((tmp_path / "CT1/SIMA.json").read_text())["known_binding"]
    assert [each[1:] for each in about["regions"] if each[0] == "chr1"] == [
        [640, 6400],
        [6400, 9600],
        [12_800, 19_200],
    ]


def test_peaks_have_thresholds_of_the_place_at_the_edges_of_regions(parted, tmp_path):
    opened, places = parted
    known = replace(places.known, thresholds={"pooled": None})
    folder = rendered(opened, places, tmp_path / "CT1", ["SIMA"])
    assert json.loads((folder / "SIMA.json").read_text())["peaks"]["threshold_where_known"] is not None
    places.known = known
    folder = rendered(opened.with_thresholds(pooled=0.001), places, tmp_path / "none", ["SIMA"])
    peaks = read_intervals(folder / "SIMA.narrowPeak", opened.reference.names, opened.reference.sizes)
    inside = [640 <= middle < 9600 or 12_800 <= middle < 19_200 for middle in peaks["chr1"].spans.mean(1)]
    assert peaks["chr1"].spans.size and not any(inside), "where binding is known no threshold reaches the rate"


def test_a_region_of_a_track_is_a_part_of_it(knowing, places, folders, tmp_path):
    render_cell_types(
        knowing.checkpoint,
        knowing.embedding,
        knowing.reference,
        knowing.data("CT1"),
        knowing.factor_set,
        ["SIMA"],
        [CellTypeTracks("CT1", tmp_path / "CT1", {})],
        region=Region("chr1", 37, 100),
        known=places,
    )
    whole = read(folders["CT1"] / "SIMA.bw", knowing.reference.sizes)["chr1"]
    part = read(tmp_path / "CT1/SIMA.bw", knowing.reference.sizes)["chr1"]
    np.testing.assert_array_equal(part[37:137], whole[37:137])


def test_a_cell_type_by_another_name_is_the_same_one(knowing, targets, tmp_path):
    manifest = {**knowing.checkpoint.about["manifest"], "aliases": {"CT1": ["CT-1"]}}
    places = KnownPlaces(
        replace(knowing.checkpoint, about={**knowing.checkpoint.about, "manifest": manifest}), targets
    )
    for name in ("CT1", "CT-1", "ct-1"):
        assert places.told("SIM01", name) == places.told("SIM01", "CT1")
        assert places.told("SIM01", name)["factor"] == []
    assert places.told("SIM01", "CT2")["factor"] == ["SIM01.CT1"]


def test_a_model_without_weights_says_that_nothing_counts(knowing, targets, folders, tmp_path, capsys):
    about = {**knowing.checkpoint.about, "known_binding": {"weights": {}, "thresholds": {"pooled": None}}}
    opened = replace(knowing, checkpoint=replace(knowing.checkpoint, about=about))
    places = KnownPlaces(opened.checkpoint, targets)
    assert "known binding counts nowhere" in capsys.readouterr().err
    found = rendered(opened, places, tmp_path / "CT1", ["SIMA"])
    plain = knowing.render(tmp_path / "plain", ["SIMA"])
    assert (found / "SIMA.bw").read_bytes() == (plain / "SIMA.bw").read_bytes()


def test_peaks_have_thresholds_of_their_own_where_binding_is_known(knowing, folders):
    reference = knowing.reference
    for factor, known, source in (("SIM01", 0.09, "SIM01.CT1"), ("SIM02", 0.02, "pooled")):
        told = json.loads((folders["CT1"] / f"{factor}.json").read_text())["peaks"]
        assert told["threshold_where_known"] == pytest.approx(known, abs=2.0**-15)
        assert (told["threshold_where_known_from"], told["threshold_from"]) == (source, "pooled")
        peaks = read_intervals(folders["CT1"] / f"{factor}.narrowPeak", reference.names, reference.sizes)
        assert told["count"] == peaks.total > 0
        for chrom, values in read(folders["CT1"] / f"{factor}.bw", reference.sizes).items():
            threshold = told["threshold" if chrom == "chr3" else "threshold_where_known"]
            inside = np.zeros(len(values), dtype=bool)
            for start, end in peaks[chrom].spans:
                inside[start // 64 : -(-end // 64)] = True
            np.testing.assert_array_equal(inside, values >= np.float32(threshold))


def test_without_evidence_a_track_is_the_same_to_the_byte(knowing, folders, tmp_path):
    plain = knowing.render(tmp_path / "CT2", ["SIMA"], cell_type="CT2")
    for name in ("SIMA.bw", "SIMA.narrowPeak"):
        assert (plain / name).read_bytes() == (folders["CT2"] / name).read_bytes()


def test_tracks_do_not_depend_on_what_is_rendered_beside_them(knowing, places, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "TRACKS_AT_ONCE", 2)
    some = rendered(knowing, places, tmp_path / "some", ["SIMA", "SIM02"])
    for path in some.iterdir():
        assert path.read_bytes() == (folders["CT1"] / path.name).read_bytes()


def test_a_track_does_not_know_its_own_experiment(knowing, targets, folders, tmp_path):
    """Labels of SIM01 in CT1, all turned round: its track stays, those of other factors change."""
    column = [each["name"] for each in targets.experiments].index("SIM01.CT1")
    labels = {chrom: np.array(values) for chrom, values in targets.labels.items()}
    for values in labels.values():
        values[:, column] = np.where(values[:, column] == BOUND, 0, BOUND)
    turned = KnownPlaces(knowing.checkpoint, replace(targets, labels=labels))
    found = rendered(knowing, turned, tmp_path / "CT1", ["SIM01", "SIM02"])
    same = {
        name: (found / name).read_bytes() == (folders["CT1"] / name).read_bytes()
        for name in ("SIM01.bw", "SIM02.bw")
    }
    assert same == {"SIM01.bw": True, "SIM02.bw": False}


def test_a_model_that_does_not_tell_is_refused(opened, targets):
    about = {name: value for name, value in opened.checkpoint.about.items() if name != "known_binding"}
    with pytest.raises(InputError, match="does not tell how known binding counts") as caught:
        KnownPlaces(replace(opened.checkpoint, about=about), targets)
    assert (caught.value.key, "train again" in caught.value.mend) == (KEY, True)


def test_targets_of_another_training_are_refused(knowing, targets):
    other = replace(targets, about={**targets.about, "checksum": "0" * 64})
    with pytest.raises(InputError, match="other targets"):
        KnownPlaces(knowing.checkpoint, other)


def test_verb_counts_what_its_model_learnt(tiny_run, tmp_path):
    """As the workflow calls it, with weights that the tiny training fitted."""
    config = tmp_path / "known.yaml"
    config.write_text("prediction:\n  known_binding: true\n")
    arguments = tiny_run.arguments("render", output=tmp_path / "CT1")
    both = [*arguments, "--config", config, "--factor", "SIMA"]
    refused = tiny_run.tfbind(*both)
    assert refused.exit_code != 0 and "give --targets" in refused.output
    unasked = tiny_run.tfbind(*arguments, "--targets", tiny_run.results / "targets")
    assert unasked.exit_code != 0 and "leave --targets out" in unasked.output
    done = tiny_run.tfbind(*both, "--targets", tiny_run.results / "targets")
    assert done.exit_code == 0, done.output
    about = json.loads((tmp_path / "CT1/SIMA.json").read_text())
    assert about["known_binding"]["cell_type"] == ["SIM01.CT1", "SIM02.CT1", "SIM03.CT1"]
    plain = tiny_run.results / "tracks/CT1/SIMA.bw"
    assert plain.read_bytes() != (tmp_path / "CT1/SIMA.bw").read_bytes()
    assert json.loads(plain.with_suffix(".json").read_text())["known_binding"] is None
