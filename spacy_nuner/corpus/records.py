"""The one record type that every source is read into."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Entity(NamedTuple):
    """An annotation as its source has it.

    text (str): The words of the entity.
    concept (str): The name of the concept, as written.
    description (str | None): What the concept means.
    start (int | None): Where the entity begins in the text, in characters, if known.
    end (int | None): Where it ends, exclusive.
    """

    text: str
    concept: str
    description: str | None = None
    start: int | None = None
    end: int | None = None


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


class BadRow(Exception):
    """A row that holds no usable record; it goes to the quarantine.

    reason (str): Why, in a fixed wording that can be counted.
    detail (str): What exactly was found.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
