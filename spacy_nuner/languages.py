"""Languages of spaCy: a blank pipeline, or the tokenizer alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import spacy
from spacy.language import BaseDefaults, Language
from spacy.tokens import Doc
from spacy.util import get_lang_class, registry
from spacy.vocab import Vocab

from . import unspaced
from .errors import NunerError

Tokenize = Callable[[str], Doc]


def blank(lang: str) -> Language:
    """Make a blank pipeline.

    lang (str): The code of the language, such as "en"; "xx" is any, or several.
    RETURNS (Language): The pipeline.
    RAISES (NunerError): N010 if spaCy has no such language, or needs a package for it.
    """
    try:
        tokenizer = _tokenizer_of(get_lang_class(lang))
        return spacy.blank(lang, config={"nlp": {"tokenizer": tokenizer}})
    except ImportError as error:
        # spaCy's own words: an unknown code, or a tokenizer that wants a package.
        raise NunerError("N010", lang=lang, reason=error) from error


def _tokenizer_of(cls: type[Language]) -> Any:
    """What the language's config names, but for "xx" one that splits all scripts."""
    settings = cls.default_config["nlp"]["tokenizer"]
    return {"@tokenizers": unspaced.NAME} if cls.lang == "xx" else settings


@dataclass(frozen=True)
class _Host:
    """What the registered makers of tokenizers take of a pipeline."""

    lang: str
    vocab: Vocab
    Defaults: type[BaseDefaults]


def make_tokenizer(lang: str) -> Tokenize:
    """Make the tokenizer of a language without a pipeline around it.

    A pipeline imports the components of all installed packages, torch and transformers
    among them: 230 MB in each process, and two seconds. And its vocabulary works out
    shape, norm and some twenty other features of each new word, which takes longer
    than to tokenize a sentence; here words have none.

    lang (str): The code of the language, such as "en".
    RETURNS (Tokenize): Cuts a text into the words and blanks that `blank(lang)` would.
    RAISES (NunerError): As `blank`.
    """
    try:
        cls = get_lang_class(lang)
        vocab = Vocab(writing_system=cls.Defaults.writing_system)
        host = _Host(lang, vocab, cls.Defaults)
        settings = {"tokenizer": _tokenizer_of(cls)}
        return registry.resolve(settings)["tokenizer"](host)
    except ImportError as error:
        raise NunerError("N010", lang=lang, reason=error) from error
