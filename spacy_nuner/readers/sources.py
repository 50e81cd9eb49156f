"""What there is to read: files, by their form, and data sets on the hub."""

import codecs
import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import Errors, NunerError
from ..files import hash_file, hash_folder
from ..outputs import find_made
from .arrow_rows import PARQUET_MAGIC
from .forms import ROW_FORMS, find_row_form, is_tuple
from .hub import HUB_PREFIX, find_on_hub, parse_hub_name
from .labelled.bio import is_bio, is_iob
from .labelled.ner_tags import find_names_beside
from .labelled.ontonotes import GOLD_SUFFIX, WITHOUT_NAMES
from .labelled.spacy2 import cut_document
from .records import HEAD, MAX_ROW, Line, Reading, Source, Tally

STDIN = "-"
# How many lines are read to find the form of a file.
LINES_OF_FORM = 200
# What documents with all texts of a set have, as `cut_document` reads them.
DOCUMENT_KEYS = ("paragraphs", "annotations")

CSV_COLUMNS = ("input", "output")
# What holds rows, by the suffix of the file.
# What `import` writes.
IMPORTED = (".spacy", ".jsonl")
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".conll": "bio",
    ".bio": "bio",
    ".iob": "bio",
    ".iob2": "bio",
    ".spacy": "docbin",
    ".parquet": "arrow",
    ".arrow": "arrow",
    ".ann": "brat",
    ".py": "python",
}
CONTAINERS = (
    *("jsonl", "json", "csv", "bio", "iob", "docbin", "arrow", "brat", "python"),
)
# Other names of these.
ALIASES = {"conll": "bio", "spacy": "docbin", "parquet": "arrow"}
PACKED = (".gz", ".bz2", ".xz", ".zst")
# How the file ends that `convert` and `import` write what they can't use to.
QUARANTINE = "quarantine.jsonl"
# The list of tuples of spaCy 2: ("text", {"entities": ..., which is no JSON.
_PYTHON_LIST = re.compile(r"(?:\w+\s*=\s*)?\[?\s*\(\s*[\"'rfub]|\w+\s*=\s*\[")
# The byte order marks of UTF-16, as `Line.text` has them.
UTF16 = ("\udcff\udcfe", "\udcfe\udcff")
# What is known to be a file by its name.
FILE_SUFFIXES = (*FORMATS, ".json", *PACKED)
# A text that holds one of these is binary data or was decoded wrongly; a lone surrogate
# can't be written as UTF-8 at all.
_BROKEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ud800-\udfff]")


def is_broken(text: str) -> bool:
    """RETURNS (bool): Whether a text is binary data or was decoded wrongly."""
    return _BROKEN.search(text) is not None


def find_sources(
    inputs: Iterable[str | Path],
    *,
    form: str | None = None,
    reading: Reading | None = None,
) -> list[Source]:
    """Find what is to be read and the form of each file.

    inputs (Iterable[str | Path]): Files, folders whose files with a known extension
        are taken in the order of their names (of .json those with rows, of .txt none,
        no quarantine of `convert` or `import`, and nothing that `import` made of a file
        beside it; where there are none, files
        *_gold_conll of all folders below), or data sets as
        "hub:NAME:CONFIG:SPLIT". Files may be compressed (.gz, .bz2, .xz, .zst).
    form (str | None): The form of the files or of their rows, a name of `CONTAINERS`,
        `ALIASES` or `forms.ROW_FORMS`; None to find out.
    reading (Reading | None): What is taken of labelled sets; None for the defaults.
    RETURNS (list[Source]): The files and data sets.
    RAISES (NunerError): N005 if there is no such file, N006 if a package is missing,
        N101 if its form is unknown or a folder holds nothing to read, N104 if a data
        set can't be found, N601 if there is no such form.
    """
    reading = reading or Reading()
    form = ALIASES.get(form or "", form)
    sources: list[Source] = []
    for name in inputs:
        path = Path(name)
        if form is not None and form not in (*CONTAINERS, *ROW_FORMS):
            known = ", ".join([*CONTAINERS, *ALIASES, *ROW_FORMS])
            raise NunerError(Errors.N601, path=path, form=form, known=known)
        if form in ROW_FORMS:
            reading = reading._replace(form=form)
        if str(name).startswith(HUB_PREFIX):
            sources.append(find_on_hub(str(name))._replace(reading=reading))
            continue
        check_rereadable(name)
        files = [path]
        if os.path.isdir(path):
            files = _without_imports(
                [f for f in sorted(path.iterdir()) if _is_source(f)]
            )
            # OntoNotes has folders of sources and sections, as deep as they may be. In
            # the New Testament (pt) no name is annotated.
            files = files or [
                file
                for file in sorted(path.rglob(f"*{GOLD_SUFFIX}"))
                if WITHOUT_NAMES not in file.relative_to(path).parts
            ]
            if not files:
                found = "a folder without such files"
                raise NunerError(Errors.N101, path=path, found=found)
        sources.extend(_find_source(file, form, reading) for file in files)
    return sources


def check_rereadable(name: str | Path) -> None:
    """Refuse what can be read once alone, where the form of it is to be found first.

    name (str | Path): An input.
    RAISES (NunerError): N005 if it is standard input, or a pipe or device.
    """
    is_other = os.path.exists(name) and not (
        os.path.isfile(name) or os.path.isdir(name)
    )
    if str(name) == STDIN or is_other:
        what = "a pipe or device" if is_other else "standard input"
        raise unreadable(str(name), OSError(f"{what} can't be read twice"))


def _find_source(path: Path, form: str | None, reading: Reading) -> Source:
    found = find_form(path, None if form in ROW_FORMS else form)
    if found == "brat" and plain_suffix(path) != ".ann":
        path = path.with_suffix(".ann")
    elif found in ("jsonl", "json", "arrow") and not reading.labels:
        reading = reading._replace(labels=find_names_beside(path))
    return Source(str(path), found, reading=reading)


def find_form(path: Path, form: str | None = None) -> str:
    """The form of a file, which is given, or found by its content or suffix."""
    suffix = plain_suffix(path)
    expected = FORMATS.get(suffix)
    with open_source(str(path)) as file:
        if form is not None or expected not in (None, "bio", "jsonl"):
            return form or str(expected)
        lines = _first_lines(file)
    if lines and lines[0].startswith(UTF16):
        found = "UTF-16 text; save it as UTF-8"
        raise NunerError(Errors.N101, path=path, found=found)
    if expected == "bio":
        return "iob" if is_iob(lines) else expected
    if suffix == ".txt" and path.with_suffix(".ann").is_file():
        return "brat"
    first = lines[0].strip() if lines else ""
    if expected == "jsonl" or first.startswith(("{", "[")):
        return _find_layout(lines, suffix)
    tests = {
        "arrow": first.startswith(PARQUET_MAGIC.decode()),
        "iob": is_iob(lines),
        "bio": is_bio(lines),
        "csv": _has_columns(first),
        "python": _PYTHON_LIST.match("\n".join(lines)) is not None,
    }
    for found, holds in tests.items():
        if holds:
            return found
    raise NunerError(Errors.N101, path=path, found=f"the first line {first[:80]!r}")


def _has_columns(header: str) -> bool:
    try:
        return set(CSV_COLUMNS) <= set(next(csv.reader([header]), []))
    except csv.Error:
        # A carriage return or a NUL byte in it.
        return False


def _first_lines(file: BinaryIO) -> list[str]:
    texts = (line.text.strip("\r\n") for line in read_lines(file))
    return list(islice((text for text in texts if text.strip()), LINES_OF_FORM))


def _find_layout(lines: list[str], suffix: str) -> str:
    """Tell lines of JSON, one list or one object, and the literals of Python."""
    first = lines[0].strip() if lines else ""
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        if _PYTHON_LIST.match("\n".join(lines)):
            return "python"
        cut = len(lines) == 1 and _is_cut_document(first)
        # One object on several lines, of which none is a row by itself.
        spread = (
            first.startswith("{")
            and suffix == ".json"
            and len(lines) > 1
            and not any(map(_is_json, lines[1:]))
        )
        whole = first.startswith("[") or first == "{" or cut or spread
        return "json" if whole else "jsonl"
    several = cut_document(value) is not None or isinstance(value, list)
    return "json" if several and not is_tuple(value) else "jsonl"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_cut_document(text: str) -> bool:
    """Tell one object with all texts of a set from the row of one text, where it is too
    long to be read to its end.
    """
    return text.startswith("{") and any(f'"{key}"' in text for key in DOCUMENT_KEYS)


def plain_suffix(path: str | Path) -> str:
    """Get the suffix of a file without those of compression.

    path (str | Path): Such as "a.jsonl.gz".
    RETURNS (str): Such as ".jsonl", in lower case.
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_source(name: str) -> Iterator[BinaryIO]:
    """Open a file, unpacked by its suffix.

    name (str): The file, or "-" for standard input.
    YIELDS (BinaryIO): The open file.
    RAISES (NunerError): N005 if it can't be opened, N109 if it is damaged, N006 if the
        package that unpacks it is missing.
    """
    if name == STDIN:
        yield sys.stdin.buffer
        return
    path = Path(name)
    if path.suffix.lower() not in PACKED:
        try:
            file = path.open("rb")
        except ValueError as error:
            # A zero byte in it.
            raise unreadable(name, OSError(str(error))) from error
        except OSError as error:
            raise unreadable(name, error) from error
        try:
            with file:
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
        if isinstance(error, OSError) and error.strerror:
            raise unreadable(name, error) from error
        # Each kind of compression has its own exception for damaged data.
        raise NunerError(Errors.N109, path=name, reason=error) from error


def read_lines(file: BinaryIO, *, limit: int | None = MAX_ROW) -> Iterator[Line]:
    """Read a file line by line, whatever it holds.

    file (BinaryIO): The open file. A byte order mark at its beginning is taken off.
    limit (int | None): Bytes of the longest line that is read whole; None for any.
    YIELDS (Line): The lines.
    """
    number = 0
    while data := file.readline(-1 if limit is None else limit + 1):
        number += 1
        size = len(data)
        if number == 1:
            data = data.removeprefix(codecs.BOM_UTF8)
        if limit is not None and size > limit:
            last = data
            while last and not last.endswith(b"\n"):
                last = file.readline(limit)
                size += len(last)
            data = data[:HEAD]
        yield Line(number, data, size)


def read_objects(name: str, tally: Tally) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of a JSON Lines file of texts, lines of any length.

    name (str): The file, or "-" for standard input.
    tally (Tally): Counts the lines that hold no object.
    YIELDS (tuple[int, dict[str, Any]]): The number of the line and its object.
    RAISES (NunerError): What `open_source` raises.
    """
    with open_source(name) as file:
        for line in read_lines(file, limit=None):
            data = parse_object(line.data, f"{name}:{line.number}", tally)
            if data is not None:
                yield line.number, data


def parse_object(line: bytes, where: str, tally: Tally) -> dict[str, Any] | None:
    """Read one line of JSON Lines.

    line (bytes): The line.
    where (str): Its file and number, for the report.
    tally (Tally): Counts the line if it holds no object.
    RETURNS (dict[str, Any] | None): None for a blank line or one without an object.
    """
    if not line.strip():
        return None
    try:
        # Left to itself, json guesses at UTF-16 and UTF-32.
        data = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        tally.add("not UTF-8", where)
    except (ValueError, RecursionError):
        tally.add("not JSON", where)
    else:
        if isinstance(data, dict):
            return data
        tally.add("not a JSON object", where)
    return None


def describe_source(source: Source) -> dict[str, Any]:
    """Identify what is read, for the report.

    source (Source): The file or data set.
    RETURNS (dict[str, Any]): Of a file its size in bytes and SHA-256, as it is on
        the disk; of a data set on the hub its split and commit, or of a folder the
        SHA-256 of its files.
    RAISES (NunerError): N005 if a file can't be read.
    """
    form = source.reading.form or source.format
    described: dict[str, Any] = {"file": source.name, "format": form}
    if source.format == "hub":
        described |= {"split": source.split, "revision": source.revision}
        if source.revision is None:
            folder = parse_hub_name(source.name).path
            try:
                described["sha256"] = hash_folder(Path(folder))
            except OSError as error:
                raise unreadable(folder, error) from error
        return described
    try:
        path = Path(source.name)
        size, digest = path.stat().st_size, hash_file(path)
        text = path.with_suffix(".txt")
        if source.format == "brat" and text.is_file():
            described["text"] = {"file": str(text), "sha256": hash_file(text)}
    except OSError as error:
        raise unreadable(source.name, error) from error
    return {**described, "bytes": size, "sha256": digest}


def hash_input(name: str | Path) -> str:
    """Identify a file, a folder of files or a data set on the hub.

    name (str | Path): One input of `find_sources`.
    RETURNS (str): The SHA-256 of a file; of others that of the hashes of their files,
        or of the commit and split, in hexadecimal.
    RAISES (NunerError): What `find_sources` and `describe_source` raise.
    """
    if os.path.isfile(name):
        return hash_file(Path(name))
    described = [describe_source(source) for source in find_sources([name])]
    if os.path.isdir(name):
        # By whatever path, and on whatever machine.
        for one in described:
            for part in (one, one.get("text", {})):
                if "file" in part:
                    part["file"] = os.path.relpath(part["file"], name)
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def unreadable(name: str, error: OSError) -> NunerError:
    """The error (N005) of a file that can't be opened."""
    todo = "Name a file, or a folder of files, that exists and may be read."
    if isinstance(error, FileNotFoundError) and name.count("/") == 1:
        todo += f" A data set on the hub is read as: {HUB_PREFIX}{name}"
    reason = error.strerror or str(error)
    return NunerError(Errors.N005, path=name, reason=reason, todo=todo)


def _without_imports(files: list[Path]) -> list[Path]:
    """Leave out what `import` made of a file beside it, or all would be there twice."""
    made = find_made(files[0].parent) if files else set()
    given = {path.name for path in files} - made
    return [
        path
        for path in files
        if path.suffix not in IMPORTED
        or path.name not in made
        or not any(name.startswith(f"{path.stem}.") for name in given)
    ]


def _is_source(path: Path) -> bool:
    suffix = plain_suffix(path)
    if not path.is_file():
        return False
    # A quarantine of ours, and no file of the user's that is called like one.
    if path.name.endswith(QUARANTINE) and path.name in find_made(path.parent):
        return False
    if suffix.endswith(GOLD_SUFFIX):
        return True
    if suffix != ".json":
        return suffix in FORMATS and suffix != ".py"
    with open_source(str(path)) as file:
        head = file.read(MAX_ROW)
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if start.startswith(b"["):
        return True
    # Reports and descriptions of data sets lie beside sets, but are none.
    first, _, _ = start.partition(b"\n")
    for text in (first, start):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(data, dict):
            return False
        return _is_row(data) or cut_document(data) is not None
    return len(head) == MAX_ROW and _is_cut_document(start.decode(errors="replace"))


def _is_row(data: dict[str, Any]) -> bool:
    own = "text" in data and ("entities" in data or "answer" in data)
    return own or "conversations" in data or find_row_form(data) is not None
