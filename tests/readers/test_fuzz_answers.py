"""Answers of any kind: never a traceback, and nothing that the text does not have."""

import json

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_nuner.corpus.row_to_doc import ConvertSettings, process
from spacy_nuner.readers.answers import (
    Answer,
    Sentence,
    judge,
    parse_answer,
    read_entities,
    share,
    to_record,
)
from spacy_nuner.readers.folding import fold_form
from spacy_nuner.readers.reasoning import strip_reasoning
from spacy_nuner.readers.records import Row, Source

from ..fuzzing import examples

pytestmark = pytest.mark.fuzz
SHORT = examples(60)
WORDS = [
    "Ana Lima",
    "Lisbon",
    "AT&T",
    "3 May",
    "a <> b",
    "<think>",
    "[1]",
    "naïve",
    "ß",
]
PIECES = [
    *WORDS,
    *(
        " <> ",
        "<>",
        " -|- ",
        "-|-",
        "\n",
        "\r\n",
        "|",
        " | ",
        "```",
        "**",
        '"',
        "'",
        "`",
    ),
    *("<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>final<|message|>"),
    *(
        "<|channel|>analysis<|message|>",
        "assistantfinal",
        "<answer>",
        "</s>",
        "<|im_end|>",
    ),
    *(
        "[1]",
        "[2]",
        "1. ",
        "**[2]**",
        "Entity: ",
        "Concept: ",
        "&lt;&gt;",
        "&amp;",
        "\\",
    ),
    *(
        '{"entities": [',
        '{"text": "Lisbon", "concept": "city"}',
        "]}",
        "{",
        "[",
        "}",
        ",",
    ),
    *('{"texts": [', '{"number": 1, "entities": []}', "null", "9" * 5000, "[" * 2000),
    *(
        "\ufeff",
        "\u200b",
        "\u00ad",
        "\u202e",
        "\ud83d",
        "\0",
        "\x1b[31m",
        "١",
        "。",
        "İ",
    ),
]
NOISE = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
    st.text(max_size=60),
    st.text("<>|-[]{}\"'\\/ \n\u200bathink:.,", max_size=80),
)
TEXTS = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
)


LINES = st.lists(
    NOISE
    | st.tuples(
        st.sampled_from(WORDS), st.sampled_from(["city", "a person"]), NOISE
    ).map(" <> ".join),
    min_size=1,
    max_size=5,
).map("\n".join)


@pytest.fixture(scope="module")
def tokenizer():
    return spacy.blank("en").make_doc


def convert(record, tokenizer):
    row = Row(Source("a.jsonl", "jsonl"), 1, [json.dumps(record)], 1)
    return process(row, lambda record: tokenizer(record.text), ConvertSettings())


@SHORT
@given(content=NOISE | LINES, text=TEXTS, structured=st.booleans())
def test_any_answer_has_a_verdict_and_a_record(tokenizer, content, text, structured):
    answer = Answer(content, "stop", prompt_tokens=5)
    verdict = judge(answer, text=text, structured=structured)
    record = to_record(Sentence(1, "1", text), answer, structured=structured)
    # It can be written, and read.
    outcome = convert(record, tokenizer)
    if outcome.doc is not None:
        for start, end, label in outcome.spans:
            assert 0 <= start < end <= len(outcome.doc)
            assert label.strip()
            assert fold_form(outcome.doc[start:end].text)
        assert verdict != "not in the text"
    total = len(outcome.record.entities) if outcome.record else 0
    assert len(outcome.matches) + len(outcome.lost) == total


@SHORT
@given(content=LINES, text=TEXTS)
def test_reading_twice_changes_nothing(content, text):
    stripped, finished = strip_reasoning(content, text=text)
    assert len(stripped) <= len(content)
    assert finished or len(stripped) < len(content)
    first = parse_answer(content, text=text)
    for entity in first.entities:
        assert entity.text.strip() == entity.text != ""
    kept = [
        one
        for one in first.entities
        # What would be cut anew.
        if not any(sign in "".join(map(str, one)) for sign in ("<", "|", "[", "&"))
    ]
    lines = [" <> ".join([e.text, e.concept, e.description or ""]) for e in kept]
    again = parse_answer("\n".join(lines), text=text).entities
    assert [(e.text, e.concept) for e in again] == [(e.text, e.concept) for e in kept]


@SHORT
@given(content=NOISE, count=st.integers(1, 5), structured=st.booleans())
def test_any_answer_is_shared(content, count, structured):
    answer = Answer(content, "length", prompt_tokens=7, completion_tokens=3)
    shared = share(answer, count, structured=structured)
    assert set(shared) <= set(range(count))
    if shared:
        assert sum(part.prompt_tokens for part in shared.values()) == 7
        assert sum(part.completion_tokens for part in shared.values()) == 3


ENTITIES = st.lists(
    st.tuples(
        st.sampled_from(["Ana Lima", "Lisbon", "AT&T", "3 May"]), st.just("kind")
    ),
    min_size=1,
    max_size=4,
)
AROUND = st.sampled_from(
    [
        ("", ""),
        ("**", "**"),
        ('"', '"'),
        ("- ", ""),
        ("1. ", ""),
        ("<", ">"),
        ("“", "”"),
    ]
    + [("● ", ""), ("", ","), ("", "."), ("Entity: ", ""), ("`", "`"), ("| ", "")]
)


@SHORT
@given(entities=ENTITIES, marks=st.lists(AROUND, min_size=1, max_size=3), text=NOISE)
def test_what_stands_in_the_text_is_found_under_its_marks(entities, marks, text):
    text = f"Ana Lima flew from Lisbon to AT&T on 3 May {text}"
    thought = "<think>\nLisbon <> draft\n</think>\n"
    lines = []
    for words, concept in entities:
        for left, right in marks:
            words = left + words + right
        lines.append(f"{words} <> {concept} <> x")
    parsed = parse_answer(thought + "\n".join(lines), text=text)
    folded = fold_form(text)
    assert len(parsed.entities) == len(entities)
    for found, (words, _) in zip(parsed.entities, entities, strict=True):
        assert words in found.text
        assert fold_form(found.text) in folded


@SHORT
@given(
    entities=ENTITIES,
    before=st.sampled_from(
        ["", "Sure: ", "```json\n", "<think>{}</think>", "[1] {x} "]
    ),
    after=st.sampled_from(["", "\n```", " Done.", "<|im_end|>", " {", "]"]),
    odd=st.lists(
        st.sampled_from(["null", "5", '{"text": 1}', "[]", '"x"']), max_size=2
    ),
)
def test_rows_are_read_whatever_is_around_them(entities, before, after, odd):
    rows = [json.dumps({"text": words, "concept": name}) for words, name in entities]
    content = before + '{"entities": [' + ", ".join(odd + rows) + "]}" + after
    found = read_entities(content)
    assert [(one.text, one.concept) for one in found] == entities
