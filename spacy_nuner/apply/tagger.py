"""A pipeline that tags rows of text, whatever they are, and what it found in them."""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy

from ..errors import Errors, NunerError
from ..files import hash_folder
from ..loading import load_pipeline
from ..readers.records import HEAD
from ..readers.texts import TextRow, Unit
from ..utf8 import is_utf8, replace_surrogates

if TYPE_CHECKING:
    from spacy.tokens import Doc

Form = Literal["parquet", "jsonl", "docbin"]
# A score has no more digits that mean anything.
DIGITS = 4
SURROGATES = "half of a surrogate pair, which UTF-8 can't hold"
FAILED = "the pipeline failed"
# How many characters are tagged at once: some 60,000 word pieces, whose vectors take a
# quarter of a gigabyte.
AT_ONCE = 250_000
# So many rows are not all odd ones.
MANY = 10
# How errors begin that torch and CuPy have no class for.
_MACHINE = re.compile(
    r"CUDA error|CUDA out of memory|cudaError|CUBLAS_STATUS|cuDNN error"
    r"|can't allocate memory|not enough memory|backend out of memory"
)


@dataclass(frozen=True)
class TagSettings:
    """What the tagged rows depend on, apart from the rows.

    pipeline (str): A folder, an installed package or "blank:LANG", as for `spacy.load`.
    sha256 (str): See `hash_pipeline`.
    form (Form): What is written.
    field (str): The field of the text.
    id_field (str): The field of the id.
    unit (Unit): What is a row of a text file.
    keep_text (bool): Whether the text is written, but in DocBins, which can't do
        without.
    gpu_id (int): The GPU to tag on; -1 is the CPU.
    """

    pipeline: str
    sha256: str
    form: Form = "parquet"
    field: str = "text"
    id_field: str = "id"
    unit: Unit = "line"
    keep_text: bool = True
    gpu_id: int = -1

    def to_json(self) -> dict[str, Any]:
        """Describe what the output depends on.

        RETURNS (dict[str, Any]): Which files the pipeline has and not where they are,
            and no GPU.
        """
        data = asdict(self)
        del data["gpu_id"], data["pipeline"]
        return data


@dataclass
class TagCounts:
    """Counts of tagged rows.

    rows (int): Rows read; each is tagged or failed.
    tagged (int): Rows that were tagged.
    words (int): Their tokens.
    empty (int): Those of them without a token that is no blank.
    cut (int): Those of them that are longer than the pipeline takes, and were tagged
        in pieces.
    failed (Counter[str]): Rows that were not tagged, by the reason.
    entities (Counter[str]): Entities by label.
    spans (dict[str, Counter[str]]): Spans by their key and label.
    """

    rows: int = 0
    tagged: int = 0
    words: int = 0
    empty: int = 0
    cut: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    entities: Counter[str] = field(default_factory=Counter)
    spans: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, doc: "Doc", pieces: int) -> None:
        """Count a tagged row.

        doc (Doc): The row.
        pieces (int): In how many pieces it was tagged.
        """
        self.tagged += 1
        self.words += len(doc)
        self.empty += all(token.is_space for token in doc)
        self.cut += pieces > 1
        self.entities.update(ent.label_ for ent in doc.ents)
        for key, group in doc.spans.items():
            names = self.spans.setdefault(key, Counter())
            names.update(span.label_ for span in group)

    def update(self, other: "TagCounts") -> None:
        """Add later counts.

        other (TagCounts): The counts.
        """
        for name in ("rows", "tagged", "words", "empty", "cut"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed.update(other.failed)
        self.entities.update(other.entities)
        for key, names in other.spans.items():
            self.spans.setdefault(key, Counter()).update(names)

    def to_json(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The counts, for `from_json` and the report."""
        sort = dict[str, Any]
        data = sort(vars(self))
        data["failed"] = sort(sorted(self.failed.items()))
        data["entities"] = sort(sorted(self.entities.items()))
        data["spans"] = {
            key: sort(sorted(names.items()))
            for key, names in sorted(self.spans.items())
        }
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TagCounts":
        """Read counts.

        data (dict[str, Any]): What `to_json` returned.
        RETURNS (TagCounts): The counts.
        """
        counts = cls(**data)
        counts.failed = Counter(counts.failed)
        counts.entities = Counter(counts.entities)
        counts.spans = {key: Counter(names) for key, names in counts.spans.items()}
        return counts


@dataclass(frozen=True)
class Tagged:
    """What became of some rows: the contents of a part's files.

    data (bytes): The tagged rows, in the form that was asked for.
    failed (bytes): The others with their reasons, as JSON Lines.
    counts (TagCounts): How many there are of what.
    """

    data: bytes
    failed: bytes
    counts: TagCounts


def hash_pipeline(name: str) -> str:
    """Identify a pipeline by all that is saved of it.

    name (str): As for `spacy.load`.
    RETURNS (str): The SHA-256 of its files, in hexadecimal.
    RAISES (NunerError): N650 if there is no such pipeline.
    """
    from spacy.util import get_package_path, is_package

    if name.startswith("blank:"):
        return hashlib.sha256(name.encode()).hexdigest()
    try:
        folder = get_package_path(name) if is_package(name) else Path(name)
        if not any(path.is_file() for path in folder.rglob("config.cfg")):
            raise FileNotFoundError("it is no folder with a config.cfg and no package")
        return hash_folder(folder)
    except Exception as error:  # whatever a package raises when it is imported
        reason = getattr(error, "strerror", None) or str(error)
        raise NunerError(Errors.N650, name=name, reason=reason) from error


class Tagger:
    """Tags rows with a pipeline, which is loaded once."""

    def __init__(self, settings: TagSettings) -> None:
        """Load the pipeline.

        settings (TagSettings): The settings.
        RAISES (NunerError): N652 if it is another one than where the run was started;
            what `load_pipeline` raises.
        """
        from spacy.cli._util import setup_gpu

        found = hash_pipeline(settings.pipeline)
        if found != settings.sha256:
            raise NunerError(
                Errors.N652,
                name=settings.pipeline,
                found=found[:12],
                expected=settings.sha256[:12],
            )
        setup_gpu(settings.gpu_id, silent=True)
        self.nlp = load_pipeline(settings.pipeline)
        self.settings = settings

    def tag(self, rows: Sequence[TextRow]) -> Tagged:
        """Tag rows.

        rows (Sequence[TextRow]): The rows.
        RETURNS (Tagged): What became of them; the same in each process.
        """
        from .forms_out import make_writer

        counts = TagCounts(rows=len(rows))
        failed: list[str] = []
        usable: list[TextRow] = []
        for row in rows:
            if row.problem or not is_utf8(row.text):
                reason = row.problem or SURROGATES
                counts.failed[reason] += 1
                failed.append(self._describe(row, reason))
            else:
                usable.append(row)
        writer = make_writer(self.settings.form, text=self.settings.keep_text)
        # Else the vocabulary grows with every new word of the corpus.
        with self.nlp.memory_zone():
            pieces = [cut_text(row.text, self.nlp.max_length) for row in usable]
            made = self._run(list(itertools.chain.from_iterable(pieces)))
            for row, texts in zip(usable, pieces, strict=True):
                found = list(itertools.islice(made, len(texts)))
                try:
                    doc = _join(found)
                    writer.add(make_id(row, self.settings.id_field), doc)
                except Exception as error:  # whatever a component raises, or has made
                    _check_machine(error, row)
                    counts.failed[FAILED] += 1
                    detail = f"{type(error).__name__}: {error}"
                    failed.append(self._describe(row, FAILED, detail))
                    if counts.failed[FAILED] == len(usable) >= MANY:
                        raise NunerError(
                            Errors.N659, count=len(usable), reason=detail
                        ) from error
                else:
                    counts.add(doc, len(texts))
            data = writer.to_bytes()
        # A byte that is not UTF-8 is written as JSON escapes its surrogate.
        lines = "".join(failed).encode("utf8", "backslashreplace")
        return Tagged(data, lines, counts)

    def _run(self, texts: Sequence[str]) -> "Iterator[Doc | Exception]":
        """Tag texts, some at once; docs hold vectors until the next ones are asked for.

        Which are tagged together depends on the texts alone, since a score may.
        """
        for some in _group(texts, AT_ONCE):
            yield from self._run_at_once(some)

    def _run_at_once(self, texts: Sequence[str]) -> "Iterator[Doc | Exception]":
        """Tag texts; where the pipeline fails, find out by halves for which of them."""
        try:
            docs = list(self.nlp.pipe(texts))
            # A component may leave out a doc that it can't take.
            if len(docs) != len(texts):
                raise RuntimeError(f"{len(docs)} docs of {len(texts)} texts")
        except Exception as error:  # whatever a component raises
            if len(texts) == 1:
                yield error
                return
        else:
            yield from map(_drop_vectors, docs)
            return
        half = len(texts) // 2
        yield from self._run_at_once(texts[:half])
        yield from self._run_at_once(texts[half:])

    def _describe(self, row: TextRow, reason: str, detail: str = "") -> str:
        """A line about a row that was not tagged, which is a row that can be."""
        name = make_id(row, self.settings.id_field)
        data = {"id": name, "file": row.file, "row": row.number, "reason": reason}
        data |= {"detail": detail[:HEAD]} if detail else {}
        data |= {"found": row.found} if row.problem else {"text": row.text}
        return json.dumps(data, ensure_ascii=False) + "\n"


def make_id(row: TextRow, field: str) -> str:
    """Name a row.

    row (TextRow): The row.
    field (str): The field that may hold its id.
    RETURNS (str): The id as a text; without one, or of one that has no form as a text,
        the file and the number of the row.
    """
    found = row.fields.get(field)
    if isinstance(found, list | dict):
        try:
            # Columns have types that JSON doesn't, such as dates.
            found = json.dumps(found, sort_keys=True, default=str)
        except (TypeError, RecursionError):
            found = None
    name = f"{row.file}:{row.number}" if found is None else str(found)
    return replace_surrogates(name)


def cut_text(text: str, limit: int) -> list[str]:
    """Cut a text into pieces that are not too long, between lines, else words.

    text (str): The text.
    limit (int): The most characters in a piece.
    RETURNS (list[str]): The pieces, which are the text when they are joined.
    """
    pieces = []
    while len(text) > limit:
        # Not so early that the pieces get many.
        first = limit // 2
        end = max(text.rfind("\n", first, limit), 0) or text.rfind(" ", first, limit)
        end = end + 1 if end > 0 else limit
        pieces.append(text[:end])
        text = text[end:]
    return [*pieces, text]


def _group(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Cut a list of texts where a group has so many characters."""
    start = characters = 0
    for number, text in enumerate(texts, 1):
        characters += len(text)
        if characters >= size:
            yield texts[start:number]
            start, characters = number, 0
    if start < len(texts):
        yield texts[start:]


def _drop_vectors(doc: "Doc") -> "Doc":
    """Drop what components leave in a doc and nobody writes.

    It is large, or of a type that can't be saved or joined.
    """
    doc.user_data = {}
    doc.tensor = numpy.zeros((0,), dtype="float32")
    return doc


def _join(found: "Sequence[Doc | Exception]") -> "Doc":
    """Join the docs of a row, or raise the error that is among them."""
    docs: list[Doc] = []
    for one in found:
        if isinstance(one, Exception):
            raise one
        docs.append(one)
    return join_docs(docs)


def _check_machine(error: Exception, row: TextRow) -> None:
    """Raise N658 for an error that is not the row's: memory, or a GPU."""
    lost = isinstance(error, RuntimeError) and _MACHINE.search(str(error))
    if lost or isinstance(error, MemoryError):
        reason = f"{type(error).__name__}: {error}"[:HEAD]
        where = f"{row.file}:{row.number}"
        raise NunerError(Errors.N658, row=where, reason=reason) from error


def join_docs(docs: "Sequence[Doc]") -> "Doc":
    """Join the docs of a text that was cut.

    docs (Sequence[Doc]): The docs, with the same spans keys.
    RETURNS (Doc): One, with their entities and spans, and the scores of these.
    """
    from spacy.tokens import Doc

    if len(docs) == 1:
        return docs[0]
    joined = Doc.from_docs(list(docs), ensure_whitespace=False)
    for key, group in joined.spans.items():
        groups = [doc.spans[key] for doc in docs if key in doc.spans]
        scores = [get_scores(one) for one in groups]
        if any(scores) and len(scores) == len(groups):
            group.attrs["scores"] = list(itertools.chain.from_iterable(scores))
    return joined


def get_scores(group: Any) -> list[float]:
    """Read the scores of a span group.

    group (SpanGroup): The group.
    RETURNS (list[float]): `attrs["scores"]`, rounded; empty if it has none for each.
    """
    try:
        scores = [round(float(score), DIGITS) for score in group.attrs["scores"]]
    except (KeyError, TypeError, ValueError):
        return []
    return scores if len(scores) == len(group) else []


def add_counts(all_counts: Iterable[TagCounts]) -> TagCounts:
    """RETURNS (TagCounts): The sum of counts."""
    total = TagCounts()
    for counts in all_counts:
        total.update(counts)
    return total
