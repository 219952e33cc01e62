"""The head: what a factor and a cell type add to DNA tokens.

For bin i, factor t and cell type c, and each of the model's outputs,

    y(i, t, c) = sum_r V_r(i, t) U_r(i, c) + a(i, t) + e(i, c) + g(t, c)

V joins the factor's summary with what it meets in the bin: the interaction S of DNA tokens and factor tokens
(`interaction.py`) and the motif match M. U joins the DNA tokens with A, the accessibility (and, if any, further
signals) around the bin. g is of
what is known of the cell type as a whole, u(c). As long as nothing is conditioned by the cell type before they
meet, V knows nothing of c and U nothing of t, so T factors in C cell types cost T + C towers and one product a
pair.

What is known of the cell type may condition (`conditioning.py`) the DNA tokens, by k(i, c) = A(i, c) + u(c); what
stands for the factor, by u(c); and the product, as a gate of U's dimensions, by k(i, c).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfbind.config import ModelSettings
from tfbind.model.conditioning import make_conditioner
from tfbind.model.context_encoder import AccessibilityTower, CellTypeTower
from tfbind.model.contexts import ContextBatch
from tfbind.model.factor_encoder import FactorEncoder
from tfbind.model.factors import FactorBatch
from tfbind.model.interaction import INTERACTIONS
from tfbind.model.motif_scan import SCAN_FEATURES, scan_motifs
from tfbind.model.outputs import Outputs
from tfbind.model.shape import ModelShape

PAIR_FEATURES = 16
# What the features of a motif match are multiplied by: scores in nats are then of the size of all else.
SCAN_SCALE = (0.3, 0.1, 0.1, 0.3)
# Where an output's bias starts: binding is rare (a prevalence of 0.25 %).
INITIAL_BIAS = {"binding": -6.0, "track": 0.0, "peak_score": 0.0}


@dataclass(frozen=True)
class FactorCode:
    """Factors after their towers: all that rendering needs of them, made once a factor.

    Attributes
    ----------
    pooled : (factors, K, hidden)
        What stands for a factor; tokens and summary are made of it.
    mask : bool (factors, K)
    read_motifs : (factors, motif_width, 4), read off the proteins
    known_motifs : (factors, W, 4)
    has_protein, has_motif : bool (factors,)
    number : int64 (factors,)
        Which of the factors asked for each is; of those that are predicted twice, two stand side by side.
    """

    pooled: Tensor
    mask: Tensor
    read_motifs: Tensor
    known_motifs: Tensor
    has_protein: Tensor
    has_motif: Tensor
    number: Tensor

    def select(self, indices: Tensor) -> FactorCode:
        """Some of the factors, each for itself."""
        chosen = FactorCode(*(value[indices] for value in vars(self).values()))
        return replace(chosen, number=torch.arange(len(chosen.number), device=chosen.number.device))


def joined_codes(codes: Sequence[FactorCode]) -> FactorCode:
    """Factors that were encoded apart, together; tokens are filled up where every residue is one."""
    most = max(code.mask.shape[1] for code in codes)
    filled = [
        replace(
            code,
            pooled=F.pad(code.pooled, (0, 0, 0, most - code.mask.shape[1])),
            mask=F.pad(code.mask, (0, most - code.mask.shape[1])),
        )
        for code in codes
    ]
    joined = (torch.cat(values) for values in zip(*(vars(code).values() for code in filled), strict=True))
    return replace(
        FactorCode(*joined),
        number=torch.arange(sum(len(code.number) for code in codes), device=codes[0].number.device),
    )


@dataclass(frozen=True)
class MotifMatch:
    """Motifs scanned over windows: (windows, bins, factors, 4) each, zero where there is none."""

    known: Tensor
    read: Tensor

    def select(self, indices: Tensor) -> MotifMatch:
        """Of some of the factors."""
        return MotifMatch(self.known[:, :, indices], self.read[:, :, indices])


@dataclass(frozen=True)
class ContextCode:
    """Cell types after their towers.

    Attributes
    ----------
    local : (windows, bins, cells, hidden)
        A, of the bins of the DNA tokens.
    whole : (cells, hidden), or None
        u; None for a model that is told nothing of cell types as a whole.
    """

    local: Tensor
    whole: Tensor | None


@dataclass(frozen=True)
class FactorSide:
    """V, in its two parts, and a.

    Attributes
    ----------
    v : (factors, outputs, rank)
    met : (windows, bins, factors, 16)
    bias : (windows, bins, factors, outputs)
    summary : (factors, hidden)
    """

    v: Tensor
    met: Tensor
    bias: Tensor
    summary: Tensor

    def select(self, indices: Tensor) -> FactorSide:
        """Of some of the factors."""
        return FactorSide(
            self.v[indices], self.met[:, :, indices], self.bias[:, :, indices], self.summary[indices]
        )


class Head(nn.Module):
    """See the module's docstring.

    Parameters
    ----------
    settings
        Widths, tokens, interaction, conditioning, dropouts.
    shape
        Widths of residue and text embeddings, learnt embeddings, outputs.
    """

    def __init__(self, settings: ModelSettings, shape: ModelShape) -> None:
        super().__init__()
        hidden, rank = settings.hidden, settings.rank
        self.outputs = shape.outputs
        self.motif_dropout, self.protein_dropout = settings.motif_dropout, settings.protein_dropout
        self.encoder = FactorEncoder(
            shape.residue_dim,
            hidden=hidden,
            tokens=settings.factor_tokens,
            token_dim=rank,
            motif_width=settings.motif_width,
        )
        self.interaction = INTERACTIONS[settings.interaction](settings)
        self.no_protein = nn.Parameter(torch.randn(hidden) * 0.02)
        self.pair = nn.Sequential(
            nn.Linear(settings.heads + 2 * SCAN_FEATURES + 2, 2 * PAIR_FEATURES),
            nn.GELU(),
            nn.Linear(2 * PAIR_FEATURES, PAIR_FEATURES),
            nn.GELU(),
        )
        count = len(self.outputs)
        self.pair_scale = nn.Linear(hidden, PAIR_FEATURES)
        self.to_v = nn.Linear(hidden, count * rank)
        self.pair_bias = nn.Linear(PAIR_FEATURES, count)
        self.factor_bias = nn.Linear(hidden, count)
        self.accessibility = AccessibilityTower(hidden, len(shape.signals))
        self.cell_type = self.cell_bias = None
        if shape.knows_cell_types:
            self.cell_type = CellTypeTower(
                hidden, text_dim=shape.text_dim, cell_types=shape.cell_types, learnt=shape.learnt
            )
            self.cell_bias = nn.Bilinear(hidden, hidden, count)
            nn.init.zeros_(self.cell_bias.weight)
        self.dna = nn.Linear(rank, hidden)
        self.output_sizes = [rank, count * PAIR_FEATURES, count]
        self.to_u = nn.Sequential(
            nn.Linear(2 * hidden + rank, 2 * rank),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(2 * rank, sum(self.output_sizes)),
        )
        chosen = settings.conditioning
        self.condition_dna = make_conditioner(chosen.dna, rank, hidden)
        self.condition_factor = make_conditioner(chosen.factor, hidden, hidden)
        self.condition_interaction = make_conditioner(chosen.interaction, sum(self.output_sizes), hidden)
        with torch.no_grad():
            self.pair_bias.bias.copy_(torch.tensor([INITIAL_BIAS[name] for name in self.outputs]))

    @property
    def local(self) -> bool:
        """Whether a bin's outputs depend on a few bins around it alone, so that DNA may be cut anywhere."""
        along_the_bins = (self.interaction, self.condition_dna, self.condition_interaction)
        return all(part is None or part.local for part in along_the_bins)

    @property
    def meets_by_cell_type(self) -> bool:
        """Whether factors meet the DNA anew in each cell type."""
        return self.condition_dna is not None or self.condition_factor is not None

    def encode_factors(self, factors: FactorBatch) -> FactorCode:
        """Run the factors' towers; in training, hide motifs and proteins at random."""
        has_protein, has_motif = factors.has_protein, factors.has_motif
        if self.training:
            both = has_protein & has_motif
            draw = torch.rand(len(factors), device=both.device)
            has_motif = has_motif & ~(both & (draw < self.motif_dropout))
            has_protein = has_protein & ~(both & (draw > 1 - self.protein_dropout))
        residue_mask = factors.residue_mask & has_protein[:, None]
        found = self.encoder(factors.embeddings, residue_mask)
        return FactorCode(
            found.pooled,
            found.mask,
            found.motif,
            factors.motifs,
            has_protein,
            has_motif,
            torch.arange(len(factors), device=has_motif.device),
        )

    def match_motifs(
        self, codes: Tensor, factors: FactorCode, bin: int, known: Tensor | None = None
    ) -> MotifMatch:
        """Scan the known motifs and those read off proteins over windows of base codes (windows, bp).

        The known ones are not where what they say is given, (windows, bins, factors, 4).
        """
        known = scan_motifs(codes, factors.known_motifs, bin) if known is None else known
        reads = factors.read_motifs.shape[1] > 0
        read = scan_motifs(codes, factors.read_motifs, bin) if reads else torch.zeros_like(known)
        return MotifMatch(
            known * factors.has_motif[:, None].to(known.dtype),
            read * factors.has_protein[:, None].to(read.dtype),
        )

    def encode_contexts(self, contexts: ContextBatch, bins: int) -> ContextCode:
        """Run the cell types' towers.

        Accessibility and further signals may cover more bins than the DNA tokens (`bins`), equally many on either
        side: what lies around them.
        """
        found = contexts.accessibility.shape[1]
        margin, odd = divmod(found - bins, 2)
        if margin < 0 or odd:
            raise ValueError(f"accessibility of {found} bins is not even around {bins} bins")
        local = self.accessibility(contexts)[:, margin : margin + bins]
        return ContextCode(local, None if self.cell_type is None else self.cell_type(contexts))

    def factor_side(self, dna: Tensor, factors: FactorCode, match: MotifMatch) -> FactorSide:
        """What factors meet in the DNA: V and a."""
        tokens = self.encoder.tokens(factors.pooled)
        mapped = self.interaction(dna, tokens, factors.mask) * factors.has_protein[:, None].to(dna.dtype)
        known = torch.stack([factors.has_motif, factors.has_protein], 1).to(dna.dtype)
        scale = torch.tensor(SCAN_SCALE, device=dna.device)
        parts = [mapped, match.known * scale, match.read * scale, known.expand(*mapped.shape[:3], 2)]
        summary, pair_scale, v = self.summarise(factors)
        met = self.pair(torch.cat(parts, -1)) * pair_scale
        return FactorSide(v, met, self.pair_bias(met) + self.factor_bias(summary), summary)

    def summarise(self, factors: FactorCode) -> tuple[Tensor, Tensor, Tensor]:
        """What holds of factors in any bin: summary (factors, hidden), scale (factors, 16) of what is met, V."""
        summary = self.encoder.summary(factors.pooled, factors.mask)
        summary = torch.where(factors.has_protein[:, None], summary, self.no_protein)
        v = self.to_v(summary).unflatten(-1, (len(self.outputs), -1))
        return summary, 1 + self.pair_scale(summary), v

    def context_side(self, dna: Tensor, near: Tensor, condition: Tensor) -> Tensor:
        """U and e of one cell type, (windows, bins, rank + 17 outputs), from A and k (windows, bins, hidden)."""
        u = self.to_u(torch.cat([near * self.dna(dna), near, dna], -1))
        return u if self.condition_interaction is None else self.condition_interaction(u, condition)

    def join(self, factor: FactorSide, context: Tensor, cell_bias: Tensor | None) -> Tensor:
        """(windows, bins, factors, outputs) in one cell type."""
        u_factor, u_met, e = context.split(self.output_sizes, -1)
        u_met = u_met.unflatten(-1, (len(self.outputs), -1))
        rank = self.output_sizes[0]
        product = torch.einsum("bnr,tor->bnto", u_factor, factor.v) * rank**-0.5
        product = product + torch.einsum("bntf,bnof->bnto", factor.met, u_met)
        joined = product + factor.bias + e.unsqueeze(-2)
        return joined if cell_bias is None else joined + cell_bias

    def forward(
        self,
        tokens: Tensor,
        codes: Tensor,
        factors: FactorBatch,
        contexts: ContextBatch,
        pairs: Tensor,
        bin: int,
        known: Tensor | None = None,
    ) -> Outputs:
        """Outputs (windows, bins, pairs) of the (factor, cell type) pairs, int64 (pairs, 2)."""
        return self.decode(tokens, codes, self.encode_factors(factors), contexts, pairs, bin, known)

    def decode(
        self,
        tokens: Tensor,
        codes: Tensor,
        factors: FactorCode,
        contexts: ContextBatch,
        pairs: Tensor,
        bin: int,
        known: Tensor | None = None,
    ) -> Outputs:
        """As `forward`, of factors that are already encoded: what rendering calls."""
        match = self.match_motifs(codes, factors, bin, known)
        code = self.encode_contexts(contexts, tokens.shape[1])
        shared = None if self.meets_by_cell_type else self.factor_side(tokens, factors, match)
        parts, order = [], []
        for cell, columns in _by_cell_type(pairs):
            parts.append(self._in_cell_type(tokens, factors, match, code, shared, cell, pairs[columns, 0]))
            order += columns
        back = torch.tensor(order, device=tokens.device).argsort()
        found = torch.cat(parts, 2)[:, :, back]
        return Outputs(**{name: found[..., index] for index, name in enumerate(self.outputs)}).activated()

    def _in_cell_type(
        self,
        tokens: Tensor,
        factors: FactorCode,
        match: MotifMatch,
        contexts: ContextCode,
        shared: FactorSide | None,
        cell: int,
        chosen: Tensor,
    ) -> Tensor:
        near = contexts.local[:, :, cell]
        whole = None if contexts.whole is None else contexts.whole[cell]
        condition = near if whole is None else near + whole
        dna = tokens if self.condition_dna is None else self.condition_dna(tokens, condition)
        if shared is None:
            conditioned = self._conditioned(factors.select(chosen), whole)
            side = self.factor_side(dna, conditioned, match.select(chosen))
        else:
            side = shared.select(chosen)
        bias = None
        if whole is not None:
            bias = self.cell_bias(side.summary, whole.expand_as(side.summary))
        return self.join(side, self.context_side(dna, near, condition), bias)

    def _conditioned(self, factors: FactorCode, whole: Tensor | None) -> FactorCode:
        if self.condition_factor is None:
            return factors
        condition = whole.expand(len(factors.pooled), 1, -1)
        pooled = self.condition_factor(factors.pooled, condition, factors.mask)
        return replace(factors, pooled=pooled)


def _by_cell_type(pairs: Tensor) -> Iterator[tuple[int, list[int]]]:
    """Cell types of pairs, each with the numbers of its pairs."""
    cells = pairs[:, 1].tolist()
    for cell in sorted(set(cells)):
        yield cell, [column for column, found in enumerate(cells) if found == cell]
