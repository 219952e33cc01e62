"""`Model`, as a user of tf-bind-transformer would call it, at small sizes."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from enformer_pytorch import Enformer
from scipy.stats import pearsonr
from sklearn.metrics import log_loss

import tfbind
from tfbind import Model
from tfbind.config import TrunkSettings
from tfbind.core.errors import InputError
from tfbind.factors.physicochemical import PhysicochemicalEmbedder
from tfbind.model.checkpoint import load_checkpoint
from tfbind.model.conditioning import CONDITIONERS
from tfbind.model.interaction import INTERACTIONS
from tfbind.model.losses import binding_loss
from tfbind.model.trunk import DilatedTrunk

BIN, BINS, KEPT, DIM, CONTEXT = 16, 12, 8, 5, 6
SMALL = {"rank": 12, "heads": 3, "hidden": 10, "factor_tokens": 4, "motif_width": 6}
LOSSES = ["poisson", "poisson_multinomial", "pearson", "binding", "peak_score"]


def small_enformer(**changes: Any) -> Enformer:
    torch.manual_seed(0)
    sizes = {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6, "num_downsamples": 4}
    return Enformer.from_hparams(**{**sizes, "output_heads": {}, "target_length": KEPT, **changes})


def make(**changes: Any) -> Model:
    """A model with shaken weights."""
    given = {
        "enformer": small_enformer(),
        "aa_embed_dim": DIM,
        "contextual_embed_dim": CONTEXT,
        **SMALL,
        **changes,
    }
    torch.manual_seed(1)
    model = Model(**given)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return model


def inputs(sequences: int = 2, factors: int = 2, cells: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {
        "seq": torch.randint(0, 5, (sequences, BIN * BINS), generator=generator),
        "aa_embed": torch.randn(factors, 20, DIM, generator=generator),
        "aa_mask": torch.arange(20) < torch.tensor([20, 13, 7, 16][:factors])[:, None],
        "contextual_embed": torch.randn(cells, CONTEXT, generator=generator),
    }


def targets(loss: str, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(8)
    values = torch.rand(*shape, generator=generator) * 4
    return (values > 3).long() if loss == "binding" else values


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_the_snippet_of_the_predecessor_runs():
    enformer = small_enformer()
    model = Model(enformer=enformer, aa_embed_dim=512, contextual_embed_dim=256)
    seq = torch.randint(0, 4, (1, BIN * BINS))
    known = {
        "aa_embed": torch.randn(1, 1024, 512),
        "aa_mask": torch.ones(1, 1024).bool(),
        "contextual_embed": torch.randn(1, 256),
    }
    target = torch.rand(1, KEPT)
    loss = model(seq, **known, target=target)
    loss.backward()
    assert loss.shape == ()
    corr = model(seq, **known, target=target, return_corr_coef=True)
    assert corr.shape == (1,)
    model.eval()
    predicted = model(seq, **known)
    assert predicted.shape == (1, KEPT)
    corr = model(seq, **known, target=target, return_corr_coef=True)
    assert corr.item() == pytest.approx(pearsonr(predicted[0].detach(), target[0]).statistic, abs=1e-5)


def test_what_is_not_an_argument_is_an_error():
    with pytest.raises(TypeError, match="no argument 'hedas': did you mean 'heads'"):
        make(hedas=2)
    with pytest.raises(TypeError, match="aa_embedd"):
        make()(inputs()["seq"], aa_embedd=torch.zeros(2, 3, DIM))
    with pytest.raises(TypeError, match="takes no target"):
        make().predict(**inputs(), target=torch.zeros(2, KEPT))
    with pytest.raises(AttributeError, match="has no attribute 'Modell'"):
        _ = tfbind.Modell


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("conditioning", ["none", *CONDITIONERS])
@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_every_interaction_conditioning_and_loss(interaction, conditioning, loss, tmp_path):
    """It builds, runs forward and backward, saves, loads, and says the same after loading."""
    model = make(
        interaction=interaction,
        joint={"heads": 2, "dim_head": 4},
        conditioning=dict.fromkeys(("dna", "factor", "interaction"), conditioning),
        loss=loss,
    )
    given = inputs()
    found = model(**given, target=targets(loss, 2, KEPT))
    assert isinstance(found, torch.Tensor)
    assert found.shape == ()
    found.backward()
    reached = [p.grad for name, p in model.named_parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in reached)
    assert len(reached) > 40
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert loaded.weights == {loss: 1.0}
    assert torch.equal(loaded.predict(**given), model.predict(**given))
    with torch.no_grad():
        assert torch.equal(
            loaded(**given, target=targets(loss, 2, KEPT)), model.eval()(**given, target=targets(loss, 2, KEPT))
        )


def test_sequences_may_be_codes_one_hot_or_strings():
    model, given = make().eval(), inputs()
    seq = given.pop("seq")
    expected = model(seq, **given)
    close(model(seq.to(torch.uint8), **given), expected)
    one_hot = torch.nn.functional.one_hot(seq, 5)[..., :4].float()
    close(model(one_hot, **given), expected)
    strings = ["".join("ACGTN"[code] for code in row) for row in seq.tolist()]
    close(model(strings, **given), expected)
    close(model([each.lower() for each in strings], **given), expected)
    single = {name: value[:1] for name, value in given.items()}
    close(model(strings[0], **single), expected[:1])
    # N is no A.
    assert not torch.allclose(model(torch.where(seq == 4, 0, seq), **given), expected, atol=1e-4)


def test_gradients_reach_a_one_hot_sequence():
    model, given = make().eval(), inputs()
    one_hot = torch.nn.functional.one_hot(given.pop("seq"), 5)[..., :4].float().requires_grad_()
    model(one_hot, **given, motif=torch.randn(2, 7, 4)).sum().backward()
    assert one_hot.grad.abs().sum(2)[:, BIN * 3 : BIN * 9].min() > 0


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seq": torch.full((2, BIN * BINS), 7)}, "seq"),
        ({"seq": torch.full((2, BIN * BINS), -1)}, "seq"),
        ({"seq": torch.zeros(2, BIN * BINS)}, "seq"),
        ({"seq": ["ACGT", "ACG"]}, "seq"),
        ({"seq": ["ACXZ" * BIN * 3] * 2}, "seq"),
        ({"seq": torch.zeros(2, BIN * BINS + 3, dtype=torch.long)}, "windows.length"),
        ({"seq": torch.zeros(2, BIN * 2, dtype=torch.long)}, "target_length"),
        ({"aa_embed": torch.zeros(2, 20, DIM + 1)}, "aa_embed"),
        ({"aa_embed": None, "aa_mask": None}, "aa_embed"),
        ({"aa_mask": torch.ones(2, 19, dtype=torch.bool)}, "aa_mask"),
        ({"aa_mask": torch.ones(2, 20)}, "aa_mask"),
        ({"aa_embed": torch.zeros(3, 20, DIM), "aa_mask": None}, "pairs"),
        ({"motif": torch.zeros(3, 7, 4)}, "motif"),
        ({"contextual_embed": torch.zeros(2, CONTEXT - 1)}, "contextual_embed"),
        ({"contextual_mask": torch.ones(3, dtype=torch.bool)}, "contextual_mask"),
        ({"accessibility": torch.ones(2, KEPT)}, "accessibility"),
        ({"accessibility": -torch.ones(2, BINS)}, "accessibility"),
        ({"pairs": "every"}, "pairs"),
        ({"pairs": torch.tensor([[0, 2]])}, "pairs"),
        ({"target": torch.zeros(2, KEPT + 1)}, "target['track']"),
        ({"target": {"binding": torch.zeros(2, KEPT)}}, "target"),
        ({"return_corr_coef": True}, "target"),
        ({"target": {}, "return_corr_coef": True}, "target"),
        ({"target": torch.zeros(2, KEPT), "target_mask": torch.ones(2, KEPT)}, "target_mask"),
        ({"seq": torch.zeros(0, BIN * BINS, dtype=torch.long)}, "seq"),
        ({"aa": ["MKV", "MK"]}, "aa"),
        ({"contextual_text": ["liver", "blood"]}, "contextual_text"),
    ],
)
def test_what_is_wrong_with_an_argument_is_told(change, key):
    with pytest.raises(InputError) as caught:
        make()(**{**inputs(), **change})
    assert caught.value.key == key
    assert caught.value.mend


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"loss": "mse"}, "loss"),
        ({"loss": {}}, "loss"),
        ({"target_length": 0}, "target_length"),
        ({"focal_gamma": -1.0}, "focal_gamma"),
        ({"loss": {"poisson": 0.0}}, "loss"),
        ({"heads": 5}, "Model()"),
        ({"interaction": "sum"}, "Model()"),
        ({"fine_tuning": "some"}, "fine_tuning"),
        ({"fine_tuning": {"mode": "frozen", "cache": {}}}, "fine_tuning.cache"),
        ({"conditioning": {"factor": "film"}, "contextual_embed_dim": None}, "model.conditioning.factor"),
    ],
)
def test_what_is_wrong_with_a_setting_is_told(change, key):
    with pytest.raises(InputError) as caught:
        make(**change)
    assert caught.value.key == key


def test_everything_optional_may_be_left_out():
    model, given = make().eval(), inputs()
    whole = model(given["seq"], aa_embed=given["aa_embed"])
    assert whole.shape == (2, KEPT)
    close(model(given["seq"], aa_embed=given["aa_embed"], aa_mask=torch.ones(2, 20, dtype=torch.bool)), whole)
    hidden = {"contextual_embed": given["contextual_embed"], "contextual_mask": torch.zeros(2, dtype=torch.bool)}
    close(model(given["seq"], aa_embed=given["aa_embed"], **hidden), whole)
    alone = model(given["seq"], motif=torch.randn(2, 7, 4))
    assert not torch.allclose(alone[0], alone[1])
    # One factor for all sequences.
    one = model(given["seq"], aa_embed=given["aa_embed"][:1])
    close(one[0], whole[0])
    plain = Model(enformer=small_enformer(), aa_embed_dim=DIM, **SMALL)
    assert plain(given["seq"], aa_embed=given["aa_embed"]).shape == (2, KEPT)


def test_one_sequence_with_many_factors_and_cell_types_runs_the_trunk_once():
    model, given = make().eval(), inputs(1, 4, 3)
    calls = []
    model.network.trunk.register_forward_hook(lambda *_: calls.append(1))
    accessibility = torch.rand(1, BINS, 3)
    grid = model(**given, accessibility=accessibility, pairs="all")
    assert grid.shape == (1, KEPT, 4, 3)
    assert len(calls) == 1
    pairs = torch.tensor([[3, 0], [1, 2], [1, 2], [0, 1]])
    found = model(**given, accessibility=accessibility, pairs=pairs)
    assert found.shape == (1, KEPT, 4)
    close(found, torch.stack([grid[:, :, t, c] for t, c in pairs.tolist()], -1))
    for t, c in itertools.product(range(4), range(3)):
        alone = model(
            given["seq"],
            aa_embed=given["aa_embed"][[t]],
            aa_mask=given["aa_mask"][[t]],
            contextual_embed=given["contextual_embed"][[c]],
            accessibility=accessibility[..., c],
        )
        close(alone, grid[:, :, t, c])


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_permuting_factors_permutes_tracks(interaction):
    model, given = make(interaction=interaction).eval(), inputs(2, 4, 2)
    order = torch.tensor([2, 0, 3, 1])
    grid = model(**given, pairs="all")
    permuted = {**given, "aa_embed": given["aa_embed"][order], "aa_mask": given["aa_mask"][order]}
    close(model(**permuted, pairs="all"), grid[:, :, order])
    few = {**given, "aa_embed": given["aa_embed"][1:3], "aa_mask": given["aa_mask"][1:3]}
    close(model(**few, pairs="all"), grid[:, :, 1:3])
    rows = {**given, "seq": given["seq"][1:]}
    close(model(**rows, pairs="all"), grid[1:])


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_padding_residues_change_nothing(interaction):
    model, given = make(interaction=interaction).eval(), inputs()
    longer = torch.cat([given["aa_embed"], torch.full((2, 9, DIM), 30.0)], 1)
    mask = torch.cat([given["aa_mask"], torch.zeros(2, 9, dtype=torch.bool)], 1)
    close(model(**{**given, "aa_embed": longer, "aa_mask": mask}), model(**given))


@pytest.mark.parametrize("loss", ["binding", "poisson"])
@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_both_strands_together_are_symmetric(interaction, loss):
    model, given = make(interaction=interaction, loss=loss), inputs()
    seq = given.pop("seq")
    accessibility = torch.rand(2, BINS)
    other = torch.where(seq < 4, 3 - seq, seq).flip(1)
    both = {"average_reverse_complement": True, "motif": torch.randn(2, 7, 4)}
    found = model.predict(seq, **given, accessibility=accessibility, **both)
    mirrored = model.predict(other, **given, accessibility=accessibility.flip(1), **both)
    close(mirrored.flip(1), found, 1e-6)
    one = model.predict(seq, **given, accessibility=accessibility, motif=both["motif"])
    assert not torch.allclose(found, one, rtol=1e-3, atol=0)
    assert loss == "poisson" or (found.min() > 0 and found.max() < 1)


def test_a_middle_that_is_none_is_not_mirrored():
    model, given = make(target_length=7), inputs()
    assert model.predict(**given).shape == (2, 7)
    with pytest.raises(InputError, match="not the middle"):
        model.predict(**given, average_reverse_complement=True)


def test_a_model_that_predicted_first_can_be_trained():
    model, given = make(target_length=3).eval(), inputs()
    given["seq"] = given["seq"][:, : BIN * 7]  # a length that no other test has
    model.predict(**given)
    model(**given, target=targets("poisson", 2, 3)).backward()


def test_predicting_leaves_the_model_as_it_was():
    model, given = make(), inputs()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(model.predict(**given), model.predict(**given)), "no dropout"
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_middle_is_what_the_whole_has_there():
    model, given = make().eval(), inputs()
    whole = make(target_length=BINS).eval()
    whole.load_state_dict(model.state_dict())
    # At the ends, motifs and accessibility would need what is cut off: here there is a margin of 2 bins only.
    close(whole(**given)[:, 4:8], model(**given)[:, 2:6], 1e-4)


def test_several_losses_add_up():
    weights = {"poisson": 1.0, "pearson": 0.5, "binding": 2.0, "peak_score": 0.1}
    model, given = make(loss=weights).eval(), inputs()
    target = {name: targets(name, 2, KEPT) for name in ("track", "binding", "peak_score")}
    parts = []
    for name, weight in weights.items():
        model.weights = {name: 1.0}
        parts.append(weight * model(**given, target=target).item())
    model.weights = weights
    assert model(**given, target=target).item() == pytest.approx(sum(parts), rel=1e-5)
    with pytest.raises(InputError, match="there is none of binding"):
        model(**given, target=target["track"])


def test_the_loss_of_binding_masks_what_is_not_known():
    model, given = make(loss="binding").eval(), inputs()
    labels = targets("binding", 2, KEPT)
    mask = torch.ones(2, KEPT, dtype=torch.bool)
    mask[:, 2] = False
    masked = model(**given, target=labels, target_mask=mask)
    wrong = labels.clone()
    wrong[:, 2] = 1 - wrong[:, 2]
    close(model(**given, target=wrong, target_mask=mask), masked)
    unknown = labels.float()
    unknown[:, 2] = torch.nan
    close(model(**given, target=unknown), masked)
    coded = torch.where(mask, labels, 2).to(torch.uint8)
    close(binding_loss(model(**given)[..., None], coded[..., None]), masked)
    with pytest.raises(InputError, match="labels are 1"):
        model(**given, target=torch.full((2, KEPT), 3))


@pytest.mark.parametrize("loss", ["binding", "poisson", "peak_score"])
def test_the_loss_is_of_what_is_predicted(loss):
    """Probabilities that are shown are those that the loss made so: no sigmoid comes after a loss of logits."""
    model, given = make(loss=loss).eval(), inputs()
    target = targets(loss, 2, KEPT)
    found, target_of = model.predict(**given).double().numpy(), target.double().numpy()
    expected = {
        "binding": lambda: log_loss(target_of.ravel(), found.ravel()),
        "poisson": lambda: np.mean(found - target_of * np.log(found)),
        "peak_score": lambda: np.mean(
            np.where(
                (error := np.abs(found + model.depth.effects[1].item() - np.log1p(target_of))) < 1,
                error**2 / 2,
                error - 0.5,
            )
        ),
    }[loss]()
    assert model(**given, target=target).item() == pytest.approx(expected, rel=1e-4)


def test_a_read_depth_shifts_peak_scores_of_training_alone():
    model, given = make(loss="peak_score").eval(), inputs()
    score = targets("peak_score", 2, KEPT)
    with torch.no_grad():
        model.depth.effects.copy_(torch.tensor([1.0, 0.5]))
        shallow, deep = (float(model(**given, target=score, depth=torch.full((2,), d))) for d in (-1.0, 1.0))
        assert shallow != pytest.approx(deep)
        assert float(model(**given, target=score)) == pytest.approx(
            float(model(**given, target=score, depth=torch.full((2,), 0.5)))
        )
    close(model(**given), make(loss="peak_score").eval()(**given))


def test_a_saved_model_takes_no_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="something else than a model"):
        make().save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years"
    make().save(tmp_path / "model")
    make().save(tmp_path / "model")


def test_a_loaded_model_trains_as_it_is_told(tmp_path):
    make(fine_tuning="frozen").save(tmp_path / "model")
    frozen = Model.load(tmp_path / "model", fine_tuning="frozen")
    assert not any(weight.requires_grad for weight in frozen.network.trunk.parameters())
    whole = Model.load(tmp_path / "model", gradient_checkpointing=True)
    assert all(weight.requires_grad for weight in whole.network.trunk.parameters())
    assert whole.network.trunk.gradient_checkpointing


def test_what_a_workflow_says_of_its_model_stays_with_it(tiny_run, tmp_path):
    model = Model.load(tiny_run.results / "model")
    assert model.primary == "binding"
    model.save(tmp_path / "again")
    assert load_checkpoint(tmp_path / "again").about["manifest"] == model.about["manifest"]


def test_each_sequence_meets_its_own_factor_alone():
    model, given = make(interaction="joint").eval(), inputs(4, 4, 4)
    shapes = []
    model.network.head.interaction.register_forward_hook(lambda _, args, found: shapes.append(found.shape))
    model(**given)
    assert [shape[2] for shape in shapes] == [1] * 4


def test_an_autocast_of_the_callers_leaves_the_head_alone():
    model, given = make().eval(), inputs()
    expected = model(**given)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(**given)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)


def test_targets_below_0_are_warned_of():
    with pytest.warns(UserWarning, match="below 0"):
        make()(**inputs(), target=torch.randn(2, KEPT))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(loss="pearson")(**inputs(), target=torch.randn(2, KEPT))


@pytest.mark.parametrize("mode", ["all", "frozen", "norms", {"mode": "last", "last": 1}, "lora"])
def test_fine_tuning_trains_what_it_says(mode):
    model = make(fine_tuning=mode)
    before = {name: value.clone() for name, value in model.network.trunk.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model(**inputs(), target=targets("poisson", 2, KEPT)).backward()
        optimizer.step()
    after = model.network.trunk.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
    trains = {name for name, weight in model.network.trunk.named_parameters() if weight.requires_grad}
    assert moved >= trains
    assert bool(trains) == (mode != "frozen")
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert moved - trains <= (statistics if mode == "all" else set())


def test_a_model_takes_another_trunk():
    settings = TrunkSettings(kind="dilated", dim=16, depth=1)
    model = Model(trunk=DilatedTrunk(settings, BIN), aa_embed_dim=DIM, **SMALL)
    found = model(inputs()["seq"], aa_embed=inputs()["aa_embed"])
    assert found.shape == (2, BINS)
    with pytest.raises(TypeError, match="either an enformer or a trunk"):
        Model(aa_embed_dim=DIM)


def test_proteins_and_descriptions_may_be_strings():
    class Words:
        """Texts as counts of a few letters."""

        def encode(self, texts):
            return np.array([[text.count(letter) for letter in "abcdef"] for text in texts], dtype=np.float32)

    embedder = PhysicochemicalEmbedder()
    model = make(aa_embed_dim=embedder.dim, aa_embedder=embedder, text_encoder=Words()).eval()
    proteins, texts = ["MKVLA" * 4, "MAHHC"], ["a cab", ""]
    seq = inputs()["seq"]
    found = model(seq, aa=proteins, contextual_text=texts)
    long, short = (torch.as_tensor(each) for each in embedder.embed(proteins))
    padded = torch.stack([long, torch.nn.functional.pad(short, (0, 0, 0, 15))])
    context = torch.tensor([[2.0, 1, 1, 0, 0, 0], [0.0] * 6])
    known = {"contextual_embed": context, "contextual_mask": torch.tensor([True, False])}
    mask = torch.arange(20) < torch.tensor([20, 5])[:, None]
    close(model(seq, aa_embed=padded, aa_mask=mask, **known), found)


def test_a_complex_is_its_proteins_one_after_the_other():
    embedder = PhysicochemicalEmbedder()
    model = make(aa_embed_dim=embedder.dim, aa_embedder=embedder).eval()
    seq = inputs()["seq"]
    found = model(seq, aa=["MKVLA", ("MAHHC", "WWK")])
    single, first, second = (torch.as_tensor(each) for each in embedder.embed(["MKVLA", "MAHHC", "WWK"]))
    padded = torch.stack([torch.nn.functional.pad(single, (0, 0, 0, 3)), torch.cat([first, second])])
    close(model(seq, aa_embed=padded, aa_mask=torch.arange(8) < torch.tensor([5, 8])[:, None]), found)
    with pytest.raises(InputError, match="without a protein"):
        model(seq, aa=["MKVLA", ()])


def test_both_strands_embed_a_protein_once():
    embedder, calls = PhysicochemicalEmbedder(), []

    class Counted:
        def embed(self, sequences):
            calls.append(len(sequences))
            return embedder.embed(sequences)

    model = make(aa_embed_dim=embedder.dim, aa_embedder=Counted())
    seq, proteins = inputs()["seq"], ["MKVLA" * 4, "MAHHC"]
    found = model.predict(seq, aa=proteins, average_reverse_complement=True)
    assert calls == [2]
    one, other = (model.predict(each, aa=proteins) for each in (seq, torch.where(seq < 4, 3 - seq, seq).flip(1)))
    close(found, (one + other.flip(1)) / 2)


def test_precision_of_the_trunk_changes_little():
    model, given = make().eval(), inputs()
    with torch.no_grad():
        half = model(**given, precision=torch.bfloat16)
        torch.testing.assert_close(half, model(**given), atol=0.2, rtol=0.1)
    assert half.dtype == torch.float32
