"""Rows of every source we know -> records. `read_record` is a pure function of its row.

Objects, in JSONL, in one JSON list or on the hub: our own with raw answers or parsed
entities (which is also the form of ProgGen and others), the columns of numind/NuNER,
conversations of Pile-NER, and texts with spans.
"""

import ast
import json
import re
import warnings
from typing import Any

from ..concept_names import MAX_NAME
from .answers import BAD_ROW, parse_answer
from .fields import add_loss, check_bytes, check_string, get_offsets, get_string
from .folding import is_blank
from .labelled.spans import read_spans
from .records import BadRow, Entity, Record, Row

_QUESTION = re.compile(r"\s*What describes (.+) in the text\?\s*", re.DOTALL)
_PREFIX = "Text: "
# A list of strings as Python writes it, where nothing in them had to be escaped.
_STRING = r"""(?:'[^'\\\r\n]*'|"[^"\\\r\n]*")"""
_PLAIN_LIST = re.compile(rf"\[(?:{_STRING}(?:, {_STRING})*)?\]")
_PLAIN_STRING = re.compile(_STRING)
_NOT_PARSED = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_BREAKS = str.maketrans("\r\n", "  ")
FORMS = (
    "'answer', 'entities', 'spans' or 'ents' with 'text', 'input' and 'output', or "
    "'conversations'"
)


def read_record(row: Row) -> Record:
    """Interpret a row.

    row (Row): The row.
    RETURNS (Record): The record. Annotations that can't be read are in `losses`.
    RAISES (BadRow): If nothing in the row can be used.
    """
    if row.problem is not None:
        raise row.problem
    if isinstance(row.content, Record):
        record = _checked(row.content)
    elif row.source.format == "csv":
        for cell in row.content:
            check_bytes(cell)
        record = _from_csv(row.content)
    else:
        record = _from_objects([_parse(value) for value in row.content])
    if not record.text.strip():
        raise BadRow("empty text")
    if record.losses:
        where = row.where()
        record.losses = [loss._replace(where=where) for loss in record.losses]
    return record


def _checked(record: Record) -> Record:
    check_bytes(record.text)
    entities, record.entities = record.entities, []
    for entity in entities:
        try:
            check_bytes(entity.concept)
            _check_entity(entity)
            record.entities.append(entity)
        except BadRow as bad:
            add_loss(record, bad, entity.to_json())
    return record


def _check_entity(entity: Entity) -> None:
    """Refuse an annotation that marks or says nothing."""
    named = entity.concept.strip() or (entity.description or "").strip()
    if is_blank(entity.text) or not named:
        raise BadRow("entity without text or concept")


def _parse(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        check_bytes(value)
        try:
            value = json.loads(value)
        except ValueError as error:
            raise BadRow("malformed JSON", str(error)) from None
        except RecursionError:
            raise BadRow("malformed JSON", "nested too deeply") from None
    if not isinstance(value, dict):
        detail = "a list of them has to be a line for each"
        raise BadRow("not a JSON object", detail if isinstance(value, list) else "")
    return value


def _from_objects(objects: list[dict[str, Any]]) -> Record:
    data = objects[0]
    if "conversations" in data:
        record = _from_conversations(objects)
    elif "text" not in data and "input" in data and "output" in data:
        record = _from_csv([get_string(data, key) or "" for key in ("input", "output")])
    else:
        text = get_string(data, "text")
        if text is None:
            raise BadRow("no text", f"found the keys {sorted(data)}")
        record = _from_text(data, text)
    name = data.get("id")
    record.id = None if name is None else str(name)
    return record


def _from_text(data: dict[str, Any], text: str) -> Record:
    entities = data.get("entities")
    if entities is None:
        # Before "answer", which holds the annotator's verdict in files of Prodigy.
        if any(data.get(key) is not None for key in ("spans", "ents", "_task_hash")):
            return read_spans(data, text)
        if data.get("answer") is not None:
            return _from_answer(text, get_string(data, "answer") or "")
        raise BadRow("no annotation", f"found {sorted(data)}, expected {FORMS}")
    if not isinstance(entities, list):
        raise BadRow("'entities' is not a list")
    record = Record(text, [])
    for value in entities:
        try:
            record.entities.append(_get_entity(value))
        except BadRow as bad:
            add_loss(record, bad, value)
    rows = data.get("unreadable")
    for value in rows if isinstance(rows, list) else []:
        add_loss(record, BadRow(BAD_ROW), value)
    return record


def _get_entity(value: Any) -> Entity:
    if not isinstance(value, dict):
        raise BadRow("entity is not an object")
    text, concept, description = (
        get_string(value, key) for key in ("text", "concept", "description")
    )
    concept = concept if concept and concept.strip() else ""
    _check_entity(Entity(text or "", concept, description))
    return Entity(text or "", concept, description, *get_offsets(value))


def _from_answer(text: str, answer: str) -> Record:
    parsed = parse_answer(answer, text=text)
    if not parsed.entities and not parsed.losses:
        raise BadRow("empty answer")
    if not parsed.entities:
        raise BadRow("no annotation in the answer", parsed.losses[0].kind)
    return Record(text, parsed.entities, parsed.losses, answer)


def _from_csv(cells: list[str]) -> Record:
    """The published set keeps an answer as the literal of the list of its lines."""
    text, literal = cells
    try:
        lines = _parse_literal(literal.strip())
    except _NOT_PARSED as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        raise BadRow("list does not parse", detail) from None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadRow("not a list of strings")
    answer = "\n".join(line.translate(_BREAKS) for line in lines)
    check_string(answer)
    return _from_answer(text, answer)


def _from_conversations(objects: list[dict[str, Any]]) -> Record:
    """An empty answer, to a type that is not in the text, is no annotation."""
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
        values = answer if isinstance(answer, list) else _parse_list(answer)
    except BadRow as bad:
        add_loss(record, bad, {asked: answer})
        return
    for value in values:
        try:
            if not isinstance(value, str) or not value.strip():
                raise BadRow("answer is not a list of strings")
            check_string(value)
            record.entities.append(Entity(value, name, definition))
        except BadRow as bad:
            add_loss(record, bad, {asked: value})


def _parse_list(answer: str) -> list[Any]:
    # What a model wrote can be a list of Python in place of one of JSON.
    for parse in (json.loads, _parse_literal):
        try:
            values = parse(answer.strip())
        except _NOT_PARSED:
            continue
        if isinstance(values, list):
            return values
    raise BadRow("answer is not a list")


def _parse_literal(text: str) -> Any:
    """Evaluate a literal of Python. A backslash that escapes nothing stays as it is."""
    # A quarter of the time that the compiler takes.
    if _PLAIN_LIST.fullmatch(text):
        return [string[1:-1] for string in _PLAIN_STRING.findall(text)]
    if "\\" not in text:
        return ast.literal_eval(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return ast.literal_eval(text)
