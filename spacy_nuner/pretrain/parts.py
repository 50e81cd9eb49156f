"""DocBin shards -> rows of word pieces, each shard by itself, in several processes."""

import gc
import json
import multiprocessing
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from spacy.tokens import Doc
from tqdm import tqdm

from ..corpus.docbin import SPANS_KEY, read_docbin
from ..corpus.worker import start_worker
from ..errors import NunerError
from ..files import hash_file
from .concepts import ConceptTable
from .pieces import AnnotatedText, Span, Windower

ROWS_AT_ONCE = 512

IDS = pa.list_(pa.int32())
TEXT_SCHEMA = pa.schema(
    [
        ("input_ids", IDS),
        ("starts", IDS),
        ("ends", IDS),
        ("concepts", IDS),
        ("length", pa.int32()),
        ("text_hash", pa.uint32()),
    ]
)


@dataclass
class PartCounts:
    """What was counted in a shard."""

    sentences: int = 0
    """Docs with a concept."""
    sentences_without_concepts: int = 0
    """Docs without."""


@dataclass(frozen=True)
class Part:
    """Where a shard's rows are, and what else is known of it.

    A part depends on nothing but its shard, the tokenizer and the settings, so any
    process can make it. Ids of concepts count those of the shard.
    """

    shard: Path
    """The DocBin."""
    folder: Path
    """Where the files of the part go."""

    @property
    def rows(self) -> Path:
        """The rows, as an Arrow stream."""
        return self.folder / f"{self.shard.stem}.arrow"

    @property
    def facts(self) -> Path:
        """Counts, concepts and the hash of the shard: written last."""
        return self.folder / f"{self.shard.stem}.json"

    def is_done(self) -> bool:
        """RETURNS (bool): Whether the part stands and its shard is as it was."""
        return self.facts.exists() and self.read()["sha256"] == hash_file(self.shard)

    def read(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): "sha256", "counts" and "concepts"."""
        return json.loads(self.facts.read_text(encoding="utf8"))

    def write(self, windower: Windower) -> None:
        """Turn the docs of the shard into rows.

        windower (Windower): Cuts texts into rows; its counts start at 0.
        RAISES (NunerError): N005 if the shard can't be read.
        """
        table = ConceptTable()
        counts = PartCounts()
        docs = read_docbin(self.shard)
        beside = self.rows.with_suffix(".tmp")
        with pa.ipc.new_stream(str(beside), TEXT_SCHEMA) as writer:
            while batch := list(islice(docs, ROWS_AT_ONCE)):
                texts = [text for doc in batch if (text := _annotations(doc, table))]
                counts.sentences += len(texts)
                counts.sentences_without_concepts += len(batch) - len(texts)
                rows = list(windower(texts))
                writer.write_batch(pa.RecordBatch.from_pylist(rows, TEXT_SCHEMA))
        beside.replace(self.rows)
        facts = {
            "sha256": hash_file(self.shard),
            "counts": {**asdict(counts), **asdict(windower.counts)},
            "concepts": table.rows(),
        }
        beside.write_text(json.dumps(facts), encoding="utf8")
        beside.replace(self.facts)


def write_parts(
    parts: Sequence[Part], windower: Windower, *, n_process: int, bar: tqdm
) -> None:
    """Make the parts that are not made yet.

    parts (Sequence[Part]): One a shard.
    windower (Windower): Cuts texts into rows; its counts stay at 0.
    n_process (int): How many processes to use; with 1 it is this one.
    bar (tqdm): Told of the shards that are done.
    RAISES (NunerError): N106 if a process died, and what `Part.write` raises.
    """
    todo = [part for part in parts if not part.is_done()]
    bar.update(len(parts) - len(todo))
    packed = pickle.dumps(windower)
    if n_process == 1 or len(todo) < 2:
        for part in todo:
            part.write(pickle.loads(packed))
            bar.update()
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(n_process, len(todo)), mp_context=context, initializer=start_worker
    )
    try:
        for done in as_completed([pool.submit(_write, p, packed) for p in todo]):
            done.result()
            bar.update()
    except BrokenProcessPool as error:
        raise NunerError("N106", count=n_process) from error
    finally:
        # After an error only the shards that are at work are waited for.
        pool.shutdown(cancel_futures=True)


def _write(part: Part, packed: bytes) -> None:
    part.write(pickle.loads(packed))
    # The worker collects no cycles by itself: see there.
    gc.collect()


def _annotations(doc: Doc, table: ConceptTable) -> AnnotatedText | None:
    """The mentions of a doc in characters; None if it has none."""
    if SPANS_KEY not in doc.spans or not doc.spans[SPANS_KEY]:
        return None
    group = doc.spans[SPANS_KEY]
    described = group.attrs.get("descriptions", {})
    return AnnotatedText(
        doc.text,
        [
            Span(
                span.start_char,
                span.end_char,
                table.add(span.label_, described.get(span.label_) or ""),
            )
            for span in group
        ],
    )
