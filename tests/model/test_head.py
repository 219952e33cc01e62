from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tfbind.config import ModelSettings
from tfbind.model.context_encoder import ACCESSIBILITY_REACH
from tfbind.model.factors import FactorBatch
from tfbind.model.shape import ModelShape

BINS, CELLS = 10, 3


@pytest.fixture
def world(codes, make_factors, make_contexts):
    """Two windows, five factors (the last two without motif, without protein), three cell types."""
    rng = np.random.default_rng(5)
    accessibility = torch.as_tensor(rng.exponential(size=(2, BINS, CELLS)), dtype=torch.float32)
    return {
        "codes": codes(2, BINS * 16),
        "factors": make_factors([30, 12, 21, 17, 0], [5, 8, 6, 0, 7]),
        "contexts": make_contexts(accessibility, [True, True, False]),
    }


ALL_PAIRS = torch.cartesian_prod(torch.arange(5), torch.arange(CELLS))


def predict(model, world, pairs=ALL_PAIRS, *, contexts=None, factors=None, **known):
    """Logits; `known` replaces parts of what is known of the cell types."""
    with torch.no_grad():
        return model(
            world["codes"],
            factors or world["factors"],
            replace(contexts or world["contexts"], **known),
            torch.as_tensor(pairs),
        ).binding


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def differ(a, b):
    assert not torch.allclose(a, b, atol=1e-3)


def test_a_pair_does_not_depend_on_which_others_are_asked_for(make_model, world):
    model = make_model()
    everything = predict(model, world)
    assert everything.shape == (2, BINS, 15)
    assert torch.isfinite(everything).all()
    for column, pair in enumerate(ALL_PAIRS.tolist()):
        close(predict(model, world, [pair])[..., 0], everything[..., column])


def test_logits_come_in_the_order_of_the_pairs_and_repeated_ones_repeat(make_model, world):
    model = make_model()
    everything = predict(model, world)
    order = torch.tensor([7, 0, 14, 3, 3, 8, 1, 0])
    close(predict(model, world, ALL_PAIRS[order]), everything[..., order])


def test_a_factor_does_not_depend_on_the_other_factors(make_model, world):
    model = make_model()
    everything = predict(model, world)
    for factor in range(5):
        alone = world["factors"].select(torch.tensor([factor]))
        found = predict(model, world, [(0, cell) for cell in range(CELLS)], factors=alone)
        close(found, everything[..., ALL_PAIRS[:, 0] == factor])


def test_windows_do_not_depend_on_their_batch(make_model, world):
    model = make_model()
    together = predict(model, world)
    for window in range(2):
        part = slice(window, window + 1)
        alone = {**world, "codes": world["codes"][part]}
        close(predict(model, alone, accessibility=world["contexts"].accessibility[part]), together[part])


def test_towers_run_once_a_factor_and_once_a_cell_type(make_model, world):
    model, seen = make_model(), {}
    for name in ("encoder", "pair", "accessibility", "to_u"):
        module = getattr(model.head, name)
        module.register_forward_hook(
            lambda _, inputs, __, name=name: seen.setdefault(name, []).append(getattr(inputs[0], "shape", ()))
        )
    predict(model, world)
    calls = {name: len(found) for name, found in seen.items()}
    assert calls == {"encoder": 1, "pair": 1, "accessibility": 1, "to_u": CELLS}
    assert seen["encoder"][0][0] == 5
    assert seen["pair"][0][:3] == (2, BINS, 5)


def test_cell_types_differ_by_their_tracks_alone(make_model, world):
    model = make_model()
    same = world["contexts"].accessibility[..., :1].expand(-1, -1, CELLS)
    found = predict(model, world, accessibility=same, has_track=torch.ones(3, dtype=torch.bool))
    close(found[..., 0], found[..., 1])
    before = predict(model, world)
    differ(before[..., 0], before[..., 1])


def test_no_track_is_not_a_track_of_zeros(make_model, world):
    model = make_model()
    silent = world["contexts"].accessibility.clone()
    silent[..., 2] = 0
    missing = predict(model, world, [(0, 2)], accessibility=silent)
    zero = predict(model, world, [(0, 2)], accessibility=silent, has_track=torch.ones(3, dtype=torch.bool))
    differ(missing, zero)
    close(predict(model, world, [(0, 2)]), missing)


def without(factors: FactorBatch, *, protein: bool = False, motif: bool = False) -> FactorBatch:
    mask = torch.zeros_like(factors.residue_mask) if protein else factors.residue_mask
    known = torch.zeros_like(factors.has_motif) if motif else factors.has_motif
    return FactorBatch(factors.embeddings, mask, factors.motifs, known)


def test_without_proteins_their_residues_make_no_difference(make_model, world, make_factors):
    model, factors = make_model(), world["factors"]
    others = make_factors([30, 12, 21, 17, 0], [5, 8, 6, 0, 7], seed=9)
    others.motifs = factors.motifs
    differ(predict(model, world), predict(model, world, factors=others))
    hidden = predict(model, world, factors=without(factors, protein=True))
    close(predict(model, world, factors=without(others, protein=True)), hidden)
    differ(hidden[..., :3], hidden[..., 3:6])  # motifs still tell factors apart


def test_without_motifs_their_matrices_make_no_difference(make_model, world, make_factors):
    model, factors = make_model(), world["factors"]
    others = FactorBatch(factors.embeddings, factors.residue_mask, -2 * factors.motifs, factors.has_motif)
    differ(predict(model, world)[..., :3], predict(model, world, factors=others)[..., :3])
    hidden = predict(model, world, factors=without(factors, motif=True))
    close(predict(model, world, factors=without(others, motif=True)), hidden)
    differ(hidden[..., :3], hidden[..., 3:6])  # proteins still tell factors apart


def test_motifs_and_proteins_are_hidden_in_training_alone_and_never_both(make_model, make_factors):
    kinds = [(20, 5)] * 400 + [(20, 0)] * 20 + [(0, 5)] * 20
    factors = make_factors([length for length, _ in kinds], [width for _, width in kinds])
    model = make_model(motif_dropout=0.3, protein_dropout=0.25)
    code = model.head.encode_factors(factors)
    assert torch.equal(code.has_motif, factors.has_motif)
    assert torch.equal(code.has_protein, factors.has_protein)
    model.train()
    torch.manual_seed(0)
    code = model.head.encode_factors(factors)
    assert (code.has_motif | code.has_protein).all()
    both = slice(0, 400)
    assert 1 - float(code.has_motif[both].float().mean()) == pytest.approx(0.3, abs=0.08)
    assert 1 - float(code.has_protein[both].float().mean()) == pytest.approx(0.25, abs=0.08)
    assert code.has_protein[400:420].all()
    assert code.has_motif[420:].all()
    assert torch.equal(factors.has_protein, factors.residue_mask.any(1))


def test_dropouts_that_would_hide_both_are_refused():
    with pytest.raises(ValidationError, match="never without both"):
        ModelSettings(motif_dropout=0.7, protein_dropout=0.4)


def test_the_first_predictions_are_rare(world):
    from tfbind.model.binding import BindingModel

    torch.manual_seed(3)
    model = BindingModel(
        ModelSettings.model_validate(
            {"trunk": {"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6}, "rank": 12, "heads": 3}
        ),
        ModelShape(bin=16, residue_dim=5),
    ).eval()
    assert float(predict(model, world).sigmoid().mean()) < 0.05


def test_autocast_of_the_trunk_changes_little(make_model, world):
    model = make_model()
    full = predict(model, world)
    with torch.no_grad():
        half = model(**world, pairs=ALL_PAIRS, trunk_dtype=torch.bfloat16).binding
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.3, rtol=0.1)


def test_gradients_reach_every_part(make_model, world):
    model = make_model().train()
    torch.manual_seed(0)
    model(**world, pairs=ALL_PAIRS).binding.square().mean().backward()
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not torch.isfinite(parameter.grad).all() or not parameter.grad.any()
    ]
    assert not silent


def test_accessibility_around_a_window_reaches_its_edges_and_no_further(make_model, world):
    """With enough of it around, the edges of a window see what they would see in a longer stretch."""
    model = make_model()
    around = torch.rand(2, BINS + 2 * (ACCESSIBILITY_REACH + 5), CELLS)
    enough = around[:, 5:-5]
    close(predict(model, world, accessibility=enough), predict(model, world, accessibility=around))
    differ(predict(model, world, accessibility=enough), predict(model, world, accessibility=enough[:, 6:-6]))
    with pytest.raises(ValueError, match="not even"):
        predict(model, world, accessibility=enough[:, 1:])
