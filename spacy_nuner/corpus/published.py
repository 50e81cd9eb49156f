"""Rows of every source we know -> records. `read_record` is a pure function of its row.

Objects, in JSONL, in one JSON list or on the hub: our own with raw answers or parsed
entities (which is also how ProgGen and others are kept), the columns of numind/NuNER,
conversations of Pile-NER, and texts with spans, as Prodigy, spacy-llm and
`Doc.to_json` have them. And two-column BIO files.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from ..annotate.parsing import parse_answer
from .conversations import read_conversations
from .csvrows import NUL
from .fields import add_entity, check_string, get_string, parse_literal
from .plain import read_plain_answer
from .records import BadRow, Entity, Loss, Record, Row
from .spans import read_spans

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
    plain = read_plain_answer(answer, text)
    if plain is not None:
        return Record(text, plain, [], answer)
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
