"""Labelled sets -> Docs with all annotations as spans, and as entities where they fit.

Rows go the way of `convert`, but labels stay as they are and tokens are those of the
set, where it has some.
"""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.util import filter_spans

from ..errors import Errors, NunerError, Warnings
from ..outputs import write_files
from ..readers.docbin import SPANS_KEY, doc_to_record, read_whole_docs
from ..readers.labelled.annotators import NO_GOLD, group_annotators
from ..readers.labelled.bio import BAD_LINE
from ..readers.labelled.brat import DISCONTINUOUS
from ..readers.records import Loss, Reading, Record, Row, Source, Tally
from ..readers.rows import read_rows
from ..readers.sources import QUARANTINE, describe_source, find_sources
from ..tokenizers import blank
from .align import GIVEN, NOT_IN_TEXT, Match
from .losses import Counts, describe_losses
from .row_to_doc import (
    INSIDE_TOKEN,
    NOTHING_LEFT,
    REPEATED,
    ConvertSettings,
    Outcome,
    parse,
    process,
)

EXPANDED = "expanded to whole tokens"
OVERLAPPING = "overlapping another"
# What is no fault of the file: it is left out with a warning.
LEFT_OUT = {NOT_IN_TEXT, NOTHING_LEFT, DISCONTINUOUS, INSIDE_TOKEN, *NO_GOLD}
# Of spans that fit no tokens: take all tokens that they touch, or leave them out.
AlignmentMode = Literal["expand", "strict"]
DOCBIN_SUFFIX = ".spacy"
RECORDS_SUFFIX = ".jsonl"
REPORT_SUFFIX = ".import.json"
QUARANTINE_SUFFIX = f".{QUARANTINE}"


def read_docs(
    path: str | Path, *, lang: str = "en", allow_empty: bool = False
) -> list[Doc]:
    """Read a labelled set of any form that `convert` reads.

    A fault in the file is an error, since a set to learn from or to score on should be
    whole; `import_docs` leaves out what has one.

    path (str | Path): A file, a folder of files or "hub:NAME:CONFIG:SPLIT".
    lang (str): The language whose blank pipeline makes the Docs.
    allow_empty (bool): Whether there may be no annotation at all: a person has looked,
        and there was nothing.
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
            docs.extend(read_whole_docs(source.name, nlp.vocab))
            continue
        for row, outcome in _process_rows(source, nlp, "expand"):
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
    if not allow_empty and not any(doc.ents or any(doc.spans.values()) for doc in docs):
        raise NunerError(Errors.N603, path=path, count=len(docs))
    return docs


def read_skipped(path: str | Path) -> list[str]:
    """Read the texts that a person saw and refused: rejected, ignored or cancelled.

    path (str | Path): As for `read_docs`.
    RETURNS (list[str]): The texts in the order of the file.
    RAISES (NunerError): What `find_sources` and `read_rows` raise.
    """
    found = []
    for source in find_sources([path]):
        # A DocBin has no row that was refused.
        rows = [] if source.format == "docbin" else group_annotators(read_rows(source))
        found += [one.skipped for row in rows if (one := parse(row)).skipped]
    return found


def import_docs(
    path: str | Path,
    output: Path,
    *,
    lang: str = "en",
    form: str | None = None,
    reading: Reading | None = None,
    alignment_mode: AlignmentMode = "expand",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a set of any form as a DocBin or as records, and report what was lost.

    The report goes to `<name>.import.json` in the folder of the output, and what can't
    be read, if there is something, to `<name>.quarantine.jsonl`.

    path (str | Path): A file, a folder of files or "hub:NAME:CONFIG:SPLIT".
    output (Path): "<name>.spacy" for a DocBin, with all annotations as spans and those
        that do not overlap as entities, or "<name>.jsonl" for records: raw answers
        as they are, else entities. An earlier one of this function is replaced.
    lang (str): The language whose blank pipeline makes the Docs.
    form (str | None): The form of the files or of their rows, as `find_sources` takes
        it; None to find out.
    reading (Reading | None): What is taken where the form leaves a choice; None for
        the defaults.
    alignment_mode (str): What becomes of a span that begins or ends inside a token:
        "expand" takes the whole tokens, "strict" leaves it out.
    overwrite (bool): Replace files that this function did not make, too.
    RETURNS (dict[str, Any]): The report, in the form of `convert`'s, with what
        `Checks` counts as "labelled".
    RAISES (NunerError): What `find_sources` and `read_rows` raise, N010 if there is no
        such language, N102 if nothing was usable, N107 if the output has another
        suffix; what `write_files` raises.
    """
    if output.suffix not in (DOCBIN_SUFFIX, RECORDS_SUFFIX):
        expected = f"a name that ends in {DOCBIN_SUFFIX} or {RECORDS_SUFFIX}"
        raise NunerError(Errors.N107, path=output, expected=expected)
    sidecar = output.with_suffix(REPORT_SUFFIX)
    quarantine = output.with_suffix(QUARANTINE_SUFFIX)
    paths = [output, sidecar, quarantine]
    sources = find_sources([path], form=form, reading=reading)
    nlp = blank(lang)
    counts, checks = Counts(), Checks()
    # Only Docs that stay whole have data of the user's; to store none takes as long.
    whole = any(source.format == "docbin" for source in sources)
    docbin = DocBin(store_user_data=whole)
    as_records = output.suffix == RECORDS_SUFFIX
    with write_files(
        paths, command="import", inputs=[path], overwrite=overwrite
    ) as folder:
        target, lost = folder / output.name, folder / quarantine.name
        with (
            target.open("w", encoding="utf8") as records,
            lost.open("w", encoding="utf8", errors="backslashreplace") as losses,
        ):
            for row, outcome in chain.from_iterable(
                ((row, parse(row)) for row in group_annotators(read_rows(source)))
                if as_records
                else _process_rows(source, nlp, alignment_mode)
                for source in sources
            ):
                counts.add(row, outcome)
                checks.add(row, outcome)
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
        if not lost.stat().st_size:
            lost.unlink()
        report = counts.report(
            settings=_settings(lang).to_json(),
            inputs=[describe_source(source) for source in sources],
            shards=[{"file": output.name, "docs": counts.written}],
        )
        report["labelled"] = checks.report()
        text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
        # A file's name that is not UTF-8 is written as JSON escapes it.
        (folder / sidecar.name).write_text(
            text, encoding="utf8", errors="backslashreplace"
        )
    return report


def _to_line(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False) + "\n"


def _settings(lang: str) -> ConvertSettings:
    none: frozenset[str] = frozenset()
    return ConvertSettings(lang=lang, clean_names=False, refused=none, empty_types=none)


@dataclass
class Checks:
    """What is counted in labelled sets beside what `Counts` has.

    forms (Counter[str]): How many records have which form, as `--format` calls it.
    found (Counter[str]): How often something was found, by what it is.
    agreement (list[int]): The sums of `Record.agreement`.
    """

    forms: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    agreement: list[int] = field(default_factory=lambda: [0, 0])
    _texts: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, row: Row, outcome: Outcome) -> None:
        """Count what was found in a row.

        row (Row): The row.
        outcome (Outcome): What became of it.
        """
        record = outcome.record
        if record is None:
            return
        self.forms[record.form or row.source.format] += 1
        self.found.update(record.passed)
        if record.agreement is not None:
            self.found["text with several annotators"] += 1
            for i in (0, 1):
                self.agreement[i] += record.agreement[i]
        entities = {(e.start, e.end, e.name, e.text) for e in record.entities}
        text = hashlib.sha256(record.text.encode("utf8", "replace")).digest()
        marked = hashlib.sha256(repr(sorted(map(repr, entities))).encode()).digest()
        if text in self._texts:
            same = self._texts[text] == marked
            kind = "same" if same else "other"
            self.found[f"text that occurs before, with the {kind} annotations"] += 1
        self._texts.setdefault(text, marked)
        if outcome.doc is None:
            return
        ranges = Counter((start, end) for start, end, _ in outcome.spans)
        if several := sum(n - 1 for n in ranges.values()):
            self.found["span with more than one label"] += several
        spans = _make_spans(outcome.doc, outcome)
        if overlapping := len(spans) - len(filter_spans(spans)):
            self.found["span over a longer or earlier one"] += overlapping
        if expanded := sum(_is_expanded(outcome.doc, m) for m in outcome.matches):
            self.found["span expanded to whole tokens"] += expanded

    def report(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The counts, and the F1 of one annotator against
        another as "agreement", where texts have several."""
        common, total = self.agreement
        report: dict[str, Any] = {
            "forms": dict(self.forms.most_common()),
            "found": dict(self.found.most_common()),
        }
        if total:
            report["agreement"] = round(common / total, 4)
        return report


def _process_rows(
    source: Source, nlp: Language, alignment_mode: AlignmentMode
) -> Iterator[tuple[Row, Outcome]]:
    settings = _settings(nlp.lang or "xx")
    if source.format == "docbin":
        for number, doc in enumerate(read_whole_docs(source.name, nlp.vocab), 1):
            row = Row(source, number, doc_to_record(doc), len(doc.text))
            outcome = process(row, lambda _, doc=doc: doc, settings)  # type: ignore[misc]
            # It stays whole, whatever can't be read of its spans.
            outcome.doc, outcome.dropped = doc, None
            # Nor is what is missing, or was found to be none, an entity or outside.
            known = doc.has_annotation("ENT_IOB") or not outcome.spans
            _set_spans(doc, outcome, keep_ents=known)
            yield row, outcome
        return

    def make_doc(record: Record) -> Doc:
        if record.words is not None:
            return Doc(nlp.vocab, words=record.words, spaces=record.spaces)
        return nlp.make_doc(record.text)

    for row in group_annotators(read_rows(source)):
        outcome = process(row, make_doc, settings)
        if alignment_mode == "strict":
            _leave_out_expanded(row, outcome)
        if outcome.doc is not None:
            _set_spans(outcome.doc, outcome)
        yield row, outcome


def _is_expanded(doc: Doc, match: Match) -> bool:
    """Whether a span with offsets has more characters in the doc than in the file."""
    if match.how != GIVEN:
        return False
    first, end = match.spans[0]
    last = doc[end - 1]
    length = last.idx + len(last) - doc[first].idx
    return length != len(match.entity.text.strip())


def _leave_out_expanded(row: Row, outcome: Outcome) -> None:
    doc = outcome.doc
    if doc is None:
        return
    fits: list[Match] = []
    for match in outcome.matches:
        if not _is_expanded(doc, match):
            fits.append(match)
            continue
        detail = f"{match.entity.text} <> {match.entity.name}"
        outcome.lost.append(Loss(INSIDE_TOKEN, row.where(), detail))
    if len(fits) == len(outcome.matches):
        return
    outcome.matches = fits
    kept = {(*span, match.entity.concept) for match in fits for span in match.spans}
    outcome.spans = [span for span in outcome.spans if span in kept]
    if not outcome.spans:
        outcome.doc, outcome.dropped = None, NOTHING_LEFT


def _set_spans(doc: Doc, outcome: Outcome, *, keep_ents: bool = False) -> None:
    """Set doc.spans["concepts"] and doc.ents, each unless the doc has it."""
    spans = _make_spans(doc, outcome)
    if SPANS_KEY not in doc.spans:
        doc.spans[SPANS_KEY] = spans
        if described := outcome.descriptions:
            doc.spans[SPANS_KEY].attrs["descriptions"] = described
        if outcome.record is not None and outcome.record.labels is not None:
            doc.spans[SPANS_KEY].attrs["labels"] = outcome.record.labels
    if not doc.ents and not keep_ents:
        # Tokens outside of entities are set to "O", so that they are annotated too.
        doc.ents = filter_spans(spans)


def _make_spans(doc: Doc, outcome: Outcome) -> list[Span]:
    return [Span(doc, start, end, label) for start, end, label in outcome.spans]


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
        if _is_expanded(outcome.doc, match):
            tally.add(EXPANDED, str(row.line))
    for _ in range(len(outcome.spans) - len(outcome.doc.ents)):
        tally.add(OVERLAPPING, str(row.line))


def _fault(row: Row, outcome: Outcome, loss: Loss) -> NunerError:
    where = {"path": row.source.name, "line": outcome.line}
    if loss.kind == BAD_LINE:
        return NunerError(Errors.N604, found=loss.detail, **where)
    reason = f"{loss.kind} ({loss.detail})" if loss.detail else loss.kind
    is_object = row.source.format in ("jsonl", "json", "hub", "arrow")
    return NunerError(Errors.N606 if is_object else Errors.N608, reason=reason, **where)
