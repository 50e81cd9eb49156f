"""Values out of JSON objects that other programs wrote, checked one by one."""

import ast
import json
import re
import warnings
from typing import Any

from .records import BadRow, Entity, Loss, Record

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
