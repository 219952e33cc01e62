"""What the model is told of cell types, and what training hides of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tfbind.config import ContextDropout
from tfbind.contexts.contextset import ContextSet, write_context_set
from tfbind.contexts.text import TextEncoder
from tfbind.core.errors import InputError
from tfbind.model.contexts import ContextBatch, context_batch

NAMES = ["HepG2", "K562", "IMR90"]


@pytest.fixture
def context_set(bert, tmp_path):
    descriptions = {"K562": "", "IMR90": "human lung cells", "HepG2": "liver cells"}
    write_context_set(tmp_path / "set", descriptions, TextEncoder(bert), tmp_path / "cache")
    return ContextSet.open(tmp_path / "set")


def parts(batch):
    return list(vars(batch).values())


def same(one, two):
    assert len(one) == len(two)
    for a, b in zip(parts(one), parts(two), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def many(cells=2000):
    """Cell types of which all is known, in two windows of three bins."""
    generator = torch.Generator().manual_seed(0)
    return ContextBatch(
        torch.rand(2, 3, cells, generator=generator) + 1,
        torch.ones(cells, dtype=torch.bool),
        torch.rand(cells, 4, generator=generator) + 1,
        torch.ones(cells, dtype=torch.bool),
        torch.arange(cells),
    )


def test_what_is_known_of_each_cell_type(context_set):
    batch = context_batch(NAMES, [True, False, True], context_set, trained=["IMR90", "HepG2"])
    assert len(batch) == 3 and batch.text_dim == 24
    assert batch.has_track.tolist() == [True, False, True]
    assert batch.has_text.tolist() == [True, False, True]
    assert batch.identity.tolist() == [1, -1, 0]
    np.testing.assert_array_equal(batch.text[0], context_set.text("HepG2"))
    np.testing.assert_array_equal(batch.text[2], context_set.text("IMR90"))
    assert not batch.text[1].any()
    assert [part.dtype for part in parts(batch)] == [
        torch.float32,
        torch.bool,
        torch.float32,
        torch.bool,
        torch.int64,
        torch.float32,
        torch.bool,
    ]
    windows = batch.over(torch.ones(2, 5, 3))
    assert windows.accessibility.shape == (2, 5, 3) and torch.equal(windows.text, batch.text)


def test_nothing_need_be_known():
    batch = context_batch(NAMES, [False] * 3)
    assert batch.text.shape == (3, 0) and batch.accessibility.shape == (0, 0, 3)
    assert not batch.has_text.any() and (batch.identity == -1).all()


def test_a_cell_type_that_the_context_set_lacks(context_set):
    with pytest.raises(InputError, match="no cell type 'A549' in this context set"):
        context_batch(["A549"], [True], context_set)


def test_some_cell_types_and_some_windows():
    batch = many(5)
    chosen = batch.select(torch.tensor([3, 0]))
    assert torch.equal(chosen.accessibility, batch.accessibility[:, :, [3, 0]])
    assert torch.equal(chosen.text, batch.text[[3, 0]]) and chosen.identity.tolist() == [3, 0]
    same(batch.select(torch.tensor([True, False, False, True, False])), batch.select(torch.tensor([0, 3])))
    second = batch.of(slice(1, 2))
    assert torch.equal(second.accessibility, batch.accessibility[1:]) and torch.equal(second.text, batch.text)
    same(batch.to("cpu"), batch)


def test_parts_that_do_not_fit_are_refused():
    batch = many(5)
    with pytest.raises(ValueError, match=r"accessibility \(2, 3, 4\)"):
        batch.over(torch.ones(2, 3, 4))


def test_each_kind_is_hidden_as_often_as_asked_and_by_itself():
    dropout = ContextDropout(text=0.5, accessibility=0.1, learnt=0.3)
    batch = many().hidden(dropout, np.random.default_rng(0))
    kept = torch.stack([batch.has_text, batch.has_track, batch.identity >= 0]).float()
    np.testing.assert_allclose(kept.mean(1), [0.5, 0.9, 0.7], atol=0.04)
    correlation = np.corrcoef(kept)
    assert np.abs(correlation - np.eye(3)).max() < 0.08
    # Any subset is seen, and none at all.
    assert len(torch.unique(kept, dim=1).T) == 8


def test_what_is_hidden_is_as_what_was_never_known():
    batch, full = many().hidden(ContextDropout(), np.random.default_rng(0)), many()
    assert not batch.text[~batch.has_text].any() and not batch.accessibility[:, :, ~batch.has_track].any()
    assert torch.equal(batch.text[batch.has_text], full.text[batch.has_text])
    assert torch.equal(batch.accessibility[:, :, batch.has_track], full.accessibility[:, :, batch.has_track])
    known = batch.identity >= 0
    assert torch.equal(batch.identity[known], full.identity[known]) and set(batch.identity[~known].tolist()) == {
        -1
    }
    same(full, many())


def test_what_is_hidden_follows_from_the_seed_alone():
    def hide(batch, *seed):
        return batch.hidden(ContextDropout(), np.random.default_rng(seed))

    torch.manual_seed(1)
    one = hide(many(), 7, 3)
    torch.manual_seed(2)
    same(hide(many(), 7, 3), one)
    assert not torch.equal(hide(many(), 7, 4).has_text, one.has_text)
    # Parts of a step, each with its windows, hide the same.
    for windows in (slice(0, 1), slice(1, 2)):
        same(hide(many().of(windows), 7, 3), one.of(windows))


def test_one_kinds_rate_does_not_change_what_is_hidden_of_another():
    def hide(**rates):
        return many().hidden(ContextDropout(**rates), np.random.default_rng(0))

    assert torch.equal(hide(text=0.0).has_track, hide(text=0.9, learnt=0.5).has_track)
    same(hide(text=0.0, accessibility=0.0, learnt=0.0), many())


def test_kinds_that_are_not_in_use_are_not_touched():
    batch = context_batch(NAMES, [False] * 3).over(torch.zeros(2, 3, 3))
    for step in range(10):
        same(batch.hidden(ContextDropout(), np.random.default_rng(step)), batch)


@pytest.mark.gpu
def test_a_gpu_hides_the_same():
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    hidden = many().to("cuda").hidden(ContextDropout(), np.random.default_rng(0))
    same(hidden.to("cpu"), many().hidden(ContextDropout(), np.random.default_rng(0)))
