"""Rows of Parquet and Arrow files, as `datasets` writes them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import Errors, NunerError
from .labelled.ner_tags import find_names, name_tags
from .records import Row, Source

PARQUET_MAGIC = b"PAR1"
BATCH = 1000


def read_arrow(source: Source) -> Iterator[Row]:
    """Read the rows of a file; names of tags are taken from its features.

    source (Source): The file.
    YIELDS (Row): Its rows, with their numbers for lines.
    RAISES (NunerError): N640 if it can't be read.
    """
    number = 0
    try:
        for schema, rows in _read_batches(Path(source.name)):
            names = _find_names(schema)
            for data in rows:
                number += 1
                yield Row(source, number, [name_tags(data, names)], len(str(data)))
    except Exception as error:
        # pyarrow's own, and whatever a damaged value makes Python raise.
        reason = f"{type(error).__name__}: {error}"[:300].rstrip(".")
        raise NunerError(Errors.N640, path=source.name, reason=reason) from error


def _read_batches(path: Path) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    import pyarrow
    from pyarrow import parquet

    with path.open("rb") as file:
        magic = file.read(len(PARQUET_MAGIC))
        file.seek(0)
        if magic == PARQUET_MAGIC:
            opened = parquet.ParquetFile(file)
            for batch in opened.iter_batches(BATCH):
                yield opened.schema_arrow, batch.to_pylist()
            return
        if magic == b"ARRO":
            reader = pyarrow.ipc.open_file(file)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            batches = reader = pyarrow.ipc.open_stream(file)
        for batch in batches:
            # Offsets come from the file, and to read what they point to, outside of it
            # perhaps, would end the process.
            batch.validate(full=True)
            yield reader.schema, batch.to_pylist()


def _find_names(schema: Any) -> tuple[str, ...]:
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        return find_names(metadata["info"]["features"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
