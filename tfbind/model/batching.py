"""From a factor set on disk to the tensors that the model takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch

from tfbind.config import Told
from tfbind.factors.factorset import FactorSet
from tfbind.factors.motifs import Motif
from tfbind.model.factors import FactorBatch
from tfbind.model.motif_scan import pad_motifs

# A base that was never seen among some tens of sites is not impossible: it costs 3.3 nats, no more.
PSEUDOCOUNT = 0.04


def motif_scores(motif: Motif) -> np.ndarray:
    """The log-odds that model and baselines scan with, nats, float32 (w, 4), against uniform bases."""
    return motif.log_odds(pseudocount=PSEUDOCOUNT)


def factor_batch(factor_set: FactorSet, names: Sequence[str]) -> FactorBatch:
    """Pad the embeddings and motifs of `names`, in that order."""
    embeddings = [factor_set.embedding(name) for name in names]
    length = max((len(found) for found in embeddings if found is not None), default=1)
    padded = torch.zeros(len(names), length, factor_set.dim)
    mask = torch.zeros(len(names), length, dtype=torch.bool)
    for row, found in enumerate(embeddings):
        if found is not None:
            padded[row, : len(found)] = torch.as_tensor(found)
            mask[row, : len(found)] = True
    known = [factor_set.motif(name) for name in names]
    motifs, has_motif = pad_motifs([None if motif is None else motif_scores(motif) for motif in known])
    return FactorBatch(padded, mask, motifs, has_motif)


def unfamiliar(batch: FactorBatch, names: Sequence[str], trained: Collection[str], told: Told) -> FactorBatch:
    """The batch, of which factors that were not trained on are predicted twice where `told` is `both`.

    Parameters
    ----------
    trained
        Names of the factors that the model was trained on.
    told
        `prediction.unseen_factors` of the configuration.
    """
    if told == "protein":
        return batch
    return replace(batch, unfamiliar=torch.tensor([name not in trained for name in names], dtype=torch.bool))


def shuffle_proteins(factors: FactorBatch, seed: int) -> FactorBatch:
    """The control that takes the proteins' meaning away: residues in a random order, motifs as they are."""
    rng = np.random.default_rng(seed)
    embeddings = factors.embeddings.clone()
    for row, mask in zip(embeddings, factors.residue_mask, strict=True):
        length = int(mask.sum())
        row[:length] = row[torch.as_tensor(rng.permutation(length))]
    return replace(factors, embeddings=embeddings)
