"""`Model`: the network on tensors of one's own, without tables, folders or a workflow.

The successor of tf-bind-transformer's `AdapterModel`. It is the network that the workflow trains
(`BindingModel`), with inputs as a user has them and a loss as its result; docs/model.md tells every option of the
predecessor.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tfbind.config import FineTuningSettings
from tfbind.core.errors import InputError
from tfbind.model.arguments import (
    Asked,
    Pairs,
    ask,
    fine_tuning_settings,
    labels_of,
    loss_weights,
    model_settings,
    targets_of,
)
from tfbind.model.binding import BindingModel
from tfbind.model.checkpoint import load_checkpoint, save_checkpoint
from tfbind.model.depth import DepthEffect
from tfbind.model.enformer import EnformerTrunk
from tfbind.model.finetuning import fine_tune
from tfbind.model.inference import MARGIN
from tfbind.model.losses import TRACK_LOSSES, binding_loss, peak_score_loss, pearson_correlation
from tfbind.model.outputs import Outputs
from tfbind.model.sequence import as_bases, reverse_complemented
from tfbind.model.shape import OUTPUTS, ModelShape
from tfbind.model.trunk_interface import Trunk

if TYPE_CHECKING:
    from enformer_pytorch import Enformer

    from tfbind.contexts.text import TextEncoder
    from tfbind.factors.embeddings import Embedder

# Which output each loss is of.
OUTPUT_OF = {**dict.fromkeys(TRACK_LOSSES, "track"), "binding": "binding", "peak_score": "peak_score"}


class Model(nn.Module):
    """From sequence, factor and cell type to tracks, on tensors.

    Parameters
    ----------
    enformer
        An enformer-pytorch `Enformer`: new, or read by `from_pretrained`. Its weights are shared, its heads are
        not used, and its `target_length` is that of the targets unless another is given.
    trunk
        In its place: any other `tfbind.model.trunk_interface.Trunk`.
    aa_embed_dim
        Width of the residue embeddings.
    contextual_embed_dim
        Width of the embeddings of cell types; None: there are none.
    loss
        A name of `poisson`, `poisson_multinomial`, `pearson` (of a track), `binding` (of labels), `peak_score`;
        or several with their weights, such as `{"poisson": 1.0, "binding": 0.5}`.
    focal_gamma
        Of the loss of binding; 0: plain cross-entropy.
    target_length
        Middle bins of a sequence that are predicted; None: the Enformer's, else all.
    aa_embedder, text_encoder
        What embeds proteins and descriptions that are given as strings (`aa`, `contextual_text`); none: they are
        given as tensors. They are not trained, and not saved.
    signals
        Names of the signals along the genome that are known beside accessibility, such as `["H3K27ac"]`.
    fine_tuning
        Which weights of the trunk train: a mode (`all`, `frozen`, `norms`, `lora`), or the settings.
    gradient_checkpointing
        Whether the trunk's stages are run again in the backward pass, to save memory.
    settings
        Any key of the configuration's `model` but `trunk` and `motif_panel`, such as `interaction="joint"`,
        `heads=8`, `conditioning={"dna": "film"}`.

    Raises
    ------
    TypeError
        An argument that there is not.
    InputError
        Settings that do not fit.
    """

    def __init__(
        self,
        *,
        enformer: Enformer | None = None,
        trunk: Trunk | None = None,
        aa_embed_dim: int,
        contextual_embed_dim: int | None = None,
        loss: str | Mapping[str, float] = "poisson",
        focal_gamma: float = 0.0,
        target_length: int | None = None,
        aa_embedder: Embedder | None = None,
        text_encoder: TextEncoder | None = None,
        signals: Sequence[str] = (),
        fine_tuning: str | Mapping[str, Any] | FineTuningSettings = "all",
        gradient_checkpointing: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        if (enformer is None) == (trunk is None):
            raise TypeError("give either an enformer or a trunk")
        if enformer is not None:
            trunk = EnformerTrunk(enformer)
            if target_length is None and enformer.target_length > 0:
                target_length = enformer.target_length
        weights = loss_weights(loss, OUTPUT_OF)
        _require_at_least("target_length", target_length, 1)
        _require_at_least("focal_gamma", focal_gamma, 0)
        wanted = {OUTPUT_OF[name] for name in weights}
        shape = ModelShape(
            bin=trunk.bin,
            residue_dim=aa_embed_dim,
            text_dim=contextual_embed_dim or 0,
            outputs=tuple(name for name in OUTPUTS if name in wanted),
            signals=tuple(signals),
        )
        network = BindingModel(model_settings(settings, trunk), shape, trunk=trunk)
        trunk.gradient_checkpointing = gradient_checkpointing
        fine_tune(network, fine_tuning_settings(fine_tuning))
        self._assemble(network, weights, focal_gamma, target_length)
        self.aa_embedder, self.text_encoder = aa_embedder, text_encoder
        # What a checkpoint that it was read from says of its training.
        self.about: dict[str, Any] = {}

    def _assemble(
        self, network: BindingModel, weights: dict[str, float], focal_gamma: float, target_length: int | None
    ) -> None:
        self.network, self.weights = network, weights
        self.focal_gamma, self.target_length = focal_gamma, target_length
        self.depth = DepthEffect() if "peak_score" in weights else None

    def forward(
        self,
        seq: Tensor | str | Sequence[str],
        *,
        aa: Sequence[str | Sequence[str]] | None = None,
        aa_embed: Tensor | None = None,
        aa_mask: Tensor | None = None,
        motif: Tensor | None = None,
        contextual_embed: Tensor | None = None,
        contextual_mask: Tensor | None = None,
        contextual_text: Sequence[str] | None = None,
        accessibility: Tensor | None = None,
        signals: Tensor | None = None,
        signals_mask: Tensor | None = None,
        pairs: Pairs = None,
        target: Tensor | Mapping[str, Tensor] | None = None,
        target_mask: Tensor | None = None,
        depth: Tensor | None = None,
        return_corr_coef: bool = False,
        precision: torch.dtype = torch.float32,
    ) -> Tensor:
        """Predict, or with `target`, the loss.

        Sequences, factors and cell types go together in one of three ways. The trunk runs once a sequence in
        each.

        - `pairs=None`: sequence i with factor i and cell type i (or the one factor, or cell type, that there is):
          predictions (B, bins).
        - `pairs` (P, 2), int64: in each sequence, factor pairs[p, 0] in cell type pairs[p, 1]: (B, bins, P).
        - `pairs="all"`: in each sequence, each of T factors in each of C cell types: (B, bins, T, C).

        Parameters
        ----------
        seq
            (B, bp): integers 0-3 for A, C, G, T and 4 for N; or one-hot float (B, bp, 4); or B strings of one
            length (a single string is a batch of one).
        aa
            T protein sequences, in place of `aa_embed`, for the model's `aa_embedder`. A complex is a tuple of
            several: each is embedded by itself, and they follow one another.
        aa_embed
            Residue embeddings (T, L, aa_embed_dim), padded.
        aa_mask
            Which residues are real, bool (T, L); none: all.
        motif
            Known motifs, log-odds (T, W, 4); a factor without one has zeros.
        contextual_embed
            (C, contextual_embed_dim).
        contextual_mask
            For which cell types there is an embedding, bool (C,); none: for all.
        contextual_text
            C descriptions, in place of `contextual_embed`, for the model's `text_encoder`; an empty one: none.
        accessibility
            (B, bins of the whole sequence), or with `pairs`, (B, bins, C); genome mean 1, 0 or more.
        signals
            The model's S signals beside it, in their order: (B, bins, S), or with `pairs`, (B, bins, C, S);
            genome mean 1, 0 or more.
        signals_mask
            Which signals are known, bool (S,), or of each cell type (C, S); none: all.
        target
            Of the shape of the predictions: signal, or labels (1 bound, 0 unbound); of several outputs, by
            name (`track`, `binding`, `peak_score`: scores of peaks, 0 or NaN where there is none).
        target_mask
            Which entries of the targets count, bool of the same shape; none: all that are not NaN.
        depth
            Of the loss of peak scores: log read depth less its mean, for each sequence, or for each pair.
        return_corr_coef
            In place of the loss: Pearson's r of prediction and target over bins, (B,), (B, P) or (B, T, C).
        precision
            Of the trunk, under autocast: float32, bfloat16 or float16.

        Returns
        -------
        The loss, a scalar; or correlations; or, without a target, the predictions: rates of a track, logits of
        binding, or log(1 + score) of peaks, float32.

        Raises
        ------
        InputError
            Naming the argument whose shape, type or content is wrong.
        """
        if return_corr_coef and target is None:
            raise InputError("correlations need a target", key="target", mend="give the target")
        asked = ask(
            self.network,
            as_bases(seq, device=self._device),
            proteins=self._proteins(aa, aa_embed, aa_mask),
            motif=motif,
            cell_types=self._cell_types(contextual_text, contextual_embed, contextual_mask),
            accessibility=accessibility,
            signals=(signals, signals_mask),
            pairs=pairs,
        )
        found = self._run(asked, precision)
        if target is None:
            return asked.shaped(getattr(found, self.primary))
        targets = targets_of(target, self.primary, asked, found)
        mask = None if target_mask is None else asked.flat_mask(target_mask, "target_mask", found)
        if return_corr_coef:
            _require_target(self.primary, targets)
            r = pearson_correlation(getattr(found, self.primary), targets[self.primary], mask=mask)
            return asked.shaped(r)
        effect = None if self.depth is None else self._depth_effect(depth, asked)
        return self._loss(found, targets, mask, effect)

    @torch.inference_mode()
    def predict(
        self, seq: Tensor | str | Sequence[str], *, average_reverse_complement: bool = False, **known: Any
    ) -> Tensor:
        """Predict as in use: without dropout, and with probabilities in place of logits of binding.

        Parameters
        ----------
        average_reverse_complement
            Whether to take the mean of both strands, each read 5' to 3': of the other strand of a sequence the
            same is then predicted, mirrored.
        known
            As in `forward`, but for targets.

        Returns
        -------
        As `forward` without a target.
        """
        if wrong := sorted({"target", "target_mask", "depth", "return_corr_coef"} & set(known)):
            raise TypeError(f"predict() takes no {', '.join(wrong)}")
        with _evaluating(self):
            if not average_reverse_complement:
                return self._presented(self(seq, **known))
            bases = as_bases(seq, device=self._device)
            self._require_a_middle(bases.shape[1])
            known = self._strings_embedded(known)
            found = self._presented(self(bases, **known))
            along = ("accessibility", "signals")
            known |= {name: known[name].flip(1) for name in along if known.get(name) is not None}
            mirrored = self._presented(self(reverse_complemented(bases), **known)).flip(1)
        return (found + mirrored) / 2

    def save(self, folder: str | Path) -> None:
        """Write the model, trunk and all, as a folder of safetensors and JSON; LoRA is merged into the weights.

        Raises
        ------
        InputError
            If there is such a folder, and it holds something else than a model.
        """
        _require_a_model_or_nothing(Path(folder))
        api = {
            "loss": self.weights,
            "focal_gamma": self.focal_gamma,
            "target_length": self.target_length,
            "depth": None if self.depth is None else self.depth.effects.tolist(),
        }
        save_checkpoint(folder, self.network, {**self.about, "model": api})

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        fine_tuning: str | Mapping[str, Any] | FineTuningSettings = "all",
        gradient_checkpointing: bool = False,
    ) -> Model:
        """Read a model that `save` wrote, or the workflow's `results/NAME/model`, in eval mode.

        Parameters
        ----------
        fine_tuning, gradient_checkpointing
            As for a new model: how it is to train on.

        Raises
        ------
        InputError
            As `load_checkpoint`.
        """
        found = load_checkpoint(folder)
        outputs = found.model.shape.outputs
        track = found.about.get("track_loss", "poisson")
        default = {track if name == "track" else name: 1.0 for name in outputs}
        api = found.about.get("model", {"loss": default, "focal_gamma": 0.0, "target_length": None})
        found.model.trunk.gradient_checkpointing = gradient_checkpointing
        fine_tune(found.model, fine_tuning_settings(fine_tuning))
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model._assemble(found.model, dict(api["loss"]), api["focal_gamma"], api["target_length"])
        model.aa_embedder = model.text_encoder = None
        model.about = found.about
        if api.get("depth") is not None:
            model.depth.effects.data = torch.tensor(api["depth"])
        return model.eval()

    @property
    def primary(self) -> str:
        """The output that is returned: of the loss that was named first."""
        return OUTPUT_OF[next(iter(self.weights))]

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _run(self, asked: Asked, precision: torch.dtype) -> Outputs:
        """Outputs (B, kept bins, pairs): of a sequence alone, where each has its own pair."""
        network, bin = self.network, self.network.bin
        tokens = network.dna_tokens(asked.bases, trunk_dtype=precision)
        first, count = self._kept(tokens.shape[1])
        # Motifs and signals are looked at a little beyond what is kept.
        around = min(MARGIN, first)
        bins = slice(first - around, first + count + around)
        tokens, bases = tokens[:, bins], asked.bases[:, bins.start * bin : bins.stop * bin]
        contexts = asked.contexts.around(bins)
        # An autocast of the caller's is not for the head.
        with torch.autocast(tokens.device.type, enabled=False):
            code = network.head.encode_factors(asked.factors)
            parts = [
                network.head.decode(
                    tokens[rows].float(), bases[rows], code.select(chosen), contexts.of(rows), pairs, bin
                )
                for rows, chosen, pairs in asked.runs()
            ]
        return Outputs.joined(parts).without_edges(around)

    def _kept(self, bins: int) -> tuple[int, int]:
        """First and number of the middle bins."""
        count = bins if self.target_length is None else self.target_length
        if count > bins:
            raise InputError(
                f"{count} bins are to be predicted, and the sequence has {bins}",
                key="target_length",
                mend=f"give sequences of at least {count * self.network.bin} bp",
            )
        return (bins - count) // 2, count

    def _require_a_middle(self, length: int) -> None:
        bins = length // self.network.bin
        if (bins - self._kept(bins)[1]) % 2:
            raise InputError(
                f"the {self.target_length} bins that are kept are not the middle of {bins}",
                key="average_reverse_complement",
                mend="give sequences of one bin more or less",
            )

    def _presented(self, found: Tensor) -> Tensor:
        return found.sigmoid() if self.primary == "binding" else found

    def _loss(
        self, found: Outputs, targets: Mapping[str, Tensor], mask: Tensor | None, effect: Tensor | None
    ) -> Tensor:
        """The weighted sum of the losses; each a mean over sequences, bins and pairs."""
        pairs = next(iter(targets.values())).shape[-1]
        total = torch.zeros((), device=self._device)
        for name, weight in self.weights.items():
            output = OUTPUT_OF[name]
            _require_target(output, targets)
            total = total + weight / pairs * self._one_loss(name, found, targets[output], mask, effect)
        return total

    def _one_loss(
        self, name: str, found: Outputs, target: Tensor, mask: Tensor | None, effect: Tensor | None
    ) -> Tensor:
        if name == "binding":
            return binding_loss(found.binding, labels_of(target, mask), focal_gamma=self.focal_gamma)
        if name == "peak_score":
            return peak_score_loss(found.peak_score + effect, target, mask=mask)
        if name.startswith("poisson") and bool((target < 0).any()):
            warnings.warn("the loss is Poisson's, and there are targets below 0", stacklevel=4)
        return TRACK_LOSSES[name](found.track, target, mask=mask)

    def _depth_effect(self, depth: Tensor | None, asked: Asked) -> Tensor:
        """What read depth adds, of each sequence (B, 1, 1), or of each pair (P,)."""
        count = len(asked.pairs)
        if depth is None:
            covariate = torch.tensor([[0.0, 1.0]], device=self._device).expand(count, 2)
        elif depth.shape == (count,):
            covariate = torch.stack([depth.float(), torch.zeros(count, device=depth.device)], 1)
        else:
            what = "sequence" if asked.own else "pair"
            raise InputError(
                f"is of shape {tuple(depth.shape)}, and must be ({count},)",
                key="depth",
                mend=f"give log read depth less its mean, for each {what}",
            )
        effect = self.depth(covariate.to(self._device))
        return effect[:, None, None] if asked.own else effect

    def _strings_embedded(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of `forward`, their strings embedded, so that several calls need not do it again."""
        known = dict(known)
        known["aa_embed"], known["aa_mask"] = self._proteins(
            known.pop("aa", None), known.get("aa_embed"), known.get("aa_mask")
        )
        known["contextual_embed"], known["contextual_mask"] = self._cell_types(
            known.pop("contextual_text", None), known.get("contextual_embed"), known.get("contextual_mask")
        )
        return known

    def _proteins(
        self, aa: Sequence[str | Sequence[str]] | None, embed: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Residue embeddings and mask, from strings if they are given."""
        if aa is None:
            return embed, mask
        _require_alone("aa", "aa_embed", embed, "aa_embedder", self.aa_embedder)
        complexes = [(each,) if isinstance(each, str) else tuple(each) for each in aa]
        if not all(complexes):
            raise InputError("a complex is without a protein", key="aa", mend="give it one, or leave it out")
        proteins = iter(self.aa_embedder.embed([protein for each in complexes for protein in each]))
        found = [torch.cat([torch.as_tensor(next(proteins)) for _ in each]) for each in complexes]
        embed = nn.utils.rnn.pad_sequence(found, batch_first=True)
        lengths = torch.tensor([len(each) for each in found])
        return embed, torch.arange(embed.shape[1]) < lengths[:, None]

    def _cell_types(
        self, texts: Sequence[str] | None, embed: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Embeddings of cell types and mask, from strings if they are given."""
        if texts is None:
            return embed, mask
        _require_alone("contextual_text", "contextual_embed", embed, "text_encoder", self.text_encoder)
        known = [text for text in texts if text]
        embed = torch.zeros(len(texts), self.network.shape.text_dim)
        there = torch.tensor([bool(text) for text in texts])
        if known:
            embed[there] = torch.as_tensor(self.text_encoder.encode(known))
        return embed, there


def _require_a_model_or_nothing(folder: Path) -> None:
    """Since what is saved takes the folder's place."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "model.json").is_file():
        raise InputError(
            "is a folder that holds something else than a model",
            file=folder,
            mend="give a new folder, of which the model is all",
        )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode within the block."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


def _require_at_least(key: str, value: float | None, least: int) -> None:
    if value is not None and value < least:
        raise InputError(f"is {value}", key=key, mend=f"give at least {least}, or leave it out")


def _require_target(output: str, targets: Mapping[str, Tensor]) -> None:
    if output not in targets:
        raise InputError(f"there is none of {output}", key="target", mend=f"give target['{output}']")


def _require_alone(name: str, other: str, given: Any, needed: str, there: Any) -> None:
    if given is not None:
        raise InputError(f"{name} and {other} say the same", key=name, mend="give one of them")
    if there is None:
        raise InputError(f"{name} is given, and nothing to embed it", key=name, mend=f"give {needed}")
