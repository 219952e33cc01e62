"""Stretches of a genome become DNA tokens: those of each window alone, whatever goes through together."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from tfbind.core.errors import InputError
from tfbind.genome.windows import WindowStretch, tile
from tfbind.model import embedding, precision
from tfbind.model.embedding import embed_stretches
from tfbind.model.inference_trunk import InferenceTrunk, Stretch

BIN, SIZES = 16, {"long": 16 * 75 - 5, "short": 16 * 14 + 3}
SHAPES = [(128, 64), (192, 160), (96, 96)]


def no_thread_is_left() -> bool:
    """Of those that read ahead or write behind; other tests may have left their own."""
    return not any(thread.name.startswith(("ahead", "behind")) for thread in threading.enumerate())


@pytest.fixture
def fetch():
    rng = np.random.default_rng(0)
    codes = {chrom: rng.integers(0, 5, size).astype(np.uint8) for chrom, size in SIZES.items()}

    def cut(chrom: str, start: int, end: int) -> np.ndarray:
        low, high = max(start, 0), min(end, SIZES[chrom])
        return np.pad(codes[chrom][low:high], (low - start, end - high), constant_values=4)

    return cut


@pytest.fixture
def motifs():
    """A panel whose motifs reach over more than a bin to either side."""
    return torch.as_tensor(np.random.default_rng(1).normal(size=(3, 41, 4)), dtype=torch.float32)


def of_three_windows(monkeypatch: pytest.MonkeyPatch) -> list[WindowStretch]:
    monkeypatch.setattr("tfbind.genome.windows.windows_a_stretch", lambda _: 3)
    return tile(SIZES, length=128, core=64, bin=BIN)


def embedded(model, fetch, stretches, **settings) -> np.ndarray:
    return np.concatenate([tokens for _, tokens in embed_stretches(model, fetch, stretches, **settings)])


@pytest.mark.parametrize(("length", "core"), SHAPES)
@pytest.mark.parametrize("panel", [False, True])
def test_tokens_are_those_of_each_window_alone(make_model, fetch, motifs, length, core, panel):
    model = make_model(**({"motif_panel": 4, "panel": motifs} if panel else {}))
    stretches = tile(SIZES, length=length, core=core, bin=BIN)
    trunk = model.eval().trunk.for_inference()
    for stretch in stretches:
        codes = torch.as_tensor(fetch(stretch.chrom, stretch.start, stretch.end)[None])
        layout = Stretch(stretch.windows, length, core, BIN)
        with torch.inference_mode():
            found = model.stretch_tokens(codes, layout, trunk)
            assert found.shape == (1, stretch.windows, core // BIN, 12)
            for window, start in enumerate(layout.starts()):
                alone = model.dna_tokens(codes[:, start : start + length])
                kept = alone[:, layout.first_bin : layout.first_bin + layout.core_bins]
                torch.testing.assert_close(found[:, window], kept, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("length", "core"), SHAPES)
def test_cores_cover_every_bin_once(make_model, fetch, length, core):
    found = list(embed_stretches(make_model(), fetch, tile(SIZES, length=length, core=core, bin=BIN)))
    covered = {chrom: np.zeros(-(-size // BIN), int) for chrom, size in SIZES.items()}
    for stretch, tokens in found:
        assert tokens.dtype == np.float16 and tokens.shape[1] == 12
        first = stretch.core_start // BIN
        covered[stretch.chrom][first : first + len(tokens)] += 1
    assert all((counts == 1).all() for counts in covered.values())


def test_batches_of_several_stretches_make_no_difference(make_model, fetch, monkeypatch):
    """As on a GPU: stretches of as many windows go through together, and short ones by themselves."""
    stretches = of_three_windows(monkeypatch)
    assert [stretch.windows for stretch in stretches] == [3, 3, 3, 3, 3, 3, 1, 3, 1]
    model = make_model()
    alone = embedded(model, fetch, stretches)
    monkeypatch.setattr(embedding, "AT_ONCE_ON_CPU", 4)
    seen = watched(model, monkeypatch)
    np.testing.assert_allclose(embedded(model, fetch, stretches), alone, atol=2e-3)
    assert seen == [4, 2, 1, 1, 1]


class ShortOfMemory(InferenceTrunk):
    """One that has memory for two stretches."""

    def __init__(self, trunk: InferenceTrunk, most: int, seen: list[int], error: Exception) -> None:
        super().__init__()
        self.trunk, self.most, self.seen, self.error = trunk, most, seen, error

    def forward(self, codes: torch.Tensor, stretch: Stretch) -> torch.Tensor:
        self.seen.append(len(codes))
        if len(codes) > self.most:
            raise self.error
        return self.trunk(codes, stretch)


def watched(model, monkeypatch, most=100, error=None) -> list[int]:
    """Put a trunk into a model that notes how many stretches it is given, and takes so many."""
    seen: list[int] = []
    real = model.trunk.for_inference
    trunk = type(model.trunk)
    monkeypatch.setattr(trunk, "for_inference", lambda _, dtype: ShortOfMemory(real(dtype), most, seen, error))
    return seen


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]


@pytest.mark.parametrize("error", ERRORS)
def test_fewer_go_through_at_once_where_memory_is_short(make_model, fetch, monkeypatch, capsys, error):
    stretches = of_three_windows(monkeypatch)
    model = make_model()
    alone = embedded(model, fetch, stretches)
    monkeypatch.setattr(embedding, "AT_ONCE_ON_CPU", 6)
    seen = watched(model, monkeypatch, 2, error)
    np.testing.assert_allclose(embedded(model, fetch, stretches), alone, atol=2e-3)
    assert seen == [6, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    told = capsys.readouterr().err
    assert "not enough memory for 6 stretches of 3 windows at once; going on with 3" in told
    assert "for 3 stretches of 3 windows at once; going on with 1" in told


def test_one_stretch_that_does_not_fit_is_told(make_model, fetch, monkeypatch):
    model = make_model()
    watched(model, monkeypatch, 0, ERRORS[0])
    with pytest.raises(
        InputError, match=r"windows of 128 bp do not fit into memory together \(CUDA out of"
    ) as caught:
        embedded(model, fetch, tile(SIZES, length=128, core=64, bin=BIN))
    assert caught.value.key == "windows.length" and "more memory" in caught.value.mend
    assert no_thread_is_left()


def test_other_errors_of_the_trunk_come_up_as_they_are(make_model, fetch, monkeypatch):
    model = make_model()
    watched(model, monkeypatch, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        embedded(model, fetch, tile(SIZES, length=128, core=64, bin=BIN))


def test_no_stretches_are_no_tokens(make_model, fetch):
    """As a process of a training has that is left without any."""
    assert list(embed_stretches(make_model(), fetch, [])) == []


def test_puts_a_model_in_training_into_eval_mode(make_model, fetch):
    model = make_model(trunk={"dropout": 0.5}).train()
    stretches = tile(SIZES, length=128, core=64, bin=BIN)[1:]
    np.testing.assert_array_equal(embedded(model, fetch, stretches), embedded(model, fetch, stretches))


def test_half_precision_is_close(make_model, fetch, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    model, stretches = make_model(), tile(SIZES, length=128, core=64, bin=BIN)[1:]
    full, half = (embedded(model, fetch, stretches, precision=name) for name in ("fp32", "bf16"))
    assert 0 < np.abs(half - full).mean() < 0.05


def test_without_instructions_for_half_precision_a_cpu_takes_full(make_model, fetch, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    model, stretches = make_model(), tile(SIZES, length=128, core=64, bin=BIN)[1:]
    full, half = (embedded(model, fetch, stretches, precision=name) for name in ("fp32", "bf16"))
    np.testing.assert_array_equal(half, full)
