"""Small encoders made on the spot, so that tests need no download."""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizerFast,
)

from spacy_nuner.encoders.folder import FORMAT, BackboneInfo, save_backbone


def make_tiny_bert(
    folder: Path,
    texts: Iterable[str],
    *,
    layers: int = 2,
    width: int = 32,
    positions: int = 64,
    seed: int = 0,
) -> Path:
    """Save a BERT of random weights with a WordPiece tokenizer trained on the texts.

    folder (Path): Where the Hugging Face folder goes.
    texts (Iterable[str]): What the tokenizer learns its word pieces from.
    layers (int): Hidden layers.
    width (int): Hidden width.
    positions (int): The longest input in word pieces.
    seed (int): Of the weights; the caller's random state stays as it was.
    RETURNS (Path): The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(texts, vocab_size=500, min_frequency=1)
    trained.save_model(str(folder))
    tokenizer = BertTokenizerFast(
        vocab_file=str(folder / "vocab.txt"), model_max_length=positions
    )
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=positions,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config)
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def make_tiny_backbone(folder: Path, texts: Iterable[str], *, layers: int = 2) -> Path:
    """Save a backbone folder of random weights, which nothing was trained for.

    folder (Path): Where the backbone goes.
    texts (Iterable[str]): What the tokenizer learns its word pieces from.
    layers (int): Hidden layers.
    RETURNS (Path): The folder.
    """
    base = make_tiny_bert(folder / "base", texts, layers=layers)
    model = AutoModel.from_pretrained(base)
    backbone = folder / "backbone"
    backbone.mkdir()
    save_backbone(
        backbone,
        BackboneInfo(
            format=FORMAT,
            pooling="mean",
            template="{name}: {description}",
            max_concept_length=16,
            scale=1.25,
            bias=-3.5,
            frozen_layers=0,
            hidden_layers=[-1, -2],
            base="someone/bert",
            data={"sentences": 3, "top_concepts": [["city", 2]], "sha256": {}},
            training={"steps": 10, "seconds": 5, "final_loss": 0.5},
            versions={"spacy_nuner": "0.1.0"},
            settings={
                "training": {"epochs": 2, "batch_size": 4, "learn_rate": 3e-4}
                | {"seed": 0}
            },
            command="spacy nuner pretrain configs/pretrain.cfg out",
            created="2026-11-21T00:00:00+00:00",
        ),
        text_encoder=model,
        concept_encoder=model,
        tokenizer=AutoTokenizer.from_pretrained(base),
        background=torch.randn(20, 32, generator=torch.Generator().manual_seed(0)),
    )
    return backbone


def make_tiny_roberta(
    folder: Path,
    texts: Iterable[str],
    *,
    layers: int = 2,
    width: int = 32,
    positions: int = 64,
    seed: int = 0,
) -> Path:
    """Save a RoBERTa of random weights with a byte-level BPE trained on the texts.

    folder (Path): Where the Hugging Face folder goes.
    texts (Iterable[str]): What the tokenizer learns its merges from.
    layers (int): Hidden layers.
    width (int): Hidden width.
    positions (int): The longest input in word pieces.
    seed (int): Of the weights; the caller's random state stays as it was.
    RETURNS (Path): The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        texts, vocab_size=400, min_frequency=1, special_tokens=specials
    )
    trained.save_model(str(folder))
    tokenizer = RobertaTokenizerFast(
        vocab_file=str(folder / "vocab.json"),
        merges_file=str(folder / "merges.txt"),
        model_max_length=positions,
    )
    tokenizer.save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        # Positions are counted from behind the padding index.
        max_position_embeddings=positions + tokenizer.pad_token_id + 1,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RobertaModel(config)
    model.save_pretrained(folder, safe_serialization=True)
    return folder
