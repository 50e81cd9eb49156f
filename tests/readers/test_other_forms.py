"""Conversations, texts with spans and DocBins as records."""

import json

import pytest
import spacy
from spacy.tokens import DocBin, Span

from spacy_nuner.concept_names import MAX_NAME
from spacy_nuner.readers.forms import read_record
from spacy_nuner.readers.records import BadRow, Entity, Row, Source
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import find_sources

TEXT = "Ada met Bo in Rome."


def read(*objects):
    cells = [json.dumps(one) for one in objects]
    return read_record(Row(Source("x", "jsonl"), 1, cells, 0))


def refused(*objects):
    with pytest.raises(BadRow) as info:
        read(*objects)
    return info.value.kind


def talk(*pairs, text=f"Text: {TEXT}", **more):
    turns = [("human", text), ("gpt", "I've read this text.")]
    for asked, answer in pairs:
        turns.append(("human", f"What describes {asked} in the text?"))
        turns.append(("gpt", answer))
    values = [{"from": who, "value": value} for who, value in turns]
    return {"conversations": values, **more}


def test_conversations():
    record = read(
        talk(
            ("person", '["Ada", "Bo"]'),
            ("city", "['Rome']"),
            ("date", "[]"),
            ("what in the text? is", '["met"]'),
            id="ner_7",
        )
    )
    assert (record.id, record.text) == ("ner_7", TEXT)
    assert record.entities == [
        Entity("Ada", "person"),
        Entity("Bo", "person"),
        Entity("Rome", "city"),
        Entity("met", "what in the text? is"),
    ]
    assert record.losses == []


def test_several_conversations_about_one_text():
    record = read(talk(("person", '["Ada"]')), talk(("city", ["Rome"]), ("x", "[]")))
    assert record.entities == [Entity("Ada", "person"), Entity("Rome", "city")]


def test_questions_with_definitions():
    short = "a place where many people live"
    long = "a human being, real or fictional, who is named by a part of a name at least"
    assert len(short) <= MAX_NAME < len(long)
    record = read(talk((short, '["Rome"]'), (long, '["Ada"]')))
    assert record.entities == [Entity("Rome", short), Entity("Ada", "", long)]


def test_answers_that_are_none():
    record = read(
        talk(
            ("person", "Ada"),
            ("city", '["Rome", 7, null, ""]'),
            ("date", '{"a": 1}'),
            ("x", r'["\ud83d", "a\u0000"]'),
        )
    )
    assert record.entities == [Entity("Rome", "city")]
    assert [loss.kind for loss in record.losses] == [
        "answer is not a list",
        *["answer is not a list of strings"] * 3,
        "answer is not a list",
        "half a surrogate pair",
        "NUL byte",
    ]
    assert json.loads(record.losses[0].detail) == {"person": "Ada"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"conversations": {}}, "'conversations' is not a list of turns"),
        ({"conversations": []}, "'conversations' is not a list of turns"),
        ({"conversations": ["x"]}, "a turn without a text"),
        ({"conversations": [{"value": ["x"]}]}, "a turn without a text"),
        ({"conversations": [{"value": "x"}, {"from": "gpt"}]}, "a turn without a text"),
        (talk(), "no question in the conversation"),
        (talk(("person", "[]"), text="Text: "), "empty text"),
    ],
)
def test_conversations_that_are_none(value, reason):
    assert refused(value) == reason


SPANS = [
    {"start": 0, "end": 3, "label": "PERSON", "token_start": 0, "token_end": 0},
    {"start": 14, "end": 18, "label": "CITY", "description": "a place"},
]
ENTITIES = [
    Entity("Ada", "PERSON", None, 0, 3),
    Entity("Rome", "CITY", "a place", 14, 18),
]


@pytest.mark.parametrize(
    "value",
    [
        {"spans": SPANS, "answer": "accept", "_task_hash": 7},
        {"ents": SPANS},
        {"spans": {"sc": SPANS}, "ents": SPANS[:1]},
        {"spans": {"a": SPANS[:1], "b": SPANS[1:]}, "ents": []},
    ],
)
def test_texts_with_spans(value):
    assert read({"text": TEXT, **value}).entities == ENTITIES


def test_what_an_annotator_refused():
    assert read({"text": TEXT, "answer": "accept", "_task_hash": 7}).entities == []
    for verdict, reason in (("reject", "rejected"), ("ignore", "ignored")):
        value = {"text": TEXT, "spans": SPANS, "answer": verdict}
        assert refused(value) == f"{reason} by the annotator"


def test_spans_that_are_none():
    spans = [
        SPANS[0],
        "Ada",
        {"start": 0, "end": 3},
        {"start": 0, "end": 3, "label": 7},
        {"start": 0, "end": 99, "label": "X"},
        {"start": 3, "end": 3, "label": "X"},
        {"start": 3, "end": 4, "label": "X"},
        {"start": -1, "end": 3, "label": "X"},
        {"label": "X"},
        {"start": "0", "end": 3, "label": "X"},
    ]
    record = read({"text": TEXT, "spans": spans})
    assert record.entities == ENTITIES[:1]
    assert [loss.kind for loss in record.losses] == [
        "span is not an object",
        "span without a label",
        "'label' is not a string",
        *["span outside the text"] * 2,
        "span of blanks alone",
        *["span outside the text"] * 2,
        "offsets are not two numbers",
    ]
    assert refused({"text": TEXT, "spans": 7}) == "'spans' is not a list"
    assert refused({"text": TEXT, "ents": "x"}) == "'ents' is not a list"


def test_columns_of_the_published_set():
    value = {"input": TEXT, "output": "['Ada <> person', 'Rome <> city <> big']"}
    assert read(value).entities == [
        Entity("Ada", "person"),
        Entity("Rome", "city", "big"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        {"id": "7", "text": TEXT, "answer": "Ada <> person <> x\nnonsense"},
        {"text": TEXT, "spans": SPANS},
        talk(("person", '["Ada"]'), ("x" * 99, '["Bo"]')),
        {"text": TEXT, "entities": []},
        {"input": TEXT, "output": "['Ada <> person', 'Rome', '']"},
    ],
)
def test_a_record_comes_back_from_its_json(value):
    record = read(value)
    assert read(record.to_json()) == record


def test_a_docbin(tmp_path):
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(TEXT), nlp.make_doc("Nothing  here.")]
    docs[0].spans["concepts"] = [
        Span(docs[0], 0, 1, "person"),
        Span(docs[0], 0, 3, "meeting"),
    ]
    docs[0].spans["concepts"].attrs["descriptions"] = {"person": "a human being"}
    docs[0].spans["other"] = [Span(docs[0], 0, 1, "person")]
    docs[0].ents = [Span(docs[0], 0, 1, "person"), Span(docs[0], 4, 5, "GPE")]
    path = tmp_path / "a.spacy"
    DocBin(docs=docs).to_disk(path)
    (source,) = find_sources([path])
    first, second = map(read_record, read_rows(source))
    assert first.entities == [
        Entity("Ada", "person", "a human being", 0, 3),
        Entity("Ada met Bo", "meeting", None, 0, 10),
        Entity("Rome", "GPE", None, 14, 18),
    ]
    assert (second.text, second.entities) == ("Nothing  here.", [])
