"""The factored head: what a factor and a cell type add to DNA tokens.

For bin i, factor t and cell type c

    logit(i, t, c) = sum_r V_r(i, t) U_r(i, c) + a(i, t) + e(i, c)

V joins the factor's summary with what it meets in the bin: the fine-grained interaction S of DNA tokens and
factor tokens (FILIP, Yao et al. 2021, arXiv:2111.07783, with a log-mean-exp in place of the maximum) and the
motif match M. U joins the DNA tokens with the accessibility A around the bin. Neither knows of the other, so T
factors in C cell types cost T + C towers and one product a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tfbind.config import ModelSettings
from tfbind.model.factor_encoder import FactorEncoder
from tfbind.model.motif_scan import SCAN_FEATURES, scan_motifs

PAIR_FEATURES = 16


@dataclass
class FactorBatch:
    """Factors as the model takes them.

    Attributes
    ----------
    embeddings : float32 (factors, L, residue_dim), padded with zeros
    residue_mask : bool (factors, L)
    motifs : float32 (factors, W, 4), log-odds (nats), zero where there is none
    has_motif : bool (factors,)
    """

    embeddings: Tensor
    residue_mask: Tensor
    motifs: Tensor
    has_motif: Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def has_protein(self) -> Tensor:
        """Where there is a protein, bool (factors,)."""
        return self.residue_mask.any(1)

    def select(self, indices: Tensor) -> FactorBatch:
        """Some of the factors, trimmed to the longest protein among them."""
        mask = self.residue_mask[indices]
        longest = max(1, int(mask.sum(1).max()))
        return FactorBatch(
            self.embeddings[indices, :longest],
            mask[:, :longest],
            self.motifs[indices],
            self.has_motif[indices],
        )

    def to(self, device: torch.device | str) -> FactorBatch:
        """The same factors on another device."""
        return FactorBatch(
            self.embeddings.to(device),
            self.residue_mask.to(device),
            self.motifs.to(device),
            self.has_motif.to(device),
        )


@dataclass
class FactorCode:
    """Factors after their towers: all that rendering needs of them, made once a factor.

    Attributes
    ----------
    tokens : (factors, heads, K, rank / heads), normalised
    summary : (factors, hidden)
    read_motifs : (factors, motif_width, 4), read off the proteins
    known_motifs : (factors, W, 4)
    has_protein, has_motif : bool (factors,)
    """

    tokens: Tensor
    summary: Tensor
    read_motifs: Tensor
    known_motifs: Tensor
    has_protein: Tensor
    has_motif: Tensor


@dataclass
class MotifMatch:
    """Motifs scanned over windows: (windows, bins, factors, 4) each, zero where there is none."""

    known: Tensor
    read: Tensor


# Bins on either side of a bin that the accessibility tower looks at: 4 near, and 2 x 4 of what is near them.
ACCESSIBILITY_REACH = 12


class AccessibilityTower(nn.Module):
    """A(i, c): a small convolution over log accessibility around the bin; a learnt token without a track."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(1, hidden, 9, padding=4)
        self.far = nn.Conv1d(hidden, hidden, 5, padding=8, dilation=4)
        self.out = nn.Linear(hidden, hidden)
        self.missing = nn.Parameter(torch.zeros(hidden))

    def forward(self, accessibility: Tensor, has_track: Tensor) -> Tensor:
        """(windows, bins, cells, hidden) from accessibility (windows, bins, cells), has_track bool (cells,)."""
        x = rearrange(torch.log1p(accessibility), "windows bins cells -> (windows cells) 1 bins")
        x = F.gelu(self.near(x))
        x = x + F.gelu(self.far(x))
        x = self.out(rearrange(x, "n hidden bins -> n bins hidden"))
        x = rearrange(x, "(windows cells) bins hidden -> windows bins cells hidden", cells=accessibility.shape[2])
        return torch.where(has_track[:, None], x, self.missing)


class FactoredHead(nn.Module):
    """See the module's docstring.

    Parameters
    ----------
    settings
        Widths, tokens, normalisation, temperature, dropouts.
    residue_dim
        Width of the residue embeddings.
    """

    def __init__(self, settings: ModelSettings, residue_dim: int) -> None:
        super().__init__()
        hidden, rank = settings.hidden, settings.rank
        self.heads = settings.heads
        self.normalisation = settings.token_normalisation
        self.motif_dropout, self.protein_dropout = settings.motif_dropout, settings.protein_dropout
        self.encoder = FactorEncoder(
            residue_dim,
            hidden=hidden,
            tokens=settings.factor_tokens,
            token_dim=rank,
            motif_width=settings.motif_width,
        )
        self.log_temperature = nn.Parameter(torch.tensor(settings.temperature).log())
        # Over a single head, LayerNorm would leave nothing.
        self.map_norm = nn.LayerNorm(settings.heads) if settings.heads > 1 else nn.Identity()
        self.no_protein = nn.Parameter(torch.randn(hidden) * 0.02)
        self.pair = nn.Sequential(
            nn.Linear(settings.heads + 2 * SCAN_FEATURES + 2, 2 * PAIR_FEATURES),
            nn.GELU(),
            nn.Linear(2 * PAIR_FEATURES, PAIR_FEATURES),
            nn.GELU(),
        )
        self.pair_scale = nn.Linear(hidden, PAIR_FEATURES)
        self.to_v = nn.Linear(hidden, rank)
        self.pair_bias = nn.Linear(PAIR_FEATURES, 1)
        self.factor_bias = nn.Linear(hidden, 1)
        self.accessibility = AccessibilityTower(hidden)
        self.dna = nn.Linear(rank, hidden)
        self.to_u = nn.Sequential(
            nn.Linear(2 * hidden + rank, 2 * rank),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(2 * rank, rank + PAIR_FEATURES + 1),
        )
        # Binding is rare: start near a prevalence of 0.25 %.
        nn.init.constant_(self.pair_bias.bias, -6.0)

    def encode_factors(self, factors: FactorBatch) -> FactorCode:
        """Run the factors' towers; in training, hide motifs and proteins at random."""
        has_protein, has_motif = factors.has_protein, factors.has_motif
        if self.training:
            both = has_protein & has_motif
            draw = torch.rand(len(factors), device=both.device)
            has_motif = has_motif & ~(both & (draw < self.motif_dropout))
            has_protein = has_protein & ~(both & (draw > 1 - self.protein_dropout))
        residue_mask = factors.residue_mask & has_protein[:, None]
        tokens, summary, read = self.encoder(factors.embeddings, residue_mask)
        summary = torch.where(has_protein[:, None], summary, self.no_protein)
        tokens = self._normalise(rearrange(tokens, "t k (heads d) -> t heads k d", heads=self.heads))
        return FactorCode(tokens, summary, read, factors.motifs, has_protein, has_motif)

    def match_motifs(self, codes: Tensor, factors: FactorCode, bin: int) -> MotifMatch:
        """Scan the known motifs and those read off proteins over windows of base codes (windows, bp)."""
        known = scan_motifs(codes, factors.known_motifs, bin)
        reads = factors.read_motifs.shape[1] > 0
        read = scan_motifs(codes, factors.read_motifs, bin) if reads else torch.zeros_like(known)
        return MotifMatch(
            known * factors.has_motif[:, None].to(known.dtype),
            read * factors.has_protein[:, None].to(read.dtype),
        )

    def interaction(self, tokens: Tensor, factors: FactorCode) -> Tensor:
        """S: (windows, bins, factors, heads) from DNA tokens (windows, bins, rank)."""
        dna = self._normalise(rearrange(tokens, "b n (heads d) -> b n heads d", heads=self.heads))
        similarity = torch.einsum("bnhd,thkd->bnthk", dna, factors.tokens)
        tau = self.log_temperature.exp().clamp(0.01, 10.0)
        count = similarity.shape[-1]
        mapped = tau * (torch.logsumexp(similarity / tau, -1) - torch.tensor(float(count)).log())
        return self.map_norm(mapped)

    def factor_side(
        self, tokens: Tensor, factors: FactorCode, match: MotifMatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """V in its two parts and a: (factors, rank), (windows, bins, factors, 16), (windows, bins, factors)."""
        mapped = self.interaction(tokens, factors) * factors.has_protein[:, None].to(tokens.dtype)
        known = torch.cat([factors.has_motif[:, None], factors.has_protein[:, None]], 1).to(tokens.dtype)
        scale = torch.tensor([0.3, 0.1, 0.1, 0.3], device=tokens.device)
        parts = [mapped, match.known * scale, match.read * scale, known.expand(*mapped.shape[:3], 2)]
        met = self.pair(torch.cat(parts, -1))
        met = met * (1 + self.pair_scale(factors.summary))
        bias = self.pair_bias(met).squeeze(-1) + self.factor_bias(factors.summary).squeeze(-1)
        return self.to_v(factors.summary), met, bias

    def context_side(self, tokens: Tensor, accessibility: Tensor, has_track: Tensor) -> Tensor:
        """U and e: (windows, bins, cells, rank + 17).

        Accessibility may cover more bins than the tokens, equally many on either side: what lies around them.
        """
        margin, odd = divmod(accessibility.shape[1] - tokens.shape[1], 2)
        if margin < 0 or odd:
            raise ValueError(
                f"accessibility of {accessibility.shape[1]} bins is not even around {tokens.shape[1]} bins"
            )
        open_ = self.accessibility(accessibility, has_track)[:, margin : margin + tokens.shape[1]]
        dna = self.dna(tokens).unsqueeze(2)
        wide = tokens.unsqueeze(2).expand(-1, -1, open_.shape[2], -1)
        return self.to_u(torch.cat([open_ * dna, open_, wide], -1))

    def pair_logits(self, factor: tuple[Tensor, Tensor, Tensor], context: Tensor) -> Tensor:
        """Logits (windows, bins, factors) in one cell type, from `factor_side` and U (windows, bins, .)."""
        v, met, bias = factor
        rank = v.shape[1]
        u_factor, u_met, e = context.split([rank, PAIR_FEATURES, 1], -1)
        product = u_factor @ v.T * rank**-0.5 + torch.einsum("bntf,bnf->bnt", met, u_met)
        return product + bias + e

    def forward(
        self,
        tokens: Tensor,
        codes: Tensor,
        factors: FactorBatch,
        accessibility: Tensor,
        has_track: Tensor,
        pairs: Tensor,
        bin: int,
    ) -> Tensor:
        """Logits (windows, bins, pairs) of the (factor, cell type) pairs, int64 (pairs, 2)."""
        return self.decode(tokens, codes, self.encode_factors(factors), accessibility, has_track, pairs, bin)

    def decode(
        self,
        tokens: Tensor,
        codes: Tensor,
        factors: FactorCode,
        accessibility: Tensor,
        has_track: Tensor,
        pairs: Tensor,
        bin: int,
    ) -> Tensor:
        """As `forward`, of factors that are already encoded: what rendering calls."""
        match = self.match_motifs(codes, factors, bin)
        v, met, bias = self.factor_side(tokens, factors, match)
        context = self.context_side(tokens, accessibility, has_track)
        cells = pairs[:, 1].tolist()
        parts, order = [], []
        for cell in sorted(set(cells)):
            columns = [column for column, found in enumerate(cells) if found == cell]
            chosen = pairs[columns, 0]
            side = (v[chosen], met[:, :, chosen], bias[:, :, chosen])
            parts.append(self.pair_logits(side, context[:, :, cell]))
            order += columns
        back = torch.tensor(order, device=tokens.device).argsort()
        return torch.cat(parts, -1)[..., back]

    def _normalise(self, x: Tensor) -> Tensor:
        if self.normalisation == "cosine":
            return F.normalize(x, dim=-1)
        if self.normalisation == "layernorm":
            return F.layer_norm(x, x.shape[-1:]) * x.shape[-1] ** -0.5
        return x
