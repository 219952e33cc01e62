"""Pretrained trunks, of tiny Enformers that enformer-pytorch itself wrote."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from enformer_pytorch import Enformer
from enformer_pytorch import from_pretrained as enformer_from_pretrained
from safetensors.torch import save_file

from tfbind.config import ModelSettings, TrunkSettings, config_text, load_config, parse_config
from tfbind.core.errors import InputError
from tfbind.evaluation.ablation import read_variants
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import load_checkpoint, save_checkpoint
from tfbind.model.shape import ModelShape
from tfbind.model.trunk import EnformerTrunk, make_trunk, one_hot

BIN, NAME, COMMIT = 16, "EleutherAI/enformer-official-rough", "a" * 40
HEAD = {"rank": 8, "heads": 4, "factor_tokens": 2, "hidden": 8, "motif_width": 6}


def tiny_enformer(**changes):
    torch.manual_seed(3)
    sizes = {"dim": 24, "depth": 2, "heads": 2, "dim_divisible_by": 6, "attn_dim_key": 5, "dropout_rate": 0.3}
    enformer = Enformer.from_hparams(**{**sizes, "num_downsamples": 4, "output_heads": {"human": 3}, **changes})
    with torch.no_grad():
        for weight in enformer.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
        for statistics in enformer.buffers():
            if statistics.is_floating_point():
                statistics.uniform_(0.5, 1.5)
    return enformer.eval()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder as `save_pretrained` writes it: pytorch_model.bin, each layer under two names."""
    folder = tmp_path_factory.mktemp("enformer")
    tiny_enformer().save_pretrained(folder, safe_serialization=False)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "enformer")


def trunk_of(folder, **settings):
    return make_trunk(TrunkSettings(pretrained=str(folder), **settings), BIN).eval()


def as_safetensors(folder, prefix):
    """The same weights in one file of safetensors, each under one of its names."""
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    one = {name: value for name, value in state.items() if name.startswith("_trunk") == (prefix == "_trunk")}
    save_file({name: value.clone() for name, value in one.items()}, folder / "model.safetensors")


@pytest.mark.parametrize("kind", ["bin", "_trunk", "stem"])
@pytest.mark.parametrize("bins", [4, 9])
def test_a_folder_gives_the_network_that_was_written(folder, codes, kind, bins):
    if kind != "bin":
        as_safetensors(folder, kind)
    trunk = trunk_of(folder, gamma="pytorch")
    window = codes(2, BIN * bins)
    with torch.no_grad():
        expected = tiny_enformer(target_length=-1)(one_hot(window), return_only_embeddings=True)
        torch.testing.assert_close(trunk(window), expected)
    assert trunk.pretrained and set(trunk.source) == {"name", "sha256"}


def test_its_sizes_are_those_of_the_folder(folder):
    settings = trunk_of(folder).settings
    sizes = (settings.dim, settings.depth, settings.heads, settings.key_dim, settings.dim_divisible_by)
    assert sizes == (24, 2, 2, 5, 6)
    assert (settings.dropout, settings.attention_dropout, settings.position_dropout) == (0.3, 0.05, 0.01)
    assert trunk_of(folder, dropout=0.1).settings.dropout == 0.1
    assert trunk_of(folder, dim=24).settings == settings, "the same may be said"


def test_a_local_copy_has_the_positions_of_the_published_enformer(tmp_path, codes):
    """As by upstream's flag and table, at their 1,536 bins; upstream's own loading of the copy loses them."""
    sizes = {"dim": 192, "depth": 1, "heads": 1, "dim_divisible_by": 96, "num_downsamples": 3}
    enformer = tiny_enformer(**sizes, target_length=-1)
    features = enformer.transformer[0][0].fn[1]
    with torch.no_grad():
        features.to_rel_k.weight.mul_(2)  # so that attention looks at positions
    enformer.save_pretrained(tmp_path / "copy", safe_serialization=False)
    features.use_tf_gamma = True
    window = codes(1, 1536 * 8)
    trunk = make_trunk(TrunkSettings(pretrained=str(tmp_path / "copy")), 8).eval()
    upstream = enformer_from_pretrained(str(tmp_path / "copy")).eval()
    with torch.no_grad():
        expected = enformer(one_hot(window), return_only_embeddings=True)
        ours = (trunk(window) - expected).abs().max()
        theirs = (upstream(one_hot(window), return_only_embeddings=True) - expected).abs().max()
    assert ours < 2e-3 * expected.abs().max()
    assert theirs > 20 * ours


@pytest.mark.parametrize("read", [False, True])
def test_an_enformer_that_was_read_has_the_published_positions_a_new_one_its_own(folder, read):
    enformer = Enformer.from_pretrained(folder) if read else tiny_enformer()
    trunk = EnformerTrunk(enformer)
    assert trunk.settings.gamma == ("tensorflow" if read else "pytorch")
    assert trunk.pretrained == read
    assert EnformerTrunk(enformer, gamma="tensorflow").settings.gamma == "tensorflow"
    flagged = tiny_enformer(use_tf_gamma=True)
    assert EnformerTrunk(flagged).settings.gamma == "tensorflow"


def test_the_gamma_features_matter_and_only_as_chosen(folder, codes):
    window = codes(1, BIN * 30)
    with torch.no_grad():
        ours, other = (trunk_of(folder, gamma=gamma)(window) for gamma in ("tensorflow", "pytorch"))
        assert torch.equal(trunk_of(folder)(window), ours)
    assert (ours - other).abs().max() > 1e-3


# From the hub, as it lies in its cache.


@pytest.fixture
def hub(written, tmp_path, monkeypatch):
    """The hub's cache, with a model in it, and no way to the web."""
    from huggingface_hub import constants

    repository = tmp_path / "hub" / f"models--{NAME.replace('/', '--')}"
    shutil.copytree(written, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repository


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_name_on_the_hub(hub, written, codes, revision, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trunk = trunk_of(NAME, revision=revision)
    with torch.no_grad():
        assert torch.equal(trunk(codes(1, 64)), trunk_of(written)(codes(1, 64)))
    assert (trunk.source["name"], trunk.source["revision"]) == (NAME, COMMIT)
    assert trunk.settings.gamma == "tensorflow"


@pytest.mark.parametrize(
    ("name", "revision", "problem"),
    [
        (NAME, "no-such-branch", "the hub did not give it"),
        ("nobody/nothing", None, "the hub did not give it"),
        ("no/such/folder", None, "no name of a model on the hub either"),
    ],
)
def test_what_the_hub_does_not_have_is_told(hub, name, revision, problem):
    with pytest.raises(InputError, match=problem) as caught:
        trunk_of(name, revision=revision)
    assert caught.value.key == "model.trunk.pretrained"
    assert caught.value.mend


# From a checkpoint of ours, and into one.


def make_model(**trunk):
    torch.manual_seed(0)
    settings = ModelSettings.model_validate({"trunk": trunk, **HEAD})
    return BindingModel(settings, ModelShape(bin=BIN, residue_dim=5)).eval()


def test_a_checkpoint_builds_its_trunk_without_the_weights_it_came_from(folder, tmp_path, codes):
    model = make_model(pretrained=str(folder))
    save_checkpoint(tmp_path / "model", model, {})
    shutil.rmtree(folder)
    loaded = load_checkpoint(tmp_path / "model").model
    window = codes(1, BIN * 30)
    with torch.no_grad():
        assert torch.equal(loaded.trunk(window), model.trunk(window))
    assert loaded.trunk.settings == model.trunk.settings
    assert (loaded.trunk.settings.gamma, loaded.trunk.settings.pretrained) == ("tensorflow", None)
    assert loaded.trunk.pretrained and loaded.trunk.source == model.trunk.source
    save_checkpoint(tmp_path / "again", loaded, {})
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


@pytest.mark.parametrize(
    "sizes",
    [
        {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6, "gamma": "tensorflow"},
        {"kind": "dilated", "dim": 12, "depth": 2},
    ],
    ids=lambda sizes: sizes.get("kind", "enformer"),
)
def test_a_checkpoint_of_ours_gives_its_trunk(tmp_path, codes, sizes):
    first = make_model(**sizes)
    save_checkpoint(tmp_path / "first", first, {})
    kind = {"kind": sizes["kind"]} if "kind" in sizes else {}
    second = make_model(pretrained=str(tmp_path / "first"), **kind)
    window = codes(1, 160)
    with torch.no_grad():
        assert torch.equal(second.trunk(window), first.trunk(window))
    assert second.trunk.settings == first.trunk.settings
    assert second.trunk.pretrained


def test_a_checkpoint_from_before_there_were_choices_is_as_it_was(tmp_path, codes):
    model = make_model(dim=24, depth=1, heads=2, dim_divisible_by=6)
    save_checkpoint(tmp_path / "model", model, {})
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    for name in ("kind", "pretrained", "revision", "gamma", "key_dim", "position_dropout"):
        del about["settings"]["trunk"][name]
    del about["trunk_source"]
    (tmp_path / "model" / "model.json").write_text(json.dumps(about))
    loaded = load_checkpoint(tmp_path / "model").model
    with torch.no_grad():
        assert torch.equal(loaded.trunk(codes(1, 96)), model.trunk(codes(1, 96)))


# What is wrong is told.


def damage(name):
    def change(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def configured(**changes):
    def change(folder):
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**values, **changes}))

    return change


def without(name):
    def change(folder):
        state = torch.load(folder / "pytorch_model.bin", weights_only=True)
        torch.save({key: value for key, value in state.items() if name not in key}, folder / "pytorch_model.bin")

    return change


@pytest.mark.parametrize(
    ("change", "problem", "file"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds neither config.json", "enformer"),
        (lambda folder: (folder / "pytorch_model.bin").unlink(), "holds no weights", "enformer"),
        (damage("pytorch_model.bin"), "cannot be read as weights", "pytorch_model.bin"),
        (damage("config.json"), "is no JSON", "config.json"),
        (configured(model_type="bert"), "type bert, not enformer", "config.json"),
        (configured(depth=3), "lacks, in these shapes", "pytorch_model.bin"),
        (configured(attn_dim_key=6), "lacks, in these shapes", "pytorch_model.bin"),
        (without("to_rel_k"), "lacks, in these shapes, 2 of", "pytorch_model.bin"),
        (without("running_mean"), "lacks, in these shapes", "pytorch_model.bin"),
    ],
)
def test_what_is_wrong_with_a_folder_is_told(folder, change, problem, file):
    change(folder)
    with pytest.raises(InputError, match=problem) as caught:
        trunk_of(folder)
    assert caught.value.file.name == file
    assert caught.value.key == "model.trunk.pretrained" and caught.value.mend


def test_no_pickled_code_is_run(folder):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"stem.0.weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be read as weights"):
        trunk_of(folder)


def test_counts_of_batches_may_be_missing(folder, codes):
    before = trunk_of(folder)
    without("num_batches_tracked")(folder)
    with torch.no_grad():
        assert torch.equal(trunk_of(folder)(codes(1, 64)), before(codes(1, 64)))


@pytest.mark.parametrize(("key", "value"), [("dim", 48), ("depth", 1), ("heads", 4), ("kind", "dilated")])
def test_a_size_that_is_not_the_pretrained_ones_is_told(folder, key, value):
    with pytest.raises(InputError, match=rf"has {key} \w+, not {value}") as caught:
        trunk_of(folder, **{key: value})
    assert caught.value.key == f"model.trunk.{key}"


def test_another_bin_than_the_pretrained_ones_is_told(folder):
    with pytest.raises(InputError, match="bins of 16 bp, the configuration of 128") as caught:
        make_trunk(TrunkSettings(pretrained=str(folder)), 128)
    assert caught.value.key == "windows.bin"


def test_a_folder_has_no_revision(folder):
    with pytest.raises(InputError, match="is a path") as caught:
        trunk_of(folder, revision="main")
    assert caught.value.key == "model.trunk.revision"


# Through a configuration that is written and read back, where defaults do not count as given.


def configuration(trunk):
    return parse_config(
        {
            "name": "mini",
            "tables": {name: f"{name}.tsv" for name in ("factors", "cell_types", "experiments")},
            "reference": {"fasta": "genome.fa"},
            "splits": {"validation": ["chr2"], "test": ["chr3"]},
            "model": {"trunk": trunk} if trunk else {},
        }
    )


def written_and_read(config, path):
    path.write_text(config_text(config))
    return load_config(path)


def variants_of(config, path, **variants):
    path.write_text(json.dumps(variants))
    return read_variants(path, config)


@pytest.mark.parametrize("given", [{}, {"attention_dropout": 0.05, "dim": 24}])
def test_a_configuration_that_is_written_and_read_back_has_the_same_trunk(folder, tmp_path, given):
    config = configuration({"pretrained": str(folder), **given})
    expected = make_trunk(config.model.trunk, BIN).settings
    assert expected.dropout == 0.3
    again = written_and_read(config, tmp_path / "config.yaml")
    assert again == config and make_trunk(again.model.trunk, BIN).settings == expected
    for base in (config, again):
        same = variants_of(base, tmp_path / "variants.json", same={}, other={"model": {"rank": 64}})
        assert same["same"] == config
        assert all(make_trunk(each.model.trunk, BIN).settings == expected for each in same.values())


def test_a_written_configuration_tells_all_of_a_new_trunk(tmp_path):
    config = written_and_read(configuration({"dim": 96}), tmp_path / "config.yaml")
    assert config.model.trunk.model_fields_set == set(TrunkSettings.model_fields)


def test_a_variant_may_have_a_pretrained_trunk_or_a_new_one_in_its_place(folder, tmp_path):
    source, path = {"model": {"trunk": {"pretrained": str(folder)}}}, tmp_path / "variants.json"
    new = configuration({"kind": "dilated", "dim": 32})
    for base in (new, written_and_read(new, tmp_path / "config.yaml"), configuration({})):
        trunk = variants_of(base, path, pretrained=source)["pretrained"].model.trunk
        assert make_trunk(trunk, BIN).settings == trunk_of(folder).settings
    base = configuration({"pretrained": NAME, "revision": COMMIT, "dropout": 0.2})
    found = variants_of(
        base, path, other=source, new={"model": {"trunk": {"pretrained": None}}}, same={"model": {"trunk": {}}}
    )
    assert make_trunk(found["other"].model.trunk, BIN).settings.dropout == 0.3
    assert found["new"].model.trunk == TrunkSettings() and found["same"] == base
