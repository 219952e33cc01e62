"""The configuration: pydantic models that are the one source of keys, defaults and their descriptions.

The JSON schema that Snakemake validates (`workflow/schemas/config.schema.json`) is exported from here by
`tfbind schema`. All relative paths in a configuration and its tables are relative to the working directory.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from tfbind.core.errors import InputError
from tfbind.core.sources import is_url, local_path


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _sha256_hex(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("a sha256 is 64 lower-case hexadecimal digits")
    return value


Sha256 = Annotated[
    str | None, AfterValidator(_sha256_hex), Field(json_schema_extra={"pattern": "^[0-9a-f]{64}$"})
]


class Source(Section):
    """A file: a path, or a URL with its checksum."""

    source: str = Field(
        min_length=1, description="Path (relative to the working directory) or http(s) URL of the file."
    )
    sha256: Sha256 = Field(
        None, description="SHA-256 of the file, 64 hexadecimal digits. Required for a URL; verified if given."
    )

    @property
    def is_url(self) -> bool:
        """Whether the source must be downloaded."""
        return is_url(self.source)

    @property
    def local_path(self) -> Path:
        """Where the file lies on this machine, once it is downloaded."""
        return local_path(self.source)

    @model_validator(mode="after")
    def _url_has_checksum(self) -> Source:
        if self.is_url and self.sha256 is None:
            raise ValueError(f"the URL {self.source} needs its checksum: give `source` and `sha256`")
        return self


def _as_source(value: Any) -> Any:
    return {"source": value} if isinstance(value, str) else value


SourceField = Annotated[Source, BeforeValidator(_as_source, json_schema_input_type=str | Source)]


class Tables(Section):
    """The three tables that describe a data set, and a fourth where more is known of cell types."""

    factors: Path = Field(
        description="TSV of factors: factor, uniprot, sequence, sequence_sha256, motif, structure, sha256."
    )
    cell_types: Path = Field(
        description="TSV of cell types: cell_type, description, accessibility, sha256, aliases."
    )
    experiments: Path = Field(
        description="TSV of experiments: factor, cell_type, assay, peaks, sha256, signal, reads, treatment."
    )
    signals: Path | None = Field(
        None,
        description="TSV of signals that are known of cell types beside accessibility: signal, cell_type, "
        "source, sha256, kind, shortest, longest, count.",
    )


class ReferenceSettings(Section):
    """The genome."""

    fasta: SourceField = Field(description="Genome FASTA, plain, gzip or bgzip.")
    aliases: Path | None = Field(
        None,
        description="TSV (alias, name) of chromosome names used in other files, beyond the known schemes.",
    )
    include: list[str] = Field(["*"], description="Patterns (shell style) of chromosomes to use.", min_length=1)
    exclude: list[str] = Field([], description="Patterns of chromosomes to leave out, after `include`.")
    blacklist: SourceField | None = Field(None, description="BED of regions that are never trained on or scored.")


class WindowSettings(Section):
    """How the genome is cut into windows and bins."""

    bin: int = Field(64, description="Resolution in bp: a power of two, 2^num_downsamples of the trunk.", ge=8)
    length: int = Field(8192, description="Stretch of DNA that goes through the trunk at once, bp.", gt=0)
    core: int = Field(6144, description="Middle part of each window that is kept, bp.", gt=0)

    @model_validator(mode="after")
    def _fits(self) -> WindowSettings:
        if self.bin & (self.bin - 1):
            raise ValueError(f"bin must be a power of two, not {self.bin}")
        if self.length % self.bin or self.core % self.bin:
            raise ValueError(f"length and core must be multiples of bin ({self.bin})")
        if self.core > self.length or (self.length - self.core) // 2 % self.bin:
            raise ValueError("core must be at most length, and (length - core) / 2 a multiple of bin")
        return self


class AccessibilitySettings(Section):
    """From fragments or peaks to the accessibility track, and further signals, of a cell type."""

    smoothing: int = Field(150, description="Width over which each Tn5 cut is spread, bp.", ge=1)
    resolution: int = Field(10, description="Resolution of the bigWigs, bp.", ge=1)


class PieceSettings(Section):
    """How proteins go through a language model."""

    layer: int | None = Field(None, description="Layer whose representation is used; none: the last.", ge=0)
    max_length: int = Field(
        1022,
        ge=2,
        description="Residues that go through the model as one piece; longer proteins are embedded in "
        "overlapping pieces and blended.",
    )
    overlap: int = Field(256, ge=0, description="Residues that neighbouring pieces share at least.")
    tokens_per_batch: int = Field(4096, description="Residues embedded at once.", ge=16)

    @model_validator(mode="after")
    def _overlap_fits(self) -> PieceSettings:
        if self.overlap >= self.max_length:
            raise ValueError(f"overlap ({self.overlap}) must be less than max_length ({self.max_length})")
        return self


class Esm2Settings(PieceSettings):
    """The ESM-2 protein language model (Lin et al. 2023), by fair-esm."""

    model: str = Field("esm2_t33_650M_UR50D", description="Name of the model, for the hub.")
    checkpoint: Path | None = Field(
        None,
        description="Local checkpoint (`esm2*.pt`, its `-contact-regression.pt` beside it); none: the hub.",
    )
    finetuned: Path | None = Field(
        None,
        description="Fine-tuned weights, such as ESM-DBP's, that take the place of the model's own: a state dict "
        "written by `torch.save`. The model that they were tuned from is told by `model` (of which nothing is "
        "fetched then) or `checkpoint`.",
    )


class Esm1bSettings(PieceSettings):
    """The ESM-1b protein language model (Rives et al. 2021), by fair-esm; it takes at most 1022 residues."""

    model: str = Field("esm1b_t33_650M_UR50S", description="Name of the model, for the hub.")
    checkpoint: Path | None = Field(
        None,
        description="Local checkpoint (`esm1b*.pt`, its `-contact-regression.pt` beside it); none: the hub.",
    )


class HuggingFaceSettings(PieceSettings):
    """Any protein encoder of Hugging Face transformers whose tokens are residues, such as ProtT5 or ProtBert."""

    model: str = Field("Rostlab/prot_t5_xl_half_uniref50-enc", description="Name of the model on the hub.")
    revision: str = Field(
        "main",
        description="Branch, tag or commit on the hub. Embeddings are kept under the commit that it stands for; "
        "give the commit itself to be sure that it stays the same.",
    )
    folder: Path | None = Field(
        None,
        description="Local folder of model and tokenizer, as `save_pretrained` writes them; none: the hub.",
    )


class AlphaFoldSettings(Section):
    """Single representations of AlphaFold2 that were computed before."""

    folder: Path | None = Field(
        None,
        description="Folder with an array for each protein, one row a residue: `ACCESSION.npy`, or `.npz` or "
        "`.safetensors` with the array `single`.",
    )
    version: str = Field(
        "single",
        description="What made the arrays, in your words; a model trained with one version serves no other.",
        min_length=1,
    )


class StructureSettings(Section):
    """Features of the proteins' structures, as further columns of the residues' vectors.

    For each residue: whether its structure is known, the model's confidence (pLDDT), the backbone's angles (sine
    and cosine of phi, psi, omega), burial (CA atoms within 10 angstrom) and, where the structure has DNA, whether
    it is near it.
    """

    folder: Path | None = Field(
        None,
        description="Folder of structures by accession: `ACCESSION.cif` or, as the AlphaFold Database calls "
        "them, `AF-ACCESSION-F1-model_v4.cif`; .cif or .pdb, plain or .gz. The table's column `structure` goes "
        "before it.",
    )
    model_version: int = Field(4, description="The `v4` in the AlphaFold Database's file names.", ge=1)
    dna_distance: float = Field(
        5.0,
        gt=0,
        description="A residue is near DNA if an atom of it is within this distance of one of the DNA, angstrom.",
    )
    required: bool = Field(
        True,
        description="Whether a protein without a structure, or with that of a part of it only, is an error; "
        "otherwise its features are 0, and say so.",
    )


class FactorSettings(Section):
    """What is known of the factors."""

    proteins: list[SourceField] = Field(
        [],
        description="Protein FASTA files, looked up by the table's column `uniprot` (`>P21538|REB1`). Where "
        "empty, each accession is fetched from UniProt, and its sequence checked against the table's "
        "`sequence_sha256`.",
    )
    embedder: Literal["physicochemical", "esm2", "esm1b", "huggingface", "alphafold"] = Field(
        "physicochemical",
        description="How residues become vectors: published physicochemical scales (no weights), the language "
        "model ESM-2 or ESM-1b, any encoder of Hugging Face, or AlphaFold2's single representations from files. "
        "Language models run on the `device` at the top.",
    )
    esm2: Esm2Settings = Field(Esm2Settings(), description="Settings of the `esm2` embedder.")
    esm1b: Esm1bSettings = Field(Esm1bSettings(), description="Settings of the `esm1b` embedder.")
    huggingface: HuggingFaceSettings = Field(
        HuggingFaceSettings(), description="Settings of the `huggingface` embedder."
    )
    alphafold: AlphaFoldSettings = Field(AlphaFoldSettings(), description="Settings of the `alphafold` embedder.")
    structure: StructureSettings | None = Field(
        None, description="If given, features of the proteins' structures are added."
    )
    region: Literal["whole", "domain", "domain_with_flank"] = Field(
        "whole",
        description="The residues that the model sees: all, those of the DNA-binding domains, or those and "
        "`flank` on either side. Proteins are embedded whole, and cut afterwards.",
    )
    flank: int = Field(
        15, ge=0, description="Residues on either side of each domain, with `region: domain_with_flank`."
    )
    domains: SourceField | None = Field(
        None,
        description="TSV of DNA-binding domains, such as an extract of Pfam: accession (or uniprot), start, end "
        "(from 1, the end included) and, if wanted, name, pfam and evalue. Needed where `region` is not `whole`; "
        "by them relatives are told (`splits.identity`).",
    )
    without_domain: Literal["error", "whole"] = Field(
        "error", description="What a protein without a domain in that table is: an error, or kept whole."
    )
    motifs: list[SourceField] = Field(
        [], description="MEME files in which the table's motifs are looked up before JASPAR."
    )
    jaspar: str = Field("JASPAR2024", description="JASPAR release for motif ids such as MA0363.3.")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> FactorSettings:
        if self.embedder == "alphafold" and self.alphafold.folder is None:
            raise ValueError("embedder `alphafold` needs its arrays: give alphafold.folder")
        if self.region != "whole" and self.domains is None:
            raise ValueError(f"region `{self.region}` needs the domains: give `domains`")
        return self

    @property
    def runs_a_model(self) -> bool:
        """Whether residues are embedded by a network, on a device."""
        return self.embedder not in ("physicochemical", "alphafold")


class TextSettings(Section):
    """The network that reads the descriptions of cell types. None (the default): they are not read."""

    model: str = Field(
        min_length=1,
        description="A text encoder: its name on the Hugging Face hub, or a local folder that transformers "
        "wrote (`save_pretrained`).",
    )
    revision: str | None = Field(
        None,
        min_length=1,
        description="Branch, tag or commit of the model on the hub; none: its main branch. With a commit, "
        "the hub is not asked again once all texts are embedded.",
    )
    pooling: Literal["mean", "cls"] = Field(
        "mean",
        description="How a text becomes one vector: the mean over its tokens, or the token that stands before it "
        "for the whole (`cls`).",
    )
    tokens_per_batch: int = Field(4096, description="Tokens embedded at once.", ge=16)


class ContextDropout(Section):
    """How often, in training, each kind of what is known of a cell type is hidden, so that any of them serve."""

    text: float = Field(0.2, ge=0, lt=1, description="How often its text is hidden.")
    accessibility: float = Field(
        0.05, ge=0, lt=1, description="How often its accessibility is hidden, and each further signal by itself."
    )
    learnt: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="How often its learnt embedding is hidden; no cell type that was not trained on has one.",
    )


class ContextSettings(Section):
    """What is known of the cell types, beside their accessibility."""

    text: TextSettings | None = Field(
        None,
        description="The network that reads their descriptions (table of cell types), on the `device` at the "
        "top; none: not read.",
    )
    learnt: int = Field(
        0, ge=0, description="Width of an embedding that is learnt for each cell type trained on; 0: none is."
    )
    dropout: ContextDropout = Field(
        ContextDropout(),
        description="What is hidden in training: for each cell type and step, each kind by itself. A kind that "
        "is not in use is not touched.",
    )


class TargetSettings(Section):
    """From measured calls to labels per bin."""

    half_width: int | None = Field(
        None, description="A call of 1 bp stands for this many bp on either side.", ge=0
    )
    bound_fraction: float = Field(
        0.5,
        description="A bin covered by peaks at least by this fraction is bound; less, but not 0: ambiguous.",
        gt=0,
        le=1,
    )


class FoldSettings(Section):
    """Folds: `tfbind split --fold K` also holds out the K-th of them, counted from 0."""

    over: Literal["factors", "cell_types", "blocks"] = Field(
        description="What each fold holds out: clusters of related `factors`, `cell_types`, or `blocks`, parts "
        "of the genome that take the place of `test`. `validation` is the same in all folds, but for what is "
        "near a block.",
    )
    count: int | None = Field(None, description="How many folds; none: 5, and of cell types one for each.", ge=2)


_PLACES = "names of chromosomes, or regions such as `chrX:50000001-55000000` (first and last base)"


class SplitSettings(Section):
    """What is trained on, what stops the training, and what is held out: see `tfbind split`."""

    validation: list[str] = Field(
        description=f"Where training stops and thresholds are found: {_PLACES}.", min_length=1
    )
    test: list[str] = Field(
        description="Where the final scores are taken, and nothing else: as above. Empty: nothing is scored, for "
        "a model that is to learn from all there is.",
    )
    train: list[str] | None = Field(
        None,
        description="Where the model is trained, as above; what is held out is taken off it. None: all the rest.",
        min_length=1,
    )
    gap: int | None = Field(
        None,
        description="Least distance of the parts on one chromosome, bp, that none of them has; `test` stays as "
        "it is given. None: `windows.length`, so that no base of the test is read in training.",
        ge=0,
    )
    held_out_factors: list[str] = Field(
        [], description="Factors that are never trained on, and neither are their relatives (`identity`)."
    )
    held_out_cell_types: list[str] = Field(
        [], description="Cell types, by name or alias, whose experiments are never trained on."
    )
    identity: float = Field(
        0.7,
        description="Factors are relatives from this identity of their DNA-binding domains (`factors.domains`; "
        "of whole proteins where that has none of theirs), and so are relatives of relatives.",
        gt=0,
        le=1,
    )
    folds: FoldSettings | None = Field(None, description="Folds to be held out in turn.")
    training_factors: int | None = Field(
        None,
        ge=1,
        description="So many of the factors that are not held out are learnt from, drawn by the seed, one by "
        "one; with the same seed, fewer are some of more. What is scored does not depend on it. None: all.",
    )
    scored: Literal["all", "held_out"] | None = Field(
        None,
        description="Experiments that are scored: `all`, or those of `held_out` factors, cell types or, where "
        "there are both, of both. None: `held_out` in a fold, else `all`.",
    )

    @model_validator(mode="after")
    def _disjoint(self) -> SplitSettings:
        both = sorted(set(self.validation) & set(self.test))
        if both:
            raise ValueError(f"stand in validation and in test: {', '.join(both)}")
        return self


# Of a trunk, what pretrained weights decide; and what is theirs where it is not chosen anew.
TRUNK_SIZES = ("kind", "dim", "depth", "heads", "key_dim", "dim_divisible_by", "motif_columns")
TRUNK_DROPOUTS = ("dropout", "attention_dropout", "position_dropout")


class TrunkSettings(Section):
    """The DNA network."""

    kind: Literal["enformer", "dilated", "motifs"] = Field(
        "enformer",
        description="`enformer`: convolutions, then attention over the window. `dilated`: a small convolutional "
        "network (pooling convolutions, then dilated residual blocks), for short windows and little data. "
        "`motifs`: the motifs of a library (`pretrained`) scanned over the DNA, with nothing in it "
        "that trains; give it a `model.tower` to learn on top, and `training.fine_tuning` mode frozen.",
    )
    pretrained: str | None = Field(
        None,
        min_length=1,
        description="Where weights come from: a folder of ours (`model.json`), a folder of an Enformer as "
        "enformer-pytorch or Hugging Face stores it (`config.json`), or its name on the hub, e.g. "
        "`EleutherAI/enformer-official-rough`, whose bins are of 128 bp; of kind `motifs`, a MEME file, "
        "e.g. all of JASPAR's vertebrate motifs. It decides the sizes; where `dropout`, "
        "`attention_dropout` and `position_dropout` are not given, them, too. None: the trunk is new.",
    )
    revision: str | None = Field(
        None, min_length=1, description="Commit, tag or branch of `pretrained` on the hub; none: its main branch."
    )
    gamma: Literal["tensorflow", "pytorch"] | None = Field(
        None,
        description="Gamma features of positions in `enformer`. `tensorflow`: as the published Enformer was "
        "trained; `pytorch`: as enformer-pytorch computes them. None: `tensorflow` for pretrained weights, "
        "`pytorch` for a new trunk. Weights that enformer-pytorch itself trained from nothing want `pytorch`.",
    )
    dim: int = Field(192, description="Width of the trunk; of `motifs`, their number.", ge=1)
    depth: int = Field(2, description="Transformer layers, or dilated blocks.", ge=0)
    heads: int = Field(4, description="Attention heads (`enformer`).", ge=1)
    key_dim: int = Field(64, description="Width of the keys of an attention head (`enformer`).", ge=1)
    dim_divisible_by: int = Field(
        32, description="Widths of the conv tower are multiples of this (`enformer`).", ge=1
    )
    attention_dropout: float = Field(
        0.05, ge=0, lt=1, description="Dropout of the attention matrix (`enformer`)."
    )
    position_dropout: float = Field(
        0.01, ge=0, lt=1, description="Dropout of the features of positions (`enformer`)."
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Dropout of the trunk's feed-forward layers, or dilated blocks."
    )
    motif_columns: int = Field(
        0, ge=0, description="Columns of the longest motif, which the library decides (`motifs`)."
    )

    @model_validator(mode="after")
    def _library_of_motifs(self) -> TrunkSettings:
        if self.kind == "motifs" and self.pretrained is None and not self.motif_columns:
            raise ValueError(
                "kind motifs needs its library: give pretrained, a MEME file or e.g. JASPAR2024 Vertebrates"
            )
        if self.kind != "motifs" and self.motif_columns:
            raise ValueError(f"motif_columns: only for kind motifs, not for {self.kind}")
        return self

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> TrunkSettings:
        if self.kind != "enformer":
            own = ("gamma", "heads", "key_dim", "dim_divisible_by", "attention_dropout", "position_dropout")
            fields = type(self).model_fields
            given = [name for name in own if getattr(self, name) != fields[name].default]
            if given:
                raise ValueError(f"{', '.join(given)}: only for kind enformer, not for {self.kind}")
        return self

    @model_validator(mode="after")
    def _revision_of_something(self) -> TrunkSettings:
        if self.revision is not None and self.pretrained is None:
            raise ValueError("revision needs pretrained, the name on the hub that it is a revision of")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # What is read back says no more than what was given where a pretrained trunk decides: there the defaults
        # are not what holds.
        values = handler(self)
        if self.pretrained is None:
            return values
        left_out = {*TRUNK_SIZES, *TRUNK_DROPOUTS} - self.model_fields_set
        return {name: value for name, value in values.items() if name not in left_out}


class TowerSettings(Section):
    """A small network on top of the trunk, at the resolution of bins."""

    dim: int = Field(64, description="Its width.", ge=1)
    depth: int = Field(3, description="Dilated residual blocks; block k looks 2^k bins to either side.", ge=0)
    input_dropout: float = Field(
        0.1, ge=0, lt=1, description="How often, in training, a number that the trunk gives is hidden."
    )
    dropout: float = Field(0.3, ge=0, lt=1, description="Dropout within the blocks.")


Normalisation = Literal["cosine", "layernorm", "rmsnorm", "none"]
ConditionerName = Literal["none", "hypergrid", "film", "squeeze_excitation", "induced_attention"]


class JointSettings(Section):
    """Joint cross-attention of DNA tokens and factor tokens."""

    depth: int = Field(1, description="Blocks of attention both ways.", ge=1)
    heads: int = Field(4, description="Attention heads.", ge=1)
    dim_head: int = Field(32, description="Width of each head.", ge=4)
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout after attention and feed-forward.")


class ConditioningSettings(Section):
    """What the cell type conditions beyond the factored product, and how."""

    dna: ConditionerName = Field(
        "none", description="DNA tokens, by accessibility and what is known of the cell type as a whole."
    )
    factor: ConditionerName = Field(
        "none",
        description="Factor tokens, by what is known of the cell type as a whole (needs `contexts.text` or "
        "`contexts.learnt`).",
    )
    interaction: ConditionerName = Field(
        "none",
        description="The product of factor and context, dimension by dimension, by accessibility and what is "
        "known of the cell type as a whole.",
    )


class ModelSettings(Section):
    """The trunk and the head."""

    trunk: TrunkSettings = Field(TrunkSettings(), description="The DNA network.")
    tower: TowerSettings | None = Field(
        None,
        description="A small network between the trunk and the DNA tokens, which trains where the trunk is "
        "frozen; none: DNA tokens are a projection of the trunk's embedding.",
    )
    rank: int = Field(128, description="Width of the DNA tokens.", ge=8)
    heads: int = Field(4, description="Heads of the fine-grained interaction; divides rank.", ge=1)
    factor_tokens: int = Field(
        8, description="Vectors that stand for one factor; 0: every residue stands for itself.", ge=0
    )
    interaction: Literal["filip", "joint"] = Field(
        "filip",
        description="How DNA and factor meet. `filip`: token by token, the cheap way; `joint`: after "
        "joint cross-attention of every factor with every window, as in tf-bind-transformer, for comparison.",
    )
    joint: JointSettings = Field(JointSettings(), description="The cross-attention of `interaction: joint`.")
    temperature: float = Field(
        0.1,
        ge=0.01,
        le=10,
        description="Initial temperature tau of the interaction; learnt, it stays within these bounds.",
    )
    temperature_mode: Literal["fixed", "learnt", "per_head"] = Field(
        "learnt", description="Whether tau stays as it is, is learnt, or is learnt for each head."
    )
    interaction_pooling: Literal["log_mean_exp", "max", "mean"] = Field(
        "log_mean_exp", description="How the interaction pools over factor tokens; tau is of `log_mean_exp`."
    )
    dna_normalisation: Normalisation = Field(
        "cosine", description="How DNA tokens are normalised before they meet factor tokens."
    )
    factor_normalisation: Normalisation = Field("cosine", description="The same of the factor tokens.")
    map_normalisation: Normalisation = Field(
        "layernorm",
        description="How the interaction map is normalised, over the heads of a bin. A single head is not "
        "normalised; of two, `layernorm` would leave only which one is greater, so it needs three or more.",
    )
    null_token: bool = Field(
        False, description="Whether each factor has a further, learnt token: what a bin meets that fits none."
    )
    conditioning: ConditioningSettings = Field(
        ConditioningSettings(), description="Conditioning by the cell type."
    )
    hidden: int = Field(48, description="Width of the factor and context towers.", ge=4)
    motif_width: int = Field(
        16,
        description="Columns of the binding motif that the model reads off the protein; 0: it reads none.",
        ge=0,
    )
    motif_panel: int = Field(
        0,
        ge=0,
        description="Channels in which DNA tokens see, beside the trunk, how well known motifs of the training "
        "factors match around the bin; 0: none. A short cut where a trunk is trained from nothing on little "
        "data.",
    )
    motif_dropout: float = Field(
        0.2, ge=0, lt=1, description="How often, in training, a factor's known motif is hidden."
    )
    protein_dropout: float = Field(
        0.1, ge=0, lt=1, description="How often, in training, a factor's protein is hidden (motif known)."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout in the head.")

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelSettings:
        if self.rank % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide rank ({self.rank})")
        return self

    @model_validator(mode="after")
    def _map_keeps_something(self) -> ModelSettings:
        if self.heads == 2 and self.map_normalisation == "layernorm":
            raise ValueError(
                "map_normalisation layernorm over heads 2 leaves only which head is greater: "
                "set heads to 1 or to more than 2, or map_normalisation to cosine, rmsnorm or none"
            )
        return self

    @model_validator(mode="after")
    def _never_both_hidden(self) -> ModelSettings:
        if self.motif_dropout + self.protein_dropout > 1:
            raise ValueError(
                f"motif_dropout ({self.motif_dropout:g}) and protein_dropout ({self.protein_dropout:g}) "
                "must add up to at most 1: a factor is never without both"
            )
        return self


class LossSettings(Section):
    """What training minimises: the weighted sum of these losses."""

    binding: float = Field(
        1.0,
        ge=0,
        description="Weight of the cross-entropy of binding, in nats per bin; ambiguous bins are masked.",
    )
    focal_gamma: float = Field(
        0.0,
        ge=0,
        description="Above 0, the loss of binding is a focal loss with this gamma, e.g. 2: bins that are already "
        "right count less. Probabilities are then no longer calibrated.",
    )
    track: float = Field(
        0.0,
        ge=0,
        description="Weight of the loss of the experiments' coverage (column `signal` of experiments.tsv).",
    )
    track_loss: Literal["poisson", "poisson_multinomial", "pearson"] = Field(
        "poisson",
        description="Loss of the coverage: Poisson per bin; its shape over a window (multinomial) and its total "
        "apart; or 1 - Pearson's r over the bins of a window.",
    )
    peak_score: float = Field(
        0.0,
        ge=0,
        description="Weight of the loss of log(1 + narrowPeak's signalValue) in bound bins, with read depth "
        "(column `reads` of experiments.tsv) as covariate.",
    )

    @model_validator(mode="after")
    def _something_counts(self) -> LossSettings:
        if not (self.binding or self.track or self.peak_score):
            raise ValueError("binding, track and peak_score are all 0: give one of them a weight")
        return self

    @property
    def arrays(self) -> list[str]:
        """What these losses read beside labels: `signal`, `score`."""
        return [name for name, weight in (("signal", self.track), ("score", self.peak_score)) if weight]

    @property
    def counted(self) -> list[str]:
        """The losses that have a weight."""
        return [name for name in ("binding", "track", "peak_score") if getattr(self, name)]


class LoraSettings(Section):
    """Low-rank adapters beside the trunk's weights."""

    rank: int = Field(8, ge=1, description="Rank of an adapter.")
    alpha: float = Field(16.0, gt=0, description="An adapter's output is scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout of what goes into an adapter.")


class EmbeddingCacheSettings(Section):
    """What a frozen trunk says of training windows, kept on disk."""

    precision: Literal["fp32", "fp16"] = Field(
        "fp32",
        description="`fp32`: on a CPU, training is the same as without; a GPU rounds in convolutions (TF32), and "
        "not alike here and in a training step. `fp16`: half the bytes; embeddings are rounded to 3 digits, "
        "unless the trunk runs in 16 bits itself (training.precision).",
    )
    folder: Path | None = Field(
        None,
        description="Where they are kept. Trainings on one trunk and genome, with windows of one length, share "
        "them there. None: beside the state of the training, results/NAME/training/state/embeddings.",
    )
    gigabytes: float = Field(
        100.0,
        gt=0,
        description="A training adds to its trunk's embeddings until they take so much there. It counts what was "
        "there when it began and what it adds: trainings that share a folder at the same time may each add so "
        "much. Embeddings by trunks of other weights (another seed) or versions of tfbind do not count, and "
        "stay until they are deleted. Windows beyond it run through the trunk each time. A window takes bins x "
        "width x 4 bytes (`fp16`: 2); Enformer's 18.9 MB, that is 96 MB per Mb of genome and strand where "
        "windows stand side by side.",
    )


class FineTuningSettings(Section):
    """Which weights of the trunk train. All else of the model always does."""

    mode: Literal["all", "frozen", "norms", "last", "lora"] = Field(
        "all",
        description="`all`; `frozen`: none; `norms`: weights and biases of its LayerNorms; `last`: its last "
        "blocks; `lora`: low-rank adapters of its linear layers (convolutions of width 1 in `dilated`), merged "
        "into the weights in the end. What does not train runs as in prediction: without dropout.",
    )
    last: int | None = Field(
        None, ge=1, description="Blocks (transformer or dilated) that train, from the end; for mode `last`."
    )
    lora: LoraSettings | None = Field(None, description="The adapters of mode `lora`; none: the defaults.")
    batch_norm: Literal["train", "frozen"] | None = Field(
        None,
        description="Whether the trunk's batch normalisation takes the statistics of a step's windows and "
        "follows them, or keeps to those that it has. None: `train` in mode `all` for a new trunk, else "
        "`frozen`: few windows are no measure for pretrained weights.",
    )
    cache: EmbeddingCacheSettings | None = Field(
        None,
        description="For mode `frozen`: run the trunk once a window, and train from what it said. It pays where "
        "training sees a window more than once: see window_spacing. None: the trunk runs in each step.",
    )

    @property
    def lora_settings(self) -> LoraSettings:
        """Those given, or the defaults."""
        return self.lora or LoraSettings()

    @model_validator(mode="after")
    def _keys_of_the_mode(self) -> FineTuningSettings:
        if self.mode == "last" and self.last is None:
            raise ValueError("mode last needs `last`, the number of blocks")
        for name in ("last", "lora"):
            if getattr(self, name) is not None and self.mode != name:
                raise ValueError(f"{name} does nothing in mode {self.mode}: set mode to {name}, or take it out")
        if self.batch_norm == "train" and self.mode != "all":
            raise ValueError(f"batch_norm must be frozen in mode {self.mode}, where it does not train")
        if self.cache is not None and self.mode != "frozen":
            raise ValueError(f"cache needs mode frozen: in mode {self.mode} the trunk changes with each step")
        return self


class TrainingSettings(Section):
    """Window-major training."""

    losses: LossSettings = Field(LossSettings(), description="The losses and their weights.")
    crop: int = Field(
        0,
        ge=0,
        description="Bins at either side of a window that no loss looks at, since the DNA beyond them is not "
        "seen (Enformer: 320 of 1536). Each bin of the genome still counts alike.",
    )
    steps: int = Field(2000, description="Most optimizer steps.", ge=1)
    batch_size: int = Field(16, description="Windows a step, of all processes together.", ge=1)
    gradient_accumulation: int = Field(
        1,
        ge=1,
        description="Parts in which each process takes its windows of a step through the model, one after the "
        "other: less memory for the same step. (Batch normalisation sees a part at a time.)",
    )
    window_spacing: int = Field(
        1,
        ge=1,
        description="Bins from one place where windows may start to the next. 1: anywhere, and hardly a window "
        "comes twice. As many as count in a window (all but `crop` at either side): windows stand side by side, "
        "for `fine_tuning.cache`. It must divide that number, so that each bin of the genome counts alike.",
    )
    experiments_per_step: int = Field(
        32,
        ge=1,
        description="Experiments whose labels a step learns from, drawn anew each step; all if fewer.",
    )
    balance: float = Field(
        0.5,
        ge=0,
        le=1,
        description="How much experiments with few bound bins count: each is weighted by bound bins to the minus "
        "this, mean weight 1. 0: every bin counts alike; 1: every experiment does. Within an experiment all bins "
        "count alike, so that probabilities stay calibrated.",
    )
    fine_tuning: FineTuningSettings = Field(FineTuningSettings(), description="Which weights of the trunk train.")
    gradient_checkpointing: bool = Field(
        False,
        description="Keep of the trunk only what goes into each of its stages (convolutions, too), and run them "
        "again in the backward pass: less memory for a third more work, and the same result.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate (AdamW, warm-up, cosine).")
    trunk_learning_rate: float | None = Field(
        None, gt=0, description="Peak learning rate of the trunk; none: the same as of all else."
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay; none on norms and biases.")
    warmup_steps: int = Field(100, ge=0, description="Steps of linear warm-up.")
    clip_norm: float = Field(1.0, gt=0, description="Gradient norm is clipped to this.")
    peak_fraction: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of windows drawn around peaks; what no share takes is drawn uniformly.",
    )
    peak_draw: Literal["experiment", "bin"] = Field(
        "experiment",
        description="How a peak is drawn: of an experiment that is drawn first, so that each is seen alike; or "
        "any bin that is bound in one of them, so that places where many bind are seen no more than others.",
    )
    open_fraction: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of windows drawn around bins that are open in a cell type (4 times the genome's mean "
        "accessibility or more), bound or not: the unbound ones are the hard ones.",
    )
    ensemble: int = Field(
        1,
        ge=1,
        description="Models that are trained, each from another seed, and render as one: the mean of their "
        "probabilities. It costs as many times the training, embedding and rendering. In a cross-validation, "
        "too: each of `evaluation.seeds` is one.",
    )
    variants: list[Path] = Field(
        [],
        description="Further configurations, of which members of the ensemble take `model` and `training`, in "
        "turns with this one's: models that err otherwise are better together. All else is as this one says. "
        "Each is whole (such as one that extends another); what is laid over this one is not laid over them.",
    )
    motif_loss: float = Field(
        0.0,
        ge=0,
        description="Weight of the loss that teaches to read a known motif off its protein, residue by residue.",
    )
    motif_pretraining_steps: int = Field(
        0, ge=0, description="Steps on that loss alone, over proteins and motifs, before any DNA is seen."
    )
    validate_every: int = Field(200, ge=1, description="Steps between validations and checkpoints.")
    patience: int = Field(5, ge=1, description="Validations without a better AUPRC before it stops.")
    min_bound_bins: int = Field(
        10,
        ge=0,
        description="An experiment with fewer bound bins in training is an error; 0: one without any teaches "
        "what is not bound, as in a fold that holds out its few peaks.",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32",
        description="Arithmetic of the trunk in training. `bf16` is `fp32` on a CPU without instructions for it. "
        "`fp16` scales the loss, for GPUs without bfloat16; slow on a CPU.",
    )

    @model_validator(mode="after")
    def _shares_of_windows(self) -> TrainingSettings:
        if self.peak_fraction + self.open_fraction > 1:
            raise ValueError(
                f"peak_fraction ({self.peak_fraction:g}) and open_fraction ({self.open_fraction:g}) are shares "
                "of the windows and add up to more than 1"
            )
        return self

    @model_validator(mode="after")
    def _rate_of_something(self) -> TrainingSettings:
        if self.trunk_learning_rate is not None and self.fine_tuning.mode == "frozen":
            raise ValueError("trunk_learning_rate does nothing where fine_tuning.mode is frozen: take it out")
        if self.gradient_checkpointing and self.fine_tuning.mode == "frozen":
            raise ValueError(
                "gradient_checkpointing does nothing where fine_tuning.mode is frozen: set it to false"
            )
        return self

    @model_validator(mode="after")
    def _members_of_every_variant(self) -> TrainingSettings:
        if self.variants and self.ensemble <= len(self.variants):
            raise ValueError(
                f"an ensemble of {self.ensemble} has no member for each of {1 + len(self.variants)} "
                "configurations, its own and those of variants: set ensemble to as many or more"
            )
        return self


Told = Literal["protein", "both"]
"""How factors that were never trained on are predicted: see `prediction.unseen_factors`."""


class PredictionSettings(Section):
    """Genome embedding, tracks and peaks."""

    shards: int = Field(4, description="Jobs into which the genome embedding is cut.", ge=1)
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Most stretches of windows that a GPU embeds at once; none: as many as its free memory "
        "holds. A stretch is 8 windows, or more if they are short. A CPU embeds one at a time.",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32",
        description="Arithmetic of the trunk in prediction. `bf16` is `fp32` on a CPU without instructions for "
        "it; `fp16` is slow on any CPU.",
    )
    factors: list[str] | None = Field(
        None, description="Factors to render; none: all of the table.", min_length=1
    )
    cell_types: list[str] | None = Field(
        None, description="Cell types to render; none: all of the table.", min_length=1
    )
    factors_per_job: int = Field(
        256,
        ge=1,
        description="Most factors that one job renders, in one cell type; more factors are more jobs. On a CPU, "
        "tracks are the same whatever the number; on a GPU the last digit may be rounded differently.",
    )
    fdr: float = Field(
        0.1, gt=0, lt=1, description="False discovery rate, on validation chromosomes, of the called peaks."
    )
    calibration: Literal["auto", "none", "temperature", "platt", "isotonic"] = Field(
        "auto",
        description="How probabilities are calibrated, on what the model was validated on; rankings do not "
        "change. `auto`: the simplest method whose log-loss is as good as the best, each fitted on one half of "
        "the validation and judged on the other. With fewer than 20 bound bins in a half there is none.",
    )
    unseen_factors: Told = Field(
        "protein",
        description="How factors are predicted that were never trained on, and have a protein and a motif. "
        "`protein`: told both, as all others are. `both`: twice, told both and told the motif alone, and the "
        "mean of the logits is taken: where few proteins are learnt from, what a model makes of the residues of "
        "a new one may mislead.",
    )
    known_binding: bool = Field(
        False,
        description="Whether tracks count what was measured at the same place, where the model was trained and "
        "validated: the factor in other cell types, and other factors in the cell type. Never the experiment "
        "itself. Elsewhere tracks are the same. It says much of a known factor in a new cell type, and something "
        "of a new factor in a known one.",
    )
    uncertainty: bool = Field(
        False,
        description="Whether FACTOR.uncertainty.bw is written beside each track: the standard deviation of the "
        "members' probabilities. Of ensembles alone: `training.ensemble`, or models joined by `tfbind ensemble`.",
    )


# Seeds of the members of an ensemble are as far apart, so that those of runs of neighbouring seeds are others.
SEEDS_APART = 1_000_000


class EvaluationSettings(Section):
    """How predictions are scored; see docs/evaluation.md."""

    dream_rule: Literal["mean", "max", "logit"] = Field(
        "mean",
        description="How probabilities of the model's bins are carried to the DREAM challenge's bins of 200 bp: "
        "by their `mean`, weighted by overlap; the `max` of the bins that overlap by half; or the mean of their "
        "`logit`s.",
    )
    bootstrap: int = Field(
        200,
        ge=0,
        description="Resamples of blocks of 1 Mb of the test, for 95 % intervals; 0: none.",
    )
    promoters: SourceField | None = Field(
        None,
        description="GTF, or BED with strands, of genes or transcripts: scores are given for bins within 1 kb of "
        "where one starts, and for others. None: for bins that are rich in CpG, and for others.",
    )
    factor_cnn: int | None = Field(
        None,
        ge=1,
        description="Steps of training, a factor, of a network of each tested factor alone, as a further "
        "baseline (`tfbind factor-cnn`; 10 to 20 CPU-s a factor for 200 steps); none: there is no such baseline.",
    )
    seeds: list[int] = Field(
        [0, 1, 2],
        min_length=1,
        description="Seeds of the trainings of a cross-validation: each fold is trained once by each.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> EvaluationSettings:
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds must be different numbers, 0 or more")
        if len({seed % SEEDS_APART for seed in self.seeds}) < len(self.seeds):
            raise ValueError(f"seeds that lie {SEEDS_APART:,} apart are those of members of one ensemble")
        return self


class SimulationSettings(Section):
    """The simulated world of the demo: made from a seed, and not data."""

    folder: Path = Field(description="Where the simulated files are written.")
    chromosomes: int = Field(6, description="Number of chromosomes.", ge=3)
    chromosome_length: int = Field(500_000, description="Length of each, bp.", ge=20_000)
    open_fraction: float = Field(
        0.135, gt=0, le=0.4, description="Share of the genome that is open in one cell type, about."
    )
    fragments: int = Field(150_000, description="ATAC-seq fragments per cell type.", ge=1_000)
    sites_per_factor: int = Field(
        600,
        description="Good sites per factor over the genome, about; half of them where chromatin can be open.",
        ge=10,
    )


class Config(Section):
    """A tfbind run: one data set, one model, its tracks."""

    extends: Path | list[Path] | None = Field(
        None,
        description="Another configuration, whose keys hold where this one says nothing; of several, the later "
        "ones override the earlier. Paths in it, too, are relative to the working directory.",
    )
    name: str = Field(
        description="Name of the run; its results stand in `results/<name>`. Letters, digits, `.`, `_`, `-`.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    )
    title: str | None = Field(
        None,
        min_length=1,
        description="What the run is, in a few words, for pages and tables; a configuration that extends this "
        "one does not inherit it.",
    )
    description: str | None = Field(
        None, min_length=1, description="The same in a sentence or two; not inherited either."
    )
    seed: int = Field(0, description="Seed of everything random.", ge=0)
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where the model runs, and a protein language model. `auto`: on a GPU if there is one, and "
        "else on the CPU; a job that was given a GPU and sees none fails. `cpu`: on the CPU, even where there "
        "are GPUs.",
    )
    mirror: str | None = Field(
        None,
        description="Folder or base URL that serves `https://HOST/PATH` as `<mirror>/HOST/PATH`; none: the web.",
    )
    tables: Tables = Field(description="The tables of factors, cell types and experiments.")
    reference: ReferenceSettings = Field(description="The genome.")
    windows: WindowSettings = Field(WindowSettings(), description="Windows and bins.")
    accessibility: AccessibilitySettings = Field(AccessibilitySettings(), description="Accessibility tracks.")
    factors: FactorSettings = Field(FactorSettings(), description="Proteins and motifs.")
    contexts: ContextSettings = Field(ContextSettings(), description="What is known of cell types.")
    targets: TargetSettings = Field(TargetSettings(), description="Labels.")
    splits: SplitSettings = Field(description="What is held out.")
    model: ModelSettings = Field(ModelSettings(), description="The network.")
    training: TrainingSettings = Field(TrainingSettings(), description="How it is trained.")
    prediction: PredictionSettings = Field(PredictionSettings(), description="What is predicted.")
    evaluation: EvaluationSettings = Field(EvaluationSettings(), description="How predictions are scored.")
    simulation: SimulationSettings | None = Field(
        None, description="If given, the data set is simulated first (the demo)."
    )

    @model_validator(mode="after")
    def _crop_leaves_bins(self) -> Config:
        bins = self.windows.length // self.windows.bin
        if 2 * self.training.crop >= bins:
            raise ValueError(
                f"training.crop of {self.training.crop} bins at either side leaves none of a window's {bins} "
                "(windows.length / windows.bin)"
            )
        return self

    @model_validator(mode="after")
    def _spacing_divides_windows(self) -> Config:
        counted = self.windows.length // self.windows.bin - 2 * self.training.crop
        if counted % self.training.window_spacing:
            raise ValueError(
                f"training.window_spacing of {self.training.window_spacing} bins does not divide the {counted} "
                "bins of a window that count (windows.length / windows.bin, less training.crop at either side)"
            )
        if self.training.fine_tuning.cache is not None and self.training.window_spacing == 1:
            raise ValueError(
                "training.fine_tuning.cache keeps windows of which hardly one comes twice: set "
                f"training.window_spacing, to {counted} for windows side by side"
            )
        return self

    @property
    def results(self) -> Path:
        """Folder of the run's results."""
        return Path("results") / self.name


# What a configuration says of itself alone.
NOT_INHERITED = ("title", "description")


def parse_config(values: Mapping[str, Any], *, file: str | Path | None = None) -> Config:
    """Validate a configuration, laid over the one that it extends, if it does.

    Raises
    ------
    InputError
        Naming every wrong key, what is wrong with it, and the nearest known key for an unknown one; a
        configuration that is extended and not there, or that extends itself.
    """
    values = _with_base(values, file, [])
    try:
        # As JSON, so that what passes here passes the exported schema too: text is no number, true is not 1.
        return Config.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise _readable(error, values, file) from None


def load_config(paths: Path | Sequence[Path]) -> Config:
    """Read one or more YAML (or JSON) configuration files; later ones override earlier ones, key by key.

    What any of them extends lies under all of them.
    """
    paths = [paths] if isinstance(paths, Path) else list(paths)
    merged: dict[str, Any] = {}
    for path in paths:
        merged = merge_values(merged, read_yaml(path))
    return parse_config(with_all_bases(merged, paths), file=", ".join(map(str, paths)))


def member_configs(config: Config) -> list[Config]:
    """The configurations by which the members of `training.ensemble` are trained, but for their seeds.

    Members take turns: the first is the configuration's own, the next that of the first of `training.variants`.

    Raises
    ------
    InputError
        As `load_config`, of a variant; one that cuts windows otherwise, or that learns from what the targets of
        this configuration do not hold.
    """
    networks = [config, *(_variant(config, path) for path in config.training.variants)]
    return [networks[member % len(networks)] for member in range(config.training.ensemble)]


def _variant(config: Config, path: Path) -> Config:
    """The configuration with the network of another one, and what that says of its training."""
    other = load_config(path)
    if other.windows != config.windows:
        raise InputError(
            "has other windows than the configuration whose variant it is",
            file=path,
            key="windows",
            mend="let both have the same: members render as one, bin by bin",
        )
    if further := sorted(set(other.training.losses.arrays) - set(config.training.losses.arrays)):
        raise InputError(
            f"learns from the {further[0]} of experiments, which the configuration whose variant it is does not",
            file=path,
            key="training.losses",
            mend="give both the same losses, or this one fewer",
        )
    members = {"ensemble": config.training.ensemble, "variants": config.training.variants}
    return config.model_copy(update={"model": other.model, "training": other.training.model_copy(update=members)})


def with_all_bases(merged: Mapping[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """The values of several files, laid over each other, that extend all that each of the files extends.

    Laid over each other as they are, the last `extends` would hide those of the other files.
    """
    bases: list[Any] = []
    for given in [*(read_yaml(path).get("extends") for path in paths), merged.get("extends")]:
        bases += [base for base in (given if isinstance(given, list) else [given]) if base not in (None, *bases)]
    return {**merged, "extends": bases} if len(bases) > 1 else dict(merged)


def _with_base(values: Mapping[str, Any], file: str | Path | None, above: Sequence[Path]) -> dict[str, Any]:
    """The values laid over those of what they extend, which is then told no more."""
    own = dict(values)
    given = own.pop("extends", None)
    below: dict[str, Any] = {}
    for base in given if isinstance(given, list) else [] if given is None else [given]:
        if not isinstance(base, str):
            raise InputError(
                f"expected a path, got {_shown(base)}",
                file=file,
                key="extends",
                mend="give the path of a config.yaml",
            )
        path = Path(base)
        if path in above:
            chain = ", which extends ".join(map(str, [*above, path]))
            raise InputError(f"extends itself: {chain}", file=file, key="extends", mend="take one of them out")
        inherited = _with_base(read_yaml(path), path, [*above, path])
        below = merge_values(below, {key: each for key, each in inherited.items() if key not in NOT_INHERITED})
    return merge_values(below, own)


def read_yaml(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML file; a key that stands twice is an error."""
    if not path.is_file():
        raise InputError("no such configuration file", file=path, mend="give the path of a config.yaml")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        row = error.problem_mark.line + 1 if error.problem_mark else None
        raise InputError(
            f"is not valid YAML: {error.problem}",
            file=path,
            row=row,
            mend="correct this line, or the one above",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"is not valid YAML: {error}", file=path, mend="save it as plain text in UTF-8"
        ) from None
    if not isinstance(values, dict):
        raise InputError(
            "holds no configuration: expected `key: value` lines",
            file=path,
            mend="begin from config/yeast/config.yaml",
        )
    return values


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, where PyYAML would keep the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' stands twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def merge_values(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The values of one configuration with those of another laid over them, key by key."""
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge_values(merged[key], value)
        else:
            merged[key] = value
    return merged


def config_text(config: Config) -> str:
    """A configuration as YAML, defaults included, that `load_config` reads as the same.

    YAML, since YAML readers take JSON's 1e-05 for text. What a pretrained trunk decides is left out.
    """
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=True, allow_unicode=True)


def config_schema() -> dict[str, Any]:
    """The JSON schema of the configuration, for Snakemake and editors."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


# --- errors, in the user's words ----------------------------------------------------------------------


def section_of(annotation: Any) -> type[Section] | None:
    """The section within a type such as `list[Source] | None`, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (section := section_of(inner)) is not None:
            return section
    return None


def _section_at(location: Sequence[str | int]) -> type[Section] | None:
    section: type[Section] | None = Config
    for part in location:
        if isinstance(part, str) and section is not None:
            field = section.model_fields.get(part)
            section = section_of(field.annotation) if field else None
    return section


def _all_keys(section: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        inner = section_of(field.annotation)
        if inner is not None and inner is not Source:
            yield from _all_keys(inner, f"{prefix}{name}.")


def _user_location(location: Sequence[str | int], values: Any, *, absent: bool) -> list[str | int]:
    """The part of a location that the user wrote, and the key below it that is absent."""
    written: list[str | int] = []
    for part in location:
        is_list = isinstance(values, Sequence) and not isinstance(values, str)
        if not (is_list if isinstance(part, int) else isinstance(values, Mapping) and part in values):
            return [*written, part] if absent and isinstance(values, Mapping) else written
        values = values[part]
        written.append(part)
    return written


def _key(location: Sequence[str | int]) -> str:
    text = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "(top level)"


def _readable(error: ValidationError, values: Mapping[str, Any], file: str | Path | None) -> InputError:
    problems, mends = [], []
    for item in error.errors():
        location = _user_location(item["loc"], values, absent=item["type"] == "missing")
        problem, mend = _explain(item, location)
        problems.append(problem)
        mends.append(mend)
    return InputError("; ".join(problems), file=file, mend="; ".join(dict.fromkeys(mends)))


def _explain(item: Mapping[str, Any], location: Sequence[str | int]) -> tuple[str, str]:
    key, see = _key(location), "(config/README.md tells every key)"
    if item["type"] == "extra_forbidden":
        return f"unknown key '{key}'", _nearest_key(location)
    if item["type"] == "missing":
        return f"key '{key}' is missing", f"add '{key}' {see}"
    wrong, mend = _wrong_value(item, location)
    return f"key '{key}': {wrong}", mend or f"correct '{key}' {see}"


def _nearest_key(location: Sequence[str | int]) -> str:
    section, name = _section_at(location[:-1]), str(location[-1])
    known = list(section.model_fields) if section else []
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean '{near[0]}'?"
    if elsewhere := [key for key in _all_keys() if key.endswith(f".{name}")]:
        return f"did you mean {' or '.join(repr(key) for key in elsewhere)}?"
    return f"known keys here: {', '.join(known) or 'none'}"


_EXPECTED = {
    "string": ("text", "put it in quotes"),
    "int": ("a whole number", None),
    "float": ("a number", "write it with a dot, as in 0.001 or 1.0e-3, and without quotes"),
    "bool": ("true or false", None),
    "list": ("a list", "write it in brackets, as in [a, b], or with `- ` before each item"),
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _wrong_value(item: Mapping[str, Any], location: Sequence[str | int]) -> tuple[str, str | None]:
    """What is wrong with a value, and the mend where there is a better one than `correct it`."""
    kind, context, got = item["type"], item.get("ctx", {}), _shown(item["input"])
    if kind == "value_error":
        return item["msg"].removeprefix("Value error, "), None
    if kind.startswith("model_"):
        section = _section_at(location)
        if section is Source:
            return f"expected a path, or `source` and `sha256` below it, got {got}", None
        keys = ", ".join(section.model_fields) if section else ""
        return f"expected keys below it ({keys}), got {got}", None
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        near = difflib.get_close_matches(str(item["input"]), known, n=1)
        return f"must be one of {', '.join(known)}, not {got}", f"did you mean '{near[0]}'?" if near else None
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"must be {words} {context[name]:g}, not {got}", None
    if kind == "finite_number":
        return f"must be finite, not {got}", None
    if kind in ("too_short", "string_too_short"):
        return "is empty", "give a value, or take the key out to use its default"
    if kind == "string_pattern_mismatch":
        return (
            f"must begin with a letter or digit, and hold only letters, digits, '.', '_', '-', not {got}",
            None,
        )
    expected, mend = _EXPECTED.get(kind.partition("_")[0], (None, None))
    return (f"expected {expected}, got {got}", mend) if expected else (f"{item['msg']}, got {got}", None)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
