"""DocBin -> word pieces and concept spans as Arrow files, read back memory-mapped."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from spacy.tokens import Doc
from tqdm import tqdm

from ...errors import Errors, NunerError
from ...files import hash_file
from ...parallel import write_parts
from ...readers.docbin import SPANS_KEY, find_shards, read_docbin
from .pieces import AnnotatedText, Mention, PieceCounts, Windower

if TYPE_CHECKING:
    from datasets import Dataset

    from ...encoders.concept_encoder import ConceptEncoder

ROWS_AT_ONCE = 512
TOP_CONCEPTS = 20

IDS = pa.list_(pa.int32())
CONCEPT_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("description", pa.string()),
        ("count", pa.int64()),
        ("name_ids", IDS),
        ("described_ids", IDS),
    ]
)


class ConceptTable:
    """The distinct concepts in the order they were met; an id is an index."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.descriptions: list[str] = []
        self.counts: list[int] = []

    def add(self, name: str, description: str, count: int = 1) -> int:
        """Count mentions; the first description counts. RETURNS (int): The id."""
        index = self.ids.setdefault(name, len(self.ids))
        if index == len(self.counts):
            self.descriptions.append("")
            self.counts.append(0)
        self.counts[index] += count
        self.descriptions[index] = self.descriptions[index] or description
        return index

    def rows(self) -> list[tuple[str, str, int]]:
        """RETURNS (list[tuple[str, str, int]]): The arguments of `add`, by id."""
        return list(zip(self.ids, self.descriptions, self.counts, strict=True))

    def describe(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): A summary for `nuner.json`."""
        names = list(self.ids)
        top = sorted(self.ids.values(), key=lambda index: -self.counts[index])
        return {
            "concepts": len(names),
            "concepts_described": sum(map(bool, self.descriptions)),
            "concepts_once": self.counts.count(1),
            "top_concepts": [[names[i], self.counts[i]] for i in top[:TOP_CONCEPTS]],
        }

    def write(self, path: Path, encoder: ConceptEncoder) -> None:
        """Write the table as an Arrow file, each concept cut into word pieces once."""
        names = list(self.ids)
        with pa.ipc.new_stream(str(path), CONCEPT_SCHEMA) as writer:
            for start in range(0, len(names), ROWS_AT_ONCE):
                part = slice(start, start + ROWS_AT_ONCE)
                columns = [
                    names[part],
                    self.descriptions[part],
                    self.counts[part],
                    encoder.pieces(names[part]),
                    encoder.pieces(names[part], self.descriptions[part]),
                ]
                rows = dict(zip(CONCEPT_SCHEMA.names, columns, strict=True))
                writer.write_batch(pa.RecordBatch.from_pydict(rows, CONCEPT_SCHEMA))


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


@dataclass(frozen=True)
class FeatureShard:
    """The rows of a shard: a part of the work for `parallel.write_parts`.

    It depends on nothing but its shard, the tokenizer and the settings. Ids of concepts
    count those of the shard.
    """

    shard: Path
    """The DocBin."""
    folder: Path
    """Where the files go."""
    windower: Windower
    """Cuts texts into rows."""
    size: int = 1
    """One step of the progress bar."""

    @property
    def rows(self) -> Path:
        """The rows, as an Arrow stream."""
        return self.folder / f"{self.shard.stem}.arrow"

    @property
    def metadata(self) -> Path:
        """Counts, concepts and the hash of the shard: written last."""
        return self.folder / f"{self.shard.stem}.json"

    def is_done(self) -> bool:
        """RETURNS (bool): Whether the rows are there and the shard is as it was."""
        exists = self.metadata.exists()
        return exists and self.read()["sha256"] == hash_file(self.shard)

    def read(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): "sha256", "counts" and "concepts"."""
        return json.loads(self.metadata.read_text(encoding="utf8"))

    def write(self) -> None:
        """Turn the docs of the shard into rows."""
        windower = copy(self.windower)
        windower.counts = PieceCounts()
        table = ConceptTable()
        counts = Counter(sentences=0, sentences_without_concepts=0)
        docs = read_docbin(self.shard)
        temporary = self.rows.with_suffix(".tmp")
        with pa.ipc.new_stream(str(temporary), TEXT_SCHEMA) as writer:
            while batch := list(islice(docs, ROWS_AT_ONCE)):
                texts = [text for doc in batch if (text := _annotations(doc, table))]
                counts["sentences"] += len(texts)
                counts["sentences_without_concepts"] += len(batch) - len(texts)
                rows = list(windower(texts))
                writer.write_batch(pa.RecordBatch.from_pylist(rows, TEXT_SCHEMA))
        temporary.replace(self.rows)
        metadata = {
            "sha256": hash_file(self.shard),
            "counts": {**counts, **asdict(windower.counts)},
            "concepts": table.rows(),
        }
        temporary.write_text(json.dumps(metadata), encoding="utf8")
        temporary.replace(self.metadata)


def _annotations(doc: Doc, table: ConceptTable) -> AnnotatedText | None:
    """The mentions of a doc in characters; None if it has none."""
    if SPANS_KEY not in doc.spans or not doc.spans[SPANS_KEY]:
        return None
    group = doc.spans[SPANS_KEY]
    described = group.attrs.get("descriptions")
    # Of a DocBin from elsewhere it may be anything.
    described = described if isinstance(described, dict) else {}
    return AnnotatedText(
        doc.text,
        [
            Mention(
                span.start_char,
                span.end_char,
                table.add(span.label_, str(described.get(span.label_) or "")),
            )
            for span in group
        ],
    )


TEXTS_FILE = "texts.arrow"
CONCEPTS_FILE = "concepts.arrow"
SHARDS_FOLDER = "shards"


@dataclass
class Features:
    """The corpus, ready for training."""

    texts: Dataset
    """input_ids (special word pieces included), starts, ends, concepts, length,
    text_hash."""
    concepts: Dataset
    """name, description, count, name_ids, described_ids; its rows are the ids."""

    @classmethod
    def from_folder(cls, folder: Path) -> Features:
        """RETURNS (Features): The files of `build_features`, mapped into memory."""
        from datasets import Dataset

        return cls(
            texts=Dataset.from_file(str(folder / TEXTS_FILE)),
            concepts=Dataset.from_file(str(folder / CONCEPTS_FILE)),
        )


def build_features(
    corpus: Path,
    folder: Path,
    *,
    concept_encoder: ConceptEncoder,
    max_length: int,
    n_process: int = 1,
) -> dict[str, Any]:
    """Turn DocBin shards into Arrow files; resumes at the first shard that is missing.

    Memory holds a shard in each process, and the concepts.

    corpus (Path): Folder of `*.spacy` files with `doc.spans["concepts"]`.
    folder (Path): Where the Arrow files go.
    concept_encoder (ConceptEncoder): Gives the tokenizer and the form of concepts.
    max_length (int): Word pieces of a row, special ones included.
    n_process (int): How many processes to use. The output is the same for any number.
    RETURNS (dict[str, Any]): Counts, most frequent concepts and hashes of the corpus,
        for `nuner.json`.
    RAISES (NunerError): N105 if there is no shard, N306 if no doc has a concept, N005
        or N607 if a shard can't be read, N106 if a process died.
    """
    temporary = folder / SHARDS_FOLDER
    temporary.mkdir(parents=True, exist_ok=True)
    windower = Windower(concept_encoder.tokenizer, max_length)
    shards = [FeatureShard(path, temporary, windower) for path in find_shards(corpus)]
    # None: only where there is a terminal.
    with tqdm(total=len(shards), desc="features", unit="shard", disable=None) as bar:
        write_parts(shards, n_process=n_process, bar=bar)
    table, counts = _join(shards, folder / TEXTS_FILE)
    if not counts["mentions"]:
        shutil.rmtree(temporary)
        docs = counts["sentences"] + counts["sentences_without_concepts"]
        raise NunerError(Errors.N306, path=corpus, count=docs, key=SPANS_KEY)
    table.write(folder / CONCEPTS_FILE, concept_encoder)
    hashes = {shard.shard.name: shard.read()["sha256"] for shard in shards}
    shutil.rmtree(temporary)
    return {**counts, **table.describe(), "sha256": hashes}


def has_features(folder: Path) -> bool:
    """RETURNS (bool): Whether the features of a shard or of all are written."""
    files = (f"{SHARDS_FOLDER}/*.json", CONCEPTS_FILE)
    return any(path for pattern in files for path in folder.glob(pattern))


def _join(
    shards: Sequence[FeatureShard], path: Path
) -> tuple[ConceptTable, Counter[str]]:
    """Write the rows of all shards into one file, with ids that count all concepts."""
    table = ConceptTable()
    counts: Counter[str] = Counter()
    column = TEXT_SCHEMA.get_field_index("concepts")
    with pa.ipc.new_stream(str(path), TEXT_SCHEMA) as writer:
        for shard in shards:
            metadata = shard.read()
            counts.update(metadata["counts"])
            concepts = metadata["concepts"]
            ids = np.asarray([table.add(*row) for row in concepts], "int32")
            with pa.memory_map(str(shard.rows)) as file:
                for batch in pa.ipc.open_stream(file):
                    local = batch.column(column)
                    values = pa.array(ids[local.flatten().to_numpy()])
                    global_ = pa.ListArray.from_arrays(local.offsets, values)
                    writer.write_batch(batch.set_column(column, "concepts", global_))
    return table, counts
