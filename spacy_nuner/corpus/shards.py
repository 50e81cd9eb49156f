"""Rows in chunks, and what becomes of a chunk: one shard, its losses and its counts.

A chunk depends on nothing but its rows and the settings, so any process can turn it
into files, in any order.
"""

import gc
import hashlib
import json
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import Errors, NunerError
from ..parallel import start_worker
from ..readers.docbin import ShardBin
from ..readers.records import Row
from ..tokenizers import make_tokenizer
from .losses import Tally, describe_losses
from .row_to_doc import Settings, process

# Bounds the memory of a shard of long passages: 32 MiB of rows are 3 times the
# 20,000 sentences of a usual one.
MAX_CHUNK_BYTES = 1 << 25


@dataclass(slots=True)
class Chunk:
    """Rows that become one shard.

    number (int): Its place in the order of the input, from 0.
    rows (list[Row]): The rows.
    size (int): Their length in bytes.
    """

    number: int
    rows: list[Row] = field(default_factory=list)
    size: int = 0


def read_chunks(rows: Iterable[Row], size: int) -> Iterator[Chunk]:
    """Cut rows into chunks.

    rows (Iterable[Row]): The rows.
    size (int): The most rows in a chunk.
    YIELDS (Chunk): The chunks.
    """
    chunk = Chunk(0)
    for row in rows:
        chunk.rows.append(row)
        chunk.size += row.size
        if len(chunk.rows) == size or chunk.size >= MAX_CHUNK_BYTES:
            yield chunk
            chunk = Chunk(chunk.number + 1)
    if chunk.rows:
        yield chunk


@dataclass
class Part:
    """What became of a chunk.

    tally (Tally): The counts.
    shard (dict | None): Name, docs and SHA-256 of the shard; None if nothing in the
        chunk was usable.
    """

    tally: Tally
    shard: dict[str, Any] | None


@dataclass(frozen=True)
class PartFiles:
    """The files of the chunks, in the folder of a run.

    shards (Path): The folder of the shards.
    parts (Path): The folder of the rest, which is joined at the end.
    """

    shards: Path
    parts: Path

    def quarantine(self, number: int) -> Path:
        """number (int): Of a chunk. RETURNS (Path): Its losses, as JSONL."""
        return self.parts / f"{number:05}.jsonl"

    def is_done(self, number: int) -> bool:
        """Tell whether all files of a chunk stand, and the shard is undamaged.

        number (int): Of a chunk.
        RETURNS (bool): Whether it need not be converted again.
        """
        if not self._counts(number).is_file():
            return False
        shard = self.read(number).shard
        if shard is None:
            return True
        path = self.shards / shard["file"]
        if not path.is_file():
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]

    def count_shards(self) -> int:
        """RETURNS (int): How many shards stand."""
        return sum(1 for _ in self.shards.glob("*.spacy"))

    def read(self, number: int) -> Part:
        """number (int): Of a chunk that is done. RETURNS (Part): What became of it."""
        data = json.loads(self._counts(number).read_text(encoding="utf8"))
        return Part(Tally.from_json(data["tally"]), data["shard"])

    def write(
        self, number: int, shard: ShardBin, losses: list[str], tally: Tally
    ) -> None:
        """Write the files of a chunk, the one that says that it is done last.

        number (int): Of the chunk.
        shard (ShardBin): Its docs.
        losses (list[str]): The lines of its quarantine.
        tally (Tally): The counts.
        """
        written = None
        if len(shard):
            data = shard.to_bytes()
            name = f"{number:05}.spacy"
            sha256 = hashlib.sha256(data).hexdigest()
            written = {"file": name, "docs": len(shard), "sha256": sha256}
            self._put(self.shards / name, data)
        # Bytes that are not UTF-8 are written as JSON escapes of their surrogates.
        text = "".join(losses).encode("utf8", "backslashreplace")
        self._put(self.quarantine(number), text)
        content = {"tally": tally.to_json(), "shard": written}
        self._put(self._counts(number), json.dumps(content).encode())

    def _put(self, path: Path, data: bytes) -> None:
        # Not beside a shard, where it would stay if the process is killed.
        beside = self.parts / f"{path.name}.{os.getpid()}"
        beside.write_bytes(data)
        beside.replace(path)

    def _counts(self, number: int) -> Path:
        return self.parts / f"{number:05}.json"


def write_chunk(
    chunk: Chunk,
    files: PartFiles,
    settings: Settings,
    tick: Callable[[int], object] | None = None,
) -> None:
    """Convert the rows of a chunk and write its files.

    chunk (Chunk): The rows.
    files (PartFiles): Where the files go.
    settings (Settings): What to keep.
    tick (Callable[[int], object] | None): Called with the size of each row.
    """
    # What the vocabulary and the cache of a tokenizer learn from a shard goes with
    # it. (A memory zone does so too, but turns the cache off: a sixth of the
    # tokenizer's speed.)
    tokenize = make_tokenizer(settings.lang)
    shard, losses, tally = ShardBin(), [], Tally()
    for row in chunk.rows:
        outcome = process(row, tokenize, settings)
        tally.count(row, outcome)
        for loss in describe_losses(row, outcome):
            losses.append(json.dumps(loss, ensure_ascii=False) + "\n")
        if outcome.doc is not None:
            shard.add(outcome.doc, outcome.spans, outcome.descriptions)
        if tick is not None:
            tick(row.size)
    files.write(chunk.number, shard, losses, tally)


def write_chunks(
    chunks: Iterable[Chunk],
    files: PartFiles,
    settings: Settings,
    *,
    n_process: int,
    bar: tqdm,
) -> None:
    """Convert chunks, each in one of several processes.

    chunks (Iterable[Chunk]): The chunks; one more than there are processes is read
        ahead.
    files (PartFiles): Where the files go.
    settings (Settings): What to keep.
    n_process (int): How many processes; with 1 it is this one.
    bar (tqdm): Told of the bytes that are done.
    RAISES (NunerError): N106 if a process died.
    """
    if n_process == 1:
        for chunk in chunks:
            write_chunk(chunk, files, settings, bar.update)
        return
    # A process that is forked hangs where this one has already run torch, and is not
    # to be had on every system; a spawned one works everywhere.
    context = multiprocessing.get_context("spawn")
    sizes: dict[Future[None], int] = {}
    pool = ProcessPoolExecutor(n_process, mp_context=context, initializer=start_worker)
    try:
        for chunk in chunks:
            # Packed, rows that wait take a third of the memory.
            packed = pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL)
            future = pool.submit(_write_packed, packed, files, settings)
            sizes[future] = chunk.size
            if len(sizes) > n_process:
                _collect(sizes, bar)
        while sizes:
            _collect(sizes, bar)
    except BrokenProcessPool as error:
        raise NunerError(Errors.N106, count=n_process) from error
    finally:
        # After an error only the chunks that are being converted are waited for.
        pool.shutdown(cancel_futures=True)


def _write_packed(packed: bytes, files: PartFiles, settings: Settings) -> None:
    write_chunk(pickle.loads(packed), files, settings)
    # The worker collects no cycles by itself: see there.
    gc.collect()


def _collect(sizes: dict[Future[None], int], bar: tqdm) -> None:
    done, _ = wait(sizes, return_when=FIRST_COMPLETED)
    for future in done:
        bar.update(sizes.pop(future))
        future.result()
