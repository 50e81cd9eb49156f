"""Answers as models write them: what is read, and what is handed back."""

import json

import pytest

from spacy_nuner.readers.answers import (
    AMBIGUOUS,
    EMPTY_CONCEPT,
    EMPTY_ENTITY,
    NO_SEPARATOR,
    parse_answer,
)
from spacy_nuner.readers.records import Entity, Loss


def pairs(answer, text=None):
    parsed = parse_answer(answer, text=text)
    assert parsed.losses == []
    return [(item.text, item.concept) for item in parsed.entities]


@pytest.mark.parametrize("sep", ["<>", "-|-"])
def test_both_published_formats(sep):
    answer = (
        f"World War II {sep} Historical Event {sep} Events with wide effects.\n"
        f"1939 {sep} Year {sep} A 12-month period."
    )
    assert parse_answer(answer).entities == [
        Entity("World War II", "Historical Event", "Events with wide effects."),
        Entity("1939", "Year", "A 12-month period."),
    ]


def test_recorded_answers_have_no_bad_line(assets):
    lines = [
        json.loads(line)
        for path in sorted((assets / "annotations").glob("*.jsonl"))
        for line in path.read_text(encoding="utf8").splitlines()
    ]
    parsed = [parse_answer(row["answer"], text=row["text"]) for row in lines]
    assert all(one.entities and not one.losses for one in parsed)
    for row, one in zip(lines, parsed, strict=True):
        assert len(one.entities) == row["answer"].count("\n") + 1
        assert all(item.description for item in one.entities)


@pytest.mark.parametrize(
    "answer",
    [
        "Lisbon <> city\nPorto <> town",
        "  Lisbon  <>  city  \r\n\r\n Porto <> town \n",
        "Lisbon<>city\nPorto <>town",
        "Lisbon <> city <>\nPorto <> town <> <>",
        "```\nLisbon <> city\nPorto <> town\n```",
        "```text\nLisbon <> city\nPorto <> town\n```",
        "Sure! Here are the entities:\n\nLisbon <> city\nPorto <> town",
        "1. Lisbon <> city\n2. Porto <> town",
        "(1) Lisbon <> city\n(2) Porto <> town",
        "9) Lisbon <> city\n10) Porto <> town",
        "- Lisbon <> city\n- Porto <> town",
        "• Lisbon <> city\n* Porto <> town",
        "**Lisbon** <> city\n`Porto` <> town",
        '"Lisbon" <> city\n[Porto] <> town',
        '1. "Lisbon" <> city\n2. "Porto" <> town',
        "Entity <> Concept <> Description\n--- <> --- <> ---\nLisbon <> city\n"
        "Porto <> town",
        "entity from the text <> entity concept <> description of entity group/concept"
        "\nLisbon <> city\nPorto <> town",
        "Lisbon -|- city\nPorto <> town",
    ],
)
def test_layouts(answer):
    assert pairs(answer) == [("Lisbon", "city"), ("Porto", "town")]


@pytest.mark.parametrize("answer", ["", " \n\n", "```\n```", "Entities:"])
def test_empty_answer_has_neither_items_nor_bad_lines(answer):
    parsed = parse_answer(answer)
    assert parsed.entities == parsed.losses == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Lisbon | city | settlement", NO_SEPARATOR),
        ("Lisbon - city", NO_SEPARATOR),
        ("Unfortunately, no meaningful entities can be identified.", NO_SEPARATOR),
        ("Lisbon", NO_SEPARATOR),
        ("<> city", EMPTY_ENTITY),
        ("<>", EMPTY_ENTITY),
        ("Lisbon <>", EMPTY_CONCEPT),
        ("Lisbon <> <> settlement", EMPTY_CONCEPT),
        ("Lisbon <> city <> settlement <> 0.98", AMBIGUOUS),
    ],
)
def test_bad_lines_do_not_touch_the_others(line, reason):
    parsed = parse_answer(f"{line}\nPorto <> town")
    assert parsed.losses == [Loss(reason, detail=line)]
    assert parsed.entities == [Entity("Porto", "town", None)]


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        # An extra column: the entity stands in the text as it is.
        (
            "Lisbon <> city <> settlement <> 0.98",
            "In lisbon.",
            Entity("Lisbon", "city", "settlement"),
        ),
        # The entity holds the separator.
        (
            "a <> b <> comparison <> SQL operation",
            "Write a <> b here.",
            Entity("a <> b", "comparison", "SQL operation"),
        ),
        ("<> <> operator", "Use <> here.", Entity("<>", "operator", None)),
        ("a<>b <> comparison", "Write a<>b here.", Entity("a<>b", "comparison", None)),
        (
            "x <> y -|- comparison -|- d",
            "x <> y",
            Entity("x <> y", "comparison", "d"),
        ),
        # Numbers, bullets and quotes that are the text's own.
        ("1. FC Köln <> club", "1. FC Köln won.", Entity("1. FC Köln", "club", None)),
        ("1. FC Köln <> club", "The FC Köln won.", Entity("FC Köln", "club", None)),
        ('"Heat" <> film', 'We saw "Heat".', Entity('"Heat"', "film", None)),
        ('"Heat" <> film', "We saw Heat.", Entity("Heat", "film", None)),
    ],
)
def test_the_text_settles_what_is_open(line, text, expected):
    parsed = parse_answer(line, text=text)
    assert parsed.losses == []
    assert parsed.entities == [expected]


def test_a_number_is_kept_where_the_lines_are_no_numbered_list():
    answer = "3. Liga <> league\n1. FC Köln <> club\nBonn <> city"
    assert [text for text, _ in pairs(answer)] == ["3. Liga", "1. FC Köln", "Bonn"]


def test_a_description_may_hold_the_bare_separator():
    item = parse_answer("!= <> operator <> the same as <>, not equal").entities[0]
    assert item == Entity("!=", "operator", "the same as <>, not equal")


def test_a_long_answer_takes_linear_time():
    # 20,000 separators in one line: a quadratic split would not come back.
    parsed = parse_answer("a <> " * 20_000 + "b", text="a b")
    assert parsed.entities == [Entity("a", "a", "a")]
