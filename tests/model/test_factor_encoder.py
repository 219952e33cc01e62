from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tfbind.factors.motifs import Motif
from tfbind.factors.physicochemical import PhysicochemicalEmbedder
from tfbind.model.factor_encoder import FactorEncoder, MotifDecoder, motif_reading_loss
from tfbind.model.factors import FactorBatch
from tfbind.model.motif_scan import pad_motifs
from tfbind.simulation.recognition import random_factor
from tfbind.training.loop import draw_motif_bases

LENGTHS = [40, 7, 23, 1, 0, 31, 12, 18, 25, 9, 3]


@pytest.fixture
def encoder(make_model):
    return make_model().head.encoder


def encode(encoder: FactorEncoder, factors: FactorBatch) -> list[torch.Tensor]:
    """Tokens, summary and motif."""
    with torch.no_grad():
        found = encoder(factors.embeddings, factors.residue_mask)
        return [encoder.tokens(found.pooled), encoder.summary(found.pooled, found.mask), found.motif]


def test_shapes(make_model, make_factors):
    model = make_model(factor_tokens=5, rank=12, hidden=10, motif_width=7)
    tokens, summary, motif = encode(model.head.encoder, make_factors(LENGTHS, [0] * 11))
    assert tokens.shape == (11, 5, 12)
    assert summary.shape == (11, 10)
    assert motif.shape == (11, 7, 4)
    torch.testing.assert_close(motif.mean(-1), torch.zeros(11, 7))


def test_a_factor_is_the_same_alone_and_in_company(encoder, make_factors):
    factors = make_factors(LENGTHS, [0] * 11)
    together = encode(encoder, factors)
    for row in range(len(LENGTHS)):
        alone = encode(encoder, factors.select(torch.tensor([row])))
        for found, expected in zip(alone, together, strict=True):
            torch.testing.assert_close(found[0], expected[row], atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing_whatever_it_holds(encoder, make_factors):
    factors = make_factors(LENGTHS, [0] * 11)
    garbage = torch.cat([factors.embeddings, torch.full((11, 9, 5), 7.0)], 1)
    garbage[:, :40][~factors.residue_mask] = -3.0
    mask = F.pad(factors.residue_mask, (0, 9))
    found = encode(encoder, FactorBatch(garbage, mask, factors.motifs, factors.has_motif))
    for padded, expected in zip(found, encode(encoder, factors), strict=True):
        torch.testing.assert_close(padded, expected, atol=1e-5, rtol=1e-5)


def test_the_order_of_factors_does_not_matter(encoder, make_factors):
    factors = make_factors(LENGTHS, [0] * 11)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
    shuffled = encode(encoder, factors.select(order))
    for found, expected in zip(shuffled, encode(encoder, factors), strict=True):
        torch.testing.assert_close(found, expected[order], atol=1e-5, rtol=1e-5)


def test_the_order_of_residues_does(encoder, make_factors):
    factors = make_factors([30], [0])
    mirrored = FactorBatch(factors.embeddings.flip(1), factors.residue_mask, factors.motifs, factors.has_motif)
    for found, expected in zip(encode(encoder, mirrored), encode(encoder, factors), strict=True):
        assert not torch.allclose(found, expected, atol=1e-3)


def test_a_factor_without_protein_reads_no_motif(encoder, make_factors):
    tokens, summary, motif = encode(encoder, make_factors([0, 0], [3, 3]))
    assert torch.isfinite(tokens).all()
    assert torch.isfinite(summary).all()
    assert not motif.any()


def spelling_decoder(width: int) -> MotifDecoder:
    """Reads residues that say plainly whether they are a contact (0), and for which base (1-4)."""
    decoder = MotifDecoder(5, width)
    with torch.no_grad():
        decoder.contact.weight.copy_(torch.tensor([[40.0, 0, 0, 0, 0]]))
        decoder.contact.bias.fill_(-20)
        decoder.base.weight.copy_(torch.eye(5)[1:] * 4)
        decoder.base.bias.zero_()
    return decoder


def chain(spaced: list[int | None]) -> torch.Tensor:
    residues = torch.zeros(1, len(spaced), 5)
    for place, base in enumerate(spaced):
        if base is not None:
            residues[0, place, 0] = residues[0, place, base + 1] = 1
    return residues


def test_contacts_are_laid_along_the_motif_in_the_order_of_the_chain():
    decoder, spelled = spelling_decoder(6), [2, 0, 3, 3, 1]
    close = chain(spelled)
    linked = chain([None] * 8 + [x for base in spelled for x in (base, *[None] * (base + 3))] + [None] * 30)
    for residues in (close, linked):
        with torch.no_grad():
            motif = decoder(residues, torch.ones(1, residues.shape[1], 1))[0]
        assert motif[:5].argmax(-1).tolist() == spelled
        torch.testing.assert_close(motif[:5].max(-1).values, torch.full((5,), 3.0), atol=1e-3, rtol=0)
        assert motif[5].abs().max() < 1e-3


def naive_spelling(contact, base, bases):
    """Probability of all readings of a chain that spell the bases or their reverse complement."""
    speak = contact.sigmoid().squeeze(-1)
    said = torch.cat([1 - speak[:, None], speak[:, None] * base.softmax(-1)], 1)
    targets = [[b + 1 for b in bases], [4 - b for b in reversed(bases)]]
    total = 0.0
    for path in itertools.product(range(5), repeat=len(said)):
        spoken = [symbol for symbol, _ in itertools.groupby(path) if symbol]
        total += sum(spoken == target for target in targets) * math.prod(
            float(said[place, symbol]) for place, symbol in enumerate(path)
        )
    return -math.log(total) / len(bases)


@pytest.mark.parametrize("bases", [[0, 1], [2], [3, 3], [1, 0, 2]])
def test_the_loss_sums_over_all_readings_of_both_strands(bases):
    torch.manual_seed(0)
    contact, base = torch.randn(1, 5, 1), torch.randn(1, 5, 4)
    padded = torch.tensor([bases + [0] * (4 - len(bases))])
    found = motif_reading_loss(
        contact, base, torch.ones(1, 5, dtype=torch.bool), padded, torch.tensor([len(bases)])
    )
    assert float(found) == pytest.approx(naive_spelling(contact[0], base[0], bases), rel=1e-4)


def test_the_loss_does_not_care_for_the_strand_nor_for_padding():
    torch.manual_seed(0)
    contact, base = torch.randn(3, 20, 1), torch.randn(3, 20, 4)
    lengths, widths = torch.tensor([20, 15, 9]), torch.tensor([6, 4, 3])
    mask = torch.arange(20) < lengths[:, None]
    bases = torch.randint(0, 4, (3, 6))
    mirrored = torch.zeros_like(bases)
    for row, width in enumerate(widths):
        mirrored[row, :width] = 3 - bases[row, :width].flip(0)
    loss = motif_reading_loss(contact, base, mask, bases, widths)
    torch.testing.assert_close(motif_reading_loss(contact, base, mask, mirrored, widths), loss)
    padding = (contact.masked_fill(~mask[..., None], 9.0), base.masked_fill(~mask[..., None], 9.0))
    torch.testing.assert_close(motif_reading_loss(*padding, mask, bases, widths), loss)


def test_a_protein_that_spells_its_motif_costs_next_to_nothing():
    spelled = [2, 0, 3, 1]
    decoder = spelling_decoder(4)
    with torch.no_grad():
        decoder.base.weight.mul_(5)
        contact, base = decoder.logits(chain([None, *spelled, None]))
    mask = torch.ones(1, 6, dtype=torch.bool)
    right = motif_reading_loss(contact, base, mask, torch.tensor([spelled]), torch.tensor([4]))
    wrong = motif_reading_loss(contact, base, mask, torch.tensor([[2, 0, 3, 3]]), torch.tensor([4]))
    assert right < 0.01
    assert wrong > 1


def recognised_factors(rng: np.random.Generator, count: int) -> FactorBatch:
    """Synthetic factors by the recognition code of TAL effectors, as the demo has them."""
    drawn = [random_factor(rng, int(rng.integers(8, 12))) for _ in range(count)]
    embedded = PhysicochemicalEmbedder().embed([protein for protein, _ in drawn])
    longest = max(map(len, embedded))
    embeddings = torch.stack([F.pad(torch.as_tensor(e), (0, 0, 0, longest - len(e))) for e in embedded])
    mask = torch.stack([torch.arange(longest) < len(e) for e in embedded])
    motifs, known = pad_motifs([Motif("m", "m", pwm).log_odds() for _, pwm in drawn])
    return FactorBatch(embeddings, mask, motifs, known)


def reading_loss(encoder: FactorEncoder, factors: FactorBatch, rng: np.random.Generator) -> torch.Tensor:
    residues = encoder.residues(factors.embeddings, factors.residue_mask.unsqueeze(-1).float())
    bases, widths = draw_motif_bases(factors, rng)
    return motif_reading_loss(*encoder.motif.logits(residues), factors.residue_mask, bases, widths)


def test_learns_a_recognition_code_that_holds_for_proteins_it_never_saw():
    rng = np.random.default_rng(2)
    torch.manual_seed(2)
    training, unseen = recognised_factors(rng, 24), recognised_factors(rng, 8)
    encoder = FactorEncoder(training.embeddings.shape[-1], hidden=48, tokens=2, token_dim=8, motif_width=12)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(100):
        chosen = torch.as_tensor(rng.permutation(24)[:16])
        loss = reading_loss(encoder, training.select(chosen), rng)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
    assert losses[0] > math.log(4), "it begins with guesses"
    assert losses[-1] < 1
    with torch.no_grad():
        assert reading_loss(encoder, unseen, rng) < 1
        read = encoder(unseen.embeddings, unseen.residue_mask).motif
    agreement = [best_agreement(own, known) for own, known in zip(read, unseen.motifs, strict=True)]
    assert np.mean(agreement) > 0.8


def best_agreement(read: torch.Tensor, known: torch.Tensor) -> float:
    """Correlation of a motif that was read with the known one, on the strand and at the shift that fit best."""
    known = known[known.abs().sum(1) > 0]
    known = known - known.mean(1, keepdim=True)
    return max(
        float(torch.cosine_similarity(strand[start : start + len(known)].flatten(), known.flatten(), dim=0))
        for strand in (read, read.flip(0, 1))
        for start in range(len(read) - len(known) + 1)
    )
