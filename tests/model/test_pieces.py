"""Threads that compute with one thread each, and what they leave."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from tfbind.model.pieces import single_threads


@pytest.fixture(params=[1, 2])
def threads(request) -> Iterator[int]:
    """So many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_computes_with_one_thread_and_the_caller_has_as_many_as_before(threads):
    with single_threads() as (pool, count):
        assert count == threads and (pool is None) == (threads == 1)
        assert torch.get_num_threads() == 1
        if pool is not None:
            assert pool.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == threads


def test_who_breaks_off_leaves_no_thread_and_nothing_is_done_after(threads):
    go, done = threading.Event(), []
    with pytest.raises(KeyboardInterrupt), single_threads() as (pool, _):
        if pool is not None:
            for _ in range(threads):
                pool.submit(go.wait, 10)
            pool.submit(done.append, 1)
            threading.Timer(0.05, go.set).start()
        raise KeyboardInterrupt
    assert not done and torch.get_num_threads() == threads
    assert not any(thread.name.startswith("single") for thread in threading.enumerate())
