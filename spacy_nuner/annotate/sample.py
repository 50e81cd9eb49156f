"""A uniform sample of the distinct sentences of a source, in one pass."""

import hashlib
import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..errors import Errors, NunerError
from ..readers.records import Tally
from ..readers.sources import is_broken
from ..readers.texts import Unit, read_texts

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

# The fields that name a document and, last, its source.
NAMES = ("doc", "id", "url", "source")
# Splitters besides the names of spaCy pipelines.
RULE = "rule"
LINE = "line"
# Pieces a memory zone: many, since the tokenizer's cache starts empty in each.
ZONE_PIECES = 50_000
# The components of a trained pipeline that do not split sentences.
NOT_SPLITTING = ["ner", "tagger", "morphologizer", "lemmatizer", "attribute_ruler"]


class Document(NamedTuple):
    """A text and where it comes from.

    text (str): The text; a line break in it ends a sentence.
    source (str): The data set or file.
    doc (str): The document inside it: its id or address, or the number of its line.
    """

    text: str
    source: str
    doc: str


def read_documents(
    source: str,
    *,
    tally: Tally,
    field: str = "text",
    split: str = "train",
    seed: int = 0,
    by_line: bool = False,
) -> Iterator[Document]:
    """Read the documents of a source in a stream.

    source (str): `hub:NAME` or `hub:NAME:CONFIG` for a data set of the Hugging Face
        hub (`hub:allenai/c4:en`), a JSON Lines, Parquet or text file, a folder of
        those, or "-" for standard input. Files may be compressed.
    tally (Tally): Counts what holds no text.
    field (str): The field that holds the text, for JSON Lines and data sets.
    split (str): The split of a data set on the hub.
    seed (int): Orders the shards of a data set on the hub.
    by_line (bool): Every line of a text file is a document. False: every paragraph is,
        up to a blank line, as in hard-wrapped text.
    YIELDS (Document): The documents.
    RAISES (NunerError): N005, N104, N109 or N201 if the source can't be read.
    """
    unit: Unit = "line" if by_line else "paragraph"
    # Shuffled, so that a run that reads only a part does not read the beginning.
    rows = read_texts(
        source, field=field, keep=NAMES, unit=unit, split=split, seed=seed
    )
    for row in rows:
        if row.problem:
            tally.add(row.problem, f"{row.file}:{row.number}")
            continue
        name = row.fields.get("source")
        name = row.file if name is None else name
        names = (row.fields.get(key) for key in NAMES[:-1])
        doc = next((name for name in names if name is not None), row.number)
        yield Document(row.text, str(name), str(doc))


def load_splitter(splitter: str, lang: str) -> "Language":
    """Load the pipeline that splits sentences.

    splitter (str): "rule" for spaCy's rule-based sentencizer, "line" for one sentence
        a line, or the name or folder of a spaCy pipeline.
    lang (str): The language of the tokenizer for "rule" and "line", such as "en".
    RETURNS (Language): The pipeline.
    RAISES (NunerError): N010 if there is no such language, N202 if there is no such
        pipeline.
    """
    import spacy

    from ..tokenizers import blank, guard_tokenizer

    if splitter in (RULE, LINE):
        nlp = blank(lang)
        if splitter == RULE:
            nlp.add_pipe("sentencizer")
        return nlp
    try:
        nlp = spacy.load(splitter, exclude=NOT_SPLITTING)
    except (ImportError, OSError, ValueError) as error:
        raise NunerError(Errors.N202, name=splitter, reason=error) from error
    guard_tokenizer(nlp)
    return nlp


def split_sentences(
    nlp: "Language", documents: Iterable[Document], tally: Tally
) -> Iterator[tuple[str, int, Document]]:
    """Split documents into sentences.

    nlp (Language): See `load_splitter`. Without sentence boundaries every line is a
        sentence.
    documents (Iterable[Document]): The documents.
    tally (Tally): Counts pieces that are too long for spaCy or hold broken characters.
    YIELDS (tuple[str, int, Document]): A sentence with single blanks, its number of
        words (tokens that are neither punctuation nor blank) and its document.
    """
    pieces = _pieces(documents, nlp.max_length, tally)
    for first in pieces:
        zone = itertools.chain([first], itertools.islice(pieces, ZONE_PIECES))
        # Outside of a zone the vocabulary grows with every new word.
        with nlp.memory_zone():
            for doc, document in nlp.pipe(zone, as_tuples=True):
                for sentence, words in _sentences(doc):
                    yield sentence, words, document


def _pieces(
    documents: Iterable[Document], max_length: int, tally: Tally
) -> Iterator[tuple[str, Document]]:
    for document in documents:
        where = f"{document.source}:{document.doc}"
        for piece in document.text.splitlines():
            if not piece.strip():
                continue
            if len(piece) > max_length:
                tally.add(f"longer than {max_length:,} characters", where)
            elif is_broken(piece):
                tally.add("with broken characters", where)
            else:
                yield piece, document


def _sentences(doc: "Doc") -> Iterator[tuple[str, int]]:
    from spacy.attrs import IS_PUNCT, IS_SPACE

    is_word = ~doc.to_array([IS_PUNCT, IS_SPACE]).any(axis=1)
    words_before = [0, *is_word.cumsum().tolist()]
    for sent in doc.sents if doc.has_annotation("SENT_START") else [doc[:]]:
        words = words_before[sent.end] - words_before[sent.start]
        yield " ".join(sent.text.split()), words


class DistinctSample:
    """Draws n distinct texts of a stream, each distinct one with the same chance.

    The rank of a text is a seeded hash of it, and the texts of the n lowest ranks are
    the sample. So repeated texts are not more likely to be drawn, memory is that of n
    texts however long the stream is, and the order of the stream does not matter.
    """

    def __init__(self, n: int, *, seed: int = 0) -> None:
        """Start empty.

        n (int): The size of the sample.
        seed (int): Another seed, another sample.
        """
        self.n = n
        self._salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
        self._highest: list[int] = []
        self._records: dict[int, bytes] = {}

    def offer(self, text: str, record: Callable[[], bytes]) -> None:
        """Add a text if its rank is among the n lowest so far.

        text (str): The text.
        record (Callable[[], bytes]): Makes its record.
        """
        digest = hashlib.blake2b(text.encode(), digest_size=16, salt=self._salt)
        rank = int.from_bytes(digest.digest(), "big")
        if rank in self._records:
            return
        if len(self._records) < self.n:
            heapq.heappush(self._highest, -rank)
            self._records[rank] = record()
        elif rank < -self._highest[0]:
            del self._records[-heapq.heapreplace(self._highest, -rank)]
            self._records[rank] = record()

    def __len__(self) -> int:
        return len(self._records)

    def records(self) -> Iterator[bytes]:
        """YIELDS (bytes): The records by rank, so the first k are a sample of k."""
        for rank in sorted(self._records):
            yield self._records[rank]


@dataclass
class SampleReport:
    """What a sample was drawn from.

    documents (int): Documents read.
    sentences (int): Sentences within the limits of length, repeated ones counted.
    outside (int): Sentences that were too short or too long.
    drawn (int): Distinct sentences in the sample.
    tally (Tally): What could not be used.
    """

    documents: int = 0
    sentences: int = 0
    outside: int = 0
    drawn: int = 0
    tally: Tally = field(default_factory=Tally)


def draw_sample(
    documents: Iterable[Document],
    nlp: "Language",
    sample: DistinctSample,
    report: SampleReport,
    *,
    min_words: int = 5,
    max_words: int = 80,
) -> None:
    """Draw sentences from documents.

    documents (Iterable[Document]): The documents, read once.
    nlp (Language): See `load_splitter`.
    sample (DistinctSample): Gets lines of JSON with id (a hash of the text), text,
        source and doc.
    report (SampleReport): Counts what was read.
    min_words (int): Shorter sentences are left out.
    max_words (int): Longer sentences are left out.
    """

    def count() -> Iterator[Document]:
        for document in documents:
            report.documents += 1
            yield document

    for text, words, document in split_sentences(nlp, count(), report.tally):
        if min_words <= words <= max_words:
            report.sentences += 1
            sample.offer(text, partial(_record, text, document))
        else:
            report.outside += 1
    report.drawn = len(sample)


def _record(text: str, document: Document) -> bytes:
    name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    row = {"id": name, "text": text, "source": document.source, "doc": document.doc}
    # A file's name that is not UTF-8 is written as JSON escapes it.
    line = json.dumps(row, ensure_ascii=False) + "\n"
    return line.encode("utf8", "backslashreplace")
