"""Texts with spans, as Prodigy, spacy-llm and `Doc.to_json` have them."""

import json

import pytest

from spacy_nuner.readers.forms import read_record
from spacy_nuner.readers.records import BadRow, Entity, Row, Source

TEXT = "Ada met Bo in Rome."


def read(data):
    return read_record(Row(Source("x", "jsonl"), 1, [json.dumps(data)], 0))


def refused(data):
    with pytest.raises(BadRow) as info:
        read(data)
    return info.value.kind


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


def test_what_a_task_of_prodigy_leaves_open():
    task = {"text": TEXT, "spans": SPANS[:1], "answer": "accept"}
    # In one suggestion was judged, and the others were not asked about.
    binary = "one suggestion was judged, not the whole text"
    assert refused({**task, "_view_id": "ner", "_is_binary": True}) == binary
    assert read({**task, "_view_id": "ner", "_is_binary": False}).entities
    # That a text is of a class says nothing of its names.
    for view in ("choice", "classification"):
        other = {"text": TEXT, "answer": "accept", "_view_id": view}
        assert refused(other) == "a task of another kind, without spans"
    assert read({**task, "_view_id": "blocks"}).entities == ENTITIES[:1]
    spans = [SPANS[0], {**SPANS[1], "answer": "reject"}]
    record = read({**task, "spans": spans})
    assert record.entities == ENTITIES[:1] and record.passed == {"rejected span": 1}


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
