"""What a model thought before it answered never becomes an annotation."""

import json

import pytest

from spacy_nuner.readers.answers import (
    UNFINISHED,
    Answer,
    Sentence,
    judge,
    parse_answer,
    read_entities,
    share,
    to_record,
)
from spacy_nuner.readers.reasoning import find_answer, strip_reasoning

from ..conftest import one_in

TEXT = "Ana Lima flew from Lisbon to Porto."
GOOD = "Ana Lima <> person <> A traveller.\nLisbon <> city <> A capital."
DRAFT = "Ana Lima <> pilot <> she flew"
WANTED = [("Ana Lima", "person"), ("Lisbon", "city")]
LAYOUTS = [
    "<think>\n{draft}\n</think>\n{good}",
    "<think>{draft}</think>{good}",
    "<THINK>\r\n{draft}\r\n</THINK>\r\n{good}",
    "< think >\n{draft}\n</ think >\n{good}",
    "**<think>**\n{draft}\n**</think>**\n{good}",
    '<thinking time="3 s">\n{draft}\n</thinking>\n{good}',
    "<thought>\n{draft}\n</thought>\n\n{good}",
    "<reasoning>\n{draft}\n</reasoning>\n\n{good}",
    "<reflection>{draft}</reflection>{good}",
    "<scratchpad>\n{draft}\n</scratchpad>\n{good}",
    "<antThinking>{draft}</antThinking>{good}",
    "<seed:think>{draft}</seed:think>{good}",
    "[THINK]{draft}[/THINK]{good}",
    "◁think▷{draft}◁/think▷{good}",
    "&lt;think&gt;\n{draft}\n&lt;/think&gt;\n{good}",
    "<|begin_of_thought|>\n{draft}\n<|end_of_thought|>\n"
    "<|begin_of_solution|>\n{good}\n<|end_of_solution|>",
    "<|START_THINKING|>{draft}<|END_THINKING|><|START_RESPONSE|>{good}<|END_RESPONSE|>",
    "<|channel|>analysis<|message|>{draft}<|end|>"
    "<|start|>assistant<|channel|>final<|message|>{good}<|return|>",
    "<|start|>assistant<|channel|>analysis<|message|>{draft}<|end|><|start|>assistant"
    "<|channel|>final <|constrain|>text<|message|>{good}",
    "analysis<|message|>{draft}<|end|><|start|>assistant<|channel|>final<|message|>"
    "{good}",
    "analysisWe need lines.\n{draft}\nassistantfinal{good}",
    "<|channel>thought\n{draft}\n<channel|>{good}",
    "Thinking...\n{draft}\n...done thinking.\n\n{good}",
    "Here is my thought process:\n{draft}\nHere is my response:\n{good}",
    "Here are my reasoning steps:\n{draft}\n[BEGIN FINAL RESPONSE]\n{good}\n"
    "[END FINAL RESPONSE]",
    "<think>{draft}</think>\n<answer>\n{good}\n</answer>",
    "Let me see:\n{draft}\n<answer>{good}</answer>",
    # The end alone: the beginning was in the prompt.
    "Let me see.\n{draft}\n</think>\n\n{good}",
    "{draft}</think>\n{good}",
    "{draft}\n[/THINK]\n{good}",
    # Nested, twice begun, mentioned, one end too many.
    "<thinking>\n{draft}\n<reflection>\n{draft}\n</reflection>\n{draft}\n</thinking>\n"
    "{good}",
    "<think>a<think>{draft}</think>\n{draft}</think>\n{good}",
    "<think>\n<think>\n{draft}\n</think>\n{good}",
    "<think>I write <think> first.\n{draft}\n</think>\n{good}",
    "<think>{draft}</think>\n{good}\n</think>",
    *("<cot>{draft}</cot>\n{good}", "<plan>\n{draft}\n</plan>\n{good}"),
    # Several.
    "<think>{draft}</think>\nAna Lima <> person <> A traveller.\n<think>\n{draft}\n"
    "</think>\nLisbon <> city <> A capital.",
    "Ana Lima <> person <> A traveller.<think>{draft}</think>\nLisbon <> city <> b",
    # What follows, once the model speaks for others.
    "{good}<|im_end|>\n<|im_start|>user\n{draft}",
    "{good}</s>",
    # A description that mentions a tag.
    "Ana Lima <> person <> Not a <think> at all.\nLisbon <> city <> A </think> tag.",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_drafts_are_left_out(layout):
    content = layout.format(draft=DRAFT, good=GOOD)
    for text in (TEXT, None):
        parsed = parse_answer(content, text=text)
        found = [(one.text, one.concept) for one in parsed.entities]
        assert found == WANTED
    answer = Answer(content, "stop")
    assert judge(answer, text=TEXT, structured=False) == "good"
    record = to_record(Sentence(1, "1", TEXT), answer, structured=False)
    # What is handed on holds no draft, and reads the same.
    assert DRAFT not in record["answer"]
    again = parse_answer(record["answer"], text=TEXT)
    assert [(one.text, one.concept) for one in again.entities] == WANTED


@pytest.mark.parametrize("layout", LAYOUTS[:33])
def test_drafts_in_json_are_left_out(layout):
    def write(*pairs):
        rows = [{"text": words, "concept": concept} for words, concept in pairs]
        return json.dumps({"entities": rows})

    content = layout.format(draft=write(("Ana Lima", "pilot")), good=write(*WANTED))
    found = read_entities(content, text=TEXT)
    assert [(one.text, one.concept) for one in found] == WANTED
    assert judge(Answer(content, "stop"), text=TEXT, structured=True) == "good"


@pytest.mark.parametrize(
    ("content", "entities"),
    [
        (f"<think>\n{DRAFT}\nLisb", []),
        (f"Ana Lima <> person <> x\n<think>\n{DRAFT}", ["Ana Lima"]),
        (f"<|channel|>analysis<|message|>{DRAFT}", []),
        (f"analysisWe need {DRAFT}", []),
        (f"[THINK]{DRAFT}", []),
        (f"<thinking>\n{DRAFT}\n<reflection>\n{DRAFT}\n</reflection>\n{DRAFT}", []),
    ],
)
def test_thoughts_without_an_end_are_an_answer_that_was_cut(content, entities):
    for reason in ("stop", "length", None):
        answer = Answer(content, reason)
        assert judge(answer, text=TEXT, structured=False) == "truncated"
    parsed = parse_answer(content, text=TEXT)
    assert [one.text for one in parsed.entities] == entities
    assert parsed.losses[-1].kind == UNFINISHED
    assert judge(Answer(content, "stop"), text=TEXT, structured=True) == "truncated"


def test_thoughts_alone_are_no_answer():
    answer = Answer(f"<think>{DRAFT}</think>\n", "stop")
    assert judge(answer, text=TEXT, structured=False) == "empty"


@pytest.mark.parametrize(
    ("text", "content", "entities"),
    [
        ("Write <think> and </think>.", "<think> <> tag\n</think> <> tag", None),
        ("Write the <think> tag.", "the <think> tag <> tag <> of HTML", None),
        ("Write the <think> tag.", "`<think>` <> tag", ["<think>"]),
        ("Close it by </think>, Ana.", "Ana <> person\nby </think> <> advice", None),
        (
            "The Analysis was done.",
            "<Analysis> <> <process> <> <thinking>",
            ["Analysis"],
        ),
        ("The Analysis was done.", "[Analysis] <> process", ["Analysis"]),
        ("analysisTool is new.", "analysisTool <> software", None),
        (
            "Write <think> now.",
            "<think>\n<think>? a tag\n</think>\n<think> <> tag",
            None,
        ),
        ("Here is my answer: no.", "Here is my answer <> words", None),
    ],
)
def test_a_tag_of_the_text_is_an_entity(text, content, entities):
    parsed = parse_answer(content, text=text)
    expected = entities or [
        line.split(" <> ")[0] for line in content.split("\n") if " <> " in line
    ]
    assert [one.text for one in parsed.entities] == expected
    assert not parsed.losses


def test_a_tag_in_the_strings_of_json_is_an_entity():
    text = "Write the <think> tag, then </think>."
    row = {"text": "<think>", "concept": "tag", "description": "not </think>"}
    for before in ("", "<think>So the <think> tag.</think>\n", "hm</think>"):
        content = before + json.dumps({"entities": [row]})
        (entity,) = read_entities(content, text=text)
        assert entity.text == "<think>"
        assert entity.description == "not </think>"


def test_an_answer_without_thoughts_stays_as_it_is():
    for content in (GOOD, "", "a < b\n[x] <> y", '{"a": "<b>"}'):
        assert strip_reasoning(content) == (content, True)
        assert find_answer(content).ranges == [(0, len(content))]


def test_sentences_of_a_request_share_no_draft():
    content = f"<think>\n[1]\n{DRAFT}\n[2]\n{DRAFT}\n</think>\n[1]\na <> b\n[2]\nc <> d"
    shared = share(Answer(content, "stop"), 2, structured=False)
    assert {index: one.content for index, one in shared.items()} == {
        0: "a <> b",
        1: "c <> d",
    }
    content = "[1]\na <> b\n<think>\n[2]\nc <> d"
    shared = share(Answer(content, "stop"), 2, structured=False)
    assert list(shared) == [0]
    assert shared[0].finish_reason == "length"


@pytest.mark.parametrize(
    "part",
    one_in(
        3,
        ["<think>", "</think>", "<think>\n", "</think>\n", "a <think> ", "<> <think> "]
        + ["<", "< ", "<|", "[a", "<think ", "&lt;", "<|channel|>analysis", "<answer>"]
        + ["<a:"],
    ),
)
def test_a_megabyte_of_tags_takes_linear_time(part):
    # A quadratic search would not come back.
    content = part * (1_000_000 // len(part))
    strip_reasoning(content, text=TEXT)
