"""Objects of one long JSON list, or one after another, of any length and layout."""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from .fields import check_bytes
from .labelled.spacy2 import cut_document
from .records import HEAD, MAX_ROW, BadRow, Row, Source, too_long

BLOCK = 1 << 20
# An object that does not end within so many characters is taken for broken, if the
# reader says nothing else.
MAX_OBJECT = 1 << 24
# After so many broken objects the rest is not read.
MAX_BROKEN = 1000


class Value(NamedTuple):
    """A value of a list, or what is wrong where there should be one.

    text (str): As it stands there; of one that is wrong the beginning. Bytes that are
        not UTF-8 are lone surrogates.
    value (Any): The value, None if it is wrong.
    problem (BadRow | None): What is wrong.
    breaks_off (bool): Whether nothing that stands behind it can be read.
    """

    text: str
    value: Any = None
    problem: BadRow | None = None
    breaks_off: bool = False


def read_json_list(source: Source, file: BinaryIO) -> Iterator[Row]:
    """Read the objects of a list, or a single one, one after another.

    Conversations about the same text that follow each other become one row: some
    sets ask each question in a conversation of its own.

    source (Source): The file.
    file (BinaryIO): The open file.
    YIELDS (Row): Its objects, with their numbers for lines. A document of spaCy 2 is
        cut into its paragraphs.
    """
    row: Row | None = None
    about: str | None = None
    for number, one in enumerate(read_values(file), 1):
        text, value, problem, breaks_off = one
        if problem is not None and breaks_off:
            problem.detail += "; nothing behind this was read"
        if problem is None and (parts := cut_document(value)) is not None:
            if row is not None:
                yield row
            row = None
            yield from _rows_of_document(source, number, text, parts)
            continue
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


def _rows_of_document(
    source: Source, number: int, text: str, parts: list[Any]
) -> Iterator[Row]:
    problem = _find_problem(text, 0)
    if problem is not None:
        yield Row(source, number, [text[:HEAD]], len(text), problem)
        return
    for part in parts:
        yield Row(source, number, [part], len(text) // len(parts))


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

    def head(self) -> str:
        """The beginning of what was not decoded yet."""
        return self.text[self.position : self.position + HEAD]

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


def read_values(file: BinaryIO, *, longest: int = MAX_OBJECT) -> Iterator[Value]:
    """Read the values of a list, or objects one after another, as they are.

    Of a list with an object a line, or with each object's bracket on a line of its own,
    a broken object costs itself alone; else nothing behind it is read.

    file (BinaryIO): The open file.
    longest (int): How many characters a value may have.
    YIELDS (Value): The values and what is wrong.
    """
    buffer = _Buffer(file)
    in_list = buffer.peek() == "["
    if in_list:
        buffer.position += 1
        if buffer.peek() == "]":
            _, problem = _end_object(buffer, in_list=True)
            if problem is not None:
                yield Value(buffer.head(), None, problem, breaks_off=True)
            return
    start = _find_start(buffer)
    broken = 0
    while True:
        text, value, problem = _decode(buffer, longest)
        ended = False
        if problem is None:
            yield Value(text, value)
            ended, problem = _end_object(buffer, in_list=in_list)
            text = buffer.head()
        if problem is not None:
            broken += 1
            ended = ended or broken == MAX_BROKEN or not _skip(buffer, start)
            yield Value(text, None, problem, ended)
        if ended:
            return


def _end_object(buffer: _Buffer, *, in_list: bool) -> tuple[bool, BadRow | None]:
    """Whether an object is the last one, and what is wrong behind it."""
    char = buffer.peek()
    if in_list and char == "]":
        buffer.position += 1
        if char := buffer.peek():
            detail = f"found {char!r} behind the list"
            return True, BadRow("malformed JSON", detail)
        return True, None
    if not in_list and not char:
        return True, None
    wanted = "," if in_list else "{"
    if char != wanted:
        detail = f"found {char!r}, expected {wanted!r}"
        return False, BadRow("malformed JSON", detail)
    buffer.position += in_list
    return False, None


def _find_start(buffer: _Buffer) -> str | None:
    """What each object begins with, from the end of the line before it."""
    char = buffer.peek()
    line = buffer.text.rfind("\n", 0, buffer.position)
    between = buffer.text[line : buffer.position]
    return between + char if line >= 0 and not between.strip() else None


def _skip(buffer: _Buffer, start: str | None) -> bool:
    """Go on to where the next object begins; False if that is not to be found."""
    while start is not None:
        found = buffer.text.find(start, buffer.position + 1)
        if found >= 0:
            buffer.position = found
            buffer.peek()
            return True
        if buffer.ended:
            return False
        buffer.position = max(buffer.position, len(buffer.text) - len(start))
        buffer.grow()
    return False


def _decode(buffer: _Buffer, longest: int) -> tuple[str, Any, BadRow | None]:
    decoder = json.JSONDecoder()
    buffer.peek()
    while True:
        try:
            value, end = decoder.raw_decode(buffer.text, buffer.position)
        except (ValueError, RecursionError) as error:
            if buffer.ended or len(buffer.text) - buffer.position > longest:
                return buffer.head(), None, BadRow("malformed JSON", str(error))
            # Perhaps the object goes on behind what was read.
            buffer.grow()
        else:
            text = buffer.text[buffer.position : end]
            buffer.position = end
            return text, value, None
