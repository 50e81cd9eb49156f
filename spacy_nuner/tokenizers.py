"""A tokenizer for text of any language, those that put no blanks between words too.

spaCy's multi-language tokenizer (`xx`) cuts at blanks and punctuation, so a Chinese
clause is one token, and a mention in it would be the whole clause. Here each character
of such a script is a token, as in spaCy's own Chinese; all else is as in `xx`.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import spacy
from spacy.language import BaseDefaults, Language, create_tokenizer
from spacy.tokenizer import Tokenizer
from spacy.tokens import Doc
from spacy.util import compile_infix_regex, get_lang_class, registry
from spacy.vocab import Vocab

from .errors import Errors, NunerError

NAME = "spacy_nuner.MultilingualTokenizer.v1"
# Scripts without blanks between words, as ranges of code points.
SCRIPTS = (
    # Thai, Lao, Myanmar, Khmer
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    # iteration marks, kana
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    # Han
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    # half-width kana, rarer Han
    (0xFF66, 0xFF9F),
    (0x20000, 0x3FFFF),
)
# What may follow a letter besides the marks of its script: variation selectors, and
# half-width voicing marks of kana, which are letters to Unicode.
FOLLOWING = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF), (0xFF9E, 0xFF9F))
# Punctuation of full width, which has no blank around it either.
PUNCTUATION = (
    (0x3001, 0x3003),
    (0x3008, 0x3011),
    (0x3014, 0x301F),
    (0x30FB, 0x30FB),
    (0xFF01, 0xFF0F),
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF65),
)
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
        # spaCy's reason: an unknown code, or a package that its tokenizer needs.
        raise NunerError(Errors.N010, lang=lang, reason=error) from error


def _tokenizer_of(cls: type[Language]) -> Any:
    """What the language's config names, but for "xx" one that splits all scripts."""
    settings = cls.default_config["nlp"]["tokenizer"]
    return {"@tokenizers": NAME} if cls.lang == "xx" else settings


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
        raise NunerError(Errors.N010, lang=lang, reason=error) from error


@registry.tokenizers(NAME)
def make_multilingual_tokenizer() -> Callable[[Any], Tokenizer]:
    """Make the factory of the tokenizer, as `nlp.tokenizer` in a config has it.

    RETURNS (Callable[[Language], Tokenizer]): Takes the pipeline.
    """

    def create(nlp: Any) -> Tokenizer:
        tokenizer = create_tokenizer()(nlp)
        own = [_get_letter(), f"[{_as_class(PUNCTUATION)}]"]
        infixes = compile_infix_regex([*(nlp.Defaults.infixes or []), *own])
        tokenizer.infix_finditer = infixes.finditer
        return tokenizer

    return create


def _get_letter() -> str:
    """The pattern of a letter of these scripts, with the marks that belong to it."""
    letters = _as_class(_find_ranges("L", "Nl"))
    return f"[{letters}][{_as_class([*_find_ranges('M'), *FOLLOWING])}]*"


def _find_ranges(*categories: str) -> Iterator[tuple[int, int]]:
    """Runs of code points of some Unicode categories, among those of `SCRIPTS`."""
    for first, last in SCRIPTS:
        for inside, run in groupby(
            range(first, last + 1),
            lambda code: unicodedata.category(chr(code)).startswith(categories),
        ):
            codes = list(run)
            if inside:
                yield codes[0], codes[-1]


def _as_class(ranges: Iterable[tuple[int, int]]) -> str:
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in ranges)
