from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyfaidx
import pytest

from tfbind.config import Config, load_config, parse_config
from tfbind.core.errors import InputError
from tfbind.core.files import read_json
from tfbind.factors.motifs import read_meme
from tfbind.factors.proteins import read_proteins
from tfbind.simulation.binding import affinities, word_codes
from tfbind.simulation.chromatin import BACKGROUND
from tfbind.simulation.recognition import read_motif
from tfbind.simulation.world import simulate_world
from tfbind.tables import read_tables

ROOT = Path(__file__).parents[2]


def folder_of(config: Config) -> Path:
    return config.simulation.folder


def contents(config: Config) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder_of(config).iterdir())}


def genome(config: Config) -> dict[str, str]:
    text = gzip.decompress((folder_of(config) / "genome.fa.gz").read_bytes()).decode()
    records = [record.split("\n", 1) for record in text.split(">")[1:]]
    return {name: lines.replace("\n", "") for name, lines in records}


def peaks(config: Config, name: str) -> list[tuple[str, int, int, int]]:
    rows = [line.split("\t") for line in (folder_of(config) / f"{name}.narrowPeak").read_text().splitlines()]
    assert all(len(row) == 10 for row in rows)
    return [(row[0], int(row[1]), int(row[2]), int(row[1]) + int(row[9])) for row in rows]


def openness(config: Config, cell_type: str) -> dict[str, np.ndarray]:
    """Per base, 0 where closed."""
    profile = {name: np.zeros(len(bases)) for name, bases in genome(config).items()}
    for region in read_json(folder_of(config) / "truth.json")["regions"]:
        profile[region["chromosome"]][region["start"] : region["end"]] = region["openness"][cell_type]
    return profile


def codes(bases: str) -> np.ndarray:
    return np.array(["ACGTN".index(base) for base in bases], np.uint8)


def best_affinity(config: Config, factor: str) -> dict[str, np.ndarray]:
    """Per base, the better strand's affinity of the site whose middle is there."""
    pwm = np.array(read_json(folder_of(config) / "truth.json")["factors"][factor]["pwm"])
    found = {}
    for name, bases in genome(config).items():
        words = word_codes(codes(bases))
        scores = np.maximum(affinities(words, pwm), affinities(words, pwm[::-1, ::-1]))
        found[name] = np.full(len(bases), -np.inf)
        found[name][len(pwm) // 2 :][: len(scores)] = scores
    return found


@pytest.fixture
def world(make_world):
    config, dataset = make_world()
    simulate_world(config, dataset)
    return config


def test_equal_seeds_make_equal_bytes_and_others_differ(make_world):
    config, dataset = make_world()
    simulate_world(config, dataset)
    first = contents(config)
    simulate_world(config, dataset)
    assert contents(config) == first
    other, dataset = make_world(seed=4)
    simulate_world(other, dataset)
    changed = contents(other)
    assert changed.keys() == first.keys()
    assert all(changed[name] != first[name] for name in first)


def test_files_are_those_of_the_tables(world):
    assert set(contents(world)) == {
        "genome.fa.gz",
        "proteins.fa",
        "motifs.meme",
        "truth.json",
        *(f"CT{i}.fragments.tsv.gz" for i in (1, 2, 3)),
        *(f"{factor}.CT{i}.narrowPeak" for factor in ("SIM01", "SIM02", "SIM03", "SIMA") for i in (1, 2, 3)),
    }


def test_one_more_factor_leaves_the_others_as_they_were(make_world):
    small, dataset = make_world()
    simulate_world(small, dataset)
    large, dataset = make_world("large", trained=("SIM01", "SIM02", "SIM03", "SIM04"))
    simulate_world(large, dataset)
    before, after = (read_json(folder_of(config) / "truth.json") for config in (small, large))
    assert before["regions"] == after["regions"]
    proteins = read_proteins([folder_of(large) / "proteins.fa"])
    for name, protein in read_proteins([folder_of(small) / "proteins.fa"]).items():
        assert proteins[name].sequence == protein.sequence
        assert before["factors"][name]["pwm"] == after["factors"][name]["pwm"]


def test_genome_is_read_by_pyfaidx_and_as_stated(world, tmp_path):
    plain = tmp_path / "genome.fa"
    plain.write_bytes(gzip.decompress((folder_of(world) / "genome.fa.gz").read_bytes()))
    with pyfaidx.Fasta(str(plain)) as fasta:
        assert {name: len(fasta[name]) for name in fasta.keys()} == dict.fromkeys(  # noqa: SIM118
            ("chr1", "chr2", "chr3"), 30_000
        )
        for record in fasta:
            bases = str(record)
            assert set(bases) == set("ACGTN")
            assert bases.startswith("N" * 200)
            assert bases.endswith("N" * 200)
            assert "N" in bases.strip("N")
            known = len(bases) - bases.count("N")
            assert 0.38 < (bases.count("G") + bases.count("C")) / known < 0.52


def test_proteins_give_the_motifs_and_held_out_factors_have_none(world):
    truth = read_json(folder_of(world) / "truth.json")["factors"]
    proteins = read_proteins([folder_of(world) / "proteins.fa"])
    motifs = read_meme(folder_of(world) / "motifs.meme")
    assert set(proteins) == set(truth) == {"SIM01", "SIM02", "SIM03", "SIMA"}
    for name, protein in proteins.items():
        assert np.array_equal(read_motif(protein.sequence), np.array(truth[name]["pwm"]))
        assert truth[name]["held_out"] == (name == "SIMA")
        assert 8 <= len(truth[name]["pwm"]) <= 11
    assert set(motifs) == {"SIM01", "SIM02", "SIM03"}
    assert b"SIMA" not in (folder_of(world) / "motifs.meme").read_bytes()
    for name, motif in motifs.items():
        assert np.allclose(motif.probabilities, truth[name]["pwm"])


def test_peaks_lie_inside_chromosomes_in_order_and_are_as_wide_as_stated(world):
    sizes = {name: len(bases) for name, bases in genome(world).items()}
    truth = read_json(folder_of(world) / "truth.json")["experiments"]
    assert len(truth) == 12
    for name, described in truth.items():
        found = peaks(world, name)
        assert len(found) == described["calls"] == described["bound"] - described["missed"] + described["false"]
        assert [row[:2] for row in found] == sorted(row[:2] for row in found)
        for chromosome, start, end, summit in found:
            assert 0 <= start <= summit < end <= sizes[chromosome]
            assert 100 <= end - start <= 150


def test_peaks_stand_on_good_sites_in_open_chromatin(world):
    truth = read_json(folder_of(world) / "truth.json")
    on_site = in_open = calls = open_sites = open_hits = closed_sites = closed_hits = 0
    for factor in truth["factors"]:
        affinity = best_affinity(world, factor)
        half = truth["factors"][factor]["half_affinity"]
        for cell_type in truth["cell_types"]:
            profile = openness(world, cell_type)
            called = {name: np.zeros(len(bases), bool) for name, bases in genome(world).items()}
            for chromosome, start, end, summit in peaks(world, f"{factor}.{cell_type}"):
                called[chromosome][start:end] = True
                calls += 1
                on_site += affinity[chromosome][summit - 30 : summit + 31].max() > half - 1.5
                in_open += profile[chromosome][summit - 30 : summit + 31].max() > 0
            for name in called:
                good = affinity[name] >= half
                open_sites += (good & (profile[name] > 0)).sum()
                open_hits += (good & (profile[name] > 0) & called[name]).sum()
                closed_sites += (good & (profile[name] == 0)).sum()
                closed_hits += (good & (profile[name] == 0) & called[name]).sum()
    assert on_site / calls > 0.85
    assert in_open / calls > 0.9
    # Neighbours of a peak count as called too: in so dense a world some closed sites beside an open region.
    assert open_hits / open_sites > 0.45
    assert closed_hits / closed_sites < 0.1


def test_cell_types_share_some_of_their_open_chromatin_and_fragments_show_it(world):
    profiles, cuts = {}, {}
    for cell_type in ("CT1", "CT2", "CT3"):
        profiles[cell_type] = np.concatenate(list(openness(world, cell_type).values())) > 0
        counts = np.zeros(90_000)
        lines = gzip.decompress((folder_of(world) / f"{cell_type}.fragments.tsv.gz").read_bytes()).decode()
        rows = [line.split("\t") for line in lines.splitlines()]
        assert 5_000 < len(rows) <= 6_000
        places = [(row[0], int(row[1]), int(row[2])) for row in rows]
        assert places == sorted(places)
        for chromosome, start, end in places:
            assert 0 <= start < end <= 30_000
            counts[(int(chromosome[3:]) - 1) * 30_000 + (start + end) // 2] += 1
        assert all(row[3].endswith("-1") and int(row[4]) in (1, 2) for row in rows)
        cuts[cell_type] = counts
    for cell_type, profile in profiles.items():
        assert 0.1 < profile.mean() < 0.35
        assert cuts[cell_type][profile].mean() > 5 * cuts[cell_type][~profile].mean() > 0
    first, second = profiles["CT1"], profiles["CT2"]
    assert 0.25 < (first & second).sum() / (first | second).sum() < 0.9
    ours = cuts["CT1"][first & ~second].sum() / cuts["CT1"].sum()
    theirs = cuts["CT2"][first & ~second].sum() / cuts["CT2"].sum()
    assert ours > 3 * theirs


def test_affinities_equal_a_plain_scan():
    rng = np.random.default_rng(0)
    sequence = rng.choice(5, size=300, p=[0.24, 0.24, 0.24, 0.24, 0.04]).astype(np.uint8)
    for width in (6, 8, 11, 12):
        pwm = rng.dirichlet(np.ones(4), size=width)
        expected = [
            -np.inf
            if 4 in sequence[i : i + width]
            else sum(np.log(pwm[j, sequence[i + j]] / BACKGROUND[sequence[i + j]]) for j in range(width))
            for i in range(len(sequence) - width + 1)
        ]
        np.testing.assert_allclose(affinities(word_codes(sequence), pwm), expected, atol=1e-4)


def test_the_demo_holds_out_factors_and_a_cell_type(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load_config(Path("config/demo/config.yaml"))
    dataset = read_tables(config)
    assert len(dataset.factors) == 32
    assert len(dataset.experiments) == 32 * 3
    assert {row.factor for row in dataset.factors if row.motif is None} == {"SIMA", "SIMB"}
    assert set(config.splits.held_out_factors) == {"SIMA", "SIMB"}
    assert config.splits.held_out_cell_types == ["CT3"]


# --- what is wrong with the input ---


def test_without_a_simulation_nothing_is_made(make_world):
    config, dataset = make_world()
    config = parse_config(config.model_dump(mode="json") | {"simulation": None})
    with pytest.raises(InputError, match=r"key 'simulation': .*simulates nothing"):
        simulate_world(config, dataset)


def test_tables_that_name_other_files_are_an_error(make_world):
    with pytest.raises(
        InputError, match=r"experiments.tsv, row 2, column 'peaks': .*SIM01.CT1.bed.*\n.*narrowPeak"
    ):
        simulate_world(*make_world(peaks="{name}.bed"))
    with pytest.raises(InputError, match=r"key 'reference.fasta': .*hg38.fa"):
        simulate_world(*make_world(fasta="hg38.fa"))


@pytest.mark.parametrize("key", ["proteins", "motifs"])
def test_factor_files_that_are_not_made_are_an_error(make_world, key):
    config, dataset = make_world()
    values = config.model_dump(mode="json")
    values["factors"][key] = []
    with pytest.raises(InputError, match=rf"key 'factors.{key}': 0 files"):
        simulate_world(parse_config(values), dataset)


def test_a_held_out_factor_with_a_motif_is_an_error(make_world):
    with pytest.raises(InputError, match=r"factors.tsv, row 5, column 'motif': SIMA is held out"):
        simulate_world(*make_world(motif_of_held_out="SIMA"))


def test_a_factor_with_its_own_sequence_is_an_error(make_world):
    with pytest.raises(InputError, match=r"row 2, column 'sequence': SIM01 has a sequence"):
        simulate_world(*make_world(sequence="MKVLW"))


def test_an_experiment_without_a_peak_is_an_error(make_world):
    config, dataset = make_world(sites_per_factor=10, open_fraction=0.01)
    with pytest.raises(InputError, match=r"key 'simulation.sites_per_factor': .* without a single peak"):
        simulate_world(config, dataset)
