"""Several losses in one training: on the toy world, with outputs that are made by hand of the model's logits."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tfbind.core.errors import InputError
from tfbind.model.data import GenomeData
from tfbind.model.outputs import Measured, Outputs, total_loss
from tfbind.training.history import write_history

ALL = {"losses": {"track": 0.1, "peak_score": 0.5, "track_loss": "poisson_multinomial"}}
READS = [10**6, 10**7, None]


@pytest.fixture
def make(make_trainer, measured, three_outputs):
    def maker(folder: str = "state", *, data: GenomeData = measured, **changes):
        model = three_outputs()
        return make_trainer(folder, model=model, data=data, reads=READS, **{**ALL, **changes})

    return maker


def test_several_losses_fall_together_and_stand_in_the_history(make, tmp_path):
    trainer = make(steps=40, batch_size=4, validate_every=40, learning_rate=1e-2, warmup_steps=5)
    trainer.run()
    rows = trainer.state.history
    weights = {"binding": 1.0, "track": 0.1, "peak_score": 0.5}
    for row in rows:
        assert row["loss"] == pytest.approx(sum(w * row[f"loss_{name}"] for name, w in weights.items()), rel=1e-5)
    for name in weights:
        assert rows[-1][f"loss_{name}"] < rows[0][f"loss_{name}"], name
    slope, unknown = trainer.objective.depth.effects.tolist()
    assert slope > 0.02, "the deeper experiment has the higher scores"
    assert unknown != 0
    write_history(tmp_path / "history.tsv", rows)
    table = list(csv.DictReader((tmp_path / "history.tsv").open(), delimiter="\t"))
    assert list(table[0])[-3:] == ["loss_binding", "loss_track", "loss_peak_score"]
    assert all(math.isfinite(float(row["loss_track"])) for row in table)


def test_a_run_that_was_killed_ends_as_one_that_was_not(make):
    class Killed(Exception):
        pass

    straight = make("straight")
    straight.run()
    killed = make("killed")
    whole, calls = killed._step, []

    def dying(step):
        calls.append(step)
        if len(calls) == 4:
            raise Killed
        return whole(step)

    killed._step = dying
    with pytest.raises(Killed):
        killed.run()
    resumed = make("killed")
    resumed.run()
    assert vars(resumed.state) == vars(straight.state)
    ours, theirs = (trainer.objective.state_dict() for trainer in (resumed, straight))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert ours["depth.effects"].any()


def test_parts_of_a_step_are_the_step(make):
    whole, parts = (
        make(f"parts{count}", steps=1, batch_size=4, crop=2, gradient_accumulation=count, validate_every=1)
        for count in (1, 4)
    )
    # Statistics of batch normalisation would be those of a part.
    for trainer in (whole, parts):
        trainer.wrapped.eval()
        trainer.wrapped.train = lambda: None
    assert parts._step(0) == pytest.approx(whole._step(0), rel=1e-5)
    assert parts.parts == pytest.approx(whole.parts, rel=1e-5)
    for (name, one), other in zip(whole.objective.named_parameters(), parts.objective.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_a_crop_leaves_the_edges_out_of_every_loss(make, measured):
    trainer = make(crop=3)
    part, _ = trainer._own_windows(0)
    assert part.labels.shape == part.signal.shape == part.score.shape == (2, 10, 2)
    trainer.objective.eval()
    arguments = (part.codes, part.factors, part.contexts, part.pairs)
    with torch.no_grad():
        loss, _, parts = trainer.objective(part, None)
        outputs = trainer.model(*arguments)
        middle = Outputs(*(x[:, 3:-3] for x in (outputs.binding, outputs.track, outputs.peak_score)))
        expected = total_loss(
            middle,
            Measured(part.labels, part.signal, part.score),
            trainer.settings.losses,
            part.weights,
            part.experiment_weights,
            depth_shift=torch.zeros(2),
        )
    assert float(loss) == pytest.approx(1.5 * float(expected.total), rel=1e-6), (
        "3 experiments, of which 2 are drawn"
    )
    assert parts.tolist() == pytest.approx([1.5 * float(part) for part in expected.parts.values()], rel=1e-6)


def test_with_binding_alone_nothing_else_is_read_or_told(make_trainer):
    trainer = make_trainer(steps=2)
    trainer.run()
    assert set(trainer.state.history[0]) == {"step", "loss", "learning_rate", "validation_auprc"}
    assert trainer.objective.depth is None
    assert [name for name, _ in trainer.objective.named_parameters()] == [
        f"model.{name}" for name, _ in trainer.model.named_parameters()
    ]


@pytest.mark.parametrize(("array", "key"), [("signal", "track"), ("score", "peak_score")])
def test_a_loss_without_anything_to_learn_from_is_told(make, measured, array, key):
    only = {"losses": {key: 1.0}}
    with pytest.raises(InputError, match=f"the targets hold no {array}") as caught:
        make(data=replace(measured, **{array: None}), **only)
    assert caught.value.key == f"training.losses.{key}"
    nothing = 0.0 if array == "score" else np.nan
    empty = {chrom: np.full_like(values, nothing) for chrom, values in getattr(measured, array).items()}
    # That another chromosome has some does not help.
    empty["test"] = getattr(measured, array)["test"]
    with pytest.raises(InputError, match="no experiment to train on") as caught:
        make(data=replace(measured, **{array: empty}), **only)
    assert caught.value.mend
