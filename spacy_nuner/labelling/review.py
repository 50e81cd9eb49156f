"""Labelled sentences of which a recogniser that never saw them says something else.

A token's label is doubted by the probability that it has in the fold where its sentence
was held out, and a sentence by its most doubtful token (Wang and Mueller 2022,
"Detecting Label Errors in Token Classification Data", arXiv 2210.03920).
"""

import random
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from confection import Config
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..errors import Errors, NunerError, Warnings
from ..fewshot.cross_validation import group_texts
from ..pipeline.decoding import Bools, Floats, Ints, get_probabilities
from ..pipeline.label_pipe import LabelPipe
from ..pipeline.targets import get_targets
from ..readers.docbin import copy_words
from .retrain import train_again
from .suggest import BATCH_SIZE
from .tasks import Mark, Task
from .uncertainty import Judge, get_all_spans, run_by_halves

NOTHING = "nothing"


@dataclass(frozen=True)
class Doubt:
    """How far a recogniser disagrees with the label of a sentence.

    score (float): From 0 to 1.
    reason (str): Where it does most.
    marks (list[Mark]): All spans that are labelled; those that the component learns
        from with the probability that it gives them.
    failure (str): Why it could not be judged; "" if it was.
    """

    score: float
    reason: str
    marks: list[Mark]
    failure: str = ""


def review_docs(
    config: Config,
    docs: Sequence[Doc],
    *,
    folds: int = 5,
    seed: int = 0,
    steps: int | None = None,
    pipe_name: str | None = None,
    on_fold: Callable[[], None] = lambda: None,
) -> list[Task]:
    """Train on some of the sentences and judge the labels of the others, in turn.

    config (Config): The config of the recogniser; see `train_again`.
    docs (Sequence[Doc]): The labelled sentences.
    folds (int): Into how many parts they are cut; a recogniser is trained for each.
        Copies of a text, whatever its case and white space, stay together.
    seed (int): Which sentences are in which part, and of the trainings.
    steps (int | None): Steps of each training; None for as many as the config says.
    pipe_name (str | None): Name of the component; None for the first.
    on_fold (Callable[[], None]): Called when a part is done.
    RETURNS (list[Task]): All sentences with their labels, the most doubtful first.
    RAISES (NunerError): N714 if there are too few different sentences, N719 if the
        pipeline fails on all of them; what `Judge` and `train_again` raise.

    Warns (W715) of sentences that the pipeline fails on, which stand at the end.
    """
    docs = _name_spans(config, docs)
    # A text that was learned by heart says nothing of its copy.
    groups = group_texts(docs).tolist()
    order = list(range(len(set(groups))))
    if len(order) < 2 * folds:
        raise NunerError(Errors.N714, count=len(order), folds=folds)
    random.Random(seed).shuffle(order)
    doubts: dict[int, Doubt] = {}
    for fold in range(folds):
        chosen = set(order[fold::folds])
        held_out = [i for i, group in enumerate(groups) if group in chosen]
        rest = [i for i, group in enumerate(groups) if group not in chosen]
        nlp = train_again(config, [docs[i] for i in rest], seed=seed, steps=steps)
        judge = Judge(nlp, pipe_name)
        # The config may name labels of which the others have no example.
        seen = {span.label_ for i in rest for span in judge.get_gold(docs[i])}
        found = find_doubts(judge, [docs[i] for i in held_out], seen=seen)
        doubts.update(zip(held_out, found, strict=True))
        on_fold()
    failed = [doubts[i].failure for i in range(len(docs)) if doubts[i].failure]
    if len(failed) == len(docs):
        raise NunerError(Errors.N719, count=len(docs), reason=failed[0])
    if failed:
        message = Warnings.W715.format(count=len(failed), reason=failed[0])
        warnings.warn(message, stacklevel=2)
    # The sort is stable: of equals the first of the file comes first.
    ranked = sorted(range(len(docs)), key=lambda i: -doubts[i].score)
    copies = _count_copies(docs)
    return [_make_task(docs[i], doubts[i], copies[i]) for i in ranked]


def _name_spans(config: Config, docs: Sequence[Doc]) -> Sequence[Doc]:
    """Put spans where the components learn from them.

    A set of another form than .spacy does not say under which key they are.
    """
    keys = {
        component["spans_key"]
        for name, component in config["components"].items()
        if name not in config["training"]["frozen_components"]
        and component.get("spans_key")
    }
    missing = {key for key in keys if not any(key in doc.spans for doc in docs)}
    if not missing:
        return docs
    named = []
    for doc in docs:
        copy: Any = doc.copy()
        for key in missing:
            copy.spans[key] = get_all_spans(copy)
        named.append(copy)
    return named


def _count_copies(docs: Sequence[Doc]) -> list[int]:
    """How often the text of each doc occurs before it."""
    seen: Counter[str] = Counter()
    numbers = []
    for doc in docs:
        numbers.append(seen[doc.text])
        seen[doc.text] += 1
    return numbers


def find_doubts(
    judge: Judge, docs: Sequence[Doc], *, seen: Collection[str] | None = None
) -> list[Doubt]:
    """Compare the labels of sentences with what a recogniser says of them.

    judge (Judge): The recogniser, which was trained on other sentences.
    docs (Sequence[Doc]): The labelled sentences.
    seen (Collection[str] | None): Labels that it had examples of; None for all of its
        labels. Others can't be judged: they count as certain.
    RETURNS (list[Doubt]): One for each. Without probabilities it is the share of the
        spans, labelled or found, that only one of both sides has.
    """
    doubts = []
    run = partial(_judge_docs, judge, seen)
    for start in range(0, len(docs), BATCH_SIZE):
        batch = docs[start : start + BATCH_SIZE]
        for doc, doubt in zip(batch, run_by_halves(run, batch), strict=True):
            if isinstance(doubt, Exception):
                failure = f"{type(doubt).__name__}: {doubt}"
                doubts.append(Doubt(0.0, "could not be judged", _mark(doc), failure))
            else:
                doubts.append(doubt)
    return doubts


def _mark(doc: Doc) -> list[Mark]:
    return [Mark(s.start_char, s.end_char, s.label_) for s in get_all_spans(doc)]


def _judge_docs(
    judge: Judge, seen: Collection[str] | None, docs: Sequence[Doc]
) -> list[Doubt]:
    copies = [copy_words(doc, judge.nlp.vocab) for doc in docs]
    if judge.pipe is None:
        return [
            _compare_marks(doc, one.marks, seen)
            for doc, one in zip(docs, judge.judge_all(copies), strict=True)
        ]
    copies = judge.run_before(copies)
    flat, _ = judge.pipe.join_logits(judge.pipe.predict(copies))
    golds = [judge.get_gold(doc) for doc in docs]
    labels = set(judge.pipe.labels)
    labels &= labels if seen is None else set(seen)
    # Nor are they found: they may be known by their names alone.
    missing = [label not in labels for label in judge.pipe.labels]
    flat[:, missing] = -np.inf
    likely, doubted, found = _get_likelihoods(judge.pipe, copies, docs, flat)
    likely = np.where(_find_unseen(docs, golds, labels), 1.0, likely)
    first = np.cumsum([0, *map(len, docs)]).tolist()
    return [
        _find_doubt(
            doc, gold, likely[a:b], doubted[a:b], found[a:b], judge.pipe, labels
        )
        for doc, gold, a, b in zip(docs, golds, first, first[1:], strict=False)
    ]


def _get_likelihoods(
    pipe: LabelPipe,
    docs: Sequence[Doc],
    references: Sequence[Doc],
    logits: Floats,
) -> tuple[Floats, Ints, Floats]:
    """The probability of what each token is labelled as, which label is doubted most,
    and the probabilities of all labels.

    What is not annotated can't be judged: it counts as certain.
    """
    labels = pipe.labels
    parts = [
        # Each by itself, whatever others have their labels in.
        get_targets(
            [Example(x, y)],
            labels,
            spans_key=pipe.gold_key if pipe.gold_key in y.spans else None,
        )
        for x, y in zip(docs, references, strict=True)
    ]
    targets, known = (
        np.concatenate(arrays)
        for arrays in (
            [np.zeros((0, len(labels)), "f"), *(part.labels for part in parts)],
            [np.zeros(0, bool), *(part.known for part in parts)],
        )
    )
    found = get_probabilities(logits, exclusive=pipe.exclusive)
    if pipe.exclusive:
        none = 1 - found.sum(axis=1)
        likely = np.where(targets.any(axis=1), (targets * found).sum(axis=1), none)
        # The likeliest is what it is taken for.
        of_labels = 1 - found
    else:
        of_labels = np.where(targets > 0, found, 1 - found)
        likely = of_labels.min(axis=1, initial=1.0)
    doubted = of_labels.argmin(axis=1) if labels else np.zeros(len(found), "int64")
    return np.where(known, likely, 1.0), doubted, found


def _find_unseen(
    docs: Sequence[Doc], golds: Sequence[Sequence[Span]], labels: Collection[str]
) -> Bools:
    """Whether a token lies in a span of a label that is none of these."""
    rows = []
    for doc, gold in zip(docs, golds, strict=True):
        row = np.zeros(len(doc), dtype=bool)
        for span in gold:
            row[span.start : span.end] |= span.label_ not in labels
        rows.append(row)
    return np.concatenate([np.zeros(0, dtype=bool), *rows])


def _find_doubt(
    doc: Doc,
    gold: Sequence[Span],
    likely: Floats,
    doubted: Ints,
    found: Floats,
    pipe: LabelPipe,
    known: Collection[str],
) -> Doubt:
    labels, thresholds = pipe.labels, pipe.thresholds
    # Others count as certain.
    judged = {
        (span.start, span.end, span.label_): float(
            found[span.start : span.end, labels.index(span.label_)].mean()
        )
        if span.label_ in known
        else 1.0
        for span in gold
    }
    # Whoever labels them anew loses none, though the component learns from some alone.
    marks = [
        Mark(
            span.start_char,
            span.end_char,
            span.label_,
            judged.get((span.start, span.end, span.label_)),
        )
        for span in get_all_spans(doc)
    ]
    if not len(likely):
        return Doubt(0.0, "no token", marks)
    i = int(likely.argmin())
    over = [span for span in gold if span.start <= i < span.end]
    other, share = NOTHING, 1 - float(likely[i])
    if labels:
        best = int(doubted[i])
        own = [span for span in over if span.label_ == labels[best]]
        if thresholds is not None and own:
            # Of labels that may overlap the one that is doubted alone.
            over = own
        elif not own:
            # Where labels exclude each other one is found that is likelier than none.
            least = 1 - found[i].sum() if thresholds is None else thresholds[best]
            if found[i][best] >= least:
                other, share = labels[best], float(found[i][best])
    words = over[0].text if over else doc[i].text
    given = "/".join(span.label_ for span in over) or NOTHING
    reason = f"'{words}' is {given}, found is {other} ({share:.2f})"
    return Doubt(1 - float(likely[i]), reason, marks)


def _compare_marks(
    doc: Doc, found: Sequence[Mark], seen: Collection[str] | None
) -> Doubt:
    gold = _mark(doc)
    ours, theirs = (
        {mark[:3] for mark in marks if seen is None or mark.label in seen}
        for marks in (gold, found)
    )
    differing: list[Any] = sorted(ours ^ theirs)
    parts = []
    for start, end, label in differing[:3]:
        side = "labelled" if (start, end, label) in ours else "found"
        parts.append(f"only {side}: '{doc.text[start:end]}' {label}")
    share = len(differing) / max(len(ours | theirs), 1)
    return Doubt(share, "; ".join(parts) or "no difference", gold)


def _make_task(doc: Doc, doubt: Doubt, copy: int) -> Task:
    return Task(
        text=doc.text,
        words=[token.text for token in doc],
        spaces=[bool(token.whitespace_) for token in doc],
        marks=doubt.marks,
        score=doubt.score,
        reason=doubt.reason,
        copy=copy,
    )
