"""Fields of objects, checked: what every reader of objects and literals needs."""

import json
from typing import Any

from .records import BadRow, Loss, Record


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
        if byte == 0:
            # Stands for a NUL byte in a CSV file.
            raise BadRow("NUL byte") from None
        raise BadRow("not UTF-8", f"byte 0x{byte:02x} at {error.start}") from None


def get_offsets(data: dict[str, Any]) -> tuple[int | None, int | None]:
    """Take the character offsets of an annotation.

    data (dict[str, Any]): The annotation, with "start" and "end" or neither.
    RETURNS (tuple[int | None, int | None]): The offsets.
    RAISES (BadRow): If there is one alone, or one is no number.
    """
    start, end = data.get("start"), data.get("end")
    if not (start is None and end is None or type(start) is type(end) is int):
        raise BadRow("offsets are not two numbers")
    return start, end


def add_loss(record: Record, bad: BadRow, value: Any) -> None:
    """Note an annotation that can't be read.

    record (Record): Where it goes.
    bad (BadRow): Why it can't be read.
    value (Any): What it is.
    """
    # Escaped, since what is wrong may be that UTF-8 can't hold it.
    record.losses.append(Loss(bad.kind, detail=json.dumps(value, default=str)))
