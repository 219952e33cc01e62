from __future__ import annotations

import re

import pytest
import torch
from enformer_pytorch import Enformer
from torch import nn

from tfbind.config import TrunkSettings
from tfbind.core.errors import InputError
from tfbind.model.trunk import DilatedTrunk, EnformerTrunk, Trunk, as_one_hot, make_trunk, one_hot
from tfbind.model.whole_batch import whole_batch

SIZES = {"dim": 24, "depth": 2, "heads": 2, "dim_divisible_by": 6}
DILATED = {"kind": "dilated", "dim": 12, "depth": 3}


def tiny(**settings):
    return TrunkSettings(**{**SIZES, **settings})


def shaken(module, seed=0):
    """No weight at 0, statistics of batch normalisation unlike those at the start."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(torch.randn(value.shape) * 0.1)
    return module.eval()


def enformer(heads=True, bin=16, **changes):
    return shaken(
        Enformer.from_hparams(
            **{**SIZES, **changes},
            num_downsamples=bin.bit_length() - 1,
            output_heads={"human": 3} if heads else {},
        )
    )


# Every trunk.


@pytest.mark.parametrize("settings", [SIZES, DILATED], ids=["enformer", "dilated"])
@pytest.mark.parametrize("bin", [8, 16, 32, 64, 128])
def test_one_embedding_per_bin_of_codes_and_of_one_hot(settings, bin, codes):
    trunk = shaken(make_trunk(TrunkSettings(**settings), bin))
    window = codes(2, 5 * bin)
    with torch.no_grad():
        found = trunk(window)
        assert found.shape == (2, trunk.bins(5 * bin), trunk.width) == (2, 5, trunk.width)
        assert torch.isfinite(found).all()
        for same in (window.long(), window.int(), one_hot(window)):
            assert torch.equal(trunk(same), found)
    assert (trunk.bin, 2**trunk.downsampling) == (bin, bin)
    assert not trunk.pretrained and isinstance(trunk, Trunk)


@pytest.mark.parametrize("settings", [SIZES, DILATED], ids=["enformer", "dilated"])
def test_a_bin_sees_its_own_dna(settings, codes):
    """Over many windows, the embedding of a bin changes most, of all bins, with the bases of that bin."""
    trunk = make_trunk(TrunkSettings(**{**settings, "depth": 1}), 32).eval()
    window = codes(32, 32 * 9)
    changed = window.clone()
    changed[:, 32 * 4 : 32 * 5] = (changed[:, 32 * 4 : 32 * 5] + 1) % 4
    with torch.no_grad():
        moved = (trunk(changed) - trunk(window)).abs().sum((0, 2))
    assert moved.argmax() == 4


@pytest.mark.parametrize("settings", [SIZES, DILATED], ids=["enformer", "dilated"])
def test_its_settings_build_it_again(settings, codes):
    trunk = shaken(make_trunk(TrunkSettings(**settings), 16))
    again = make_trunk(TrunkSettings.model_validate(trunk.settings.model_dump(mode="json")), 16).eval()
    again.load_state_dict(trunk.state_dict())
    with torch.no_grad():
        assert torch.equal(again(codes(1, 96)), trunk(codes(1, 96)))


def test_n_is_no_base():
    found = one_hot(torch.tensor([0, 1, 2, 3, 4], dtype=torch.uint8))
    assert torch.equal(found, torch.cat([torch.eye(4), torch.zeros(1, 4)]))
    trunk = make_trunk(tiny(), 16).eval()
    assert torch.isfinite(trunk(torch.full((1, 128), 4, dtype=torch.uint8))).all()


@pytest.mark.parametrize(
    "bases",
    [torch.zeros(1, 64), torch.zeros(1, 64, 5), torch.zeros(64, dtype=torch.long), torch.zeros(1, 64, 4).long()],
    ids=lambda bases: f"{bases.dtype} {tuple(bases.shape)}",
)
def test_what_is_no_dna_is_told(bases):
    with pytest.raises(InputError, match=re.escape(str(tuple(bases.shape)))):
        as_one_hot(bases)


@pytest.mark.parametrize("length", [0, 15, 24, 100])
def test_a_window_that_is_no_multiple_of_the_bin_names_one_that_is(length):
    trunk = make_trunk(tiny(), 16)
    with pytest.raises(InputError, match=rf"multiple of 16 bp, not of {length} bp") as caught:
        trunk(torch.zeros(1, length, dtype=torch.uint8))
    assert caught.value.key == "windows.length"
    assert trunk.bins(int(re.search(r"\d+", caught.value.mend)[0])) >= 1


def test_gradients_reach_the_bases_even_of_a_frozen_trunk(codes):
    trunk = shaken(make_trunk(tiny(), 16)).requires_grad_(False)
    assert not trunk(codes(1, 64)).requires_grad
    bases = one_hot(codes(1, 64)).requires_grad_()
    trunk(bases).sum().backward()
    assert bases.grad.abs().sum() > 0


# Enformer.


@pytest.mark.parametrize("bin", [16, 64])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dim": 36, "heads": 3, "dim_divisible_by": 9, "attn_dim_key": 5},
        {"dim": 36, "heads": 3, "dim_divisible_by": 12},  # half of dim is no multiple, as of Enformer's 384
    ],
)
def test_an_enformer_without_its_heads_is_as_it_was(bin, changes, codes):
    original = enformer(bin=bin, target_length=-1, **changes)
    trunk = EnformerTrunk(original).eval()
    window = codes(2, 6 * bin)
    with torch.no_grad():
        expected = original(one_hot(window), return_only_embeddings=True)
        torch.testing.assert_close(trunk(window), expected)
    assert not any("heads" in name for name in trunk.state_dict())


@pytest.mark.parametrize("target_length", [-1, 3, 896])
@pytest.mark.parametrize("heads", [True, False])
def test_nothing_is_cropped_whatever_the_enformer_crops(target_length, heads, codes):
    original = enformer(heads, target_length=target_length)
    trunk = EnformerTrunk(original).eval()
    original(one_hot(codes(1, 16 * 8)), return_only_embeddings=True, target_length=2)  # which it remembers
    assert trunk(codes(1, 16 * 8)).shape == (1, 8, 48)


def test_weights_are_shared_with_the_enformer_and_layers_are_not(codes):
    original = enformer(target_length=-1)
    names = [type(module).__name__ for module in original.modules()]
    before = original(one_hot(codes(1, 96)), return_only_embeddings=True)
    trunk = whole_batch(EnformerTrunk(original))
    assert [type(module).__name__ for module in original.modules()] == names
    assert {id(weight) for weight in trunk.parameters()} <= {id(weight) for weight in original.parameters()}
    assert torch.equal(original(one_hot(codes(1, 96)), return_only_embeddings=True), before)
    trunk.train()(codes(2, 96)).sum().backward()
    assert original.stem[0].weight.grad is not None
    assert not original.training


def test_no_weight_has_two_names():
    pointers = [value.data_ptr() for value in EnformerTrunk(enformer()).state_dict().values()]
    assert len(set(pointers)) == len(pointers)


def test_a_trunk_trains_after_it_predicted(codes):
    """Features that were first computed in inference mode must not be kept as they are."""
    trunk = make_trunk(tiny(gamma="tensorflow"), 16)
    window = codes(1, 16 * 11)
    with torch.inference_mode():
        trunk(window)
    trunk(window).sum().backward()


@pytest.mark.parametrize(("dim", "heads"), [(100, 4), (24, 3), (40, 8), (10, 4)])
def test_a_width_that_heads_do_not_divide_names_the_key_and_a_width_that_works(dim, heads):
    with pytest.raises(InputError, match=re.escape(f"{dim} / {heads}")) as caught:
        make_trunk(tiny(dim=dim, heads=heads, dim_divisible_by=1), 16)
    assert caught.value.key == "model.trunk.dim"
    mended = int(re.search(r"e\.g\. (\d+)", caught.value.mend)[1])
    make_trunk(tiny(dim=mended, heads=heads, dim_divisible_by=1), 16)


def test_a_divisor_that_does_not_divide_is_an_error():
    for divisor in (32, 48):
        with pytest.raises(InputError, match=rf"dim_divisible_by \({divisor}\)") as caught:
            make_trunk(tiny(dim=48, heads=2, dim_divisible_by=divisor), 16)
        assert caught.value.key == "model.trunk.dim_divisible_by"


# Dilated.


@pytest.mark.parametrize("bin", [8, 64, 128])
def test_dilated_blocks_reach_further_with_depth(bin, codes):
    def reach(depth):
        trunk = shaken(DilatedTrunk(TrunkSettings(kind="dilated", dim=8, depth=depth), bin))
        window = codes(1, bin * 41)
        changed = window.clone()
        changed[:, bin * 20 : bin * 21] = (changed[:, bin * 20 : bin * 21] + 1) % 4
        with torch.no_grad():
            moved = (trunk(changed) - trunk(window)).abs().amax((0, 2)) > 0
        return int(moved.sum())

    assert reach(0) <= 5 and [reach(depth) - reach(0) for depth in (1, 2, 3, 4)] == [2, 6, 14, 30]


def test_the_same_window_twice_is_one_window_in_evaluation(codes):
    trunk = shaken(make_trunk(TrunkSettings(**DILATED), 16))
    window = codes(1, 160)
    with torch.no_grad():
        both = trunk(torch.cat([window, codes(1, 160, seed=1)]))
        torch.testing.assert_close(both[:1], trunk(window))
    assert any(isinstance(module, nn.BatchNorm1d) for module in trunk.modules())


# Another network in its place.


class Averages(Trunk):
    """The mean of the bases of a bin, through one linear layer."""

    def __init__(self, bin):
        super().__init__(TrunkSettings(), bin=bin, width=3)
        self.mix = nn.Linear(4, 3)

    def stages(self):
        return [nn.Sequential(_Mean(self.bin), self.mix)]

    def blocks(self):
        return [self.mix]

    def adaptable(self):
        return ["mix"]


class _Mean(nn.Module):
    def __init__(self, bin):
        super().__init__()
        self.bin = bin

    def forward(self, x):
        return x.unflatten(1, (-1, self.bin)).mean(2)


def test_any_network_may_take_its_place(make_model, codes):
    model = make_model()
    model.trunk, model.to_tokens[0] = Averages(16), nn.Linear(3, 12)
    assert model.dna_tokens(codes(2, 64)).shape == (2, 4, 12)
