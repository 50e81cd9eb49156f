"""Tiny random encoders of the architectures that people use, with their tokenizers."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import (
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

LAYERS = 4
WIDTH = 32
POSITIONS = 64

BERT_SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
ROBERTA_SPECIALS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}


def make_tiny(name: str, folder: Path, texts: Iterable[str]) -> Path:
    """Save a random encoder and a tokenizer that was trained on the texts.

    name (str): One of `ARCHITECTURES`.
    folder (Path): Where the Hugging Face folder goes.
    texts (Iterable[str]): What the tokenizer learns its word pieces from.
    RETURNS (Path): The folder.
    """
    tokenizer, config, model_class = ARCHITECTURES[name](list(texts))
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config)
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def _config(cls: type, tokenizer: Any, **settings: Any) -> Any:
    return cls(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "intermediate_size": 2 * WIDTH,
            "max_position_embeddings": POSITIONS,
            "pad_token_id": tokenizer.pad_token_id,
            **settings,
        }
    )


def _wordpiece(texts: list[str], *, lowercase: bool, specials: dict[str, str]) -> Any:
    trained = BertWordPieceTokenizer(lowercase=lowercase, strip_accents=lowercase)
    return _train(trained, texts, specials)


def _unigram(texts: list[str], specials: dict[str, str], *, end: str) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    # As SentencePiece: full-width forms become half-width, runs of blanks one.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        texts,
        trainers.UnigramTrainer(
            vocab_size=500,
            special_tokens=list(dict.fromkeys(specials.values())),
            unk_token=specials["unk_token"],
            show_progress=False,
        ),
    )
    _wrap(tokenizer, specials["cls_token"], end)
    return tokenizer


def _byte_level(texts: list[str], specials: dict[str, str]) -> Tokenizer:
    return _train(ByteLevelBPETokenizer(), texts, specials)


def _train(tokenizer: Any, texts: list[str], specials: dict[str, str]) -> Tokenizer:
    tokenizer.train_from_iterator(
        texts,
        vocab_size=600,
        min_frequency=1,
        special_tokens=list(dict.fromkeys(specials.values())),
    )
    return tokenizer._tokenizer


def _wrap(tokenizer: Tokenizer, start: str, end: str) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B {end}",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in (start, end)],
    )


def _bert(texts: list[str]) -> Any:
    backend = _wordpiece(texts, lowercase=True, specials=BERT_SPECIALS)
    _wrap(backend, "[CLS]", "[SEP]")
    tokenizer = tf.BertTokenizerFast(
        tokenizer_object=backend, model_max_length=POSITIONS
    )
    return tokenizer, _config(tf.BertConfig, tokenizer), tf.BertModel


def _mbert(texts: list[str]) -> Any:
    backend = _wordpiece(texts, lowercase=False, specials=BERT_SPECIALS)
    _wrap(backend, "[CLS]", "[SEP]")
    tokenizer = tf.BertTokenizerFast(
        tokenizer_object=backend, do_lower_case=False, model_max_length=POSITIONS
    )
    return tokenizer, _config(tf.BertConfig, tokenizer), tf.BertModel


def _roberta(texts: list[str]) -> Any:
    backend = _byte_level(texts, ROBERTA_SPECIALS)
    tokenizer = tf.RobertaTokenizerFast(
        tokenizer_object=backend, model_max_length=POSITIONS
    )
    _wrap(tokenizer.backend_tokenizer, "<s>", "</s>")
    # Positions are counted from behind the padding index.
    positions = POSITIONS + tokenizer.pad_token_id + 1
    config = _config(tf.RobertaConfig, tokenizer, max_position_embeddings=positions)
    return tokenizer, config, tf.RobertaModel


def _mpnet(texts: list[str]) -> Any:
    specials = {**ROBERTA_SPECIALS, "unk_token": "[UNK]"}
    backend = _wordpiece(texts, lowercase=True, specials=specials)
    _wrap(backend, "<s>", "</s>")
    tokenizer = tf.MPNetTokenizerFast(
        tokenizer_object=backend, model_max_length=POSITIONS, **specials
    )
    positions = POSITIONS + tokenizer.pad_token_id + 1
    config = _config(tf.MPNetConfig, tokenizer, max_position_embeddings=positions)
    return tokenizer, config, tf.MPNetModel


def _deberta(texts: list[str]) -> Any:
    backend = _unigram(texts, BERT_SPECIALS, end="[SEP]")
    tokenizer = tf.DebertaV2TokenizerFast(
        tokenizer_object=backend, model_max_length=POSITIONS, **BERT_SPECIALS
    )
    # As microsoft/deberta-v3-base.
    config = _config(
        tf.DebertaV2Config,
        tokenizer,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        position_buckets=16,
        share_att_key=True,
        type_vocab_size=0,
    )
    return tokenizer, config, tf.DebertaV2Model


def _modernbert(texts: list[str]) -> Any:
    backend = _byte_level(texts, BERT_SPECIALS)
    _wrap(backend, "[CLS]", "[SEP]")
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
        **BERT_SPECIALS,
    )
    config = _config(
        tf.ModernBertConfig,
        tokenizer,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        global_attn_every_n_layers=3,
        local_attention=16,
    )
    return tokenizer, config, tf.ModernBertModel


def _xlmr(texts: list[str]) -> Any:
    backend = _unigram(texts, ROBERTA_SPECIALS, end="</s>")
    tokenizer = tf.XLMRobertaTokenizerFast(
        tokenizer_object=backend, model_max_length=POSITIONS
    )
    positions = POSITIONS + tokenizer.pad_token_id + 1
    config = _config(tf.XLMRobertaConfig, tokenizer, max_position_embeddings=positions)
    return tokenizer, config, tf.XLMRobertaModel


ARCHITECTURES: dict[str, Callable[[list[str]], Any]] = {
    "bert": _bert,
    "mbert": _mbert,
    "roberta": _roberta,
    "mpnet": _mpnet,
    "deberta-v3": _deberta,
    "modernbert": _modernbert,
    "xlm-r": _xlmr,
}
