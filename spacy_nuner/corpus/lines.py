"""Lines of a file in bounded memory."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from .records import BadRow

# Eight times the longest of 80,000 rows of published sets (15 kB). It bounds the
# memory of a row, and it is also the largest field that Python's csv takes.
MAX_ROW = 131_072
# How much of a longer line is kept, to show it in the quarantine.
HEAD = 500


class Line(NamedTuple):
    """A line as it stands in its file.

    number (int): Its number, from 1.
    data (bytes): The line with its end; of one that is too long the beginning.
    size (int): Its length in bytes.
    """

    number: int
    data: bytes
    size: int

    @property
    def text(self) -> str:
        """The line decoded; bytes that are not UTF-8 become lone surrogates."""
        return self.data.decode("utf8", "surrogateescape")

    @property
    def problem(self) -> BadRow | None:
        """Why the line can't be taken, if it can't."""
        return None if self.size <= MAX_ROW else too_long(self.size)


def too_long(size: int) -> BadRow:
    """size (int): Bytes of a row. RETURNS (BadRow): What is wrong with it."""
    return BadRow("row too long", f"{size} bytes, at most {MAX_ROW} are read")


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """Read a file line by line, whatever stands in it.

    file (BinaryIO): The open file. A byte order mark at its beginning is taken off.
    YIELDS (Line): The lines.
    """
    number = 0
    while data := file.readline(MAX_ROW + 1):
        number += 1
        size = len(data)
        if number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        if size > MAX_ROW:
            last = data
            while last and not last.endswith(b"\n"):
                last = file.readline(MAX_ROW)
                size += len(last)
            data = data[:HEAD]
        yield Line(number, data, size)
