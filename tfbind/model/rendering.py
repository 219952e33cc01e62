"""Rendering: the head's binding logits of many factors in many cell types, along a genome, on few CPU cores.

`Head.decode` says what a model means; this computes the same, to rounding (1e-5), in another order:

- Work goes by pieces of `PIECE` bins, blocks of `BLOCK` of them, and groups of `GROUP` factors, so that what is
  in hand stays in the cache. A bin is always computed in the same place of the same piece, and a factor as if
  alone: a value depends neither on the stretch that is asked for nor on the other factors.
- What is of the DNA alone (normalised tokens, and their part of U) is computed once a bin, for all; motif match
  and interaction once a factor, for all cell types; accessibility once a cell type, for all factors.
- U's last layer is linear, and so is its product with V: (V W) h in place of V (W h). W meets no bin.
- Between tokens of length 1 exponents are bounded: no maximum is taken off before `exp`.
- Bins are the last axis: what differs by factor or feature is a loop over long rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfbind.model.contexts import ContextBatch
from tfbind.model.head import PAIR_FEATURES, SCAN_SCALE, FactorCode, Head
from tfbind.model.interaction import Filip
from tfbind.model.motif_scan import near_bins
from tfbind.model.site_scan import SiteScan, Words

PIECE, BLOCK, GROUP = 1024, 256, 32
# Factors are filled up to a multiple of it, so that rows fill vector registers.
LANES = 16
# exp of it is far from overflow, also summed over the residues of any protein.
BOUND = 70.0
OUTPUT = "binding"


def can_render(head: Head) -> bool:
    """Whether `Renderer` takes a head; `Head.decode` takes all."""
    plain = isinstance(head.interaction, Filip) and not head.meets_by_cell_type
    return plain and head.local and not head.training


class Renderer:
    """Logits of binding of some factors, as `Head.decode` gives them.

    Parameters
    ----------
    head
        One that `can_render` takes.
    factors
        What `Head.encode_factors` made of them.
    bin
        bp of a bin.
    """

    def __init__(self, head: Head, factors: FactorCode, bin: int) -> None:
        self.head, self.bin, self.near = head, bin, near_bins(bin)
        self.known = SiteScan(factors.known_motifs, factors.has_motif)
        self.read = SiteScan(factors.read_motifs, factors.has_protein & (factors.read_motifs.shape[1] > 0))
        self.margin = max(self.known.reach, self.read.reach)
        self.contexts = _ContextLayers(head)
        parts = torch.arange(len(factors.pooled), device=factors.pooled.device).split(GROUP)
        self.groups = [_Group(head, factors.select(part), self.contexts) for part in parts]

    def __call__(self, tokens: Tensor, codes: Tensor, contexts: ContextBatch, pairs: Tensor) -> Tensor:
        """Logits of a piece, float32 (pairs, PIECE).

        Parameters
        ----------
        tokens
            DNA tokens (PIECE, rank), 16 or 32 bit.
        codes
            Base codes of the piece, of `near` bins on either side, and of `margin` bp around these.
        contexts
            Accessibility of one window: of the piece, and of equally many bins on either side.
        pairs
            (factor, cell type), int64 (pairs, 2).
        """
        dna = tokens.float()
        filip = self.head.interaction
        normalised = filip.dna_norm(dna.unflatten(-1, (filip.heads, -1)))
        cells = sorted(set(pairs[:, 1].tolist()))
        features = self._cell_types(dna, contexts, cells)
        words = Words(codes, self.margin, self.bin)
        sites = [scan(words) for scan in (self.known, self.read)]
        out = dna.new_empty(len(pairs), len(dna))
        for number, group in enumerate(self.groups):
            first = number * GROUP
            chosen = {cell: _places(pairs, first, first + group.count, cell) for cell in cells}
            if not any(len(places) for _, places in chosen.values()):
                continue
            biases = {cell: group.bias_in(features[cell]) for cell in cells}
            rows = slice(first, first + group.count)
            blocks = group.laid_out(
                [
                    _motif_rows(scan, found, rows, self.near)
                    for scan, found in zip((self.known, self.read), sites, strict=True)
                ]
            )
            for block, features_of_block in enumerate(blocks):
                bins = slice(block * BLOCK, (block + 1) * BLOCK)
                met = group.meet(filip, normalised[bins], features_of_block)
                for cell, (own, places) in chosen.items():
                    if len(places):
                        out[places, bins] = group.join(met, features[cell], biases[cell], block)[own]
        return out

    def _cell_types(self, dna: Tensor, contexts: ContextBatch, cells: list[int]) -> dict[int, _CellType]:
        """The cell types' side of a piece, of those that are asked for."""
        wanted = contexts.select(torch.tensor(cells, device=dna.device))
        code = self.head.encode_contexts(wanted, len(dna))
        shared = self.contexts.of_dna(dna)
        return {
            cell: self.contexts.of_cell_type(
                shared, code.local[0, :, column], None if code.whole is None else code.whole[column]
            )
            for column, cell in enumerate(cells)
        }


@dataclass(frozen=True)
class _CellType:
    """A cell type's side.

    Attributes
    ----------
    hidden : (BLOCK, width), of each block
        What U is a linear map of; U itself, where something is done to it after that map.
    met : (PAIR_FEATURES, PIECE)
        What the pair's features are multiplied by: U's part, and their own bias.
    bias : (PIECE,)
        e.
    whole : (hidden,), or None
        u.
    """

    hidden: list[Tensor]
    met: Tensor
    bias: Tensor
    whole: Tensor | None


class _ContextLayers:
    """`Head.context_side`, cut into what is of the DNA alone and what is not, without its last linear map."""

    def __init__(self, head: Head) -> None:
        first, last = head.to_u[0], head.to_u[-1]
        self.rank, count = head.output_sizes[0], len(head.outputs)
        self.hidden = head.dna.out_features
        self.condition = head.condition_interaction
        self.last = last
        by_cell, by_dna = first.weight.split([2 * self.hidden, self.rank], 1)
        self.by_cell = by_cell.contiguous()
        self.by_dna = torch.cat([by_dna, head.dna.weight])
        self.dna_bias = torch.cat([first.bias, head.dna.bias])
        output = head.outputs.index(OUTPUT)
        low = self.rank + output * PAIR_FEATURES
        rows = [*range(low, low + PAIR_FEATURES), self.rank + count * PAIR_FEATURES + output]
        weight, bias = last.weight, last.bias
        if self.condition is not None:
            # U itself is what comes out.
            weight, bias = torch.eye(len(last.bias), device=last.bias.device), torch.zeros_like(last.bias)
        self.to_v, self.v_bias = weight[: self.rank], bias[: self.rank]
        self.to_met, self.met_bias = weight[rows], bias[rows].clone()
        self.met_bias[:PAIR_FEATURES] += head.pair_bias.weight[output]

    def of_dna(self, dna: Tensor) -> Tensor:
        """The first layer's part that knows no cell type, and the DNA tokens at its width."""
        return F.linear(dna, self.by_dna, self.dna_bias)

    def of_cell_type(self, shared: Tensor, near: Tensor, whole: Tensor | None) -> _CellType:
        """From what `of_dna` gave and A, (PIECE, hidden)."""
        parts = [self._block(*block, whole) for block in zip(shared.split(BLOCK), near.split(BLOCK), strict=True)]
        rows = torch.cat([rows for _, rows in parts], 1)
        return _CellType([hidden for hidden, _ in parts], rows[:PAIR_FEATURES], rows[PAIR_FEATURES], whole)

    def _block(self, shared: Tensor, near: Tensor, whole: Tensor | None) -> tuple[Tensor, Tensor]:
        first, dna = shared[:, : -self.hidden], shared[:, -self.hidden :]
        hidden = torch.cat([near * dna, near], 1) @ self.by_cell.T
        hidden = F.gelu(hidden.add_(first))
        if self.condition is not None:
            condition = near if whole is None else near + whole
            hidden = self.condition(self.last(hidden)[None], condition[None])[0]
        return hidden, torch.addmm(self.met_bias[:, None], self.to_met, hidden.T)


class _Group:
    """Factors that are rendered together: their side of the head, laid out for it.

    Parameters
    ----------
    factors
        At most GROUP.
    """

    def __init__(self, head: Head, factors: FactorCode, contexts: _ContextLayers) -> None:
        self.count = len(factors.pooled)
        self.size = -(-self.count // LANES) * LANES
        fill = self.size - self.count
        self.has_motif, self.has_protein = (
            _filled(has.float(), fill) for has in (factors.has_motif, factors.has_protein)
        )
        self.meets = bool(factors.has_protein.any())
        # Each alone: on some processors the row that a factor stands in decides how a product is rounded.
        alone = [factors.select(row[None]) for row in torch.arange(self.count, device=factors.pooled.device)]
        self._tokens(head, alone, fill)
        self._summaries(head, alone, contexts, fill)
        self._pair(head)

    def _tokens(self, head: Head, alone: Sequence[FactorCode], fill: int) -> None:
        """Factor tokens as one matrix a head, in the order of token, factor."""
        filip = head.interaction
        prepared = [filip.prepared(head.encoder.tokens(factor.pooled), factor.mask) for factor in alone]
        tokens, real = (torch.cat(part) for part in zip(*prepared, strict=True))
        self.tau = filip.temperature.expand(filip.heads).reshape(-1, 1, 1)
        self.bounded = filip.is_cosine and self.tau.min().item() * BOUND > 1
        self.tokens = _filled(tokens, fill).permute(2, 1, 0, 3).flatten(1, 2).contiguous()
        self.real = None if real.all() else F.pad(real, (0, 0, 0, fill), value=True).T
        self.numbers = F.pad(real.sum(1), (0, fill), value=1).float()[:, None]

    def _summaries(self, head: Head, alone: Sequence[FactorCode], contexts: _ContextLayers, fill: int) -> None:
        """V through U's last layer, a, and what scales a pair's features."""
        output = head.outputs.index(OUTPUT)
        made = []
        for factor in alone:
            summary, scale, v = head.summarise(factor)
            v = v[:, output] * contexts.rank**-0.5
            bias = head.factor_bias(summary)[:, output] + head.pair_bias.bias[output] + v @ contexts.v_bias
            made.append((v @ contexts.to_v, bias, summary, scale))
        self.v, self.bias, self.summary, scale = (
            _filled(torch.cat(part), fill) for part in zip(*made, strict=True)
        )
        self.scale = scale.T[:, :, None].contiguous()
        self.output, self.cell_bias = output, head.cell_bias

    def _pair(self, head: Head) -> None:
        """The pair's layers; the first one's bias is the weight of a further feature that is 1."""
        first, _, second, _ = head.pair
        self.first = torch.cat([first.weight, first.bias[:, None]], 1)
        self.second, self.second_bias = second.weight, second.bias[:, None]
        self.heads = head.interaction.heads

    def laid_out(self, motifs: Sequence[Tensor]) -> Tensor:
        """The pair's features, (blocks, features, size, BLOCK); where the interaction goes stands 0 yet.

        Parameters
        ----------
        motifs
            Of the known motifs and of the read ones, (SCAN_FEATURES, count, PIECE) each.
        """
        found = torch.cat(list(motifs)).unflatten(-1, (-1, BLOCK)).permute(2, 0, 1, 3)
        blocks, rows = found.shape[:2]
        out = found.new_zeros(blocks, self.heads + rows + 3, self.size, BLOCK)
        out[:, self.heads : -3, : self.count] = found
        out[:, -3], out[:, -2], out[:, -1] = self.has_motif[:, None], self.has_protein[:, None], 1
        return out

    def meet(self, filip: Filip, dna: Tensor, features: Tensor) -> Tensor:
        """The pair's features after their layers, (PAIR_FEATURES, size, BLOCK).

        Parameters
        ----------
        dna
            Normalised DNA tokens (BLOCK, heads, dim).
        features
            A block of `laid_out`; the interaction is filled in, unless no factor has a protein.
        """
        if self.meets:
            products = torch.bmm(self.tokens, dna.permute(1, 2, 0)).unflatten(1, (-1, self.size))
            mapped = _normalised_map(filip, self._pooled(filip, products))
            torch.mul(mapped, self.has_protein[:, None], out=features[: self.heads])
        # In place: what is written anew leaves the cache.
        hidden = torch.ops.aten.gelu_(self.first @ features.flatten(1))
        met = torch.ops.aten.gelu_(torch.addmm(self.second_bias, self.second, hidden))
        return met.unflatten(1, (self.size, -1)).mul_(self.scale)

    def _pooled(self, filip: Filip, products: Tensor) -> Tensor:
        """`Filip`'s pooling over tokens: (heads, size, BLOCK) of (heads, tokens, size, BLOCK)."""
        hidden = None if self.real is None else ~self.real[:, :, None]
        if filip.pooling == "mean":
            return (products if hidden is None else products.masked_fill_(hidden, 0)).sum(1) / self.numbers
        if hidden is not None:
            products.masked_fill_(hidden, -torch.inf)
        if filip.pooling == "max":
            return products.amax(1)
        if self.bounded:
            pooled = products.exp_().sum(1).log_()
        else:
            top = products.amax(1)
            pooled = products.sub_(top[:, None]).exp_().sum(1).log_().add_(top)
        return pooled.sub_(self.numbers.log()).mul_(self.tau)

    def bias_in(self, cell: _CellType) -> Tensor:
        """What holds of all bins in one cell type: a, and g where there is one, (size,)."""
        if cell.whole is None:
            return self.bias
        of_cell = self.cell_bias(self.summary, cell.whole.expand_as(self.summary))
        return self.bias + of_cell[:, self.output]

    def join(self, met: Tensor, cell: _CellType, bias: Tensor, block: int) -> Tensor:
        """Logits in one cell type, (size, BLOCK); of it is the `bias`."""
        bins = slice(block * BLOCK, (block + 1) * BLOCK)
        joined = torch.addmm(bias[:, None], self.v, cell.hidden[block].T)
        return joined.add_((met * cell.met[:, None, bins]).sum(0)).add_(cell.bias[bins])


def _filled(rows: Tensor, fill: int) -> Tensor:
    """With so many further rows of zeros."""
    return F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, fill))


def _motif_rows(scan: SiteScan, found: tuple[Tensor, Tensor], chosen: slice, near: int) -> Tensor:
    """The features of `scan_motifs`, scaled as the head takes them: (SCAN_FEATURES, factors, PIECE)."""
    rows = scan.features(*(part[chosen] for part in found), near, chosen)
    scale = torch.tensor(SCAN_SCALE, device=rows.device)[:, None, None]
    return rows.mul_(scale * scan.present[chosen, None])


def _normalised_map(filip: Filip, pooled: Tensor) -> Tensor:
    """`Filip.map_norm` over the first axis."""
    norm = filip.map_norm
    if not isinstance(norm, nn.LayerNorm):
        return norm(pooled.movedim(0, -1)).movedim(-1, 0)
    centred = pooled - pooled.mean(0)
    deviation = centred.square().mean(0).add_(norm.eps).rsqrt_()
    return torch.addcmul(norm.bias[:, None, None], centred.mul_(deviation), norm.weight[:, None, None])


def _places(pairs: Tensor, low: int, high: int, cell: int) -> tuple[Tensor, Tensor]:
    """Of the pairs of some factors in a cell type: the factors, counted from `low`, and where the pairs stand."""
    factors = pairs[:, 0]
    places = torch.nonzero((factors >= low) & (factors < high) & (pairs[:, 1] == cell)).squeeze(1)
    return factors[places] - low, places
