"""Rows of Parquet and Arrow files, as `datasets` writes them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Errors, NunerError
from .labelled.ner_tags import find_names, name_tags
from .records import Row, Source

if TYPE_CHECKING:
    import pyarrow

PARQUET_MAGIC = b"PAR1"
BATCH = 1000


def read_arrow(source: Source) -> Iterator[Row]:
    """Read the rows of a file; names of tags are taken from its features.

    source (Source): The file.
    YIELDS (Row): Its rows, with their numbers for lines.
    RAISES (NunerError): N640 if it can't be read.
    """
    number = 0
    with _explaining(source.name):
        for schema, rows in _read_batches(Path(source.name)):
            names = _find_names(schema)
            for data in rows:
                number += 1
                yield Row(source, number, [name_tags(data, names)], len(str(data)))


def read_tables(path: str, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Read some columns of a file.

    path (str): The file.
    columns (Sequence[str]): Their names; those that it does not have are left out.
    YIELDS (list[dict[str, Any]]): Some of its rows.
    RAISES (NunerError): N640 if it can't be read.
    """
    with _explaining(path):
        for _, rows in _read_batches(Path(path), columns):
            yield rows


def count_rows(path: str) -> int:
    """Count the rows of a file by what it says of itself.

    path (str): The file.
    RETURNS (int): How many rows there are.
    RAISES (NunerError): N005 or N640 if it can't be read.
    """
    from pyarrow import parquet

    with _explaining(path):
        with open(path, "rb") as file:
            if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
                return int(parquet.ParquetFile(path).metadata.num_rows)
        return sum(len(rows) for _, rows in _read_batches(Path(path), []))


@contextmanager
def _explaining(path: str) -> Iterator[None]:
    """Raise N640 for what keeps a file from being read."""
    try:
        yield
    except NunerError:
        raise
    except Exception as error:
        # pyarrow's own, and whatever a damaged value makes Python raise.
        reason = f"{type(error).__name__}: {error}"[:300].rstrip(".")
        raise NunerError(Errors.N640, path=path, reason=reason) from error


def _read_batches(
    path: Path, columns: Sequence[str] | None = None
) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    import pyarrow
    from pyarrow import parquet

    with path.open("rb") as file:
        magic = file.read(len(PARQUET_MAGIC))
        file.seek(0)
        if magic == PARQUET_MAGIC:
            # Else a row group as it is on the disk is held, which may be gigabytes.
            opened = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
            schema = opened.schema_arrow
            wanted = columns and [one for one in columns if one in schema.names]
            # Of no column there would be no rows either.
            for batch in opened.iter_batches(BATCH, columns=wanted or None):
                yield schema, _to_rows(batch)
            return
        if magic == b"ARRO":
            reader = pyarrow.ipc.open_file(file)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            batches = reader = pyarrow.ipc.open_stream(file)
        for batch in batches:
            if columns is not None:
                names = batch.schema.names
                batch = batch.select([one for one in columns if one in names])
            _validate(batch)
            yield reader.schema, _to_rows(batch)


def _validate(batch: "pyarrow.RecordBatch") -> None:
    """Refuse offsets that lead out of the file: to read there may end the process."""
    import pyarrow as pa

    batch.validate()
    binary = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    for column in batch.columns:
        # Bytes that are not UTF-8 do no harm.
        if column.type in binary:
            column = column.view(binary[column.type])
        column.validate(full=True)


def _to_rows(batch: "pyarrow.RecordBatch") -> list[dict[str, Any]]:
    """The rows; bytes of a string that are not UTF-8 become lone surrogates."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        columns = zip(*map(_decode, batch.columns), strict=True)
        names = batch.schema.names
        return [dict(zip(names, values, strict=True)) for values in columns]


def _decode(column: "pyarrow.Array") -> list[Any]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    values = []
    for scalar in column:
        try:
            values.append(scalar.as_py())
        except UnicodeDecodeError:
            # Of what is nested nothing can be told.
            is_string = isinstance(scalar, pa.BinaryScalar)
            data = scalar.as_buffer().to_pybytes() if is_string else b"\xff"
            values.append(data.decode("utf8", "surrogateescape"))
    return values


def _find_names(schema: Any) -> tuple[str, ...]:
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        return find_names(metadata["info"]["features"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
