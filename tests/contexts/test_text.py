"""Texts become vectors as transformers' own documentation does it, whatever stands beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tfbind.contexts.text import TextEncoder, embed_texts, load_text, text_key
from tfbind.core.errors import InputError

ROOT = Path(__file__).parents[2]
WORDS = ["liver", "lung", "cells", "of", "human", "mouse", "adult", "treated", "with", "interferon", "gamma"]
TEXTS = ["Liver", "adult human lung cells, treated with interferon-gamma for 30 minutes", "mouse cells"]


def hidden_states(folder: Path, text: str) -> torch.Tensor:
    """(tokens, dim) of a text alone, with the tokens that mark its ends."""
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return AutoModel.from_pretrained(folder)(**tokens).last_hidden_state[0]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_equals_the_model_called_directly(bert, pooling):
    found = TextEncoder(bert, pooling=pooling).encode(TEXTS)
    assert found.dtype == np.float32 and found.shape == (3, TextEncoder(bert).dim)
    for vector, text in zip(found, TEXTS, strict=True):
        states = hidden_states(bert, text)
        wanted = states[0] if pooling == "cls" else states[1:-1].mean(0)
        np.testing.assert_allclose(vector, wanted, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=45).map(" ".join), min_size=2))
def test_padding_and_neighbours_change_nothing(bert, pooling, texts):
    encoder = TextEncoder(bert, pooling=pooling)
    together = encoder.encode(texts)
    for vector, text in zip(together, texts, strict=True):
        np.testing.assert_allclose(vector, encoder.encode([text])[0], atol=1e-5)


def test_words_that_the_tokenizer_does_not_know_are_tokens_of_the_text(bert):
    encoder = TextEncoder(bert)
    np.testing.assert_allclose(
        encoder.encode(["liver xyz"])[0], hidden_states(bert, "liver xyz")[1:-1].mean(0), atol=1e-5
    )
    # A mark that the user typed is text; the marks that the tokenizer adds are not.
    typed = hidden_states(bert, "liver [SEP] lung")
    assert len(typed) == 5
    np.testing.assert_allclose(encoder.encode(["liver [SEP] lung"])[0], typed[1:-1].mean(0), atol=1e-5)


def test_no_texts_are_no_vectors(bert):
    assert TextEncoder(bert).encode([]).shape == (0, 24)


def test_a_long_text_is_read_to_its_end_in_pieces(bert):
    # 18 words fit beside the two marks; pieces share 4.
    words = (WORDS * 3)[:30]
    pieces = [hidden_states(bert, " ".join(words[start : start + 18])).numpy() for start in (0, 12)]
    np.testing.assert_allclose(
        TextEncoder(bert, pooling="cls").encode([" ".join(words)])[0],
        (pieces[0][0] + pieces[1][0]) / 2,
        atol=1e-5,
    )
    # Words 12 to 17 are in both pieces, and blended.
    steps = np.arange(1, 19)[:, None] / 5
    ramps = np.minimum(1, steps[::-1]), np.minimum(1, steps)
    total, weight = np.zeros((30, 24)), np.zeros((30, 1))
    for start, states, ramp in zip((0, 12), pieces, ramps, strict=True):
        total[start : start + 18] += states[1:-1] * ramp
        weight[start : start + 18] += ramp
    whole = TextEncoder(bert).encode([" ".join(words)])[0]
    np.testing.assert_allclose(whole, (total / weight).mean(0), atol=1e-5)
    changed = TextEncoder(bert).encode([" ".join([*words[:-1], "minutes"])])[0]
    assert np.abs(changed - whole).max() > 1e-3


def test_as_long_as_the_network_takes_is_one_piece(bert):
    text = " ".join((WORDS * 2)[:18])
    np.testing.assert_allclose(
        TextEncoder(bert).encode([text])[0], hidden_states(bert, text)[1:-1].mean(0), atol=1e-5
    )


def test_two_encoders_share_nothing(bert, make_bert):
    other = make_bert(seed=1)
    one, two = TextEncoder(bert), TextEncoder(other, pooling="cls")
    first = one.encode(TEXTS)
    second = two.encode(TEXTS)
    np.testing.assert_array_equal(one.encode(TEXTS), first)
    np.testing.assert_allclose(second[0], hidden_states(other, TEXTS[0])[0], atol=1e-5)
    assert np.abs(first - second).max() > 0.1


# --- other families of encoders ---


def word_tokenizer(folder: Path, words: list[str], template: str | None, **marks: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        named = [(mark, vocabulary[mark]) for mark in ("<s>", "</s>") if mark in template]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=named)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **marks).save_pretrained(folder)


SMALL = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
VOCABULARY = ["<s>", "<pad>", "</s>", "<unk>", *WORDS]


def test_roberta_counts_positions_from_the_padding_on(tmp_path):
    from transformers import RobertaConfig, RobertaModel

    word_tokenizer(tmp_path, VOCABULARY, "<s> $A </s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>")
    settings = RobertaConfig(vocab_size=len(VOCABULARY), max_position_embeddings=12, pad_token_id=1, **SMALL)
    RobertaModel(settings).save_pretrained(tmp_path)
    # 12 positions, of which 2 are never used: 8 words and the two marks.
    encoder = TextEncoder(tmp_path)
    text = " ".join(WORDS[:8])
    np.testing.assert_allclose(encoder.encode([text])[0], hidden_states(tmp_path, text)[1:-1].mean(0), atol=1e-5)
    together = encoder.encode([" ".join(WORDS), "liver"])
    np.testing.assert_allclose(together[1], encoder.encode(["liver"])[0], atol=1e-5)


def test_the_encoder_of_a_t5_has_no_cls(tmp_path):
    from transformers import T5Config, T5EncoderModel

    words = ["<pad>", "</s>", "<unk>", *WORDS]
    word_tokenizer(tmp_path, words, "$A </s>", eos_token="</s>", pad_token="<pad>", model_max_length=8)
    settings = T5Config(vocab_size=len(words), d_model=24, d_kv=6, num_heads=4, d_ff=32, num_layers=1)
    model = T5EncoderModel(settings)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        ids = torch.tensor([[*(words.index(word) for word in ("lung", "cells")), 1]])
        wanted = model.eval()(ids).last_hidden_state[0, :2].mean(0)
    encoder = TextEncoder(tmp_path)
    found = encoder.encode(["lung cells", " ".join(WORDS)])
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    with pytest.raises(InputError, match=r"has no token for the whole of a text(?s:.*)use mean"):
        TextEncoder(tmp_path, pooling="cls").encode(["lung cells"])


# --- the cache ---


def test_each_text_is_read_once_and_a_full_cache_needs_no_weights(bert, tmp_path, make_bert):
    keys = embed_texts({"a": TEXTS[0], "b": TEXTS[1], "c": TEXTS[0]}, TextEncoder(bert), tmp_path / "cache")
    assert list(keys) == ["a", "b", "c"] and keys["a"] == keys["c"] != keys["b"]
    assert sorted(path.stem for path in (tmp_path / "cache").iterdir()) == sorted(set(keys.values()))
    loaded = load_text(tmp_path / "cache", keys["b"])
    np.testing.assert_array_equal(loaded, TextEncoder(bert).encode(TEXTS[:2])[1])
    unread = TextEncoder(bert)
    assert embed_texts({"b": TEXTS[1]}, unread, tmp_path / "cache") == {"b": keys["b"]}
    assert "_loaded" not in vars(unread)


def only_key(encoder: TextEncoder, cache: Path, text: str = "liver") -> str:
    return embed_texts({"x": text}, encoder, cache)["x"]


def test_another_text_has_another_key(bert, tmp_path):
    assert only_key(TextEncoder(bert), tmp_path) != only_key(TextEncoder(bert), tmp_path, "Liver")
    assert len(list(tmp_path.iterdir())) == 2


def test_another_encoder_has_another_key(bert, tmp_path):
    shutil.copytree(bert, tmp_path / "other")
    encoders = TextEncoder(bert), TextEncoder(tmp_path / "other")
    assert encoders[0].revision == encoders[1].revision
    assert len({only_key(encoder, tmp_path / "cache") for encoder in encoders}) == 2


@pytest.mark.parametrize("file", ["model.safetensors", "vocab"])
def test_another_revision_has_another_key(bert, tmp_path, file):
    shutil.copytree(bert, tmp_path / "2" / bert.name)
    changed = tmp_path / "2" / bert.name
    if file == "vocab":
        for path in (changed / "vocab.txt", changed / "tokenizer.json"):
            path.write_text(path.read_text().replace("liver", "spleen"))
    else:
        weights = load_file(changed / file)
        words = "embeddings.word_embeddings.weight"
        weights[words] = weights[words].flip(0).contiguous()
        save_file(weights, changed / file, metadata={"format": "pt"})
    encoders = TextEncoder(bert), TextEncoder(changed)
    assert encoders[0].name == encoders[1].name
    first, second = (only_key(encoder, tmp_path / "cache") for encoder in encoders)
    assert first != second
    assert np.abs(load_text(tmp_path / "cache", first) - load_text(tmp_path / "cache", second)).max() > 1e-3


def test_another_pooling_has_another_key(bert, tmp_path):
    keys = {pooling: only_key(TextEncoder(bert, pooling=pooling), tmp_path) for pooling in ("mean", "cls")}
    assert keys["mean"] != keys["cls"]
    states = hidden_states(bert, "liver")
    np.testing.assert_allclose(load_text(tmp_path, keys["mean"]), states[1], atol=1e-5)
    np.testing.assert_allclose(load_text(tmp_path, keys["cls"]), states[0], atol=1e-5)


def test_what_changes_no_number_changes_no_key(bert, tmp_path):
    shutil.copytree(bert, tmp_path / "elsewhere" / bert.name)
    (tmp_path / "elsewhere" / bert.name / "README.md").write_text("about it")
    moved = TextEncoder(tmp_path / "elsewhere" / bert.name, tokens_per_batch=16)
    assert only_key(moved, tmp_path / "cache") == only_key(TextEncoder(bert), tmp_path / "cache")


def test_parts_of_a_key_do_not_run_together():
    assert text_key("a", "b", "c", "mean") != text_key("a", "bc", "", "mean")


def test_equal_input_gives_equal_bytes(bert, tmp_path):
    contents = []
    for folder in (tmp_path / "1", tmp_path / "2"):
        embed_texts(dict(enumerate(TEXTS)), TextEncoder(bert), folder)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]


def test_damaged_or_missing(bert, tmp_path):
    key = only_key(TextEncoder(bert), tmp_path)
    path = tmp_path / f"{key}.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match=rf"{path.name}: this cached embedding is damaged(?s:.*)mend: delete"):
        only_key(TextEncoder(bert), tmp_path)
    with pytest.raises(InputError, match="not in the cache"):
        load_text(tmp_path, "0")


# --- the hub: its cache on this machine, as huggingface_hub lays it out; no network ---

HUB = """
import sys
from pathlib import Path
from tfbind.contexts.text import TextEncoder, embed_texts
from tfbind.core.errors import InputError

cache, branch = Path(sys.argv[1]), Path(sys.argv[2])
for commit in ("1" * 40, "2" * 40):
    branch.write_text(commit)
    encoder = TextEncoder("tiny/bert")
    print(encoder.revision, embed_texts({"x": "liver"}, encoder, cache)["x"])
pinned = TextEncoder("tiny/bert", revision="1" * 40)
print(pinned.revision, embed_texts({"x": "liver"}, pinned, cache)["x"], "_loaded" in vars(pinned))
try:
    TextEncoder("nobody/nothing").encode(["liver"])
except InputError as error:
    print(error)
"""


def test_a_model_of_the_hub_is_known_by_its_commit(bert, make_bert, tmp_path):
    repository = tmp_path / "hf/hub/models--tiny--bert"
    shutil.copytree(bert, repository / "snapshots" / ("1" * 40))
    shutil.copytree(make_bert(seed=1), repository / "snapshots" / ("2" * 40))
    (repository / "refs").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", HUB, tmp_path / "cache", repository / "refs/main"],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, pinned = (line.split() for line in done.stdout.splitlines()[:3])
    assert first[0] == "1" * 40 and second[0] == "2" * 40 and first[1] != second[1]
    assert pinned == [*first, "False"]
    vectors = [load_text(tmp_path / "cache", key) for _, key in (first, second)]
    np.testing.assert_allclose(vectors[0], TextEncoder(bert).encode(["liver"])[0], atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1
    assert "nobody/nothing could not be fetched or loaded" in done.stdout
    assert "mend: give the folder of a whole model, or a name on the hub" in done.stdout


# --- what is not there, or does not fit ---


def test_a_missing_package_is_an_error_and_no_end(bert, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        InputError, match=r"contexts\.text\.model.*package transformers is needed(?s:.*)contexts\.text to null"
    ):
        TextEncoder(bert).encode(["liver"])


def test_a_folder_without_a_tokenizer(make_bert):
    folder = make_bert()
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    with pytest.raises(InputError) as caught:
        TextEncoder(folder).encode(["liver"])
    assert caught.value.key == "contexts.text.model"


@pytest.mark.parametrize("model", ["./weights/bert", "/no/such/folder", "a/b/c", "-x"])
def test_no_folder_and_no_name_of_the_hub(model):
    with pytest.raises(InputError, match=rf"there is no folder {model}") as caught:
        TextEncoder(model)
    assert caught.value.key == "contexts.text.model"


def test_settings_that_do_not_fit(bert, tmp_path):
    with pytest.raises(InputError, match=r"contexts\.text\.pooling.*unknown pooling 'max'"):
        TextEncoder(bert, pooling="max")
    with pytest.raises(InputError, match=r"contexts\.text\.revision.*is a folder on this machine"):
        TextEncoder(bert, revision="main")
    with pytest.raises(InputError, match=r"key 'device': the text encoder bert cannot run on the device 'gpu'"):
        TextEncoder(bert, device="gpu").encode(["liver"])
    with pytest.raises(InputError, match="this folder holds no model"):
        TextEncoder(tmp_path)
    with pytest.raises(InputError, match=r"the text ' ' has no token(?s:.*)leave the cell empty"):
        TextEncoder(bert).encode([" "])


def test_damaged_weights(make_bert):
    folder = make_bert()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(InputError, match=r"bert could not be fetched or loaded"):
        TextEncoder(folder).encode(["liver"])


def test_weights_that_are_not_there_are_not_made_up(make_bert):
    folder = make_bert()
    weights = load_file(folder / "model.safetensors")
    # The pooler is not used, and many checkpoints have none.
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert np.isfinite(TextEncoder(folder).encode(["liver"])).all()
    kept = {name: value for name, value in kept.items() if "layer.1.output" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"has no weights for encoder\.layer\.1\.output.* of BertModel"):
        TextEncoder(folder).encode(["liver"])


def test_a_tokenizer_of_another_model(make_bert, tmp_path):
    folder = make_bert()
    word_tokenizer(folder, ["<s>", "<pad>", "</s>", "<unk>", *map(str, range(99)), "liver"], "<s> $A </s>")
    with pytest.raises(InputError, match="they do not belong together"):
        TextEncoder(folder).encode(["liver"])


def test_weights_in_the_older_format(bert, make_bert):
    folder = make_bert()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    np.testing.assert_array_equal(TextEncoder(folder).encode(TEXTS), TextEncoder(bert).encode(TEXTS))


def test_no_pickled_code_is_run(make_bert, tmp_path):
    class Dangerous:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was_run",))

    folder = make_bert()
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings": Dangerous()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="could not be fetched or loaded"):
        TextEncoder(folder).encode(["liver"])
    assert not (tmp_path / "was_run").exists()
