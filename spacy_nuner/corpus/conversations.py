"""Conversations in which a model answers what in a text belongs to a type.

The form of Pile-NER and UniversalNER: a turn with the text, one that confirms it, and
then question and answer by turns: "What describes person in the text?", '["Ada"]'.
In the definition form the question has a definition in place of the type.
"""

import json
import re
from typing import Any

from .clean import MAX_NAME
from .fields import add_loss, check_string, parse_literal
from .records import BadRow, Entity, Record

_QUESTION = re.compile(r"\s*What describes (.+) in the text\?\s*", re.DOTALL)
_PREFIX = "Text: "


def read_conversations(objects: list[dict[str, Any]]) -> Record:
    """Read what was asked and answered about a text.

    objects (list[dict[str, Any]]): Objects with "conversations", all about one text.
    RETURNS (Record): The answers. An empty answer, to a type that is not in the text,
        is no annotation.
    RAISES (BadRow): If there is no text, or no question about it.
    """
    conversations = [_turns(data) for data in objects]
    record = Record(str(conversations[0][0]).removeprefix(_PREFIX), [])
    asked = 0
    for turns in conversations:
        for question, answer in zip(turns[1:], turns[2:], strict=False):
            if found := _QUESTION.fullmatch(str(question)):
                asked += 1
                _add_answer(record, found[1].strip(), answer)
    if not asked:
        raise BadRow("no question in the conversation")
    return record


def _turns(data: dict[str, Any]) -> list[str | list[Any]]:
    turns = data["conversations"]
    if not isinstance(turns, list) or not turns:
        raise BadRow("'conversations' is not a list of turns")
    values: list[str | list[Any]] = []
    for turn in turns:
        value = turn.get("value") if isinstance(turn, dict) else None
        if isinstance(value, str):
            check_string(value)
        elif not isinstance(value, list) or not values:
            raise BadRow("a turn without a text")
        values.append(value)
    return values


def _add_answer(record: Record, asked: str, answer: str | list[Any]) -> None:
    # A definition is too long for a name, but it can stand for one.
    name, definition = (asked, None) if len(asked) <= MAX_NAME else ("", asked)
    try:
        values = _list(answer)
    except BadRow as bad:
        add_loss(record, bad, {asked: answer})
        return
    for value in values:
        try:
            record.entities.append(Entity(_mention(value), name, definition))
        except BadRow as bad:
            add_loss(record, bad, {asked: value})


def _list(answer: str | list[Any]) -> list[Any]:
    if isinstance(answer, list):
        return answer
    # What a model wrote can be a list of Python in place of one of JSON.
    for parse in (json.loads, parse_literal):
        try:
            values = parse(answer.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(values, list):
            return values
    raise BadRow("answer is not a list")


def _mention(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadRow("answer is not a list of strings")
    check_string(value)
    return value
