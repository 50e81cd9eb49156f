"""A row -> a doc: parse, clean, tokenise, align."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from spacy.tokens import Doc

from ..concept_names import EMPTY_TYPES, MAX_NAME, REFUSED, clean_concept
from ..readers.forms import read_record
from ..readers.labelled.offsets import WRONG_OFFSETS
from ..readers.records import BadRow, Entity, Loss, Record, Row
from .align import (
    BLANK,
    MAX_SPANS,
    NOT_IN_TEXT,
    TOO_MANY,
    TOO_OFTEN,
    Match,
    Occurrences,
    align,
)

REFUSED_CONCEPT = "refused concept in the sentence"
NOTHING_LEFT = "no annotation left"
EMPTY_TYPE = "empty type"
EMPTY_NAME = "concept without letters"
LONG_NAME = "concept too long"
REPEATED = "repeated"
INSIDE_TOKEN = "begins or ends inside a token"
# What a person may want to look at; the other losses are as the settings say.
QUARANTINED = {
    *(NOT_IN_TEXT, WRONG_OFFSETS, BLANK, TOO_MANY, TOO_OFTEN),
    *(EMPTY_NAME, LONG_NAME, INSIDE_TOKEN),
}


@dataclass(frozen=True)
class ConvertSettings:
    """Settings of a conversion.

    lang (str): The language whose spaCy tokenizer is used.
    occurrences (str): Which occurrences of an entity are annotated: "all", the
        "first", or "in_order" of the answer.
    ignore_case (bool): Look for what is not found as written without regard to case,
        blanks and the form of quotes.
    clean_names (bool): Clean the names of concepts. False: they stay as they are,
        whatever they say, as in labelled sets.
    refused (frozenset[str]): A sentence with one of these concepts is dropped.
    empty_types (frozenset[str]): Annotations with these concepts are dropped.
    """

    lang: str = "en"
    occurrences: Occurrences = "all"
    ignore_case: bool = True
    clean_names: bool = True
    refused: frozenset[str] = REFUSED
    empty_types: frozenset[str] = EMPTY_TYPES

    def to_json(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The settings, sets as sorted lists."""
        return {
            key: sorted(value) if isinstance(value, frozenset) else value
            for key, value in asdict(self).items()
        }


@dataclass(slots=True)
class Outcome:
    """What became of a row.

    doc (Doc | None): The text, tokenised, unless the row was refused or dropped.
    matches (list[Match]): The entities that were found in it.
    spans (list[tuple[int, int, str]]): Their spans: first token, end, concept.
    record (Record | None): The record, unless the row was refused.
    refused (Loss | None): Why there is no record.
    dropped (str | None): Why the record is not wanted.
    lost (list[Loss]): The annotations that were not found or not wanted.
    line (int): The line of the row, or of what is wrong in it.
    skipped (str | None): The text of a row that a person refused.
    """

    doc: Doc | None = None
    matches: list[Match] = field(default_factory=list)
    spans: list[tuple[int, int, str]] = field(default_factory=list)
    record: Record | None = None
    refused: Loss | None = None
    dropped: str | None = None
    lost: list[Loss] = field(default_factory=list)
    line: int = 0
    skipped: str | None = None

    @property
    def descriptions(self) -> dict[str, str]:
        """What the concepts mean, where the record says it; the first counts."""
        described: dict[str, str] = {}
        for match in self.matches:
            if match.entity.description:
                described.setdefault(match.entity.concept, match.entity.description)
        return described


def parse(row: Row) -> Outcome:
    """Turn a row into a record.

    row (Row): The row.
    RETURNS (Outcome): The record, or why there is none.
    """
    try:
        return Outcome(record=read_record(row), line=row.line)
    except BadRow as bad:
        refused = Loss(bad.kind, row.where(bad.line), bad.detail)
        return Outcome(refused=refused, line=bad.line or row.line, skipped=bad.text)


def process(
    row: Row, make_doc: Callable[[Record], Doc], settings: ConvertSettings
) -> Outcome:
    """Turn a row into a doc and its spans. Depends on nothing but its arguments.

    row (Row): The row.
    make_doc (Callable[[Record], Doc]): Makes the tokens of a record.
    settings (ConvertSettings): What to keep.
    RETURNS (Outcome): Doc and spans, or why there are none, and every loss.
    """
    outcome, where = parse(row), row.where()
    record = outcome.record
    if record is None:
        return outcome
    # A definition alone is taken for the name.
    names = [entity.name for entity in record.entities]
    if settings.clean_names:
        names = [clean_concept(name) for name in names]
    if not settings.refused.isdisjoint(names):
        outcome.dropped = REFUSED_CONCEPT
        outcome.lost = [_loss(REFUSED_CONCEPT, where, e) for e in record.entities]
        return outcome
    wanted: list[Entity] = []
    wanted_names: list[str] = []
    for name, entity in zip(names, record.entities, strict=True):
        if kind := _refuse_name(name, entity, settings):
            outcome.lost.append(_loss(kind, where, entity))
        else:
            wanted.append(entity)
            wanted_names.append(name)
    doc = make_doc(record)
    matches = align(
        doc,
        wanted,
        text=record.text,
        occurrences=settings.occurrences,
        ignore_case=settings.ignore_case,
    )
    spans: dict[tuple[int, int, str], None] = {}
    seen: set[tuple[int, str]] = set()
    for name, match in zip(wanted_names, matches, strict=True):
        entity = match.entity
        if kind := _add_spans(match, name, spans, seen):
            outcome.lost.append(_loss(kind, where, entity))
            continue
        # A description that is taken for the name describes nothing.
        description = entity.description if entity.concept else None
        match.entity = entity._replace(concept=name, description=description)
        outcome.matches.append(match)
    outcome.spans = list(spans)
    if (record.entities or record.losses) and not spans:
        outcome.dropped = NOTHING_LEFT
    else:
        outcome.doc = doc
    return outcome


def _add_spans(
    match: Match,
    name: str,
    spans: dict[tuple[int, int, str], None],
    seen: set[tuple[int, str]],
) -> str | None:
    """Add the spans of a match that are new, or say why there are none."""
    if not match.spans:
        return match.how
    # `align` has one list for the same words, which need not be gone through again.
    if (id(match.spans), name) in seen:
        return REPEATED
    seen.add((id(match.spans), name))
    unknown = ((*span, name) for span in match.spans if (*span, name) not in spans)
    new = list(islice(unknown, MAX_SPANS - len(spans) + 1))
    if len(spans) + len(new) > MAX_SPANS:
        return TOO_OFTEN
    spans.update(dict.fromkeys(new))
    return None if new else REPEATED


def _refuse_name(name: str, entity: Entity, settings: ConvertSettings) -> str | None:
    if not settings.clean_names:
        return None
    if not any(map(str.isalnum, name)):
        return EMPTY_NAME
    if name in settings.empty_types:
        return EMPTY_TYPE
    return LONG_NAME if entity.concept and len(name) > MAX_NAME else None


def _loss(kind: str, where: str, entity: Entity) -> Loss:
    return Loss(kind, where, f"{entity.text} <> {entity.name}")
