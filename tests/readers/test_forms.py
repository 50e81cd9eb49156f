"""Rows of every source as records, and rows that are none."""

import json

import pytest
import spacy
from spacy.tokens import DocBin, Span

from spacy_nuner.concept_names import MAX_NAME
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
        ('{"text": "x", "answer": "x, y, z"}', "no annotation in the answer"),
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


TEXT = "Ada met Bo in Rome."
SPANS = [{"start": 0, "end": 3, "label": "PERSON"}]


def read_objects(*objects):
    return read("jsonl", *map(json.dumps, objects))


def refuse_objects(*objects):
    return refused("jsonl", *map(json.dumps, objects))


def talk(*pairs, text=f"Text: {TEXT}", **more):
    turns = [("human", text), ("gpt", "I've read this text.")]
    for asked, answer in pairs:
        turns.append(("human", f"What describes {asked} in the text?"))
        turns.append(("gpt", answer))
    values = [{"from": who, "value": value} for who, value in turns]
    return {"conversations": values, **more}


def test_conversations():
    record = read_objects(
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
    record = read_objects(
        talk(("person", '["Ada"]')), talk(("city", ["Rome"]), ("x", "[]"))
    )
    assert record.entities == [Entity("Ada", "person"), Entity("Rome", "city")]


def test_questions_with_definitions():
    short = "a place where many people live"
    long = "a human being, real or fictional, who is named by a part of a name at least"
    assert len(short) <= MAX_NAME < len(long)
    record = read_objects(talk((short, '["Rome"]'), (long, '["Ada"]')))
    assert record.entities == [Entity("Rome", short), Entity("Ada", "", long)]


def test_answers_that_are_none():
    record = read_objects(
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
    assert refuse_objects(value) == reason


def test_columns_of_the_published_set():
    value = {"input": TEXT, "output": "['Ada <> person', 'Rome <> city <> big']"}
    assert read_objects(value).entities == [
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
    record = read_objects(value)
    assert read_objects(record.to_json()) == record


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
