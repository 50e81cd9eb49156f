"""The concepts of a corpus: names, descriptions, counts, word pieces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from .encoders import ConceptEncoder

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
    """The distinct concepts in the order they were met; an id is a place in it."""

    def __init__(self) -> None:
        """Start without concepts."""
        self.ids: dict[str, int] = {}
        self.descriptions: list[str] = []
        self.counts: list[int] = []

    def add(self, name: str, description: str, count: int = 1) -> int:
        """Count mentions.

        name (str): The concept.
        description (str): What it means there; the first that is not empty is kept.
        count (int): How many there are.
        RETURNS (int): The id of the concept.
        """
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
        """Sum up the table for `nuner.json`.

        RETURNS (dict[str, Any]): Numbers of concepts and the most frequent ones.
        """
        names = list(self.ids)
        top = sorted(self.ids.values(), key=lambda index: -self.counts[index])
        return {
            "concepts": len(names),
            "concepts_described": sum(map(bool, self.descriptions)),
            "concepts_once": self.counts.count(1),
            "top_concepts": [[names[i], self.counts[i]] for i in top[:TOP_CONCEPTS]],
        }

    def write(self, path: Path, encoder: ConceptEncoder) -> None:
        """Write the table as an Arrow file, each concept cut into word pieces once.

        path (Path): The file.
        encoder (ConceptEncoder): Cuts concepts into word pieces.
        """
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
                arrays = [
                    pa.array(values, column.type)
                    for values, column in zip(columns, CONCEPT_SCHEMA, strict=True)
                ]
                writer.write_batch(
                    pa.RecordBatch.from_arrays(arrays, schema=CONCEPT_SCHEMA)
                )
