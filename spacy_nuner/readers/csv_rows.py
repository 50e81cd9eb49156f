"""Rows of a CSV file with the columns input and output."""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import Errors, NunerError
from .records import BadRow, Line, Row, Source, too_long
from .sources import CSV_COLUMNS

# Stands for a NUL byte, which csv does not take in every version of Python; see
# `fields.check_bytes`.
NUL = "\udc00"
# The largest field that Python's csv takes; one bound for lines and rows.
MAX_CSV_ROW = 131_072


def read_csv(source: Source, lines: Iterator[Line]) -> Iterator[Row]:
    """Read rows with one or several lines each.

    source (Source): The file.
    lines (Iterator[Line]): Its lines.
    YIELDS (Row): The rows below the header.
    RAISES (NunerError): N101 if the header lacks one of the two columns.
    """
    feed = _Lines(lines)
    # strict: a quote inside a quoted cell is an error and not the end of it.
    reader = csv.reader(feed, strict=True)
    header: list[str] | None = None
    while True:
        feed.next_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            first = feed.give_back()
            problem = BadRow("malformed CSV", str(error))
            if first.size > MAX_CSV_ROW:
                problem = too_long(first.size, MAX_CSV_ROW)
            yield Row(source, first.number, [first.text], first.size, problem)
            continue
        if header is None:
            header = cells
            if not set(CSV_COLUMNS) <= set(cells):
                found = f"the columns {cells}"
                raise NunerError(Errors.N101, path=source.name, found=found)
        elif cells:
            yield _row(source, feed.taken, header, cells)


@dataclass
class _Lines:
    """Lines for the csv module; those of a broken row are read again but its first.

    So a row with a stray quote costs itself alone, not the lines that it swallowed.
    """

    lines: Iterator[Line]
    taken: list[Line] = field(default_factory=list)
    again: deque[Line] = field(default_factory=deque)
    size: int = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else next(self.lines)
        self.taken.append(line)
        self.size += line.size
        if self.size > MAX_CSV_ROW:
            raise csv.Error(f"longer than {MAX_CSV_ROW} bytes")
        return line.text.replace("\0", NUL)

    def next_row(self) -> None:
        self.taken = []
        self.size = 0

    def give_back(self) -> Line:
        first, *rest = self.taken
        self.again.extendleft(reversed(rest))
        return first


def _row(source: Source, taken: list[Line], header: list[str], cells: list[str]) -> Row:
    size = sum(line.size for line in taken)
    row = Row(source, taken[0].number, cells, size)
    if len(cells) == len(header):
        row.content = [cells[header.index(column)] for column in CSV_COLUMNS]
    else:
        detail = f"{len(cells)} cells, the header has {len(header)}"
        row.problem = BadRow("wrong number of cells", detail)
    return row
