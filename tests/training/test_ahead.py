from __future__ import annotations

import threading

import pytest

from tfbind.training.ahead import Ahead


def test_the_next_step_is_prepared_in_a_thread_and_each_once():
    made: list[tuple[int, bool]] = []
    begun = [threading.Event() for _ in range(4)]

    def prepare(step: int) -> str:
        made.append((step, threading.current_thread() is threading.main_thread()))
        begun[step].set()
        return f"data of {step}"

    with Ahead(prepare, 4) as ahead:
        for step in range(4):
            assert ahead.of(step) == f"data of {step}"
            if step < 3:
                assert begun[step + 1].wait(10), "the next one is begun while this step computes"
    assert made == [(step, False) for step in range(4)]
    assert ahead.waited > 0


def test_a_step_out_of_order_gets_its_own():
    with Ahead(lambda step: step, 10) as ahead:
        assert [ahead.of(step) for step in (0, 5, 5, 2)] == [0, 5, 5, 2]


def test_an_error_is_raised_where_its_step_asks():
    def prepare(step: int) -> int:
        if step == 1:
            raise ValueError("step 1")
        return step

    with Ahead(prepare, 3) as ahead:
        assert ahead.of(0) == 0
        with pytest.raises(ValueError, match="step 1"):
            ahead.of(1)
        assert ahead.of(2) == 2


def test_no_thread_is_left_and_nothing_is_prepared_ahead_outside_the_block():
    made: list[int] = []
    ahead = Ahead(lambda step: made.append(step) or step, 9)
    with pytest.raises(KeyboardInterrupt), ahead:
        ahead.of(0)
        raise KeyboardInterrupt
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    before = len(made)
    assert ahead.of(1) == 1 and len(made) == before + 1


def test_a_training_that_reads_ahead_is_the_one_that_does_not(make_trainer):
    ahead, not_ahead = make_trainer("ahead"), make_trainer("not")
    not_ahead.ahead.of = not_ahead.ahead.prepare
    threads: list[bool] = []
    batch = ahead.sampler.batch
    ahead.sampler.batch = lambda *given: (
        threads.append(threading.current_thread() is threading.main_thread()) or batch(*given)
    )
    for trainer in (ahead, not_ahead):
        trainer.run()
    assert threads == [False] * 6
    assert vars(ahead.state) == vars(not_ahead.state)
    ours, theirs = ahead.model.state_dict(), not_ahead.model.state_dict()
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert 0 < ahead.ahead.waited < ahead.spent


def test_a_training_whose_data_cannot_be_read_stops_with_that_error(make_trainer):
    trainer = make_trainer(steps=6)
    batch = trainer.sampler.batch

    def broken(step, *given):
        if step == 3:
            raise OSError("the disk is gone")
        return batch(step, *given)

    trainer.sampler.batch = broken
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.run()
    assert trainer.state.step == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
