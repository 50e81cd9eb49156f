"""DocBin -> word pieces and concept spans as Arrow files, read back memory-mapped."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray
from tqdm import tqdm

from ..corpus.docbin import SPANS_KEY, find_shards
from ..errors import NunerError
from .concepts import ConceptTable
from .encoders import ConceptEncoder
from .parts import TEXT_SCHEMA, Part, write_parts
from .pieces import Windower

TEXTS_FILE = "texts.arrow"
CONCEPTS_FILE = "concepts.arrow"
PARTS_FOLDER = "parts"


@dataclass
class Features:
    """The corpus, ready for training."""

    texts: Dataset
    """input_ids (special word pieces included), starts, ends, concepts, length,
    text_hash."""
    concepts: Dataset
    """name, description, count, name_ids, described_ids; its rows are the ids."""
    places: NDArray[np.int64] | None = None
    """Places of the texts among those of the whole corpus; None if they are all."""

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
    n_process: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Turn DocBin shards into Arrow files; what broke off is gone on with by shards.

    Memory holds a shard in each process, and the concepts.

    corpus (Path): Folder of `*.spacy` files with `doc.spans["concepts"]`.
    folder (Path): Where the Arrow files go.
    concept_encoder (ConceptEncoder): Gives the tokenizer and the form of concepts.
    max_length (int): Word pieces of a row, special ones included.
    n_process (int): How many processes to use. The output is the same for any number.
    quiet (bool): Whether to show no progress bar.
    RETURNS (dict[str, Any]): Counts, most frequent concepts and hashes of the corpus,
        for `nuner.json`.
    RAISES (NunerError): N105 if there is no shard, N306 if no doc has a concept, N005
        if a shard can't be read, N106 if a process died.
    """
    shards = find_shards(corpus)
    place = folder / PARTS_FOLDER
    place.mkdir(parents=True, exist_ok=True)
    parts = [Part(shard, place) for shard in shards]
    windower = Windower(concept_encoder.tokenizer, max_length)
    with tqdm(
        total=len(parts), desc="features", unit="shard", disable=quiet or None
    ) as bar:
        write_parts(parts, windower, n_process=n_process, bar=bar)
    table, counts = _join(parts, folder / TEXTS_FILE)
    if not counts["mentions"]:
        shutil.rmtree(place)
        docs = counts["sentences"] + counts["sentences_without_concepts"]
        raise NunerError("N306", path=corpus, count=docs, key=SPANS_KEY)
    table.write(folder / CONCEPTS_FILE, concept_encoder)
    hashes = {part.shard.name: part.read()["sha256"] for part in parts}
    shutil.rmtree(place)
    return {**counts, **table.describe(), "sha256": hashes}


def count_parts(folder: Path) -> int:
    """Tell how much of the features stands.

    folder (Path): Where they go.
    RETURNS (int): The number of files that a new start would go on with.
    """
    return sum(1 for _ in folder.glob(f"{PARTS_FOLDER}/*.json")) + sum(
        1 for _ in folder.glob(CONCEPTS_FILE)
    )


def _join(parts: Sequence[Part], path: Path) -> tuple[ConceptTable, Counter[str]]:
    """Write the rows of all parts into one file, with ids that count all concepts."""
    table = ConceptTable()
    counts: Counter[str] = Counter()
    with pa.ipc.new_stream(str(path), TEXT_SCHEMA) as writer:
        for part in parts:
            facts = part.read()
            counts.update(facts["counts"])
            ids = np.asarray([table.add(*row) for row in facts["concepts"]], "int32")
            with pa.memory_map(str(part.rows)) as file:
                for batch in pa.ipc.open_stream(file):
                    writer.write_batch(_renumbered(batch, ids))
    return table, counts


def _renumbered(batch: pa.RecordBatch, ids: np.ndarray) -> pa.RecordBatch:
    place = TEXT_SCHEMA.get_field_index("concepts")
    local = batch.column(place)
    values = pa.array(ids[local.flatten().to_numpy()])
    column = pa.ListArray.from_arrays(local.offsets, values)
    return batch.set_column(place, "concepts", column)
