"""Labelled sets -> Docs with all annotations as spans, and as entities where they fit.

Rows go the way of `convert`, but labels stay as they are and tokens are those of the
set, where it has some.
"""

import json
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.util import filter_spans

from ..errors import Errors, NunerError, Warnings
from ..files import check_own, replacing
from ..readers.docbin import SPANS_KEY, doc_to_record, load_docbin
from ..readers.labelled.bio import BAD_LINE
from ..readers.labelled.spans import REFUSALS
from ..readers.records import Loss, Record, Row, Source, Tally
from ..readers.rows import read_rows
from ..readers.sources import QUARANTINE, describe_source, find_sources
from ..tokenizers import blank
from .align import GIVEN, NOT_IN_TEXT
from .losses import Counts, describe_losses
from .row_to_doc import NOTHING_LEFT, REPEATED, ConvertSettings, Outcome, parse, process

EXPANDED = "expanded to whole tokens"
OVERLAPPING = "overlapping another"
# What is no fault of the file: it is left out with a warning.
LEFT_OUT = {NOT_IN_TEXT, NOTHING_LEFT, *REFUSALS.values()}
DOCBIN_SUFFIX = ".spacy"
RECORDS_SUFFIX = ".jsonl"
REPORT_SUFFIX = ".import.json"
QUARANTINE_SUFFIX = f".{QUARANTINE}"


def read_docs(path: str | Path, *, lang: str = "en") -> list[Doc]:
    """Read a labelled set of any form that `convert` reads.

    A fault in the file is an error, since a set to learn from or to score on should be
    whole; `import_docs` leaves out what has one.

    path (str | Path): A file, a folder of files or "hub:NAME:CONFIG:SPLIT".
    lang (str): The language whose blank pipeline makes the Docs.
    RETURNS (list[Doc]): The Docs in the order of the file. All annotations are in
        `doc.spans["concepts"]`, and in `doc.ents` if they do not overlap a longer or
        earlier one; of a DocBin they stay where they are.
    RAISES (NunerError): What `find_sources` and `read_rows` raise, N010 if there is no
        such language, N603 if there is no annotation, N604, N606 or N608 if a line
        can't be read.
    """
    docs: list[Doc] = []
    tally = Tally()
    nlp = blank(lang)
    for source in find_sources([path]):
        if source.format == "docbin":
            docs.extend(load_docbin(source.name).get_docs(nlp.vocab))
            continue
        for row, outcome in _process_rows(source, nlp):
            _check(row, outcome, tally)
            if outcome.doc is not None:
                docs.append(outcome.doc)
    for kind, warning in ((EXPANDED, Warnings.W601), (OVERLAPPING, Warnings.W602)):
        if count := tally.counts.pop(kind, 0):
            line = tally.first[kind].where
            text = warning.format(path=path, count=count, line=line)
            warnings.warn(text, stacklevel=2)
    if tally.total():
        text = Warnings.W101.format(path=path, counts=tally.describe())
        warnings.warn(text, stacklevel=2)
    # A DocBin may hold overlapping concepts in doc.spans alone.
    if not any(doc.ents or any(doc.spans.values()) for doc in docs):
        raise NunerError(Errors.N603, path=path, count=len(docs))
    return docs


def import_docs(
    path: str | Path,
    output: Path,
    *,
    lang: str = "en",
    form: str | None = None,
) -> dict[str, Any]:
    """Write a set of any form as a DocBin or as records, and report what was lost.

    The report goes to `<name>.import.json` in the folder of the output, and what can't
    be read, if there is something, to `<name>.quarantine.jsonl`.

    path (str | Path): A file, a folder of files or "hub:NAME:CONFIG:SPLIT".
    output (Path): "<name>.spacy" for a DocBin, with all annotations as spans and those
        that do not overlap as entities, or "<name>.jsonl" for records: raw answers
        as they are, else entities. An earlier one of this function is replaced.
    lang (str): The language whose blank pipeline makes the Docs.
    form (str | None): The form of the files, one of `sources.FORMAT_NAMES`; None to
        find out.
    RETURNS (dict[str, Any]): The report, in the form of `convert`'s.
    RAISES (NunerError): What `find_sources` and `read_rows` raise, N010 if there is no
        such language, N102 if nothing was usable, N107 if the output has another
        suffix, N110 if it was not made by this function, N003 if it can't be written.
    """
    if output.suffix not in (DOCBIN_SUFFIX, RECORDS_SUFFIX):
        expected = f"a name that ends in {DOCBIN_SUFFIX} or {RECORDS_SUFFIX}"
        raise NunerError(Errors.N107, path=output, expected=expected)
    sidecar = output.with_suffix(REPORT_SUFFIX)
    quarantine = output.with_suffix(QUARANTINE_SUFFIX)
    check_own(output, sidecar)
    sources = find_sources([path], form=form)
    nlp = blank(lang)
    counts, docbin = Counts(), DocBin(store_user_data=True)
    as_records = output.suffix == RECORDS_SUFFIX
    with replacing(output) as target, replacing(quarantine) as lost:
        with (
            target.open("w", encoding="utf8") as records,
            lost.open("w", encoding="utf8", errors="backslashreplace") as losses,
        ):
            for row, outcome in chain.from_iterable(
                ((row, parse(row)) for row in read_rows(source))
                if as_records
                else _process_rows(source, nlp)
                for source in sources
            ):
                counts.add(row, outcome)
                losses.writelines(map(_to_line, describe_losses(row, outcome)))
                if as_records and outcome.record is not None:
                    counts.written += 1
                    counts.concepts.update(e.name for e in outcome.record.entities)
                    records.write(_to_line(outcome.record.to_json()))
                if outcome.doc is not None:
                    docbin.add(outcome.doc)
        if not counts.written:
            raise counts.nothing_usable(sources)
        if not as_records:
            docbin.to_disk(target)
        report = counts.report(
            settings=_settings(lang).to_json(),
            inputs=[describe_source(source) for source in sources],
            shards=[{"file": output.name, "docs": counts.written}],
        )
        # First of all, since an output without it is not replaced.
        with replacing(sidecar) as temporary:
            text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
            # A file's name that is not UTF-8 is written as JSON escapes it.
            temporary.write_text(text, encoding="utf8", errors="backslashreplace")
    if not quarantine.stat().st_size:
        quarantine.unlink()
    return report


def _to_line(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False) + "\n"


def _settings(lang: str) -> ConvertSettings:
    none: frozenset[str] = frozenset()
    return ConvertSettings(lang=lang, clean_names=False, refused=none, empty_types=none)


def _process_rows(source: Source, nlp: Language) -> Iterator[tuple[Row, Outcome]]:
    settings = _settings(nlp.lang or "xx")
    if source.format == "docbin":
        docs = load_docbin(source.name).get_docs(nlp.vocab)
        for number, doc in enumerate(docs, 1):
            row = Row(source, number, doc_to_record(doc), len(doc.text))
            outcome = process(row, lambda _, doc=doc: doc, settings)  # type: ignore[misc]
            # It stays whole, whatever can't be read of its spans.
            outcome.doc, outcome.dropped = doc, None
            _set_spans(doc, outcome)
            yield row, outcome
        return

    def make_doc(record: Record) -> Doc:
        if record.words is not None:
            return Doc(nlp.vocab, words=record.words)
        return nlp.make_doc(record.text)

    for row in read_rows(source):
        outcome = process(row, make_doc, settings)
        if outcome.doc is not None:
            _set_spans(outcome.doc, outcome)
        yield row, outcome


def _set_spans(doc: Doc, outcome: Outcome) -> None:
    """Set doc.spans["concepts"] and doc.ents, each unless the doc has it."""
    spans = [Span(doc, start, end, label) for start, end, label in outcome.spans]
    if SPANS_KEY not in doc.spans:
        doc.spans[SPANS_KEY] = spans
        if described := outcome.descriptions:
            doc.spans[SPANS_KEY].attrs["descriptions"] = described
    if not doc.ents:
        # Tokens outside of entities are set to "O", so that they are annotated too.
        doc.ents = filter_spans(spans)


def _check(row: Row, outcome: Outcome, tally: Tally) -> None:
    """Raise what is wrong with a row, or count what is left out or changed."""
    record = outcome.record
    faults = [outcome.refused] if outcome.refused else []
    faults += [*record.losses, *outcome.lost] if record else []
    for loss in faults:
        if loss.kind in LEFT_OUT:
            tally.add(*loss)
        elif loss.kind != REPEATED:
            raise _fault(row, outcome, loss)
    if outcome.doc is None:
        return
    for match in outcome.matches:
        start, end = match.spans[0]
        length = len(match.entity.text.strip())
        if match.how == GIVEN and len(outcome.doc[start:end].text) != length:
            tally.add(EXPANDED, str(row.line))
    for _ in range(len(outcome.spans) - len(outcome.doc.ents)):
        tally.add(OVERLAPPING, str(row.line))


def _fault(row: Row, outcome: Outcome, loss: Loss) -> NunerError:
    where = {"path": row.source.name, "line": outcome.line}
    if loss.kind == BAD_LINE:
        return NunerError(Errors.N604, found=loss.detail, **where)
    reason = f"{loss.kind} ({loss.detail})" if loss.detail else loss.kind
    is_object = row.source.format in ("jsonl", "json", "hub")
    return NunerError(Errors.N606 if is_object else Errors.N608, reason=reason, **where)
