"""A uniform sample of the distinct sentences of a source, in one pass."""

import hashlib
import heapq
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NunerError
from ..files import replacing
from .reading import BROKEN_CHARS, Skips
from .sources import Document

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

# Splitters beside the names of spaCy pipelines.
RULE = "rule"
LINE = "line"
# Pieces that go through spaCy before its vocabulary forgets them: many, since the
# tokenizer has to meet every word again afterwards.
ZONE_PIECES = 50_000
# The parts of a trained pipeline that do not split sentences.
NOT_SPLITTING = ["ner", "tagger", "morphologizer", "lemmatizer", "attribute_ruler"]
_BROKEN = re.compile(BROKEN_CHARS)


class DistinctSample:
    """Keeps n distinct texts of a stream, each distinct one with the same chance.

    The rank of a text is a seeded hash of it, and the n lowest ranks stay. So a text
    that comes again has the rank it had, and is neither kept twice nor more likely to
    be kept; memory is that of n texts however long the stream is; and the sample does
    not depend on the order of the stream.
    """

    def __init__(self, n: int, *, seed: int) -> None:
        """n (int): How many to keep. seed (int): Another seed, another sample."""
        self.n = n
        self._salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
        self._highest: list[int] = []
        self._kept: dict[int, bytes] = {}

    def offer(self, text: str, record: Callable[[], bytes]) -> None:
        """Take a text if its rank is among the n lowest so far.

        text (str): The text.
        record (Callable[[], bytes]): Makes what is kept for it.
        """
        digest = hashlib.blake2b(text.encode(), digest_size=16, salt=self._salt)
        rank = int.from_bytes(digest.digest(), "big")
        if len(self._kept) < self.n:
            if rank not in self._kept:
                heapq.heappush(self._highest, -rank)
                self._kept[rank] = record()
        elif rank < -self._highest[0] and rank not in self._kept:
            del self._kept[-heapq.heapreplace(self._highest, -rank)]
            self._kept[rank] = record()

    def __len__(self) -> int:
        return len(self._kept)

    def records(self) -> Iterator[bytes]:
        """YIELDS (bytes): The records by rank, so the first k are a sample of k."""
        for rank in sorted(self._kept):
            yield self._kept[rank]


@dataclass
class SampleReport:
    """What a sample was drawn from.

    documents (int): Documents read.
    sentences (int): Sentences within the limits of length, repeated ones counted.
    outside (int): Sentences that were too short or too long.
    kept (int): Distinct sentences written.
    skips (Skips): What could not be used.
    """

    documents: int = 0
    sentences: int = 0
    outside: int = 0
    kept: int = 0
    skips: Skips = field(default_factory=Skips)


def load_splitter(splitter: str, lang: str) -> "Language":
    """Load what finds the sentences.

    splitter (str): "rule" for spaCy's rule-based sentencizer, "line" for one sentence
        a line, or the name or folder of a spaCy pipeline.
    lang (str): The language of the tokenizer for "rule" and "line", such as "en".
    RETURNS (Language): The pipeline.
    RAISES (NunerError): N010 if there is no such language, N202 if there is no such
        pipeline.
    """
    import spacy

    from ..languages import blank

    if splitter in (RULE, LINE):
        nlp = blank(lang)
        if splitter == RULE:
            nlp.add_pipe("sentencizer")
        return nlp
    try:
        return spacy.load(splitter, exclude=NOT_SPLITTING)
    except (ImportError, OSError, ValueError) as error:
        raise NunerError("N202", name=splitter, reason=error) from error


def split_sentences(
    nlp: "Language", documents: Iterable[Document], skips: Skips
) -> Iterator[tuple[str, int, Document]]:
    """Cut documents into sentences.

    nlp (Language): What `load_splitter` gave. A pipeline without sentence boundaries
        takes every line as a sentence.
    documents (Iterable[Document]): The documents.
    skips (Skips): Counts pieces that are too long for spaCy or hold broken characters.
    YIELDS (tuple[str, int, Document]): A sentence with single blanks, its number of
        words (tokens that are neither punctuation nor blank) and its document.
    """
    pieces = _pieces(documents, nlp.max_length, skips)
    for first in pieces:
        zone = itertools.chain([first], itertools.islice(pieces, ZONE_PIECES))
        # Without a zone the vocabulary would keep every word that ever came by.
        with nlp.memory_zone():
            for doc, document in nlp.pipe(zone, as_tuples=True):
                for sent, words in _sentences(doc):
                    yield sent, words, document


def _sentences(doc: "Doc") -> Iterator[tuple[str, int]]:
    from spacy.attrs import IS_PUNCT, IS_SPACE

    is_word = ~doc.to_array([IS_PUNCT, IS_SPACE]).any(axis=1)
    words_before = [0, *is_word.cumsum().tolist()]
    for sent in doc.sents if doc.has_annotation("SENT_START") else [doc[:]]:
        words = words_before[sent.end] - words_before[sent.start]
        yield " ".join(sent.text.split()), words


def _pieces(
    documents: Iterable[Document], max_length: int, skips: Skips
) -> Iterator[tuple[str, Document]]:
    for document in documents:
        place = f"{document.source}:{document.doc}"
        for piece in document.text.splitlines():
            if not piece.strip():
                continue
            if len(piece) > max_length:
                skips.add(f"longer than {max_length:,} characters", place)
            elif _BROKEN.search(piece):
                skips.add("with broken characters", place)
            else:
                yield piece, document


def draw_sample(
    documents: Iterable[Document],
    nlp: "Language",
    *,
    n: int,
    seed: int = 0,
    min_words: int = 5,
    max_words: int = 80,
    report: SampleReport,
) -> DistinctSample:
    """Draw sentences from documents.

    documents (Iterable[Document]): The documents, read once.
    nlp (Language): What `load_splitter` gave.
    n (int): How many distinct sentences to keep.
    seed (int): Another seed, another sample.
    min_words (int): Shorter sentences are left out.
    max_words (int): Longer sentences are left out.
    report (SampleReport): Counts what was seen.
    RETURNS (DistinctSample): Records `{"id", "text", "source", "doc"}`; the id is a
        hash of the text.
    """
    sample = DistinctSample(n, seed=seed)
    counted = _count(documents, report)
    for text, words, document in split_sentences(nlp, counted, report.skips):
        if min_words <= words <= max_words:
            report.sentences += 1
            sample.offer(text, partial(_record, text, document))
        else:
            report.outside += 1
    report.kept = len(sample)
    return sample


def write_sample(sample: DistinctSample, path: Path) -> None:
    """Write a sample as JSON Lines.

    sample (DistinctSample): The sample.
    path (Path): The file.
    """
    with replacing(path) as beside, beside.open("wb") as file:
        file.writelines(sample.records())


def _count(documents: Iterable[Document], report: SampleReport) -> Iterator[Document]:
    for document in documents:
        report.documents += 1
        yield document


def _record(text: str, document: Document) -> bytes:
    name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    row = {"id": name, "text": text, "source": document.source, "doc": document.doc}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
