from __future__ import annotations

import os
import signal

import pytest

from tfbind.training.stopping import Stopped, StopSignals


def interrupt(trainer, method: str, call: int, number: int) -> None:
    """A signal comes in the middle of a call of a method."""
    whole, calls = getattr(trainer, method), []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return whole(*arguments)

    setattr(trainer, method, interrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_a_training_after_the_step_and_it_goes_on_exactly(make_trainer, number):
    # Between two rows of the history, and far from a validation.
    settings = {"steps": 20, "validate_every": 20, "motif_loss": 0.3, "motif_pretraining_steps": 2}
    straight = make_trainer("straight", **settings)
    straight.run()
    stopped = make_trainer("stopped", **settings)
    interrupt(stopped, "_step", 6, number)
    with pytest.raises(Stopped) as caught:
        stopped.run()
    assert (caught.value.signal, caught.value.step) == (number, 6)
    assert signal.Signals(number).name in str(caught.value)
    resumed = make_trainer("stopped", **settings)
    steps = []
    whole = resumed._step
    resumed._step = lambda step: steps.append(step) or whole(step)
    resumed.run()
    assert steps == list(range(6, 20))
    assert vars(resumed.state) == vars(straight.state)
    ours, theirs = resumed.model.state_dict(), straight.model.state_dict()
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_killed_in_a_validation_it_validates_again_and_trains_no_step_twice(make_trainer):
    class Killed(Exception):
        pass

    trainer = make_trainer(steps=4, validate_every=2)
    trainer._validate = lambda: (_ for _ in ()).throw(Killed)
    with pytest.raises(Killed):
        trainer.run()
    resumed = make_trainer(steps=4, validate_every=2)
    steps = []
    whole = resumed._step
    resumed._step = lambda step: steps.append(step) or whole(step)
    resumed.run()
    assert steps == [2, 3]
    assert [row["validation_auprc"] is not None for row in resumed.state.history] == [False, True, False, True]


def test_stopped_while_it_reads_motifs_it_starts_anew(make_trainer, tmp_path):
    settings = {"motif_loss": 0.3, "motif_pretraining_steps": 5}
    trainer = make_trainer("stopped", **settings)
    interrupt(trainer, "_draw_reading", 3, signal.SIGTERM)
    with pytest.raises(Stopped):
        trainer.run()
    assert not (tmp_path / "stopped").exists()


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


def test_a_signal_that_came_while_the_data_was_read_stops_before_the_first_step(make_trainer):
    settings = {"steps": 6}
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        trainer = make_trainer("early", signals=signals, **settings)
        trainer._step = None
        with pytest.raises(Stopped) as caught:
            trainer.run()
    assert (caught.value.signal, caught.value.step) == (signal.SIGTERM, 0)
    make_trainer("early", **settings).run()


def test_one_of_several_processes_is_not_stopped_at_once_by_a_second_ctrl_c():
    with StopSignals(patient=True) as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signals.received == signal.SIGINT


def test_a_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt), StopSignals():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
