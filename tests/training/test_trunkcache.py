"""Training on a frozen trunk from what it said of each window: the same as running it in each step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.core.test_full_disk import small_disk  # noqa: F401
from tests.training.test_together import columns, run
from tfbind.core.errors import InputError
from tfbind.model import precision
from tfbind.model.inference_trunk import Stretch
from tfbind.training.loop import Trainer

# 16 bins a window: they stand side by side.
FROZEN = {"fine_tuning": {"mode": "frozen"}, "window_spacing": 16}
KEPT = {"fine_tuning": {"mode": "frozen", "cache": {}}, "window_spacing": 16}
# Every dropout is on, and a panel is normalised, too.
MODEL = {"motif_panel": 3, "dropout": 0.2, "motif_dropout": 0.3}


def kept(**cache: object) -> dict[str, object]:
    return {"fine_tuning": {"mode": "frozen", "cache": cache}, "window_spacing": 16}


def count_windows(trainer: Trainer) -> list[int]:
    """How many windows run through the trunk, a number a call: as it is in a step, or as the cache runs it."""
    found: list[int] = []
    trainer.model.trunk.register_forward_hook(lambda _, given, __: found.append(len(given[0])))
    for_inference = trainer.model.trunk.for_inference

    def noting(*given):
        trunk = for_inference(*given)
        trunk.register_forward_hook(lambda _, given, __: found.append(len(given[0])))
        return trunk

    trainer.model.trunk.for_inference = noting
    return found


def dies_in_step(trainer: Trainer, last: int) -> None:
    """Run it until it is killed."""
    whole = trainer._step

    def dying(step: int) -> float:
        if step == last:
            raise KeyboardInterrupt
        return whole(step)

    trainer._step = dying
    with pytest.raises(KeyboardInterrupt):
        trainer.run()


def losses(trainer: Trainer) -> list[float]:
    return [row["loss"] for row in trainer.state.history]


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def drawn(trainer: Trainer) -> list[tuple]:
    settings = trainer.settings
    steps = (trainer.sampler.draw(step, settings.batch_size) for step in range(settings.steps))
    return [(draw.chrom, draw.first, draw.flipped) for step in steps for draw in step]


def validated(trainer: Trainer) -> int:
    """Number of windows of the validation chromosomes."""
    return sum(stretch.windows for stretch in trainer.validator.stretches)


def two_windows(trainer: Trainer) -> np.ndarray:
    """Their base codes."""
    return np.stack([trainer.data.window_codes("train", first, 16) for first in (-4, 32)])


@pytest.mark.parametrize("spacing", [1, 4, 16])
def test_losses_weights_and_validations_are_those_of_running_the_trunk(make_trainer, spacing):
    changes = {"steps": 12, "batch_size": 3, "motif_loss": 0.2, "model": MODEL, "validate_every": 4}
    plain = make_trainer("plain", **changes, **{**FROZEN, "window_spacing": spacing})
    plain.run()
    cached = make_trainer("cached", **changes, **{**KEPT, "window_spacing": spacing})
    cached.run()
    np.testing.assert_allclose(losses(cached), losses(plain), rtol=0, atol=1e-6)
    for ours, theirs in zip(cached.state.history, plain.state.history, strict=True):
        assert ours["validation_auprc"] == pytest.approx(theirs["validation_auprc"], abs=1e-4)
    ours, theirs = cached.model.state_dict(), plain.model.state_dict()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-4, msg=name)


def test_each_window_runs_through_the_trunk_once_and_in_a_second_training_none(make_trainer, tmp_path):
    first = make_trainer("first", steps=60, **kept(folder=str(tmp_path / "shared")))
    windows = count_windows(first)
    first.run()
    training, validation = drawn(first), validated(first)
    assert len(set(training)) < 0.8 * len(training)
    assert sum(windows) == len(set(training)) + validation == len(files(tmp_path / "shared"))
    second = make_trainer("second", steps=60, **kept(folder=str(tmp_path / "shared")))
    windows = count_windows(second)
    second.run()
    assert not windows and losses(second) == losses(first)


def test_a_training_that_was_killed_goes_on_from_what_is_there(make_trainer, tmp_path):
    straight = make_trainer("straight", **KEPT)
    straight.run()
    dies_in_step(make_trainer("killed", **KEPT), 3)
    there = len(files(tmp_path / "killed"))
    assert there
    resumed = make_trainer("killed", **KEPT)
    windows = count_windows(resumed)
    resumed.run()
    assert losses(resumed) == losses(straight)
    assert sum(windows) == len(files(tmp_path / "straight")) - there


def test_several_processes_share_it(make_trainer, tmp_path):
    settings = {"steps": 10, "batch_size": 5, "motif_pretraining_steps": 0, **KEPT}
    run(tmp_path / "together", 2, model=MODEL, settings=settings)
    alone = make_trainer(model=MODEL, **{"motif_loss": 0.2, "validate_every": 5, **settings, **FROZEN})
    alone.run()
    np.testing.assert_allclose(columns(tmp_path / "together", "loss"), losses(alone), rtol=0, atol=1e-5)
    assert len(files(tmp_path / "together/state")) == len({*drawn(alone)}) + validated(alone)


def another_seed(trunk: torch.nn.Module) -> None:
    torch.manual_seed(1)
    for weight in trunk.parameters():
        weight.data.normal_()


def another_statistic(trunk: torch.nn.Module) -> None:
    next(value for name, value in trunk.named_buffers() if name.endswith("running_mean")).add_(1)


@pytest.mark.parametrize("change", [another_seed, another_statistic])
def test_what_another_trunk_said_is_not_read(make_trainer, toy_model_of, tmp_path, change):
    settings = kept(folder=str(tmp_path / "shared"))
    make_trainer("first", **settings).run()
    before = len(files(tmp_path / "shared"))
    model = toy_model_of()
    change(model.trunk)
    other = make_trainer("other", model=model, **settings)
    windows = count_windows(other)
    other.run()
    assert sum(windows) == before == len(files(tmp_path / "shared")) - before


def test_a_state_of_other_weights_brings_the_embeddings_of_its_trunk(make_trainer, toy_model_of, tmp_path):
    """Weights that are drawn are not the same with each version of torch: what counts is the state's."""
    settings = kept(folder=str(tmp_path / "shared"))
    killed = make_trainer("state", **settings)
    dies_in_step(killed, 3)
    own = killed.cache.folder
    model = toy_model_of()
    another_seed(model.trunk)
    resumed = make_trainer("state", model=model, **settings)
    resumed.run()
    assert resumed.cache.folder == own and {path.parents[1] for path in files(tmp_path / "shared")} == {own}
    codes = two_windows(resumed)
    expected = killed.model.trunk.for_inference()(torch.as_tensor(codes), Stretch(1, 256, 256, 16))[:, 0]
    torch.testing.assert_close(resumed.cache.of(codes), expected, rtol=0, atol=1e-6)


def test_a_folder_that_was_moved_is_refused(make_trainer):
    folder = make_trainer(**KEPT).cache.folder
    (folder / "about.json").write_text("{}")
    with pytest.raises(InputError, match="another trunk"):
        make_trainer(**KEPT)


@pytest.mark.parametrize("content", [b"", b'{"bin": 1', b"\xff\xfe"])
def test_a_folder_that_does_not_say_what_it_is_is_told(make_trainer, content):
    folder = make_trainer(**KEPT).cache.folder
    (folder / "about.json").write_bytes(content)
    with pytest.raises(InputError, match="does not say which trunk") as caught:
        make_trainer(**KEPT)
    assert caught.value.file == folder and caught.value.key == "training.fine_tuning.cache.folder"
    assert "delete" in caught.value.mend


def test_a_folder_that_is_a_file_is_told(make_trainer, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/within"):
        with pytest.raises(InputError, match="no folder can be made") as caught:
            make_trainer(**kept(folder=str(folder)))
        assert caught.value.key == "training.fine_tuning.cache.folder"


def test_a_full_disk_ends_what_is_kept_and_not_the_training(make_trainer, small_disk, tmp_path, capsys):  # noqa: F811
    straight = make_trainer("straight", **KEPT)
    straight.run()
    (small_disk / "others").write_bytes(bytes(220_000))
    trainer = make_trainer("full", **kept(folder=str(small_disk / "kept")))
    trainer.run()
    assert losses(trainer) == losses(straight)
    there = files(small_disk)
    assert 0 < len(there) < len(files(tmp_path / "straight")) and trainer.cache.left == 0
    assert not list(small_disk.rglob(".*")), "nothing half-written"
    told = capsys.readouterr().err
    assert told.count("no more embeddings are kept") == 1 and str(trainer.cache.folder) in told
    # Another one goes on from those that are there, although it can write nothing at all.
    again = make_trainer("again", **kept(folder=str(small_disk / "kept")))
    again.run()
    assert losses(again) == losses(straight) and files(small_disk) == there


def test_a_file_that_is_no_embedding_is_told(make_trainer):
    trainer = make_trainer(**KEPT)
    codes = two_windows(trainer)[:1]
    trainer.cache.of(codes)
    path = trainer.cache._path(codes[0])
    for content in (b"", path.read_bytes()[:-1]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="no embedding of this trunk") as caught:
            trainer.cache.read(codes)
        assert caught.value.file == path
    np.save(path, np.zeros((3, 48), dtype=np.float32))
    with pytest.raises(InputError, match=r"float32 \(3, 48\)"):
        trainer.cache.read(codes)


def test_no_more_is_kept_than_there_is_room_for(make_trainer, tmp_path):
    window = 16 * 48 * 4
    room = kept(gigabytes=3.5 * window / 1e9)
    bounded, unbounded = make_trainer("bounded", **room), make_trainer("unbounded", **KEPT)
    for trainer in (bounded, unbounded):
        trainer.run()
    assert len(files(tmp_path / "bounded")) == 3
    assert losses(bounded) == losses(unbounded)
    again = make_trainer("bounded", **room)
    assert again.state.step == 0 and again.cache.left == int(0.5 * window) - 3 * 128


def test_half_precision_takes_half_and_rounds(make_trainer):
    half, single = (make_trainer(name, **kept(precision=name)) for name in ("fp16", "fp32"))
    codes = two_windows(half)
    first, exact = half.cache.of(codes), single.cache.of(codes)
    assert half.cache.window_bytes * 2 == single.cache.window_bytes
    assert torch.equal(half.cache.of(codes), first) and first.dtype == torch.float32
    torch.testing.assert_close(first, exact, rtol=2**-10, atol=1e-6)
    assert not torch.equal(first, exact)


def test_half_precision_holds_what_a_trunk_in_bfloat16_says(make_trainer, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    half, single = (make_trainer(name, precision="bf16", **kept(precision=name)) for name in ("fp16", "fp32"))
    codes = two_windows(half)
    torch.testing.assert_close(half.cache.of(codes), single.cache.of(codes), rtol=0, atol=1e-7)


def test_machines_of_several_kinds_keep_embeddings_apart(make_trainer, monkeypatch):
    folders = set()
    for instructions in (True, False):
        monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda found=instructions: found)
        folders.add(make_trainer(str(instructions), precision="bf16", **KEPT).cache.folder.name)
    assert len(folders) == 2
    assert make_trainer("single", precision="fp32", **KEPT).cache.folder.name in folders


def test_stretches_of_windows_are_cut_to_their_cores(make_trainer):
    trainer = make_trainer(**KEPT)
    stretch = Stretch(windows=3, length=256, core=128, bin=16)
    codes = torch.tensor(trainer.data.window_codes("train", 5, stretch.bp // 16))[None]
    expected = trainer.model.trunk.for_inference()(codes, stretch)
    for _ in range(2):
        torch.testing.assert_close(trainer.cache.of_stretches(codes, stretch), expected, rtol=0, atol=1e-6)
    assert len(files(trainer.cache.folder)) == 3


def test_numbers_that_half_precision_cannot_hold_are_told(make_trainer, toy_model_of):
    model = toy_model_of()
    model.trunk.for_inference = lambda: lambda codes, stretch: torch.full((len(codes), 1, 16, 48), 1e6)
    trainer = make_trainer(model=model, **kept(precision="fp16"))
    with pytest.raises(InputError, match="not finite in float16") as caught:
        trainer.cache.of(two_windows(trainer))
    assert caught.value.key == "training.fine_tuning.cache.precision" and "fp32" in caught.value.mend


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_numbers_that_are_none_are_the_trunk_s(make_trainer, toy_model_of, precision):
    model = toy_model_of()
    model.trunk.for_inference = lambda: lambda codes, stretch: torch.full((len(codes), 1, 16, 48), torch.nan)
    trainer = make_trainer(model=model, **kept(precision=precision))
    with pytest.raises(InputError, match="not finite") as caught:
        trainer.cache.of(two_windows(trainer))
    assert caught.value.key == "model.trunk" and "another trunk" in caught.value.mend


def test_where_embeddings_are_kept_changes_nothing(make_trainer):
    there, elsewhere = make_trainer(**KEPT), make_trainer(**kept(folder="/tmp/elsewhere", gigabytes=1))
    assert there.signature == elsewhere.signature != make_trainer(**FROZEN).signature


@pytest.fixture
def toy_model_of() -> Callable:
    from tests.training.conftest import toy_model

    return toy_model
