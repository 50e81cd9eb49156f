"""Objects of one long JSON list, such as the published files of Pile-NER."""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from .fields import check_bytes
from .records import HEAD, MAX_ROW, BadRow, Row, Source, too_long

BLOCK = 1 << 20
# An object that does not end within so many characters is taken for broken.
MAX_OBJECT = 1 << 24


def read_json_list(source: Source, file: BinaryIO) -> Iterator[Row]:
    """Read the objects of a list one after another.

    Conversations about the same text that follow each other become one row: some
    sets ask each question in a conversation of its own.

    source (Source): The file.
    file (BinaryIO): The open file.
    YIELDS (Row): Its objects, with their numbers for lines.
    """
    row: Row | None = None
    about: str | None = None
    for number, (text, value, problem) in enumerate(_objects(file), 1):
        size = len(text.encode("utf8", "surrogateescape"))
        problem = problem or _find_problem(text, size)
        topic = None if problem else _topic(value)
        if row is not None and topic is not None and topic == about:
            row.content.append(value)  # type: ignore[union-attr]
            row.size += size
            continue
        if row is not None:
            yield row
        content = [text[:HEAD] if problem else value]
        row = Row(source, number, content, size, problem)
        about = topic
    if row is not None:
        yield row


def _find_problem(text: str, size: int) -> BadRow | None:
    if size > MAX_ROW:
        return too_long(size)
    try:
        check_bytes(text)
    except BadRow as bad:
        return bad
    return None


def _topic(value: Any) -> str | None:
    """The first turn of a conversation."""
    try:
        topic = value["conversations"][0]["value"]
    except (TypeError, KeyError, IndexError):
        return None
    return topic if isinstance(topic, str) else None


@dataclass
class _Buffer:
    """What was read of a file and not yet decoded."""

    file: BinaryIO
    text: str = ""
    position: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def grow(self) -> None:
        # As much again as there is, so that a long object is not tried too often.
        rest = self.text[self.position :]
        block = self.file.read(max(BLOCK, len(rest)))
        self.ended = not block
        self.text = rest + self._decoder.decode(block, final=self.ended)
        self.position = 0

    def peek(self) -> str:
        """The next character that is not blank; "" at the end."""
        while True:
            while self.position < len(self.text):
                char = self.text[self.position]
                if not char.isspace() and char != "\ufeff":
                    return char
                self.position += 1
            if self.ended:
                return ""
            self.grow()


def _objects(file: BinaryIO) -> Iterator[tuple[str, Any, BadRow | None]]:
    buffer = _Buffer(file)
    before = "["
    while (char := buffer.peek()) == before:
        buffer.position += 1
        if before == "[" and buffer.peek() == "]":
            return
        text, value, problem = _decode(buffer)
        yield text, value, problem
        if problem is not None:
            return
        before = ","
    if char != "]":
        yield _broken(buffer, f"found {char!r} where {before!r} or the end belongs")


def _decode(buffer: _Buffer) -> tuple[str, Any, BadRow | None]:
    decoder = json.JSONDecoder()
    buffer.peek()
    while True:
        try:
            value, end = decoder.raw_decode(buffer.text, buffer.position)
        except (ValueError, RecursionError) as error:
            if buffer.ended or len(buffer.text) - buffer.position > MAX_OBJECT:
                return _broken(buffer, str(error))
            # Perhaps the object goes on behind what was read.
            buffer.grow()
        else:
            text = buffer.text[buffer.position : end]
            buffer.position = end
            return text, value, None


def _broken(buffer: _Buffer, reason: str) -> tuple[str, None, BadRow]:
    detail = f"{reason}; nothing behind this was read"
    text = buffer.text[buffer.position : buffer.position + HEAD]
    return text, None, BadRow("malformed JSON", detail)
