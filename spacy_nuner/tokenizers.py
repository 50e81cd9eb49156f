"""Blank tokenizers, and one for text of any language.

spaCy's multi-language tokenizer (`xx`) splits at blanks and punctuation, so a Chinese
clause is one token, and a mention in it would be the whole clause. Here each character
of a script without blanks is a token, as in spaCy's own Chinese, the rest as in `xx`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
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
# Scripts without blanks between words, as ranges of code points: Thai, Lao, Myanmar,
# Khmer; iteration marks, kana; Han; half-width kana, rarer Han.
SCRIPTS = """
    0E00-0EFF 1000-109F 1780-17FF 3005-3007 3040-30FF 31F0-31FF 3400-4DBF 4E00-9FFF
    F900-FAFF FF66-FF9F 20000-3FFFF
"""
# What may follow a letter besides the marks of its script: variation selectors, and
# half-width voicing marks of kana, which are letters to Unicode.
FOLLOWING = "\ufe00-\ufe0f\U000e0100-\U000e01ef\uff9e\uff9f"
# Punctuation of full width, which has no blank around it either.
PUNCTUATION = (
    "\u3001-\u3003\u3008-\u3011\u3014-\u301f\u30fb"
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
Tokenize = Callable[[str], Doc]
# Characters without a blank that go through a tokenizer at once. The longest stretch in
# 38,564 sentences and passages of the web has 140.
LONGEST = 250
_STRETCH = re.compile(rf"\S{{{LONGEST + 1},}}")


class InParts:
    """A tokenizer that cuts what has no blank for long, and tokenizes the parts.

    spaCy takes a bracket, a quote or an emoji off a stretch without blanks and looks
    through the rest anew: 20,000 of them take a minute, a megabyte more than a day.
    """

    def __init__(self, tokenize: Any) -> None:
        """tokenize (Tokenizer): The tokenizer, whose attributes this has too."""
        self._tokenize = tokenize

    def __call__(self, text: str) -> Doc:
        """Tokenize a text.

        text (str): The text.
        RETURNS (Doc): Its tokens. Those of a text without long stretches are the
            tokenizer's own.
        """
        if len(text) <= LONGEST or max(map(len, text.split()), default=0) <= LONGEST:
            return self._tokenize(text)
        docs = list(map(self._tokenize, _cut_stretches(text)))
        tokens = [token for doc in docs for token in doc]
        words = [token.text for token in tokens]
        spaces = [bool(token.whitespace_) for token in tokens]
        return Doc(docs[0].vocab, words=words, spaces=spaces)

    def __getattr__(self, name: str) -> Any:
        # Not before there is one, as in a copy that is being made.
        if name == "_tokenize":
            raise AttributeError(name)
        return getattr(self._tokenize, name)


def guard_tokenizer(nlp: Language) -> None:
    """Have the tokenizer of a pipeline take long stretches in parts, if it is spaCy's.

    nlp (Language): The pipeline.
    """
    if isinstance(nlp.tokenizer, Tokenizer):
        nlp.tokenizer = InParts(nlp.tokenizer)


def _cut_stretches(text: str) -> Iterator[str]:
    start = 0
    for stretch in _STRETCH.finditer(text):
        for cut in range(stretch.start() + LONGEST, stretch.end(), LONGEST):
            yield text[start:cut]
            start = cut
    yield text[start:]


def blank(lang: str) -> Language:
    """Make a blank pipeline.

    lang (str): The code of the language, such as "en"; "xx" is any, or several.
    RETURNS (Language): The pipeline.
    RAISES (NunerError): N010 if spaCy has no such language, or needs a package for it.
    """
    try:
        tokenizer = _tokenizer_of(get_lang_class(lang))
        nlp = spacy.blank(lang, config={"nlp": {"tokenizer": tokenizer}})
    except ImportError as error:
        # spaCy's reason: an unknown code, or a package that its tokenizer needs.
        raise NunerError(Errors.N010, lang=lang, reason=error) from error
    nlp.tokenizer = InParts(nlp.tokenizer)
    return nlp


def _tokenizer_of(cls: type[Language]) -> Any:
    """The config of a language's tokenizer; that of "xx" splits all scripts."""
    default = cls.default_config["nlp"]["tokenizer"]
    return {"@tokenizers": NAME} if cls.lang == "xx" else default


@dataclass(frozen=True)
class _Host:
    """What registered tokenizers read of a pipeline."""

    lang: str
    vocab: Vocab
    Defaults: type[BaseDefaults]


def make_tokenizer(lang: str) -> Tokenize:
    """Make the tokenizer of a language without a pipeline around it.

    A pipeline imports the components of all installed packages, torch and transformers
    among them: 230 MB in each process, and two seconds. And its vocabulary computes
    some twenty lexical attributes of each new word, which takes longer than to tokenize
    a sentence; here words have none.

    lang (str): The code of the language, such as "en".
    RETURNS (Tokenize): Gives the same tokens as `blank(lang)`.
    RAISES (NunerError): As `blank`.
    """
    try:
        cls = get_lang_class(lang)
        vocab = Vocab(writing_system=cls.Defaults.writing_system)
        host = _Host(lang, vocab, cls.Defaults)
        settings = {"tokenizer": _tokenizer_of(cls)}
        return InParts(registry.resolve(settings)["tokenizer"](host))
    except ImportError as error:
        raise NunerError(Errors.N010, lang=lang, reason=error) from error


@registry.tokenizers(NAME)
def make_multilingual_tokenizer() -> Callable[[Any], Tokenizer]:
    """Make a tokenizer that makes each character of scripts without blanks a token.

    RETURNS (Callable[[Language], Tokenizer]): Makes the tokenizer of a pipeline.
    """

    def create(nlp: Any) -> Tokenizer:
        tokenizer = create_tokenizer()(nlp)
        letter = f"[{_get_class('L', 'Nl')}][{_get_class('M')}{FOLLOWING}]*"
        infixes = [*(nlp.Defaults.infixes or []), letter, f"[{PUNCTUATION}]"]
        tokenizer.infix_finditer = compile_infix_regex(infixes).finditer
        return tokenizer

    return create


def _get_class(*categories: str) -> str:
    """The ranges of SCRIPTS in some Unicode categories, for a regex class."""
    runs = []
    for first, last in (span.split("-") for span in SCRIPTS.split()):
        characters = map(chr, range(int(first, 16), int(last, 16) + 1))
        for inside, run in groupby(
            characters, lambda c: unicodedata.category(c).startswith(categories)
        ):
            if inside:
                start, *others = run
                runs.append(f"{start}-{others[-1] if others else start}")
    return "".join(runs)
