"""Embedding proteins by ESM-2, beside fair-esm's own loop (`scripts/extract.py` of fair-esm, without its files).

As many proteins as yeast has factors, of their lengths and of residues drawn at random; a model of a published
shape, whose weights are drawn at random. fair-esm's script cuts proteins to 1022 residues: so neither gets more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.machine import describe
from tfbind.factors.fair_esm import ESM2_SIZES, Esm2Embedder

# Lengths of the 87 proteins, cut to what fair-esm's script takes.
LENGTHS = """
144 151 177 191 231 240 242 245 245 265 281 286 295 299 304 306 333 351 366 368 382 409 416 417 446 484 486
490 504 513 519 531 541 551 562 622 647 648 650 676 678 683 688 690 704 709 730 731 743 759 766 770 772 785
785 790 796 810 810 811 811 814 827 833 833 836 862 880 881 883 885 886 894 914 936 949 950 976 979 1030
1062 1068 1093 1094 1251 1403 1502
"""
LONGEST = 1022
TOKENS = 4096
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"


def run(full: bool = False, *, lengths: list[int] | None = None, rounds: int = 2) -> dict[str, Any]:
    """Measure, print a table, and return what the JSON line says.

    Parameters
    ----------
    full
        Both of the small published shapes, not the smallest alone.
    lengths
        Of other proteins.
    """
    lengths = [min(length, LONGEST) for length in lengths or map(int, LENGTHS.split())]
    draw = random.Random(0)
    sequences = ["".join(draw.choices(AMINO_ACIDS, k=length)) for length in draw.sample(lengths, len(lengths))]
    shapes = ["esm2_t6_8M_UR50D", "esm2_t12_35M_UR50D"] if full else ["esm2_t6_8M_UR50D"]
    print(f"{len(sequences)} proteins, {sum(lengths):,} residues; seconds, best of {rounds} rounds")
    print(f"{'model':<22} {'fair-esm':>9} {'tfbind':>9} {'ratio':>6} {'max diff':>9}")
    found = {shape: _beside(shape, sequences, rounds) for shape in shapes}
    return {
        "ratio": {shape: each["ratio"] for shape, each in found.items()},
        "max_abs_diff": max(each["max_abs_diff"] for each in found.values()),
        "seconds": {shape: each["seconds"] for shape, each in found.items()},
        "proteins": len(sequences),
        "residues": sum(lengths),
        "tokens_per_batch": TOKENS,
        "rounds": rounds,
        "fair_esm": version("fair-esm"),
        "device": describe(),
    }


def _beside(shape: str, sequences: list[str], rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    # The model is made here; nothing is fetched.
    embedder = Esm2Embedder(shape, tokens_per_batch=TOKENS)
    layers, width, heads = ESM2_SIZES[shape]
    from esm.model.esm2 import ESM2

    model = ESM2(num_layers=layers, embed_dim=width, attention_heads=heads).eval().requires_grad_(False)
    own = ESM2(num_layers=layers, embed_dim=width, attention_heads=heads)
    own.load_state_dict(model.state_dict())
    embedder._load = lambda: (own, own.alphabet)
    jobs: list[Callable[[list[str]], list[torch.Tensor]]] = [
        lambda some: fair_esm_loop(model, some),
        lambda some: [torch.as_tensor(each) for each in embedder.embed(some)],
    ]
    for job in jobs:  # to warm up
        job(sequences[:4])
    difference, taken = 0.0, [[], []]
    for _ in range(rounds):
        outputs = []
        for job, times in zip(jobs, taken, strict=True):
            start = time.perf_counter()
            outputs.append(job(sequences))
            times.append(time.perf_counter() - start)
        difference = max(
            difference, *(float((one - other).abs().max()) for one, other in zip(*outputs, strict=True))
        )
    theirs, ours = (min(times) for times in taken)
    print(f"{shape:<22} {theirs:9.2f} {ours:9.2f} {theirs / ours:6.2f} {difference:9.1e}")
    return {
        "ratio": round(theirs / ours, 2),
        "max_abs_diff": difference,
        "seconds": {"fair_esm": round(theirs, 2), "tfbind": round(ours, 2)},
    }


def fair_esm_loop(model: torch.nn.Module, sequences: list[str]) -> list[torch.Tensor]:
    """What fair-esm's `scripts/extract.py` does, for the last layer; nothing is written."""
    from esm.data import FastaBatchedDataset

    dataset = FastaBatchedDataset([str(index) for index in range(len(sequences))], sequences)
    loader = torch.utils.data.DataLoader(
        dataset,
        collate_fn=model.alphabet.get_batch_converter(LONGEST),
        batch_sampler=dataset.get_batch_indices(TOKENS, extra_toks_per_seq=1),
    )
    last, found = model.num_layers, {}
    with torch.no_grad():
        for labels, strings, tokens in loader:
            output = model(tokens, repr_layers=[last], return_contacts=False)["representations"][last].cpu()
            for row, (label, string) in enumerate(zip(labels, strings, strict=True)):
                found[int(label)] = output[row, 1 : min(LONGEST, len(string)) + 1].clone()
    return [found[index] for index in range(len(sequences))]
