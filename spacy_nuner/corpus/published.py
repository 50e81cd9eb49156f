"""Rows of every source we know -> records.

Our own JSONL with raw answers or with parsed entities (which is also how Pile-NER,
ProgGen and others are kept), the CSV of numind/NuNER in both splits, and two-column
BIO files. `read_record` is a pure function of its row.
"""

import ast
import json
import re
import warnings
from typing import Any

from ..annotate.parsing import parse_answer
from .records import BadRow, Entity, Loss, Record
from .rows import Row

_TAG = re.compile(r"O|[BI]-\S+")
_BREAKS = str.maketrans("\r\n", "  ")


def read_record(row: Row) -> Record:
    """Interpret a row.

    row (Row): The row as it stands in its file.
    RETURNS (Record): The record. Annotations that can't be read are in `bad`.
    RAISES (BadRow): If nothing in the row can be used.
    """
    if row.problem is not None:
        raise row.problem
    for cell in row.cells:
        _check_bytes(cell)
    readers = {"jsonl": _from_json, "csv": _from_csv, "bio": _from_bio}
    record = readers[row.source.format](row.cells)
    if not record.text.strip():
        raise BadRow("empty text")
    return record


def _check_bytes(cell: str) -> None:
    """Refuse what the reader could not decode."""
    if "\0" in cell or "\udc00" in cell:
        raise BadRow("NUL byte")
    try:
        cell.encode("utf8")
    except UnicodeEncodeError as error:
        byte = ord(cell[error.start]) - 0xDC00
        raise BadRow("not UTF-8", f"byte 0x{byte:02x} at {error.start}") from None


def _from_json(cells: list[str]) -> Record:
    try:
        data = json.loads(cells[0])
    except ValueError as error:
        raise BadRow("malformed JSON", str(error)) from None
    except RecursionError:
        raise BadRow("malformed JSON", "nested too deeply") from None
    if not isinstance(data, dict):
        raise BadRow("not a JSON object")
    text = _string(data, "text")
    if text is None:
        raise BadRow("no text", f"found the keys {sorted(data)}")
    name = data.get("id")
    name = None if name is None else str(name)
    if data.get("entities") is not None:
        if not isinstance(data["entities"], list):
            raise BadRow("'entities' is not a list")
        record = Record(text, [], id=name)
        for value in data["entities"]:
            _add_entity(record, value)
        return record
    answer = _string(data, "answer")
    if answer is None:
        raise BadRow("neither 'answer' nor 'entities'", f"found {sorted(data)}")
    return _from_answer(text, answer, name)


def _string(data: dict[str, Any], key: str) -> str | None:
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRow(f"'{key}' is not a string")
    if value is not None:
        _check_escapes(value)
    return value


def _check_escapes(text: str) -> None:
    """Refuse what JSON and Python can write with an escape but UTF-8 can't hold."""
    if "\0" in text:
        raise BadRow("NUL byte", "as an escape")
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        raise BadRow("half a surrogate pair") from None


def _add_entity(record: Record, value: Any) -> None:
    """Take one object of `entities`, or say in `record.bad` why not."""
    try:
        record.entities.append(_entity(value))
    except BadRow as bad:
        # Escaped, since what is wrong may be that UTF-8 can't hold it.
        record.bad.append(Loss(bad.reason, json.dumps(value)))


def _entity(value: Any) -> Entity:
    if not isinstance(value, dict):
        raise BadRow("entity is not an object")
    text, concept = _string(value, "text"), _string(value, "concept")
    if not text or not text.strip() or not concept or not concept.strip():
        raise BadRow("entity without text or concept")
    start, end = value.get("start"), value.get("end")
    if not (start is None and end is None or type(start) is type(end) is int):
        raise BadRow("offsets are not two numbers")
    return Entity(text, concept, _string(value, "description"), start, end)


def _from_answer(text: str, answer: str, name: str | None = None) -> Record:
    parsed = parse_answer(answer, text=text)
    if not parsed.items and not parsed.bad:
        raise BadRow("empty answer")
    if not parsed.items:
        raise BadRow("no annotation in the answer", parsed.bad[0].reason)
    entities = [Entity(*item) for item in parsed.items]
    bad = [Loss(line.reason, line.line) for line in parsed.bad]
    return Record(text, entities, bad, answer, name)


def _from_csv(cells: list[str]) -> Record:
    """The published set keeps an answer as the literal of the list of its lines."""
    text, literal = cells
    try:
        lines = _literal(literal.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        raise BadRow("list does not parse", detail) from None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadRow("not a list of strings")
    answer = "\n".join(line.translate(_BREAKS) for line in lines)
    _check_escapes(answer)
    return _from_answer(text, answer)


def _literal(text: str) -> Any:
    if "\\" not in text:
        return ast.literal_eval(text)
    with warnings.catch_warnings():
        # A backslash that escapes nothing is kept as it is.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return ast.literal_eval(text)


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
