"""JSON of any shape becomes an answer that the store can hold, or the one error."""

import json
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_nuner.annotate.responses import (
    MOST_TOKENS,
    Failure,
    MalformedAnswer,
    find_message,
    read_body,
    read_completion,
    read_count,
    read_outcome,
    read_response,
)
from spacy_nuner.readers.answers import Answer, judge


def completion(**message):
    return {"choices": [{"message": message, "finish_reason": "stop"}]}


def test_a_completion_with_everything():
    data = completion(role="assistant", content="x") | {
        "model": "m-2026",
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    assert read_completion(data, latency=0.5) == Answer(
        content="x",
        finish_reason="stop",
        served="m-2026",
        prompt_tokens=3,
        completion_tokens=1,
        latency=0.5,
    )


def test_a_response_with_everything():
    parts = [{"type": "output_text", "text": "x"}, {"type": "output_text", "text": "y"}]
    data = {
        "status": "completed",
        "model": "m-2026",
        "output": [
            {"type": "reasoning", "content": [{"type": "output_text", "text": "no"}]},
            {"type": "message", "content": parts},
        ],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    assert read_response(data, latency=0.5) == Answer(
        content="xy",
        finish_reason="stop",
        served="m-2026",
        prompt_tokens=3,
        completion_tokens=1,
        latency=0.5,
    )


@pytest.mark.parametrize("message", [{}, {"content": None}, {"content": ""}])
def test_a_completion_without_words(message):
    assert read_completion(completion(**message) | {"usage": None}).content == ""


@pytest.mark.parametrize(
    "data",
    [None, [], "x", 3, {}, {"choices": []}, {"choices": [{}]}, {"choices": None}]
    + [{"choices": [{"message": None}]}, {"error": {"message": "no"}}],
)
def test_what_is_neither(data):
    for read in (read_completion, read_response):
        with pytest.raises(MalformedAnswer):
            read(data)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *(
            (value, None)
            for value in (None, True, [], {}, "many", "", -1, float("nan"))
        ),
        *((value, None) for value in (float("inf"), 10**400, MOST_TOKENS, "-3")),
        *((0, 0), (7, 7), (7.0, 7), ("7", 7), ("7.0", 7), (" 7 ", 7)),
    ],
)
def test_counts_of_tokens(given, expected):
    assert read_count(given) == expected


def test_words_of_a_filter_that_were_not_refused_for_it():
    """Only where the error itself says so."""
    for status, error in (
        (400, {"code": "unknown_parameter", "param": "safety_identifier"}),
        (400, {"message": "'content_filter' is no such parameter", "code": "x"}),
        (500, {"code": "content_filter_error"}),
        (429, {"message": "too fast, see our content policy"}),
        (401, {"message": "The account was flagged for violating usage policies"}),
        (403, {"code": "account_deactivated", "message": "flagged"}),
    ):
        outcome = read_outcome(status, {"error": error})
        assert isinstance(outcome, Failure), error
        assert outcome.kind == f"http {status}"


# Any JSON, halves of surrogate pairs among its strings, with the keys that are read.

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
NAMES = st.sampled_from(
    ["choices", "message", "content", "text", "type", "refusal", "finish_reason"]
    + ["usage", "prompt_tokens", "input_tokens", "completion_tokens", "model", "error"]
    + ["code", "output", "status", "incomplete_details", "reason", "detail", "loc"]
    + ["msg", "value", "innererror", "errors", "promptFeedback", "blockReason"]
)
WORDS = st.sampled_from(
    ["message", "text", "output_text", "refusal", "reasoning", "completed"]
    + ["incomplete", "failed", "stop", "length", "SAFETY", "content_filter"]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | WORDS
) | st.sampled_from([2**63, -(2**63), 10**400, "9" * 5000, float("nan"), "\ud800"])
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | TEXTS, inner, max_size=5)
    ),
    max_leaves=25,
)


def check(answer):
    """The store can hold it, and it can be judged."""
    database = sqlite3.connect(":memory:")
    values = list(vars(answer).values())
    row = database.execute(f"SELECT {', '.join('?' * len(values))}", values).fetchone()
    database.close()
    assert list(row) == values
    assert isinstance(answer.content, str)
    json.dumps(vars(answer), ensure_ascii=False).encode()
    judge(answer, text="Ana", structured=False)


def around(inner):
    """JSON as it comes, and where an answer would be."""
    one = st.fixed_dictionaries({}, optional={"message": inner, "finish_reason": inner})
    item = st.fixed_dictionaries({"type": WORDS, "content": inner})
    more = {"usage": inner, "model": inner, "error": inner}
    return (
        inner
        | st.fixed_dictionaries({"choices": st.lists(one, max_size=2)}, optional=more)
        | st.fixed_dictionaries(
            {"output": st.lists(item, max_size=3)},
            optional=more | {"status": WORDS, "incomplete_details": inner},
        )
    )


@settings(max_examples=400, deadline=None)
@given(data=around(JSON))
def test_any_json(data):
    for read in (read_completion, read_response):
        try:
            check(read(data))
        except MalformedAnswer as error:
            assert str(error)


@settings(max_examples=400, deadline=None)
@given(
    status=st.none() | st.sampled_from([200, 202, 301, 400, 403, 500, 999, 0]),
    data=around(JSON),
    api=st.sampled_from(["chat", "responses"]),
)
def test_any_response(status, data, api):
    outcome = read_outcome(status, data, api=api)
    if isinstance(outcome, Answer):
        check(outcome)
    else:
        assert all(isinstance(part, str) for part in outcome)
        assert outcome.kind
        assert outcome.reason
        assert "\n" not in outcome.reason
        outcome.reason.encode()
    assert find_message(status, data)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | around(JSON).map(lambda data: json.dumps(data).encode()[:-1])
    | st.integers(0, 3000).map(lambda depth: b"[" * depth + b"]" * depth)
    | st.integers(0, 3000).map(
        lambda depth: b'{"choices":' * depth + b"1" + b"}" * depth
    )
)
def test_any_bytes(content):
    data = read_body(content)
    for status in (200, 500):
        outcome = read_outcome(status, data)
        if isinstance(outcome, Answer):
            check(outcome)
