"""Tiny models with random weights, in the files of the published ones."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import torch

LAYERS, DIM = 2, 32
RESIDUES = "LAGVSERTIDPKQNFYMHWCX"


def write_esm2(folder: Path, name: str = "esm2_tiny", *, seed: int = 1) -> Path:
    """ESM-2 in two files, with the keys of fair-esm's published checkpoints."""
    from esm.model.esm2 import ESM2

    torch.manual_seed(seed)
    model = ESM2(num_layers=LAYERS, embed_dim=DIM, attention_heads=4)
    body, regression = {}, {}
    for key, value in model.state_dict().items():
        if key.startswith("contact_head"):
            regression[key] = value
        elif key.startswith("lm_head"):
            body[f"encoder.{key}"] = value
        else:
            body[f"encoder.sentence_encoder.{key}"] = value
    settings = Namespace(
        encoder_layers=LAYERS, encoder_embed_dim=DIM, encoder_attention_heads=4, token_dropout=True
    )
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"cfg": {"model": settings}, "model": body}, folder / f"{name}.pt")
    torch.save({"model": regression}, folder / f"{name}-contact-regression.pt")
    return folder / f"{name}.pt"


def write_esm1b(folder: Path, name: str = "esm1b_tiny", *, positions: int = 1024) -> Path:
    """ESM-1b in two files, with the keys and arguments of fair-esm's published checkpoint."""
    import esm

    torch.manual_seed(2)
    settings = {
        "layers": LAYERS,
        "embed_dim": DIM,
        "ffn_embed_dim": 64,
        "attention_heads": 4,
        "token_dropout": True,
    }
    arguments = Namespace(
        arch="roberta_large",
        max_positions=positions,
        **{f"encoder_{key}": value for key, value in settings.items()},
    )
    plain = Namespace(arch="roberta_large", max_positions=positions, emb_layer_norm_before=True, **settings)
    model = esm.ProteinBertModel(plain, esm.Alphabet.from_architecture("roberta_large"))
    body, regression = {}, {}
    for key, value in model.state_dict().items():
        if key.startswith("contact_head"):
            regression[key] = value
        elif key.startswith("lm_head"):
            body[f"encoder.{key}"] = value
        else:
            body[f"encoder.sentence_encoder.{key}"] = value
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"args": arguments, "model": body}, folder / f"{name}.pt")
    torch.save({"model": regression}, folder / f"{name}-contact-regression.pt")
    return folder / f"{name}.pt"


def write_t5(folder: Path) -> Path:
    """A T5 encoder as ProtT5: SentencePiece, one piece a residue with a space before it, `</s>` at the end."""
    import sentencepiece
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(RESIDUES)] * 50),
        model_prefix=str(folder / "spiece"),
        model_type="word",
        vocab_size=len(RESIDUES) + 3,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    tokenizer = transformers.T5Tokenizer(str(folder / "spiece.model"), extra_ids=0, legacy=True)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    settings = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=DIM, d_kv=8, d_ff=37, num_layers=LAYERS, num_heads=4
    )
    transformers.T5EncoderModel(settings).save_pretrained(folder)
    (folder / "spiece.vocab").unlink()
    return folder


def write_bert(folder: Path, *, positions: int = 200, residues: str = RESIDUES) -> Path:
    """A BERT as ProtBert: a vocabulary file, `[CLS]` and `[SEP]`."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *residues]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    torch.manual_seed(4)
    settings = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=37,
        max_position_embeddings=positions,
    )
    transformers.BertModel(settings).save_pretrained(folder)
    return folder


def write_hf_esm(folder: Path) -> Path:
    """ESM-2 as transformers keeps it."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [
        "<cls>",
        "<pad>",
        "<eos>",
        "<unk>",
        *RESIDUES,
        "B",
        "U",
        "Z",
        "O",
        ".",
        "-",
        "<null_1>",
        "<mask>",
    ]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = transformers.EsmTokenizer(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    settings = transformers.EsmConfig(
        vocab_size=len(vocabulary),
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=37,
        pad_token_id=1,
        mask_token_id=len(vocabulary) - 1,
        position_embedding_type="rotary",
        token_dropout=True,
    )
    transformers.EsmModel(settings).save_pretrained(folder)
    return folder
