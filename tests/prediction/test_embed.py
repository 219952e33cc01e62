"""The genome embedding: the same in any number of shards, and nothing in it that does not belong."""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tfbind.config import WindowSettings
from tfbind.core.errors import InputError
from tfbind.core.files import sha256_bytes
from tfbind.genome.reference import Reference, build_reference
from tfbind.model.enformer import EnformerTrunk
from tfbind.model.inference_trunk import WindowByWindow
from tfbind.model.trunk_interface import Trunk
from tfbind.prediction.embed import GenomeEmbedding, shard_stretches

WINDOWS = WindowSettings(bin=64, length=2048, core=512)
# Cores of chrA that lie in its run of N, 1000 to 3100.
ALL_N = slice(1024 // 64, 3072 // 64)


def no_thread_is_left() -> bool:
    """Of those that read ahead or write behind; other tests may have left their own."""
    return not any(thread.name.startswith(("ahead", "behind")) for thread in threading.enumerate())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def contents_of_shard(shards: list[Path]) -> list[bytes]:
    return [each.read_bytes() for path in shards for each in (path, path.with_name(f"{path.name}.json"))]


def test_any_number_of_shards_and_any_batch_size_give_the_same_bytes(genome, tmp_path):
    made = []
    for count, batch_size in ((1, None), (2, 1), (3, 2), (4, 100)):
        shards = genome.embed(tmp_path / str(count), count, batch_size=batch_size)
        made.append(contents(genome.assemble(shards, tmp_path / f"tokens{count}")))
    assert len(made[0]) == 4
    assert made[0] == made[1] == made[2] == made[3]


def test_how_fast_it_is_read_changes_no_byte(genome, tmp_path):
    straight = contents_of_shard(genome.embed(tmp_path / "straight", 1))
    slow = replace(genome, reference=Slow(genome.reference))
    assert contents_of_shard(slow.embed(tmp_path / "slow", 1)) == straight


def test_trunk_runs_once_a_window_that_is_not_all_n(genome, tmp_path, monkeypatch):
    taken = []
    forward = WindowByWindow.forward

    def counted(self, codes, stretch):
        taken.append((len(codes), stretch.windows))
        return forward(self, codes, stretch)

    monkeypatch.setattr(WindowByWindow, "forward", counted)
    monkeypatch.setattr(EnformerTrunk, "for_inference", Trunk.for_inference)
    inside = []
    hook = genome.checkpoint.model.trunk.register_forward_pre_hook(lambda _, codes: inside.append(len(codes[0])))
    genome.embed(tmp_path, 3)
    hook.remove()
    # chrA without its N, before and after; chrB; chrC.
    assert taken == [(1, 2), (1, 3), (1, 1), (1, 2)]
    assert sum(inside) == 8


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


def test_shard_of_another_shape_or_cut_short_is_told(genome, tmp_path):
    shards = genome.embed(tmp_path / "shards", 2)
    content = shards[1].read_bytes()
    shards[1].write_bytes(content[:-50])
    with pytest.raises(InputError, match=r"1\.npy: cannot be read .*\n  mend: embed this shard again"):
        genome.assemble(shards, tmp_path / "tokens")
    shards[1].write_bytes(shards[0].read_bytes())
    with pytest.raises(InputError, match=r"1\.npy: holds float16 .*\n  mend: embed this shard again"):
        genome.assemble(shards, tmp_path / "tokens")


def test_wrong_number_or_order_of_shards_is_told(genome, tmp_path):
    shards = genome.embed(tmp_path / "shards", 3)
    with pytest.raises(InputError, match=r"0\.npy, key 'prediction.shards': holds chrA:0 to .* as shard 0 of 2"):
        genome.assemble(shards[:2], tmp_path / "tokens")
    with pytest.raises(InputError, match=r"as shard 0 of 3 it should hold chrA:0 to"):
        genome.assemble(shards[::-1], tmp_path / "tokens")
    with pytest.raises(
        InputError, match=r"key 'prediction.shards': 40 shards were given, the genome is cut into 4"
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
    """The disk breaks in the middle of the shard, after stretches that were fine."""
    broken = replace(genome, reference=Breaking(genome.reference, after=2))
    with pytest.raises(OSError, match="disk"):
        broken.embed(tmp_path / "shards", 1)
    assert list((tmp_path / "shards").iterdir()) == []
    assert no_thread_is_left()


def test_ctrl_c_leaves_no_thread_and_no_file(genome, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(genome.checkpoint.model, "stretch_tokens", interrupted)
    with pytest.raises(KeyboardInterrupt):
        genome.embed(tmp_path / "shards", 1)
    assert list((tmp_path / "shards").iterdir()) == []
    assert no_thread_is_left()


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


class Slow(Breaking):
    """A reference on a slow disk."""

    def __init__(self, reference):
        super().__init__(reference, after=100)

    def fetch(self, chrom, start, end):
        time.sleep(0.02)
        return self.reference.fetch(chrom, start, end)


def test_model_that_gives_nan_is_refused(genome, other_model, tmp_path):
    with torch.no_grad():
        other_model.checkpoint.model.to_tokens[0].weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"not finite, .* at chrA:0-64\n  mend:"):
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
    shards = shard_stretches(genome.reference, WINDOWS, 3)
    assert [[stretch.windows for stretch in part] for part in shards] == [[2], [3], [1, 2]]


def test_checksums_tell_of_a_changed_bit(genome, tmp_path):
    folder = genome.assemble(genome.embed(tmp_path / "shards", 1), tmp_path / "tokens")
    GenomeEmbedding.open(folder, genome.checkpoint, genome.reference).check(folder)
    content = (folder / "2.npy").read_bytes()
    (folder / "2.npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = GenomeEmbedding.open(folder, genome.checkpoint, genome.reference)
    with pytest.raises(InputError, match=r"2\.npy: checksum differs: .*\n  mend: embed the genome again"):
        changed.check(folder)


def test_a_chromosome_of_n_alone_is_zeros(genome, tmp_path):
    fasta = tmp_path / "genome.fa"
    fasta.write_text(f">known\n{'ACGTTGCA' * 300}\n>unknown\n{'N' * 1500}\n")
    build_reference(fasta, tmp_path / "reference")
    other = replace(genome, reference=Reference.open(tmp_path / "reference"))
    folder = other.assemble(other.embed(tmp_path / "shards", 1), tmp_path / "tokens")
    tokens = GenomeEmbedding.open(folder, other.checkpoint, other.reference).tokens
    assert tokens["known"].any(1).all() and tokens["unknown"].shape == (24, 16)
    assert not tokens["unknown"].any()
