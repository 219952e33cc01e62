"""The fast trunk is the slow one: every size, every place where windows meet, whatever the weights."""

from __future__ import annotations

import copy

import pytest
import torch
from enformer_pytorch import Enformer
from enformer_pytorch.modeling_enformer import AttentionPool
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.model.test_trunk import shaken
from tfbind.config import FineTuningSettings, TrunkSettings
from tfbind.model import fast_attention, fast_tower
from tfbind.model.fast_enformer import FastEnformer
from tfbind.model.fast_tower import FastTower, Rest
from tfbind.model.finetuning import fine_tune
from tfbind.model.inference_trunk import Stretch, WindowByWindow
from tfbind.model.pieces import Workers, pieces_of, workers
from tfbind.model.positions import relative_shift
from tfbind.model.short_convolution import OUTPUTS, convolve, transformed_taps, transforms
from tfbind.model.trunk import EnformerTrunk, make_trunk, one_hot

SIZES = {"dim": 24, "depth": 2, "heads": 2, "dim_divisible_by": 6}
STRETCHES = {
    "cores in the middle": Stretch(windows=3, length=640, core=256, bin=16),
    "one window": Stretch(windows=1, length=640, core=256, bin=16),
    "cores that are windows": Stretch(windows=2, length=320, core=320, bin=16),
    "an odd number of bins": Stretch(windows=4, length=16 * 33, core=16 * 15, bin=16),
    "windows of few bins": Stretch(windows=3, length=96, core=32, bin=16),
    "one bin": Stretch(windows=2, length=16, core=16, bin=16),
    "large bins": Stretch(windows=2, length=128 * 16, core=128 * 8, bin=128),
    "bins of 8": Stretch(windows=3, length=8 * 40, core=8 * 20, bin=8),
}


def a_trunk(bin=16, **changes):
    trunk = shaken(make_trunk(TrunkSettings(**{**SIZES, **changes}), bin))
    with torch.no_grad():
        last = trunk.parts()[3][2]
        for _ in range(3):
            last.weight.mul_(0.4 / trunk(torch.randint(0, 4, (1, 32 * bin))).std())
    return trunk


def assert_same(trunk, codes, stretch):
    found, expected = trunk.for_inference()(codes, stretch), WindowByWindow(trunk)(codes, stretch)
    assert found.shape == expected.shape and found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-5
    return found


@pytest.mark.parametrize("gamma", ["pytorch", "tensorflow"])
@pytest.mark.parametrize("name", STRETCHES)
def test_it_equals_the_trunk_window_by_window(name, gamma, codes):
    stretch = STRETCHES[name]
    drawn = codes(2, stretch.bp)
    drawn[0, 40:200] = 4
    drawn[1, :30] = 4
    assert_same(a_trunk(stretch.bin, gamma=gamma), drawn, stretch)


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": 1},
        {"heads": 4},
        {"depth": 1},
        {"depth": 3},
        {"key_dim": 5},
        {"key_dim": 16, "heads": 4},
        {"dim": 48, "heads": 8, "dim_divisible_by": 12},
    ],
    ids=str,
)
def test_it_equals_trunks_of_any_size(changes, codes):
    stretch = STRETCHES["cores in the middle"]
    assert_same(a_trunk(**changes), codes(1, stretch.bp), stretch)


@pytest.mark.parametrize("threads", [1, 2])
def test_pieces_of_any_size_meet_without_a_seam(threads, codes, monkeypatch):
    """Chunks of a bin or two, tiles of a few positions, blocks of a few rows."""
    monkeypatch.setattr(fast_tower, "CHUNK_BP", 48)
    monkeypatch.setattr(fast_tower, "TILE_POSITIONS", 10)
    monkeypatch.setattr(fast_attention, "ROWS", 7)
    monkeypatch.setattr(fast_attention, "LOGITS", 2 * 40 * 3)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        stretch = STRETCHES["an odd number of bins"]
        assert_same(a_trunk(), codes(1, stretch.bp), stretch)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["cores in the middle", "cores that are windows", "windows of few bins"])
def test_a_chunk_has_a_bounded_number_of_bases(name, codes, monkeypatch):
    """However many windows and stretches there are: they bound the memory of a GPU."""
    taken, whole = [], FastTower._chunk

    def noting(self, scratch, codes, first, last, into):
        taken.append((len(codes), (last - first) * self.bin))
        whole(self, scratch, codes, first, last, into)

    monkeypatch.setattr(FastTower, "_chunk", noting)
    stretch = STRETCHES[name]
    trunk, drawn = a_trunk(), codes(3, stretch.bp)
    tower = trunk.for_inference().tower
    parts = drawn.unfold(1, stretch.length, stretch.core).reshape(-1, stretch.length)
    bins = stretch.length // stretch.bin
    found = {}
    for most in (2**18, 700, 200, 1):
        monkeypatch.setattr(fast_tower, "CHUNK_BP", most)
        assert_same(trunk, drawn, stretch)
        taken.clear()
        found[most] = torch.empty(len(parts), bins, tower.width)
        tower.run(Workers(None), [(parts, 0, bins, found[most])])
        assert max(sequences * bp for sequences, bp in taken) <= max(most, stretch.bin)
        torch.testing.assert_close(found[most], found[2**18], rtol=0, atol=1e-5)


def test_it_is_enformer_itself(codes):
    """Built of an enformer-pytorch Enformer as it is, whatever it crops."""
    enformer = shaken(
        Enformer.from_hparams(**SIZES, num_downsamples=4, output_heads={"human": 3}, target_length=8)
    )
    stretch = STRETCHES["cores in the middle"]
    drawn = codes(1, stretch.bp)
    found = EnformerTrunk(enformer, gamma="pytorch").for_inference()(drawn, stretch)
    with torch.no_grad():
        for window, start in enumerate(stretch.starts()):
            bases = one_hot(drawn[:, start : start + stretch.length])
            alone = enformer(bases, target_length=-1, return_only_embeddings=True)[:, 12:28]
            torch.testing.assert_close(found[:, window], alone, atol=1e-5, rtol=1e-5)


def test_all_that_is_unknown_is_finite():
    stretch = STRETCHES["cores in the middle"]
    assert_same(a_trunk(), torch.full((1, stretch.bp), 4, dtype=torch.uint8), stretch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2])
def test_no_bit_hangs_on_the_batch_or_on_threads(dtype, threads, codes):
    stretch = STRETCHES["cores in the middle"]
    fast = a_trunk().for_inference(dtype)
    drawn = codes(3, stretch.bp)
    alone = torch.cat([fast(drawn[i : i + 1], stretch) for i in range(3)])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(fast(drawn, stretch), alone)
    finally:
        torch.set_num_threads(before)


def test_bf16_is_close(codes):
    stretch = STRETCHES["cores in the middle"]
    trunk, drawn = a_trunk(), codes(1, stretch.bp)
    exact = WindowByWindow(trunk)(drawn, stretch)
    ours = (trunk.for_inference(torch.bfloat16)(drawn, stretch) - exact).square().mean().sqrt()
    theirs = (WindowByWindow(trunk, torch.bfloat16)(drawn, stretch) - exact).square().mean().sqrt()
    assert ours < 1.5 * theirs and ours < 0.05 * exact.std()


def test_the_trunk_stays_as_it_is_and_weights_are_those_of_then(codes):
    stretch = STRETCHES["cores in the middle"]
    trunk, drawn = a_trunk(dropout=0.3).train(), codes(1, stretch.bp)
    state = copy.deepcopy(trunk.state_dict())
    fast = trunk.for_inference()
    assert isinstance(fast, FastEnformer) and not any(weight.requires_grad for weight in fast.parameters())
    first = fast(drawn, stretch)
    after = trunk.state_dict()
    assert state.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in state.items())
    assert torch.equal(first, assert_same(trunk.eval(), drawn, stretch))
    with torch.no_grad():
        for weight in trunk.parameters():
            weight.mul_(1.1)
    trunk.train()(drawn[:, : stretch.length])
    assert torch.equal(fast(drawn, stretch), first)
    later = assert_same(trunk.eval(), drawn, stretch)
    assert (later - first).abs().max() > 1e-3


def test_adapters_are_merged(codes):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = a_trunk()

    model, stretch = Model(), STRETCHES["cores in the middle"]
    plain = assert_same(model.trunk, codes(1, stretch.bp), stretch)
    fine_tune(model, FineTuningSettings(mode="lora"))
    shaken(model.trunk, 1)
    assert (assert_same(model.trunk, codes(1, stretch.bp), stretch) - plain).abs().max() > 1e-3


@pytest.mark.parametrize("bin", [8, 16, 64, 128])
def test_the_bins_that_see_past_an_end_are_those_that_change(bin, codes):
    """All of them, and the first that is said to see nothing of it sees nothing."""
    stem, tower, _, _ = a_trunk(bin).parts()
    fast = FastTower(stem, tower, torch.float32)
    edge = fast.edge_bins()
    bins = 2 * edge + 2
    around = codes(1, 3 * bins * bin)
    alone, within = torch.empty(1, bins, fast.width), torch.empty(1, 3 * bins, fast.width)
    with workers(around.device) as threads:
        fast.run(threads, [(around[:, bins * bin : 2 * bins * bin], 0, bins, alone)])
        fast.run(threads, [(around, 0, 3 * bins, within)])
    apart = (alone - within[:, bins : 2 * bins]).abs().amax((0, 2))
    assert apart[edge:-edge].max() < 1e-5 and apart[edge - 1] > 1e-6 and apart[-edge] > 1e-6


# Identities.


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=30)
def test_pooling_of_pairs_is_a_gate_of_their_difference(pairs, width, seed, size):
    generator = torch.Generator().manual_seed(seed)
    pool = AttentionPool(width)
    with torch.no_grad():
        pool.to_attn_logits.weight.copy_(torch.randn(width, width, 1, 1, generator=generator))
        x = size * torch.randn(1, 2 * pairs, width, generator=generator)
        expected = pool(x.transpose(1, 2)).transpose(1, 2)
        even, odd = x[:, 0::2], x[:, 1::2]
        gate = torch.sigmoid((even - odd) @ pool.to_attn_logits.weight[..., 0, 0].T)
        torch.testing.assert_close(odd + gate * (even - odd), expected, atol=1e-5 * size, rtol=1e-5)


@given(st.integers(1, 12), st.data())
@settings(max_examples=30)
def test_rows_shift_by_a_view(bins, data):
    start = data.draw(st.integers(0, bins - 1))
    end = data.draw(st.integers(start + 1, bins))
    logits = torch.randn(2, bins, 2 * bins - 1)
    count, wide = end - start, bins + end - start - 1
    part = logits[:, start:end, bins - end : 2 * bins - 1 - start].contiguous()
    shifted = part.as_strided((2, count, bins), (count * wide, wide - 1, 1), count - 1)
    assert torch.equal(shifted, relative_shift(logits)[:, start:end])


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=30)
def test_a_convolution_of_fewer_products_is_that_convolution(tiles, before, after, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(OUTPUTS * (tiles + 1), before, generator=generator)
    weight = torch.randn(after, before, 5, generator=generator)
    inputs, _, outputs = transforms()
    memory = (torch.empty(8, tiles, before), torch.empty(8, tiles, after), torch.empty(4, tiles, after))
    phases = x.view(tiles + 1, OUTPUTS, before).transpose(0, 1).contiguous()
    found = convolve(phases, transformed_taps(weight), (inputs.float(), outputs.float()), memory)
    expected = F.conv1d(x.T[None], weight)[0].T[: OUTPUTS * tiles]
    torch.testing.assert_close(found.transpose(0, 1).flatten(0, 1), expected, atol=5e-5, rtol=1e-4)


@given(st.integers(0, 50), st.integers(0, 60))
def test_pieces_are_all_that_there_is_in_order(length, size):
    found = pieces_of(length, size)
    assert [place for start, end in found for place in range(start, end)] == list(range(length))
    assert all(0 < end - start <= max(1, size) for start, end in found)


@torch.no_grad()
def test_the_rest_of_a_layer_owes_what_it_leaves_out():
    stem = a_trunk().parts()[0]
    rest = Rest(stem[1], stem[2], stem[0].bias.double(), torch.float32)
    torch.testing.assert_close(rest.owed, (stem[0].bias.double() + stem[1].fn[2].bias.double()))
