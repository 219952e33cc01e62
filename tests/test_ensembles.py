"""Ensembles and manifests by the command line, on the tiny run: real models, joined, rendered and tested."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
import torch
import yaml

from tfbind.browser.on_demand import OnDemand
from tfbind.core.errors import InputError
from tfbind.core.files import read_json
from tfbind.evaluation.held_out import require_held_out
from tfbind.factors.factorset import FactorSet
from tfbind.genome.reference import Reference
from tfbind.genome.regions import Region
from tfbind.model import probabilities
from tfbind.model.batching import factor_batch
from tfbind.model.calibration import read_calibration
from tfbind.model.checkpoint import load_checkpoint
from tfbind.model.data import BOUND, LEFT_OUT, GenomeData, open_genome_data
from tfbind.model.ensemble import EnsembleModel, open_checkpoint
from tfbind.model.known_binding import read_known_binding
from tfbind.prediction.embed import GenomeEmbedding
from tfbind.prediction.render import predict_tracks
from tfbind.training.calibration import log_loss
from tfbind.training.ensemble import calibrated, join, joined_manifest, member_seed, run_seeds, shared_validation
from tfbind.training.splits import Split
from tfbind.training.targets import Targets

FACTORS = ["SIM01", "SIM02", "SIM03", "SIMA", "SIMB"]


def run(tiny_run, *arguments):
    result = tiny_run.tfbind(*arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exc_info}"
    return result


def embed(tiny_run, config, model, folder) -> Path:
    shards = [folder / f"{shard}.npy" for shard in (0, 1)]
    for shard, path in enumerate(shards):
        run(tiny_run, *tiny_run.arguments("embed", config=config, model=model, shard=shard, output=path))
    made = folder / "tokens"
    run(tiny_run, *tiny_run.arguments("assemble", config=config, model=model, output=made), *shards)
    return made


@pytest.fixture(scope="module")
def made(tiny_run, tmp_path_factory) -> Path:
    """The tiny run's model and one of another seed, joined; the genome embedded and CT1 rendered by both."""
    folder = tmp_path_factory.mktemp("ensemble")
    values = yaml.safe_load(tiny_run.config.read_text())
    values["training"]["ensemble"] = 2
    values["prediction"] |= {"uncertainty": True, "calibration": "platt"}
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(values))
    places = {"state": folder / "state", "history": folder / "history.tsv", "output": folder / "1"}
    run(tiny_run, *tiny_run.arguments("train", config=config, member=1, **places))
    members = [tiny_run.results / "model", folder / "1"]
    r = tiny_run.results
    data = {"reference": r / "reference", "factors": r / "factors", "targets": r / "targets"}
    options = [part for name, path in data.items() for part in (f"--{name}", path)]
    options += ["--accessibility", r / "accessibility", "--threads", 1, "--config", config]
    run(tiny_run, "ensemble", *options, "--output", folder / "model", *members)
    tokens = embed(tiny_run, config, folder / "model", folder / "embedding")
    for name, region in (("CT1", None), ("part", "chr3:5000-9000")):
        run(
            tiny_run,
            *tiny_run.arguments(
                "render",
                config=config,
                model=folder / "model",
                embedding=tokens,
                region=region,
                output=folder / f"tracks/{name}",
            ),
        )
    return folder


@pytest.fixture(scope="module")
def ensemble(made):
    return open_checkpoint(made / "model")


def values(path, chrom="chr3"):
    with pyBigWig.open(str(path)) as handle:
        found = handle.values(chrom, 0, handle.chroms()[chrom], numpy=True)
    return found[::64]


def predicted(tiny_run, checkpoint, tokens, cell_type="CT1"):
    """Probabilities (bins, factors) of the test's chromosome."""
    reference = Reference.open(tiny_run.results / "reference")
    data = open_genome_data(reference, [tiny_run.results / f"accessibility/{cell_type}.bw"], bin=64)
    batch = factor_batch(FactorSet.open(tiny_run.results / "factors"), FACTORS)
    embedding = GenomeEmbedding.open(tokens, checkpoint, reference)
    split = Split.read(tiny_run.results / "split.json")
    ((_, found),) = predict_tracks(checkpoint, embedding, data, batch, 0, split.test)
    return found


@pytest.fixture(scope="module")
def alone(tiny_run, made):
    """What each member predicts by itself, from a genome embedding of its own."""
    members = [tiny_run.results / "model", made / "1"]
    tokens = [
        tiny_run.results / "genome_embedding/tokens",
        embed(tiny_run, made / "config.yaml", members[1], made / "of_1"),
    ]
    return [
        predicted(tiny_run, load_checkpoint(*pair[:1]), pair[1]) for pair in zip(members, tokens, strict=True)
    ]


def test_members_of_other_seeds_are_other_models(ensemble):
    one, other = ensemble.members
    assert one.checksum != other.checksum
    assert [each.about["manifest"]["seed"] for each in ensemble.members] == [2, 1_000_002]


@pytest.mark.parametrize("runs", [[4], [4, 5], [0, 0], [5, 4, 1_000_003]])
@pytest.mark.parametrize("members", [1, 3])
def test_members_are_told_by_the_seed_of_their_run(runs, members):
    assert run_seeds([member_seed(seed, member) for seed in runs for member in range(members)]) == runs


def test_a_member_of_a_variant_is_trained_by_it_and_joined(tiny_run, tmp_path):
    values = yaml.safe_load(tiny_run.config.read_text())
    variant, config = tmp_path / "variant.yaml", tmp_path / "config.yaml"
    # Of other DNA tokens, too: what members say of a bin need not be as wide.
    other = values | {"model": values["model"] | {"rank": 12, "heads": 4}}
    variant.write_text(yaml.safe_dump(other | {"training": values["training"] | {"steps": 2}}))
    values["training"] |= {"ensemble": 2, "variants": [str(variant)]}
    config.write_text(yaml.safe_dump(values))
    places = {"state": tmp_path / "state", "history": tmp_path / "history.tsv", "output": tmp_path / "1"}
    run(tiny_run, *tiny_run.arguments("train", config=config, member=1, **places))
    folders = [tiny_run.results / "model", tmp_path / "1"]
    members = [load_checkpoint(folder) for folder in folders]
    assert members[1].model.rank == 12 != members[0].model.rank
    assert [member.about["manifest"]["seed"] for member in members] == [2, member_seed(2, 1)]
    both = EnsembleModel([member.model for member in join(folders, members).members])
    assert both.rank == 12 + members[0].model.rank


def test_an_ensemble_is_the_calibrated_mean_of_what_its_members_predict(tiny_run, made, ensemble, alone):
    mean = torch.as_tensor(np.mean(alone, axis=0))
    expected = read_calibration(ensemble.about)(mean.logit()).sigmoid().numpy()
    found = predicted(tiny_run, ensemble, made / "embedding/tokens")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    plain = replace(ensemble, about={**ensemble.about, "calibration": {"method": "none"}})
    np.testing.assert_allclose(predicted(tiny_run, plain, made / "embedding/tokens"), mean, rtol=1e-5, atol=1e-7)


def test_tracks_are_the_mean_and_the_uncertainty_the_spread(tiny_run, made, ensemble, alone):
    usable = Reference.open(tiny_run.results / "reference").usable_bins("chr3", 64)
    found = predicted(tiny_run, ensemble, made / "embedding/tokens")
    for column, factor in enumerate(FACTORS):
        track, spread = (values(made / f"tracks/CT1/{factor}{kind}.bw") for kind in ("", ".uncertainty"))
        np.testing.assert_allclose(track, found[:, column] * usable, atol=2.0**-15)
        expected = np.std([each[:, column] for each in alone], axis=0)
        np.testing.assert_allclose(spread, expected * usable, atol=2.0**-15)
        assert spread.max() > 0
    about = json.loads((made / "tracks/CT1/SIM01.uncertainty.json").read_text())
    assert about["members"] == 2 and about["model"] == ensemble.checksum
    assert about["value"].startswith("standard deviation of the members' probabilities")


def test_a_region_is_rendered_as_the_whole_genome_is(made):
    for kind in ("", ".uncertainty"):
        with (
            pyBigWig.open(str(made / f"tracks/CT1/SIM02{kind}.bw")) as whole,
            pyBigWig.open(str(made / f"tracks/part/SIM02{kind}.bw")) as part,
        ):
            np.testing.assert_array_equal(
                part.values("chr3", 4992, 8960, numpy=True), whole.values("chr3", 4992, 8960, numpy=True)
            )


def test_on_demand_an_ensemble_is_rendered_as_the_workflow_renders_it(tiny_run, made, tmp_path):
    folder = tmp_path / "results/ensemble"
    folder.mkdir(parents=True)
    for name in ("reference", "factors", "accessibility"):
        (folder / name).symlink_to(tiny_run.results / name)
    for name, path in (("model", "model"), ("config.yaml", "config.yaml"), ("genome_embedding", "embedding")):
        (folder / name).symlink_to(made / path)
    on_demand = OnDemand(folder, ahead=False)
    for factor in ("SIM02", "SIMA"):
        found = on_demand.render(factor, "CT1", "chr3").values
        np.testing.assert_array_equal(found, values(made / f"tracks/CT1/{factor}.bw").astype(np.float32))
    on_demand.close()


def test_batches_with_uncertainty_are_gathered(tiny_run, made, tmp_path):
    run(
        tiny_run,
        *tiny_run.arguments("gather", config=made / "config.yaml", output=tmp_path / "CT1"),
        made / "tracks/CT1",
    )
    names = {path.name for path in (tmp_path / "CT1").iterdir()}
    kinds = ("bw", "json", "narrowPeak", "uncertainty.bw", "uncertainty.json")
    assert names == {f"{factor}.{kind}" for factor in FACTORS for kind in kinds}


def test_uncertainty_of_one_model_is_an_error_with_a_mend(tiny_run, made, tmp_path):
    result = tiny_run.tfbind(*tiny_run.arguments("render", config=made / "config.yaml", output=tmp_path / "x"))
    assert result.exit_code == 1
    assert "'prediction.uncertainty': one model says nothing of its uncertainty" in result.stderr
    assert "mend: set training.ensemble to 2 or more" in result.stderr and not (tmp_path / "x").exists()


def test_a_mean_is_no_worse_calibrated_than_its_members_are_on_average(tiny_run, ensemble, alone):
    """Log-loss and Brier score are convex: it holds of any models on any bins, not of these alone."""
    targets = Targets.open(tiny_run.results / "targets")
    names = [each["name"] for each in targets.experiments]
    labels = targets.labels["chr3"][:, [names.index(f"{factor}.CT1") for factor in FACTORS[:4]]]
    kept, bound = labels != LEFT_OUT, labels == BOUND

    def scores(probabilities):
        p = np.asarray(probabilities[:, :4], dtype=np.float64)[kept]
        return np.array([log_loss(np.log(p / (1 - p)), bound[kept]), np.mean((p - bound[kept]) ** 2)])

    together = scores(np.mean(alone, axis=0))
    assert (together <= np.mean([scores(each) for each in alone], axis=0) + 1e-9).all()


def test_an_ensemble_has_thresholds_of_its_own_where_all_were_validated(ensemble):
    about = ensemble.about
    assert about["thresholds_of"].startswith("the ensemble's own")
    assert about["calibration"]["method"] in ("platt", "none")
    assert set(about["thresholds"]) <= {"pooled", "SIM01.CT1", "SIM02.CT1", "SIM03.CT1"}
    assert 0 <= about["validation_auprc"] <= 1


def test_an_ensemble_counts_known_binding_by_weights_of_its_own(tiny_run, made, ensemble, tmp_path):
    known = read_known_binding(ensemble.about)
    assert known.weights and known != read_known_binding(ensemble.members[0].about)
    config, folder = tmp_path / "known.yaml", tmp_path / "CT1"
    config.write_text("prediction:\n  known_binding: true\n")
    arguments = tiny_run.arguments(
        "render",
        config=made / "config.yaml",
        model=made / "model",
        embedding=made / "embedding/tokens",
        targets=tiny_run.results / "targets",
        factor="SIMA",
        output=folder,
    )
    run(tiny_run, *arguments, "--config", config)
    about = json.loads((folder / "SIMA.json").read_text())
    assert about["known_binding"]["cell_type"] == ["SIM01.CT1", "SIM02.CT1", "SIM03.CT1"]
    same = {}
    for name in ("SIMA.bw", "SIMA.uncertainty.bw"):
        same[name] = (folder / name).read_bytes() == (made / "tracks/CT1" / name).read_bytes()
    assert same == {"SIMA.bw": False, "SIMA.uncertainty.bw": True}, "the spread is that of what members predict"


def test_trunks_of_equal_weights_are_one(ensemble):
    assert ensemble.model.trunk.which == [0, 1]
    one, other = ensemble.members
    model = deepcopy(one.model)
    shared = join([Path("a"), Path("b")], [one, replace(other, model=model)]).model
    assert shared.trunk.which == [0, 0] and len(shared.trunk.for_inference().trunks) == 1
    with torch.no_grad():
        next(model.trunk.parameters()).view(-1)[0] += 1
    assert EnsembleModel([one.model, model]).trunk.which == [0, 1]


def test_a_manifest_of_an_ensemble_lists_what_any_member_was_trained_on():
    one = {
        "genome": "g",
        "seed": 1,
        "regions": [["c", 0, 100]],
        "validation_regions": [["c", 200, 300]],
        "factors": ["B", "A"],
        "cell_types": ["K"],
        "experiments": ["A.K", "B.K"],
        "aliases": {"K": ["k"]},
        "relatives": {"Z": {"nearest": "A", "identity": 0.8}},
    }
    other = one | {
        "seed": 2,
        "regions": [["c", 50, 150]],
        "factors": ["C"],
        "relatives": {},
        "aliases": {"L": []},
    }
    found = joined_manifest([one, other])
    assert found["factors"] == ["A", "B", "C"] and found["genome"] == "g" and found["seed"] == [1, 2]
    assert found["regions"] == [["c", 0, 100], ["c", 100, 150]]
    assert found["aliases"] == {"K": ["k"], "L": []} and set(found["relatives"]) == {"Z"}


def test_validation_is_shared_where_all_stopped_and_none_was_trained():
    one = {"validation_regions": [["c", 0, 100], ["d", 0, 50]], "regions": [["e", 0, 9]]}
    other = {"validation_regions": [["c", 20, 200]], "regions": [["c", 90, 95]]}
    assert shared_validation([one, other]) == [Region("c", 20, 90), Region("c", 95, 100)]


def test_folds_that_share_no_validation_have_the_mean_of_their_thresholds(ensemble, capsys):
    one, other = ensemble.members
    about = other.about | {"thresholds": {"pooled": 0.5, "X": 0.25}}
    about["manifest"] = about["manifest"] | {"regions": about["manifest"]["validation_regions"]}
    first = replace(one, about=one.about | {"thresholds": {"pooled": 0.25, "X": None, "Y": None}})
    folds = join([Path("a"), Path("b")], [first, replace(other, about=about)])
    assert folds.about["thresholds"] == {"pooled": 0.375, "X": 0.25, "Y": None}
    assert calibrated(folds, *[None] * 6) is folds
    assert "validated in no region in common" in capsys.readouterr().err


def test_tracks_do_not_depend_on_how_many_bins_are_averaged_at_once(tiny_run, made, ensemble, monkeypatch):
    whole = predicted(tiny_run, ensemble, made / "embedding/tokens")
    monkeypatch.setattr(probabilities, "AT_ONCE", 100)
    # A sigmoid's last bit depends on where a vector register begins.
    np.testing.assert_allclose(predicted(tiny_run, ensemble, made / "embedding/tokens"), whole, rtol=3e-7)


def test_each_member_knows_the_cell_types_that_it_learnt():
    """Of cell types that the ensemble has learnt, a member knows some, in rows of its own."""
    data = GenomeData(64, {}, {}, np.ones(4, bool)).knowing(["B", "A", "C", "new"], None, ["A", "B", "C"])
    assert data.known.identity.tolist() == [1, 0, 2, -1]
    for own, rows in ((["C", "A"], [-1, 1, 0, -1]), ([], [-1] * 4), (["A", "B", "C"], [1, 0, 2, -1])):
        assert probabilities.as_learnt_by(own, ["A", "B", "C"], data).known.identity.tolist() == rows


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"embedder": {"name": "other"}}, "its embedder of proteins is"),
        ({"fdr": 0.5}, "its false discovery rate is 0.5, not 0.9"),
        ({"contexts": {"encoder": {"name": "x"}, "learnt": []}}, "its encoder of texts is"),
    ],
)
def test_models_that_do_not_fit_are_not_joined(ensemble, changes, problem):
    one, other = ensemble.members
    with pytest.raises(InputError, match=problem):
        join([Path("a"), Path("b")], [one, replace(other, about={**other.about, **changes})])


def test_one_model_is_no_ensemble_and_neither_is_one_twice(ensemble):
    one = ensemble.members[0]
    with pytest.raises(InputError, match="two members or more"):
        join([Path("a")], [one])
    with pytest.raises(InputError, match="is the same model as a"):
        join([Path("a"), Path("b")], [one, one])


def test_an_ensemble_is_told_from_a_model(made):
    with pytest.raises(InputError, match="is an ensemble, not one model"):
        load_checkpoint(made / "model")


def test_members_that_were_exchanged_are_refused(made, tmp_path):
    copy = tmp_path / "model"
    copy.mkdir()
    (copy / "ensemble.json").write_bytes((made / "model/ensemble.json").read_bytes())
    for name, source in (("0", "1"), ("1", "0")):
        (copy / name).symlink_to(made / "model" / source)
    with pytest.raises(InputError, match="member 0 is not the model that was joined"):
        open_checkpoint(copy)


# --- what was trained on is not tested on -------------------------------------------------------------------


@pytest.fixture
def refuse(tiny_run, ensemble):
    """What is said of a split that is changed, or of a manifest that is."""
    split = Split.read(tiny_run.results / "split.json")
    targets = Targets.open(tiny_run.results / "targets")

    def refused(manifest=None, experiments=None, **changes):
        about = {**ensemble.about["manifest"], **(manifest or {})}
        changed = replace(split, **changes)
        embedding = GenomeEmbedding({"genome": split.genome}, {})
        with pytest.raises(InputError) as caught:
            require_held_out(about, embedding, changed, experiments or targets.experiments)
        assert caught.value.mend
        return str(caught.value)

    refused.split = split
    return refused


def test_the_split_of_the_training_is_taken(tiny_run, ensemble):
    split = Split.read(tiny_run.results / "split.json")
    embedding = GenomeEmbedding({"genome": split.genome}, {})
    experiments = Targets.open(tiny_run.results / "targets").experiments
    require_held_out(ensemble.about["manifest"], embedding, split, experiments)


def test_regions_that_were_trained_on_are_told_with_their_length(tiny_run, made, tmp_path):
    """By the command line, with a split made of another configuration."""
    values = yaml.safe_load(tiny_run.config.read_text())
    values["splits"] |= {"test": ["chr1:1-6400"], "validation": ["chr3"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    config, other = tmp_path / "config.yaml", tmp_path / "split.json"
    run(tiny_run, *tiny_run.arguments("split", config=config, output=other))
    for model, tokens in (
        (tiny_run.results / "model", tiny_run.results / "genome_embedding/tokens"),
        (made / "model", made / "embedding/tokens"),
    ):
        result = tiny_run.tfbind(
            *tiny_run.arguments(
                "evaluate", config=config, model=model, embedding=tokens, split=other, output=tmp_path / "x"
            )
        )
        assert result.exit_code == 1
        assert "the model was trained on 6400 bp of the test, chr1:1-6400: that is not held out" in result.stderr
        assert not (tmp_path / "x").exists()


def test_regions_that_training_stopped_by_are_told(refuse):
    said = refuse(test=refuse.split.validation)
    assert "the model was stopped on 20100 bp of the test, chr2:1-20100" in said


def test_a_trained_factor_that_is_scored_as_unseen_is_told(refuse):
    kinds = {**refuse.split.kinds, "SIM01.CT1": "unseen factor", "SIM02.CT1": "unseen factor and cell type"}
    said = refuse(kinds=kinds)
    assert "trained on factors scored as unseen, SIM01, SIM02" in said
    assert "trained on cell types scored as unseen, CT1" in said and "splits.held_out_factors" in said


def test_a_relative_of_a_trained_factor_is_told(refuse):
    said = refuse({"relatives": {"SIMA": {"nearest": "SIM01", "identity": 0.83}}})
    assert "relatives of factors scored as unseen, SIMA (SIM01, 83% identical)" in said


def test_a_trained_cell_type_by_another_name_is_told(refuse, tiny_run):
    said = refuse({"aliases": {"CT1": ["ct2", "one"]}})
    assert "cell types scored as unseen, CT2 (there CT1)" in said


def test_another_genome_is_refused(refuse):
    assert "not of one genome" in refuse({"genome": "0" * 64})


def test_a_training_keeps_what_a_test_must_not_hold(ensemble):
    for member in ensemble.members:
        manifest = member.about["manifest"]
        assert manifest["aliases"] == {"CT1": []} and manifest["relatives"] == {}


def test_achieved_rates_stand_beside_the_stated_one(tiny_run):
    lines = (tiny_run.results / "evaluation/fdr.tsv").read_text().splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    assert {row["fdr"] for row in rows} == {"0.9"} and {row["of"] for row in rows} == {"bins", "peaks"}
    assert {row["experiment"] for row in rows} == set(Split.read(tiny_run.results / "split.json").tested)
    thresholds = read_json(tiny_run.results / "model/model.json")["thresholds"]
    assert len(rows) == 2 * sum(1 + (row in thresholds) for row in {row["experiment"] for row in rows})
