"""Rows in chunks, and the files of a chunk: a shard, its losses and its counts."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import hash_file, write_synced
from ..readers.docbin import ShardBin
from ..readers.records import Row
from ..tokenizers import make_tokenizer
from .losses import Counts, describe_losses
from .row_to_doc import ConvertSettings, process

# Bounds the memory of a shard of long passages: 32 MiB of rows are 3 times the
# 20,000 sentences of a usual one.
MAX_CHUNK_BYTES = 1 << 25


@dataclass(frozen=True)
class ShardFiles:
    """The files of a chunk of rows, in the folder of a run.

    shards (Path): The folder of the shards.
    parts (Path): The folder of the rest, which is joined at the end.
    number (int): The number of the chunk in the order of the input, from 0.
    """

    shards: Path
    parts: Path
    number: int

    @property
    def shard(self) -> Path:
        """Its docs."""
        return self.shards / f"{self.number:05}.spacy"

    @property
    def quarantine(self) -> Path:
        """Its losses, as JSONL."""
        return self.parts / f"{self.number:05}.jsonl"

    @property
    def counts(self) -> Path:
        """Its counts and the hash of the shard: written last."""
        return self.parts / f"{self.number:05}.json"

    def is_done(self) -> bool:
        """RETURNS (bool): Whether all files are there, and the shard is undamaged."""
        if not self.counts.is_file():
            return False
        _, shard = self.read()
        if shard is None:
            return True
        return self.shard.is_file() and hash_file(self.shard) == shard["sha256"]

    def read(self) -> tuple[Counts, dict[str, Any] | None]:
        """Read what became of a chunk that is done.

        RETURNS (tuple[Counts, dict[str, Any] | None]): The counts; and name, docs and
            SHA-256 of the shard, None if nothing in the chunk was usable.
        """
        data = json.loads(self.counts.read_text(encoding="utf8"))
        return Counts.from_json(data["counts"]), data["shard"]

    def write(self, path: Path, data: bytes) -> None:
        """Write one of the files, whole or not at all.

        path (Path): The file.
        data (bytes): Its content.
        """
        write_synced(path, data, self.parts)


@dataclass(slots=True)
class Chunk:
    """Rows that become one shard, a part for `parallel.write_parts`.

    files (ShardFiles): Where it goes.
    settings (ConvertSettings): What to keep.
    rows (list[Row]): The rows.
    size (int): Their length in bytes.
    """

    files: ShardFiles
    settings: ConvertSettings
    rows: list[Row] = field(default_factory=list)
    size: int = 0

    def is_done(self) -> bool:
        """RETURNS (bool): Whether the chunk need not be converted again."""
        return self.files.is_done()

    def write(self) -> None:
        """Convert the rows and write the files."""
        # A new one for each shard, so that its vocabulary and cache don't grow. (A
        # memory zone frees them too, but turns the cache off: a sixth of the speed.)
        tokenize = make_tokenizer(self.settings.lang)
        shard, losses, counts = ShardBin(), [], Counts()
        for row in self.rows:
            outcome = process(row, lambda record: tokenize(record.text), self.settings)
            counts.add(row, outcome)
            for loss in describe_losses(row, outcome):
                losses.append(json.dumps(loss, ensure_ascii=False) + "\n")
            if outcome.doc is not None:
                shard.add(outcome.doc, outcome.spans, outcome.descriptions)
        written = None
        if len(shard):
            data = shard.to_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            name = self.files.shard.name
            written = {"file": name, "docs": len(shard), "sha256": sha256}
            self.files.write(self.files.shard, data)
        # Bytes that are not UTF-8 are written as JSON escapes of their surrogates.
        text = "".join(losses).encode("utf8", "backslashreplace")
        self.files.write(self.files.quarantine, text)
        content = {"counts": counts.to_json(), "shard": written}
        self.files.write(self.files.counts, json.dumps(content).encode())


def read_chunks(
    rows: Iterable[Row],
    size: int,
    *,
    shards: Path,
    parts: Path,
    settings: ConvertSettings,
) -> Iterator[Chunk]:
    """Cut rows into chunks.

    rows (Iterable[Row]): The rows.
    size (int): The most rows in a chunk.
    shards (Path): The folder of the shards.
    parts (Path): The folder of the other files.
    settings (ConvertSettings): What to keep.
    YIELDS (Chunk): The chunks.
    """
    chunk = Chunk(ShardFiles(shards, parts, 0), settings)
    for row in rows:
        chunk.rows.append(row)
        chunk.size += row.size
        if len(chunk.rows) == size or chunk.size >= MAX_CHUNK_BYTES:
            yield chunk
            chunk = Chunk(ShardFiles(shards, parts, chunk.files.number + 1), settings)
    if chunk.rows:
        yield chunk
