from __future__ import annotations

import numpy as np
import torch

from tfbind.factors.factorset import FactorInput, FactorSet, write_factor_set
from tfbind.factors.motifs import Motif
from tfbind.factors.physicochemical import PhysicochemicalEmbedder
from tfbind.model.batching import factor_batch, motif_scores, shuffle_proteins

MOTIF = Motif("M1", "ONE", np.array([[0.7, 0.1, 0.1, 0.1], [0, 1, 0, 0]]))


def factors(tmp_path, names):
    given = [
        FactorInput("LONG", None, "MKVLWMKVLW", MOTIF),
        FactorInput("SHORT", None, "MKV", None),
        FactorInput("MOTIF", None, None, MOTIF),
    ]
    write_factor_set(tmp_path / "set", given, PhysicochemicalEmbedder(), tmp_path / "cache")
    factor_set = FactorSet.open(tmp_path / "set")
    return factor_set, factor_batch(factor_set, names)


def test_factors_stand_in_the_order_that_was_asked_for(tmp_path):
    factor_set, batch = factors(tmp_path, ["MOTIF", "LONG", "SHORT"])
    assert len(batch) == 3
    assert batch.residue_mask.sum(1).tolist() == [0, 10, 3]
    assert batch.has_protein.tolist() == [False, True, True]
    assert batch.has_motif.tolist() == [True, True, False]
    np.testing.assert_array_equal(batch.embeddings[2, :3], factor_set.embedding("SHORT"))
    assert not batch.embeddings[2, 3:].any()
    np.testing.assert_allclose(batch.motifs[1][batch.motifs[1].any(1)], motif_scores(MOTIF))
    assert not batch.motifs[2].any()


def test_a_choice_of_factors_is_trimmed_to_its_longest_protein(tmp_path):
    _, batch = factors(tmp_path, ["MOTIF", "LONG", "SHORT"])
    chosen = batch.select(torch.tensor([2, 0]))
    assert chosen.embeddings.shape[1] == 3
    assert chosen.has_motif.tolist() == [False, True]


def test_factors_without_any_protein_or_any_motif(tmp_path):
    _, batch = factors(tmp_path, ["MOTIF"])
    assert batch.has_protein.tolist() == [False]
    _, batch = factors(tmp_path, ["SHORT"])
    assert batch.has_motif.tolist() == [False]


def test_a_base_that_was_never_seen_costs_a_few_nats_and_no_more():
    scores = motif_scores(MOTIF)
    assert scores.shape == (2, 4)
    assert scores.argmax(1).tolist() == [0, 1]
    assert -4 < scores.min() < -3


def test_shuffled_proteins_keep_their_residues_and_motifs(tmp_path):
    _, batch = factors(tmp_path, ["MOTIF", "LONG", "SHORT"])
    before = batch.embeddings.clone()
    shuffled = shuffle_proteins(batch, seed=1)
    assert torch.equal(batch.embeddings, before), "the factors themselves stay as they are"
    assert not torch.equal(shuffled.embeddings, batch.embeddings)
    for found, expected in zip(shuffled.embeddings, batch.embeddings, strict=True):
        assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))
    assert not shuffled.embeddings[~batch.residue_mask].any()
    assert torch.equal(shuffled.motifs, batch.motifs)
    assert torch.equal(shuffled.residue_mask, batch.residue_mask)
    assert torch.equal(shuffle_proteins(batch, seed=1).embeddings, shuffled.embeddings)
    assert not torch.equal(shuffle_proteins(batch, seed=2).embeddings, shuffled.embeddings)
