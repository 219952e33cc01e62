from __future__ import annotations

import pytest
import torch


@pytest.fixture
def window(codes, make_factors, make_contexts):
    return {
        "codes": codes(2, 16 * 9),
        "factors": make_factors([9, 0], [5, 6]),
        "contexts": make_contexts(torch.rand(2, 9, 1)),
        "pairs": torch.tensor([[0, 0], [1, 0]]),
    }


@pytest.mark.parametrize("panel", [0, 3])
def test_dna_tokens_are_of_the_dna_alone_and_of_unit_scale(make_model, window, panel):
    model = make_model(motif_panel=panel, panel=torch.randn(4, 7, 4))
    with torch.no_grad():
        tokens = model.dna_tokens(window["codes"])
        logits = model(**window).binding
        again = model.head(
            tokens, *(window[name] for name in ("codes", "factors", "contexts", "pairs")), 16
        ).binding
    assert tokens.shape == (2, 9, 12)
    assert tokens.dtype == torch.float32
    assert 0.3 < float(tokens.std()) < 3
    torch.testing.assert_close(again, logits)
    assert (tokens.half().float() - tokens).abs().max() < 2e-3, "16 bits hold them"


def test_a_motif_panel_lets_tokens_see_motifs(make_model):
    panel = torch.zeros(1, 7, 4)
    panel[0, :, 2] = 2.0
    model = make_model(motif_panel=3, panel=panel)
    with torch.no_grad():
        model.to_tokens[0].weight[:, : model.trunk.width] = 0  # blind the trunk
        poor = torch.zeros(1, 16 * 9, dtype=torch.uint8)
        rich = poor.clone()
        rich[0, 66:73] = 2  # GGGGGGG, in bin 4
        changed = (model.dna_tokens(rich) - model.dna_tokens(poor)).abs().amax((0, 2))
    assert (changed[2:7] > 0).any()
    assert not changed[[0, 8]].any(), "it looks at what is near"


def test_a_panel_is_made_only_where_it_is_asked_for(make_model):
    assert make_model(motif_panel=0, panel=torch.randn(4, 7, 4)).panel is None
    model = make_model(motif_panel=2, panel=torch.randn(4, 7, 4))
    assert "panel.motifs" not in dict(model.named_parameters()), "its motifs are not trained"


def test_a_model_may_read_no_motif_off_proteins(make_model, window):
    model = make_model(motif_width=0)
    with torch.no_grad():
        assert torch.isfinite(model(**window).binding).all()
