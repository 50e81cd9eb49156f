"""A row -> a doc: parse, clean, tokenise, align."""

from dataclasses import dataclass, field

from spacy.tokens import Doc

from ..concept_names import EMPTY_TYPES, MAX_NAME, REFUSED, clean_concept
from ..readers.forms import read_record
from ..readers.records import BadRow, Entity, Loss, Record, Row
from ..tokenizers import Tokenize
from .align import NOT_IN_TEXT, WRONG_OFFSETS, Match, Occurrences, align

REFUSED_CONCEPT = "refused concept in the sentence"
NOTHING_LEFT = "no annotation left"
EMPTY_TYPE = "empty type"
EMPTY_NAME = "concept without letters"
LONG_NAME = "concept too long"
REPEATED = "repeated"
# What a person may want to look at; the other losses are as the settings say.
QUARANTINED = {NOT_IN_TEXT, WRONG_OFFSETS, EMPTY_NAME, LONG_NAME}


@dataclass(frozen=True)
class Settings:
    """What a conversion can be told.

    lang (str): The language whose spaCy tokenizer is used.
    occurrences (str): Which occurrences of an entity are annotated: "all", the
        "first", or "in_order" of the answer.
    ignore_case (bool): Look for what is not found as written without regard to case,
        blanks and the form of quotes.
    refused (frozenset[str]): A sentence with one of these concepts is dropped.
    empty_types (frozenset[str]): Annotations with these concepts are dropped.
    """

    lang: str = "en"
    occurrences: Occurrences = "all"
    ignore_case: bool = True
    refused: frozenset[str] = REFUSED
    empty_types: frozenset[str] = EMPTY_TYPES


@dataclass(slots=True)
class Outcome:
    """What became of a row.

    doc (Doc | None): The text, tokenised, unless the row was refused or dropped.
    spans (list[tuple[int, int, str]]): Its spans: first token, end, concept.
    descriptions (dict[str, str]): What the concepts mean, where that is told.
    record (Record | None): The record, unless the row was refused.
    refused (BadRow | None): Why there is no record.
    dropped (str | None): Why the record is not wanted.
    matches (list[tuple[str, Match]]): Concept and place of each annotation kept.
    lost (list[Loss]): The annotations that were not.
    """

    doc: Doc | None = None
    spans: list[tuple[int, int, str]] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)
    record: Record | None = None
    refused: BadRow | None = None
    dropped: str | None = None
    matches: list[tuple[str, Match]] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)


def process(row: Row, tokenize: Tokenize, settings: Settings) -> Outcome:
    """Turn a row into a doc and its spans. Depends on nothing but its arguments.

    row (Row): The row.
    tokenize (Tokenize): Makes a Doc of a text.
    settings (Settings): What to keep.
    RETURNS (Outcome): Doc and spans, or why there are none, and every loss.
    """
    try:
        record = read_record(row)
    except BadRow as bad:
        return Outcome(refused=bad)
    outcome = Outcome(record=record)
    # Where there is a definition alone, it stands for the name.
    names = [
        clean_concept(entity.concept or entity.description or "")
        for entity in record.entities
    ]
    if not settings.refused.isdisjoint(names):
        outcome.dropped = REFUSED_CONCEPT
        outcome.lost = [_loss(REFUSED_CONCEPT, entity) for entity in record.entities]
        return outcome
    kept: list[tuple[str, Entity]] = []
    for name, entity in zip(names, record.entities, strict=True):
        if reason := _refuse_name(name, entity, settings):
            outcome.lost.append(_loss(reason, entity))
        else:
            kept.append((name, entity))
    doc = tokenize(record.text)
    _annotate(doc, record, kept, settings, outcome)
    if (record.entities or record.bad) and not outcome.spans:
        outcome.dropped = NOTHING_LEFT
    else:
        outcome.doc = doc
    return outcome


def _refuse_name(name: str, entity: Entity, settings: Settings) -> str | None:
    if not any(map(str.isalnum, name)):
        return EMPTY_NAME
    if name in settings.empty_types:
        return EMPTY_TYPE
    return LONG_NAME if entity.concept and len(name) > MAX_NAME else None


def _loss(reason: str, entity: Entity) -> Loss:
    return Loss(reason, f"{entity.text} <> {entity.concept or entity.description}")


def _annotate(
    doc: Doc,
    record: Record,
    kept: list[tuple[str, Entity]],
    settings: Settings,
    outcome: Outcome,
) -> None:
    matches = align(
        doc,
        [entity for _, entity in kept],
        text=record.text,
        occurrences=settings.occurrences,
        ignore_case=settings.ignore_case,
    )
    spans: dict[tuple[int, int, str], None] = {}
    for (name, entity), match in zip(kept, matches, strict=True):
        new = [(*span, name) for span in match.spans if (*span, name) not in spans]
        if not new:
            outcome.lost.append(_loss(REPEATED if match.spans else match.how, entity))
            continue
        spans.update(dict.fromkeys(new))
        outcome.matches.append((name, match))
        if entity.concept and entity.description:
            outcome.descriptions.setdefault(name, entity.description)
    outcome.spans = list(spans)
