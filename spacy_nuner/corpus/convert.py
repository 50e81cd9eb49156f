"""Records -> DocBin shards, with a report of every loss."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from tqdm import tqdm

from ..errors import NunerError
from ..files import replacing
from .align import NOT_IN_TEXT, WRONG_OFFSETS, Match, Occurrences, align
from .clean import EMPTY_TYPES, MAX_NAME, REFUSED, clean_concept
from .docbin import ShardBin
from .published import read_record
from .records import BadRow, Entity, Loss, Record
from .report import Tally
from .rows import HEAD, Row, Source, find_sources, read_rows

SPANS_KEY = "concepts"
SHARD_SIZE = 50_000
REPORT = "report.json"
QUARANTINE = "quarantine.jsonl"

REFUSED_CONCEPT = "refused concept in the sentence"
NOTHING_LEFT = "no annotation left"
EMPTY_TYPE = "empty type"
EMPTY_NAME = "concept without letters"
LONG_NAME = "concept too long"
REPEATED = "repeated"
# What a person may want to look at; the other losses are as the settings say.
_QUARANTINED = {NOT_IN_TEXT, WRONG_OFFSETS, EMPTY_NAME, LONG_NAME}


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

    doc (Doc | None): The doc, unless the row was refused or dropped.
    record (Record | None): The record, unless the row was refused.
    refused (BadRow | None): Why there is no record.
    dropped (str | None): Why the record is not wanted.
    matches (list[tuple[str, Match]]): Concept and place of each annotation kept.
    lost (list[Loss]): The annotations that were not.
    """

    doc: Doc | None = None
    record: Record | None = None
    refused: BadRow | None = None
    dropped: str | None = None
    matches: list[tuple[str, Match]] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)


def convert(
    inputs: Sequence[Path],
    output_dir: Path,
    *,
    settings: Settings | None = None,
    shard_size: int = SHARD_SIZE,
    progress: bool = True,
) -> dict[str, Any]:
    """Write records as DocBin shards, with report.json and quarantine.jsonl.

    Memory holds one shard and the counts of the concepts, whatever the input.

    inputs (Sequence[Path]): Files or folders of records, as `read_record` takes them.
    output_dir (Path): The folder to write; one of an earlier run is replaced.
    settings (Settings | None): None for the defaults.
    shard_size (int): The most docs in a shard.
    progress (bool): Whether to show a progress bar.
    RETURNS (dict[str, Any]): The report.
    RAISES (NunerError): N005 or N101 if an input can't be read, N102 if nothing in it
        was usable, N103 if the language has no tokenizer, N003 or N004 if the output
        can't be written.
    """
    settings = settings or Settings()
    nlp = _blank(settings.lang)
    sources = find_sources(inputs)
    described = [_describe(source) for source in sources]
    tally = Tally()
    with replacing(output_dir, marker=REPORT) as folder:
        # Bytes that are not UTF-8 are written as JSON escapes of their surrogates.
        with (folder / QUARANTINE).open(
            "w", encoding="utf8", errors="backslashreplace"
        ) as quarantine:
            rows = _rows(sources, sum(one["bytes"] for one in described), progress)
            shards: list[dict[str, Any]] = []
            while shard := _fill_shard(
                rows, shard_size, nlp, settings, tally, quarantine
            ):
                shards.append(_write_shard(shard, folder, len(shards)))
                # What the vocabulary and the cache of a tokenizer learn from a shard
                # goes with it. (A memory zone does so too, but turns the cache off:
                # a sixth of the tokenizer's speed.)
                nlp = _blank(settings.lang)
        if not shards:
            raise _nothing_usable(inputs, tally)
        plain = {
            key: sorted(value) if isinstance(value, frozenset) else value
            for key, value in asdict(settings).items()
        }
        report = tally.summary(settings=plain, inputs=described, shards=shards)
        text = json.dumps(report, ensure_ascii=False, indent=2)
        (folder / REPORT).write_text(text + "\n", encoding="utf8")
    return report


def process(row: Row, nlp: Language, settings: Settings) -> Outcome:
    """Turn a row into a doc. Depends on nothing but its arguments.

    row (Row): The row.
    nlp (Language): Whose tokenizer to use.
    settings (Settings): What to keep.
    RETURNS (Outcome): The doc, or why there is none, and every loss.
    """
    try:
        record = read_record(row)
    except BadRow as bad:
        return Outcome(refused=bad)
    outcome = Outcome(record=record)
    names = [clean_concept(entity.concept) for entity in record.entities]
    if not settings.refused.isdisjoint(names):
        outcome.dropped = REFUSED_CONCEPT
        outcome.lost = [_loss(REFUSED_CONCEPT, entity) for entity in record.entities]
        return outcome
    kept: list[tuple[str, Entity]] = []
    for name, entity in zip(names, record.entities, strict=True):
        if reason := _refuse_name(name, settings):
            outcome.lost.append(_loss(reason, entity))
        else:
            kept.append((name, entity))
    doc = nlp.make_doc(record.text)
    _annotate(doc, record, kept, settings, outcome)
    annotated = record.entities or record.bad
    if annotated and not doc.spans[SPANS_KEY]:
        outcome.dropped = NOTHING_LEFT
    else:
        outcome.doc = doc
    return outcome


def _refuse_name(name: str, settings: Settings) -> str | None:
    if not any(map(str.isalnum, name)):
        return EMPTY_NAME
    if name in settings.empty_types:
        return EMPTY_TYPE
    return LONG_NAME if len(name) > MAX_NAME else None


def _loss(reason: str, entity: Entity) -> Loss:
    return Loss(reason, f"{entity.text} <> {entity.concept}")


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
    descriptions: dict[str, str] = {}
    for (name, entity), match in zip(kept, matches, strict=True):
        new = [(*span, name) for span in match.spans if (*span, name) not in spans]
        if not new:
            outcome.lost.append(_loss(REPEATED if match.spans else match.how, entity))
            continue
        spans.update(dict.fromkeys(new))
        outcome.matches.append((name, match))
        if entity.description:
            descriptions.setdefault(name, entity.description)
    doc.spans[SPANS_KEY] = SpanGroup(
        doc,
        name=SPANS_KEY,
        spans=[Span(doc, start, end, label=name) for start, end, name in spans],
        attrs={"descriptions": descriptions},
    )


def _blank(lang: str) -> Language:
    try:
        return spacy.blank(lang)
    except ImportError as error:
        # spaCy's own words: an unknown code, or a tokenizer that wants a package.
        raise NunerError("N103", lang=lang, reason=error) from error


def _describe(source: Source) -> dict[str, Any]:
    digest = hashlib.sha256()
    size = 0
    try:
        with source.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError as error:
        reason = error.strerror or str(error)
        todo = "Make it readable or leave it out."
        raise NunerError("N005", path=source.path, reason=reason, todo=todo) from error
    return {
        "file": str(source.path),
        "format": source.format,
        "bytes": size,
        "sha256": digest.hexdigest(),
    }


def _rows(sources: Iterable[Source], size: int, progress: bool) -> Iterator[Row]:
    bar = tqdm(total=size, unit="B", unit_scale=True, disable=not progress)
    with bar:
        for source in sources:
            bar.set_description(source.path.name)
            for row in read_rows(source):
                yield row
                bar.update(row.size)
        # Headers and blank lines are no rows.
        bar.update(size - bar.n)


def _fill_shard(
    rows: Iterator[Row],
    size: int,
    nlp: Language,
    settings: Settings,
    tally: Tally,
    quarantine: TextIO,
) -> ShardBin:
    shard = ShardBin()
    for row in rows:
        outcome = process(row, nlp, settings)
        _count(row, outcome, tally)
        for entry in _quarantined(row, outcome):
            quarantine.write(json.dumps(entry, ensure_ascii=False) + "\n")
        if outcome.doc is not None:
            shard.add(outcome.doc)
            if len(shard) == size:
                break
    return shard


def _count(row: Row, outcome: Outcome, tally: Tally) -> None:
    tally.rows += 1
    if outcome.refused is not None:
        tally.refused[outcome.refused.reason] += 1
        detail = outcome.refused.detail or outcome.refused.reason
        place = f"{row.source.path}, line {row.line}"
        tally.first_refused = tally.first_refused or f" First: {place}: {detail}."
    if outcome.record is not None:
        tally.annotations += len(outcome.record.entities)
        tally.unreadable.update(loss.reason for loss in outcome.record.bad)
    if outcome.dropped is not None:
        tally.dropped[outcome.dropped] += 1
    tally.lost.update(loss.reason for loss in outcome.lost)
    if outcome.doc is not None:
        tally.written += 1
        tally.spans += len(outcome.doc.spans[SPANS_KEY])
        for name, match in outcome.matches:
            tally.matched[match.how] += 1
            tally.several += match.several
            tally.concepts[name] += 1


def _quarantined(row: Row, outcome: Outcome) -> Iterator[dict[str, Any]]:
    place = {"file": str(row.source.path), "line": row.line}
    if outcome.refused is not None:
        yield {
            **place,
            "reason": outcome.refused.reason,
            "detail": outcome.refused.detail,
            "row": "".join(row.cells)[:HEAD],
        }
    if outcome.record is not None:
        lost = [loss for loss in outcome.lost if loss.reason in _QUARANTINED]
        for loss in [*outcome.record.bad, *lost]:
            yield {
                **place,
                "id": outcome.record.id,
                "reason": loss.reason,
                "annotation": loss.annotation[:HEAD],
            }


def _write_shard(shard: ShardBin, folder: Path, number: int) -> dict[str, Any]:
    name = f"{number:05}.spacy"
    data = shard.to_bytes()
    (folder / name).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return {"file": name, "docs": len(shard), "sha256": sha256}


def _nothing_usable(inputs: Sequence[Path], tally: Tally) -> NunerError:
    reasons = Counter(tally.refused) + Counter(tally.dropped)
    counts = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common(5))
    names = ", ".join(str(path) for path in inputs)
    facts = {"rows": tally.rows, "counts": counts or "there are no rows"}
    return NunerError("N102", inputs=names, first=tally.first_refused, **facts)
