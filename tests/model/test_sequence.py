"""Sequences that users hold in arrays are taken as they are."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from tfbind.model.sequence import as_bases


@pytest.mark.parametrize("reversed_", [False, True])
@pytest.mark.parametrize("writeable", [False, True])
def test_an_array_may_be_a_view_that_cannot_be_written_to(writeable, reversed_):
    """torch warns of the one, and refuses the other."""
    codes = np.array([[0, 1, 2, 3, 4]], dtype=np.uint8)
    codes.flags.writeable = writeable
    given = codes[:, ::-1] if reversed_ else codes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = as_bases(given)
    assert torch.equal(found, torch.tensor(given.tolist(), dtype=torch.uint8))
    assert codes.tolist() == [[0, 1, 2, 3, 4]]
