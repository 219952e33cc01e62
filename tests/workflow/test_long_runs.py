"""The runs of the README, as it gives them: the demo, and the real yeast data. Long: run with -m slow."""

from __future__ import annotations

import csv
from pathlib import Path

import pyBigWig
import pytest

ROOT = Path(__file__).parents[2]
YEAST = ["config/yeast/config.yaml", "config/yeast/mirror.yaml"]
BASELINES = ["motif max", "accessibility", "motif x accessibility"]
LONGEST = 3 * 3600


def run(project, config) -> str:
    return project.snakemake("--cores", "all", config=config, timeout=LONGEST).output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


@pytest.mark.slow
@pytest.mark.skipif(
    not (ROOT.parent / "shared/data/mirror").is_dir(), reason="the mirror ../shared/data/mirror is not there"
)
def test_yeast_from_published_files_to_tracks_that_beat_the_baselines(project):
    print(run(project, YEAST))
    results = project.path / "results/yeast"
    factors = [row["factor"] for row in rows(results / "evaluation/metrics.tsv") if row["predictor"] == "tfbind"]
    tracks = results / "tracks/yeast_YPD"
    assert len(set(factors)) == 70
    for factor in factors:
        assert (tracks / f"{factor}.narrowPeak").is_file()
        with pyBigWig.open(str(tracks / f"{factor}.bw")) as track:
            assert len(track.chroms()) == 17
            # header() cuts its numbers to integers.
            assert 0 < max(track.stats(chrom, type="max", exact=True)[0] or 0 for chrom in track.chroms()) <= 1
    ratios = {row["predictor"]: float(row["ratio"]) for row in rows(results / "evaluation/summary.tsv")}
    assert all(ratios[baseline] >= 1.5 for baseline in BASELINES), ratios
    assert "Nothing to be done" in run(project, YEAST)


@pytest.mark.slow
def test_in_the_demo_unseen_factors_come_out_well_only_because_their_proteins_are_read(project):
    print(run(project, ()))
    summary = {
        (row["kind"], row["predictor"]): row for row in rows(project.path / "results/demo/evaluation/summary.tsv")
    }
    for kind in ("unseen factor", "unseen factor and cell type"):
        model, shuffled = summary[kind, "tfbind"], summary[kind, "protein shuffled"]
        prevalence = float(model["mean_prevalence"])
        assert float(model["mean_auprc"]) > 30 * prevalence
        assert float(shuffled["mean_auprc"]) < 15 * prevalence
        assert (kind, "motif max") not in summary
