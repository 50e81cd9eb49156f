"""Tokenizers without a pipeline cut texts as the pipelines do."""

import subprocess
import sys

import pytest

from spacy_nuner.errors import NunerError
from spacy_nuner.tokenizers import blank, make_tokenizer

TEXTS = [
    "Dr. O'Neil doesn't pay £1,650pcm at https://example.org/a?b=c :-)",
    "Le grand-père l'a vu, n'est-ce pas ?",
    "Die Straße 12a kostet ca. 3,50 €.",
    "  two  blanks\tand a tab ",
    "北京大学 and 東京タワー",
    "",
]


@pytest.mark.parametrize("lang", ["en", "de", "fr", "xx", "zh", "ar", "tr"])
def test_the_same_tokens_as_a_pipeline(lang):
    tokenize, nlp = make_tokenizer(lang), blank(lang)
    for text in TEXTS:
        doc, expected = tokenize(text), nlp(text)
        assert doc.text == text
        assert [(t.text, t.whitespace_) for t in doc] == [
            (t.text, t.whitespace_) for t in expected
        ]


@pytest.mark.parametrize("make", [blank, make_tokenizer])
def test_a_language_that_spacy_does_not_have(make):
    with pytest.raises(NunerError, match="N010.*'qq'"):
        make("qq")


def test_no_components_are_imported():
    code = (
        "import sys; from spacy_nuner.tokenizers import make_tokenizer; "
        "make_tokenizer('en')('In Lisbon.'); "
        "print(sorted({'transformers', 'spacy_transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
