"""Tracks: what stands in a bigWig is what the model says, and peaks and provenance agree with it."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pyBigWig
import pytest
import torch

from tfbind.core.errors import InputError
from tfbind.genome.bigwig import round_fixed
from tfbind.genome.intervals import read_intervals
from tfbind.model.data import open_genome_data
from tfbind.model.head import Head
from tfbind.model.inference import bins_around
from tfbind.prediction import render
from tfbind.prediction.region import Region
from tfbind.prediction.render import CellTypeTracks

FACTORS = ["SIM01", "SIM02", "SIM03", "SIMA", "SIMB"]


def bins(path, sizes, bin=64):
    """Value of each bin, read base by base: every base has one, and all of a bin's are alike."""
    found = {}
    with pyBigWig.open(str(path)) as handle:
        assert dict(handle.chroms()) == dict(sizes)
        for chrom, size in sizes.items():
            bases = handle.values(chrom, 0, size, numpy=True)
            assert np.isfinite(bases).all()
            first = bases[::bin]
            np.testing.assert_array_equal(np.repeat(first, bin)[:size], bases)
            found[chrom] = first
    return found


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_factor_has_track_peaks_and_provenance(rendered):
    _, folder = rendered
    kinds = ("bw", "json", "narrowPeak")
    assert sorted(path.name for path in folder.iterdir()) == [f"{f}.{kind}" for f in FACTORS for kind in kinds]


def test_track_is_what_the_model_predicts_rounded(rendered, predicted):
    opened, folder = rendered
    expected = dict(predicted(opened))
    for column, factor in enumerate(FACTORS):
        for chrom, shown in bins(folder / f"{factor}.bw", opened.reference.sizes).items():
            usable = opened.reference.usable_bins(chrom, 64)
            values = expected[chrom][:, column]
            assert 0 < usable.sum() < len(usable)
            np.testing.assert_array_equal(shown[~usable], 0)
            np.testing.assert_array_equal(shown[usable], round_fixed(values[usable], 15))
            np.testing.assert_allclose(shown[usable], values[usable], rtol=0, atol=2.0**-16)


def test_tracks_do_not_depend_on_what_is_rendered_beside_them(rendered, tmp_path, monkeypatch):
    opened, folder = rendered
    some = opened.render(tmp_path / "some", ["SIMA", "SIM02"])
    monkeypatch.setattr(render, "TRACKS_AT_ONCE", 2)
    grouped = opened.render(tmp_path / "grouped")
    whole = files(folder)
    assert files(grouped) == whole
    assert files(some) == {
        name: content for name, content in whole.items() if name.split(".")[0] in ("SIMA", "SIM02")
    }
    assert (some / "SIMA.bw").exists() and not (some / "SIM01.bw").exists()


def test_peaks_are_the_bins_at_or_above_the_threshold(rendered):
    opened, folder = rendered
    sizes = opened.reference.sizes
    for factor in FACTORS:
        threshold = json.loads((folder / f"{factor}.json").read_text())["peaks"]["threshold"]
        peaks = read_intervals(folder / f"{factor}.narrowPeak", opened.reference.names, sizes)
        assert peaks.total > 0
        for chrom, values in bins(folder / f"{factor}.bw", sizes).items():
            starts = np.arange(len(values)) * 64
            inside = np.zeros(len(values), dtype=bool)
            for start, end in peaks[chrom].spans:
                assert start % 64 == 0 and (end % 64 == 0 or end == sizes[chrom])
                inside |= (starts >= start) & (starts < end)
            np.testing.assert_array_equal(inside, values >= np.float32(threshold))


def test_peak_rows_are_valid_and_the_summit_is_the_highest_bin(rendered):
    opened, folder = rendered
    for factor in FACTORS:
        tracks = bins(folder / f"{factor}.bw", opened.reference.sizes)
        rows = [line.split("\t") for line in (folder / f"{factor}.narrowPeak").read_text().splitlines()]
        assert len({row[3] for row in rows}) == len(rows)
        for chrom, start, end, name, score, strand, signal, p, q, summit in rows:
            inside = tracks[chrom][int(start) // 64 : -(-int(end) // 64)]
            top = (int(start) + int(summit)) // 64 - int(start) // 64
            assert name.startswith(f"{factor}_CT1_") and (strand, p, q) == (".", "-1", "-1")
            assert 0 <= int(summit) < int(end) - int(start)
            assert inside[top] == inside.max()
            assert float(signal) == pytest.approx(inside.max(), rel=1e-6)
            assert int(score) == round(1000 * float(inside.max()))


def test_threshold_is_the_experiments_own_or_else_the_pooled_one(rendered):
    opened, folder = rendered
    thresholds = opened.checkpoint.about["thresholds"]
    for factor, source in (("SIM01", "SIM01.CT1"), ("SIM02", "pooled"), ("SIMB", "pooled")):
        peaks = json.loads((folder / f"{factor}.json").read_text())["peaks"]
        assert peaks["threshold_from"] == source
        assert peaks["threshold"] == pytest.approx(thresholds[source], rel=0.005)
        assert peaks["count"] == len((folder / f"{factor}.narrowPeak").read_text().splitlines())


def test_bin_that_sets_the_threshold_is_called(opened, predicted, tmp_path):
    """A threshold is one bin's probability; rounding the track must not take that bin away."""
    chrom, probabilities = next(iter(predicted(opened)))
    usable = np.flatnonzero(opened.reference.usable_bins(chrom, 64))
    for bin in usable[[3, 50, 100, 150]]:
        value = float(probabilities[bin, 0])
        folder = opened.with_thresholds(pooled=value).render(tmp_path / str(bin), ["SIM01"])
        peaks = read_intervals(folder / "SIM01.narrowPeak", opened.reference.names, opened.reference.sizes)
        assert any(start <= bin * 64 < end for start, end in peaks[chrom].spans)


def test_no_threshold_means_no_peaks(opened, tmp_path):
    folder = opened.with_thresholds(pooled=None).render(tmp_path / "CT1", ["SIM01"])
    assert (folder / "SIM01.narrowPeak").read_bytes() == b""
    peaks = json.loads((folder / "SIM01.json").read_text())["peaks"]
    assert peaks == {"count": 0, "fdr": 0.9, "threshold": None, "threshold_from": "pooled"}


def test_tiny_threshold_calls_no_bin_of_which_nothing_is_known(opened, tmp_path):
    folder = opened.with_thresholds(pooled=1e-40).render(tmp_path / "CT1", ["SIM01"])
    peaks = read_intervals(folder / "SIM01.narrowPeak", opened.reference.names, opened.reference.sizes)
    for chrom, values in bins(folder / "SIM01.bw", opened.reference.sizes).items():
        called = sum(-(-(end - start) // 64) for start, end in peaks[chrom].spans)
        assert called == (values > 0).sum() < len(values)


def test_provenance_says_what_made_the_track(rendered, tiny_run):
    opened, folder = rendered
    about = json.loads((folder / "SIM01.json").read_text())
    assert about["model"] == opened.checkpoint.checksum
    assert about["genome"] == opened.reference.checksum
    assert about["factor"]["factor"] == "SIM01" and len(about["factor"]["sequence_sha256"]) == 64
    assert about["cell_type"] == "CT1" and about["context"] == {"description": "tiny"}
    assert about["bin"] == 64 and about["tfbind"]
    expected = {"genome_embedding", "value", "peaks", "trained_on_factor", "trained_on_cell_type"}
    assert expected <= set(about)


def test_provenance_of_the_command_line_knows_the_context_and_no_folder(tiny_run):
    """All paths of the tiny run are absolute; none of them may end up in what is published."""
    about = json.loads((tiny_run.results / "tracks/CT1/SIM01.json").read_text())
    assert about["context"]["accessibility"] == "CT1.fragments.tsv.gz"
    assert len(about["context"]["accessibility_sha256"]) == 64
    for path in (tiny_run.results / "tracks").rglob("*.json"):
        assert str(tiny_run.folder) not in path.read_text()
    without = json.loads((tiny_run.results / "tracks/CT3/SIM01.json").read_text())["context"]
    nothing = {"accessibility": None, "accessibility_sha256": None, "text": None, "learnt": False}
    assert without == {"description": "simulated", **nothing}


@pytest.mark.parametrize(
    ("factor", "cell_type", "trained"),
    [
        ("SIM01", "CT1", (True, True)),
        ("SIM01", "CT2", (True, False)),
        ("SIMA", "CT1", (False, True)),
        ("SIMB", "CT3", (False, False)),
    ],
)
def test_what_was_never_trained_on_is_flagged(tiny_run, factor, cell_type, trained):
    about = json.loads((tiny_run.results / f"tracks/{cell_type}/{factor}.json").read_text())
    assert (about["trained_on_factor"], about["trained_on_cell_type"]) == trained


def test_cell_type_without_a_track_is_rendered(tiny_run, opened):
    tracks = tiny_run.results / "tracks"
    without, with_track = (bins(tracks / cell / "SIM01.bw", opened.reference.sizes) for cell in ("CT3", "CT1"))
    assert any(values.any() for values in without.values())
    assert any((without[chrom] != with_track[chrom]).any() for chrom in without)


def test_rendering_again_gives_the_same_bytes(rendered, tmp_path):
    opened, folder = rendered
    assert files(opened.render(tmp_path / "again")) == files(folder)


def test_model_that_gives_nan_leaves_nothing(opened, tmp_path):
    model = deepcopy(opened.checkpoint.model)
    with torch.no_grad():
        model.head.pair_bias.bias.fill_(float("nan"))
    broken = replace(opened, checkpoint=replace(opened.checkpoint, model=model))
    with pytest.raises(InputError, match=r"not finite on chr1\n  mend: train"):
        broken.render(tmp_path / "CT1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("factors", "cell_types", "expected"),
    [(1000, 1, (128, 1)), (5, 3, (5, 3)), (1000, 8, (16, 8)), (1000, 64, (16, 8)), (2, 64, (2, 64))],
)
def test_many_cell_types_leave_room_for_as_many_factors_as_cost_alike(factors, cell_types, expected):
    found = render.tile_size(factors, cell_types)
    assert found == expected and found[0] * found[1] <= render.TRACKS_AT_ONCE


@pytest.mark.parametrize("at_once", [128, 3, 1])
def test_cell_types_rendered_together_are_as_each_by_itself(rendered, tmp_path, monkeypatch, at_once):
    """Also in tiles of less than all cell types."""
    monkeypatch.setattr(render, "TRACKS_AT_ONCE", at_once)
    opened, _ = rendered
    names, alone = ["CT1", "CT2", "CT3"], {}
    for name in names:
        alone[name] = files(opened.render(tmp_path / "alone" / name, ["SIM02", "SIMB"], name))
    together = [CellTypeTracks(name, tmp_path / "together" / name, {"description": "tiny"}) for name in names]
    tracks = [opened.results / f"accessibility/{name}.bw" for name in names]
    data = open_genome_data(opened.reference, [track if track.exists() else None for track in tracks], bin=64)
    common = (opened.checkpoint, opened.embedding, opened.reference, data, opened.factor_set)
    render.render_cell_types(*common, ["SIM02", "SIMB"], together)
    assert {each.name: files(each.output) for each in together} == alone
    assert alone["CT1"]["SIM02.bw"] != alone["CT2"]["SIM02.bw"]


PLACES = [("chr2", 100, 57), ("chr1", 0, 3), ("last", -2, 2)]


@pytest.fixture(scope="module")
def along(rendered, tmp_path_factory):
    """A head that looks along its windows of 16 bins, with shaken weights, and its tracks."""
    opened, _ = rendered
    model = opened.checkpoint.model
    conditioning = model.settings.conditioning.model_copy(update={"interaction": "squeeze_excitation"})
    settings = model.settings.model_copy(update={"conditioning": conditioning})
    torch.manual_seed(0)
    other = deepcopy(model)
    other.settings, other.shape = settings, replace(model.shape, window_bins=16)
    other.head = Head(settings, other.shape).eval()
    with torch.no_grad():
        for parameter in other.head.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    assert not other.head.local
    changed = replace(opened, checkpoint=replace(opened.checkpoint, model=other))
    return changed, changed.render(tmp_path_factory.mktemp("along") / "CT1")


@pytest.mark.parametrize(("chrom", "first", "count"), PLACES)
@pytest.mark.parametrize("made_by", ["rendered", "along"])
def test_region_is_a_part_of_the_whole(request, tmp_path, made_by, chrom, first, count):
    opened, folder = request.getfixturevalue(made_by)
    sizes = opened.reference.sizes
    chrom = list(sizes)[-1] if chrom == "last" else chrom
    first = first % -(-sizes[chrom] // 64)
    region, around = Region(chrom, first, count), bins_around(opened.checkpoint.model)
    only = {chrom: range(first - around, first + count + around)}
    track = opened.results / "accessibility/CT1.bw"
    data = open_genome_data(opened.reference, [track], bin=64, only=only)
    made = CellTypeTracks("CT1", tmp_path / "CT1", {"description": "tiny"})
    common = (opened.checkpoint, opened.embedding, opened.reference, data, opened.factor_set)
    render.render_cell_types(*common, FACTORS, [made], region=region)
    start, end = first * 64, min((first + count) * 64, sizes[chrom])
    for factor in FACTORS:
        with pyBigWig.open(str(made.output / f"{factor}.bw")) as handle:
            assert dict(handle.chroms()) == dict(sizes)
            found = handle.values(chrom, start, end, numpy=True)
            assert handle.header()["nBasesCovered"] == end - start
        with pyBigWig.open(str(folder / f"{factor}.bw")) as handle:
            whole = handle.values(chrom, start, end, numpy=True)
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-6)
        about = json.loads((made.output / f"{factor}.json").read_text())
        assert about["region"] == f"{chrom}:{start + 1}-{end}"
        called = np.zeros(end - start, dtype=bool)
        for row in (made.output / f"{factor}.narrowPeak").read_text().splitlines():
            low, high = map(int, row.split("\t")[1:3])
            assert row.startswith(f"{chrom}\t") and start <= low < high <= end
            called[low - start : high - start] = True
        np.testing.assert_array_equal(called, found >= np.float32(about["peaks"]["threshold"]))
