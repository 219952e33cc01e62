"""Each mode trains what it says, exactly, and holds the rest still."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from tfbind.config import FineTuningSettings
from tfbind.core.errors import InputError
from tfbind.model.checkpoint import load_checkpoint, save_checkpoint
from tfbind.model.finetuning import fine_tune, merge_adapters, merged_state_dict, trained_names
from tfbind.model.whole_batch import WholeBatchNorm, WindowDropout, window_keys

ENFORMER = {"dim": 24, "depth": 3, "heads": 2, "dim_divisible_by": 6, "dropout": 0.3}
# The keys of Enformer that the fixture gives, at their defaults: a dilated trunk has no use for them.
DILATED = {"kind": "dilated", "dim": 12, "depth": 3, "heads": 4, "dim_divisible_by": 32, "dropout": 0.3}
TRUNKS = {"enformer": ENFORMER, "dilated": DILATED}
MODES = {
    "all": {"mode": "all"},
    "frozen": {"mode": "frozen"},
    "norms": {"mode": "norms"},
    "last": {"mode": "last", "last": 2},
    "lora": {"mode": "lora", "lora": {"rank": 3, "dropout": 0.2}},
}
# Counted by hand: two LayerNorms of 24 in each of 3 blocks, one of 12 in each dilated block; rank 3 adapters of
# q, k, v (24 -> 128, 128, 24), out (24 -> 24) and feed-forward (24 -> 48 -> 24), or of convolutions of width 1.
BLOCK = (2 * 48) + (24 * 128 * 2 + 24 * 24 + 24 * 24 + 24 + 12 * 128 + 2 * 128) + (24 * 48 + 48 + 48 * 24 + 24)
ADAPTED = 3 * (2 * (24 + 128) + 2 * (24 + 24) + 2 * (24 + 48))
DILATED_BLOCK = 24 + (12 * 12 * 3 + 12) + (12 * 12 + 12)
COUNTS = {
    ("enformer", "frozen"): 0,
    ("enformer", "norms"): 3 * 2 * 48,
    ("enformer", "last"): 2 * BLOCK,
    ("enformer", "lora"): 3 * ADAPTED,
    ("dilated", "frozen"): 0,
    ("dilated", "norms"): 3 * 24,
    ("dilated", "last"): 2 * DILATED_BLOCK,
    ("dilated", "lora"): 3 * 3 * (12 + 12),
}


@pytest.fixture
def tuned(make_model):
    """A model in training mode, its trunk in a mode of fine-tuning."""

    def make(trunk="enformer", mode="all", pretrained=False, **changes):
        model = make_model(trunk=TRUNKS[trunk])
        model.trunk.source = {"name": "somewhere"} if pretrained else None
        model.train()
        fine_tune(model, FineTuningSettings.model_validate({**MODES[mode], **changes}))
        return model

    return make


@pytest.fixture
def step(codes, make_factors, make_contexts):
    """One real step of an optimizer on the whole model; what of its state moved, by name."""

    def run(model):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(2):  # LoRA's first factors have no gradient before its second ones move
            optimizer.zero_grad()
            logits = model(
                codes(2, 16 * 9),
                make_factors([9, 7], [5, 6]),
                make_contexts(torch.rand(2, 9, 1)),
                torch.tensor([[0, 0], [1, 0]]),
            ).binding
            logits.square().mean().backward()
            optimizer.step()
        return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}

    return run


def is_statistic(name):
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_exactly_what_a_mode_trains_is_counted_and_moves(tuned, step, trunk, mode):
    model = tuned(trunk, mode)
    names = set(trained_names(model.trunk))
    count = sum(weight.numel() for name, weight in model.trunk.named_parameters() if name in names)
    everything = sum(weight.numel() for weight in model.trunk.parameters())
    assert count == COUNTS.get((trunk, mode), everything)
    moved = step(model)
    of_trunk = {name.removeprefix("trunk.") for name in moved if name.startswith("trunk.")}
    # Biases that softmax or batch normalisation takes away have no gradient but rounding; all move all the same.
    assert {name for name in of_trunk if not is_statistic(name)} == names
    assert any(is_statistic(name) for name in of_trunk) == (mode == "all")
    assert any(name.startswith("head.") for name in moved) and "to_tokens.0.weight" in moved


@pytest.mark.parametrize("trunk", TRUNKS)
def test_norms_are_the_weights_and_biases_of_layer_norms(tuned, trunk):
    model = tuned(trunk, "norms").trunk
    expected = {
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for part in ("weight", "bias")
    }
    assert expected and set(trained_names(model)) == expected


def test_last_blocks_are_the_last_by_number(tuned):
    names = trained_names(tuned("enformer", "last", last=1).trunk)
    assert names and all(name.startswith("layers.4.2.") for name in names)
    with pytest.raises(InputError, match="the last 4 blocks are to train, and the trunk has 3") as caught:
        tuned("enformer", "last", last=4)
    assert caught.value.key == "training.fine_tuning.last"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"last": 2}, "last does nothing in mode all"),
        ({"mode": "frozen", "last": 2}, "last does nothing in mode frozen"),
        ({"mode": "last"}, "mode last needs `last`"),
        ({"mode": "norms", "lora": {}}, "lora does nothing in mode norms"),
        ({"mode": "lora", "batch_norm": "train"}, "batch_norm must be frozen in mode lora"),
    ],
)
def test_a_key_that_would_do_nothing_is_an_error(values, problem):
    with pytest.raises(ValueError, match=problem):
        FineTuningSettings.model_validate(values)


# What does not train runs as in prediction.


@pytest.mark.parametrize("put", ["train", "apply", "each"])
@pytest.mark.parametrize("mode", ["frozen", "norms", "lora"])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_frozen_trunk_hides_nothing_however_it_is_put_into_training(tuned, codes, trunk, mode, put):
    changes = {"lora": {"dropout": 0}} if mode == "lora" else {}
    model = tuned(trunk, mode, **changes)
    model.eval()
    expected = model.trunk(codes(3, 96))
    if put == "train":
        model.train()
    elif put == "apply":
        model.apply(lambda module: setattr(module, "training", True))
    else:
        for module in model.modules():
            module.train()
    before = {name: value.clone() for name, value in model.trunk.named_buffers()}
    assert torch.equal(model.trunk(codes(3, 96)), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.trunk.named_buffers())
    assert not any(module.training for module in model.trunk.modules() if isinstance(module, WindowDropout))
    assert model.head.training


def test_only_what_trains_as_a_whole_hides(tuned):
    live = {
        mode: {
            name
            for name, module in tuned("enformer", mode).trunk.named_modules()
            if isinstance(module, WindowDropout) and module.training and module.p
        }
        for mode in MODES
    }
    assert live["frozen"] == live["norms"] == set()
    assert live["last"] and all(name.startswith(("layers.4.1.", "layers.4.2.")) for name in live["last"])
    assert live["lora"] and all(".lora_dropout." in name for name in live["lora"])
    assert live["all"] > live["last"] and "layers.6.3" in live["all"]


@pytest.mark.parametrize(
    ("pretrained", "batch_norm", "follows"),
    [
        (False, None, True),
        (True, None, False),
        (True, "train", True),
        (False, "frozen", False),
    ],
)
def test_batch_norm_of_a_pretrained_trunk_keeps_its_statistics(tuned, step, pretrained, batch_norm, follows):
    model = tuned("enformer", "all", pretrained=pretrained, batch_norm=batch_norm)
    moved = step(model)
    assert ("trunk.layers.2.0.0.0.running_mean" in moved) == follows
    assert "trunk.layers.2.0.0.0.weight" in moved, "its weights train all the same"
    norms = [module for module in model.trunk.modules() if isinstance(module, WholeBatchNorm)]
    assert norms and all(norm.training == follows for norm in norms)


def test_a_frozen_trunk_keeps_no_graph_and_one_that_trains_from_a_block_on_none_before(tuned, codes):
    kept = []

    def count(model):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
            found = model.trunk(codes(2, 16 * 8))
        return found.requires_grad, len(kept)

    assert count(tuned("enformer", "frozen")) == (False, 0)
    trains, last = count(tuned("enformer", "last", last=1))
    assert trains and 0 < last < count(tuned("enformer", "all"))[1] / 2


# LoRA.


@pytest.mark.parametrize("trunk", TRUNKS)
def test_adapters_change_nothing_at_first_and_are_merged_into_the_weights(tuned, make_model, step, codes, trunk):
    model = tuned(trunk, "lora")
    plain = make_model(trunk=TRUNKS[trunk])
    window = codes(2, 96)
    with torch.no_grad():
        torch.testing.assert_close(model.eval().trunk(window), plain.trunk(window))
    step(model.train())
    with torch.no_grad():
        adapted = model.eval().trunk(window)
        assert (adapted - plain.trunk(window)).abs().max() > 1e-4
        state = merged_state_dict(model)
        assert list(state) == list(plain.state_dict())
        plain.load_state_dict(state)
        torch.testing.assert_close(plain.trunk(window), adapted, atol=1e-5, rtol=1e-5)
        merge_adapters(model)
        assert torch.equal(model.trunk(window), plain.trunk(window))
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_model_of_each_mode_comes_back_from_its_checkpoint(tuned, step, codes, tmp_path, trunk, mode):
    model = tuned(trunk, mode)
    step(model)
    names = list(model.state_dict())
    save_checkpoint(tmp_path / "model", model, {})
    assert list(model.state_dict()) == names, "it can go on training"
    model.eval()
    loaded = load_checkpoint(tmp_path / "model").model
    assert not any("lora" in name or "base_layer" in name for name in loaded.state_dict())
    with torch.no_grad():
        expected = model.dna_tokens(codes(2, 96))
        torch.testing.assert_close(loaded.dna_tokens(codes(2, 96)), expected, atol=1e-5, rtol=1e-5)


def test_the_dropout_of_adapters_is_of_the_window_and_of_no_other_layer(tuned, codes):
    model = tuned("enformer", "lora")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                weight.fill_(0.5)
    layers = [module for module in model.modules() if isinstance(module, WindowDropout)]
    assert len({layer.stream for layer in layers}) == len(layers)
    window = codes(3, 96)

    def tokens(numbers):
        with window_keys(model, 3, 7, numbers):
            return model.trunk(window[numbers])

    whole = tokens([0, 1, 2])
    torch.testing.assert_close(tokens([2])[0], whole[2], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(model.trunk(window), whole), "it hides something"


def test_a_trunk_without_what_is_to_train_is_told(make_model):
    for values in ({"mode": "norms"}, {"mode": "lora"}, {"mode": "last", "last": 1}):
        model = make_model(trunk={**ENFORMER, "depth": 0})
        with pytest.raises(InputError) as caught:
            fine_tune(model, FineTuningSettings.model_validate(values))
        assert caught.value.key.startswith("training.fine_tuning.") and caught.value.mend


# Gradient checkpointing.


def gradients(model, bases, keyed):
    torch.manual_seed(5)
    with window_keys(model, 0, 3, range(len(bases))) if keyed else nullcontext():
        loss = model.dna_tokens(bases).square().sum()
    # As in training, where the windows are no longer set by then.
    loss.backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return float(loss.detach()), found, dict(model.trunk.named_buffers())


@pytest.mark.parametrize("keyed", [True, False], ids=["in training", "outside one"])
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "frozen"])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_gradient_checkpointing_changes_neither_loss_nor_gradients_nor_statistics(
    tuned, codes, trunk, mode, keyed
):
    found = []
    for checkpointed in (False, True):
        model = tuned(trunk, mode)
        model.trunk.gradient_checkpointing = checkpointed
        found.append(gradients(model, codes(3, 16 * 8), keyed))
    (loss, plain, buffers), (again, ours, ours_buffers) = found
    assert again == pytest.approx(loss, rel=1e-5)
    assert plain and list(plain) == list(ours)
    for name in plain:
        torch.testing.assert_close(ours[name], plain[name], atol=1e-5, rtol=1e-5)
    for name in buffers:
        assert torch.equal(ours_buffers[name], buffers[name]), name
    before = dict(tuned(trunk, mode).trunk.named_buffers())
    followed = [name for name in before if not torch.equal(ours_buffers[name], before[name])]
    assert bool(followed) == (mode == "all")
    assert all(int(ours_buffers[name] - before[name]) == 1 for name in followed if name.endswith("tracked"))


@pytest.mark.parametrize("trunk", TRUNKS)
def test_gradient_checkpointing_keeps_far_less_and_of_the_conv_tower_too(tuned, codes, trunk):
    def kept(checkpointed):
        model = tuned(trunk, "all")
        model.trunk.gradient_checkpointing = checkpointed
        weights, sizes = {p.data_ptr() for p in model.parameters()}, {}

        def pack(tensor):
            if tensor.data_ptr() not in weights:
                sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = model.trunk(codes(2, 16 * 64))
        assert out.requires_grad
        return sum(sizes.values())

    assert kept(True) < kept(False) / 4
