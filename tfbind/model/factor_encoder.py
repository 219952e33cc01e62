"""The factor's side: from residue embeddings to factor tokens and to a binding motif read off the protein."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfbind.model.conditioning import masked_mean

# Tokens are summed up when their number is a multiple of it.
ROWS = 4


class ResidueBlock(nn.Module):
    """Depthwise-separable convolution over residues with a residual connection; padding stays zero."""

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.pointwise = nn.Sequential(nn.GELU(), nn.Linear(dim, dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.norm(x) * mask
        y = self.depthwise(y.transpose(1, 2)).transpose(1, 2)
        return (x + self.pointwise(y)) * mask


class MotifDecoder(nn.Module):
    """Read a binding motif off a protein, contact by contact.

    Every residue gets a contact weight e in (0, 1) and a preference b for the four bases. Contacts are laid
    along the motif in the order of the chain: the position of residue l is p_l = sum of e before it, and
    column w of the motif is sum_l e_l max(0, 1 - |p_l - w|) b_l. So one contact moves the next one column
    on, wherever in the chain it is, and tails and linkers of any length change nothing. Direction is free,
    since a motif is scanned on both strands.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.contact = nn.Linear(dim, 1)
        self.base = nn.Linear(dim, 4)
        # About ten contacts in a protein of 500 residues to start with.
        nn.init.constant_(self.contact.bias, -4.0)

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Log-odds motif (factors, width, 4), columns centred on 0, from residues (factors, L, dim)."""
        contact, base = self.logits(residues)
        contact = torch.sigmoid(contact) * mask  # (t, l, 1)
        position = contact.cumsum(1) - contact
        columns = torch.arange(self.width, device=residues.device, dtype=residues.dtype)
        weight = contact * (1 - (position - columns).abs()).clamp(min=0)  # (t, l, w)
        motif = weight.transpose(1, 2) @ base
        return motif - motif.mean(-1, keepdim=True)

    def logits(self, residues: Tensor) -> tuple[Tensor, Tensor]:
        """Contact logit (factors, L, 1) and base logits (factors, L, 4) of every residue."""
        return self.contact(residues), self.base(residues)


@dataclass(frozen=True)
class EncodedFactors:
    """What the encoder makes of factors' proteins.

    Attributes
    ----------
    pooled : (factors, K, hidden)
        What stands for a factor, before it is turned into tokens and a summary.
    mask : bool (factors, K)
        Which of them are real; all, unless every residue stands for itself.
    motif : (factors, motif_width, 4)
        The motif that is read off the protein.
    """

    pooled: Tensor
    mask: Tensor
    motif: Tensor


class FactorEncoder(nn.Module):
    """Residue embeddings -> factor tokens, a summary and a motif.

    Parameters
    ----------
    residue_dim
        Width of the residue embeddings.
    hidden
        Width of the tower.
    tokens, token_dim
        Number K and width of the factor tokens; K = 0: every residue is a token.
    motif_width
        Columns of the motif that is read off the protein.
    """

    def __init__(self, residue_dim: int, *, hidden: int, tokens: int, token_dim: int, motif_width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(residue_dim, hidden)
        self.block = ResidueBlock(hidden, 9)
        self.norm = nn.LayerNorm(hidden)
        self.queries = nn.Parameter(torch.randn(tokens, hidden) * hidden**-0.5) if tokens else None
        self.to_value = nn.Linear(hidden, hidden)
        self.to_tokens = nn.Linear(hidden, token_dim)
        self.to_summary = nn.Sequential(nn.Linear(max(1, tokens) * hidden, hidden), nn.LayerNorm(hidden))
        self.motif = MotifDecoder(hidden, motif_width)

    def residues(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Residue representations (factors, L, hidden), 0 where masked."""
        x = self.embed(embeddings) * mask
        return self.norm(self.block(x, mask)) * mask

    def forward(self, embeddings: Tensor, mask: Tensor) -> EncodedFactors:
        """Encode factors.

        Parameters
        ----------
        embeddings
            Residue embeddings (factors, L, residue_dim), padded.
        mask
            Which residues are real, bool (factors, L). A factor without a protein has none.
        """
        lengths = mask.sum(1)
        order = lengths.argsort(stable=True)
        # Groups of like length, each padded to its own longest: proteins differ tenfold in length.
        parts = []
        for group in order.split(8):
            longest = max(1, int(lengths[group].max()))
            parts.append(self._encode(embeddings[group, :longest], mask[group, :longest]))
        back = order.argsort()
        most = max(part.mask.shape[1] for part in parts)
        pooled = torch.cat([F.pad(part.pooled, (0, 0, 0, most - part.pooled.shape[1])) for part in parts])
        real = torch.cat([F.pad(part.mask, (0, most - part.mask.shape[1])) for part in parts])
        return EncodedFactors(pooled[back], real[back], torch.cat([part.motif for part in parts])[back])

    def tokens(self, pooled: Tensor) -> Tensor:
        """Factor tokens (factors, K, token_dim)."""
        return self.to_tokens(pooled)

    def summary(self, pooled: Tensor, mask: Tensor) -> Tensor:
        """One vector a factor, (factors, hidden)."""
        if self.queries is None:
            # PyTorch sums up rows by four, then those that are left over: so that there are never any, and how a
            # sum is rounded does not depend on how many tokens fill it up.
            short = -pooled.shape[1] % ROWS
            pooled, mask = F.pad(pooled, (0, 0, 0, short)), F.pad(mask, (0, short))
            return self.to_summary(masked_mean(pooled, mask))
        return self.to_summary(pooled.flatten(1))

    def _encode(self, embeddings: Tensor, mask: Tensor) -> EncodedFactors:
        weight = mask.unsqueeze(-1).to(embeddings.dtype)
        x = self.residues(embeddings, weight)
        motif = self.motif(x, weight)
        if self.queries is None:
            return EncodedFactors(self.to_value(x) * weight, mask, motif)
        logits = x @ self.queries.T
        # A finite floor keeps the softmax defined for factors without any residue.
        attention = logits.masked_fill(~mask.unsqueeze(-1), -1e4).softmax(1) * weight
        pooled = torch.einsum("tlk,tld->tkd", attention, self.to_value(x))
        return EncodedFactors(pooled, mask.new_ones(pooled.shape[:2]), motif)


def motif_reading_loss(contact: Tensor, base: Tensor, mask: Tensor, bases: Tensor, widths: Tensor) -> Tensor:
    """How badly proteins spell their motifs: connectionist temporal classification, the better strand.

    A protein is read from its first residue to its last; every residue is a contact with one base or none
    (the blank), and the contacts in order must spell the motif. The sum over all alignments
    (Graves et al. 2006, doi:10.1145/1143844.1143891) finds the contacting residues without being told.

    Parameters
    ----------
    contact, base
        Logits of `MotifDecoder.logits`, (n, L, 1) and (n, L, 4).
    mask
        Real residues, bool (n, L), at the left.
    bases
        Motifs as base codes 0-3, int64 (n, W): drawn from the columns of a matrix, or its consensus.
    widths
        Columns of each motif, int64 (n,).

    Returns
    -------
    Scalar: nats per column, mean over factors.
    """
    silent = F.logsigmoid(-contact)
    speaking = F.logsigmoid(contact) + F.log_softmax(base, -1)
    log_probability = torch.cat([silent, speaking], -1).transpose(0, 1)
    columns = torch.arange(bases.shape[1], device=bases.device)
    # Column j of the reverse complement is the complement of column width - 1 - j.
    mirrored = (widths.unsqueeze(1) - 1 - columns).clamp(min=0)
    strands = (bases, 3 - bases.gather(1, mirrored))
    cost = [
        F.ctc_loss(log_probability, strand + 1, mask.sum(1), widths, reduction="none", zero_infinity=True)
        for strand in strands
    ]
    return (-torch.logsumexp(-torch.stack(cost), 0) / widths).mean()
