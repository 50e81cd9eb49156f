"""DocBin -> word pieces and concept spans as Arrow files, read back memory-mapped."""

import hashlib
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from spacy.tokens import Doc
from tqdm import tqdm

from ..corpus.docbin import read_docbin
from ..errors import NunerError
from .concepts import ConceptTable
from .encoders import ConceptEncoder
from .pieces import AnnotatedText, Span, Windower

SPANS_KEY = "concepts"
TEXTS_FILE = "texts.arrow"
CONCEPTS_FILE = "concepts.arrow"
ROWS_AT_ONCE = 512

IDS = pa.list_(pa.int32())
TEXT_SCHEMA = pa.schema(
    [
        ("input_ids", IDS),
        ("starts", IDS),
        ("ends", IDS),
        ("concepts", IDS),
        ("length", pa.int32()),
    ]
)


@dataclass
class Features:
    """The corpus, ready for training."""

    texts: Dataset
    """input_ids (special word pieces included), starts, ends, concepts, length."""
    concepts: Dataset
    """name, description, count, name_ids, described_ids; its rows are the ids."""

    @classmethod
    def from_folder(cls, folder: Path) -> "Features":
        """Map the Arrow files of `build_features` into memory.

        folder (Path): Where they are.
        RETURNS (Features): The corpus.
        """
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
    quiet: bool = False,
) -> dict[str, Any]:
    """Turn DocBin shards into Arrow files; memory holds one shard and the concepts.

    corpus (Path): Folder of `*.spacy` files with `doc.spans["concepts"]`.
    folder (Path): Where the Arrow files go.
    concept_encoder (ConceptEncoder): Gives the tokenizer and the form of concepts.
    max_length (int): Word pieces of a row, special ones included.
    quiet (bool): Whether to show no progress bar.
    RETURNS (dict[str, Any]): Counts, most frequent concepts and hashes of the corpus,
        for `nuner.json`.
    RAISES (NunerError): N305 if there is no shard, N306 if no doc has a concept, N005
        if a shard can't be read.
    """
    table = ConceptTable()
    windower = Windower(concept_encoder.tokenizer, max_length)
    sentences = annotated = 0
    hashes = {}
    folder.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(folder / TEXTS_FILE), TEXT_SCHEMA) as writer:
        for shard in tqdm(
            find_shards(corpus), desc="features", unit="shard", disable=quiet
        ):
            hashes[shard.name] = _sha256(shard)
            docs = read_docbin(shard)
            while batch := list(islice(docs, ROWS_AT_ONCE)):
                texts = [text for doc in batch if (text := _annotations(doc, table))]
                sentences += len(batch)
                annotated += len(texts)
                rows = list(windower(texts))
                writer.write_batch(pa.RecordBatch.from_pylist(rows, TEXT_SCHEMA))
    if not windower.counts.mentions:
        raise NunerError("N306", path=corpus, count=sentences, key=SPANS_KEY)
    table.write(folder / CONCEPTS_FILE, concept_encoder)
    return {
        "sentences": annotated,
        "sentences_without_concepts": sentences - annotated,
        **asdict(windower.counts),
        **table.describe(),
        "sha256": hashes,
    }


def find_shards(corpus: Path) -> list[Path]:
    """List the DocBin files of a corpus.

    corpus (Path): The folder.
    RETURNS (list[Path]): Its `*.spacy` files by name.
    RAISES (NunerError): N305 if there are none.
    """
    shards = sorted(corpus.glob("*.spacy"))
    if not shards:
        raise NunerError("N305", path=corpus)
    return shards


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
