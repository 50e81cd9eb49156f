"""Documents out of a data set on the hub, JSON Lines, text files or standard input."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import NunerError
from .reading import STDIN, Skips, is_folder, parse_row, read_lines

HUB_PREFIX = "hub:"
PACKED = (".gz", ".bz2", ".xz", ".zst")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TEXT_SUFFIXES = (".txt", ".text", ".md")
# A file of one line a sentence has no blank lines: a paragraph ends here at the latest.
MAX_PARAGRAPH_LINES = 200
# Documents that a streamed data set holds back to mix them (datasets' own default).
SHUFFLE_BUFFER = 1000


class Document(NamedTuple):
    """A text and where it comes from.

    text (str): The text; a line break in it ends a sentence.
    source (str): The data set or file.
    doc (str): The document inside it: its id or address, or the number of its line.
    """

    text: str
    source: str
    doc: str


def read_documents(
    source: str,
    *,
    skips: Skips,
    field: str = "text",
    split: str = "train",
    seed: int = 0,
    by_line: bool = False,
) -> Iterator[Document]:
    """Read the documents of a source in a stream.

    source (str): `hub:NAME` or `hub:NAME:CONFIG` for a data set of the Hugging Face
        hub (`hub:allenai/c4:en`), a JSON Lines or text file, a folder of those, or "-"
        for standard input. Files may be compressed.
    skips (Skips): Counts what holds no text.
    field (str): The field that holds the text, for JSON Lines and data sets.
    split (str): The split of a data set on the hub.
    seed (int): Orders the shards of a data set on the hub.
    by_line (bool): Take every line of a text file for itself. False: lines are one
        paragraph up to a blank line, as in hard-wrapped text.
    YIELDS (Document): The documents.
    RAISES (NunerError): N005 or N201 if the source can't be read, N006 if `datasets`
        is missing.
    """
    if source.startswith(HUB_PREFIX):
        rows = _hub_rows(source, split=split, seed=seed)
        yield from _from_rows(rows, source, field=field, skips=skips)
        return
    for path in _files(source):
        lines = read_lines(path)
        if path == STDIN:
            lines, is_json = _peek(lines)
        else:
            is_json = _plain_suffix(path) in JSON_SUFFIXES
        name = "stdin" if path == STDIN else Path(path).name
        if is_json:
            numbered = (
                (str(number), row)
                for number, line in lines
                if (row := parse_row(line, f"{name}:{number}", skips)) is not None
            )
            yield from _from_rows(numbered, name, field=field, skips=skips)
        else:
            yield from _from_text(lines, name, by_line=by_line, skips=skips)


def _plain_suffix(path: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _files(source: str) -> list[str]:
    if not is_folder(source):
        return [source]
    known = JSON_SUFFIXES + TEXT_SUFFIXES
    found = [str(path) for path in Path(source).rglob("*") if path.is_file()]
    files = sorted(path for path in found if _plain_suffix(path) in known)
    if not files:
        suffixes = ", ".join(known)
        reason = f"the folder holds no file that ends in {suffixes}"
        raise NunerError("N201", source=source, reason=reason)
    return files


def _peek(
    lines: Iterator[tuple[int, bytes]],
) -> tuple[Iterator[tuple[int, bytes]], bool]:
    """Standard input has no suffix: JSON Lines begin with a brace."""
    start = []
    for item in lines:
        start.append(item)
        if item[1].strip():
            break
    is_json = bool(start) and start[-1][1].lstrip().startswith(b"{")
    return itertools.chain(start, lines), is_json


def _from_rows(
    rows: Iterable[tuple[str, dict[str, Any]]],
    source: str,
    *,
    field: str,
    skips: Skips,
) -> Iterator[Document]:
    for number, row in rows:
        text = row.get(field)
        if not isinstance(text, str):
            skips.add(f"without a text in '{field}'", f"{source}:{number}")
            continue
        named = (row.get(key) for key in ("doc", "id", "url"))
        doc = next((str(name) for name in named if name is not None), number)
        yield Document(text, str(row.get("source", source)), doc)


def _from_text(
    lines: Iterable[tuple[int, bytes]], source: str, *, by_line: bool, skips: Skips
) -> Iterator[Document]:
    limit = 1 if by_line else MAX_PARAGRAPH_LINES
    paragraph: list[str] = []
    number = 0
    for number, line in lines:
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            skips.add("not UTF-8", f"{source}:{number}")
            continue
        if text:
            paragraph.append(text)
        if paragraph and (not text or len(paragraph) >= limit):
            yield Document(" ".join(paragraph), source, str(number))
            paragraph = []
    if paragraph:
        yield Document(" ".join(paragraph), source, str(number))


def _hub_rows(
    source: str, *, split: str, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        package = "the package 'datasets'"
        raise NunerError("N006", package=package, extra="pretrain") from error
    name, _, config = source[len(HUB_PREFIX) :].partition(":")
    try:
        rows = load_dataset(name, config or None, split=split, streaming=True)
        # Shards are drawn at random, so a run that reads only a part of the data set
        # does not read its beginning.
        shuffled = rows.shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER)
        for number, row in enumerate(shuffled, start=1):
            yield str(number), row
    except Exception as error:
        # A missing name, configuration or split, a network that is not there or breaks
        # off, a damaged shard: each its own exception.
        reason = f"{type(error).__name__}: {error}"
        raise NunerError("N201", source=source, reason=reason) from error
