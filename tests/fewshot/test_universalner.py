"""UniversalNER's conversation and its rule of scoring."""

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Span

from spacy_nuner.fewshot.universalner import (
    find_ents,
    make_question,
    normalise,
    read_strings,
    score_strings,
)


def make_doc(text, *ents):
    doc = spacy.blank("en")(text)
    doc.ents = [Span(doc, start, end, label=label) for start, end, label in ents]
    return doc


def test_the_conversation_is_the_one_that_the_model_was_trained_on():
    # As data of that training has it, for one text and one type.
    assert make_question("city").replace("{text}", "Ana lives in Rome.") == (
        "A virtual assistant answers questions from a user based on the provided text. "
        "USER: Text: Ana lives in Rome. ASSISTANT: I've read this text.</s>USER: What "
        "describes city in the text? ASSISTANT:"
    )


@pytest.mark.parametrize(
    ("content", "strings"),
    [
        ('["Rome", "New York"]', ["Rome", "New York"]),
        (' ["Rome"] and that is all', ["Rome"]),
        ("[]", []),
        # Up to the first bracket that closes, and on one line.
        ('["a [sic] b", "c"]', []),
        ('["Rome",\n"Oslo"]', []),
        ('Here they are: ["Rome"]', []),
        ('x ASSISTANT: ["Rome"]', ["Rome"]),
        ("['Rome']", []),
        ('["Rome", 7, null]', []),
        ("", []),
    ],
)
def test_answers_are_read_as_its_evaluation_does(content, strings):
    assert read_strings(content) == strings


@given(st.text())
def test_no_answer_breaks_the_reader(content):
    assert all(isinstance(one, str) for one in read_strings(content))


def test_normalised_strings():
    assert normalise(" The  U.S. ") == "us"
    assert normalise("An apple a day") == "apple day"
    assert normalise("Anthem") == "anthem"


def test_entities_stand_wherever_their_strings_occur():
    doc = make_doc("New York is not York, says new york")
    found = find_ents(doc, {"city": ["New York", "York", "Oslo"], "org": ["York"]})
    spans = [(span.start, span.end, span.label_) for span in found]
    assert spans[:2] == [(0, 2, "city"), (4, 5, "city")]
    assert all(label == "city" for _, _, label in spans)


def test_sets_of_strings_are_scored():
    docs = [
        make_doc("Rome and Rome and Oslo", (0, 1, "city"), (2, 3, "city")),
        make_doc("nothing here"),
    ]
    answers = [{"city": ["rome.", "Oslo"], "org": []}, {"city": ["here"], "org": []}]
    scores = score_strings(docs, answers)
    # Rome counts once; Oslo and here are too many.
    assert scores["strings_p"] == pytest.approx(1 / 3)
    assert scores["strings_r"] == 1.0
    assert scores["strings_f"] == pytest.approx(0.5)


def test_nothing_answered_and_nothing_there():
    empty = {"strings_p": 0.0, "strings_r": 0.0, "strings_f": 0.0}
    assert score_strings([make_doc("a b")], [{"city": []}]) == empty
