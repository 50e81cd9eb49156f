"""The one record type that every source is read into, and what it is read from."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Source(NamedTuple):
    """A file or a data set, and the form of its rows.

    name (str): The file, or "hub:NAME" or "hub:NAME:CONFIG".
    format (str): "jsonl", "json" (one list of objects), "csv", "bio", "docbin", "hub".
    split (str | None): The split of a data set on the hub.
    revision (str | None): Its commit.
    """

    name: str
    format: str
    split: str | None = None
    revision: str | None = None


@dataclass(slots=True)
class Row:
    """A record as it stands in its source.

    source (Source): The file or data set.
    line (int): The number of its first line, from 1; in a JSON list, a DocBin or a
        data set on the hub the number of the object.
    cells (list[str]): The two cells of a CSV row (input, output), the lines of a
        sentence in a BIO file, else a JSON object; several of them are conversations
        about one text.
    size (int): Its length in bytes.
    problem (BadRow | None): Why it can't be read, where that is seen already.
    """

    source: Source
    line: int
    cells: list[str]
    size: int
    problem: "BadRow | None" = None


class Entity(NamedTuple):
    """An annotation as its source has it.

    text (str): The words of the entity.
    concept (str): The name of the concept, as written; "" where the source has none,
        but a description.
    description (str | None): What the concept means.
    start (int | None): Where the entity begins in the text, in characters, if known.
    end (int | None): Where it ends, exclusive.
    """

    text: str
    concept: str
    description: str | None = None
    start: int | None = None
    end: int | None = None

    def to_json(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The entity as it stands in a JSONL file."""
        data = {**self._asdict(), "concept": self.concept or None}
        if self.start is None:
            del data["start"], data["end"]
        return data


class Loss(NamedTuple):
    """An annotation that did not come through, for the report and the quarantine.

    reason (str): Why, in a fixed wording that can be counted.
    annotation (str): The annotation or the line of the answer.
    """

    reason: str
    annotation: str


@dataclass(slots=True)
class Record:
    """A sentence or passage and what an annotator found in it.

    text (str): The text, exactly as it will stand in the Doc.
    entities (list[Entity]): The annotations that could be read.
    bad (list[Loss]): Those that could not.
    answer (str | None): The raw answer of the LLM, where the source has it.
    id (str | None): The source's name for the record.
    """

    text: str
    entities: list[Entity]
    bad: list[Loss] = field(default_factory=list)
    answer: str | None = None
    id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Bring the record into the form of a JSONL file, without what is in `bad`.

        RETURNS (dict[str, Any]): The raw answer where there is one, else the entities.
        """
        data: dict[str, Any] = {} if self.id is None else {"id": self.id}
        data["text"] = self.text
        if self.answer is not None:
            data["answer"] = self.answer
            return data
        data["entities"] = [entity.to_json() for entity in self.entities]
        return data


class BadRow(Exception):
    """A row that holds no usable record; it goes to the quarantine.

    reason (str): Why, in a fixed wording that can be counted.
    detail (str): What exactly was found.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
