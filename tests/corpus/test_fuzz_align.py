"""Entities of any words and offsets in texts of any tokens."""

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_nuner.corpus.align import GIVEN, MAX_SPANS, STEPS, align
from spacy_nuner.readers.folding import fold_form
from spacy_nuner.readers.records import Entity
from spacy_nuner.tokenizers import LONGEST, make_tokenizer

from ..fuzzing import examples

pytestmark = pytest.mark.fuzz
NLP = spacy.blank("xx")
# What folds to nothing, to several letters, to another length, or to a neighbour.
LETTERS = (
    "aAbé e\u0301ßſİıΣςﬁﷺ㎏Ⅳ½ \t\n\u00a0\u00ad\u200b\u200d\ufe0f\u3000"
    "'’\"“-–—🦊👩.,中文ไ"
)
TEXTS = st.text(LETTERS, max_size=40) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=30
)


@st.composite
def docs(draw):
    """Tokens that no tokenizer of ours would make."""
    words = draw(st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=12))
    spaces = draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words)))
    return Doc(NLP.vocab, words=words, spaces=spaces)


@st.composite
def cases(draw):
    """A text and entities, some of which stand in it in one form or another."""
    doc = draw(docs() | TEXTS.map(NLP.make_doc))
    text = doc.text
    entities = []
    for _ in range(draw(st.integers(1, 5))):
        start, end = sorted(draw(st.integers(0, len(text))) for _ in range(2))
        change = draw(
            st.sampled_from([str, str.upper, str.casefold, str.title, fold_form])
        )
        words = draw(st.just(change(text[start:end])) | TEXTS)
        if draw(st.booleans()):
            start, end = draw(st.integers(-2, 50)), draw(st.integers(-2, 50))
        given_offsets = draw(st.booleans())
        offsets = (start, end) if given_offsets else (None, None)
        entities.append(Entity(words, "x", None, *offsets))
    return doc, entities


@examples(150)
@given(
    case=cases(),
    occurrences=st.sampled_from(["all", "first", "in_order"]),
    ignore_case=st.booleans(),
)
def test_any_entity_has_spans_or_a_reason(case, occurrences, ignore_case):
    doc, entities = case
    matches = align(doc, entities, occurrences=occurrences, ignore_case=ignore_case)
    assert [match.entity for match in matches] == entities
    for match in matches:
        assert bool(match.spans) == (match.how in STEPS)
        assert len(match.spans) <= (MAX_SPANS if occurrences == "all" else 1)
        ends = 0
        for start, end in match.spans:
            # Left to right, apart from each other.
            assert ends <= start < end <= len(doc)
            ends = end
            # What is marked holds what was looked for.
            marked = fold_form(doc[start:end].text)
            assert fold_form(match.entity.text) in marked
        if match.how == GIVEN:
            text, entity = doc.text, match.entity
            assert text[entity.start : entity.end] == entity.text


TOKENIZE = make_tokenizer("en")


@examples(60)
@given(
    parts=st.lists(
        st.tuples(st.text(LETTERS + "('$1", max_size=3), st.integers(0, 2 * LONGEST)),
        max_size=4,
    )
)
def test_tokens_of_any_text_make_the_text(parts):
    text = "".join(unit * times for unit, times in parts)
    assert TOKENIZE(text).text == text
