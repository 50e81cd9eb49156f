"""The types that every source is read into, and the count of what was lost on the way.

One `Entity` goes from the parser of an answer to the DocBin, one `Loss` from where
something was lost to the report, and one `Tally` counts losses in every command.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Bounds the memory of a row. spaCy takes texts of up to a million characters; the
# longest of 80,000 rows of published sets has 15 kB, but a document of 20 pages with
# the spans of a labelling tool has some hundred.
MAX_ROW = 1_000_000
# How much of a longer line goes to the quarantine.
HEAD = 500


class Reading(NamedTuple):
    """How a labelled set is read, where its form leaves a choice.

    form (str | None): The form of the rows, one of `forms.ROW_FORMS`; None to recognise
        each by its content.
    labels (tuple[str, ...]): The names of tags that are numbers, from 0.
    annotators (str): Whose annotation counts where several people annotated a text:
        "first", "majority", "union" or the name of one.
    predictions (bool): Take what a model suggested where nobody annotated.
    fix_offsets (bool): Mend offsets that the words of a span show to be counted in
        another way.
    field (str | None): The name of the field that was annotated, in the forms whose
        fields have names of the user's; None to find out.
    """

    form: str | None = None
    labels: tuple[str, ...] = ()
    annotators: str = "first"
    predictions: bool = False
    fix_offsets: bool = False
    field: str | None = None


class Source(NamedTuple):
    """A file or a data set, and the form of its rows.

    name (str): The file, or "hub:NAME:CONFIG:SPLIT" of which NAME alone is required.
    format (str): What holds the rows: a name of `sources.CONTAINERS`, or "hub".
    split (str | None): The split of a data set on the hub.
    revision (str | None): Its commit.
    reading (Reading): How its rows are read.
    """

    name: str
    format: str
    split: str | None = None
    revision: str | None = None
    reading: Reading = Reading()


class Entity(NamedTuple):
    """An annotation.

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

    @property
    def name(self) -> str:
        """The concept, or the description that stands for it."""
        return self.concept or self.description or ""

    def to_json(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The entity as an object of a JSONL file."""
        data = {**self._asdict(), "concept": self.concept or None}
        if self.start is None:
            del data["start"], data["end"]
        return data


class Loss(NamedTuple):
    """Something that did not come through: a row, a line or an annotation.

    kind (str): Why, in a fixed wording that can be counted.
    where (str): The file and the line.
    detail (str): What was lost, or what exactly was found.
    """

    kind: str
    where: str = ""
    detail: str = ""


class Tally:
    """Counts of losses by their kind, and the first of each kind as an example."""

    def __init__(self) -> None:
        """Start at 0."""
        self.counts: Counter[str] = Counter()
        self.first: dict[str, Loss] = {}

    def add(self, kind: str, where: str = "", detail: str = "") -> None:
        """Count a loss.

        kind (str): Why it was lost, in a fixed wording.
        where (str): The file and the line.
        detail (str): What was lost, or what exactly was found.
        """
        self.counts[kind] += 1
        if kind not in self.first:
            self.first[kind] = Loss(kind, where, detail)

    def update(self, other: "Tally") -> None:
        """Add later counts.

        other (Tally): The counts.
        """
        self.counts.update(other.counts)
        for kind, loss in other.first.items():
            self.first.setdefault(kind, loss)

    def total(self) -> int:
        """RETURNS (int): How many losses there were of any kind."""
        return self.counts.total()

    def describe(self) -> str:
        """RETURNS (str): The counts by kind, each with where it was seen first."""
        return ", ".join(
            f"{count} {kind} (first: {self.first[kind].where})"
            for kind, count in self.counts.most_common()
        )

    def most_common(self) -> dict[str, int]:
        """RETURNS (dict[str, int]): Kinds and counts, the most frequent first."""
        return dict(self.counts.most_common())

    def to_json(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The counts, for `from_json`."""
        return {"counts": self.counts, "first": list(self.first.values())}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Tally":
        """Read counts.

        data (dict[str, Any]): What `to_json` returned.
        RETURNS (Tally): The tally.
        """
        tally = cls()
        tally.counts.update(data["counts"])
        tally.first = {first[0]: Loss(*first) for first in data["first"]}
        return tally


@dataclass(slots=True)
class Record:
    """A sentence or passage and what an annotator found in it.

    text (str): The text, exactly as it will be in the Doc.
    entities (list[Entity]): The annotations that could be read.
    losses (list[Loss]): Those that could not.
    answer (str | None): The raw answer of the LLM, where the source has it.
    id (str | None): The source's name for the record.
    words (list[str] | None): The tokens, where the source has them.
    spaces (list[bool] | None): For each of them, whether a blank follows in `text`.
    labels (list[str] | None): What was looked for in the text, where the source says
        it: labels that are not among the entities do not occur.
    passed (Counter[str]): What the source holds beside entities and was passed over,
        such as relations, or was mended.
    agreement (tuple[int, int] | None): Of several annotators: twice the spans that two
        of them have in common, and the spans of both, summed over all pairs. The first
        over the second is the F1 of one against another.
    form (str | None): The name of its form in `forms.ROW_FORMS`, if it has one.
    """

    text: str
    entities: list[Entity]
    losses: list[Loss] = field(default_factory=list)
    answer: str | None = None
    id: str | None = None
    words: list[str] | None = None
    spaces: list[bool] | None = None
    labels: list[str] | None = None
    passed: Counter[str] = field(default_factory=Counter)
    agreement: tuple[int, int] | None = None
    form: str | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The record as an object of a JSONL file, with the
        raw answer where there is one, else the entities."""
        data: dict[str, Any] = {} if self.id is None else {"id": self.id}
        data["text"] = self.text
        if self.answer is not None:
            data["answer"] = self.answer
            return data
        data["entities"] = [entity.to_json() for entity in self.entities]
        if self.labels is not None:
            data["labels"] = self.labels
        return data


class BadRow(Exception):
    """A row that holds no usable record, or an annotation that can't be read.

    kind (str): Why, in a fixed wording that can be counted.
    detail (str): What exactly was found.
    line (int | None): Where that is, if not on the first line of the row.
    text (str | None): The text, where it was a person who refused it.
    """

    def __init__(
        self,
        kind: str,
        detail: str = "",
        line: int | None = None,
        *,
        text: str | None = None,
    ) -> None:
        super().__init__(kind, detail, line)
        self.kind = kind
        self.detail = detail
        self.line = line
        self.text = text


class Line(NamedTuple):
    """A line of a file.

    number (int): Its number, from 1.
    data (bytes): The line with its end; the beginning of one that is too long.
    size (int): Its length in bytes.
    """

    number: int
    data: bytes
    size: int

    @property
    def text(self) -> str:
        """The line decoded; bytes that are not UTF-8 become lone surrogates."""
        return self.data.decode("utf8", "surrogateescape")

    @property
    def problem(self) -> BadRow | None:
        """Why the line can't be read, if it can't."""
        # A byte order mark of 3 bytes is not in the data.
        return too_long(self.size) if self.size > len(self.data) + 3 else None


def too_long(size: int, limit: int = MAX_ROW) -> BadRow:
    """The problem of a row of too many bytes."""
    return BadRow("row too long", f"{size} bytes, at most {limit} are read")


@dataclass(slots=True)
class Row:
    """A record as its source has it.

    source (Source): The file or data set.
    line (int): The number of its first line, from 1; in a JSON list, a DocBin or a
        data set on the hub the number of the object.
    content (list[Any] | Record): The two cells of a CSV row (input, output), a line of
        JSON, or objects; several of them are conversations about one text. Of columns
        of tokens and of a DocBin the record itself.
    size (int): Its length in bytes.
    problem (BadRow | None): Why it can't be read, where that is seen already.
    """

    source: Source
    line: int
    content: list[Any] | Record
    size: int
    problem: BadRow | None = None

    def where(self, line: int | None = None) -> str:
        """Say where the row is, for a message.

        line (int | None): A line of it, if not the first.
        RETURNS (str): File and line.
        """
        return f"{self.source.name}, line {line or self.line}"
