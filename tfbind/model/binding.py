"""The whole model: trunk, DNA tokens, head."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tfbind.config import ModelSettings
from tfbind.core.errors import InputError
from tfbind.model.contexts import ContextBatch
from tfbind.model.factors import FactorBatch
from tfbind.model.head import Head
from tfbind.model.inference_trunk import Stretch
from tfbind.model.motif_scan import best_sites, z_scores
from tfbind.model.outputs import Outputs
from tfbind.model.precision import autocast
from tfbind.model.shape import ModelShape
from tfbind.model.tower import Tower
from tfbind.model.trunk import make_trunk
from tfbind.model.whole_batch import whole_batch


class MotifPanel(nn.Module):
    """How well a fixed panel of known motifs matches in and around each bin: a short cut for the trunk.

    A trunk that is trained from nothing on a small genome spends most of its time finding motifs that are
    known. The panel is the same whatever factor is asked for, so DNA tokens still depend on the DNA alone.

    Parameters
    ----------
    motifs
        Log-odds, float32 (motifs, W, 4); kept with the weights.
    width
        Channels that come out.
    """

    def __init__(self, motifs: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("motifs", motifs.clone())
        self.norm = nn.BatchNorm1d(2 * len(motifs))
        self.mix = nn.Sequential(nn.Conv1d(2 * len(motifs), width, 5, padding=2), nn.GELU())

    def forward(self, codes: Tensor, bin: int) -> Tensor:
        """(windows, bins, width) of base codes (windows, bp)."""
        with torch.no_grad():
            best = best_sites(codes, self.motifs, bin)
        return self._mixed(best)

    def of_cores(self, codes: Tensor, stretch: Stretch) -> Tensor:
        """What `forward` makes of each window: (stretches, windows, core bins, width) of codes (stretches, bp).

        Of a window only the core is looked at, with as much around it as is seen from there.
        """
        sites = -(-(self.motifs.shape[1] // 2) // stretch.bin)
        margin = min(stretch.first_bin, sites + self.mix[0].padding[0])
        low, high = stretch.first_bin - margin, stretch.first_bin + stretch.core_bins + margin
        # One window after the other: the scores of all sites are far larger than what is kept of them.
        best = [
            best_sites(codes[:, start + low * stretch.bin : start + high * stretch.bin], self.motifs, stretch.bin)
            for start in stretch.starts()
        ]
        mixed = self._mixed(torch.stack(best, 1).flatten(0, 1))[:, margin : margin + stretch.core_bins]
        return mixed.unflatten(0, (len(codes), stretch.windows))

    def _mixed(self, best: Tensor) -> Tensor:
        with torch.no_grad():
            strength = z_scores(best, self.motifs)
            # The best site as it is, and how far it stands out: rare good sites matter most.
            features = torch.cat([strength, (strength - 3).clamp(min=0) ** 2], 1)
        return self.mix(self.norm(features)).transpose(1, 2)


class BindingModel(nn.Module):
    """From DNA, factors and cell types to binding.

    Parameters
    ----------
    settings
        Sizes of trunk and head.
    shape
        Sizes that follow from the data.
    panel
        Known motifs of the motif panel, log-odds (motifs, W, 4), if `settings.motif_panel` asks for one.
    trunk
        The DNA network; none: a new one of the settings.
    """

    def __init__(
        self,
        settings: ModelSettings,
        shape: ModelShape,
        *,
        panel: Tensor | None = None,
        trunk: nn.Module | None = None,
    ) -> None:
        super().__init__()
        _require_known_cell_types(settings, shape)
        self.settings, self.shape, self.bin = settings, shape, shape.bin
        self.trunk = make_trunk(settings.trunk, shape.bin) if trunk is None else trunk
        self.tower = None if settings.tower is None else Tower(self.trunk.width, settings.tower)
        width = self.trunk.width if self.tower is None else self.tower.width
        self.panel = None
        if settings.motif_panel and panel is not None and len(panel):
            self.panel = MotifPanel(panel, settings.motif_panel)
            width += settings.motif_panel
        # LayerNorm keeps DNA tokens near unit scale, so that 16 bits hold them well.
        self.to_tokens = nn.Sequential(nn.Linear(width, settings.rank), nn.LayerNorm(settings.rank))
        self.head = Head(settings, shape)
        whole_batch(self)

    @property
    def rank(self) -> int:
        """Width of the DNA tokens."""
        return self.settings.rank

    def dna_tokens(
        self, codes: Tensor, *, trunk_dtype: torch.dtype = torch.float32, embedding: Tensor | None = None
    ) -> Tensor:
        """DNA tokens, float32 (windows, bins, rank), of base codes (windows, bp).

        The trunk does not run where its `embedding` is given, (windows, bins, width).
        """
        if embedding is None:
            with autocast(codes.device, trunk_dtype):
                embedding = self.trunk(codes)
        embedding = embedding.float()
        parts = [embedding if self.tower is None else self.tower(embedding)]
        if self.panel is not None:
            parts.append(self.panel(codes, self.bin))
        return self.to_tokens(torch.cat(parts, -1))

    def stretch_tokens(
        self, codes: Tensor, stretch: Stretch, trunk: Callable[[Tensor, Stretch], Tensor]
    ) -> Tensor:
        """DNA tokens of cores, as `dna_tokens` gives them for each window.

        Parameters
        ----------
        codes
            Base codes (stretches, bp), uint8.
        stretch
            How windows lie in them.
        trunk
            This model's trunk, for inference, or what says the same.

        Returns
        -------
        float32 (stretches, windows, core bins, rank).
        """
        embedding = trunk(codes, stretch).float() if self.tower is None else self._of_tower(codes, stretch, trunk)
        if self.panel is not None:
            embedding = torch.cat([embedding, self.panel.of_cores(codes, stretch)], -1)
        return self.to_tokens(embedding)

    def _of_tower(self, codes: Tensor, stretch: Stretch, trunk: Callable[[Tensor, Stretch], Tensor]) -> Tensor:
        """What the tower says of cores, (stretches, windows, core bins, dim); each window is embedded whole."""
        windows = codes.unfold(1, stretch.length, stretch.core)
        whole = Stretch(1, stretch.length, stretch.length, stretch.bin)
        embedding = trunk(windows.flatten(0, 1), whole)[:, 0].float()
        margin = min(stretch.first_bin, self.tower.reach)
        low, high = stretch.first_bin - margin, stretch.first_bin + stretch.core_bins + margin
        found = self.tower(embedding[:, low:high])[:, margin : margin + stretch.core_bins]
        return found.unflatten(0, windows.shape[:2])

    def forward(
        self,
        codes: Tensor,
        factors: FactorBatch,
        contexts: ContextBatch,
        pairs: Tensor,
        *,
        trunk_dtype: torch.dtype = torch.float32,
        embedding: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Outputs:
        """Predictions for pairs.

        Parameters
        ----------
        codes
            Base codes 0-4, (windows, bp).
        factors
            T factors.
        contexts
            C cell types; accessibility of more bins than those of the windows, if equally many on either side
            are given to look at.
        pairs
            (factor, cell type) of each output, int64 (pairs, 2).
        trunk_dtype
            bfloat16 or float16 runs the trunk under autocast; the head stays float32.
        embedding
            What the trunk says of the windows, where it is known: (windows, bins, width).
        known
            What the factors' known motifs say of them, as `scan_motifs` does, where that is known.

        Returns
        -------
        Outputs
            float32 (windows, bins, pairs) each.
        """
        tokens = self.dna_tokens(codes, trunk_dtype=trunk_dtype, embedding=embedding)
        return self.head(tokens, codes, factors, contexts, pairs, self.bin, known)


def _require_known_cell_types(settings: ModelSettings, shape: ModelShape) -> None:
    if settings.conditioning.factor != "none" and not shape.knows_cell_types:
        raise InputError(
            "factors are to be conditioned, and nothing is known of cell types as a whole",
            key="model.conditioning.factor",
            mend="set contexts.text or contexts.learnt, or conditioning.factor to none",
        )
