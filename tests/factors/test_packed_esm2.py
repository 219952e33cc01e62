"""ESM-2 without padding: fair-esm's own forward, piece by piece, is what it must equal."""

from __future__ import annotations

import pytest
import torch

from tfbind.factors.packed_esm2 import packed_representations


@pytest.fixture(scope="module")
def model():
    from esm.model.esm2 import ESM2

    torch.manual_seed(0)
    return ESM2(num_layers=3, embed_dim=40, attention_heads=5).eval().requires_grad_(False)


def drawn(model, *lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ends = [torch.tensor([index]) for index in (model.cls_idx, model.eos_idx)]
    return [
        torch.cat([ends[0], torch.randint(4, 29, (length,), generator=generator), ends[1]]) for length in lengths
    ]


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_equals_fair_esms_forward_of_each_piece_alone(model, layer):
    pieces = drawn(model, 70, 33, 33, 1)
    for piece, found in zip(pieces, packed_representations(model, pieces, layer), strict=True):
        expected = model(piece[None], repr_layers=[layer])["representations"][layer][0]
        assert found.shape == expected.shape == (len(piece), 40)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_equals_fair_esms_forward_of_a_padded_batch(model):
    pieces = drawn(model, 50, 20, 3)
    tokens = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True, padding_value=model.padding_idx)
    expected = model(tokens, repr_layers=[3])["representations"][3]
    for row, (piece, found) in enumerate(zip(pieces, packed_representations(model, pieces, 3), strict=True)):
        torch.testing.assert_close(found, expected[row, : len(piece)], rtol=0, atol=1e-5)


def test_without_the_scale_of_masking(model):
    model.token_dropout = False
    try:
        pieces = drawn(model, 12, 5)
        for piece, found in zip(pieces, packed_representations(model, pieces, 3), strict=True):
            expected = model(piece[None], repr_layers=[3])["representations"][3][0]
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    finally:
        model.token_dropout = True


def test_nothing_beside_a_piece_matters(model):
    pieces = drawn(model, 40, 30, 20)
    alone = packed_representations(model, pieces[1:2], 3)[0]
    together = packed_representations(model, pieces, 3)[1]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
