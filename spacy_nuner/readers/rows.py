"""Sources in a stream: one row a record, with its place in the source.

Nothing is interpreted here, so a row can be handed to another process. Bytes that are
not UTF-8 come through as lone surrogates and are refused row by row.
"""

import json
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from .csv_rows import read_csv
from .docbin import doc_to_record, read_docbin
from .hub import read_hub
from .json_list import read_json_list
from .records import BadRow, Row, Source
from .sources import MAX_ROW, Line, open_source, plain_size, read_lines


def read_rows(source: Source) -> Iterator[Row]:
    """Read the rows of a source one after another, in bounded memory.

    source (Source): The file or data set. (A DocBin is read as a whole.)
    YIELDS (Row): Its rows; blank lines are passed over.
    RAISES (NunerError): N005 if it can't be read, N101 for a CSV file without the two
        columns.
    """
    if source.format == "docbin":
        yield from _read_docbin(source)
    elif source.format == "hub":
        yield from _numbered(source, map(_dump, read_hub(source)))
    else:
        with open_source(source.name) as file:
            if source.format == "json":
                yield from read_json_list(source, file)
            else:
                readers = {"jsonl": _read_jsonl, "csv": read_csv, "bio": _read_bio}
                yield from readers[source.format](source, read_lines(file))


def new_bar(sources: Sequence[Source], progress: bool) -> tqdm:
    """Make a progress bar over the bytes of rows.

    sources (Sequence[Source]): What will be read.
    progress (bool): Whether to show it.
    RETURNS (tqdm): The bar; without an end where the size of a source is not known.
    """
    sizes = [plain_size(source) for source in sources]
    known = [size for size in sizes if size is not None]
    total = sum(known) if len(known) == len(sizes) else None
    return tqdm(total=total, unit="B", unit_scale=True, disable=not progress)


def _read_jsonl(source: Source, lines: Iterator[Line]) -> Iterator[Row]:
    for line in lines:
        if line.data.strip():
            yield Row(source, line.number, [line.text], line.size, line.problem)


def _read_bio(source: Source, lines: Iterator[Line]) -> Iterator[Row]:
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


def _read_docbin(source: Source) -> Iterator[Row]:
    docs = read_docbin(source.name)
    yield from _numbered(source, (_dump(doc_to_record(doc).to_json()) for doc in docs))


def _dump(data: object) -> str:
    # Data sets on the hub hold dates and other things, in columns that are not read.
    return json.dumps(data, ensure_ascii=False, default=str)


def _numbered(source: Source, texts: Iterator[str]) -> Iterator[Row]:
    for number, text in enumerate(texts, 1):
        yield Row(source, number, [text], len(text))
