"""Sources in a stream: one row a record, with its line in the source.

Objects and answers are not interpreted here, so that other processes can do that. Bytes
that are not UTF-8 come through as lone surrogates and are refused row by row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from .arrow_rows import read_arrow
from .csv_rows import MAX_CSV_ROW, read_csv
from .docbin import doc_to_record, read_docbin
from .hub import read_hub
from .json_list import read_json_list
from .labelled.bio import read_bio, read_iob
from .labelled.brat import read_brat
from .python_rows import read_python
from .records import Row, Source
from .sources import PACKED, open_source, read_lines


def read_rows(source: Source) -> Iterator[Row]:
    """Read the rows of a source one after another, in bounded memory.

    source (Source): The file or data set. (A DocBin is read as a whole.)
    YIELDS (Row): Its rows; blank lines are passed over.
    RAISES (NunerError): N005 or N109 if it can't be read, N101 for a CSV file without
        the two columns, N104 if a data set breaks off, N605 for columns without tags,
        N607 for what is no DocBin, N640 for what is no Parquet or Arrow file.
    """
    if source.format in _WHOLE:
        yield from _WHOLE[source.format](source)
        return
    with open_source(source.name) as file:
        yield from _STREAMED[source.format](source, file)


def make_bar(sources: Sequence[Source], *, progress: bool) -> tqdm:
    """Make a progress bar over the bytes of rows.

    sources (Sequence[Source]): What will be read.
    progress (bool): Whether to show it.
    RETURNS (tqdm): The bar; with an end where all sources are plain text files.
    """
    paths = [Path(source.name) for source in sources]
    plain = all(path.suffix.lower() not in PACKED for path in paths) and all(
        source.format not in ("hub", "docbin", "arrow") for source in sources
    )
    total = sum(path.stat().st_size for path in paths) if plain else None
    return tqdm(total=total, unit="B", unit_scale=True, disable=not progress)


def _read_jsonl(source: Source, file: BinaryIO) -> Iterator[Row]:
    for line in read_lines(file):
        if line.data.strip():
            yield Row(source, line.number, [line.text], line.size, line.problem)


def _read_docs(source: Source) -> Iterator[Row]:
    for number, doc in enumerate(read_docbin(source.name), 1):
        yield Row(source, number, doc_to_record(doc), len(doc.text))


def _read_hub(source: Source) -> Iterator[Row]:
    for number, data in enumerate(read_hub(source), 1):
        yield Row(source, number, [data], len(str(data)))


# Readers by what holds the rows: those that open it themselves, and those of a stream.
_WHOLE: dict[str, Callable[[Source], Iterable[Row]]] = {
    "docbin": _read_docs,
    "hub": _read_hub,
    "arrow": read_arrow,
    "brat": lambda source: [read_brat(source)],
}
_STREAMED: dict[str, Callable[[Source, BinaryIO], Iterable[Row]]] = {
    "jsonl": _read_jsonl,
    "json": read_json_list,
    "python": read_python,
    "csv": lambda source, file: read_csv(source, read_lines(file, limit=MAX_CSV_ROW)),
    "bio": lambda source, file: read_bio(source, read_lines(file)),
    "iob": lambda source, file: read_iob(source, read_lines(file)),
}
