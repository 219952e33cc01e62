"""The configuration: what is accepted, and errors in the user's words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tfbind.config import Config, load_config, member_configs, parse_config
from tfbind.core.errors import InputError

SHA = "0" * 64
URL = "https://example.org/genome.fa.gz"


def values(**changes):
    """The least that a configuration must say; `a__b=1` sets `a: {b: 1}`."""
    least = {
        "name": "small",
        "tables": {"factors": "factors.tsv", "cell_types": "cells.tsv", "experiments": "experiments.tsv"},
        "reference": {"fasta": "genome.fa"},
        "splits": {"validation": ["chr2"], "test": ["chr3"]},
    }
    for path, value in changes.items():
        *sections, key = path.split("__")
        section = least
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    return least


def error_of(**changes):
    with pytest.raises(InputError) as error:
        parse_config(values(**changes), file="config.yaml")
    text = str(error.value)
    assert text.startswith("config.yaml: ") and "mend: " in text
    for internal in ("Input should", "pydantic", "Value error", "type=", "function-", "Section"):
        assert internal not in text
    return text


def test_the_least_configuration_takes_the_defaults():
    config = parse_config(values())
    assert config.results == Path("results/small")
    assert config.windows.bin == 64 and config.simulation is None
    assert config.reference.fasta.source == "genome.fa" and not config.reference.fasta.is_url


def test_a_source_is_a_path_or_a_url_with_its_checksum():
    config = parse_config(values(reference__fasta={"source": URL, "sha256": SHA}))
    assert config.reference.fasta.is_url
    assert config.reference.fasta.local_path == Path("resources/downloads/example.org/genome.fa.gz")


def test_some_loss_and_some_bins_must_count():
    assert parse_config(values(training__losses={"binding": 0, "track": 1})).training.losses.counted == ["track"]
    assert "'training.losses'" in (text := error_of(training__losses={"binding": 0})) and "all 0" in text
    assert "training.losses.track_loss" in error_of(training__losses={"track_loss": "poison"})
    windows = {"bin": 64, "length": 640, "core": 512}
    assert parse_config(values(windows=windows, training__crop=4)).training.crop == 4
    assert "leaves none of a window's 10" in error_of(windows=windows, training__crop=5)
    told = error_of(windows=windows, training__crop=1, training__window_spacing=3)
    assert "window_spacing of 3 bins does not divide the 8 bins" in told
    spaced = parse_config(values(windows=windows, training__crop=1, training__window_spacing=4))
    assert spaced.training.window_spacing == 4


def test_embeddings_are_kept_of_a_frozen_trunk_alone():
    frozen = {"mode": "frozen", "cache": {"precision": "fp16"}}
    windows = {"bin": 64, "length": 640, "core": 512}
    spaced = {"windows": windows, "training__window_spacing": 5}
    kept = parse_config(values(**spaced, training__fine_tuning=frozen))
    assert kept.training.fine_tuning.cache.gigabytes == 100
    for mode in ("all", "norms"):
        assert "cache needs mode frozen" in error_of(training__fine_tuning={"mode": mode, "cache": {}})
    told = error_of(windows=windows, training__fine_tuning=frozen)
    assert "hardly one comes twice: set training.window_spacing, to 10" in told


@pytest.mark.parametrize(
    ("changes", "key", "mend"),
    [
        ({"refrence": {}}, "refrence", "did you mean 'reference'?"),
        ({"windows__lenght": 8192}, "windows.lenght", "did you mean 'length'?"),
        ({"model__trunk__dept": 3}, "model.trunk.dept", "did you mean 'depth'?"),
        ({"factors__esm2__layers": 3}, "factors.esm2.layers", "did you mean 'layer'?"),
        ({"reference__fasta": {"sorce": "x", "source": "y"}}, "reference.fasta.sorce", "'source'?"),
        ({"factors__proteins": [{"source": "a", "sha": SHA}]}, "factors.proteins[1].sha", "'sha256'?"),
        ({"steps": 10}, "steps", "did you mean 'training.steps'?"),
        ({"splits__xyz": 1}, "splits.xyz", "known keys here: validation, test, train"),
    ],
)
def test_unknown_keys_are_errors_with_the_nearest_known_one(changes, key, mend):
    text = error_of(**changes)
    assert f"unknown key '{key}'" in text and mend in text


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (None, "name"),
        (None, "tables"),
        ("tables", "factors"),
        ("reference", "fasta"),
        ("splits", "test"),
    ],
)
def test_missing_keys_are_named(section, key):
    given = values()
    del (given[section] if section else given)[key]
    with pytest.raises(InputError, match=f"key '{section + '.' if section else ''}{key}' is missing"):
        parse_config(given)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": 5}, ["'name'", "expected text, got 5", "quotes"]),
        ({"name": "a/b"}, ["'name'", "letters, digits", "'a/b'"]),
        ({"seed": "one"}, ["'seed'", "expected a whole number, got 'one'"]),
        ({"seed": True}, ["'seed'", "expected a whole number, got true"]),
        ({"seed": -1}, ["'seed'", "must be at least 0, not -1"]),
        ({"seed": 1.5}, ["'seed'", "whole number", "1.5"]),
        ({"training__learning_rate": "1e-3"}, ["'training.learning_rate'", "expected a number", "1.0e-3"]),
        ({"training__learning_rate": 0}, ["must be more than 0, not 0"]),
        ({"training__learning_rate": float("nan")}, ["must be finite, not nan"]),
        ({"training__precision": "fp8"}, ["must be one of fp32, bf16, fp16, not 'fp8'"]),
        ({"factors__embedder": "esm"}, ["must be one of physicochemical, esm2, esm1b", "did you mean 'esm2'?"]),
        ({"windows": None}, ["'windows'", "expected keys below it (bin, length, core), got nothing"]),
        ({"windows": 64}, ["'windows'", "expected keys below it (bin, length, core), got 64"]),
        ({"splits__test": "chr3"}, ["'splits.test'", "expected a list", "brackets"]),
        ({"splits__validation": []}, ["'splits.validation'", "is empty"]),
        ({"splits__test": [3]}, ["'splits.test[1]'", "expected text, got 3"]),
        ({"tables__factors": 3}, ["'tables.factors'", "expected text, got 3"]),
        (
            {"reference__fasta": 3},
            ["'reference.fasta'", "expected a path, or `source` and `sha256`", "got 3"],
        ),
        ({"reference__fasta": ""}, ["key 'reference.fasta': is empty"]),
        ({"reference__fasta": URL}, ["key 'reference.fasta'", URL, "sha256"]),
        ({"reference__blacklist": URL}, ["key 'reference.blacklist'", "sha256"]),
        ({"reference__blacklist": {"sha256": SHA}}, ["key 'reference.blacklist.source' is missing"]),
        (
            {"reference__fasta": {"source": URL, "sha256": "abc"}},
            ["'reference.fasta.sha256'", "64 lower-case"],
        ),
        ({"factors__motifs": ["a.meme", URL]}, ["key 'factors.motifs[2]'", "sha256"]),
        ({"factors__motifs": [["a.meme"]]}, ["key 'factors.motifs[1]'", "expected a path"]),
        ({"windows__bin": 48}, ["key 'windows'", "power of two, not 48"]),
        ({"windows__length": 1000}, ["key 'windows'", "multiples of bin (64)"]),
        ({"windows__core": 8192 + 64}, ["key 'windows'", "core must be at most length"]),
        ({"windows__core": 6144 + 64}, ["key 'windows'", "(length - core) / 2 a multiple of bin"]),
        ({"model__heads": 3}, ["key 'model'", "heads (3) must divide rank (128)"]),
        ({"model__heads": 2}, ["key 'model'", "layernorm over heads 2 leaves only which head is greater"]),
        ({"model__temperature": 0.001}, ["key 'model.temperature'", "must be at least 0.01, not 0.001"]),
        ({"model__temperature": 11}, ["key 'model.temperature'", "must be at most 10, not 11"]),
        ({"splits__test": ["chr2", "chr3"]}, ["key 'splits'", "stand in validation and in test: chr2"]),
        ({"simulation": {}}, ["key 'simulation.folder' is missing"]),
    ],
)
def test_wrong_values_say_which_key_what_and_the_mend(changes, words):
    text = error_of(**changes)
    for word in words:
        assert word in text


def test_all_wrong_keys_are_told_at_once():
    text = error_of(seed=-1, stepz=3, windows__bin=48)
    assert "'seed'" in text and "'stepz'" in text and "'windows'" in text


# --- files -------------------------------------------------------------------------------------------------


def write(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_later_files_override_earlier_ones_key_by_key(tmp_path):
    first = write(
        tmp_path, "a.yaml", values(training__steps=7, training__batch_size=3, reference__include=["chr*"])
    )
    second = write(
        tmp_path, "b.yaml", {"training": {"steps": 9}, "reference": {"include": ["chrI"]}, "mirror": "m"}
    )
    config = load_config([first, second])
    assert (config.training.steps, config.training.batch_size) == (9, 3)
    assert config.reference.include == ["chrI"] and config.mirror == "m"
    assert load_config(first).training.steps == 7


def test_errors_of_merged_files_name_them_all(tmp_path):
    first, second = write(tmp_path, "a.yaml", values()), write(tmp_path, "b.yaml", {"nam": "x"})
    with pytest.raises(InputError, match=r"a\.yaml.*b\.yaml.*'nam'"):
        load_config([first, second])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [a\nseed: 1\n", ["not valid YAML", "row 2"]),
        ("name: a\n\tseed: 1\n", ["not valid YAML", "row 2"]),
        ("name: a\nseed: 1\nname: b\n", ["'name' stands twice", "row 3"]),
        ("windows:\n  bin: 64\n  bin: 128\n", ["'bin' stands twice", "row 3"]),
        ("just text\n", ["holds no configuration"]),
        ("", ["holds no configuration"]),
    ],
)
def test_bad_yaml_names_file_and_row(tmp_path, text, words):
    path = write(tmp_path, "config.yaml", text)
    with pytest.raises(InputError) as error:
        load_config(path)
    for word in [str(path), "mend: ", *words]:
        assert word in str(error.value)


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        load_config(tmp_path / "config.yaml")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"absent\.yaml: no such configuration file"):
        load_config(tmp_path / "absent.yaml")


def test_every_key_is_described():
    def sections(model):
        from tfbind.config import section_of

        for field in model.model_fields.values():
            assert field.description
            inner = section_of(field.annotation)
            if inner is not None:
                sections(inner)

    sections(Config)


def test_a_configuration_extends_another(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text(yaml.safe_dump(values(training={"steps": 7, "batch_size": 3})))
    over.write_text(f"extends: {base}\nname: other\ntraining: {{steps: 9}}\n")
    config = load_config(over)
    assert (config.name, config.training.steps, config.training.batch_size) == ("other", 9, 3)
    assert config.extends is None


def test_several_files_lie_on_all_that_they_extend(tmp_path):
    names = ("one", "two", "over", "other")
    one, two, over, other = (tmp_path / f"{name}.yaml" for name in names)
    one.write_text(yaml.safe_dump(values(training={"steps": 7, "batch_size": 3})))
    two.write_text("training: {steps: 8, patience: 2}\n")
    over.write_text(f"extends: {one}\nname: over\ntraining: {{balance: 0.25}}\n")
    other.write_text(f"extends: {two}\nname: other\n")
    config = load_config([over, other])
    training = config.training
    assert (config.name, training.batch_size, training.steps, training.patience, training.balance) == (
        *("other", 3, 8, 2),
        0.25,
    )
    # What a file says itself is not undone by what a later one extends.
    two.write_text("training: {balance: 0.75}\n")
    assert load_config([over, other]).training.balance == 0.25
    both = tmp_path / "both.yaml"
    both.write_text(f"extends: [{one}, {two}]\nname: both\n")
    assert load_config(both).training.balance == 0.75


def test_members_take_turns_with_variants(tmp_path):
    own, other = tmp_path / "own.yaml", tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(values(name="other", model={"hidden": 24}, training={"steps": 7})))
    training = {"steps": 9, "ensemble": 3, "variants": [str(other)]}
    own.write_text(yaml.safe_dump(values(name="own", model={"hidden": 32}, training=training)))
    config = load_config(own)
    found = member_configs(config)
    assert [each.training.steps for each in found] == [9, 7, 9]
    assert [each.model.hidden for each in found] == [32, 24, 32]
    assert {(each.name, each.training.ensemble) for each in found} == {("own", 3)}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"windows": {"length": 4096, "core": 3072}}, "has other windows than the configuration"),
        ({"training": {"losses": {"track": 1.0}}}, "learns from the signal of experiments"),
        ({"model": {"hiden": 3}}, "did you mean 'hidden'"),
    ],
)
def test_a_variant_that_does_not_fit_is_an_error(tmp_path, other, words):
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(values(**other)))
    config = parse_config(values(training={"ensemble": 2, "variants": [str(path)]}))
    with pytest.raises(InputError) as error:
        member_configs(config)
    assert words in str(error.value)


def test_seeds_of_a_cross_validation_are_those_of_no_others_members():
    with pytest.raises(InputError, match="are those of members of one ensemble"):
        parse_config(values(evaluation={"seeds": [3, 1_000_003]}))


def test_each_variant_needs_a_member():
    with pytest.raises(InputError, match="an ensemble of 1 has no member for each of 2 configurations"):
        parse_config(values(training={"variants": ["other.yaml"]}))


def test_what_a_configuration_says_of_itself_is_not_inherited(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text(yaml.safe_dump(values(title="The base", description="What all others extend.")))
    over.write_text(f"extends: {base}\ntitle: More\n")
    assert (load_config(base).title, load_config(base).description) == ("The base", "What all others extend.")
    assert (load_config(over).title, load_config(over).description) == ("More", None)


def test_a_configuration_cannot_extend_itself_or_nothing(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"extends: {path}\n")
    with pytest.raises(InputError, match="extends itself"):
        load_config(path)
    path.write_text("extends: absent.yaml\n")
    with pytest.raises(InputError, match="no such configuration file"):
        load_config(path)


@pytest.mark.parametrize("path", sorted(Path("config").glob("*/**/*.yaml")), ids=str)
def test_every_configuration_that_extends_another_is_whole(path):
    if "extends:" in path.read_text():
        assert load_config(path).extends is None
