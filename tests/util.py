"""Small encoders made on the spot, so that tests need no download."""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertModel, BertTokenizerFast


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
