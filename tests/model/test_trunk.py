from __future__ import annotations

import re

import pytest
import torch
from enformer_pytorch import Enformer

from tfbind.config import TrunkSettings
from tfbind.core.errors import InputError
from tfbind.model.trunk import EnformerTrunk, one_hot


def tiny(**settings):
    return TrunkSettings(**{"dim": 24, "depth": 1, "heads": 2, "dim_divisible_by": 6, **settings})


@pytest.mark.parametrize("bin", [16, 32, 64, 128])
def test_one_embedding_per_bin(bin, codes):
    trunk = EnformerTrunk(tiny(), bin).eval()
    found = trunk(codes(2, 5 * bin))
    assert found.shape == (2, 5, trunk.width)
    assert trunk.bin == bin
    assert torch.isfinite(found).all()


def test_n_is_no_base():
    found = one_hot(torch.tensor([0, 1, 2, 3, 4], dtype=torch.uint8))
    assert torch.equal(found, torch.cat([torch.eye(4), torch.zeros(1, 4)]))
    trunk = EnformerTrunk(tiny(), 16).eval()
    assert torch.isfinite(trunk(torch.full((1, 128), 4, dtype=torch.uint8))).all()


@pytest.mark.parametrize("bin", [16, 64])
@pytest.mark.parametrize("settings", [{}, {"dim": 36, "depth": 2, "heads": 3, "dim_divisible_by": 9}])
def test_equals_enformer_without_its_heads(bin, settings, codes):
    torch.manual_seed(1)
    trunk = EnformerTrunk(tiny(**settings), bin).eval()
    sizes = tiny(**settings)
    enformer = Enformer.from_hparams(
        dim=sizes.dim,
        depth=sizes.depth,
        heads=sizes.heads,
        dim_divisible_by=sizes.dim_divisible_by,
        num_downsamples=bin.bit_length() - 1,
        target_length=-1,
        output_heads={"human": 3},
    ).eval()
    enformer.trunk.load_state_dict(trunk.layers.state_dict())
    window = codes(2, 6 * bin)
    with torch.no_grad():
        expected = enformer(one_hot(window), return_only_embeddings=True)
        torch.testing.assert_close(trunk(window), expected)


@pytest.mark.parametrize(("dim", "heads"), [(100, 4), (24, 3), (40, 8), (10, 4)])
def test_a_width_that_heads_do_not_divide_names_the_key_and_a_width_that_works(dim, heads):
    with pytest.raises(InputError, match=re.escape(f"{dim} / {heads}")) as caught:
        EnformerTrunk(tiny(dim=dim, heads=heads, dim_divisible_by=1), 16)
    assert caught.value.key == "model.trunk.dim"
    mended = int(re.search(r"e\.g\. (\d+)", caught.value.mend)[1])
    EnformerTrunk(tiny(dim=mended, heads=heads, dim_divisible_by=1), 16)


def test_a_divisor_that_does_not_divide_is_an_error():
    with pytest.raises(InputError, match=r"dim_divisible_by \(32\)") as caught:
        EnformerTrunk(tiny(dim=48, heads=2, dim_divisible_by=32), 16)
    assert caught.value.key == "model.trunk.dim_divisible_by"
