from __future__ import annotations

import math
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tfbind.config import ContextDropout, WindowSettings
from tfbind.core.errors import InputError
from tfbind.core.metrics import average_precision
from tfbind.model import precision
from tfbind.model.data import BOUND, LEFT_OUT, UNBOUND
from tfbind.model.factors import FactorBatch
from tfbind.training.history import HISTORY_COLUMNS, write_history
from tfbind.training.loop import Trainer, draw_motif_bases, seeded

# A model that reads texts and learns an embedding of each cell type.
TOLD = {"model": {"shape": {"text_dim": 3, "cell_types": 2, "learnt": 4}}}
MOTIFS_FIRST = {"motif_loss": 0.3, "motif_pretraining_steps": 5}


class Killed(Exception):
    pass


def kill_at(trainer: Trainer, method: str, call: int) -> None:
    """The run ends there, as if it were killed: nothing is tidied up."""
    whole, calls = getattr(trainer, method), []

    def dying(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise Killed
        return whole(*arguments)

    setattr(trainer, method, dying)
    with pytest.raises(Killed):
        trainer.run()


def assert_same(found: Trainer, expected: Trainer) -> None:
    for (name, value), (other, reference) in zip(
        found.model.state_dict().items(), expected.model.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(value, reference), name
    assert vars(found.state) == vars(expected.state)


# It learns.


def test_learns_to_find_what_a_factor_binds(make_trainer, toy):
    trainer = make_trainer(steps=50, batch_size=4, validate_every=50, learning_rate=5e-3, warmup_steps=10)
    trainer.run()
    losses = [row["loss"] for row in trainer.state.history]
    assert losses[-1] < 0.6 * losses[0]
    logits, truth = trainer.validator.predict(trainer.model, trainer.factors, trainer.pairs), toy.labels["stop"]
    for column in range(3):
        kept = truth[:, column] != LEFT_OUT
        bound = truth[kept, column] == BOUND
        assert average_precision(bound, logits[kept, column]) > 3 * bound.mean()


def test_keeps_the_weights_that_validated_best(make_trainer):
    trainer = make_trainer(steps=8, learning_rate=0.05, warmup_steps=0)
    trainer.run()
    scores = {row["step"]: row["validation_auprc"] for row in trainer.state.history if row["validation_auprc"]}
    assert list(scores) == [2, 4, 6, 8]
    assert trainer.state.best == max(scores.values())
    assert scores[trainer.state.best_step] == trainer.state.best
    assert trainer.validator.mean_auprc(trainer.model, trainer.factors, trainer.pairs) == trainer.state.best
    assert not trainer.model.training


def test_stops_when_validation_no_longer_improves(make_trainer):
    trainer = make_trainer(steps=100, patience=2, validate_every=1)
    values = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    trainer.validator.mean_auprc = lambda *_: next(values)
    trainer.run()
    assert trainer.state.step == 4
    assert (trainer.state.best, trainer.state.best_step) == (0.3, 2)
    assert [row["validation_auprc"] for row in trainer.state.history] == [0.1, 0.3, 0.2, 0.3]


def test_each_step_hides_something_else_of_the_cell_types_and_the_same_in_every_part(make_trainer):
    trainer = make_trainer(
        context_dropout=ContextDropout(text=0.5, accessibility=0.5, learnt=0.5), **TOLD, batch_size=3
    )
    seen = set()
    for step in range(40):
        windows, _ = trainer._own_windows(step)
        told, again = windows.contexts, trainer._own_windows(step)[0].contexts
        for part, same in zip(vars(told).values(), vars(again).values(), strict=True):
            assert torch.equal(part, same)
        rest = windows.of(range(1, 3)).contexts
        assert torch.equal(rest.accessibility, told.accessibility[1:])
        assert torch.equal(rest.text, told.text) and torch.equal(rest.identity, told.identity)
        assert not told.accessibility[:, :, ~told.has_track].any() and not told.text[~told.has_text].any()
        seen.add((*told.has_track.tolist(), *told.has_text.tolist(), *(told.identity >= 0).tolist()))
    # The second cell type has no track to hide.
    assert len(seen) > 15 and not any(first[1] for first in seen)


def test_validation_is_told_all_that_is_known(make_trainer, toy):
    always, never = (ContextDropout(text=rate, accessibility=rate, learnt=rate) for rate in (0.9, 0))
    exchanged = replace(toy, known=replace(toy.known, identity=toy.known.identity.flip(0)))

    def validated(folder, data, dropout):
        trainer = make_trainer(folder, data=data, context_dropout=dropout, **TOLD)
        with torch.no_grad():
            # At first, what is known of a cell type as a whole counts for nothing.
            trainer.model.head.cell_bias.weight.normal_(generator=torch.Generator().manual_seed(0))
        return trainer.validator.predict(trainer.model, trainer.factors, trainer.pairs)

    told = validated("told", toy, never)
    np.testing.assert_array_equal(validated("hidden", toy, always), told)
    assert not np.allclose(validated("exchanged", exchanged, never), told)


@pytest.mark.parametrize("instructions", [True, False])
def test_bf16_trains_and_is_fp32_on_a_cpu_without_instructions_for_it(make_trainer, monkeypatch, instructions):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: instructions)
    half, single = (make_trainer(name, steps=2, precision=name) for name in ("bf16", "fp32"))
    for trainer in (half, single):
        trainer.run()
    pairs = list(zip(half.model.state_dict().values(), single.model.state_dict().values(), strict=True))
    assert all(torch.isfinite(value).all() for value, _ in pairs)
    assert all(torch.equal(value, expected) for value, expected in pairs) != instructions


# It resumes exactly.


@pytest.mark.parametrize(
    ("settings", "method", "call"),
    [({}, "_step", 4), (TOLD, "_step", 4), ({}, "_validate", 2), ({}, "_save", 3), (MOTIFS_FIRST, "_step", 4)],
)
def test_a_run_that_was_killed_ends_as_one_that_was_not(make_trainer, settings, method, call):
    straight = make_trainer("straight", **settings)
    straight.run()
    kill_at(make_trainer("killed", **settings), method, call)
    resumed = make_trainer("killed", **settings)
    resumed.run()
    assert_same(resumed, straight)


def test_a_run_may_be_killed_again_and_again(make_trainer):
    straight = make_trainer("straight")
    straight.run()
    for call in (1, 2, 3, 1):
        kill_at(make_trainer("killed"), "_step", call)
    resumed = make_trainer("killed")
    resumed.run()
    assert_same(resumed, straight)


def test_motif_reading_that_was_killed_starts_anew(make_trainer, tmp_path):
    straight = make_trainer("straight", **MOTIFS_FIRST)
    straight.run()
    kill_at(make_trainer("killed", **MOTIFS_FIRST), "_draw_reading", 3)
    assert not (tmp_path / "killed").exists()
    resumed = make_trainer("killed", **MOTIFS_FIRST)
    resumed.run()
    assert_same(resumed, straight)


def test_a_finished_run_is_not_run_again(make_trainer):
    first = make_trainer()
    first.run()
    again = make_trainer()
    again._step = None
    again.run()
    assert_same(again, first)


def test_runs_of_one_seed_are_equal_and_of_two_are_not(make_trainer):
    first, same, other = make_trainer("a"), make_trainer("b"), make_trainer("c", seed=6)
    for trainer in (first, same, other):
        trainer.run()
    assert_same(same, first)
    assert first.state.history != other.state.history


def test_a_run_that_was_killed_by_a_signal_ends_in_the_same_bytes(tmp_path):
    """A real SIGKILL, in the middle of whatever the run is doing."""
    script = Path(__file__).with_name("killable.py")
    killable = runpy.run_path(str(script))
    killable["train"](tmp_path / "straight")
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2])}
    command = [sys.executable, script, tmp_path / "killed"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if line.startswith(b"step 3"):
                time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    half_written = f".training.{socket.gethostname()}.{process.pid}.tmp.safetensors"
    (tmp_path / "killed" / "state" / half_written).write_bytes(b"half")
    killable["train"](tmp_path / "killed")
    for name in ("model/model.safetensors", "model/model.json", "history.tsv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert [path.name for path in (tmp_path / "killed" / "state").iterdir()] == ["training.safetensors"]


def changed_label(data):
    labels = {chrom: array.copy() for chrom, array in data.labels.items()}
    labels["train"][np.flatnonzero(labels["train"][:, 0] == UNBOUND)[0], 0] = LEFT_OUT
    return replace(data, labels=labels)


def changed_track(data):
    return replace(data, accessibility={chrom: 2 * array for chrom, array in data.accessibility.items()})


def changed_text(data):
    return replace(data, known=replace(data.known, text=data.known.text + 1))


def one_experiment_less(split):
    return replace(split, experiments=split.experiments[:2])


def changed_protein(factors):
    return replace(factors, embeddings=factors.embeddings + 1)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-3},
        {"steps": 7},
        {"seed": 6},
        {"model": {"dropout": 0.2}},
        {"model": {"shape": {"text_dim": 3}}},
        {"context_dropout": ContextDropout(text=0.5)},
        {"windows": WindowSettings(bin=16, length=16 * 18, core=16 * 8)},
        {"split": one_experiment_less},
        {"data": changed_label},
        {"data": changed_track},
        {"data": changed_text},
        {"factors": changed_protein},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_changed_starts_anew(make_trainer, toy, toy_factors, toy_split, change):
    originals = {"data": toy, "factors": toy_factors, "split": toy_split}
    change = {key: value(originals[key]) if callable(value) else value for key, value in change.items()}
    kill_at(make_trainer(), "_step", 4)
    assert make_trainer()._restore()
    changed = make_trainer(**change)
    assert not changed._restore()
    assert changed.state.step == 0


def test_a_file_that_is_no_state_is_told(make_trainer, tmp_path):
    make_trainer(steps=2).run()
    state = tmp_path / "state" / "training.safetensors"
    for content in (b"nonsense", state.read_bytes()[:1000]):
        state.write_bytes(content)
        with pytest.raises(InputError, match="is no state of a training") as caught:
            make_trainer(steps=2).run()
        assert caught.value.file == state
        assert "delete it" in caught.value.mend


# It says what is wrong.


def test_too_few_positives_name_the_experiments(make_trainer, toy, toy_split):
    bound = (toy.labels["train"] == BOUND).sum(0)
    assert bound[0] != bound[1]
    poorer = int(np.argmin(bound[:2]))
    with pytest.raises(InputError, match=re.escape(f"{['ONE.A', 'TWO.A'][poorer]} ({bound[poorer]})")) as caught:
        make_trainer(min_bound_bins=int(bound[:2].max()))
    assert caught.value.key == "training.min_bound_bins"
    assert ["TWO.A", "ONE.A"][poorer] not in str(caught.value)
    richer = replace(toy_split, experiments=(toy_split.experiments[1 - poorer],))
    make_trainer(min_bound_bins=int(bound[:2].max()), split=richer)


def test_nothing_to_validate_on_is_an_error(make_trainer, toy):
    labels = {**toy.labels, "stop": np.where(toy.labels["stop"] == BOUND, UNBOUND, toy.labels["stop"])}
    with pytest.raises(InputError, match="no experiment has a bound bin in the validation") as caught:
        make_trainer(data=replace(toy, labels=labels))
    assert caught.value.key == "splits.validation"


def test_divergence_is_told_and_not_trained_on(make_trainer):
    with pytest.raises(InputError, match=r"diverged: the loss of step \d+ is (nan|inf)") as caught:
        make_trainer(steps=50, learning_rate=1e20, warmup_steps=0).run()
    assert caught.value.key == "training.learning_rate"


def test_motif_pretraining_without_a_motif_loss_is_an_error(make_trainer):
    with pytest.raises(InputError, match="needs a motif_loss above 0") as caught:
        make_trainer(motif_pretraining_steps=3)
    assert caught.value.key == "training.motif_pretraining_steps"


@pytest.mark.parametrize("missing", ["motif", "protein", "information"])
def test_a_motif_loss_without_anything_to_learn_it_from_is_an_error(make_trainer, toy_factors, missing):
    factors = FactorBatch(
        toy_factors.embeddings,
        toy_factors.residue_mask & (missing != "protein"),
        toy_factors.motifs * (missing != "information"),
        toy_factors.has_motif & (missing != "motif"),
    )
    with pytest.raises(InputError, match="both a protein and a motif") as caught:
        make_trainer(factors=factors, motif_loss=0.1)
    assert caught.value.key == "training.motif_loss"
    make_trainer(factors=factors)


# Its parts.


def test_motif_reading_comes_before_dna_and_moves_the_encoder_alone(make_trainer):
    trainer = make_trainer(**MOTIFS_FIRST)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer._read_motifs()
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("head.encoder.") for name in moved)
    assert "head.encoder.motif.base.weight" in moved
    assert not trainer.optimizer.state, "the training's own optimizer remembers nothing of it"


def test_a_step_learns_from_some_experiments_all_in_turn(make_trainer, toy_split):
    trainer = make_trainer(experiments_per_step=2)
    drawn = [tuple(trainer._draw_experiments(step)) for step in range(60)]
    assert set(drawn) == {(0, 1), (0, 2), (1, 2)}
    again = make_trainer(experiments_per_step=2)
    assert drawn == [tuple(again._draw_experiments(step)) for step in range(60)]
    assert tuple(make_trainer(experiments_per_step=3)._draw_experiments(0)) == (0, 1, 2)
    assert tuple(make_trainer(experiments_per_step=50)._draw_experiments(9)) == (0, 1, 2)
    some = replace(toy_split, experiments=toy_split.experiments[::2])
    held_out = make_trainer(split=some, experiments_per_step=1)
    assert {int(held_out._draw_experiments(step)[0]) for step in range(40)} == {0, 2}


def test_the_loss_of_some_experiments_stands_for_all(make_trainer):
    """Its mean over draws of single experiments is the loss of all of them."""
    dropouts = {"motif_dropout": 0, "protein_dropout": 0, "dropout": 0}
    trunk = {"dim": 24, "depth": 0, "heads": 2, "dim_divisible_by": 6, "dropout": 0}

    def loss_of(columns):
        trainer = make_trainer(model={**dropouts, "trunk": trunk}, learning_rate=1e-12, weight_decay=0)
        trainer._draw_experiments = lambda step: np.array(columns)
        return trainer._step(3)

    assert np.mean([loss_of([column]) for column in range(3)]) == pytest.approx(loss_of([0, 1, 2]), rel=1e-4)


def test_a_step_encodes_only_the_factors_it_needs(make_trainer):
    trainer = make_trainer()
    numbers, pairs = trainer._factors_of(np.array([1]))
    assert numbers.tolist() == [1]
    assert pairs.tolist() == [[0, 0]]
    numbers, pairs = trainer._factors_of(np.array([0, 1, 2]))
    assert numbers.tolist() == [0, 1]
    assert pairs.tolist() == [[0, 0], [1, 0], [0, 1]]


def test_a_motif_is_drawn_base_by_base_without_its_padding():
    motifs = torch.zeros(2, 7, 4)
    motifs[0, 1:6] = torch.tensor([0.7, 0.1, 0.1, 0.1]).log() - math.log(0.25)
    motifs[1, 2:4] = torch.tensor([-9.0, 9, -9, -9])
    factors = FactorBatch(
        torch.zeros(2, 1, 5), torch.ones(2, 1, dtype=torch.bool), motifs, torch.tensor([True] * 2)
    )
    rng = np.random.default_rng(0)
    drawn = [draw_motif_bases(factors, rng) for _ in range(300)]
    assert all(widths.tolist() == [5, 2] for _, widths in drawn)
    assert all(bases[1, :2].tolist() == [1, 1] for bases, _ in drawn)
    first = torch.stack([bases[0, :5] for bases, _ in drawn])
    shares = torch.bincount(first.flatten(), minlength=4) / first.numel()
    assert shares.tolist() == pytest.approx([0.7, 0.1, 0.1, 0.1], abs=0.04)


def test_a_seed_sets_the_random_stream():
    draws = []
    for seed in ((1, 2), (1, 3), (2, 2), (1, 2)):
        torch.rand(7)
        seeded(*seed)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[3]
    assert len({tuple(draw) for draw in draws}) == 3


def test_the_history_is_a_table(make_trainer, tmp_path):
    trainer = make_trainer(steps=5, validate_every=3)
    trainer.run()
    write_history(tmp_path / "history.tsv", trainer.state.history)
    header, *rows = (line.split("\t") for line in (tmp_path / "history.tsv").read_text().splitlines())
    assert tuple(header) == HISTORY_COLUMNS
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [bool(row[3]) for row in rows] == [False, False, True, False, True]
    assert all(math.isfinite(float(row[1])) and float(row[2]) > 0 for row in rows)
