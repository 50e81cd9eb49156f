"""Sources in a stream: one row a record, with its line in the source.

Objects and answers are not interpreted here, so that other processes can do that. Bytes
that are not UTF-8 come through as lone surrogates and are refused row by row.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from .csv_rows import read_csv
from .docbin import doc_to_record, read_docbin
from .hub import read_hub
from .json_list import read_json_list
from .labelled.bio import read_bio
from .records import Line, Row, Source
from .sources import PACKED, open_source, read_lines


def read_rows(source: Source) -> Iterator[Row]:
    """Read the rows of a source one after another, in bounded memory.

    source (Source): The file or data set. (A DocBin is read as a whole.)
    YIELDS (Row): Its rows; blank lines are passed over.
    RAISES (NunerError): N005 or N109 if it can't be read, N101 for a CSV file without
        the two columns, N104 if a data set breaks off, N605 for columns without tags,
        N607 for what is no DocBin.
    """
    if source.format == "docbin":
        for number, doc in enumerate(read_docbin(source.name), 1):
            yield Row(source, number, doc_to_record(doc), len(doc.text))
        return
    if source.format == "hub":
        for number, data in enumerate(read_hub(source), 1):
            yield Row(source, number, [data], len(str(data)))
        return
    with open_source(source.name) as file:
        if source.format == "json":
            yield from read_json_list(source, file)
        elif source.format == "csv":
            yield from read_csv(source, read_lines(file))
        elif source.format == "bio":
            yield from read_bio(source, read_lines(file))
        else:
            yield from _read_jsonl(source, read_lines(file))


def make_bar(sources: Sequence[Source], *, progress: bool) -> tqdm:
    """Make a progress bar over the bytes of rows.

    sources (Sequence[Source]): What will be read.
    progress (bool): Whether to show it.
    RETURNS (tqdm): The bar; with an end where all sources are plain text files.
    """
    paths = [Path(source.name) for source in sources]
    plain = all(path.suffix.lower() not in PACKED for path in paths) and all(
        source.format not in ("hub", "docbin") for source in sources
    )
    total = sum(path.stat().st_size for path in paths) if plain else None
    return tqdm(total=total, unit="B", unit_scale=True, disable=not progress)


def _read_jsonl(source: Source, lines: Iterator[Line]) -> Iterator[Row]:
    for line in lines:
        if line.data.strip():
            yield Row(source, line.number, [line.text], line.size, line.problem)
