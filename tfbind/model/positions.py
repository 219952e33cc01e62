"""Enformer's features of relative positions, for any number of bins."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Gamma = Literal["tensorflow", "pytorch"]


def gamma_features(bins: int, count: int) -> Tensor:
    """Gamma densities of the distances between bins, each with its largest value at 1, as Enformer was trained.

    enformer-pytorch divides by the largest of the densities *at a distance*; the published Enformer (TensorFlow)
    by the largest value *of a density*, over all distances. Its shipped table for 1,536 bins equals this.

    Parameters
    ----------
    bins
        Bins of a window.
    count
        Number of densities: means from bins / count to bins, standard deviation bins / (2 count).

    Returns
    -------
    float32 (2 bins - 1, count), distances from 1 - bins to bins - 1. In single precision, as there: exact values
    differ from what the published weights have seen by up to 2.5e-3, these by 2.0e-3, and far less on average.

    Notes
    -----
    Avsec et al. 2021, doi:10.1038/s41592-021-01252-x, supplementary methods; `positional_features_gamma`.
    """
    distances = torch.arange(1 - bins, bins, dtype=torch.float32).abs()[:, None]
    mean = torch.linspace(bins / count, bins, count)
    deviation = bins / (2 * count)
    concentration, rate = (mean / deviation) ** 2, mean / deviation**2
    log_density = torch.xlogy(concentration - 1, distances) - rate * distances
    log_total = torch.lgamma(concentration) - concentration * torch.log(rate)
    density = torch.exp(log_density - log_total) + 1e-8
    return density / density.amax(0, keepdim=True)


def positional_features(bins: int, count: int, gamma: Gamma, device: torch.device) -> Tensor:
    """Enformer's features of relative positions, float32 (2 bins - 1, count).

    Parameters
    ----------
    count
        Features: sixths of exponentials, central masks and gamma densities, and the same times the sign of the
        distance.
    gamma
        Which gamma densities: `tensorflow`, see `gamma_features`; `pytorch`, as enformer-pytorch has them.
    """
    # Not as inference tensors: the next to ask may be a training.
    with torch.inference_mode(False):
        return _features(bins, count, gamma, device)


@lru_cache(maxsize=8)
def _features(bins: int, count: int, gamma: Gamma, device: torch.device) -> Tensor:
    from enformer_pytorch.modeling_enformer import get_positional_embed

    # On the CPU, wherever the model is, so that it always sees the same.
    features = get_positional_embed(bins, count, torch.device("cpu"), use_tf_gamma=False)
    if gamma == "tensorflow":
        each = count // 6
        ours = gamma_features(bins, each)
        sign = torch.sign(torch.arange(1 - bins, bins))[:, None]
        features[:, 2 * each : 3 * each] = ours
        features[:, 5 * each :] = sign * ours
    return features.to(device)


class RelativeAttention(nn.Module):
    """The attention layer of an enformer-pytorch Enformer, its weights under their names, with chosen positions.

    Parameters
    ----------
    attention
        `enformer_pytorch.modeling_enformer.Attention`, whose layers it takes over.
    gamma
        As in `positional_features`.
    """

    def __init__(self, attention: nn.Module, gamma: Gamma) -> None:
        super().__init__()
        self.heads, self.scale, self.gamma = attention.heads, attention.scale, gamma
        self.to_q, self.to_k, self.to_v = attention.to_q, attention.to_k, attention.to_v
        self.to_out, self.to_rel_k = attention.to_out, attention.to_rel_k
        self.rel_content_bias, self.rel_pos_bias = attention.rel_content_bias, attention.rel_pos_bias
        self.pos_dropout, self.attn_dropout = attention.pos_dropout, attention.attn_dropout

    def forward(self, x: Tensor) -> Tensor:
        """Attend, x being (windows, bins, width)."""
        query, key, value = (self._by_head(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        query = query * self.scale
        content = (query + self.rel_content_bias) @ key.transpose(-1, -2)
        relative = (query + self.rel_pos_bias) @ self._positions(x).transpose(-1, -2)
        attention = self.attn_dropout((content + relative_shift(relative)).softmax(-1))
        return self.to_out((attention @ value).transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def _positions(self, x: Tensor) -> Tensor:
        """Keys of the relative positions, (heads, 2 bins - 1, width of a key)."""
        weight = self.to_rel_k.weight
        features = positional_features(x.shape[-2], weight.shape[1], self.gamma, x.device).to(weight.dtype)
        return self._by_head(self.to_rel_k(self.pos_dropout(features)))


def relative_shift(logits: Tensor) -> Tensor:
    """From logits by distance, (..., n, 2 n - 1), distances ascending, to those by position, (..., n, n).

    Row i takes the distances -i to n - 1 - i (Dai et al. 2019, Transformer-XL, appendix B).
    """
    *rest, rows, distances = logits.shape
    padded = F.pad(logits, (1, 0)).reshape(*rest, distances + 1, rows)
    return padded[..., 1:, :].reshape(*rest, rows, distances)[..., :rows]
