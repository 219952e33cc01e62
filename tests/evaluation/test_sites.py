"""The most probable sites of tracks, and what is predicted around measured calls: by hand, on a small genome."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfbind.core.errors import InputError
from tfbind.core.files import write_json
from tfbind.evaluation.profiles import profiles
from tfbind.evaluation.sites import describe_tracks, top_sites
from tfbind.genome.bigwig import write_bigwig
from tfbind.genome.reference import Reference, build_reference
from tfbind.genome.regions import Region
from tfbind.training.splits import Split
from tfbind.training.targets import Targets

BIN, SIZE = 100, 20_000
SPLIT = Split(
    genome="g",
    bin=BIN,
    train=(Region("chr1", 0, 5000),),
    validation=(),
    test=(Region("chr1", 6000, 20_000),),
    experiments=(),
    tested=("A.C", "B.C", "D.C"),
    kinds={"A.C": "seen", "B.C": "unseen factor", "D.C": "unseen factor"},
)


def targets(*peaks: tuple[int, int, int]) -> Targets:
    """Targets of three experiments, of which peaks have the numbers."""
    names = [{"name": f"{factor}.C", "factor": factor, "cell_type": "C"} for factor in "ABD"]
    return Targets({"experiments": names}, {}, {"chr1": np.array(peaks, dtype=np.int64).reshape(-1, 3)})


def write_track(folder, factor: str, values: np.ndarray, peaks: list[tuple[int, int, float]]) -> None:
    write_bigwig(folder / f"{factor}.bw", {"chr1": SIZE}, [("chr1", values)], BIN)
    lines = [f"chr1\t{start}\t{end}\tx\t0\t.\t{best}\t-1\t-1\t50\n" for start, end, best in peaks]
    (folder / f"{factor}.narrowPeak").write_text("".join(lines))
    called = {"count": len(peaks), "fdr": 0.1, "threshold": 0.5, "threshold_from": "pooled"}
    about = {"factor": {"factor": factor}, "cell_type": "C", "bin": BIN, "peaks": called}
    write_json(folder / f"{factor}.json", about | {"trained_on_factor": False, "trained_on_cell_type": True})


@pytest.fixture
def tracks(tmp_path):
    folder = tmp_path / "tracks/C"
    folder.mkdir(parents=True)
    values = np.full(SIZE // BIN, 0.1, dtype=np.float32)
    values[100], values[150] = 0.9, 0.7
    write_track(
        folder, "A", values, [(1000, 1100, 0.6), (10_000, 10_100, 0.9), (15_000, 15_100, 0.7), (5500, 5600, 0.6)]
    )
    write_track(folder, "E", values, [])
    return folder


def test_sites_come_by_probability_with_their_part_and_what_was_measured(tracks):
    found = list(top_sites(tracks, targets((0, 10_099, 10_300), (1, 15_000, 15_100)), SPLIT, count=3))
    told = [(each["rank"], each["start"], each["probability"], each["part"], each["measured"]) for each in found]
    # Of equals, the first; a peak that overlaps by one base is measured, another factor's is not.
    assert told == [
        (1, 10_000, 0.9, "test", "yes"),
        (2, 15_000, 0.7, "test", "no"),
        (3, 1000, 0.6, "train", "no"),
    ]
    assert {each["summit"] - each["start"] for each in found} == {50}


def test_a_track_has_a_further_threshold_where_binding_is_known(tracks):
    assert [row["threshold_where_known"] for row in describe_tracks(tracks)] == [None, None]
    about = json.loads((tracks / "A.json").read_text())
    about["peaks"]["threshold_where_known"] = 0.25
    (tracks / "A.json").write_text(json.dumps(about))
    assert [row["threshold_where_known"] for row in describe_tracks(tracks)] == [0.25, None]


def test_a_place_of_no_part_and_a_factor_that_was_not_measured(tracks):
    (tracks / "A.json").rename(tracks / "Z.json")
    text = (tracks / "Z.json").read_text().replace('"A"', '"Z"')
    (tracks / "Z.json").write_text(text)
    (tracks / "A.narrowPeak").rename(tracks / "Z.narrowPeak")
    found = list(top_sites(tracks, targets(), SPLIT, count=9))
    assert {each["measured"] for each in found} == {""} and found[-1]["part"] == "none"


def test_tracks_without_calls_are_described_too(tracks):
    told = {
        row["factor"]: (row["peaks"], row["seen_factor"], row["seen_cell_type"])
        for row in describe_tracks(tracks)
    }
    assert told == {"A": (4, "no", "yes"), "E": (0, "no", "yes")}


def test_what_is_no_track_is_an_error(tracks, tmp_path):
    (tracks / "A.narrowPeak").write_text("chr1\t5\n")
    with pytest.raises(InputError, match="no row of a narrowPeak"):
        list(top_sites(tracks, targets(), SPLIT, count=3))
    with pytest.raises(InputError, match="holds no track"):
        describe_tracks(tmp_path)


def test_a_profile_is_the_mean_over_the_calls_that_lie_whole_in_the_test(tracks, write, tmp_path):
    build_reference(write("genome.fa", f">chr1\n{'ACGT' * (SIZE // 4)}\n"), tmp_path / "reference")
    reference = Reference.open(tmp_path / "reference")
    # The third has not all of its surroundings in the test; the fourth lies in training.
    calls = targets((0, 10_000, 10_100), (0, 15_020, 15_081), (0, 7000, 7100), (0, 2000, 2100), (2, 9000, 9100))
    rows = list(profiles(tracks.parent, calls, SPLIT, reference))
    assert {row["experiment"] for row in rows} == {"A.C"} and {row["n_calls"] for row in rows} == {2}
    curve = {row["offset"]: row["mean_probability"] for row in rows}
    assert sorted(curve) == list(range(-2000, 2001, BIN))
    assert curve[0] == pytest.approx(0.8) and curve[BIN] == curve[-BIN] == pytest.approx(0.1)
    assert rows[0]["background"] == pytest.approx((138 * 0.1 + 1.6) / 140)
