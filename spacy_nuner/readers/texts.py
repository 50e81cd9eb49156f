"""Rows of text out of every kind of corpus, in a stream, with what holds no text."""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from ..errors import Errors, NunerError
from ..outputs import MANIFEST, find_made
from ..utf8 import is_utf8
from .arrow_rows import count_rows, read_tables
from .hub import HUB_PREFIX, find_on_hub, read_hub
from .json_list import read_values
from .records import HEAD, Line, Source
from .sources import QUARANTINE, STDIN, open_source, plain_suffix, read_lines

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TEXT_SUFFIXES = (".txt", ".text", ".md")
TABLE_SUFFIXES = (".parquet", ".arrow")
# What commands of this package write beside texts, if they say so in their manifests.
OWN = re.compile(
    rf"_?report\.json|(.+\.|_)?{re.escape(QUARANTINE)}|.*{re.escape(MANIFEST)}"
)
# A file with a sentence a line has no blank lines: a paragraph ends here at the latest.
MAX_PARAGRAPH_LINES = 200
# Bounds the memory of a row, in bytes: a hundred times the longest text that spaCy
# takes by default.
MAX_TEXT = 100_000_000
# What is a row of a text file.
Unit = Literal["line", "paragraph", "file"]

NOT_UTF8 = "not UTF-8"
# Behind what is wrong with a value of a list.
NOT_READ = "; nothing behind it in the file was read"

Lines = Iterator[Line]


class TextRow(NamedTuple):
    """A text of a corpus and where it stands, or why there is none.

    file (str): The data set, or the file from the folder that was named.
    number (int): The number of its line or row, from 1. Of a paragraph its last line
        with text.
    text (str): The text.
    size (int): Its share of the file, in bytes.
    fields (dict[str, Any]): Other fields of the row, those that were asked for.
    problem (str): Why it holds no text, in a fixed wording; "" if it does.
    found (str): What is there instead, cut.
    """

    file: str
    number: int
    text: str
    size: int
    fields: dict[str, Any] = {}
    problem: str = ""
    found: str = ""


# Makes a row of a file's name, a number, a value and its size.
Make = Callable[[str, int, Any, int], TextRow]


def find_texts(source: str) -> list[str]:
    """List the files of a corpus.

    source (str): A file, a folder, or "-" for standard input.
    RETURNS (list[str]): The file; of a folder those that end as JSON Lines, text,
        Parquet and Arrow files do, those of its folders too, in the order of the names;
        but no quarantine and no report that this package made.
    RAISES (NunerError): N201 if a folder has no such file, or for a table of comma- or
        tab-separated values, which would be read as prose.
    """
    if plain_suffix(source) in (".csv", ".tsv"):
        reason = "it is a table of columns; write it as JSON Lines or Parquet"
        raise NunerError(Errors.N201, source=source, reason=reason)
    if source == STDIN or not os.path.isdir(source):
        return [source]
    known = JSON_SUFFIXES + TEXT_SUFFIXES + TABLE_SUFFIXES
    made = lru_cache(maxsize=None)(find_made)
    files = sorted(
        str(path)
        for path in Path(source).rglob("*")
        if plain_suffix(path) in known
        and path.is_file()
        and not (OWN.fullmatch(path.name) and path.name in made(path.parent))
    )
    if not files:
        reason = f"the folder holds no file that ends in {', '.join(known)}"
        raise NunerError(Errors.N201, source=source, reason=reason)
    return files


def read_texts(
    source: str,
    *,
    field: str = "text",
    keep: Sequence[str] = (),
    unit: Unit = "line",
    split: str | None = None,
    revision: str | None = None,
    seed: int | None = None,
) -> Iterator[TextRow]:
    """Read the rows of a corpus in a stream. Blank lines are passed over.

    source (str): What `find_texts` takes, or `hub:NAME` or `hub:NAME:CONFIG` for a data
        set of the Hugging Face hub (`hub:allenai/c4:en`). Files may be compressed, but
        for Parquet and Arrow.
    field (str): The field that holds the text, but in text files.
    keep (Sequence[str]): Other fields to keep.
    unit (Unit): What is a row of a text file: a line, as it stands there; a paragraph,
        up to a blank line, as in hard-wrapped text, its lines stripped and joined by
        blanks; or the file.
    split (str | None): The split of a data set on the hub, if its name has none.
    revision (str | None): Its commit, of which `split` has to be named; None to find
        out both.
    seed (int | None): Orders the shards of a data set on the hub; None for its order.
    YIELDS (TextRow): The rows.
    RAISES (NunerError): N005, N104, N109, N201 or N640 if the source can't be read.
    """

    def make(file: str, number: int, data: Any, size: int) -> TextRow:
        if not isinstance(data, dict):
            found = str(data)[:HEAD]
            return TextRow(file, number, "", size, {}, "not a JSON object", found)
        fields = {name: data[name] for name in keep if name in data}
        text = data.get(field)
        if not isinstance(text, str):
            found = str(data)[:HEAD]
            problem = f"without a text in '{field}'"
            return TextRow(file, number, "", size, fields, problem, found)
        return TextRow(file, number, text, size, fields)

    if source.startswith(HUB_PREFIX):
        if revision is None:
            found = find_on_hub(source, split=split)
        else:
            found = Source(source, "hub", split, revision)
        for number, data in enumerate(read_hub(found, seed=seed), start=1):
            text = data.get(field)
            size = len(text.encode("utf8", "replace")) if isinstance(text, str) else 0
            yield make(source, number, data, size)
        return
    for path in find_texts(source):
        name = "stdin" if path == STDIN else os.path.relpath(path, source)
        name = Path(path).name if name == "." else Path(name).as_posix()
        if plain_suffix(path) in TABLE_SUFFIXES:
            yield from _read_table(path, name, [field, *keep], make)
            continue
        with open_source(path) as file:
            yield from _read_file(path, name, file, make, unit)


def _read_table(
    path: str, name: str, columns: Sequence[str], make: Make
) -> Iterator[TextRow]:
    size = os.path.getsize(path) // max(count_rows(path), 1)
    tables = read_tables(path, columns)
    for number, data in enumerate(itertools.chain.from_iterable(tables), 1):
        row = make(name, number, data, size)
        if not is_utf8(row.text):
            found = row.text[:HEAD]
            row = row._replace(text="", problem=NOT_UTF8, found=found)
        yield row


def _read_file(
    path: str,
    name: str,
    file: BinaryIO,
    make: Make,
    unit: Unit,
) -> Iterator[TextRow]:
    is_json = plain_suffix(path) in JSON_SUFFIXES
    if plain_suffix(path) == ".json" and file.seekable():
        start = file.read(HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
        file.seek(0)
        if start.startswith(b"["):
            yield from _from_list(file, name, make)
            return
    lines = read_lines(file, limit=MAX_TEXT)
    if path == STDIN:
        lines, is_json = _peek(lines)
    if is_json:
        yield from _from_json(lines, name, make)
    elif unit == "file":
        yield _from_whole(lines, name)
    elif unit == "line":
        yield from _from_lines(lines, name)
    else:
        yield from _from_paragraphs(lines, name)


def _peek(lines: Lines) -> tuple[Lines, bool]:
    """Standard input has no suffix: JSON Lines begin with a brace."""
    start = []
    for item in lines:
        start.append(item)
        if item.data.strip():
            break
    is_json = bool(start) and start[-1].data.lstrip().startswith(b"{")
    return itertools.chain(start, lines), is_json


def _decode(line: Line, name: str) -> tuple[str, TextRow | None]:
    """Decode a line, or make the row that says why not."""
    problem = NOT_UTF8
    if line.problem is not None:
        problem = line.problem.kind
    else:
        try:
            return line.data.decode("utf8"), None
        except UnicodeDecodeError:
            pass
    found = line.text[:HEAD]
    return "", TextRow(name, line.number, "", line.size, {}, problem, found)


def _from_json(lines: Lines, name: str, make: Make) -> Iterator[TextRow]:
    for line in lines:
        if not line.data.strip():
            continue
        text, bad = _decode(line, name)
        if bad is None:
            try:
                data = json.loads(text)
            except (ValueError, RecursionError):
                found = text[:HEAD]
                bad = TextRow(name, line.number, "", line.size, {}, "not JSON", found)
            else:
                yield make(name, line.number, data, line.size)
                continue
        yield bad


def _from_list(file: BinaryIO, name: str, make: Make) -> Iterator[TextRow]:
    for number, one in enumerate(read_values(file, longest=MAX_TEXT), 1):
        size = len(one.text.encode("utf8", "surrogateescape"))
        problem, found = "", one.text
        if one.problem is not None:
            problem = one.problem.kind + (NOT_READ if one.breaks_off else "")
            found = f"{one.problem.detail}: {one.text}"
        elif not is_utf8(one.text):
            problem = NOT_UTF8
        if problem:
            yield TextRow(name, number, "", size, {}, problem, found[:HEAD])
        else:
            yield make(name, number, one.value, size)


def _from_lines(lines: Lines, name: str) -> Iterator[TextRow]:
    """Lines as they are, so that offsets in them are offsets in the file."""
    size = 0
    for line in lines:
        text, bad = _decode(line, name)
        if bad is not None:
            yield bad
            continue
        # A blank line counts with the next one.
        size += line.size
        if text.strip():
            yield TextRow(name, line.number, text.rstrip("\r\n"), size)
            size = 0


def _from_paragraphs(lines: Lines, name: str) -> Iterator[TextRow]:
    """Paragraphs of hard-wrapped text, their lines stripped and joined by blanks."""
    paragraph: list[str] = []
    number = size = 0
    for line in lines:
        text, bad = _decode(line, name)
        if bad is not None:
            # What stands on both sides of it is no text of the file.
            if paragraph:
                yield TextRow(name, number, " ".join(paragraph), size)
                paragraph, size = [], 0
            yield bad
            continue
        size += line.size
        if text := text.strip():
            paragraph.append(text)
            number = line.number
        if paragraph and (not text or len(paragraph) >= MAX_PARAGRAPH_LINES):
            yield TextRow(name, number, " ".join(paragraph), size)
            paragraph, size = [], 0
    if paragraph:
        yield TextRow(name, number, " ".join(paragraph), size)


def _from_whole(lines: Iterable[Line], name: str) -> TextRow:
    """The file as one row; it can be as long as a line may be."""
    data = bytearray()
    size = 0
    for line in lines:
        size += line.size
        if size <= MAX_TEXT:
            data += line.data
    whole = Line(1, bytes(data), size)
    text, bad = _decode(whole, name)
    return bad or TextRow(name, 1, text, size)
