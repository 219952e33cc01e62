"""Threads beside the main one: in order, bounded, and gone when the block ends."""

from __future__ import annotations

import threading

import pytest

from tfbind.core.threads import Behind, ahead


def no_thread_is_left() -> bool:
    """Of those that read ahead or write behind; other tests may have left their own."""
    return not any(thread.name.startswith(("ahead", "behind")) for thread in threading.enumerate())


def test_items_come_in_order_and_are_made_before_they_are_asked_for():
    made, all_ahead = [], threading.Event()

    def make(item: int) -> int:
        made.append(item)
        if len(made) == 4:
            all_ahead.set()
        return item * item

    with ahead(make, range(9), 3) as found:
        assert next(found) == 0
        assert all_ahead.wait(10), "the next three are made although nobody has asked"
        assert made == [0, 1, 2, 3], "and no more"
        assert list(found) == [1, 4, 9, 16, 25, 36, 49, 64]
    assert no_thread_is_left()


def test_fewer_items_than_may_be_ahead():
    with ahead(str, [1, 2], 30) as found:
        assert list(found) == ["1", "2"]
    with ahead(str, [], 30) as found:
        assert list(found) == []


def test_an_error_comes_up_where_its_item_is_asked_for():
    with pytest.raises(ZeroDivisionError), ahead(lambda item: 1 / item, [1, 0, 2], 3) as found:
        assert next(found) == 1
        next(found)
    assert no_thread_is_left()


def test_who_breaks_off_leaves_no_thread_and_nothing_is_made_after():
    begun, go, made = threading.Event(), threading.Event(), []

    def make(item: int) -> None:
        if item == 1:
            begun.set()
            go.wait(10)
        made.append(item)

    with pytest.raises(KeyboardInterrupt), ahead(make, range(1000), 500) as found:
        next(found)
        assert begun.wait(10)
        threading.Timer(0.05, go.set).start()
        raise KeyboardInterrupt
    assert no_thread_is_left()
    assert made == [0, 1], "what it was at, and none of the 499 that waited"


def test_what_is_given_is_done_in_order_by_the_end_of_the_block():
    done = []
    with Behind(2) as writing:
        for item in range(20):
            writing.do(done.append, item)
    assert done == list(range(20))
    assert no_thread_is_left()


def test_waits_where_it_is_too_far_behind():
    go, done = threading.Event(), []

    def slow(item: int) -> None:
        go.wait(10)
        done.append(item)

    with Behind(2) as writing:
        writing.do(slow, 0)
        writing.do(slow, 1)
        assert done == []
        go.set()
        writing.do(slow, 2)
        assert done[:1] == [0]
    assert done == [0, 1, 2]


@pytest.mark.parametrize("later", [0, 5])
def test_an_error_comes_up_later_or_at_the_end(later):
    def fail() -> None:
        raise OSError("the disk is full")

    done = []
    with pytest.raises(OSError, match="disk is full"), Behind(2) as writing:
        writing.do(fail)
        for item in range(later):
            writing.do(done.append, item)
    assert no_thread_is_left()


def test_an_error_of_the_caller_is_what_comes_up_and_what_waits_is_not_done():
    go, done = threading.Event(), []
    with pytest.raises(KeyboardInterrupt), Behind(5) as writing:
        writing.do(go.wait, 10)
        writing.do(done.append, 1)
        threading.Timer(0.05, go.set).start()
        raise KeyboardInterrupt
    assert done == []
