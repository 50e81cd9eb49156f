"""Tokenizers without a pipeline cut texts as the pipelines do."""

import subprocess
import sys

import pytest

from spacy_nuner.errors import NunerError
from spacy_nuner.tokenizers import LONGEST, blank, make_tokenizer

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


@pytest.mark.parametrize("unit", ["(", "'", "🦊", "a", "http://a.b/", "$1", "東"])
def test_long_stretches_go_through_in_parts(unit, monkeypatch):
    """As a whole, 20,000 brackets took a minute, four times as many sixteen."""
    tokenize = make_tokenizer("en")
    seen = []
    inner = tokenize._tokenize
    tokenize._tokenize = lambda text: seen.append(text) or inner(text)
    text = f"In {unit * 3000} and\n {unit * 400}"
    doc = tokenize(text)
    assert doc.text == text
    assert "".join(seen) == text
    assert max(len(word) for part in seen for word in part.split()) == LONGEST
    assert [token.text for token in doc[:1]] == ["In"]
    seen.clear()
    text = f"{unit * LONGEST} "[-LONGEST - 1 :] * 2
    assert [t.text for t in tokenize(text)] == [t.text for t in inner(text)]
    assert seen == [text]


def test_a_pipeline_gets_long_stretches_in_parts_too():
    nlp = blank("en")
    text = "(" * 20_000 + " Ana " + "🦊" * 20_000
    with nlp.memory_zone():
        (doc,) = nlp.pipe([text])
        assert doc.text == text
        assert len(doc) == 40_001
    assert [token.text for token in nlp("In Lisbon.")] == ["In", "Lisbon", "."]
