from __future__ import annotations

import numpy as np
import pytest
import torch

from tfbind.model.depth import DepthEffect, depth_covariate
from tfbind.model.losses import peak_score_loss


def test_depth_is_its_logarithm_about_the_mean_of_the_training_experiments():
    found = depth_covariate([10, 1000, None, 10**6], [0, 1, 2])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], np.log([0.1, 10, 1, 10**4]), rtol=1e-6)
    assert found[:, 1].tolist() == [0, 0, 1, 0]


def test_without_any_depth_all_are_unknown():
    assert depth_covariate([None, None], [0]).tolist() == [[0, 1], [0, 1]]


def test_what_depth_does_is_learnt_and_leaves_the_standard_depth_alone():
    """Scores rise by 0.8 a unit of log depth; unknown depths are lower by 0.4: both are found."""
    covariate = torch.as_tensor(depth_covariate([10**6, 10**7, 10**8, None], [0, 1, 2, 3]))
    truth = 2 + covariate @ torch.tensor([0.8, -0.4])
    scores = truth.expm1().expand(1, 6, 4)
    effect, standard = DepthEffect(), torch.nn.Parameter(torch.zeros(()))
    assert not effect(covariate).any()
    optimizer = torch.optim.LBFGS([*effect.parameters(), standard], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = peak_score_loss(standard.expand(1, 6, 4), scores, shift=effect(covariate))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert effect.effects.tolist() == pytest.approx([0.8, -0.4], abs=1e-3)
    assert float(standard.detach()) == pytest.approx(2, abs=1e-3)
