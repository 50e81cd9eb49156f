"""Texts with spans, as Prodigy, spacy-llm and `Doc.to_json` have them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from ..fields import add_loss, get_string
from ..records import BadRow, Entity, Reading, Record
from .annotators import (
    BINARY,
    IGNORED,
    OTHER_TASK,
    PREDICTED,
    REJECTED,
    check_annotator,
)
from .offsets import Offsets
from .tokens import Tokens, place_words

# What an annotator may say of a task in Prodigy.
ACCEPT = "accept"
REFUSALS = {"reject": REJECTED, "ignore": IGNORED}
# Its interfaces in which spans are marked; "blocks" may hold one of these.
INTERFACES = {"ner", "ner_manual", "spans", "spans_manual", "relations", "blocks"}
REJECTED_SPAN = "rejected span"


def is_prodigy(data: dict[str, Any]) -> bool:
    """Tell a task of Prodigy, which need not have spans."""
    verdict = data.get("answer")
    judged = isinstance(verdict, str) and (verdict == ACCEPT or verdict in REFUSALS)
    return "text" in data and (judged or "_task_hash" in data or "_input_hash" in data)


def has_spans(data: dict[str, Any]) -> bool:
    """Tell a text with spans."""
    return "text" in data and ("spans" in data or "ents" in data)


def read_spans(data: dict[str, Any], reading: Reading) -> Record:
    """Read the spans of a text.

    data (dict[str, Any]): An object with "spans" (a list, or lists by the key of a
        span group), "ents" (a list), or both; a task of Prodigy may have neither. Each
        span has "start", "end" (character offsets, end exclusive) and "label", and
        perhaps "text" and a "description". The tokens of "tokens" are taken if they
        fit the text.
    reading (Reading): What to take. The spans of a task of `suggest` for Prodigy that
        has no verdict are predictions.
    RETURNS (Record): The spans; one that is in several groups counts once.
    RAISES (BadRow): If the annotator refused the text, has not seen it or judged a
        single suggestion, the task is none for spans, or there is no list.
    """
    text = get_string(data, "text")
    if text is None:
        raise BadRow("no text", f"found the keys {sorted(data)}")
    verdict = data.get("answer")
    if isinstance(verdict, str) and verdict in REFUSALS:
        raise BadRow(REFUSALS[verdict], text=text)
    if not reading.predictions and _is_suggested(data):
        raise BadRow(PREDICTED)
    _check_task(data, text)
    check_annotator(data, reading)
    record = Record(text, [])
    tokens = _find_tokens(data, record)
    offsets = Offsets(text, fix=reading.fix_offsets)
    found: dict[Entity, int] = {}
    values = _leave_out_rejected(list(_values(data)), record)
    for _, value in values if reading.fix_offsets else ():
        # What is wrong with one is said when it is read.
        with contextlib.suppress(BadRow):
            if isinstance(value, dict):
                words = _find_words(value, offsets, tokens)
                offsets.observe(value.get("start"), value.get("end"), words)
    for group, value in values:
        try:
            entity = _entity_of_span(value, offsets, tokens)
        except BadRow as bad:
            add_loss(record, bad, value)
        else:
            # Twice in one group is a loss to count.
            if found.setdefault(entity, group) == group:
                record.entities.append(entity)
    record.passed += offsets.passed
    return record


def _check_task(data: dict[str, Any], text: str) -> None:
    """Refuse tasks of Prodigy that say nothing of the other words of the text."""
    if data.get("_is_binary") is True:
        raise BadRow(BINARY, text=text)
    view = data.get("_view_id")
    if isinstance(view, str) and view not in INTERFACES and "spans" not in data:
        raise BadRow(OTHER_TASK, view, text=text)


def _is_suggested(data: dict[str, Any]) -> bool:
    """Tell a task that `suggest` or `review` wrote for Prodigy and nobody has seen."""
    meta = data.get("meta")
    return (
        "answer" not in data
        and "tokens" in data
        and isinstance(meta, dict)
        and "reason" in meta
    )


def _leave_out_rejected(
    values: list[tuple[int, Any]], record: Record
) -> list[tuple[int, Any]]:
    """Leave out spans that the annotator refused one by one."""
    accepted = [
        (group, value)
        for group, value in values
        if not isinstance(value, dict) or value.get("answer") != "reject"
    ]
    if rejected := len(values) - len(accepted):
        record.passed[REJECTED_SPAN] += rejected
    return accepted


def _values(data: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    spans, ents = data.get("spans"), data.get("ents")
    groups = list(spans.values()) if isinstance(spans, dict) else [spans]
    named = [*(("spans", one) for one in groups), ("ents", ents)]
    for number, (name, group) in enumerate(named):
        if isinstance(group, list):
            for value in group:
                yield number, value
        elif group is not None:
            raise BadRow(f"'{name}' is not a list")


def _entity_of_span(value: Any, offsets: Offsets, tokens: Tokens | None) -> Entity:
    if isinstance(value, list) and len(value) == 3:
        return offsets.make_entity(*value)
    if not isinstance(value, dict):
        raise BadRow("span is not an object")
    return offsets.make_entity(
        value.get("start"),
        value.get("end"),
        get_string(value, "label"),
        words=_find_words(value, offsets, tokens),
        description=get_string(value, "description"),
    )


def _find_words(
    value: dict[str, Any], offsets: Offsets, tokens: Tokens | None
) -> str | None:
    """The words of a span: those that stand in it, or those of its tokens."""
    words = get_string(value, "text")
    if words is not None or tokens is None or "token_start" not in value:
        return words
    try:
        found = tokens.find_range(value["token_start"], value.get("token_end"))
    except BadRow:
        return None
    return offsets.text[slice(*found)]


def _find_tokens(data: dict[str, Any], record: Record) -> Tokens | None:
    """Give the record the tokens of the row, if it has some that fit its text."""
    values = data.get("tokens")
    if not isinstance(values, list) or not values:
        return None
    tokens = place_words((_word(value, record.text) for value in values), record.text)
    if tokens is None:
        record.passed["tokens that do not fit the text"] += 1
    else:
        tokens.set_words(record)
    return tokens


def _word(value: Any, text: str) -> Any:
    if not isinstance(value, dict):
        return value
    start, end = value.get("start"), value.get("end")
    if "text" in value or type(start) is not int or type(end) is not int:
        return value.get("text")
    # `Doc.to_json` leaves the words of its tokens to the text.
    return text[start:end] or None
