"""Answers as models write them: what is read, and what is handed back."""

import json

import pytest

from spacy_nuner.readers.answers import (
    AMBIGUOUS,
    BAD_ROW,
    EMPTY_CONCEPT,
    EMPTY_ENTITY,
    NO_SEPARATOR,
    Answer,
    Sentence,
    judge,
    parse_answer,
    read_entities,
    share,
    to_record,
)
from spacy_nuner.readers.forms import read_record
from spacy_nuner.readers.records import Entity, Loss, Row, Source


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


# Answers in JSON

ENTITY = {"text": "Lisbon", "concept": "city", "description": "A large town."}
SENTENCE = Sentence(1, "s1", "Lisbon shines.")


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        ("Lisbon <> city <> A large town.", "good"),
        ("Lisbon -|- city", "good"),
        ("```\nLisbon <> city <> A town.\n```", "good"),
        ("Here they are:\n1. Lisbon <> city <> A town.", "good"),
        ("Lisbon <> city <> A town. <> 0.9", "good"),
        ("I'm sorry, I can't help with that.", "unreadable"),
        ("Yes", "unreadable"),
        ("Here are the entities:", "empty"),
        (" \n", "empty"),
        ("", "empty"),
    ],
)
def test_verdicts_on_lines(content, verdict):
    answer = Answer(content, finish_reason="stop")
    assert judge(answer, text=SENTENCE.text, structured=False) == verdict


def test_verdicts_by_how_the_model_stopped():
    def verdict(**facts):
        answer = Answer("Lisbon <> city", **facts)
        return judge(answer, text=SENTENCE.text, structured=False)

    assert verdict(finish_reason="length") == "truncated"
    assert verdict(finish_reason="content_filter") == "refused"
    assert verdict(refusal="No.", finish_reason="stop") == "refused"
    # Some local servers give no reason.
    assert verdict() == "good"


@pytest.mark.parametrize(
    ("content", "entities", "verdict"),
    [
        (json.dumps({"entities": [ENTITY]}), [ENTITY], "good"),
        ("```json\n" + json.dumps({"entities": [ENTITY]}) + "\n```", [ENTITY], "good"),
        (
            '{"entities": [{"text": "shines", "concept": "b", "more": 1}]}',
            [{"text": "shines", "concept": "b", "description": None}],
            "good",
        ),
        ('{"entities": []}', [], "empty"),
        ('{"entities": [{"text": "a"}]}', None, "unreadable"),
        ('{"entities": ["a"]}', None, "unreadable"),
        ('{"entities": [{"te', None, "unreadable"),
        ('["a"]', None, "unreadable"),
        ("Lisbon <> city", None, "unreadable"),
    ],
)
def test_json(content, entities, verdict):
    found = read_entities(content)
    assert (found and [one.to_json() for one in found]) == entities
    answer = Answer(content, finish_reason="stop")
    assert judge(answer, text=SENTENCE.text, structured=True) == verdict


# JSON with something around it, or odd in itself

ROW = '{"text": "Lisbon", "concept": "city", "description": "x"}'
SECOND = '{"text": "shines", "concept": "action of light"}'
WHOLE = f'{{"entities": [{ROW}, {SECOND}]}}'


@pytest.mark.parametrize(
    "content",
    [
        f"Here is the JSON:\n{WHOLE}",
        f"Sure!\n```json\n{WHOLE}\n```\nDone.",
        f"```python\n{WHOLE}\n```",
        f"As in [1] and {{x}}: {WHOLE}",
        f"{WHOLE}\n\nNote: [2] and {{y}} are left out.",
        f"{WHOLE}<|im_end|>",
        f"{WHOLE}</s>",
        f"\ufeff{WHOLE}\n",
        f"<answer>{WHOLE}</answer>",
        f'<tool_call>{{"name": "f", "arguments": {WHOLE}}}</tool_call>',
        json.dumps(WHOLE),
        f"[{ROW}, {SECOND}]",
        f"{ROW}\n{SECOND}",
        f'{{"entities": [{ROW}]}}\n{{"entities": [{SECOND}]}}',
        f'[{{"entities": [{ROW}]}}, {{"entities": [{SECOND}]}}]',
        f'{{"result": {WHOLE}}}',
        f'{{"results": [{ROW}, {SECOND}]}}',
        '{"city": ["Lisbon"], "action of light": ["shines"]}',
        '{"entities": {"city": "Lisbon", "action of light": ["shines"]}}',
        '{"Entities": [{"Entity": "Lisbon", "Type": "city"}, {"entity": "shines", '
        '"entity_concept": "action of light"}]}',
        '[["Lisbon", "city", "x"], ["shines", "action of light"]]',
        *(
            f'[{{"{text}": "Lisbon", "{concept}": "city"}}, {{"{text}": "shines", '
            f'"{concept}": "action of light"}}]'
            for text, concept in [
                *(("mention", "category"), ("entity_name", "entity_type")),
                *(("word", "entity_group"), ("span", "class"), ("value", "type")),
            ]
        ),
        # Not quite JSON.
        "[{“text”: “Lisbon”, “concept”: “city”}, "
        "{“text”: “shines”, “concept”: “action of light”}]",
        f'{{"entities": [{ROW}, {SECOND},]}}',
        f'{{"entities": [{ROW[:-1]},}}, {SECOND},],}}',
        f'{{"entities": [{ROW}, // the city\n {SECOND}]}}',
        WHOLE.replace('"x"', '"x\ny"'),
        WHOLE.replace('"', "'"),
        WHOLE.replace('"', "'").replace("'x'", "null"),
        # Cut, and odd rows.
        f'{{"entities": [{ROW}, {SECOND}, {{"text": "Li',
        *(
            f'{{"entities": [{ROW}, {odd}, {SECOND}]}}'
            for odd in [
                '{"text": null, "concept": "city"}',
                '{"text": "a", "concept": }',
                '{"text": " ", "concept": "city"}',
                '{"text": "\\ud83d", "concept": "city"}',
                '{"text": "a\\u0000", "concept": "city"}',
                '{"text": ["a"], "concept": "city"}',
                '{"text": "a"}',
                *("{}", "[]", '"x"', "5", "NaN", "null", "[[[]]]"),
            ]
        ),
    ],
)
def test_the_json_in_an_answer_is_read(content):
    answer = Answer(content, finish_reason="stop")
    assert judge(answer, text=SENTENCE.text, structured=True) == "good"
    record = to_record(SENTENCE, answer, structured=True)
    found = [(one["text"], one["concept"]) for one in record["entities"]]
    assert found == [("Lisbon", "city"), ("shines", "action of light")]


def test_rows_that_cannot_be_read_are_handed_on():
    content = f'{{"entities": [{ROW}, {{"text": null, "concept": "\\ud83d"}}, 5]}}'
    record = to_record(SENTENCE, Answer(content), structured=True)
    assert [one["text"] for one in record["entities"]] == ["Lisbon"]
    assert record["unreadable"] == ['{"text": null, "concept": "\\ud83d"}', "5"]
    row = Row(Source("a.jsonl", "jsonl"), 7, [json.dumps(record)], 1)
    losses = read_record(row).losses
    assert [loss.kind for loss in losses] == [BAD_ROW] * 2
    assert losses[0].where == "a.jsonl, line 7"


def test_a_description_that_is_none_costs_no_row():
    for odd in ('["x"]', "5", '{"a": 1}', "null"):
        content = f'[{{"text": "Lisbon", "concept": "city", "description": {odd}}}]'
        assert read_entities(content) == [Entity("Lisbon", "city")]


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        ("[]", "empty"),
        ('{"city": []}', "empty"),
        ("{}", "unreadable"),
        ("null", "unreadable"),
        ('"Lisbon"', "unreadable"),
        ('{"error": "overloaded"}', "unreadable"),
        ('{"entities": null}', "unreadable"),
        ("[[", "unreadable"),
        ("[" * 100_000, "unreadable"),
        ("[" * 3000 + "]" * 3000, "unreadable"),
        ('{"a":' * 100_000, "unreadable"),
        ('{"entities": ' + "[" * 100_000, "unreadable"),
        ("{'a':" * 20_000, "unreadable"),
        ("[" + "1" * 100_000, "unreadable"),
        ("[" + "1" * 100_000 + "]", "unreadable"),
        ('\\"' * 60_000 + "{", "unreadable"),
        ('{"' * 300_000, "unreadable"),
        ('["' * 300_000, "unreadable"),
        ("[[1," * 200_000, "unreadable"),
        ('{"entities": [{"text": "a' * 40_000, "unreadable"),
        (f'{{"entities": [{ROW}, ' + "[" * 100_000, "good"),
        ('{"entities": [' + (ROW + ", ") * 16_000, "good"),
    ],
)
def test_broken_json_ends_soon_and_in_a_verdict(content, verdict):
    answer = Answer(content, finish_reason="stop")
    assert judge(answer, text=SENTENCE.text, structured=True) == verdict
    json.dumps(to_record(SENTENCE, answer, structured=True))
    assert share(answer, 3, structured=True) == {}


# Answers to several sentences


@pytest.mark.parametrize(
    "layout",
    [
        *("[{n}]\n{a}", "[{n}] {a}", "[{n}]:\n{a}", "[{n}].\n{a}", "**[{n}]**\n{a}"),
        *("**[{n}]** {a}", "### [{n}]\n{a}", "- [{n}]\n{a}", "`[{n}]`\n{a}"),
        *("> [{n}]\n{a}", "__[{n}]__\r\n{a}\r", "[{n}]\u200b\n{a}", "[[{n}]]\n{a}"),
        *(
            "\\[{n}\\]\n{a}",
            "[ {n} ]\n{a}",
            "【{n}】\n{a}",
            "［{n}］\n{a}",
            "({n})\n{a}",
        ),
        *(
            "{n}.\n{a}",
            "{n})\n{a}",
            "{n}\n{a}",
            "**{n}.**\n{a}",
            "*{n}*\n{a}",
            "#{n}\n{a}",
        ),
        *(
            "Text {n}:\n{a}",
            "**Text {n}:**\n{a}",
            "[Text {n}]\n{a}",
            "## Text [{n}]\n{a}",
        ),
        *("Sentence #{n}\n{a}", "[No. {n}]\n{a}", "Answer {n}\n{a}", "| [{n}] |\n{a}"),
        *("[{n}/2]\n{a}", "[{n}]\n```\n{a}\n```", "[{n}] The text again.\n{a}"),
        *("{n}\ufe0f\u20e3\n{a}", "---\n[{n}]\n{a}\n"),
        *("[Input {n}]\n{a}", "=== {n} ===\n{a}", "<text_{n}>\n{a}", "Text {n} -\n{a}"),
        *(
            "Texte {n} :\n{a}",
            "文本{n}：\n{a}",
            "Text {n} of 2\n{a}",
            "Passage {n}:\n{a}",
        ),
        *("Entities for [{n}]:\n{a}", "<b>[{n}]</b>\n{a}", "Response [{n}]:\n{a}"),
    ],
)
@pytest.mark.parametrize("digits", ["12", "１２", "١٢"])
def test_marks_around_the_numbers(layout, digits):
    entities = ["Ana <> person <> x", "Porto <> city <> y"]
    pairs = zip(digits, entities, strict=True)
    content = "\n".join(layout.format(n=number, a=words) for number, words in pairs)
    shared = share(Answer(content, "stop", prompt_tokens=3), 2, structured=False)
    found = [parse_answer(shared[index].content).entities for index in (0, 1)]
    assert found == [[Entity("Ana", "person", "x")], [Entity("Porto", "city", "y")]]


def test_numbers_in_another_order_and_again():
    content = "[2]\nc <> d\n[1]\na <> b\n[2]\ne <> f\n[2] <> note"
    shared = share(Answer(content), 2, structured=False)
    assert {index: part.content for index, part in shared.items()} == {
        0: "a <> b",
        1: "c <> d\ne <> f\n[2] <> note",
    }


@pytest.mark.parametrize("content", ["[1" * 100_000, "١" * 5000, "1" * 5000, "No.", ""])
@pytest.mark.parametrize("structured", [True, False])
def test_answers_without_a_number_pass_over_their_sentences(content, structured):
    answer = Answer(content, "stop", prompt_tokens=300, completion_tokens=9)
    assert share(answer, 5, structured=structured) == {}


@pytest.mark.parametrize(
    "content",
    [
        '{"texts": [{"number": 1, "entities": [%s]}, {"number": "2", "entities": []}]}',
        '[{"number": 1, "entities": [%s]}, {"number": 2, "entities": []}]',
        '{"number": 1, "entities": [%s]}\n{"number": 2, "entities": []}',
        '{"1": {"entities": [%s]}, "2": {"entities": []}}',
        '{"texts": {"1": [%s], "2": []}}',
        '```json\n{"texts": [{"number": 1, "entities": [%s]}, {"number": 2, '
        '"entities": []},]}\n```',
        'Sure: {"texts": [{"number": 1, "entities": [%s]}, {"number": 2, '
        '"entities": []}, {"number": 3, "ent',
        '<think>{"texts": [{"number": 1, "entities": []}]}</think>'
        '{"texts": [{"number": 1, "entities": [%s]}, {"number": 2, "entities": []}]}',
    ],
)
def test_json_for_several_sentences(content):
    shared = share(Answer(content % ROW, "stop"), 2, structured=True)
    found = [read_entities(shared[index].content) for index in (0, 1)]
    assert found == [[Entity("Lisbon", "city", "x")], []]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[1]\na <> b\nc <> d\n[2]\ne <> f", {0: "a <> b\nc <> d", 1: "e <> f"}),
        ("[1] a <> b\n[2]: e <> f\n", {0: "a <> b", 1: "e <> f"}),
        ("Sure:\n\n[1]\n\n[2]\ne <> f", {0: "", 1: "e <> f"}),
        ("[2]\ne <> f", {1: "e <> f"}),
        # A number that is the text's own.
        (
            "[1]\n[1] <> note\n[7] <> note\n[2]\nx",
            {0: "[1] <> note\n[7] <> note", 1: "x"},
        ),
        ("a <> b", {}),
        ("", {}),
        # More digits than Python reads.
        (f"[{'1' * 5000}]\n[1]\na <> b", {0: "a <> b"}),
    ],
)
def test_lines_are_shared_by_their_numbers(content, expected):
    answer = Answer(content, prompt_tokens=9, completion_tokens=7)
    shared = share(answer, 2, structured=False)
    assert {index: part.content for index, part in shared.items()} == expected


def test_json_is_shared_by_its_numbers():
    rows = [
        {"number": 2, "entities": [ENTITY]},
        {"number": 1, "entities": []},
        {"number": 3, "entities": []},
        {"number": 3, "entities": [ENTITY]},
        {"number": 9, "entities": []},
        {"entities": []},
        "x",
    ]
    shared = share(Answer(json.dumps({"texts": rows})), 4, structured=True)
    assert sorted(shared) == [0, 1]
    assert read_entities(shared[1].content) == [Entity(**ENTITY)]
    assert share(Answer('{"texts": [{"num'), 4, structured=True) == {}


def test_tokens_are_shared_without_a_rest():
    content = "[1]\na\n[2]\nb\n[3]\nc"
    answer = Answer(content, "length", prompt_tokens=10, completion_tokens=4)
    shared = share(answer, 3, structured=False)
    assert [shared[index].prompt_tokens for index in range(3)] == [4, 3, 3]
    assert [shared[index].completion_tokens for index in range(3)] == [2, 1, 1]
    # Only the last was cut.
    reasons = [shared[index].finish_reason for index in range(3)]
    assert reasons == ["stop", "stop", "length"]


def test_what_was_cut_is_what_was_written_last():
    shared = share(Answer("[2]\nb\n[1]\na", "length"), 2, structured=False)
    assert {i: part.finish_reason for i, part in shared.items()} == {
        0: "length",
        1: "stop",
    }
    # Of JSON a part without its end is none.
    content = '{"texts": [{"number": 1, "entities": []}, {"number": 2, "enti'
    shared = share(Answer(content, "length"), 2, structured=True)
    assert {i: part.finish_reason for i, part in shared.items()} == {0: "stop"}


# Records


def test_records_of_lines_and_of_json():
    answer = Answer("Lisbon <> city")
    assert to_record(SENTENCE, answer, structured=False) == {
        "id": "s1",
        "text": "Lisbon shines.",
        "answer": "Lisbon <> city",
    }
    answer = Answer(json.dumps({"entities": [ENTITY]}))
    assert to_record(SENTENCE, answer, structured=True)["entities"] == [ENTITY]
    assert to_record(SENTENCE, Answer("no"), structured=True)["answer"] == "no"


def test_a_line_that_was_cut_makes_no_concept():
    answer = Answer("Lisbon <> city <> A town.\nTagus <> ri", finish_reason="length")
    record = to_record(SENTENCE, answer, structured=False)
    assert record["answer"] == "Lisbon <> city <> A town."
    answer = Answer("Lisbon <> ci", finish_reason="length")
    assert to_record(SENTENCE, answer, structured=False)["answer"] == ""


def test_a_long_answer_is_read_without_its_text(monkeypatch):
    """Marks are looked up in the text, as long as that is no more than seconds."""
    text, line = 'He read "Dune" at home', '"Dune" <> book'
    kept = parse_answer(line, text=text).entities
    assert [entity.text for entity in kept] == ['"Dune"']
    monkeypatch.setattr("spacy_nuner.readers.folding.MAX_SEARCHED", len(text) * 9)
    for count, expected in ((9, '"Dune"'), (10, "Dune")):
        found = parse_answer("\n".join([line] * count), text=text).entities
        assert [entity.text for entity in found] == [expected] * count
