"""Checked fields of objects; what can't be used raises `BadRow`."""

import json
from typing import Any

from .records import BadRow, Loss, Record

# What the parsers of JSON and of Python literals raise.
NOT_PARSED = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def get_string(data: dict[str, Any], key: str) -> str | None:
    """Get a string that may be missing and that UTF-8 can hold.

    data (dict[str, Any]): The object.
    key (str): The key.
    RETURNS (str | None): Its value.
    RAISES (BadRow): If it is something else.
    """
    value = data.get(key)
    if value is not None and not isinstance(value, str):
        raise BadRow(f"'{key}' is not a string")
    if value is not None:
        check_string(value)
    return value


def get_offsets(data: dict[str, Any]) -> tuple[int | None, int | None]:
    """Get the character offsets of an annotation.

    data (dict[str, Any]): The annotation, with "start" and "end" or neither.
    RETURNS (tuple[int | None, int | None]): The offsets.
    RAISES (BadRow): If there is one alone, or one is no number.
    """
    start, end = data.get("start"), data.get("end")
    if not (start is None and end is None or type(start) is type(end) is int):
        raise BadRow("offsets are not two numbers")
    return start, end


def check_string(text: str) -> None:
    """Refuse what an escape of JSON or Python can write but UTF-8 can't hold.

    text (str): A string out of such a literal.
    RAISES (BadRow): If it holds a NUL or half a surrogate pair.
    """
    if "\0" in text:
        raise BadRow("NUL byte", "as an escape")
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        raise BadRow("half a surrogate pair") from None


def check_bytes(text: str) -> None:
    """Refuse what could not be decoded when the file was read.

    text (str): What was read, with lone surrogates for bytes that are not UTF-8.
    RAISES (BadRow): If it holds a NUL or such a byte.
    """
    if "\0" in text:
        raise BadRow("NUL byte")
    try:
        text.encode("utf8")
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00
        # The CSV reader has this surrogate in place of a NUL byte.
        detail = f"byte 0x{byte:02x} at {error.start}"
        bad = BadRow("not UTF-8", detail) if byte else BadRow("NUL byte")
        raise bad from None


def add_loss(record: Record, bad: BadRow, value: Any) -> None:
    """Add an annotation that can't be read to the losses of its record."""
    # Escaped, since what is wrong may be that UTF-8 can't hold it.
    record.losses.append(Loss(bad.kind, detail=json.dumps(value, default=str)))
