"""Rows of every source as records, and rows that are none."""

import json

import pytest

from spacy_nuner.readers.forms import read_record
from spacy_nuner.readers.records import BadRow, Entity, Loss, Row, Source
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import find_sources


def read(form, *cells):
    return read_record(Row(Source(None, form), 1, list(cells), 0))


def refused(form, *cells):
    with pytest.raises(BadRow) as info:
        read(form, *cells)
    return info.value.kind


@pytest.mark.parametrize("sep", ["<>", "-|-"])
def test_raw_answers(sep):
    row = {"id": "s-1", "text": "In Lisbon.", "answer": f"Lisbon {sep} city {sep} big"}
    record = read("jsonl", json.dumps(row))
    assert (record.id, record.text, record.answer) == tuple(row.values())
    assert record.entities == [Entity("Lisbon", "city", "big")]
    assert record.losses == []


def test_a_bad_line_leaves_the_others():
    answer = "Lisbon <> city\nThat was all\nPorto <>"
    record = read("jsonl", json.dumps({"text": "x", "answer": answer}))
    assert record.entities == [Entity("Lisbon", "city")]
    assert record.losses == [
        Loss("no separator", "None, line 1", "That was all"),
        Loss("empty concept", "None, line 1", "Porto <>"),
    ]


def test_parsed_entities():
    row = {
        "id": 7,
        "text": "In Lisbon.",
        "entities": [
            {"text": "Lisbon", "concept": "city", "description": "big"},
            {"text": "Lisbon", "concept": "port", "start": 3, "end": 9, "more": 1},
        ],
    }
    record = read("jsonl", json.dumps(row))
    assert record.id == "7"
    assert record.entities == [
        Entity("Lisbon", "city", "big"),
        Entity("Lisbon", "port", None, 3, 9),
    ]
    assert read("jsonl", '{"text": "x", "entities": []}').entities == []


@pytest.mark.parametrize(
    ("entity", "reason"),
    [
        ("Lisbon", "entity is not an object"),
        ({"text": "Lisbon"}, "entity without text or concept"),
        ({"text": "Lisbon", "concept": " "}, "entity without text or concept"),
        ({"text": "", "concept": "city"}, "entity without text or concept"),
        ({"text": 7, "concept": "city"}, "'text' is not a string"),
        ({"text": "x", "concept": ["city"]}, "'concept' is not a string"),
        ({"text": "x", "concept": "y", "start": 3}, "offsets are not two numbers"),
        (
            {"text": "x", "concept": "y", "start": "3", "end": 4},
            "offsets are not two numbers",
        ),
        (
            {"text": "x", "concept": "y", "start": True, "end": True},
            "offsets are not two numbers",
        ),
        ({"text": "\ud83d", "concept": "city"}, "half a surrogate pair"),
        ({"text": "a\0", "concept": "city"}, "NUL byte"),
    ],
)
def test_entities_that_are_none(entity, reason):
    good = {"text": "Lisbon", "concept": "city"}
    line = json.dumps({"text": "In Lisbon.", "entities": [entity, good]})
    record = read("jsonl", line)
    assert record.entities == [Entity("Lisbon", "city")]
    assert [loss.kind for loss in record.losses] == [reason]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "In Lisbon.", "answer": "Lisb', "malformed JSON"),
        ("garbage", "malformed JSON"),
        ("[" * 100_000, "malformed JSON"),
        ('["text"]', "not a JSON object"),
        ('{"answer": "a <> b"}', "no text"),
        ('{"text": null, "answer": "a <> b"}', "no text"),
        ('{"text": 7, "answer": "a <> b"}', "'text' is not a string"),
        ('{"text": " ", "answer": "a <> b"}', "empty text"),
        ('{"text": "x"}', "no annotation"),
        ('{"text": "x", "answer": null}', "no annotation"),
        ('{"text": "x", "answer": ["a <> b"]}', "'answer' is not a string"),
        ('{"text": "x", "entities": {}}', "'entities' is not a list"),
        ('{"text": "x", "answer": ""}', "empty answer"),
        ('{"text": "x", "answer": "\\n```\\n"}', "empty answer"),
        ('{"text": "x", "answer": "x | y | z"}', "no annotation in the answer"),
        ('{"text": "x", "answer": "I can not."}', "no annotation in the answer"),
        ('{"text": "x\0", "answer": "a <> b"}', "NUL byte"),
        ('{"text": "x\\u0000", "answer": "a <> b"}', "NUL byte"),
        ('{"text": "x\\ud83d", "answer": "a <> b"}', "half a surrogate pair"),
        ('{"text": "caf\udce9", "answer": "a <> b"}', "not UTF-8"),
    ],
)
def test_json_rows_that_are_none(line, reason):
    assert refused("jsonl", line) == reason


def test_both_splits_of_the_published_set():
    entity = read("csv", "In Lisbon.", "['Lisbon <> City', '', 'In <> x']")
    assert entity.entities == [Entity("Lisbon", "City"), Entity("In", "x")]
    full = read("csv", "In Lisbon.", '["Lisbon <> City <> It\'s a big\\nplace"]')
    assert full.entities == [Entity("Lisbon", "City", "It's a big place")]
    assert full.losses == []


@pytest.mark.filterwarnings("error")
def test_a_stray_backslash_warns_nobody():
    record = read("csv", "x", r"['C:\data <> folder']")
    assert record.entities == [Entity(r"C:\data", "folder")]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("['Lisbon <> City'", "list does not parse"),
        ("['Lisbon <> City", "list does not parse"),
        ("", "list does not parse"),
        ("Lisbon <> City", "list does not parse"),
        # Nothing is executed.
        ("__import__('os').getcwd()", "list does not parse"),
        ("['a <> b' * 9]", "list does not parse"),
        ("[" * 10_000, "list does not parse"),
        ("'Lisbon <> City'", "not a list of strings"),
        ("{'Lisbon': 'City'}", "not a list of strings"),
        ("[1, 2]", "not a list of strings"),
        ("['Lisbon <> City', None]", "not a list of strings"),
        ("[]", "empty answer"),
        ("['', ' ']", "empty answer"),
        ("['Lisbon']", "no annotation in the answer"),
        (r"['Lisbon\x00 <> City']", "NUL byte"),
        (r"['Lisbon\ud83d <> City']", "half a surrogate pair"),
    ],
)
def test_csv_rows_that_are_none(cell, reason):
    assert refused("csv", "In Lisbon.", cell) == reason


@pytest.mark.parametrize(
    ("name", "sentences", "entities"),
    [
        # Counts of shared data sets as their README gives them.
        ("wnut17/dev.conll", 1009, 836),
        ("bionlp2004/test.conll", 3856, 8662),
        ("mit-restaurant/test.conll", 1521, 3151),
    ],
)
def test_real_bio_files(data, name, sentences, entities):
    (source,) = find_sources([data / name])
    records = [read_record(row) for row in read_rows(source)]
    assert len(records) == sentences
    assert sum(len(record.entities) for record in records) == entities
