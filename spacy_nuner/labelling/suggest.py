"""Texts through a pipeline in one pass, and the sentences that are worth labelling."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, NamedTuple

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from ..annotate.sample import Document
from ..readers.docbin import copy_words
from ..readers.records import HEAD, Tally
from .choice import (
    Candidate,
    Labelled,
    choose,
    get_promise,
    normalise_text,
)
from .pool import SAMPLED, Pool
from .strategies import STRATEGIES, Strategy
from .tasks import Task
from .uncertainty import Judge, Judgement, normalise_rows

# Sentences that go through the pipeline at once; those of like length go together.
BATCH_SIZE = 256
# Batches of which the vocabulary forgets the words at once.
ZONE_BATCHES = 16
# Candidates that are kept, for each sentence that is asked for and in all.
POOL_SHARE, LEAST_POOL = 25, 2000
# More are kept only if more than half as many are asked for: they are in memory with
# the vectors of their spans, up to 37 KB each with 24 spans of a width of 384, and with
# how like others they are, 8 KB each.
MOST_POOL = 10_000
# Labelled sentences whose spans are compared with those of the candidates.
MOST_LABELLED = 1000
FAILED = "the pipeline failed"


class Sentence(NamedTuple):
    """A sentence that can be suggested.

    text (str): The sentence.
    source (str): The data set or file that it comes from.
    doc (str): The document inside it.
    """

    text: str
    source: str = ""
    doc: str = ""


@dataclass
class SuggestReport:
    """What sentences were chosen from.

    sentences (int): Sentences that were looked at, repeated ones counted.
    outside (int): Sentences that were too short or too long.
    words (int): Tokens of the sentences that were tagged.
    labelled (int): Sentences that are labelled or refused already.
    kept (int): Sentences that were kept to choose from.
    unscored (bool): Whether the pipeline gave spans without scores.
    tally (Tally): What could not be read or tagged.
    """

    sentences: int = 0
    outside: int = 0
    words: int = 0
    labelled: int = 0
    kept: int = 0
    unscored: bool = False
    tally: Tally = field(default_factory=Tally)


class QuarantineTally(Tally):
    """Counts losses, and writes a line about each into a file."""

    def __init__(self, file: IO[str]) -> None:
        """file (IO[str]): Open for JSON Lines."""
        super().__init__()
        self._file = file

    def add(self, kind: str, where: str = "", detail: str = "") -> None:
        """Count a loss and write it.

        kind (str): Why it was lost, in a fixed wording.
        where (str): The file and the line.
        detail (str): What was lost, or what exactly was found.
        """
        super().add(kind, where, detail)
        row = {"where": where, "reason": kind, "detail": detail[:HEAD]}
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


def suggest_tasks(
    judge: Judge,
    sentences: Iterable[Sentence],
    n: int,
    *,
    by: Strategy = Strategy.cover,
    labelled: Sequence[Doc] = (),
    skipped: Sequence[str] = (),
    done: Iterable[str] = (),
    seed: int = 0,
    report: SuggestReport | None = None,
    pool_size: int | None = None,
    on_batch: Callable[[int, int], None] = lambda sentences, words: None,
) -> list[Task]:
    """Choose the sentences that are most worth labelling.

    judge (Judge): The pipeline.
    sentences (Iterable[Sentence]): The sentences, read once.
    n (int): How many to choose.
    by (Strategy): The strategy.
    labelled (Sequence[Doc]): What is labelled already. It is left out, and labels that
        it has few of come first.
    skipped (Sequence[str]): Texts that a person refused; left out too.
    done (Iterable[str]): Further texts that are left out, such as the sentences of
        labelled documents.
    seed (int): Another seed, another choice among equals, and another one at random.
    report (SuggestReport | None): Counts what was read.
    pool_size (int | None): How many candidates are kept to choose from; None for
        those of `get_pool_size`.
    on_batch (Callable[[int, int], None]): Called with the sentences that were looked
        at since, and the words that were tagged.
    RETURNS (list[Task]): The sentences with the spans that the pipeline sets, the most
        worthy first.
    """
    report = report or SuggestReport()
    weights = None if by == Strategy.random else STRATEGIES[by]
    with_vectors = weights is not None and weights.coverage
    known = judge_labelled(
        judge, labelled, skipped, seed=seed, with_vectors=with_vectors
    )
    further = sorted(set(done) - set(known.texts))
    known.words.extend(
        [token.text for token in judge.nlp.make_doc(text)] for text in further
    )
    left = _leave_out(sentences, [*known.texts, *further], report)
    size = pool_size or get_pool_size(n)
    share = 1.0 if weights is None else SAMPLED
    if weights is None:
        # To draw needs no judgement: what is drawn is tagged alone.
        drawn = Pool[Sentence](size, seed=seed, sampled=share)
        for sentence in left:
            drawn.offer(sentence, 0.0)
            on_batch(1, 0)
        left = iter(drawn.get_candidates())
    pool = Pool[Candidate](size, seed=seed, sampled=share)
    # Those that were drawn are counted.
    counted = on_batch if weights else lambda _, words: on_batch(0, words)
    for sentence, judgement in _judge_all(judge, left, report, counted):
        promise = 0.0
        if weights is not None:
            promise = get_promise(judgement, known.mentions, weights)
        pool.offer(Candidate(sentence.text, judgement, *sentence[1:]), promise)
    candidates = pool.get_candidates()
    report.kept = len(candidates)
    report.unscored = judge.unscored
    rng = np.random.default_rng(seed)
    chosen = choose(
        candidates, n, by=by, labelled=known, rng=rng, n_sampled=pool.n_sampled
    )
    return [make_task(candidates[one.number], one.score, one.reason) for one in chosen]


def _leave_out(
    sentences: Iterable[Sentence], done: Iterable[str], report: SuggestReport
) -> Iterator[Sentence]:
    """Leave out what is done, whatever its case, punctuation, blanks and numbers."""
    # Of symbols alone nothing is left.
    names = {normalise_text(text) for text in done} - {""}
    for sentence in sentences:
        report.sentences += 1
        if normalise_text(sentence.text) in names:
            report.labelled += 1
        else:
            yield sentence


def get_pool_size(n: int) -> int:
    """RETURNS (int): How many candidates are kept to choose n from: 25 times n, from
    2,000 to 10,000, but twice n at least."""
    return max(LEAST_POOL, min(POOL_SHARE * n, MOST_POOL), 2 * n)


def make_task(candidate: Candidate, score: float, reason: str) -> Task:
    """Make a task of a candidate.

    candidate (Candidate): The candidate.
    score (float): What it is worth.
    reason (str): Why it was chosen.
    RETURNS (Task): The task, with the spans that the pipeline sets.
    """
    judgement = candidate.judgement
    return Task(
        text=candidate.text,
        words=judgement.words,
        spaces=judgement.spaces,
        marks=judgement.marks,
        score=score,
        reason=reason,
        source=candidate.source,
        doc=candidate.doc,
    )


def _judge_all(
    judge: Judge,
    sentences: Iterable[Sentence],
    report: SuggestReport,
    on_batch: Callable[[int, int], None],
) -> Iterator[tuple[Sentence, Judgement]]:
    stream = iter(sentences)
    while zone := list(itertools.islice(stream, BATCH_SIZE * ZONE_BATCHES)):
        # Else the vocabulary grows with every new word.
        with judge.nlp.memory_zone():
            for start in range(0, len(zone), BATCH_SIZE):
                batch = zone[start : start + BATCH_SIZE]
                words = 0
                found = judge.judge([one.text for one in batch])
                for sentence, judgement in zip(batch, found, strict=True):
                    if isinstance(judgement, Exception):
                        where = f"{sentence.source}:{sentence.doc}"
                        detail = f"{type(judgement).__name__}: {judgement}"
                        report.tally.add(FAILED, where, detail)
                        continue
                    words += len(judgement.words)
                    yield sentence, judgement
                report.words += words
                on_batch(len(batch), words)


def split_documents(
    splitter: Language,
    documents: Iterable[Document],
    report: SuggestReport,
    *,
    min_words: int,
    max_words: int,
) -> Iterator[Sentence]:
    """Split documents into sentences, as `sample` does.

    splitter (Language): See `annotate.sample.load_splitter`.
    documents (Iterable[Document]): The documents.
    report (SuggestReport): Counts sentences outside the limits, and what can't be read.
    min_words (int): Shorter sentences are left out.
    max_words (int): Longer sentences are left out.
    YIELDS (Sentence): The sentences.
    """
    from ..annotate.sample import split_sentences

    for text, words, document in split_sentences(splitter, documents, report.tally):
        if min_words <= words <= max_words:
            yield Sentence(text, document.source, document.doc)
        else:
            report.outside += 1


def judge_labelled(
    judge: Judge,
    docs: Sequence[Doc],
    skipped: Sequence[str] = (),
    *,
    seed: int = 0,
    with_vectors: bool = True,
) -> Labelled:
    """Look at what is labelled as the pipeline sees it.

    judge (Judge): The pipeline.
    docs (Sequence[Doc]): The labelled sentences; of many, the vectors of some.
    skipped (Sequence[str]): Texts that a person refused.
    seed (int): Which.
    with_vectors (bool): Whether vectors are needed.
    RETURNS (Labelled): Their texts, the mentions of each label, and vectors of these
        and of what the pipeline finds in the texts.
    """
    mentions = Counter(span.label_ for doc in docs for span in judge.get_gold(doc))
    refused = [judge.nlp.make_doc(text) for text in skipped]
    some = [doc for doc in (*docs, *refused) if with_vectors and len(doc)]
    if len(some) > MOST_LABELLED:
        some = random.Random(seed).sample(some, MOST_LABELLED)
    rows = []
    for start in range(0, len(some), BATCH_SIZE):
        batch = some[start : start + BATCH_SIZE]
        copies = [copy_words(doc, judge.nlp.vocab) for doc in batch]
        # What was found in them and is no entity is settled as well.
        found = list(judge.judge(copies))
        tagged = []
        for doc, judgement in zip(batch, found, strict=True):
            # One that the pipeline fails on settles nothing.
            if not isinstance(judgement, Exception):
                rows += list(judgement.vectors)
                tagged.append(doc)
        copies = [copy_words(doc, judge.nlp.vocab) for doc in tagged]
        for doc, vectors in zip(tagged, judge.embed(copies), strict=True):
            rows += [
                vectors[span.start : span.end].mean(axis=0)
                for span in judge.get_gold(doc)
            ]
    return Labelled(
        mentions=mentions,
        vectors=normalise_rows(np.asarray(rows)) if rows else None,
        texts=[*(doc.text for doc in docs), *skipped],
        words=[[token.text for token in doc] for doc in (*docs, *refused)],
    )
