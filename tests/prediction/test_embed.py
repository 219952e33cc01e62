"""The genome embedding: the same in any number of shards, and nothing in it that does not belong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tfbind.config import WindowSettings
from tfbind.core.errors import InputError
from tfbind.core.files import sha256_bytes
from tfbind.prediction.embed import GenomeEmbedding, shard_windows

WINDOWS = WindowSettings(bin=64, length=2048, core=512)
# Cores of chrA that lie in its run of N, 1000 to 3100.
ALL_N = slice(1024 // 64, 3072 // 64)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_any_number_of_shards_assembles_to_the_same_bytes(genome, tmp_path):
    made = []
    for count in (1, 2, 3, 8):
        shards = genome.embed(tmp_path / str(count), count, batch_size=4)
        made.append(contents(genome.assemble(shards, tmp_path / f"tokens{count}")))
    assert len(made[0]) == 4
    assert made[0] == made[1] == made[2] == made[3]


def test_trunk_always_takes_a_full_batch(genome, tmp_path):
    """The last bits of what a trunk gives depend on the batch's size, so a rest is filled up."""
    taken = []
    hook = genome.checkpoint.model.trunk.register_forward_pre_hook(lambda _, codes: taken.append(codes[0].shape))
    genome.embed(tmp_path, 3, batch_size=2)
    hook.remove()
    assert taken == [(2, 2048)] * (1 + 2 + 2)


def test_tokens_are_the_trunks_of_each_window_alone(genome, tmp_path):
    folder = genome.assemble(genome.embed(tmp_path / "shards", 2), tmp_path / "tokens")
    found = GenomeEmbedding.open(folder, genome.checkpoint, genome.reference).tokens
    expected = {name: np.zeros((-(-size // 64), 16)) for name, size in genome.reference.sizes.items()}
    for chrom, size in genome.reference.sizes.items():
        for start in range(0, size, 512):
            if chrom == "chrA" and 1024 <= start < 3072:
                continue
            codes = torch.as_tensor(np.stack([genome.reference.fetch(chrom, start - 768, start + 1280)]))
            with torch.inference_mode():
                core = genome.checkpoint.model.dna_tokens(codes)[0, 12:20].numpy()
            expected[chrom][start // 64 : start // 64 + 8] = core[: len(expected[chrom]) - start // 64]
    for chrom, tokens in expected.items():
        assert found[chrom].dtype == np.float16
        np.testing.assert_allclose(found[chrom], tokens, rtol=1e-3, atol=1e-3)


def test_windows_that_are_all_n_are_not_embedded_and_their_bins_are_zero(genome, tmp_path):
    (shard,) = genome.embed(tmp_path / "shards", 1)
    bins = sum(-(-size // 64) for size in genome.reference.sizes.values())
    assert len(np.load(shard)) == bins - (ALL_N.stop - ALL_N.start)
    tokens = np.load(genome.assemble([shard], tmp_path / "tokens") / "0.npy")
    assert not tokens[ALL_N].any()
    assert tokens[: ALL_N.start].any(1).all() and tokens[ALL_N.stop :].any(1).all()


def test_description_names_model_genome_and_checksums(genome, tmp_path):
    folder = genome.assemble(genome.embed(tmp_path / "shards", 2), tmp_path / "tokens")
    about = json.loads((folder / "embedding.json").read_text())
    assert (about["model"], about["genome"]) == (genome.checkpoint.checksum, genome.reference.checksum)
    assert (about["bin"], about["rank"], about["dtype"], about["precision"]) == (64, 16, "float16", "fp32")
    assert about["window"] == {"length": 2048, "core": 512}
    for index, chromosome in enumerate(about["chromosomes"]):
        tokens = np.load(folder / f"{index}.npy")
        assert tokens.shape == (chromosome["bins"], 16)
        assert sha256_bytes(tokens.tobytes()) == chromosome["sha256"]
    assert [each["name"] for each in about["chromosomes"]] == list(genome.reference.sizes)


def test_shards_of_another_model_or_genome_are_refused(genome, other_model, other_genome, tmp_path):
    for what, other in (("model", other_model), ("genome", other_genome)):
        mine, theirs = genome.embed(tmp_path / "mine", 2), other.embed(tmp_path / what, 2)
        with pytest.raises(
            InputError, match=rf"1\.npy: was made with another {what}.*\n  mend: embed this shard"
        ):
            genome.assemble([mine[0], theirs[1]], tmp_path / "tokens")
    assert not (tmp_path / "tokens").exists()


def test_wrong_number_or_order_of_shards_is_told(genome, tmp_path):
    shards = genome.embed(tmp_path / "shards", 3)
    with pytest.raises(InputError, match=r"0\.npy, key 'prediction.shards': holds chrA:0 to .* as shard 0 of 2"):
        genome.assemble(shards[:2], tmp_path / "tokens")
    with pytest.raises(InputError, match=r"as shard 0 of 3 it should hold chrA:0 to"):
        genome.assemble(shards[::-1], tmp_path / "tokens")
    with pytest.raises(
        InputError, match=r"key 'prediction.shards': 40 shards were given, the genome is cut into 8"
    ):
        genome.assemble([shards[0]] * 40, tmp_path / "tokens")
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_shards_of_other_windows_are_refused(genome, tmp_path):
    """Windows of another length may have the same cores, and so arrays of the same shape."""
    shards = genome.embed(tmp_path / "shards", 2)
    with pytest.raises(InputError, match="in the windows of the configuration"):
        genome.assemble(shards, tmp_path / "tokens", WindowSettings(bin=64, length=1024, core=512))


def test_shards_of_different_precision_are_refused(genome, tmp_path):
    shards = genome.embed(tmp_path / "fp32", 2)
    other = genome.embed(tmp_path / "bf16", 2, precision="bf16")
    with pytest.raises(InputError, match=r"1\.npy, key 'prediction.precision': was embedded in bf16, .* in fp32"):
        genome.assemble([shards[0], other[1]], tmp_path / "tokens")


def test_missing_and_damaged_shards_are_told(genome, tmp_path):
    shards = genome.embed(tmp_path / "shards", 2)
    content = shards[1].read_bytes()
    shards[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        InputError, match=r"1\.npy: checksum differs: expected .*\n  mend: embed this shard again"
    ):
        genome.assemble(shards, tmp_path / "tokens")
    shards[1].unlink()
    with pytest.raises(InputError, match=r"1\.npy: there is no such shard\n  mend: run `tfbind embed --shard 1`"):
        genome.assemble(shards, tmp_path / "tokens")
    assert not (tmp_path / "tokens").exists()


def test_shard_is_whole_or_not_there(genome, tmp_path):
    """The model breaks in the middle of the shard, after batches that were fine."""
    broken = replace(genome, reference=Breaking(genome.reference, after=5))
    with pytest.raises(OSError, match="disk"):
        broken.embed(tmp_path / "shards", 1)
    assert list((tmp_path / "shards").iterdir()) == []


class Breaking:
    """A reference on a disk that breaks after some reads."""

    def __init__(self, reference, after):
        self.reference, self.left = reference, after

    def __getattr__(self, name):
        return getattr(self.reference, name)

    def fetch(self, chrom, start, end):
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk broke")
        return self.reference.fetch(chrom, start, end)


def test_model_that_gives_nan_is_refused(genome, other_model, tmp_path):
    with torch.no_grad():
        other_model.checkpoint.model.to_tokens[0].weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"not finite at chrA:0-512\n  mend:"):
        other_model.embed(tmp_path / "shards", 1)
    assert list((tmp_path / "shards").iterdir()) == []


def test_embedding_of_another_model_or_genome_is_refused(genome, other_model, other_genome, tmp_path):
    folder = genome.assemble(genome.embed(tmp_path / "shards", 1), tmp_path / "tokens")
    for what, other in (("model", other_model), ("genome", other_genome)):
        with pytest.raises(InputError, match=rf"embedding\.json: was made with another {what}.*\n  mend: embed"):
            GenomeEmbedding.open(folder, other.checkpoint, other.reference)


def test_embedding_that_is_not_whole_is_refused(genome, tmp_path):
    folder = genome.assemble(genome.embed(tmp_path / "shards", 1), tmp_path / "tokens")
    shutil.copy(folder / "1.npy", folder / "2.npy")
    with pytest.raises(InputError, match=r"2\.npy: holds float16 \(5, 16\), expected float16 \(16, 16\)"):
        GenomeEmbedding.open(folder, genome.checkpoint, genome.reference)
    (folder / "2.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"2\.npy: cannot be read .*\n  mend: embed the genome again"):
        GenomeEmbedding.open(folder, genome.checkpoint, genome.reference)
    with pytest.raises(InputError, match=r"holds no genome embedding .*\n  mend: run `tfbind embed`"):
        GenomeEmbedding.open(tmp_path, genome.checkpoint, genome.reference)


def test_shards_are_of_about_equal_work(genome):
    assert [len(part) for part in shard_windows(genome.reference, WINDOWS, 3)] == [2, 3, 3]
