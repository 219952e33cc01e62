"""Stretches of DNA through a trunk: each window as if it alone were there."""

from __future__ import annotations

import pytest
import torch

from tfbind.config import TrunkSettings
from tfbind.model.inference_trunk import Stretch
from tfbind.model.trunk import make_trunk

STRETCH = Stretch(windows=3, length=96, core=64, bin=16)
TRUNKS = {
    "enformer": TrunkSettings(dim=48, depth=1, heads=2, dim_divisible_by=8, dropout=0.1),
    "dilated": TrunkSettings(kind="dilated", dim=24, depth=1, dropout=0.1),
}


@pytest.mark.parametrize("kind", TRUNKS)
def test_each_window_is_embedded_as_if_it_alone_were_there(kind):
    torch.manual_seed(0)
    trunk = make_trunk(TRUNKS[kind], 16).train()
    codes = torch.randint(0, 5, (2, STRETCH.bp), dtype=torch.uint8)
    found = trunk.for_inference()(codes, STRETCH)
    assert found.shape == (2, 3, 4, trunk.width)
    for window, start in enumerate(STRETCH.starts()):
        with torch.no_grad():
            alone = trunk.eval()(codes[:, start : start + 96])[:, 1:5]
        torch.testing.assert_close(found[:, window], alone, atol=1e-5, rtol=1e-5)


def test_a_stretch_of_one_window_is_that_window():
    assert Stretch(windows=1, length=96, core=64, bin=16).bp == 96
    assert list(STRETCH.starts()) == [0, 64, 128] and STRETCH.bp == 96 + 128
