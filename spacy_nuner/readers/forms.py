"""Rows of every source we know -> records. `read_record` is a pure function of its row.

Objects, in JSONL, in one JSON list or on the hub: our own with raw answers or parsed
entities (which is also how ProgGen and others are kept), the columns of numind/NuNER,
conversations of Pile-NER, and texts with spans, as Prodigy, spacy-llm and
`Doc.to_json` have them. And two-column BIO files.
"""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ..concept_names import MAX_NAME
from .answers import parse_answer
from .csv_rows import NUL
from .records import BadRow, Entity, Loss, Record, Row

# A list of strings as Python writes it, where nothing in them had to be escaped.
_STRING = r"""(?:'[^'\\\r\n]*'|"[^"\\\r\n]*")"""
_PLAIN_LIST = re.compile(rf"\[(?:{_STRING}(?:, {_STRING})*)?\]")
_PLAIN_STRING = re.compile(_STRING)


def get_string(data: dict[str, Any], key: str) -> str | None:
    """Take a string that may be missing.

    data (dict[str, Any]): The object.
    key (str): The key.
    RETURNS (str | None): Its value.
    RAISES (BadRow): If it is no string or can't be written as UTF-8.
    """
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRow(f"'{key}' is not a string")
    if value is not None:
        check_string(value)
    return value


def check_string(text: str) -> None:
    """Refuse what JSON and Python can write with an escape but UTF-8 can't hold.

    text (str): A string out of such a literal.
    RAISES (BadRow): If it holds a NUL or half a surrogate pair.
    """
    if "\0" in text:
        raise BadRow("NUL byte", "as an escape")
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        raise BadRow("half a surrogate pair") from None


def get_offsets(data: dict[str, Any]) -> tuple[int | None, int | None]:
    """Take the character offsets of an annotation.

    data (dict[str, Any]): The annotation, with "start" and "end" or neither.
    RETURNS (tuple[int | None, int | None]): The offsets.
    RAISES (BadRow): If there is one alone, or something else in their place.
    """
    start, end = data.get("start"), data.get("end")
    if not (start is None and end is None or type(start) is type(end) is int):
        raise BadRow("offsets are not two numbers")
    return start, end


def parse_literal(text: str) -> Any:
    """Evaluate a literal of Python. A backslash that escapes nothing is kept as it is.

    text (str): The literal.
    RETURNS (Any): Its value.
    RAISES: What `ast.literal_eval` raises.
    """
    # A quarter of the time that the compiler takes.
    if _PLAIN_LIST.fullmatch(text):
        return [string[1:-1] for string in _PLAIN_STRING.findall(text)]
    if "\\" not in text:
        return ast.literal_eval(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return ast.literal_eval(text)


def add_entity(record: Record, value: Any) -> None:
    """Take an annotation of our own form, or say in `record.bad` why not.

    record (Record): Where it goes.
    value (Any): An object with "text", "concept" or "description", and perhaps
        "start" and "end".
    """
    try:
        record.entities.append(_entity(value))
    except BadRow as bad:
        add_loss(record, bad, value)


def add_loss(record: Record, bad: BadRow, value: Any) -> None:
    """Put an annotation that can't be read into `record.bad`.

    record (Record): The record.
    bad (BadRow): Why it can't be read.
    value (Any): What it is.
    """
    # Escaped, since what is wrong may be that UTF-8 can't hold it.
    record.bad.append(Loss(bad.reason, json.dumps(value)))


def _entity(value: Any) -> Entity:
    if not isinstance(value, dict):
        raise BadRow("entity is not an object")
    text, concept = get_string(value, "text"), get_string(value, "concept") or ""
    description = get_string(value, "description")
    named = concept.strip() or (description or "").strip()
    if not text or not text.strip() or not named:
        raise BadRow("entity without text or concept")
    concept = concept if concept.strip() else ""
    return Entity(text, concept, description, *get_offsets(value))


# What an annotator may say of a task in Prodigy, besides "accept".
REFUSALS = {"reject": "rejected by the annotator", "ignore": "ignored by the annotator"}


def read_spans(data: dict[str, Any], text: str) -> Record:
    """Read the spans of a text.

    data (dict[str, Any]): An object with "spans" (a list, or lists by the key of a
        span group), "ents" (a list), or both; a task of Prodigy may have neither. Each
        span has "start", "end" (character
        offsets, end exclusive) and "label", and perhaps a "description".
    text (str): Its text.
    RETURNS (Record): The spans; one that stands under both keys counts once.
    RAISES (BadRow): If the annotator refused the text, or there is no list.
    """
    verdict = data.get("answer")
    if isinstance(verdict, str) and verdict in REFUSALS:
        raise BadRow(REFUSALS[verdict])
    found: dict[Entity, None] = {}
    record = Record(text, [])
    for value in _values(data):
        try:
            found.setdefault(_entity_of_span(value, text))
        except BadRow as bad:
            add_loss(record, bad, value)
    record.entities = list(found)
    return record


def _values(data: dict[str, Any]) -> Iterator[Any]:
    spans, ents = data.get("spans"), data.get("ents")
    groups = list(spans.values()) if isinstance(spans, dict) else [spans]
    for name, group in [*(("spans", one) for one in groups), ("ents", ents)]:
        if isinstance(group, list):
            yield from group
        elif group is not None:
            raise BadRow(f"'{name}' is not a list")


def _entity_of_span(value: Any, text: str) -> Entity:
    if not isinstance(value, dict):
        raise BadRow("span is not an object")
    label = get_string(value, "label")
    if not label or not label.strip():
        raise BadRow("span without a label")
    start, end = get_offsets(value)
    if start is None or end is None or not 0 <= start < end <= len(text):
        raise BadRow("span outside the text")
    description = get_string(value, "description")
    return Entity(text[start:end], label, description, start, end)


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


_TAG = re.compile(r"O|[BI]-\S+")
_BREAKS = str.maketrans("\r\n", "  ")
FORMS = (
    "'answer', 'entities', 'spans' or 'ents' beside 'text', 'input' and 'output', or "
    "'conversations'"
)


def read_record(row: Row) -> Record:
    """Interpret a row.

    row (Row): The row as it stands in its source.
    RETURNS (Record): The record. Annotations that can't be read are in `bad`.
    RAISES (BadRow): If nothing in the row can be used.
    """
    if row.problem is not None:
        raise row.problem
    for cell in row.cells:
        _check_bytes(cell)
    readers = {"csv": _from_csv, "bio": _from_bio}
    record = readers.get(row.source.format, _from_json)(row.cells)
    if not record.text.strip():
        raise BadRow("empty text")
    return record


def _check_bytes(cell: str) -> None:
    """Refuse what the reader could not decode."""
    if "\0" in cell or NUL in cell:
        raise BadRow("NUL byte")
    try:
        cell.encode("utf8")
    except UnicodeEncodeError as error:
        byte = ord(cell[error.start]) - 0xDC00
        raise BadRow("not UTF-8", f"byte 0x{byte:02x} at {error.start}") from None


def _from_json(cells: list[str]) -> Record:
    objects = [_parse(cell) for cell in cells]
    data = objects[0]
    if "conversations" in data:
        record = read_conversations(objects)
    elif "text" not in data and "input" in data and "output" in data:
        record = _from_csv([get_string(data, key) or "" for key in ("input", "output")])
    else:
        text = get_string(data, "text")
        if text is None:
            raise BadRow("no text", f"found the keys {sorted(data)}")
        record = _find_reader(data)(data, text)
    name = data.get("id")
    record.id = None if name is None else str(name)
    return record


def _parse(cell: str) -> dict[str, Any]:
    try:
        data = json.loads(cell)
    except ValueError as error:
        raise BadRow("malformed JSON", str(error)) from None
    except RecursionError:
        raise BadRow("malformed JSON", "nested too deeply") from None
    if not isinstance(data, dict):
        raise BadRow("not a JSON object")
    return data


def _find_reader(data: dict[str, Any]) -> Callable[[dict[str, Any], str], Record]:
    if data.get("entities") is not None:
        return _from_entities
    # Before "answer", which holds the annotator's verdict in files of Prodigy.
    if any(data.get(key) is not None for key in ("spans", "ents", "_task_hash")):
        return read_spans
    if data.get("answer") is not None:
        return _from_answer_key
    raise BadRow("no annotation", f"found {sorted(data)}, expected {FORMS}")


def _from_entities(data: dict[str, Any], text: str) -> Record:
    if not isinstance(data["entities"], list):
        raise BadRow("'entities' is not a list")
    record = Record(text, [])
    for value in data["entities"]:
        add_entity(record, value)
    return record


def _from_answer_key(data: dict[str, Any], text: str) -> Record:
    return _from_answer(text, get_string(data, "answer") or "")


def _from_answer(text: str, answer: str) -> Record:
    parsed = parse_answer(answer, text=text)
    if not parsed.items and not parsed.bad:
        raise BadRow("empty answer")
    if not parsed.items:
        raise BadRow("no annotation in the answer", parsed.bad[0].reason)
    entities = [Entity(*item) for item in parsed.items]
    bad = [Loss(line.reason, line.line) for line in parsed.bad]
    return Record(text, entities, bad, answer)


def _from_csv(cells: list[str]) -> Record:
    """The published set keeps an answer as the literal of the list of its lines."""
    text, literal = cells
    try:
        lines = parse_literal(literal.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        raise BadRow("list does not parse", detail) from None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadRow("not a list of strings")
    answer = "\n".join(line.translate(_BREAKS) for line in lines)
    check_string(answer)
    return _from_answer(text, answer)


def _from_bio(lines: list[str]) -> Record:
    """Tokens joined by blanks; an I- without its B- begins an entity."""
    words: list[str] = []
    found: list[tuple[str, int, int]] = []
    position, last = 0, ""
    for line in lines:
        columns = line.split()
        if len(columns) != 2 or not _TAG.fullmatch(columns[1]):
            raise BadRow("not a token and a BIO tag", line.strip()[:80])
        word, tag = columns
        end = position + len(word)
        label = tag[2:]
        if tag.startswith("I-") and label == last:
            found[-1] = (label, found[-1][1], end)
        elif label:
            found.append((label, position, end))
        words.append(word)
        position, last = end + 1, label
    text = " ".join(words)
    return Record(text, [Entity(text[a:b], name, None, a, b) for name, a, b in found])
