"""What there is to read: files, by their form, and data sets on the hub."""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import Errors, NunerError
from ..files import hash_file
from .records import BadRow, Source

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


CSV_COLUMNS = ("input", "output")
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".conll": "bio",
    ".bio": "bio",
    ".iob": "bio",
    ".iob2": "bio",
    ".spacy": "docbin",
}
PACKED = (".gz", ".bz2", ".xz", ".zst")
# What is known to be a file by its name.
FILE_SUFFIXES = (*FORMATS, ".json", *PACKED)
HUB_PREFIX = "hub:"

_TOKEN_LINE = re.compile(r"\S+[ \t]+(?:O|[BI]-\S+)\s*")


def find_sources(inputs: Iterable[Path]) -> list[Source]:
    """Find the files to read and the form of each.

    inputs (Iterable[Path]): Files, or folders whose files with a known extension are
        taken in the order of their names, of .json those that hold a list: others
        tell of files, as a report does. Files may be compressed (.gz, .bz2, .xz,
        .zst).
    RETURNS (list[Source]): The files.
    RAISES (NunerError): N005 if there is no such file, N006 if the package that
        unpacks it is missing, N101 if its form is unknown or a folder holds nothing to
        read.
    """
    sources: list[Source] = []
    for path in inputs:
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if _is_source(file)]
            if not files:
                raise NunerError(
                    Errors.N101, path=path, found="a folder without such files"
                )
            sources.extend(Source(str(file), _format(file)) for file in files)
        else:
            sources.append(Source(str(path), _format(path)))
    return sources


@contextmanager
def open_source(name: str) -> Iterator[BinaryIO]:
    """Open a file, unpacked by its suffix.

    name (str): The file.
    YIELDS (BinaryIO): The open file.
    RAISES (NunerError): N005 if it is missing or damaged, N006 if the package that
        unpacks it is missing.
    """
    path = Path(name)
    if path.suffix.lower() not in PACKED:
        try:
            with path.open("rb") as file:
                yield file
        except OSError as error:
            raise unreadable(name, error) from error
        return
    from smart_open import open as open_packed

    try:
        with open_packed(name, "rb") as packed:
            yield packed
    except ImportError as error:
        package = f"the package '{error.name}'"
        raise NunerError(Errors.N006, package=package, extra="annotate") from error
    except NunerError:
        raise
    except Exception as error:
        # Each kind of compression has its own exception for damaged data.
        raise unreadable(name, error) from error


def describe_source(source: Source) -> dict[str, Any]:
    """Say what exactly is read, for the report.

    source (Source): The file or data set.
    RETURNS (dict[str, Any]): Of a file its size in bytes and SHA-256, as it stands on
        the disk; of a data set on the hub its split and commit.
    RAISES (NunerError): N005 if a file can't be read.
    """
    described: dict[str, Any] = {"file": source.name, "format": source.format}
    if source.format == "hub":
        return {**described, "split": source.split, "revision": source.revision}
    try:
        path = Path(source.name)
        size, digest = path.stat().st_size, hash_file(path)
    except OSError as error:
        raise unreadable(source.name, error) from error
    return {**described, "bytes": size, "sha256": digest}


def plain_size(source: Source) -> int | None:
    """source (Source): What is read. RETURNS (int | None): Bytes of its rows, if known.

    They are not known of what is compressed or on the hub.
    """
    path = Path(source.name)
    if source.format in ("hub", "docbin") or path.suffix.lower() in PACKED:
        return None
    return path.stat().st_size


def unreadable(name: str, error: Exception) -> NunerError:
    """name (str): A file. error (Exception): What went wrong. RETURNS: N005."""
    reason = getattr(error, "strerror", None) or str(error)
    todo = "Name a file, or a folder of files, that exists, is whole and may be read."
    if isinstance(error, FileNotFoundError) and name.count("/") == 1:
        todo += f" A data set on the hub is read by: import {HUB_PREFIX}{name}"
    return NunerError(Errors.N005, path=name, reason=reason, todo=todo)


def _is_source(path: Path) -> bool:
    if _by_suffix(path):
        return True
    plain = path.with_suffix("") if path.suffix.lower() in PACKED else path
    if plain.suffix.lower() != ".json":
        return False
    with open_source(str(path)) as file:
        start = file.read(1024).removeprefix(codecs.BOM_UTF8)
    return start.lstrip().startswith(b"[")


def _by_suffix(path: Path) -> str | None:
    if path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    return FORMATS.get(path.suffix.lower())


def _format(path: Path) -> str:
    """The form by the extension, else by the first line that is not blank."""
    with open_source(str(path)) as file:
        if known := _by_suffix(path):
            return known
        lines = (line.text.strip() for line in read_lines(file))
        first = next(filter(None, lines), "")
    if _TOKEN_LINE.fullmatch(first):
        return "bio"
    if first.startswith("{"):
        return "jsonl"
    if first.startswith("["):
        return "json"
    if set(CSV_COLUMNS) <= set(next(csv.reader([first]), [])):
        return "csv"
    raise NunerError(Errors.N101, path=path, found=f"the first line {first[:80]!r}")
