"""Labelled NER sets -> Docs whose entities stand in `doc.ents`."""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import biluo_tags_to_spans, iob_to_biluo
from spacy.util import filter_spans
from spacy.vocab import Vocab

from ...errors import Errors, NunerError, Warnings
from ...tokenizers import blank
from ..docbin import SPANS_KEY

PREFIXED = re.compile(r"[BIESLUM]-.+")
# The other names of BILUO's letters: BIOES has E and S, BMES has M.
TO_BILUO = {"E": "L", "S": "U", "M": "I"}


def read_docs(path: str | Path, *, lang: str = "en") -> list[Doc]:
    """Read a labelled set.

    By suffix: `.conll`, `.bio`, `.iob`, `.tsv` and `.txt` are columns of words and
    IOB, BILUO, BIOES or bare tags with blank lines between sentences; `.jsonl` has
    objects with `text` and `spans` (`start`, `end`, `label`; character offsets, end
    exclusive; all of them go to `doc.spans["concepts"]` as well); `.spacy` is a DocBin.

    path (str | Path): The file.
    lang (str): The language whose blank pipeline makes the Docs.
    RETURNS (List[Doc]): The Docs in the file's order, entities in `doc.ents`.
    RAISES (NunerError): N005 if the file can't be read, N010 if there is no such
        language, N601 to N607 if what stands in it is not what its suffix says.
    """
    path = Path(path)
    if path.suffix not in READERS:
        known = ", ".join(READERS)
        raise NunerError(Errors.N601, path=path, suffix=path.suffix, known=known)
    nlp = blank(lang)
    try:
        docs = READERS[path.suffix](path, nlp)
    except OSError as error:
        raise NunerError(
            Errors.N005,
            path=path,
            reason=error.strerror or error,
            todo="Check the name of the labelled set.",
        ) from error
    # A DocBin may hold overlapping concepts in doc.spans instead.
    if not any(doc.ents or doc.spans for doc in docs):
        raise NunerError(Errors.N603, path=path, count=len(docs))
    return docs


def copy_words(doc: Doc, vocab: Vocab) -> Doc:
    """Make a Doc of the same tokens without any annotation.

    doc (Doc): The annotated Doc.
    vocab (Vocab): Of the pipeline that shall annotate the copy.
    RETURNS (Doc): The copy.
    """
    return Doc(
        vocab,
        words=[token.text for token in doc],
        spaces=[bool(token.whitespace_) for token in doc],
    )


def _read_columns(path: Path, nlp: Language) -> list[Doc]:
    sentences = list(_sentences(path))
    column, bare = _find_tags(path, [row for rows in sentences for row in rows])
    docs = []
    for rows in sentences:
        tags = [row.columns[column] for row in rows]
        if bare:
            tags = [tag if tag == "O" else f"I-{tag}" for tag in tags]
        tags = [TO_BILUO.get(tag[0], tag[0]) + tag[1:] for tag in tags]
        doc = Doc(nlp.vocab, words=[row.columns[1 - column] for row in rows])
        # An I- without its B- begins an entity here, as it does in IOB1.
        doc.ents = biluo_tags_to_spans(doc, iob_to_biluo(tags))
        docs.append(doc)
    return docs


class _Row(NamedTuple):
    line: int
    columns: tuple[str, str]  # the first and the last; word and tag in either order


def _sentences(path: Path) -> Iterator[list[_Row]]:
    sentence: list[_Row] = []
    for number, line in _lines(path):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if sentence:
                yield sentence
            sentence = []
            continue
        # Only tabs and blanks split: a word may hold a no-break space.
        columns = line.split("\t") if "\t" in line else line.strip(" ").split(" ")
        first, last = columns[0], columns[-1].rstrip(" ")
        if len(columns) < 2 or not first or not last:
            raise NunerError(Errors.N604, path=path, line=number, found=line[:60])
        sentence.append(_Row(number, (first, last)))
    if sentence:
        yield sentence


def _find_tags(path: Path, rows: list[_Row]) -> tuple[int, bool]:
    """Tell which column has the tags, and whether they are bare labels."""
    for column in (1, 0):
        tags = [row.columns[column] for row in rows]
        if all(tag == "O" or PREFIXED.match(tag) for tag in tags):
            return column, False
    tagged = [row for row in rows if row.columns[1] != "O"]
    odd = [row for row in tagged if not PREFIXED.match(row.columns[1])]
    if len(odd) == len(rows):
        found = odd[0].columns[1]
        raise NunerError(Errors.N605, path=path, line=odd[0].line, found=found)
    if len(odd) < len(tagged):
        found = " ".join(odd[0].columns)
        raise NunerError(Errors.N604, path=path, line=odd[0].line, found=found)
    return 1, True


def _read_jsonl(path: Path, nlp: Language) -> list[Doc]:
    docs: list[Doc] = []
    expanded: list[int] = []
    overlapping: list[int] = []
    for number, line in _lines(path):
        if not line.strip():
            continue
        text, offsets = _parse_object(path, number, line)
        doc = nlp.make_doc(text)
        spans: list[Span] = []
        for start, end, label in offsets:
            span = doc.char_span(start, end, label=label, alignment_mode="expand")
            if span is None:
                reason = f"no token stands at the span {start}:{end}"
                raise NunerError(Errors.N606, path=path, line=number, reason=reason)
            if (span.start_char, span.end_char) != (start, end):
                expanded.append(number)
            spans.append(span)
        doc.spans[SPANS_KEY] = spans
        kept = filter_spans(spans)
        overlapping.extend([number] * (len(spans) - len(kept)))
        doc.ents = kept
        docs.append(doc)
    for told, lines in ((Warnings.W601, expanded), (Warnings.W602, overlapping)):
        if lines:
            facts = {"path": path, "count": len(lines), "line": lines[0]}
            warnings.warn(told.format(**facts), stacklevel=3)
    return docs


def _parse_object(
    path: Path, number: int, line: str
) -> tuple[str, list[tuple[int, int, str]]]:
    """Take text and (start, end, label) out of a JSON line, white space trimmed."""
    try:
        record: Any = json.loads(line)
        if not isinstance(record, dict):
            reason = "it holds no object; a list of them has to be a line for each"
            raise NunerError(Errors.N606, path=path, line=number, reason=reason)
        text = record["text"]
        offsets = [(s["start"], s["end"], s["label"]) for s in record["spans"]]
    except json.JSONDecodeError as error:
        raise NunerError(Errors.N606, path=path, line=number, reason=error) from error
    except (KeyError, TypeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise NunerError(Errors.N606, path=path, line=number, reason=reason) from error
    trimmed = []
    for start, end, label in offsets:
        whole = type(start) is int and type(end) is int and isinstance(text, str)
        if not (whole and 0 <= start < end <= len(text) and text[start:end].strip()):
            reason = f"the span {start}:{end} marks nothing in its text"
            raise NunerError(Errors.N606, path=path, line=number, reason=reason)
        if not isinstance(label, str) or not label:
            reason = f"the span {start}:{end} has the label {label!r}"
            raise NunerError(Errors.N606, path=path, line=number, reason=reason)
        marked = text[start:end]
        start += len(marked) - len(marked.lstrip())
        trimmed.append((start, start + len(marked.strip()), label))
    return text, trimmed


def _read_docbin(path: Path, nlp: Language) -> list[Doc]:
    content = path.read_bytes()
    try:
        return list(DocBin().from_bytes(content).get_docs(nlp.vocab))
    except Exception as error:  # zlib, msgpack and spaCy each have their own
        raise NunerError(Errors.N607, path=path, reason=error) from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line numbers and lines without their ends (LF or CRLF)."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                number += 1
                yield number, line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise NunerError(
            Errors.N005,
            path=path,
            reason=f"it is not UTF-8 after line {number} ({error.reason})",
            todo="Convert it to UTF-8 first.",
        ) from error


COLUMNS = (".conll", ".bio", ".iob", ".tsv", ".txt")
READERS: dict[str, Callable[[Path, Language], list[Doc]]] = {
    **dict.fromkeys(COLUMNS, _read_columns),
    ".jsonl": _read_jsonl,
    ".spacy": _read_docbin,
}
