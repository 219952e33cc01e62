"""How DNA tokens meet factor tokens: FILIP, and joint cross-attention before it."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tfbind.config import JointSettings, ModelSettings


class TokenNorm(nn.Module):
    """Normalise vectors (..., dim) to a length of about 1, one way or another.

    Parameters
    ----------
    kind
        `cosine`: to length 1; `layernorm` (Ba et al. 2016, arXiv:1607.06450) and `rmsnorm` (Zhang & Sennrich
        2019, arXiv:1910.07467): with a learnt gain for each entry, divided by sqrt(dim), so that products of
        two are cosine-like; `none`.
    """

    def __init__(self, kind: str, dim: int) -> None:
        super().__init__()
        self.kind, self.scale = kind, dim**-0.5
        if kind == "layernorm":
            self.norm: nn.Module = nn.LayerNorm(dim)
        elif kind == "rmsnorm":
            self.norm = nn.RMSNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim)."""
        if self.kind == "cosine":
            return F.normalize(x, dim=-1)
        return x if self.kind == "none" else self.norm(x) * self.scale


class Filip(nn.Module):
    """Fine-grained interaction S (FILIP, Yao et al. 2021, arXiv:2111.07783).

    S_h(i, t) pools over the factor's tokens k the products of D_h(i) and P_hk(t), both normalised:

    - `log_mean_exp`: tau log mean_k exp(D P / tau), between the mean (tau large) and the maximum (tau small);
    - `max`, `mean`.

    Parameters
    ----------
    settings
        `rank`, `heads`, `temperature`, `temperature_mode`, `dna_normalisation`, `factor_normalisation`,
        `map_normalisation`, `interaction_pooling`, `null_token`.
    """

    local: ClassVar[bool] = True

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.heads, self.pooling = settings.heads, settings.interaction_pooling
        dim = settings.rank // settings.heads
        self.dna_norm = TokenNorm(settings.dna_normalisation, dim)
        self.factor_norm = TokenNorm(settings.factor_normalisation, dim)
        # Over a single head, a normalised map would be constant.
        self.map_norm = _map_norm(settings.map_normalisation if settings.heads > 1 else "none", settings.heads)
        self.null = nn.Parameter(torch.randn(settings.rank) * dim**-0.5) if settings.null_token else None
        shape = (settings.heads,) if settings.temperature_mode == "per_head" else ()
        start = torch.full(shape, math.log(settings.temperature))
        if settings.temperature_mode == "fixed" or self.pooling != "log_mean_exp":
            self.register_buffer("log_temperature", start)
        else:
            self.log_temperature = nn.Parameter(start)

    @property
    def temperature(self) -> Tensor:
        """tau, of all heads (scalar) or of each (heads,)."""
        return self.log_temperature.exp().clamp(0.01, 10.0)

    def forward(self, dna: Tensor, factor: Tensor, mask: Tensor) -> Tensor:
        """Let every bin meet every factor.

        Parameters
        ----------
        dna
            DNA tokens (windows, bins, rank); or (windows, factors, bins, rank), where they differ by factor.
        factor
            Factor tokens (factors, K, rank); or (windows, factors, K, rank), with the latter.
        mask
            Which tokens are real, bool (factors, K). A factor without any gets a finite S that means nothing.

        Returns
        -------
        (windows, bins, factors, heads)
        """
        d = self._normalised(dna, self.dna_norm)
        p, real = self.prepared(factor, mask)
        how = "bnhd,tkhd->bnthk" if dna.ndim == 3 else "btnhd,btkhd->bnthk"
        return self.map_norm(self._pool(torch.einsum(how, d, p), real.unsqueeze(1)))

    @property
    def is_cosine(self) -> bool:
        """Whether both sides have length 1: their products are within -1 and 1."""
        return self.dna_norm.kind == self.factor_norm.kind == "cosine"

    def prepared(self, factor: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Factor tokens (..., K, heads, dim), with a null token if there is one, and which count.

        Normalised, and divided by tau, where there is one: there are far more products than tokens.
        """
        factor, mask = self._with_null(factor, mask)
        tokens = self._normalised(factor, self.factor_norm)
        if self.pooling == "log_mean_exp":
            tokens = tokens / self.temperature.reshape(-1, 1)
        return tokens, mask | ~mask.any(-1, keepdim=True)

    def _with_null(self, factor: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """A token that stands for `nothing here` in every factor, normalised like all others."""
        if self.null is None:
            return factor, mask
        # Before the others: how a sum over tokens is rounded then does not depend on how many fill it up.
        null = self.null.expand(*factor.shape[:-2], 1, -1)
        return torch.cat([null, factor], -2), F.pad(mask, (1, 0), value=True)

    def _normalised(self, x: Tensor, norm: TokenNorm) -> Tensor:
        return norm(rearrange(x, "... (heads d) -> ... heads d", heads=self.heads))

    def _pool(self, products: Tensor, real: Tensor) -> Tensor:
        """Over tokens, the last axis; of products that are divided by tau, where there is one."""
        if self.pooling == "mean":
            return (products * real).sum(-1) / real.sum(-1)
        if not real.all():
            products = products.masked_fill(~real, -torch.inf)
        if self.pooling == "max":
            return products.amax(-1)
        return self.temperature * (torch.logsumexp(products, -1) - real.sum(-1).log())


class JointBlock(nn.Module):
    """DNA and factor attend to one another, both ways through the same similarities, each with a feed-forward.

    Pre-normalised and residual. One set of projections serves as queries of one side and keys of the other, as in
    tf-bind-transformer (github.com/lucidrains/bidirectional-cross-attention).
    """

    def __init__(self, dim: int, settings: JointSettings) -> None:
        super().__init__()
        inner = settings.heads * settings.dim_head
        self.heads = settings.heads
        self.dna, self.factor = _Side(dim, inner, settings.dropout), _Side(dim, inner, settings.dropout)

    def forward(self, dna: Tensor, factor: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(windows, factors, bins, dim) and (windows, factors, K, dim); mask bool (factors, K)."""
        d, v = (self._split(x) for x in self.dna.project(dna))
        p, w = (self._split(x) for x in self.factor.project(factor))
        seen = mask[:, None, None, :]  # (factors, heads, bins, K)
        to_dna = F.scaled_dot_product_attention(d, p, w, attn_mask=seen)
        to_factor = F.scaled_dot_product_attention(p, d, v)
        return self.dna.take(dna, self._join(to_dna)), self.factor.take(factor, self._join(to_factor))

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t n (h d) -> b t h n d", h=self.heads)

    @staticmethod
    def _join(x: Tensor) -> Tensor:
        return rearrange(x, "b t h n d -> b t n (h d)")


class _Side(nn.Module):
    """One side's layers of a `JointBlock`."""

    def __init__(self, dim: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.to_shared, self.to_value = nn.Linear(dim, inner, bias=False), nn.Linear(dim, inner, bias=False)
        self.out = nn.Sequential(nn.Linear(inner, dim), nn.Dropout(dropout))
        self.feed = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim), nn.Dropout(dropout)
        )

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared, and what is handed over."""
        x = self.norm(x)
        return self.to_shared(x), self.to_value(x)

    def take(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add what was attended to, and feed forward."""
        x = x + self.out(attended)
        return x + self.feed(x)


class Joint(nn.Module):
    """Joint bidirectional cross-attention of every factor with every window, then FILIP.

    What the predecessor does. It costs attention over bins x tokens for each factor in each window (in each cell
    type, where anything is conditioned), so a track costs orders of magnitude more than with FILIP alone.
    """

    local: ClassVar[bool] = False

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            JointBlock(settings.rank, settings.joint) for _ in range(settings.joint.depth)
        )
        self.filip = Filip(settings)

    def forward(self, dna: Tensor, factor: Tensor, mask: Tensor) -> Tensor:
        """As `Filip.forward`, of (windows, bins, rank) and (factors, K, rank)."""
        real = mask | ~mask.any(-1, keepdim=True)
        dna = dna.unsqueeze(1).expand(-1, len(factor), -1, -1)
        factor = factor.unsqueeze(0).expand(len(dna), -1, -1, -1)
        for block in self.blocks:
            dna, factor = block(dna, factor, real)
        return self.filip(dna, factor, mask)


INTERACTIONS: dict[str, type[Filip] | type[Joint]] = {"filip": Filip, "joint": Joint}


def _map_norm(kind: str, heads: int) -> nn.Module:
    """Over the heads of the interaction map; LayerNorm and RMSNorm here keep unit scale."""
    if kind == "layernorm":
        return nn.LayerNorm(heads)
    if kind == "rmsnorm":
        return nn.RMSNorm(heads, eps=1e-6)
    return TokenNorm(kind, heads)
