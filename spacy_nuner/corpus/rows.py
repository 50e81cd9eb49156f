"""Files in a stream: one row a record, with its place in the file.

Nothing is interpreted here, so a row can be handed to another process. Bytes that are
not UTF-8 come through as lone surrogates and are refused row by row.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import NunerError
from .records import BadRow

# Eight times the longest of 80,000 rows of published sets (15 kB). It bounds the
# memory of a row, and it is also the largest field that Python's csv takes.
MAX_ROW = 131_072
# How much of a longer line is kept, to show it in the quarantine.
HEAD = 500
CSV_COLUMNS = ("input", "output")
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".conll": "bio",
    ".bio": "bio",
    ".iob": "bio",
    ".iob2": "bio",
}

_TOKEN_LINE = re.compile(r"\S+[ \t]+(?:O|[BI]-\S+)\s*")
# Stands for a NUL byte, which csv does not take in every version of Python.
_NUL = "\udc00"


class Source(NamedTuple):
    """A file and the form of its rows: "jsonl", "csv" or "bio"."""

    path: Path
    format: str


@dataclass(slots=True)
class Row:
    """A record as it stands in its file.

    source (Source): The file.
    line (int): The number of its first line, from 1.
    cells (list[str]): The line of a JSONL file, the two cells of a CSV row (input,
        output), the lines of a sentence in a BIO file.
    size (int): Its length in bytes.
    problem (BadRow | None): Why it can't be read, where that is seen already.
    """

    source: Source
    line: int
    cells: list[str]
    size: int
    problem: BadRow | None = None


class _Line(NamedTuple):
    number: int
    data: bytes
    size: int

    @property
    def text(self) -> str:
        return self.data.decode("utf8", "surrogateescape")

    @property
    def problem(self) -> BadRow | None:
        if self.size <= MAX_ROW:
            return None
        return BadRow("row too long", f"{self.size} bytes, at most {MAX_ROW} are read")


def find_sources(inputs: Iterable[Path]) -> list[Source]:
    """Find the files to read and the form of each.

    inputs (Iterable[Path]): Files, or folders whose files with a known extension are
        taken in the order of their names.
    RETURNS (list[Source]): The files.
    RAISES (NunerError): N005 if there is no such file, N101 if its form is unknown or
        a folder holds nothing to read.
    """
    sources: list[Source] = []
    for path in inputs:
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if _by_suffix(file)]
            if not files:
                raise NunerError("N101", path=path, found="a folder without such files")
            sources.extend(Source(file, _format(file)) for file in files)
        else:
            sources.append(Source(path, _format(path)))
    return sources


def read_rows(source: Source) -> Iterator[Row]:
    """Read the rows of a file one after another, in bounded memory.

    source (Source): The file.
    YIELDS (Row): Its rows; blank lines are passed over.
    RAISES (NunerError): N005 if the file can't be read, N101 for a CSV file without
        the two columns.
    """
    readers = {"jsonl": _read_jsonl, "csv": _read_csv, "bio": _read_bio}
    try:
        with source.path.open("rb") as file:
            yield from readers[source.format](source, _read_lines(file))
    except OSError as error:
        raise _unreadable(source.path, error) from error


def _by_suffix(path: Path) -> str | None:
    return FORMATS.get(path.suffix.lower())


def _format(path: Path) -> str:
    """The form by the extension, else by the first line that is not blank."""
    try:
        with path.open("rb") as file:
            if known := _by_suffix(path):
                return known
            lines = (line.text.strip() for line in _read_lines(file))
            first = next(filter(None, lines), "")
    except OSError as error:
        raise _unreadable(path, error) from error
    if first.startswith("{"):
        return "jsonl"
    if _is_csv_header(next(csv.reader([first]), [])):
        return "csv"
    if _TOKEN_LINE.fullmatch(first):
        return "bio"
    raise NunerError("N101", path=path, found=f"the first line {first[:80]!r}")


def _unreadable(path: Path, error: OSError) -> NunerError:
    reason = error.strerror or str(error)
    todo = "Name a file, or a folder of files, that exists and may be read."
    return NunerError("N005", path=path, reason=reason, todo=todo)


def _read_lines(file: BinaryIO) -> Iterator[_Line]:
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
        yield _Line(number, data, size)


def _read_jsonl(source: Source, lines: Iterator[_Line]) -> Iterator[Row]:
    for line in lines:
        if line.data.strip():
            yield Row(source, line.number, [line.text], line.size, line.problem)


def _read_bio(source: Source, lines: Iterator[_Line]) -> Iterator[Row]:
    row: Row | None = None
    for line in lines:
        if not line.data.strip():
            if row is not None:
                yield row
            row = None
            continue
        if row is None:
            row = Row(source, line.number, [], 0)
        row.size += line.size
        if row.size > MAX_ROW:
            detail = f"no blank line within {MAX_ROW} bytes"
            row.problem = BadRow("row too long", detail)
        if not row.cells or not row.problem:
            row.cells.append(line.text)
    if row is not None:
        yield row


@dataclass
class _CsvLines:
    """Hands lines to the csv module and keeps those of the row that it is at.

    So a row with a stray quote costs itself alone: the lines it swallowed are read
    again from the one after its first.
    """

    lines: Iterator[_Line]
    taken: list[_Line] = field(default_factory=list)
    again: deque[_Line] = field(default_factory=deque)
    size: int = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else next(self.lines)
        self.taken.append(line)
        self.size += line.size
        if self.size > MAX_ROW:
            raise csv.Error(f"longer than {MAX_ROW} bytes")
        return line.text.replace("\0", _NUL)

    def next_row(self) -> None:
        self.taken = []
        self.size = 0

    def give_back(self) -> _Line:
        first, *rest = self.taken
        self.again.extendleft(reversed(rest))
        return first


def _read_csv(source: Source, lines: Iterator[_Line]) -> Iterator[Row]:
    feed = _CsvLines(lines)
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
            problem = first.problem or BadRow("malformed CSV", str(error))
            yield Row(source, first.number, [first.text], first.size, problem)
            continue
        if header is None:
            header = _csv_header(source, cells)
        elif cells:
            yield _csv_row(source, feed.taken, header, cells)


def _is_csv_header(cells: list[str]) -> bool:
    return set(CSV_COLUMNS) <= set(cells)


def _csv_header(source: Source, cells: list[str]) -> list[str]:
    if not _is_csv_header(cells):
        raise NunerError("N101", path=source.path, found=f"the columns {cells}")
    return cells


def _csv_row(
    source: Source, taken: list[_Line], header: list[str], cells: list[str]
) -> Row:
    size = sum(line.size for line in taken)
    row = Row(source, taken[0].number, cells, size)
    if len(cells) == len(header):
        row.cells = [cells[header.index(column)] for column in CSV_COLUMNS]
    else:
        detail = f"{len(cells)} cells, the header has {len(header)}"
        row.problem = BadRow("wrong number of cells", detail)
    return row
