"""The trunk of known motifs, and the tower that learns on top of a frozen trunk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tfbind.config import ModelSettings, TowerSettings, TrunkSettings
from tfbind.core.errors import InputError
from tfbind.factors.motifs import Motif, write_meme
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import load_checkpoint, save_checkpoint
from tfbind.model.ensemble import EnsembleModel
from tfbind.model.inference_trunk import Stretch, WindowByWindow
from tfbind.model.motif_scan import pad_motifs, scan_motifs
from tfbind.model.motif_trunk import composition
from tfbind.model.shape import ModelShape
from tfbind.model.trunk import make_trunk, one_hot

BIN = 16
STRETCHES = {
    "cores in the middle": Stretch(windows=3, length=640, core=256, bin=BIN),
    "cores that are windows": Stretch(windows=2, length=320, core=320, bin=BIN),
    "little around the cores": Stretch(windows=4, length=16 * 18, core=16 * 16, bin=BIN),
    "one bin": Stretch(windows=2, length=16, core=16, bin=BIN),
}


@pytest.fixture
def motifs():
    rng = np.random.default_rng(3)
    return [
        Motif(f"M{i}", f"N{i}", rng.dirichlet([0.3] * 4, width)) for i, width in enumerate((19, 6, 11, 8, 34))
    ]


@pytest.fixture
def library(motifs, tmp_path):
    write_meme(tmp_path / "library.meme", motifs)
    return tmp_path / "library.meme"


@pytest.fixture
def trunk(library):
    return make_trunk(TrunkSettings(kind="motifs", pretrained=str(library)), BIN)


def codes_of(bp, seed=0):
    return torch.as_tensor(
        np.random.default_rng(seed).choice(5, (2, bp), p=[0.3, 0.2, 0.2, 0.2, 0.1]).astype(np.uint8)
    )


def test_a_channel_is_a_motif_s_best_site(trunk, motifs):
    codes = codes_of(640)
    found = trunk(codes)
    assert found.shape == (2, 40, 5 + 3)
    for motif in motifs:
        stacked, _ = pad_motifs([motif.log_odds()])
        expected = scan_motifs(codes, stacked, BIN)[:, :, 0, 0]
        assert (found - expected[..., None]).abs().amax((0, 1)).min() < 1e-4


def test_one_hot_and_codes_are_the_same(trunk):
    codes = codes_of(320)
    assert torch.equal(trunk(codes), trunk(one_hot(codes)))


def test_it_knows_no_strand(trunk):
    codes = codes_of(320)
    other = torch.where(codes < 4, 3 - codes, codes).flip(1)
    assert (trunk(other).flip(1) - trunk(codes)).abs().max() < 1e-4


def test_composition_by_hand():
    #        A  C  G  N  C  G  G  T
    codes = torch.tensor([[0, 1, 2, 4, 1, 2, 2, 3]], dtype=torch.uint8)
    expected = [[2 / 4, 8 / 4, 1 / 4], [3 / 4, 8 / 4, 0]]
    assert composition(codes, 4)[0].tolist() == expected


@pytest.mark.parametrize("name", STRETCHES)
def test_the_fast_way_is_the_plain_one(trunk, name):
    stretch = STRETCHES[name]
    codes = codes_of(stretch.bp)
    found, expected = trunk.for_inference()(codes, stretch), WindowByWindow(trunk)(codes, stretch)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("stretch", [STRETCHES["cores in the middle"], STRETCHES["little around the cores"]])
@pytest.mark.parametrize("kind", ["motifs", "dilated"])
def test_a_tower_sees_beyond_the_core_in_a_stretch_too(kind, stretch, trunk):
    own = trunk.settings if kind == "motifs" else TrunkSettings(kind="dilated", dim=8, depth=1)
    settings = ModelSettings(trunk=own, tower=TowerSettings(dim=12, depth=3), rank=8, hidden=8)
    model = BindingModel(settings, ModelShape(bin=BIN, residue_dim=4)).eval()
    if kind == "motifs":
        model.trunk.load_state_dict(trunk.state_dict())
    codes = codes_of(stretch.bp)
    with torch.inference_mode():
        found = model.stretch_tokens(codes, stretch, model.trunk.for_inference())
        windows = codes.unfold(1, stretch.length, stretch.core)
        expected = torch.stack([model.dna_tokens(each) for each in windows])
    expected = expected[:, :, stretch.first_bin : stretch.first_bin + stretch.core_bins]
    assert (found - expected).abs().max() < 1e-4


def test_a_checkpoint_never_reads_the_library_again(library, trunk, tmp_path):
    settings = ModelSettings(
        trunk=TrunkSettings(kind="motifs", pretrained=str(library)), tower=TowerSettings(dim=8), rank=8, hidden=8
    )
    model = BindingModel(settings, ModelShape(bin=BIN, residue_dim=4)).eval()
    save_checkpoint(tmp_path / "model", model, {})
    library.unlink()
    loaded = load_checkpoint(tmp_path / "model").model
    codes = codes_of(320)
    assert torch.equal(loaded.dna_tokens(codes), model.dna_tokens(codes))
    assert loaded.trunk.source["name"] == "library.meme"


def test_a_library_is_needed(tmp_path):
    with pytest.raises(ValidationError, match="needs its library"):
        TrunkSettings(kind="motifs")
    with pytest.raises(InputError, match=r"the library of motifs .* is not there"):
        make_trunk(TrunkSettings(kind="motifs", pretrained=str(tmp_path / "none.meme")), BIN)


def test_a_group_of_jaspar_s_is_a_library():
    every = make_trunk(TrunkSettings(kind="motifs", pretrained="JASPAR2024 Fungi"), BIN)
    in_vitro = make_trunk(TrunkSettings(kind="motifs", pretrained="JASPAR2024 fungi in vitro"), BIN)
    assert 100 < in_vitro.settings.dim < every.settings.dim < 300
    with pytest.raises(InputError, match="no motifs of the group 'Dragons'"):
        make_trunk(TrunkSettings(kind="motifs", pretrained="JASPAR2024 Dragons"), BIN)


def test_members_with_towers_share_one_run_of_the_trunk(trunk):
    stretch = STRETCHES["cores in the middle"]
    members = []
    for depth in (1, 3, None):
        tower = None if depth is None else TowerSettings(dim=12, depth=depth)
        settings = ModelSettings(trunk=trunk.settings, tower=tower, rank=8, hidden=8)
        member = BindingModel(settings, ModelShape(bin=BIN, residue_dim=4)).eval()
        member.trunk.load_state_dict(trunk.state_dict())
        members.append(member)
    model, codes = EnsembleModel(members), codes_of(stretch.bp)
    running = model.trunk.for_inference()
    calls = []
    running.trunks[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        found = model.stretch_tokens(codes, stretch, running)
        apart = [member.stretch_tokens(codes, stretch, member.trunk.for_inference()) for member in members]
    assert torch.equal(found, torch.cat(apart, -1))
    # Two members want whole windows, one wants cores.
    assert len(running.trunks) == 1 and len(calls) == 2
