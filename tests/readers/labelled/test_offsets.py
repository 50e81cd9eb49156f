"""Offsets that the words of a span show to be counted in another way."""

import json

import pytest

from spacy_nuner.readers.forms import read_record
from spacy_nuner.readers.labelled.offsets import MAX_COVER
from spacy_nuner.readers.records import Reading, Row, Source

TEXT = "🦊 Zoé met\r\nBo 🎉 in Łódź."
WORDS = ["Zoé", "Bo", "Łódź"]


def exact(words):
    return TEXT.index(words), TEXT.index(words) + len(words)


def utf16(words):
    return tuple(len(TEXT[:i].encode("utf-16-le")) // 2 for i in exact(words))


def utf8(words):
    return tuple(len(TEXT[:i].encode()) for i in exact(words))


def without_returns(words):
    return tuple(len(TEXT[:i].replace("\r", "")) for i in exact(words))


def inclusive(words):
    start, end = exact(words)
    return start, end - 1


def inclusive_utf16(words):
    start, end = utf16(words)
    return start, end - 1


def read(data, *, fix):
    source = Source("x", "jsonl", reading=Reading(fix_offsets=fix))
    return read_record(Row(source, 1, [json.dumps(data)], 0))


def make(form, count):
    found = [(*count(words), words) for words in WORDS]
    spans = [{"start": a, "end": b, "text": w} for a, b, w in found]
    if form == "spans":
        return {"text": TEXT, "spans": [{**one, "label": "X"} for one in spans]}
    if form == "entities":
        return {"text": TEXT, "entities": [{**one, "concept": "X"} for one in spans]}
    if form == "min":
        spans = [{**one, "labels": ["X"]} for one in spans]
        return {"my text": TEXT, "other": "y" * 99, "ner": spans}
    values = [{"value": {**one, "labels": ["X"]}} for one in spans]
    return {"data": {"my text": TEXT}, "annotations": [{"result": values}]}


KINDS = {
    inclusive: "the end belongs to the span",
    utf16: "UTF-16 units are counted",
    utf8: "bytes of UTF-8 are counted",
    inclusive_utf16: "UTF-16 units are counted, and the end belongs to the span",
    without_returns: "carriage returns are not counted",
}


@pytest.mark.parametrize("form", ["spans", "entities", "task", "min"])
@pytest.mark.parametrize("count", KINDS)
def test_what_was_counted_is_told_and_mended_on_request(form, count):
    data = make(form, count)
    record = read(data, fix=False)
    told = f"offsets: {KINDS[count]} (--fix-offsets mends them)"
    wrong = [words for words in WORDS if count(words) != exact(words)]
    assert [loss.kind for loss in record.losses] == [told] * len(wrong)
    assert [one.text for one in record.entities] == [
        words for words in WORDS if words not in wrong
    ]
    record = read(data, fix=True)
    assert record.losses == []
    assert [(e.start, e.end) for e in record.entities] == list(map(exact, WORDS))
    assert record.passed == {f"offsets mended: {KINDS[count]}": len(wrong)}


@pytest.mark.parametrize("form", ["spans", "task", "min"])
@pytest.mark.parametrize("fix", [False, True])
def test_what_holds_something_else_is_never_mended(form, fix):
    record = read(make(form, lambda words: (1, 1 + len(words))), fix=fix)
    assert [loss.kind for loss in record.losses] == ["offsets hold something else"] * 3
    record = read(make(form, exact), fix=fix)
    assert [one.text for one in record.entities] == WORDS and not record.passed


def test_a_span_without_words_is_counted_as_those_with_them():
    data = make("spans", inclusive)
    del data["spans"][2]["text"]
    assert [one.text for one in read(data, fix=True).entities] == WORDS
    assert [one.text for one in read(data, fix=False).entities] == ["Łód"]


def test_tokens_are_the_words_where_spans_have_none():
    """As in Prodigy, here with offsets of a browser."""
    tokens = [{"text": w} for w in ("🦊", "Zoé", "met", "Bo", "🎉", "in", "Łódź", ".")]
    spans = [
        {"start": a, "end": b, "label": "X", "token_start": n, "token_end": n}
        for (a, b), n in zip(map(utf16, WORDS), (1, 3, 6), strict=True)
    ]
    data = {"text": TEXT, "tokens": tokens, "spans": spans}
    told = "offsets: UTF-16 units are counted (--fix-offsets mends them)"
    assert [loss.kind for loss in read(data, fix=False).losses] == [told] * 3
    assert [one.text for one in read(data, fix=True).entities] == WORDS


def test_a_span_that_agrees_with_its_tokens_stays():
    text = "Ana met Bo."
    tokens = [{"text": w} for w in ("Ana", "met", "Bo", ".")]
    spans = [
        {"start": 0, "end": 2, "label": "X", "token_start": 0, "token_end": 0},
        {"start": 8, "end": 10, "label": "X", "token_start": 2, "token_end": 2},
    ]
    data = {"text": text, "tokens": tokens, "spans": spans}
    assert [one.text for one in read(data, fix=True).entities] == ["Ana", "Bo"]


def test_a_span_without_words_may_stand_first():
    data = make("spans", inclusive)
    del data["spans"][0]["text"]
    assert [one.text for one in read(data, fix=True).entities] == WORDS


def test_line_breaks_that_a_tool_wrote_as_blanks_are_no_other_words():
    start = TEXT.index("met")
    for words in ("met Bo", "met\\nBo", "met\nBo"):
        spans = [{"start": start, "end": start + 7, "label": "X", "text": words}]
        (found,) = read({"text": TEXT, "spans": spans}, fix=False).entities
        assert found.text == "met\r\nBo"


def test_spans_over_each_other_are_bounded():
    text = "ab" * 500
    spans = [{"start": 0, "end": 999 - n, "label": "X"} for n in range(300)]
    record = read({"text": text, "spans": spans}, fix=False)
    assert sum(len(one.text) for one in record.entities) <= MAX_COVER * len(text)
    assert {loss.kind for loss in record.losses} == {"too many spans over each other"}
